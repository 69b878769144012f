//! Decisions about nodes: which may enter the ledger, and who is told of them.

use hostler_plan::{
    document::{Decided, DocumentRef, NodeDecision, NodeMatter},
    health::{Acceptance, Condition, Level, Rule},
    trust::MAX_JUMP,
};

use super::*;

fn accepted() -> NodeMatter {
    NodeMatter::Accept(Acceptance {
        rule: Rule::NvmeWear,
        subject: "nvme0".to_owned(),
        disk: None,
        level: Level::Degraded,
        required: false,
        values: [(Condition::NvmeWorn, "0.95".parse().unwrap())].into(),
        until: at(30 * 86_400),
        reason: "a new one is ordered".parse().unwrap(),
    })
}

fn about(number: u64, keeps: &[&Signed], about: NodeMatter) -> NodeDecision {
    let key = public(&key(seed("a"))).fingerprint();
    let keeps = keeps.iter().map(|s| s.digest()).collect();
    NodeDecision { node: node("a"), key, number, keeps, also: Vec::new(), about }
}

fn sign(fleet: &Fleet, now: Timestamp, decision: NodeDecision) -> Signed {
    sign_after(fleet, Head::EMPTY, now, decision)
}

/// By somebody who was shown a ledger of that head.
fn sign_after(fleet: &Fleet, seen: Head, now: Timestamp, decision: NodeDecision) -> Signed {
    let decided = Decided::Node(decision);
    let decision = made::decision(&fleet.roster, "admin", seen, now, decided);
    signed(DocumentKind::Decision, &decision, &[&key(ADMIN)])
}

impl Fleet {
    fn decide(&mut self, now: Timestamp, decision: NodeDecision) -> Result<Signed, Refused> {
        let signed = sign(self, now, decision);
        self.hand_in(now, signed)
    }

    /// The same by somebody who was shown the ledger as it is.
    fn decide_now(&mut self, now: Timestamp, decision: NodeDecision) -> Result<Signed, Refused> {
        let signed = sign_after(self, self.control.state().judge.head(), now, decision);
        self.hand_in(now, signed)
    }

    fn hand_in(&mut self, now: Timestamp, signed: Signed) -> Result<Signed, Refused> {
        match self.control.submit_decision(now, &signed) {
            Ok(_) => Ok(signed),
            Err(ControlError::Refused(refused) | ControlError::Ledger(AppendError::Refused(refused))) => Err(refused),
            Err(other) => panic!("{other}"),
        }
    }
}

fn refused<T: std::fmt::Debug>(taken: Result<T, Refused>) -> (Refusal, String) {
    let refused = taken.expect_err("it does not fit");
    (refused.refusal, refused.reason)
}

#[test]
fn a_node_is_told_what_was_decided_about_it_in_order_and_nobody_else_is() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    fleet.attach(at(1), "b").unwrap();
    fleet.look(at(1));
    let one = fleet.decide(at(2), about(1, &[], accepted())).unwrap();
    assert_eq!(fleet.look(at(2)), [format!("a decision {}", one.digest())]);
    let two = fleet.decide(at(3), about(2, &[&one], accepted())).unwrap();
    fleet.look(at(3));
    // A new stream of a node that proved nothing is told all that counts, one of a node that proved it nothing.
    fleet.attach(at(4), "a").unwrap();
    let told = fleet.look(at(4));
    let decisions = [format!("a decision {}", one.digest()), format!("a decision {}", two.digest())];
    assert!(told.ends_with(&decisions), "{told:?}");
    let mut holding = made::holding(&fleet.root, &fleet.roster, "a", &[]);
    holding.decision = Some(DocumentRef { version: 2, digest: two.digest() });
    let holding = signed(DocumentKind::Holding, &holding, &[&key(seed("a"))]);
    fleet.control.holding(at(5), &node("a"), &holding).unwrap();
    fleet.attach(at(6), "a").unwrap();
    assert!(!fleet.look(at(6)).iter().any(|told| told.contains("decision")));
    let withdraw = NodeMatter::Withdraw { acceptance: one.digest() };
    let three = fleet.decide(at(7), about(3, &[&two], withdraw)).unwrap();
    assert_eq!(fleet.look(at(7)), [format!("a decision {}", three.digest())]);
    let counts = fleet.control.state().judge.decisions_about(&node("a")).unwrap();
    assert_eq!((counts.number(), counts.at(at(8)).count()), (3, 1));
    // Whoever reads the ledger again comes to the same.
    let written = fleet.ledger.lock().written.clone();
    let mut again = State::new();
    written.iter().for_each(|record| again.replay(record).unwrap());
    assert_eq!(again.judge.decisions_about(&node("a")), Some(counts));
    assert!(!again.judge.is_restored());
}

#[test]
fn a_decision_about_a_node_is_the_next_one_and_keeps_only_what_counts() {
    let mut fleet = Fleet::new();
    let one = fleet.decide(at(2), about(1, &[], accepted())).unwrap();
    let again = about(1, &[], NodeMatter::Withdraw { acceptance: one.digest() });
    assert_eq!(refused(fleet.decide(at(3), again)).0, Refusal::Overtaken, "two people at once");
    let withdraw = || NodeMatter::Withdraw { acceptance: one.digest() };
    fleet.decide(at(3), about(2, &[], withdraw())).unwrap();
    assert_eq!(refused(fleet.decide(at(4), about(3, &[&one], accepted()))).0, Refusal::Replay, "it is withdrawn");
    assert_eq!(refused(fleet.decide(at(4), about(3, &[], withdraw()))).0, Refusal::Replay, "twice");
    let stranger = NodeDecision { node: node("z"), ..about(1, &[], accepted()) };
    assert_eq!(refused(fleet.decide(at(5), stranger)).0, Refusal::NotATarget);
    let other_key = NodeDecision { node: node("b"), ..about(1, &[], accepted()) };
    assert_eq!(refused(fleet.decide(at(5), other_key)).0, Refusal::NotATarget, "the key of a");
    let late = sign(&fleet, at(6), about(3, &[], accepted()));
    let found = fleet.control.submit_decision(at(6 + 3600), &late).unwrap_err().to_string();
    assert!(found.contains("decide and sign again"), "{found}");
}

#[test]
fn another_machine_under_the_name_begins_anew() {
    let mut fleet = Fleet::new();
    fleet.decide(at(2), about(1, &[], accepted())).unwrap();
    let other = public(&key(99));
    fleet.roster.nodes[0].key = other.clone();
    fleet.roster.version += 1;
    fleet.roster.prev = fleet.control.state().roster.as_ref().map(|roster| roster.digest());
    let roster = signed(DocumentKind::Roster, &fleet.roster, &[&key(ADMIN)]);
    fleet.control.submit_roster(at(3), &roster).unwrap();
    assert_eq!(fleet.control.state().judge.decisions_about(&node("a")), None);
    assert_eq!(refused(fleet.decide(at(4), about(2, &[], accepted()))).0, Refusal::NotATarget);
    fleet.decide(at(4), NodeDecision { key: other.fingerprint(), ..about(1, &[], accepted()) }).unwrap();
}

/// The node may hold one that is not here, and the next one is above it.
#[test]
fn numbers_are_left_out_only_by_whoever_saw_all_decisions_and_only_so_far() {
    let mut fleet = Fleet::new();
    let one = fleet.decide(at(2), about(4, &[], accepted())).unwrap();
    let (refusal, reason) = refused(fleet.decide(at(3), about(6, &[&one], accepted())));
    assert_eq!((refusal, reason.contains("expected decision 5 about a")), (Refusal::Overtaken, true), "{reason}");
    let two = fleet.decide_now(at(3), about(6, &[&one], accepted())).unwrap();
    for far in [u64::MAX, 6 + 2 * MAX_JUMP + 1] {
        let (refusal, reason) = refused(fleet.decide_now(at(4), about(far, &[&two], accepted())));
        assert_eq!((refusal, reason.contains("decision 20006 about a at most")), (Refusal::Replay, true), "{reason}");
    }
    // Above one that the node took as far as it goes.
    fleet.decide_now(at(4), about(6 + MAX_JUMP + 1, &[&two], accepted())).unwrap();
    let written = fleet.ledger.lock().written.clone();
    let mut again = State::new();
    written.iter().for_each(|record| again.replay(record).unwrap());
    let counts = again.judge.decisions_about(&node("a")).unwrap();
    assert_eq!((counts.number(), counts.at(at(8)).count()), (6 + MAX_JUMP + 1, 2));
}

#[test]
fn a_decision_that_a_node_holds_and_that_is_not_here_is_an_alarm() {
    let mut fleet = Fleet::new();
    let one = fleet.decide(at(2), about(1, &[], accepted())).unwrap();
    for (number, digest, alarms) in [(1, one.digest(), vec![]), (2, Digest::of(b"another"), vec!["alarm"])] {
        let before = fleet.ledger.lock().records.len();
        let mut holding = made::holding(&fleet.root, &fleet.roster, "a", &[]);
        holding.decision = Some(DocumentRef { version: number, digest });
        let holding = signed(DocumentKind::Holding, &holding, &[&key(seed("a"))]);
        fleet.control.holding(at(5), &node("a"), &holding).unwrap();
        assert_eq!(fleet.ledger.words_from(before), alarms);
    }
}
