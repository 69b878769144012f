//! A plan that goes on with another one: the cordon passes on and is never undone in between, whoever performs it and
//! whatever dies.

use std::panic::AssertUnwindSafe;

use hostler_plan::document::PlanRef;

use super::*;
use crate::{conditions::tidy, disk::crash::Killed, host::DrainCondition};

/// The next plan: it goes on with `before`, on this node.
fn next(lab: &Lab, seq: u64, before: &Signed, performer: &str) -> Signed {
    let mut tasks = lab.tasks(EmptyDirs::All, true);
    tasks[0].node = performer.parse().unwrap();
    lab.fleet.plan(seq, vec![], |p| {
        (p.kind, p.tasks, p.continues) = (PlanKind::Drain, tasks, Some(before.digest()));
        if performer != "w1" {
            p.targets.clear();
        }
    })
}

/// Two applications, of which one pod takes its time.
fn with_a_slow_pod() -> Lab {
    let lab = Lab::new();
    for name in ["a", "b"] {
        lab.cluster().state().deploy(name, &["s1", "w1"]);
    }
    lab.cluster().state().pods.iter_mut().find(|p| p.key.name == "b-0").unwrap().grace = Duration::from_secs(120);
    lab
}

fn note(lab: &Lab) -> Option<CordonNote> {
    lab.cluster().node("s1").unwrap().unwrap().cordon
}

/// Begins the first plan, during which these requests arrive, and works until nothing is left to do.
fn during(lab: &Lab, first: &Signed, arrive: Vec<Request>) -> Vec<Receipt> {
    let (executor, sender, status, _disk) = lab.fleet.executor(&lab.machine).unwrap();
    sender.offer(Request::Plan(first.clone())).unwrap();
    sender.offer(Request::Grant(Fleet::grant(first, "w1.work", 1).into())).unwrap();
    let other = sender.clone();
    lab.cluster().state().at_eviction = Some(AtEviction(Box::new(move || {
        arrive.into_iter().for_each(|request| other.offer(request).unwrap());
    })));
    executor.run_until_idle().unwrap();
    status.content().receipts.iter().map(|r| json::parse(&r.bytes).unwrap()).collect()
}

#[test]
fn the_next_plan_takes_the_cordon_over_while_the_one_before_still_drains() {
    let lab = with_a_slow_pod();
    let first = lab.plan(EmptyDirs::None, false);
    let second = next(&lab, 2, &first, "w1");
    let grant = Fleet::grant(&second, "w1.work", 2).into();
    let receipts = during(&lab, &first, vec![Request::Plan(second.clone()), Request::Grant(grant)]);
    let [ended, drained] = &receipts[..] else { panic!("{receipts:?}") };
    assert!(ended.outcome.to_string().contains("s1 stays cordoned: plan 2 goes on with it"), "{}", ended.outcome);
    assert_eq!(drained.outcome, Outcome::Succeeded {});
    assert!(drained.steps[0].changed, "the note changed its owner");
    let note = note(&lab).unwrap();
    assert_eq!((note.plan, note.awaits), (second.digest().to_string(), None));
    assert!(lab.is_cordoned() && lab.names_on_s1().is_empty());
    assert_eq!(lab.cluster().state().put_back, 0, "it was never schedulable in between");
}

#[test]
fn a_cordon_that_was_passed_on_names_until_when_it_awaits_the_server_that_goes_on() {
    let lab = with_a_slow_pod();
    let first = lab.plan(EmptyDirs::None, false);
    let second = next(&lab, 2, &first, "s1");
    let receipts = during(&lab, &first, vec![Request::Plan(second.clone())]);
    assert_eq!(receipts.len(), 1);
    let plan: Plan = json::parse(&second.bytes).unwrap();
    let passed = note(&lab).unwrap();
    assert_eq!(passed.plan, second.digest().to_string());
    assert_eq!(passed.awaits.map(|awaits| (awaits.seq, awaits.until)), Some((plan.seq, plan.expires)));
    assert!(lab.is_cordoned());
    assert_eq!(lab.cluster().state().put_back, 0);
    // Until then the servers leave it alone, and no later.
    let tidied = |now| {
        tidy("s1", lab.cluster(), now, |_| false);
        !lab.is_cordoned()
    };
    assert!(!tidied(plan.expires));
    assert!(tidied(plan.expires.plus(Duration::from_secs(1))) && note(&lab).is_none());
}

#[test]
fn what_goes_on_with_what_goes_on_has_the_cordon_and_a_stop_gives_it_back() {
    for stopped in [false, true] {
        let lab = with_a_slow_pod();
        let first = lab.plan(EmptyDirs::None, false);
        let second = next(&lab, 2, &first, "s1");
        let third = match stopped {
            false => next(&lab, 3, &second, "s1"),
            true => lab.fleet.plan(3, vec![], |p| {
                (p.kind, p.tasks, p.targets) = (PlanKind::Stop, vec![], vec![]);
            }),
        };
        during(&lab, &first, vec![Request::Plan(second), Request::Plan(third.clone())]);
        assert_eq!(lab.is_cordoned(), !stopped);
        assert_eq!(note(&lab).map(|note| note.plan), (!stopped).then(|| third.digest().to_string()));
    }
}

#[test]
fn a_plan_that_continues_none_of_it_takes_nothing_over_and_the_cordon_is_undone() {
    let lab = with_a_slow_pod();
    let first = lab.plan(EmptyDirs::None, false);
    let mut tasks = lab.tasks(EmptyDirs::All, true);
    (tasks[0].node, tasks[0].subject) = ("s1".parse().unwrap(), "w1".parse().unwrap());
    let other = lab.fleet.plan(2, vec![], |p| {
        (p.kind, p.tasks, p.continues) = (PlanKind::Drain, tasks, Some(first.digest()));
        p.targets.clear();
    });
    during(&lab, &first, vec![Request::Plan(other)]);
    assert!(!lab.is_cordoned() && note(&lab).is_none(), "it goes on with another node alone");
}

#[test]
fn the_note_that_an_unreachable_server_left_is_taken_over_and_that_server_undoes_nothing_later() {
    let lab = with_a_slow_pod();
    let first = lab.plan(EmptyDirs::None, false);
    let second = next(&lab, 2, &first, "w1");
    // Another server cordoned for the first plan and died.
    let left = crate::testing::note(&first.digest().to_string(), "drain");
    let node = lab.cluster().node("s1").unwrap().unwrap();
    lab.cluster().cordon(&node, &left).unwrap();
    let (receipt, _) = lab.run(&second);
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    assert_eq!(note(&lab).map(|note| note.plan), Some(second.digest().to_string()));
    assert_eq!(lab.cluster().state().put_back, 0);
}

#[test]
fn killed_at_every_write_while_it_passes_on_the_node_is_never_schedulable_and_drained_in_the_end() {
    let mut crashes = 0;
    for point in 0.. {
        let lab = with_a_slow_pod();
        let first = lab.plan(EmptyDirs::None, false);
        let second = next(&lab, 2, &first, "w1");
        let (mut crashed, mut drained, mut writes_left) = (false, false, point);
        for attempt in 0..8 {
            let (executor, sender, status, disk) = lab.fleet.executor_that_may_die(&lab.machine, writes_left, !crashed);
            let Some(executor) = executor else {
                crashed = true;
                continue;
            };
            let requests = |plan: &Signed, grant| {
                let renewed = Request::LeaseRenewed { grant, lease_seconds: 600 };
                [Request::Plan(plan.clone()), Request::Grant(Fleet::grant(plan, "w1.work", grant).into()), renewed]
            };
            requests(&first, 1).into_iter().for_each(|request| sender.offer(request).unwrap());
            let arrive = requests(&second, 2);
            if attempt == 0 {
                let other = sender.clone();
                lab.cluster().state().at_eviction = Some(AtEviction(Box::new(move || {
                    arrive.into_iter().for_each(|request| other.offer(request).unwrap());
                })));
            } else {
                lab.cluster().state().at_eviction = None;
                arrive.into_iter().for_each(|request| sender.offer(request).unwrap());
            }
            let ended = std::panic::catch_unwind(AssertUnwindSafe(|| executor.run_until_idle()));
            writes_left = disk.crash.0.swap(i64::MAX, std::sync::atomic::Ordering::SeqCst);
            if let Err(panic) = ended {
                assert!(panic.downcast_ref::<Killed>().is_some(), "point {point}");
                crashed = true;
            }
            let receipts = status.content().receipts.clone();
            drained = receipts.iter().any(|signed| {
                let receipt: Receipt = json::parse(&signed.bytes).unwrap();
                receipt.seq == hostler_plan::id::Seq(2) && receipt.outcome.is_success()
            });
            if drained {
                break;
            }
        }
        assert!(drained, "point {point}");
        assert_eq!(note(&lab).map(|note| note.plan), Some(second.digest().to_string()), "point {point}");
        assert_eq!(lab.cluster().state().put_back, 0, "point {point}: it was schedulable in between");
        if !crashed {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 10, "expected many points to die at, found {crashes}");
}

/// Whether another server takes away what lies on s1, after it was told this.
fn tidied(lab: &Lab, told: Vec<Request>) -> bool {
    let (mut executor, _sender, status, _disk) = lab.fleet.executor(&lab.machine).unwrap();
    told.into_iter().for_each(|request| executor.handle(request).unwrap());
    let before = lab.cluster().node("s1").unwrap();
    let now = lab.fleet.now;
    tidy("s1", lab.cluster(), now, |noted| status.is_over(noted, now));
    let (before, after) = (before.unwrap(), lab.cluster().node("s1").unwrap().unwrap());
    (before.shows, before.cordon) != (after.shows, after.cordon)
}

fn stop_of_all(lab: &Lab, seq: u64) -> Signed {
    lab.fleet.plan(seq, vec![], |p| (p.kind, p.tasks, p.targets) = (PlanKind::Stop, vec![], vec![]))
}

#[test]
fn a_cordon_that_awaits_a_plan_goes_however_that_plan_ends_and_stays_where_another_goes_on_with_it() {
    let passed = || {
        let lab = with_a_slow_pod();
        let first = lab.plan(EmptyDirs::None, false);
        let second = next(&lab, 2, &first, "s1");
        during(&lab, &first, vec![Request::Plan(second.clone())]);
        assert!(lab.is_cordoned() && note(&lab).unwrap().awaits.is_some());
        (lab, second)
    };
    let halted = |plan: &Signed| Request::Stop { plan: plan.digest(), reason: "halted by ana".into() };
    let (lab, second) = passed();
    assert!(!tidied(&lab, vec![]) && !tidied(&lab, vec![Request::Plan(second.clone())]), "it may still begin");
    assert!(tidied(&lab, vec![halted(&second)]), "the coordinator halted it");
    assert!(!lab.is_cordoned() && note(&lab).is_none());
    let (lab, second) = passed();
    let third = next(&lab, 3, &second, "s1");
    assert!(!tidied(&lab, vec![Request::Plan(third)]), "another one goes on with it");
    assert!(tidied(&lab, vec![Request::Plan(stop_of_all(&lab, 4))]), "a newer one ended both");
    assert!(!lab.is_cordoned());
    let (lab, second) = passed();
    lab.cluster().state().nodes[0].ready = NodeReady::Unknown { since: lab.fleet.now };
    assert!(!tidied(&lab, vec![halted(&second)]) && lab.is_cordoned(), "nothing should be sent to a silent node");
    lab.cluster().state().nodes[0].ready = NodeReady::Ready;
    assert!(tidied(&lab, vec![halted(&second)]), "once it is back");
}

#[test]
fn that_a_drain_goes_on_is_not_shown_once_its_plan_is_over_whoever_died() {
    use DrainCondition::{DrainInProgress, Drained, MaintenancePlanned};
    let left = |shows: &[DrainCondition]| {
        let lab = Lab::new();
        let plan = lab.plan(EmptyDirs::None, false);
        // Another server began, and then both died.
        let note = CordonNote {
            seq: Some(hostler_plan::id::Seq(1)),
            ..crate::testing::note(&plan.digest().to_string(), "drain")
        };
        let node = lab.cluster().node("s1").unwrap().unwrap();
        lab.cluster().cordon(&node, &note).unwrap();
        lab.cluster().show("s1", shows, "plan 1").unwrap();
        lab.cluster().state().nodes[0].ready = NodeReady::Unknown { since: lab.fleet.now };
        (lab, plan)
    };
    let (lab, plan) = left(&[DrainInProgress, MaintenancePlanned]);
    assert!(!tidied(&lab, vec![]) && !tidied(&lab, vec![Request::Plan(plan)]), "it goes on as far as anybody knows");
    assert!(tidied(&lab, vec![Request::Plan(stop_of_all(&lab, 2))]));
    let node = lab.cluster().node("s1").unwrap().unwrap();
    assert!(node.shows.is_empty() && node.unschedulable && node.cordon.is_some(), "the cordon stays: {node:?}");
    let (lab, plan) = left(&[DrainInProgress]);
    assert!(tidied(&lab, vec![Request::Stop { plan: plan.digest(), reason: "halted".into() }]));
    // What was drained stays so.
    let (lab, _) = left(&[Drained]);
    assert!(!tidied(&lab, vec![Request::Plan(stop_of_all(&lab, 2))]));
}

#[test]
fn what_goes_on_is_known_after_a_restart() {
    let lab = with_a_slow_pod();
    let first = lab.plan(EmptyDirs::None, false);
    let second = next(&lab, 2, &first, "s1");
    let (mut executor, _sender, _status, disk) = lab.fleet.executor(&lab.machine).unwrap();
    for plan in [&first, &second] {
        executor.handle(Request::Plan(plan.clone())).unwrap();
    }
    drop((executor, disk));
    let (executor, _sender, _status, _disk) = lab.fleet.executor(&lab.machine).unwrap();
    let known = executor.context.state.continued(&first.digest(), &"s1".parse().unwrap(), lab.fleet.now).unwrap();
    let plan: Plan = json::parse(&second.bytes).unwrap();
    assert_eq!(known.by, PlanRef { seq: plan.seq, digest: second.digest() });
    assert!(executor.context.state.continued(&first.digest(), &"w1".parse().unwrap(), lab.fleet.now).is_none());
    let expired = executor.context.state.continued(&first.digest(), &"s1".parse().unwrap(), plan.expires);
    assert!(expired.is_none(), "one that may begin nothing any more goes on with nothing");
}
