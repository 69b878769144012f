//! What may enter the ledger, and what follows when a part of it was lost.

use hostler_plan::document::Decided;

use super::{delivery::holding, *};

/// Finding: 600 receipts for what never was, in 1.8 seconds, each in the ledger for ever.
#[test]
fn receipts_for_what_was_never_granted_leave_no_record_and_are_not_sent_for_ever() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    let plan = fleet.plan(1);
    fleet.submit(at(2), &plan).unwrap();
    fleet.look(at(2));
    let before = fleet.ledger.lock().records.len();
    let forged = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = Receipt { grant: 1, ..made::receipt(&plan, "a.check") };
        change(&mut receipt);
        vec![(node("a"), signed(DocumentKind::Receipt, &receipt, &[&key(seed("a"))]))]
    };
    let forgeries: [&dyn Fn(&mut Receipt); 7] = [
        &|r| r.grant = 99,
        &|r| r.plan = Digest::of(b"no plan"),
        &|r| r.task = made::task_id("b.check"),
        &|r| (r.counter, r.previous) = (u64::MAX, Some(Digest::ZERO)),
        &|r| (r.counter, r.previous) = (7, Some(Digest::ZERO)),
        &|r| (r.started, r.ended) = (Timestamp::from_unix_seconds(1), Timestamp::from_unix_seconds(2)),
        &|r| r.seq = Seq(2),
    ];
    for second in 3..100 {
        for forgery in forgeries {
            assert!(matches!(fleet.control.receipts(at(second), forged(forgery))[0], Err(ControlError::Refused(_))));
        }
    }
    assert!(fleet.told().iter().all(|told| told.starts_with("a not taken")), "each is answered once and for all");
    let words = fleet.ledger.words_from(before);
    assert!(words.len() <= 8 && words.iter().all(|w| w == "alarm"), "alarms, and few of them: {words:?}");
    assert_eq!(fleet.control.receipts_refused(), 97 * 7);
    assert!(fleet.control.receipts(at(100), vec![receipt(&plan, "a", 1)])[0].is_ok(), "what was granted still counts");
    let again = forged(&|r| (r.counter, r.previous) = (2, Some(receipt(&plan, "a", 1).1.digest())));
    assert!(fleet.control.receipts(at(101), again)[0].is_err(), "and once");
}

#[test]
fn a_clock_that_goes_back_is_a_record_of_its_own() {
    let mut fleet = Fleet::new();
    fleet.submit(at(100), &fleet.plan(1)).unwrap();
    let before = fleet.ledger.lock().records.len();
    fleet.submit(at(50), &fleet.plan(2)).unwrap();
    assert_eq!(fleet.ledger.words_from(before), ["clock_set_back", "plan"]);
    let mut again = State::new();
    fleet.ledger.lock().written.iter().for_each(|written| again.replay(written).unwrap());
}

impl Fleet {
    /// The coordinator begins again with a ledger that was put back from a copy.
    fn put_back(&mut self, copy: &[Written]) {
        let (ledger, mut state) = (MemoryLedger::default(), State::new());
        copy.iter().for_each(|written| state.replay(written).unwrap());
        {
            let mut memory = ledger.lock();
            memory.head = Some(state.judge.head());
            memory.records = copy.iter().map(|w| w.record.clone()).collect();
        }
        self.ledger = ledger.clone();
        self.control = Control::new(Box::new(ledger), state, config(), BTreeMap::new());
        let restored = Entry::Restored { generation: 1, lost: None };
        self.control.commit(at(100), vec![Proven::Decision(restored)]).unwrap();
        self.streams.clear();
    }
}

/// Finding: a ledger from a copy was a first run by mistake, and granted what nodes refuse.
#[test]
fn a_ledger_put_back_from_a_copy_grants_nothing_until_it_caught_up_with_what_nodes_hold() {
    let mut fleet = Fleet::new();
    fleet.submit(at(2), &fleet.plan(40)).unwrap();
    let copy = fleet.ledger.lock().written.clone();
    let later = fleet.plan(41);
    fleet.submit(at(3), &later).unwrap();
    let last = fleet.plan(42);
    fleet.submit(at(4), &last).unwrap();

    fleet.put_back(&copy);
    fleet.attach(at(101), "a").unwrap();
    fleet.attach(at(101), "b").unwrap();
    let told = fleet.look(at(102));
    assert!(!told.iter().any(|t| t.contains("grant")), "plan 40 is void on every node: {told:?}");
    let before = fleet.ledger.lock().records.len();
    for name in ["a", "b"] {
        let holds = holding(&fleet, name, &[&last], name);
        fleet.control.holding(at(103), &node(name), &holds).unwrap();
    }
    let words = fleet.ledger.words_from(before);
    assert!(
        words.len() >= 3 && words.iter().all(|word| word == "alarm" || word == "holding"),
        "each names who holds plan 42: {words:?}"
    );
    assert!(!fleet.look(at(104)).iter().any(|t| t.contains("grant")));

    let ahead = fleet.control.ahead().and_then(|held| held.document().holds.plan).map(|plan| plan.seq);
    assert_eq!(ahead, Some(Seq(42)), "an admin who makes a new plan takes a number above what nodes hold");

    // The admin hands in the signed plans again: only they count as newer.
    fleet.submit(at(105), &later).unwrap();
    fleet.submit(at(106), &last).unwrap();
    for name in ["a", "b"] {
        let holds = holding(&fleet, name, &[&last], name);
        fleet.control.holding(at(107), &node(name), &holds).unwrap();
    }
    assert!(fleet.control.ahead().is_none(), "the ledger has come up to it");
    let told = fleet.look(at(108));
    assert!(told.contains(&"a grant 1000001 of a.check".to_owned()), "above every grant that was lost: {told:?}");
}

#[test]
fn an_admin_may_adopt_a_ledger_that_nobody_can_complete() {
    let mut fleet = Fleet::new();
    fleet.submit(at(2), &fleet.plan(1)).unwrap();
    let copy = fleet.ledger.lock().written.clone();
    fleet.put_back(&copy);
    fleet.attach(at(101), "a").unwrap();
    assert!(!fleet.look(at(102)).iter().any(|t| t.contains("grant")));
    let after = fleet.control.state().judge.head();
    let adopt = Decided::Adopt { before: Head::EMPTY, after };
    let decision = made::decision(&fleet.roster, "admin", after, at(103), adopt);
    let by_a_stranger = signed(DocumentKind::Decision, &decision, &[&key(9)]);
    assert!(fleet.control.submit_decision(at(103), &by_a_stranger).is_err());
    let adopted = signed(DocumentKind::Decision, &decision, &[&key(ADMIN)]);
    assert!(fleet.control.submit_decision(at(103), &adopted).unwrap().is_new);
    assert!(fleet.look(at(104)).iter().any(|t| t.contains("a grant 1000001")));
}

/// The last head that a node was shown on its streams.
fn shown(fleet: &mut Fleet) -> Option<Head> {
    let heads = fleet.control.take_effects().into_iter().filter_map(|effect| {
        let Effect::Send { message: ToNode::Welcome { head, .. } | ToNode::Grant { head, .. }, .. } = effect else {
            return None;
        };
        Some(head)
    });
    heads.last()
}

#[test]
fn a_node_is_shown_the_head_with_its_stream_and_with_each_grant() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    assert_eq!(shown(&mut fleet), fleet.ledger.lock().head);
    fleet.submit(at(2), &fleet.plan(1)).unwrap();
    assert_eq!(shown(&mut fleet), None, "not with every record");
    fleet.control.look(at(2));
    let head = shown(&mut fleet).unwrap();
    assert_eq!(Some(head), fleet.ledger.lock().head, "its grant is in it");
    assert!(fleet.control.state().judge.contains(head));
}

/// Who holds the coordinator shows one admin one ledger and another admin another; the node has seen one of them.
#[test]
fn two_ledgers_for_two_admins_are_found_by_the_head_that_a_node_signed() {
    let mut annes = Fleet::new();
    let common = annes.ledger.lock().written.clone();
    let mut bens = Fleet::new();
    bens.put_back(&common);
    annes.attach(at(101), "a").unwrap();
    let plan = annes.plan(1);
    annes.submit(at(102), &plan).unwrap();
    annes.control.look(at(102));
    let head = shown(&mut annes);
    let holding = |head| {
        let mut holding = made::holding(&annes.root, &annes.roster, "a", &[]);
        holding.holds.head = head;
        signed(DocumentKind::Holding, &holding, &[&key(seed("a"))])
    };
    let before = annes.ledger.lock().records.len();
    annes.control.holding(at(103), &node("a"), &holding(head)).unwrap();
    assert!(annes.ledger.words_from(before).is_empty(), "its own head is no alarm");
    let before = bens.ledger.lock().records.len();
    bens.control.holding(at(103), &node("a"), &holding(head)).unwrap();
    assert_eq!(bens.ledger.words_from(before), ["alarm"]);
    let alarm = bens.ledger.lock().records.last().cloned();
    let said = format!("{:?}", alarm.unwrap().entry);
    assert!(said.contains(&head.unwrap().to_string()) && said.contains("ledger verify A B"), "{said}");
}
