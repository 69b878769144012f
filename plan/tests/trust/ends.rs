//! What a newer plan ends, what may still be put back, and how far numbers may jump.

use hostler_fixtures as made;
use hostler_plan::{
    document::{DocumentKind, Outcome, Plan, PlanKind, PlanRef, Receipt, Root, Roster, Signed, Task},
    id::{Digest, Epoch, Seq},
    refusal::Refusal,
    step::{Noop, Step},
    trust::{self, Clock, Granted, NodeState, Start, Verified},
};

use crate::{fleet::*, state::*};

/// A drain of `w2` that `s1` and `w1` perform: `w1` takes it out of service and puts it back.
fn rolling(seq: u64, beside: &[&Signed]) -> Plan {
    let reference: Vec<PlanRef> = beside.iter().map(|s| reference(s)).collect();
    let mut plan = Plan { keeps_valid: reference, ..noop_plan(PlanKind::Reboot) };
    plan.seq = Seq(seq);
    plan.targets.retain(|t| t.node.as_str() == "w1");
    let task = |id: &str, after: &[&str], disrupts, finishes| Task {
        subject: name("w2"),
        disrupts,
        finishes,
        ..made::task(id, "w1", after, vec![Step::Noop(Noop {})])
    };
    plan.tasks = vec![task("w2.drain", &[], true, false), task("w2.ready", &["w2.drain"], false, true)];
    plan
}

fn ask(state: &mut NodeState, clock: Clock, plan: &Signed, task: &str, receipts: Vec<Signed>) -> Start {
    state.may_start(clock, &identity("w1"), &mut Granted::new(plan.digest(), task_id(task), receipts))
}

/// The receipt of `w1` that it drained `w2`.
fn drained(plan: &Plan, outcome: Outcome) -> Vec<Signed> {
    vec![signed_receipt(&Receipt { outcome, ..made::receipt(plan, "w2.drain") })]
}

#[test]
fn what_puts_back_may_begin_after_the_end_of_its_plan_once_the_disruption_is_proved() {
    let document = rolling(42, &[]);
    let plan = signed_plan(&document);
    let proof = || drained(&document, Outcome::Succeeded {});
    let (held, _) = accept(&fresh(), &plan).unwrap();
    let later = Clock { now: at("2026-12-24T08:00:00Z"), synchronised: true };
    let unset = Clock { now: at("1970-01-01T00:00:00Z"), synchronised: false };
    let (void, _) = accept(&held, &numbered(43, &[])).unwrap();
    let cases = [(&held, later, "expired"), (&held, unset, "without a clock"), (&void, clock(), "void")];
    for (state, clock, case) in cases {
        for mut state in [state.clone(), read_back(state)] {
            assert!(may(ask(&mut state, clock, &plan, "w2.ready", proof())), "{case}");
            let unproved = refusal(ask(&mut state, clock, &plan, "w2.ready", vec![]));
            assert_eq!(unproved.refusal, Refusal::OrderNotMet, "{case}");
            let failed = drained(&document, Outcome::Failed { reason: "x".into() });
            assert_eq!(refusal(ask(&mut state, clock, &plan, "w2.ready", failed)).refusal, Refusal::OrderNotMet);
            assert!(!matches!(ask(&mut state, clock, &plan, "w2.drain", vec![]), Start::Now(_)), "{case}");
        }
    }
    // A node that was shown the newer plan first never held the bytes.
    let (mut late, _) = accept(&fresh(), &numbered(43, &[])).unwrap();
    assert_eq!(refusal(ask(&mut late, clock(), &plan, "w2.ready", proof())).refusal, Refusal::Replay);
    // Whoever revokes the signer ends everything.
    let mut next = root();
    (next.version, next.revoked) = (2, vec![public(ADA).fingerprint()]);
    let mut revoking = void.accept_root(clock(), &signed(DocumentKind::Root, &next, &[ADA, BEN])).unwrap();
    assert_eq!(refusal(ask(&mut revoking, clock(), &plan, "w2.ready", proof())).refusal, Refusal::Revoked);
}

#[test]
fn what_puts_back_comes_after_what_disrupts_or_after_another_part_of_putting_back() {
    let mut plan = rolling(42, &[]);
    let uncordon = Task { id: task_id("w2.uncordon"), after: vec![task_id("w2.ready")], ..plan.tasks[1].clone() };
    plan.tasks.push(uncordon);
    trust::check_work(&roster(), &plan).unwrap();
    plan.tasks.remove(0);
    plan.tasks[0] = Task { finishes: false, after: Vec::new(), ..plan.tasks[0].clone() };
    let alone = trust::check_work(&roster(), &plan);
    assert_refused(alone, Refusal::Malformed, &["w2.uncordon, which finishes, to come after one that disrupts w2"]);
}

#[test]
fn of_ended_plans_only_those_with_something_to_put_back_are_kept_and_only_so_many() {
    let mut state = fresh();
    for seq in 1..=40 {
        let plan = if seq % 2 == 0 { signed_plan(&rolling(seq, &[])) } else { numbered(seq, &[]) };
        state = accept(&state, &plan).unwrap().0;
    }
    let kept: Vec<u64> = read_back(&state).held_plans().map(|plan| plan.document().seq.0).collect();
    let expected: Vec<u64> = std::iter::once(40).chain((4..20).rev().map(|n| 2 * n)).collect();
    assert_eq!(kept, expected, "the open one and the newest sixteen");

    // The plan of a task that is begun stays whatever it holds, until the task is over; also in a new epoch.
    let at_work = numbered(41, &[]);
    state = accept(&state, &at_work).unwrap().0;
    state.set_at_work(Some(at_work.digest()));
    for seq in 42..60 {
        state = accept(&state, &signed_plan(&rolling(seq, &[]))).unwrap().0;
    }
    assert!(state.begun_plan(&at_work.digest()).is_some());
    let next = Root { version: 2, epoch: Epoch(2), ..root() };
    let mut state = state.accept_root(clock(), &signed(DocumentKind::Root, &next, &[ADA, BEN])).unwrap();
    assert_eq!(state.held_plans().map(Verified::digest).collect::<Vec<_>>(), [at_work.digest()]);
    assert_eq!(refusal(start(&mut state, clock(), &at_work)).refusal, Refusal::Replay);
}

#[test]
fn a_newer_plan_ends_older_ones_whoever_it_is_for_and_whatever_its_work_is() {
    let p41 = numbered(41, &[]);
    let held = accept(&fresh(), &p41).unwrap().0;
    let signed_by = |plan: &Plan, seed: u8| signed(DocumentKind::Plan, plan, &[seed]);
    let mut without_w1 = with_number(42, &[]);
    without_w1.targets.remove(1);
    without_w1.tasks.truncate(1);
    let mut expired = with_number(42, &[]);
    (expired.created, expired.not_before) = (at("2026-11-11T00:00:00Z"), at("2026-11-11T00:00:00Z"));
    expired.expires = at("2026-11-12T00:00:00Z");
    let mut future = with_number(42, &[]);
    (future.not_before, future.expires) = (at("2026-11-22T00:00:00Z"), at("2026-11-23T00:00:00Z"));
    let mut endless = with_number(42, &[]);
    endless.expires = at("2036-11-12T00:00:00Z");
    let newer_roster = Plan { roster_version: 9, ..with_number(42, &[]) };
    let mut malformed = with_number(42, &[]);
    malformed.tasks.clear();
    let mut stop = noop_plan(PlanKind::Stop);
    stop.seq = Seq(42);
    let mut text = String::from_utf8(hostler_plan::json::write(&with_number(42, &[]))).unwrap();
    text = text.replace("artifact.stage", "artifact.from_a_later_version");
    let unreadable = signed_bytes(DocumentKind::Plan, text.into_bytes(), &[ADA]);
    let cases = [
        signed_plan(&without_w1),
        signed_plan(&expired),
        signed_plan(&future),
        signed_plan(&endless),
        signed_plan(&newer_roster),
        signed_plan(&malformed),
        signed_by(&stop, OLGA),
        signed_plan(&stop),
        unreadable,
    ];
    let clocks = [
        clock(),
        Clock { now: at("1970-01-01T00:00:00Z"), synchronised: false },
        // The root has expired.
        Clock { now: at("2036-01-01T00:00:00Z"), synchronised: true },
    ];
    for (index, newer) in cases.iter().enumerate() {
        for at in clocks {
            let accepted = held.accept_plan(at, &identity("w1"), newer).unwrap();
            let mut state = read_back(&accepted.state);
            assert_eq!((state.seq(), state.open_plans().len()), (Seq(42), 1), "case {index}");
            assert_eq!(refusal(start(&mut state, clock(), &p41)).refusal, Refusal::Replay, "case {index}");
            assert_eq!(state.holds(None).plan, Some(PlanRef { seq: Seq(42), digest: newer.digest() }));
            let again = accepted.state.accept_plan(at, &identity("w1"), newer).unwrap();
            assert_eq!(again.state, accepted.state, "case {index}: the same plan twice changes nothing");
        }
    }
    let endless = held.accept_plan(clock(), &identity("w1"), &cases[3]).unwrap().work;
    assert_eq!(endless.unwrap_err().refusal, Refusal::Expired, "no plan lives longer than the root allows");
    // One that does not count changes nothing: other signers, another fleet, no number that can be.
    let bad = [
        signed_by(&with_number(42, &[]), VIC),
        signed_by(&with_number(42, &[]), STRANGER),
        signed_plan(&Plan { fleet_id: other_fleet(), ..with_number(42, &[]) }),
        numbered(41 + 10_001, &[]),
        numbered(u64::MAX, &[]),
    ];
    for signed in &bad {
        assert!(held.accept_plan(clock(), &identity("w1"), signed).is_err());
    }
}

#[test]
fn the_roster_tells_a_node_that_was_away_how_far_the_numbers_came() {
    let far = numbered(50_000, &[]);
    assert_refused(accept(&fresh(), &far), Refusal::Replay, &["50000", "offer the newest roster"]);
    let newer = Roster { version: 4, plan_seq: Seq(49_000), ..roster() };
    let (state, _) = fresh().accept_roster(clock(), &signed_roster(&newer)).unwrap();
    assert!(accept(&state, &far).is_ok());

    // What the roster says of an epoch that is over raises nothing in the next one.
    let state = state.accept_root(clock(), &epoch_2()).unwrap();
    let far = signed_plan(&Plan { epoch: Epoch(2), ..with_number(50_000, &[]) });
    assert_refused(accept(&state, &far), Refusal::Replay, &["50000", "at most 10000"]);
}

fn epoch_2() -> Signed {
    signed(DocumentKind::Root, &Root { version: 2, epoch: Epoch(2), ..root() }, &[ADA, BEN])
}

#[test]
fn a_plan_that_is_held_ends_with_a_root_under_which_none_lives_so_long() {
    let plan = numbered(42, &[]);
    let (state, _) = accept(&fresh(), &plan).unwrap();
    let mut next = Root { version: 2, ..root() };
    next.policy.max_plan_lifetime_seconds = 3600;
    let mut state = state.accept_root(clock(), &signed(DocumentKind::Root, &next, &[ADA, BEN])).unwrap();
    let never = refusal(start(&mut state, clock(), &plan));
    assert_refused(Err::<(), _>(never), Refusal::Expired, &["at most 3600 s"]);
}

#[test]
fn a_plan_that_another_node_puts_right_is_not_kept_after_its_end() {
    let mut elsewhere = rolling(42, &[]);
    elsewhere.targets = noop_plan(PlanKind::Reboot).targets;
    elsewhere.targets.retain(|target| target.node.as_str() != "w2");
    elsewhere.tasks.iter_mut().for_each(|task| task.node = name("s1"));
    elsewhere.tasks.push(made::task("w1.noop", "w1", &[], vec![Step::Noop(Noop {})]));
    let (state, _) = accept(&fresh(), &signed_plan(&elsewhere)).unwrap();
    let (state, newer) = accept(&state, &numbered(43, &[])).unwrap();
    assert_eq!(state.held_plans().map(Verified::digest).collect::<Vec<_>>(), [newer.digest()]);
}

#[test]
fn receipts_stay_listed_with_their_plans_and_until_the_coordinator_has_them() {
    let rolling = signed_plan(&rolling(42, &[]));
    let (mut state, plan) = accept(&fresh(), &rolling).unwrap();
    let count = |state: &NodeState, plan: Digest, waiting| {
        let (counter, previous) = state.next_receipt();
        let receipt = Receipt { plan, counter, previous, ..made::receipt(&with_number(42, &[]), "w1.stage") };
        state.with_receipt(clock(), &hostler_plan::json::write(&receipt), waiting).unwrap()
    };
    let listed = |state: &NodeState| state.signed_receipts().iter().map(|r| r.counter).collect::<Vec<_>>();
    let first_and = |latest: std::ops::RangeInclusive<u64>| std::iter::once(1).chain(latest).collect::<Vec<_>>();
    state = count(&state, plan.digest(), None);
    for _ in 2..=20 {
        state = count(&state, Digest::of(b"a plan that is gone"), None);
    }
    assert_eq!(listed(&state), first_and(5..=20), "the one of the open plan and the latest sixteen");
    let (state, _) = accept(&state, &numbered(43, &[])).unwrap();
    let state = count(&state, Digest::of(b"a plan that is gone"), None);
    assert_eq!(listed(&state), first_and(6..=21), "the plan ended, and may have to be put right");
    let state = count(&state, Digest::of(b"a plan that is gone"), Some(6));
    assert_eq!(listed(&state), first_and(6..=22), "the coordinator lacks the sixth");
}

#[test]
fn a_receipt_that_tells_of_no_newer_plan_ends_none() {
    let p42 = numbered(42, &[]);
    let (state, plan) = accept(&fresh(), &p42).unwrap();
    let own = trust::receipt(&verified_roster(&roster()), &signed_receipt(&receipt(&plan, "w1.stage", 1))).unwrap();
    let (beside, _) = accept(&state, &numbered(43, &[&p42])).unwrap();
    let caught_up = beside.catch_up(&identity("w1"), &own).unwrap();
    assert_eq!((caught_up.next_receipt().0, caught_up.open_plans()), (2, beside.open_plans()));

    let state = state.accept_root(clock(), &epoch_2()).unwrap().catch_up(&identity("w1"), &own).unwrap();
    assert_eq!((state.seq(), state.next_receipt().0), (Seq(0), 2), "numbers of an epoch that is over");
}

#[test]
fn the_order_is_proved_once_under_a_roster_and_again_under_another() {
    let plan = numbered(42, &[]);
    let document: Plan = hostler_plan::json::parse(&plan.bytes).unwrap();
    let (mut state, _) = accept(&fresh(), &plan).unwrap();
    let receipt = signed_receipt(&made::receipt(&document, "s1.stage"));
    let mut granted = Granted::new(plan.digest(), task_id("w1.stage"), vec![receipt.clone()]);
    for _ in 0..2 {
        assert!(may(state.may_start(clock(), &identity("w1"), &mut granted)));
        assert_eq!((granted.relied_on(), granted.proof()), (&[receipt.digest()][..], vec![receipt.clone()]));
    }
    // The key of s1 is another one now: its receipt proves nothing any more.
    let mut other = Roster { version: 4, ..roster() };
    other.nodes[0].key = public(STRANGER);
    let (mut state, _) = state.accept_roster(clock(), &signed_roster(&other)).unwrap();
    assert!(matches!(state.may_start(clock(), &identity("w1"), &mut granted), Start::Never(_)));
}
