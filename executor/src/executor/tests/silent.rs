//! What a step finds while the API server of its machine is silent, as for a while after a boot, is asked once more.

use hostler_plan::step::configure::Describe;

use super::*;
use crate::testing::TestCluster;

/// How the task ends whose step cannot be checked on this machine, and for how long it waited.
fn ended(silent: bool, next: Option<fn(&mut crate::testing::State)>) -> (String, Duration) {
    let fleet = Fleet::new();
    let now = fleet.now.plus(Duration::from_secs(60));
    let machine = Arc::new(Machine::new(now).with_cluster(TestCluster::new(now, &["w1"])));
    {
        let mut cluster = machine.cluster.as_ref().unwrap().state();
        (cluster.silent, cluster.next) = (silent, next);
    }
    let describe = Describe { labels: BTreeMap::new(), taints: Some(Vec::new()) };
    let plan = fleet.plan(1, vec![Step::Describe(describe)], |plan| plan.kind = PlanKind::Configure);
    let (receipts, refusals) = work(&fleet, &machine, &grant(&plan));
    assert_eq!(refusals, []);
    let waited = machine.inner().waited;
    (receipts[0].outcome.to_string(), waited)
}

#[test]
fn a_step_that_cannot_be_checked_waits_for_a_silent_api_server_and_not_for_ever() {
    let (why, waited) = ended(true, None);
    assert!(why.contains("needs the administrator's credentials"), "{why}");
    assert!(why.ends_with("; the API server of this machine was silent for 5 min"), "{why}");
    assert!(waited >= Duration::from_secs(300) && waited < Duration::from_secs(320), "{waited:?}");
}

#[test]
fn it_is_checked_again_once_the_api_server_answers_and_at_once_where_it_does() {
    for (silent, next) in
        [(true, Some((|cluster| cluster.silent = false) as fn(&mut crate::testing::State))), (false, None)]
    {
        let (why, waited) = ended(silent, next);
        assert!(why.contains("needs the administrator's credentials") && !why.contains("silent"), "{why}");
        assert!(waited < Duration::from_secs(30), "{waited:?}");
    }
}
