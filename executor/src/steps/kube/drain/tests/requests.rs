//! What a drain asks of the API server, by the real client, and what it does while nobody tells it of changes.

use super::*;
use crate::testing::Watching;

/// What kubectl asks for each pod at the least: an eviction, and a look every few seconds at whether it has gone.
const KUBECTL_A_POD: usize = 4;

/// The same for Hostler, and what it asks however many pods there are.
const HOSTLER_A_POD: usize = 1;
const HOSTLER_ONCE: usize = 45;

/// A lab that the real client asks through an API server.
fn lab(watching: Watching, apps: usize, pods: usize, limit: Option<BudgetLimit>) -> Lab {
    let Lab { fleet, machine } = Lab::new();
    let machine = Arc::new(Arc::into_inner(machine).unwrap().through_an_api_server(watching));
    let lab = Lab { fleet, machine };
    for app in 0..apps {
        let app = format!("app{app}");
        lab.cluster().state().deploy(&app, &vec!["s1"; pods]);
        if let Some(limit) = limit {
            lab.cluster().state().protect(&app, limit);
        }
    }
    lab
}

#[test]
fn a_drain_of_thirty_pods_asks_less_than_kubectl() {
    let budget = Some(BudgetLimit::MaxUnavailable(1));
    for (apps, pods, limit) in [(10, 3, budget), (10, 3, None), (1, 30, None), (30, 1, None)] {
        let lab = lab(Watching::Tells, apps, pods, limit);
        let (receipt, _) = lab.drain();
        assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{apps} x {pods}: {:?}", receipt.steps);
        assert_eq!(lab.cluster().state().refused, 0, "a budget that says no is not asked");
        let server = &lab.machine.front.as_ref().unwrap().server;
        // Another watch every 10 s of real time, which passes otherwise than the machine's.
        let asked = server.asked().len() - server.count("GET", "watch=true");
        let most = HOSTLER_ONCE + HOSTLER_A_POD * apps * pods;
        assert!(most < KUBECTL_A_POD * 30);
        assert!(asked <= most, "{apps} x {pods}: expected at most {most} requests, found {asked}");
        assert_eq!(server.count("POST", "/eviction"), apps * pods, "every pod is asked for once");
    }
}

#[test]
fn where_nobody_may_watch_the_cluster_is_listed_and_the_drain_goes_through() {
    let lab = lab(Watching::Forbidden, 2, 3, Some(BudgetLimit::MaxUnavailable(1)));
    let (receipt, _) = lab.drain();
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    let state = lab.cluster().state();
    assert_eq!((state.fewest_ready["app0"], state.fewest_ready["app1"]), (2, 2));
}

#[test]
fn a_pod_that_was_evicted_counts_as_gone_also_while_its_watch_tells_nothing() {
    for limit in [None, Some(BudgetLimit::MaxUnavailable(1))] {
        let lab = lab(Watching::Hangs, 1, 3, limit);
        let steps = vec![
            Step::Cordon(step::Cordon { reason: "test".parse().unwrap() }),
            Step::Drain(drain(100, EmptyDirs::None, false)),
        ];
        let tasks = vec![task("w1.work", "w1", "s1", &[], steps)];
        let (receipt, _) = lab.run(&lab.fleet.plan(1, vec![], |p| (p.kind, p.tasks) = (PlanKind::Drain, tasks)));
        let reason = receipt.outcome.to_string();
        assert!(matches!(&receipt.outcome, Outcome::TimedOut { .. }), "{reason}");
        assert_eq!(lab.cluster().state().fewest_ready["app0"], 2, "{limit:?}: {reason}");
        let server = &lab.machine.front.as_ref().unwrap().server;
        let asked = server.count("POST", "app0-0/eviction");
        assert_eq!(asked, 1, "{limit:?}: nobody is evicted twice");
    }
}
