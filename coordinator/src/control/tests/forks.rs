//! Two documents after one: the second is overtaken, and no alarm; where a node holds the other one it is an alarm
//! until a document names both, on either side.

use super::*;

/// The same fleet at two coordinators, whose admins were shown different states from some point on.
fn two_sides() -> [Fleet; 2] {
    [Fleet::new(), Fleet::new()]
}

fn by_admin<T: serde::Serialize>(kind: DocumentKind, document: &T) -> Signed {
    signed(kind, document, &[&key(ADMIN)])
}

impl Fleet {
    fn take_roster(&mut self, now: Timestamp, roster: &Roster) -> Submitted {
        self.control.submit_roster(now, &by_admin(DocumentKind::Roster, roster)).unwrap()
    }

    fn take_root(&mut self, now: Timestamp, root: &Root) -> Result<Submitted, ControlError> {
        let ca = self.root.coordinator_ca[0];
        self.control.install_root(now, &by_admin(DocumentKind::Root, root), ca)
    }

    /// Node `b` signs that it holds that root and roster.
    fn holds(&mut self, now: Timestamp, root: &Root, roster: &Roster) {
        let holding = made::holding(root, roster, "b", &[]);
        let signed = signed(DocumentKind::Holding, &holding, &[&key(seed("b"))]);
        self.control.holding(now, &node("b"), &signed).unwrap();
    }

    fn shown(&self) -> Vec<(String, Option<Digest>, Digest)> {
        let forks = self.control.forks();
        forks.map(|(stranger, ..)| (stranger.what.clone(), stranger.here, stranger.other)).collect()
    }

    /// What of it is in the ledger alone.
    fn restart(&mut self) {
        let mut state = State::new();
        self.ledger.lock().written.iter().for_each(|written| state.replay(written).unwrap());
        self.control = Control::new(Box::new(self.ledger.clone()), state, config(), BTreeMap::new());
    }
}

#[test]
fn a_fork_of_rosters_is_an_alarm_with_both_digests_until_the_next_one_names_both_on_either_side() {
    let mut sides = two_sides();
    let first = made_digest_of(&sides[0].roster);
    let twins = [1, 2].map(|second| {
        let prev = Some(first);
        Roster { version: 2, prev, created: at(second), ..sides[0].roster.clone() }
    });
    for (side, roster) in sides.iter_mut().zip(&twins) {
        assert!(side.take_roster(at(3), roster).is_new);
    }
    let digests = twins.each_ref().map(made_digest_of);
    for (here, other) in [(0, 1), (1, 0)] {
        let side = &mut sides[here];
        let before = side.ledger.lock().records.len();
        let root = side.root.clone();
        side.holds(at(4), &root, &twins[other]);
        let fork = ("roster 2".to_owned(), Some(digests[here]), digests[other]);
        assert_eq!(side.shown(), std::slice::from_ref(&fork));
        assert_eq!(side.ledger.words_from(before), ["holding", "alarm"]);
        let (_, alarm) = side.control.state().alarms.back().unwrap().clone();
        assert!(digests.iter().all(|end| alarm.contains(&end.to_string())), "{alarm}");
        side.restart();
        assert_eq!(side.shown(), [fork], "it is in the ledger, whatever nodes say now");
        side.holds(at(5), &root, &twins[other]);
        assert_eq!(side.ledger.words_from(before), ["holding", "alarm"], "once");
    }

    let blind = Roster { version: 3, prev: Some(digests[0]), ..twins[0].clone() };
    assert!(sides[1].take_roster(at(6), &blind).overtaken_by.is_some(), "it knows of one end only");
    let both = Roster { also: vec![digests[1]], created: at(6), ..blind };
    for side in &mut sides {
        assert!(side.take_roster(at(7), &both).is_new);
        assert!(side.shown().is_empty(), "the alarm is over");
        let root = side.root.clone();
        side.holds(at(8), &root, &both);
        assert!(side.shown().is_empty());
        side.restart();
        assert!(side.shown().is_empty(), "and stays so");
    }
    assert_eq!(sides[0].ledger.lock().records.len(), sides[1].ledger.lock().records.len());
}

#[test]
fn of_two_roots_after_one_the_second_is_overtaken_and_where_a_node_holds_it_one_that_names_both_ends_the_alarm() {
    let mut sides = two_sides();
    let prev = Some(made_digest_of(&sides[0].root));
    let twins = [1, 2].map(|second| Root { version: 2, prev, created: at(second), ..sides[0].root.clone() });
    let digests = twins.each_ref().map(made_digest_of);
    for (here, other) in [(0, 1), (1, 0)] {
        let side = &mut sides[here];
        assert!(side.take_root(at(3), &twins[here]).unwrap().is_new);
        let before = side.ledger.lock().records.len();
        let overtaken = side.take_root(at(3), &twins[other]).unwrap();
        assert_eq!(overtaken.overtaken_by.map(|by| by.digest()), Some(digests[here]));
        assert_eq!(side.ledger.lock().records.len(), before, "it is no alarm");
        let forged = signed(DocumentKind::Root, &twins[other], &[&key(seed("a"))]);
        let ca = side.root.coordinator_ca[0];
        assert!(side.control.install_root(at(3), &forged, ca).is_err(), "nobody who may has signed it");

        let roster = side.roster.clone();
        side.holds(at(4), &twins[other], &roster);
        assert_eq!(side.shown(), [("root 2".to_owned(), Some(digests[here]), digests[other])]);
        side.restart();
        assert_eq!(side.shown().len(), 1);
    }
    let next = Root { version: 3, prev: Some(digests[0]), ..twins[0].clone() };
    assert!(sides[1].take_root(at(5), &next).is_err(), "it follows the other one");
    let both = Root { also: vec![digests[1]], ..next };
    for side in &mut sides {
        assert!(side.take_root(at(6), &both).unwrap().is_new);
        assert!(side.shown().is_empty());
    }
}

#[test]
fn a_plan_that_names_both_ends_is_taken_on_either_side() {
    let mut sides = two_sides();
    let twins = ["of anna", "of ben"].map(|title| Plan { title: title.to_owned(), ..sides[0].plan(1) });
    let digests = twins.each_ref().map(made_digest);
    for (side, plan) in sides.iter_mut().zip(&twins) {
        side.submit(at(2), plan).unwrap();
    }
    let both = Plan { seq: Seq(2), prev: Some(digests[0]), also: vec![digests[1]], ..twins[0].clone() };
    for side in &mut sides {
        assert!(side.submit(at(3), &both).unwrap().is_new);
        for end in &twins {
            let root = side.root.clone();
            let holding = made::holding(&root, &side.roster, "b", &[end]);
            let signed = signed(DocumentKind::Holding, &holding, &[&key(seed("b"))]);
            side.control.holding(at(4), &node("b"), &signed).unwrap();
        }
        assert!(side.shown().is_empty(), "whichever of them a node still holds");
    }
}

#[test]
fn a_plan_that_a_node_holds_is_no_fork_any_more_when_it_is_handed_in_again() {
    let mut fleet = Fleet::new();
    let lost = fleet.plan(1);
    let holding = made::holding(&fleet.root, &fleet.roster, "b", &[&lost]);
    let signed = signed(DocumentKind::Holding, &holding, &[&key(seed("b"))]);
    fleet.control.holding(at(2), &node("b"), &signed).unwrap();
    assert_eq!(fleet.shown(), [("plan 1".to_owned(), None, made_digest(&lost))]);
    fleet.submit(at(3), &lost).unwrap();
    assert!(fleet.shown().is_empty());
    fleet.restart();
    assert!(fleet.shown().is_empty(), "and it stays over");
}

fn made_digest_of<T: serde::Serialize>(document: &T) -> Digest {
    Digest::of(&hostler_plan::json::write(document))
}
