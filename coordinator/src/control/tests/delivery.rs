//! Who is told of which plan, what nodes prove, and what becomes of documents that do not follow the newest.

use hostler_plan::{
    document::{PlanKind, PlanRef},
    step::{Cordon, Step},
};

use super::*;

/// A plan with work for `a` alone.
fn for_a(fleet: &Fleet, seq: u64) -> Plan {
    let mut plan = fleet.plan(seq);
    plan.targets.retain(|t| t.node == node("a"));
    plan.tasks.retain(|t| t.node == node("a"));
    plan
}

pub(super) fn holding(fleet: &Fleet, name: &str, open: &[&Plan], by: &str) -> Signed {
    signed(DocumentKind::Holding, &made::holding(&fleet.root, &fleet.roster, name, open), &[&key(seed(by))])
}

#[test]
fn a_plan_is_told_to_every_node_of_the_roster_whether_it_has_work_there_or_not() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    fleet.attach(at(1), "b").unwrap();
    fleet.look(at(1));
    let first = for_a(&fleet, 1);
    fleet.submit(at(2), &first).unwrap();
    assert_eq!(fleet.told(), ["a plan", "b plan"]);
    assert_eq!(fleet.look(at(2)), ["a grant 1 of a.check"]);
    fleet.control.act(at(3), "1", RolloutAction::Halt, "admin", "enough").unwrap();
    assert_eq!(fleet.look(at(3)), ["a stop: halted by admin: enough"], "only who performs it is told unsigned");
}

#[test]
fn what_a_node_proved_to_hold_is_not_sent_again_and_its_bytes_come_before_a_grant() {
    let mut fleet = Fleet::new();
    let plan = fleet.plan(1);
    let digest = fleet.submit(at(2), &plan).unwrap().digest;
    let proof = holding(&fleet, "a", &[&plan], "a");
    fleet.control.holding(at(2), &node("a"), &proof).unwrap();
    assert_eq!(fleet.told(), ["a holds"]);
    fleet.attach(at(3), "a").unwrap();
    fleet.control.push_due(at(3));
    assert_eq!(fleet.told(), ["a welcome", "a trust"]);
    assert_eq!(fleet.look(at(3)), ["a plan", "a grant 1 of a.check"]);
    fleet.attach(at(4), "b").unwrap();
    fleet.control.push_due(at(4));
    assert_eq!(fleet.told(), ["b welcome", "b trust", "b plan"], "b proved nothing");
    let newer = fleet.plan(2);
    let newer = holding(&fleet, "b", &[&newer], "b");
    fleet.control.holding(at(5), &node("b"), &newer).unwrap();
    assert!(fleet.control.newest_holding(&node("b")).is_some());
    assert_eq!(fleet.state_of(&digest), RolloutState::Running);
}

#[test]
fn a_holding_counts_only_from_its_own_node_under_its_own_key() {
    let mut fleet = Fleet::new();
    let plan = fleet.plan(1);
    fleet.submit(at(2), &plan).unwrap();
    for forged in [holding(&fleet, "a", &[&plan], "b"), holding(&fleet, "b", &[&plan], "b")] {
        let taken = fleet.control.holding(at(3), &node("a"), &forged);
        assert!(matches!(taken, Err(ControlError::Refused(_))), "{taken:?}");
    }
    assert!(fleet.control.newest_holding(&node("a")).is_none());
    let flood = (0..200).map(|_| fleet.control.holding(at(3), &node("a"), &holding(&fleet, "a", &[&plan], "a")));
    assert!(flood.filter(Result::is_ok).count() < 100, "a node's holdings are limited");
}

#[test]
fn holdings_outlive_a_restart_only_under_their_nodes_key() {
    let mut fleet = Fleet::new();
    let plan = fleet.plan(1);
    let (own, forged) = (holding(&fleet, "a", &[&plan], "a"), holding(&fleet, "b", &[&plan], "a"));
    fleet.control.restore_holdings(vec![(node("a"), own), (node("b"), forged)]);
    assert!(fleet.control.newest_holding(&node("a")).is_some());
    assert!(fleet.control.newest_holding(&node("b")).is_none());
}

/// Whoever performed it may have died, and any server takes away what it left on nodes.
#[test]
fn the_end_of_a_plan_that_cordons_is_told_to_every_server_and_of_others_to_those_who_perform_it() {
    for (role, cordons, told) in [
        (ClusterRole::Server, true, vec!["a stop: halted by admin: smoke", "b stop: halted by admin: smoke"]),
        (ClusterRole::Server, false, vec!["a stop: halted by admin: smoke"]),
        (ClusterRole::Worker, true, vec!["a stop: halted by admin: smoke"]),
    ] {
        let mut fleet = Fleet::with_b_as(role);
        fleet.attach(at(1), "a").unwrap();
        fleet.attach(at(1), "b").unwrap();
        let mut plan = for_a(&fleet, 1);
        if cordons {
            plan.kind = PlanKind::Drain;
            plan.tasks[0].steps = vec![Step::Cordon(Cordon { reason: "drain".parse().unwrap() })];
        }
        fleet.submit(at(2), &plan).unwrap();
        fleet.look(at(2));
        fleet.control.act(at(3), "1", RolloutAction::Halt, "admin", "smoke").unwrap();
        assert_eq!(fleet.look(at(3)), told, "{role:?}, {cordons}");
    }
}

/// A stop of everything but these, as an operator or admin signs it.
fn stop(fleet: &Fleet, seq: u64, kept: Vec<PlanRef>) -> Plan {
    Plan { kind: PlanKind::Stop, targets: Vec::new(), tasks: Vec::new(), keeps_valid: kept, ..fleet.plan(seq) }
}

fn reference(plan: &Plan) -> PlanRef {
    PlanRef { seq: plan.seq, digest: made_digest(plan) }
}

#[test]
fn a_stop_is_told_to_every_node_ends_what_it_does_not_keep_and_waits_for_nothing() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    let kept = for_a(&fleet, 1);
    fleet.submit(at(2), &kept).unwrap();
    let ended = Plan { keeps_valid: vec![reference(&kept)], ..fleet.plan(2) };
    fleet.submit(at(2), &ended).unwrap();
    fleet.look(at(2));
    let stop = stop(&fleet, 3, vec![reference(&kept)]);
    let digest = fleet.submit(at(3), &stop).unwrap().digest;
    assert_eq!(fleet.state_of(&digest), RolloutState::Finished);
    assert_eq!(fleet.state_of(&made_digest(&ended)), RolloutState::Superseded { by: Some(Seq(3)) });
    assert_eq!(fleet.state_of(&made_digest(&kept)), RolloutState::Running);
    assert_eq!(fleet.told(), ["a plan"]);
    fleet.attach(at(4), "b").unwrap();
    assert_eq!(fleet.look(at(4)), ["b welcome", "b trust", "b plan", "b plan"], "the kept one and the stop");
}

#[test]
fn a_stop_needs_no_root_that_is_in_time_and_no_admins_session() {
    let mut fleet = Fleet::new();
    let plan = fleet.plan(1);
    fleet.submit(at(2), &plan).unwrap();
    let years = Duration::from_secs(3 * 365 * 86_400);
    let late = at(2).plus(years);
    let next = Plan { created: late, not_before: late, expires: late.plus(Duration::from_secs(60)), ..fleet.plan(2) };
    let refused = fleet.submit(late, &next);
    assert!(matches!(refused, Err(ControlError::Refused(r)) if r.refusal == Refusal::Expired), "the root expired");
    let stop = signed(DocumentKind::Plan, &stop(&fleet, 2, Vec::new()), &[&key(ADMIN)]);
    let taken = fleet.control.submit_plan(late, &stop, SignerRole::Operator, |_, _| true).unwrap();
    assert!(taken.is_new);
    fleet.attach(late, "b").unwrap();
    assert_eq!(fleet.look(late), ["b welcome", "b trust", "b plan"], "it is delivered, expired root or not");
}

#[test]
fn of_two_plans_after_one_the_first_is_taken_and_the_second_is_shown_it() {
    let mut fleet = Fleet::new();
    fleet.submit(at(2), &fleet.plan(1)).unwrap();
    let (anna, ben) = (fleet.plan(2), Plan { title: "of ben".to_owned(), ..fleet.plan(2) });
    let winner = fleet.submit(at(3), &anna).unwrap();
    let before = fleet.ledger.lock().records.len();
    let overtaken = fleet.submit(at(3), &ben).unwrap();
    assert_eq!(overtaken.overtaken_by.map(|by| by.digest()), Some(winner.digest));
    let higher = Plan { seq: Seq(3), ..ben.clone() };
    assert!(fleet.submit(at(3), &higher).unwrap().overtaken_by.is_some(), "a higher number does not hide it");
    assert_eq!(fleet.ledger.lock().records.len(), before, "it is no alarm");
    let anew = Plan { prev: Some(winner.digest), ..higher };
    assert!(fleet.submit(at(4), &anew).unwrap().is_new);
    assert!(fleet.submit(at(5), &anna).unwrap().overtaken_by.is_none(), "what is here is not overtaken");
}

#[test]
fn of_two_rosters_after_one_the_first_is_taken_and_the_second_is_shown_it() {
    let mut fleet = Fleet::new();
    let held = fleet.control.state().roster.as_ref().unwrap().digest();
    let next = |version, seconds| Roster { version, created: at(seconds), prev: Some(held), ..fleet.roster.clone() };
    let signed = |roster: &Roster| signed(DocumentKind::Roster, roster, &[&key(ADMIN)]);
    let (anna, ben, later) = (signed(&next(2, 1)), signed(&next(2, 2)), signed(&next(3, 3)));
    assert!(fleet.control.submit_roster(at(2), &anna).unwrap().is_new);
    for roster in [ben, later] {
        let overtaken = fleet.control.submit_roster(at(3), &roster).unwrap();
        assert_eq!(overtaken.overtaken_by.map(|by| by.digest()), Some(anna.digest()));
    }
    assert!(!fleet.control.submit_roster(at(4), &anna).unwrap().is_new);
}

#[test]
fn a_number_that_was_kept_for_a_plan_is_kept_until_a_plan_does_not_list_it() {
    let mut fleet = Fleet::new();
    fleet.submit(at(2), &fleet.plan(1)).unwrap();
    let half = fleet.plan(2);
    let beside = Plan { keeps_valid: vec![reference(&half)], ..fleet.plan(3) };
    fleet.submit(at(3), &beside).unwrap();
    let other = Plan { title: "another".to_owned(), ..half.clone() };
    assert!(fleet.submit(at(4), &other).unwrap().overtaken_by.is_some());
    assert!(fleet.submit(at(4), &half).unwrap().is_new, "signed by all at last");
    assert_eq!(fleet.control.state().highest_seq(), Seq(3));
    let lost = fleet.plan(4);
    let without = Plan { seq: Seq(5), ..fleet.plan(4) };
    fleet.submit(at(5), &without).unwrap();
    assert!(fleet.submit(at(6), &lost).unwrap().overtaken_by.is_some(), "nobody kept its number");
}

#[test]
fn a_number_far_above_the_others_is_refused() {
    let mut fleet = Fleet::new();
    for seq in [u64::MAX, 10_001] {
        let refused = fleet.submit(at(2), &fleet.plan(seq));
        assert!(matches!(refused, Err(ControlError::Refused(r)) if r.refusal == Refusal::Replay));
    }
    assert!(fleet.submit(at(2), &fleet.plan(10_000)).unwrap().is_new);
}

#[test]
fn two_plans_with_one_number_are_an_alarm_until_a_plan_names_both() {
    let mut fleet = Fleet::new();
    let here = fleet.plan(1);
    fleet.submit(at(2), &here).unwrap();
    let other = Plan { title: "of somebody else".to_owned(), ..here.clone() };
    let proof = holding(&fleet, "b", &[&other], "b");
    let before = fleet.ledger.lock().records.len();
    fleet.control.holding(at(3), &node("b"), &proof).unwrap();
    fleet.control.holding(at(4), &node("b"), &proof).unwrap();
    assert_eq!(fleet.ledger.words_from(before), ["holding", "alarm"], "once");
    let forks: Vec<_> = fleet.control.forks().map(|(stranger, node, _)| (stranger.clone(), node.clone())).collect();
    let [(stranger, who)] = forks.as_slice() else { panic!("{forks:?}") };
    assert_eq!((stranger.what.as_str(), who), ("plan 1", &node("b")));
    assert_eq!((stranger.here, stranger.other), (Some(made_digest(&here)), made_digest(&other)));
    fleet.submit(at(5), &fleet.plan(2)).unwrap();
    assert_eq!(fleet.control.forks().count(), 1, "a plan that knows of one only does not close it");
    let both = Plan { also: vec![made_digest(&other)], ..stop(&fleet, 3, Vec::new()) };
    fleet.submit(at(6), &both).unwrap();
    assert_eq!(fleet.control.forks().count(), 0);
}

#[test]
fn a_refusal_of_the_newest_roster_is_why_a_rollout_waits_until_the_node_holds_it() {
    let mut fleet = Fleet::new();
    fleet.roster.version += 1;
    fleet.roster.prev = fleet.control.state().roster.as_ref().map(|roster| roster.digest());
    let roster = signed(DocumentKind::Roster, &fleet.roster, &[&key(ADMIN)]);
    fleet.control.submit_roster(at(1), &roster).unwrap();
    let plan = fleet.plan(1);
    let digest = fleet.submit(at(2), &plan).unwrap().digest;
    fleet.attach(at(3), "a").unwrap();
    fleet.attach(at(3), "b").unwrap();
    fleet.look(at(3));
    let refuse = |fleet: &mut Fleet, refusal, why: &str, document| {
        fleet.control.refusal(at(3), &node("a"), refusal, why, Some(document)).unwrap();
    };
    let why = |fleet: &Fleet| {
        let waits = fleet.control.state().sequencer.waits(at(4)).into_iter().filter(|w| w.node == Some(node("a")));
        waits.map(|w| w.reason.to_string()).collect::<Vec<_>>().join("; ")
    };
    refuse(&mut fleet, Refusal::DamagedState, "its disk is full", roster.digest());
    let said = "waits because a refuses the plan: it refused roster 2: its disk is full (damaged_state)";
    assert_eq!(why(&fleet), said);
    // What follows from it tells less.
    refuse(&mut fleet, Refusal::DigestMismatch, "expected roster 2", digest);
    assert_eq!(why(&fleet), said);
    refuse(&mut fleet, Refusal::Expired, "its clock shows 1970", digest);
    assert!(why(&fleet).contains("its clock shows 1970"), "another reason is told");
    refuse(&mut fleet, Refusal::DamagedState, "its disk is full", roster.digest());
    let holding = made::holding(&fleet.root, &fleet.roster, "a", &[]);
    let holding = signed(DocumentKind::Holding, &holding, &[&key(seed("a"))]);
    fleet.control.holding(at(4), &node("a"), &holding).unwrap();
    let renewal = Renewal { plan: digest, task: made::task_id("a.check"), grant: 1 };
    fleet.control.renew_lease(at(4), &node("a"), renewal);
    refuse(&mut fleet, Refusal::DigestMismatch, "expected roster 3", digest);
    assert!(why(&fleet).contains("expected roster 3"), "what it holds is no reason any more: {}", why(&fleet));
    let renewal = Renewal { plan: digest, task: made::task_id("a.check"), grant: 1 };
    fleet.control.renew_lease(at(4), &node("a"), renewal);
    assert!(!why(&fleet).contains("refuse"), "{}", why(&fleet));
    // Of one that is not the newest any more nothing waits.
    refuse(&mut fleet, Refusal::Replay, "it holds a newer one", Digest::of(b"an older roster"));
    assert!(!why(&fleet).contains("refuse"), "{}", why(&fleet));
}
