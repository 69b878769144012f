//! What a node holds, and that a refusal leaves no trace in it.

use std::collections::BTreeMap;

use hostler_fixtures as made;
use hostler_plan::{
    document::{DocumentKind, Plan, PlanRef, Receipt, Root, Roster, Signed},
    id::{Arch, Digest, Epoch, Seq},
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, Accepted, Clock, Granted, NodeState, Start, Verified},
};

use crate::fleet::*;

fn build_time() -> Timestamp {
    at("2026-11-10T00:00:00Z")
}

/// A node that enrolled and received its roster.
pub(crate) fn fresh() -> NodeState {
    let state = NodeState::new(trusted(&root()), build_time());
    state.accept_roster(clock(), &signed_roster(&roster())).unwrap().0
}

pub(crate) fn numbered(seq: u64, beside: &[&Signed]) -> Signed {
    signed_plan(&with_number(seq, beside))
}

pub(crate) fn with_number(seq: u64, beside: &[&Signed]) -> Plan {
    let mut plan = plan();
    plan.seq = Seq(seq);
    plan.title = format!("plan {seq}");
    plan.keeps_valid = beside.iter().map(|s| reference(s)).collect();
    plan
}

pub(crate) fn reference(signed: &Signed) -> PlanRef {
    let plan: Plan = hostler_plan::json::parse(&signed.bytes).unwrap();
    PlanRef { seq: plan.seq, digest: signed.digest() }
}

/// A plan that counts and has work for `w1`.
pub(crate) fn accept(state: &NodeState, signed: &Signed) -> Result<(NodeState, Verified<Plan>), Refused> {
    let Accepted { state, work, .. } = state.accept_plan(clock(), &identity("w1"), signed)?;
    work.map(|plan| (state, plan.expect("the plan has work for w1")))
}

/// Whether `w1` may begin its task, with the receipt of what comes before.
pub(crate) fn start(state: &mut NodeState, clock: Clock, signed: &Signed) -> Start {
    let plan: Plan = hostler_plan::json::parse(&signed.bytes).unwrap();
    let before = made::receipt(&plan, "s1.stage");
    let receipts = vec![signed_receipt(&before)];
    state.may_start(clock, &identity("w1"), &mut Granted::new(signed.digest(), task_id("w1.stage"), receipts))
}

pub(crate) fn refusal(start: Start) -> Refused {
    match start {
        Start::Never(refused) => refused,
        Start::Now(_) | Start::Wait(_) => panic!("expected a refusal, found {start:?}"),
    }
}

pub(crate) fn may(start: Start) -> bool {
    match start {
        Start::Now(_) => true,
        Start::Wait(why) => panic!("expected leave, found {why}"),
        Start::Never(refused) => panic!("expected leave, found {refused}"),
    }
}

/// As the next process has it.
pub(crate) fn read_back(state: &NodeState) -> NodeState {
    let documents = state.documents();
    let find = |digest: &Digest| documents.iter().find(|(d, _)| d == digest).map(|(_, bytes)| bytes.to_vec());
    NodeState::from_index(&state.to_index(), find).unwrap()
}

#[test]
fn a_node_never_goes_back() {
    let (p41, p42) = (numbered(41, &[]), numbered(42, &[]));
    let (at_41, _) = accept(&fresh(), &p41).unwrap();
    let (at_42, plan) = accept(&at_41, &p42).unwrap();
    assert_eq!((at_42.seq(), plan.digest()), (Seq(42), p42.digest()));
    assert_eq!(at_42.open_plans(), [reference(&p42)]);

    assert_eq!(accept(&at_42, &p42).unwrap().0, at_42, "the same plan twice goes on");
    assert_refused(accept(&at_42, &p41), Refusal::Replay, &["after 42", "plan 41, which is void"]);
    let mut twin = with_number(42, &[]);
    twin.title = "other content".to_owned();
    let twin = signed_plan(&twin);
    let both = [p42.digest().to_string(), twin.digest().to_string()];
    assert_refused(accept(&at_42, &twin), Refusal::Replay, &["plan 42", &both[0], &both[1]]);
    assert_eq!(accept(&at_42, &numbered(10_042, &[])).unwrap().0.seq(), Seq(10_042));
}

#[test]
fn a_plan_beside_a_newer_one_stays_open() {
    let p41 = numbered(41, &[]);
    let p43 = numbered(43, &[&p41]);
    let (at_41, _) = accept(&fresh(), &p41).unwrap();
    let (at_43, _) = accept(&at_41, &p43).unwrap();
    assert_eq!(at_43.open_plans(), [reference(&p43), reference(&p41)]);
    let (mut again, _) = accept(&at_43, &p41).unwrap();
    assert_eq!((again.seq(), again.held_plans().count()), (Seq(43), 2));
    assert!(may(start(&mut again, clock(), &p41)));
    let mut twin = with_number(41, &[]);
    twin.title = "other content".to_owned();
    assert_refused(accept(&again, &signed_plan(&twin)), Refusal::Replay, &["plan 41 to stay"]);

    // A node that was off is handed both in the order of their numbers. One that is shown 43 first takes nothing from
    // its list: whatever it never held may have been void before.
    let (mut late, _) = accept(&fresh(), &p43).unwrap();
    assert_eq!(late.open_plans(), [reference(&p43)]);
    assert_refused(Err::<(), _>(refusal(start(&mut late, clock(), &p41))), Refusal::Replay, &["never arrived"]);
    assert_refused(accept(&late, &p41), Refusal::Replay, &["plan 41, which is void"]);

    let (at_44, _) = accept(&again, &numbered(44, &[])).unwrap();
    assert_refused(accept(&at_44, &p43), Refusal::Replay, &["void"]);
    assert_refused(accept(&at_44, &p41), Refusal::Replay, &["void"]);
    assert_eq!(at_44.held_plans().count(), 1);
}

#[test]
fn a_void_plan_is_not_opened_again() {
    let (p41, p42) = (numbered(41, &[]), numbered(42, &[]));
    let (at_41, _) = accept(&fresh(), &p41).unwrap();
    let (at_42, _) = accept(&at_41, &p42).unwrap();
    let p43 = numbered(43, &[&p41, &p42]);
    let (at_43, _) = accept(&at_42, &p43).unwrap();
    assert_eq!(at_43.open_plans(), [reference(&p43), reference(&p42)]);
    assert_refused(accept(&at_43, &p41), Refusal::Replay, &["plan 41, which is void"]);
}

#[test]
fn a_new_epoch_voids_every_plan_and_starts_again() {
    let stolen = numbered(9_000, &[]);
    let (state, _) = accept(&fresh(), &stolen).unwrap();
    assert_refused(accept(&state, &numbered(43, &[])), Refusal::Replay, &["after 9000"]);

    let mut next = root();
    (next.version, next.epoch) = (2, Epoch(2));
    next.signers.remove(0);
    let signed_next = signed(DocumentKind::Root, &next, &[ADA, BEN]);
    let state = state.accept_root(clock(), &signed_next).unwrap();
    assert_eq!((state.seq(), state.epoch(), state.open_plans()), (Seq(0), Epoch(2), &[][..]));
    assert_eq!(state.held_plans().count(), 0);
    assert_refused(accept(&state, &stolen), Refusal::BadSignature, &["unknown key"]);

    let roster = Roster { epoch: Epoch(2), version: 1, root_version: 2, ..roster() };
    let signed_roster = signed(DocumentKind::Roster, &roster, &[BEN]);
    let (state, roster) = state.accept_roster(clock(), &signed_roster).unwrap();
    let mut first = with_number(1, &[]);
    (first.epoch, first.root_version, first.roster_version) = (Epoch(2), 2, 1);
    first.roster = roster.digest();
    assert_eq!(accept(&state, &signed(DocumentKind::Plan, &first, &[BEN])).unwrap().0.seq(), Seq(1));
}

#[test]
fn a_plan_is_for_the_machine_it_names() {
    let state = fresh();
    let offer = |me| state.accept_plan(clock(), &me, &numbered(42, &[])).and_then(|accepted| accepted.work);
    assert!(offer(identity("w1")).is_ok());
    let mut other = identity("w1");
    other.key = public(STRANGER).fingerprint();
    assert_refused(offer(other.clone()), Refusal::NotATarget, &["w1", other.key.as_str()]);
    other = identity("w1");
    other.arch = Arch::X86_64;
    assert_refused(offer(other), Refusal::NotATarget, &["x86_64", "aarch64"]);
    let mut without = with_number(42, &[]);
    without.targets.remove(1);
    without.tasks.remove(1);
    without.tasks[1].after.pop();
    let accepted = state.accept_plan(clock(), &identity("w1"), &signed_plan(&without)).unwrap();
    assert_eq!(accepted.work, Ok(None), "it counts, and has no work here");
}

#[test]
fn nothing_new_starts_by_a_clock_that_cannot_be_right() {
    let plan = numbered(42, &[]);
    let (held, _) = accept(&fresh(), &plan).unwrap();
    let noon = "2026-11-21T12:00:00Z";
    for state in [held.clone(), read_back(&held)] {
        let ask = |now: &str, synchronised| start(&mut state.clone(), Clock { now: at(now), synchronised }, &plan);
        let waits = |start: Start, why: &str| match start {
            Start::Wait(sentence) => assert!(sentence.contains(why), "{sentence}"),
            Start::Now(_) | Start::Never(_) => panic!("expected to wait: {why}, found {start:?}"),
        };
        waits(ask(noon, false), "is not synchronised");
        waits(ask("1970-01-01T00:00:00Z", false), "is not synchronised");
        waits(ask("2036-11-21T12:00:00Z", false), "is not synchronised");
        waits(ask("2001-01-01T00:00:00Z", true), "2001-01-01T00:00:00Z, before");
        assert!(may(ask(noon, true)), "it recovers when the clock returns");
        let expired = refusal(ask("2026-11-24T08:00:00Z", true));
        assert_refused(Err::<(), _>(expired), Refusal::Expired, &["plan 42 expired"]);
        let expired = refusal(ask("2036-11-21T12:00:00Z", true));
        assert_refused(Err::<(), _>(expired), Refusal::Expired, &["root 1 expired"]);
    }
    assert!(held.begun_plan(&plan.digest()).is_some(), "what was begun is finished");
}

#[test]
fn a_plan_is_held_without_a_clock_and_never_starts_after_its_end() {
    let plan = numbered(42, &[]);
    let unset = Clock { now: at("1970-01-01T00:00:00Z"), synchronised: false };
    let accepted = fresh().accept_plan(unset, &identity("w1"), &plan).unwrap();
    assert!(accepted.work.unwrap().is_some());
    assert_eq!(accepted.state.time_floor(), fresh().time_floor(), "and that clock raises nothing");

    // Another document has told meanwhile that the plan's end is past.
    let late = Roster { version: 4, created: at("2026-11-25T00:00:00Z"), ..roster() };
    let clock = Clock { now: at("2026-11-25T01:00:00Z"), synchronised: true };
    let (mut state, _) = accepted.state.accept_roster(clock, &signed_roster(&late)).unwrap();
    let never = refusal(start(&mut state, unset, &plan));
    assert_refused(Err::<(), _>(never), Refusal::Expired, &["plan 42 expired"]);

    let mut expired = with_number(43, &[]);
    (expired.created, expired.not_before) = (at("2026-11-11T00:00:00Z"), at("2026-11-11T00:00:00Z"));
    expired.expires = at("2026-11-12T00:00:00Z");
    let accepted = state.accept_plan(clock, &identity("w1"), &signed_plan(&expired)).unwrap();
    assert_refused(accepted.work, Refusal::Expired, &["plan 43 expired"]);
    assert_eq!(accepted.state.seq(), Seq(43), "its work is over, and so is what it replaced");
}

#[test]
fn the_floor_follows_verified_times_and_never_passes_a_true_clock() {
    let state = NodeState::new(trusted(&root()), build_time());
    let offer = |created: &str, synchronised| {
        let roster = Roster { created: at(created), ..roster() };
        let clock = Clock { now: noon(), synchronised };
        state.accept_roster(clock, &signed_roster(&roster)).unwrap().0.time_floor()
    };
    assert_eq!(offer("2026-11-20T00:00:00Z", true), at("2026-11-20T00:00:00Z"));
    assert_eq!(offer("2026-11-21T12:00:00Z", true), noon());
    assert_eq!(offer("2026-11-01T00:00:00Z", true), build_time());
    assert_eq!(offer("2099-01-01T00:00:00Z", true), build_time());
    assert_eq!(offer("2099-01-01T00:00:00Z", false), build_time());
    assert_eq!(offer("2026-11-20T00:00:00Z", false), build_time(), "a clock that may be wrong raises nothing");
    let (accepted, plan) = accept(&fresh(), &numbered(42, &[])).unwrap();
    assert_eq!(accepted.time_floor(), noon(), "the node's own clock is believed too");
    let raised = |now: &str| accepted.clone().with_time(Clock { now: at(now), synchronised: true }).time_floor();
    assert_eq!(raised("2026-11-22T00:00:00Z"), at("2026-11-22T00:00:00Z"));
    assert_eq!(raised("2036-11-22T00:00:00Z"), plan.document().expires, "never past the end of what is held");
    assert_eq!(raised("2026-11-21T11:59:59Z"), noon(), "never back");
    let reset = accepted.clone().with_floor_at(build_time());
    assert_eq!(reset.time_floor(), build_time(), "root on the machine may set it back");
    assert_eq!(
        accepted.time(Clock { now: Timestamp::from_unix_seconds(0), synchronised: true }),
        accepted.time_floor()
    );
}

#[test]
fn a_node_that_holds_either_end_of_a_fork_takes_the_document_that_names_both() {
    let twins =
        [1, 2].map(|hour| Roster { version: 4, created: at(&format!("2026-11-21T0{hour}:00:00Z")), ..roster() });
    let [one, other] = twins.map(|roster| signed_roster(&roster));
    let (prev, also) = (Some(one.digest()), vec![other.digest()]);
    let next = signed_roster(&Roster { version: 5, prev, also, ..roster() });
    let root_of = |hour| {
        let prev = Some(trusted(&root()).digest());
        let twin = Root { version: 2, prev, created: at(&format!("2026-11-02T0{hour}:00:00Z")), ..root() };
        signed(DocumentKind::Root, &twin, &[ADA])
    };
    let roots = [root_of(1), root_of(2)];
    let (prev, also) = (Some(roots[0].digest()), vec![roots[1].digest()]);
    let root = signed(DocumentKind::Root, &Root { version: 3, prev, also, ..root() }, &[ADA]);
    for (roster, twin) in [(&one, &roots[0]), (&other, &roots[1])] {
        let (state, _) = fresh().accept_roster(clock(), roster).unwrap();
        let state = state.accept_root(clock(), twin).unwrap();
        let (state, _) = state.accept_roster(clock(), &next).unwrap();
        let state = state.accept_root(clock(), &root).unwrap();
        assert_eq!(state.roster().map(Verified::digest), Some(next.digest()));
        assert_eq!(state.root().digest(), root.digest());
    }
}

/// Also one that was set from outside: whatever documents arrive by it, the floor stays, and nothing starts.
#[test]
fn a_clock_below_the_floor_neither_moves_it_nor_lets_anything_start() {
    let plan = numbered(42, &[]);
    let (held, _) = accept(&fresh(), &plan).unwrap();
    let floor = held.time_floor();
    for now in ["1970-01-01T00:00:00Z", "2026-11-15T00:00:00Z", "2026-11-21T11:59:59Z"] {
        let slow = Clock { now: at(now), synchronised: true };
        for created in ["1970-01-01T00:00:00Z", "2026-11-14T00:00:00Z", "2026-11-21T11:59:59Z", "2099-01-01T00:00:00Z"]
        {
            let created = at(created);
            let next = Roster { version: 4, created, ..roster() };
            let (mut state, _) = held.accept_roster(slow, &signed_roster(&next)).unwrap();
            assert_eq!(state.time_floor(), floor, "a roster of {created} by a clock of {now}");
            assert!(matches!(start(&mut state, slow, &plan), Start::Wait(_)), "{now}");
            assert!(may(start(&mut state, clock(), &plan)), "and it recovers");
        }
    }
}

#[test]
fn a_plan_waits_for_its_root_and_roster() {
    let state = NodeState::new(trusted(&root()), build_time());
    assert_refused(accept(&state, &numbered(42, &[])), Refusal::DigestMismatch, &["roster 3", "found none"]);
    let mut later = with_number(42, &[]);
    later.root_version = 2;
    assert_refused(accept(&fresh(), &signed_plan(&later)), Refusal::RootChain, &["root 2"]);
}

#[test]
fn a_plan_that_is_held_is_judged_again_by_what_is_held_now() {
    let plan = numbered(42, &[]);
    let (state, _) = accept(&fresh(), &plan).unwrap();
    let mut next = root();
    next.version = 2;
    next.revoked = vec![public(ADA).fingerprint()];
    let mut revoking = state.accept_root(clock(), &signed(DocumentKind::Root, &next, &[ADA, BEN])).unwrap();
    assert_eq!(revoking.seq(), Seq(42), "the same epoch keeps its number");
    let never = refusal(start(&mut revoking, clock(), &plan));
    assert_refused(Err::<(), _>(never), Refusal::Revoked, &["revoked key"]);
    assert_refused(accept(&revoking, &plan), Refusal::Revoked, &["revoked key"]);

    let mut without = roster();
    without.version = 4;
    without.nodes.remove(2);
    let (mut state, _) = state.accept_roster(clock(), &signed_roster(&without)).unwrap();
    let never = refusal(start(&mut state, clock(), &plan));
    assert_refused(Err::<(), _>(never), Refusal::NotATarget, &["w2"]);
}

/// Whether both are the very same proof, and not one that was earned again.
fn is_same(one: &Verified<Plan>, other: &Verified<Plan>) -> bool {
    std::ptr::eq(one.document(), other.document())
}

#[test]
fn a_plan_is_verified_once_and_again_when_root_roster_signatures_or_process_are_others() {
    let p41 = numbered(41, &[]);
    let (mut state, plan) = accept(&fresh(), &p41).unwrap();
    let ask = |state: &mut NodeState| match start(state, clock(), &p41) {
        Start::Now(plan) => plan,
        Start::Wait(_) | Start::Never(_) => panic!("expected leave"),
    };
    assert!(is_same(&plan, &ask(&mut state)));
    assert!(is_same(&plan, &accept(&state, &p41).unwrap().1));

    // Read back from the disk it has proved nothing; asked for once it has.
    let mut read = read_back(&state);
    let first = ask(&mut read);
    assert!(!is_same(&first, read_back(&state).begun_plan(&p41.digest()).unwrap()));
    assert!(is_same(&first, &ask(&mut read)));

    let mut newer = roster();
    newer.version += 1;
    let (mut state, _) = state.accept_roster(clock(), &signed_roster(&newer)).unwrap();
    let again = ask(&mut state);
    assert!(!is_same(&plan, &again), "another roster");
    assert!(is_same(&again, &ask(&mut state)));

    let mut next = root();
    next.version += 1;
    let mut state = state.accept_root(clock(), &signed(DocumentKind::Root, &next, &[ADA, BEN])).unwrap();
    let under_root_2 = ask(&mut state);
    assert!(!is_same(&again, &under_root_2), "another root");

    let twice = Signed { signatures: [p41.signatures.clone(), p41.signatures.clone()].concat(), ..p41.clone() };
    let (mut state, other) = accept(&state, &twice).unwrap();
    assert!(!is_same(&under_root_2, &other), "other signatures");
    assert_eq!(ask(&mut state).signed(), &p41, "what is held stays");
    let none = Signed { signatures: Vec::new(), ..p41.clone() };
    assert_refused(accept(&state, &none), Refusal::BadSignature, &["no signature"]);
}

#[test]
fn a_refusal_leaves_no_trace_and_the_next_good_input_works() {
    let (state, _) = accept(&fresh(), &numbered(41, &[])).unwrap();
    let before = (state.to_index(), state.clone());
    let mut elsewhere = with_number(99, &[]);
    elsewhere.fleet_id = other_fleet();
    let bad = [signed_plan(&elsewhere), numbered(40, &[]), numbered(41 + 10_001, &[])];
    for signed in &bad {
        assert!(accept(&state, signed).is_err());
    }
    let jumped = Root { version: 7, ..root() };
    assert!(state.accept_root(clock(), &signed(DocumentKind::Root, &jumped, &[ADA])).is_err());
    assert!(state.accept_roster(clock(), &signed_roster(&Roster { version: 1, ..roster() })).is_err());
    assert_eq!((state.to_index(), state.clone()), before);
    assert!(accept(&state, &numbered(42, &[])).is_ok());
}

#[test]
fn receipts_are_counted_one_by_one() {
    let (state, plan) = accept(&fresh(), &numbered(42, &[])).unwrap();
    let first = signed_receipt(&receipt(&plan, "w1.stage", 1));
    assert_eq!(state.next_receipt(), (1, None));
    let state = state.with_receipt(clock(), &first.bytes, None).unwrap();
    assert_eq!(state.next_receipt(), (2, Some(first.digest())));
    assert_refused(
        state.with_receipt(clock(), &first.bytes, None),
        Refusal::DamagedState,
        &["sign receipt 2", "number 1"],
    );
    let unchained = signed_receipt(&receipt(&plan, "w1.stage", 2));
    assert_refused(
        state.with_receipt(clock(), &unchained.bytes, None),
        Refusal::DamagedState,
        &["another one before it"],
    );
    let mut second = receipt(&plan, "w1.stage", 2);
    second.previous = Some(first.digest());
    assert_eq!(state.with_receipt(clock(), &signed_receipt(&second).bytes, None).unwrap().next_receipt().0, 3);
}

/// Receipt `counter` of `w1` for its task of a plan, behind another one.
fn own_receipt(plan: &Verified<Plan>, counter: u64, previous: Option<Digest>) -> Verified<Receipt> {
    let receipt = Receipt { previous, ..receipt(plan, "w1.stage", counter) };
    trust::receipt(&verified_roster(&roster()), &signed_receipt(&receipt)).unwrap()
}

#[test]
fn a_restored_node_catches_up_with_its_own_receipts_and_runs_no_task_twice() {
    let w1 = identity("w1");
    let (p40, p42) = (numbered(40, &[]), numbered(42, &[]));
    let (old, plan40) = accept(&fresh(), &p40).unwrap();
    let (_, plan42) = accept(&old, &p42).unwrap();
    let first = own_receipt(&plan40, 1, None);
    let second = own_receipt(&plan42, 2, Some(first.digest()));
    let state = old.catch_up(&w1, &first).unwrap();
    assert_eq!((state.seq(), state.next_receipt()), (Seq(40), (2, Some(first.digest()))));
    assert!(state.receipt_of(&p40.digest(), &task_id("w1.stage")).is_some(), "it ran");
    assert_eq!(state.receipt_of(&p42.digest(), &task_id("w1.stage")), None, "not under that plan");
    assert_eq!(state.receipt_of(&p40.digest(), &task_id("w2.stage")), None, "not that task");
    let state = state.catch_up(&w1, &second).unwrap();
    assert_eq!((state.seq(), state.next_receipt()), (Seq(42), (3, Some(second.digest()))));
    assert_refused(accept(&state, &numbered(41, &[])), Refusal::Replay, &["after 42"]);
    assert!(accept(&state, &p42).is_ok(), "what was held then goes on");
    assert_eq!(state.catch_up(&w1, &second).unwrap(), state, "the same receipt twice changes nothing");
    assert_eq!(state.catch_up(&w1, &first).unwrap(), state, "an older one changes nothing");
    assert_refused(old.catch_up(&identity("w2"), &first), Refusal::NotATarget, &["one of w1"]);

    let twins = [
        own_receipt(&plan40, 2, Some(first.digest())),
        own_receipt(&plan42, 3, Some(Digest::of(b"another one before"))),
    ];
    for twin in &twins {
        assert_refused(state.catch_up(&w1, twin), Refusal::DamagedState, &["another machine holds this key"]);
    }
}

#[test]
fn where_receipts_between_are_missing_nothing_of_those_plans_starts_again() {
    let (old, _) = accept(&fresh(), &numbered(40, &[])).unwrap();
    let p42 = numbered(42, &[]);
    let (_, plan42) = accept(&old, &p42).unwrap();
    let newest = own_receipt(&plan42, 7, Some(Digest::of(b"receipt 6")));
    let state = old.catch_up(&identity("w1"), &newest).unwrap();
    assert_eq!((state.seq(), state.next_receipt().0, state.open_plans().len()), (Seq(42), 8, 0));
    assert_refused(accept(&state, &p42), Refusal::Replay, &["plan 42, which is void here"]);
    assert!(accept(&state, &numbered(43, &[])).is_ok());
    assert_eq!(read_back(&state), state);
}

#[test]
fn a_state_reads_back_what_it_wrote_and_notices_changed_documents() {
    let (state, plan) = accept(&fresh(), &numbered(42, &[&numbered(41, &[])])).unwrap();
    let state = state.with_receipt(clock(), &signed_receipt(&receipt(&plan, "w1.stage", 1)).bytes, None).unwrap();
    assert_eq!(read_back(&state), state);

    let text = String::from_utf8(state.to_index()).unwrap();
    let documents: BTreeMap<Digest, Vec<u8>> =
        state.documents().into_iter().map(|(digest, bytes)| (digest, bytes.to_vec())).collect();
    assert_eq!(documents.len(), 3, "a root, a roster and a plan");
    let read = |text: &str, documents: &BTreeMap<Digest, Vec<u8>>| {
        NodeState::from_index(text.as_bytes(), |digest| documents.get(digest).cloned())
    };
    for digest in documents.keys() {
        for at in [0, 100, documents[digest].len() - 1] {
            let mut changed = documents.clone();
            changed.get_mut(digest).unwrap()[at] ^= 1;
            assert_refused(read(&text, &changed), Refusal::DamagedState, &["digest"]);
        }
        let mut fewer = documents.clone();
        fewer.remove(digest);
        assert_refused(read(&text, &fewer), Refusal::DamagedState, &["found none"]);
    }
    for (from, to) in [
        ("\"seq\": 42,\n  \"open\"", "\"seq\": 41,\n  \"open\""),
        ("\"counter\": 1", "\"counter\": 0"),
        ("\"counter\": 1", "\"counter\": 1, \"more\": 1"),
        ("{\n      \"counter\": 1", "{\n      \"counter\": 2"),
        ("node-state/v3", "node-state/v4"),
    ] {
        assert!(text.contains(from), "{from}");
        assert_refused(read(&text.replacen(from, to, 1), &documents), Refusal::DamagedState, &[]);
    }
    let last = format!("\"last_receipt\": \"{}\"", state.next_receipt().1.unwrap());
    assert_refused(read(&text.replace(&last, "\"last_receipt\": null"), &documents), Refusal::DamagedState, &["fit"]);
    assert_refused(read("", &documents), Refusal::DamagedState, &["cannot be read"]);
    let orphan = text.replacen(&plan.digest().to_string(), &Digest::of(b"x").to_string(), 1);
    assert_refused(read(&orphan, &documents), Refusal::DamagedState, &["do not fit"]);
}
