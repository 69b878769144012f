//! The health gates of a rollout, from the facts on the wire to what people read.

use std::time::Duration;

use hostler_plan::{
    document::{Plan, PlanKind, Signed},
    entry::Entry,
    planner::Inventory,
    step::{Cordon, Reboot, Step},
};
use hostler_proto::v1::{self, from_agent::Message};

use crate::{
    fleet::now,
    ready::{BOOT, Ready, Stream, hello, ready},
};

/// Reboots of every node, one after the other, that wait for nothing but health.
fn reboots(ready: &Ready) -> Plan {
    let mut plan = ready.plan(1, &[]);
    plan.kind = PlanKind::Reboot;
    // Nobody reads the cluster here, so every node counts as unavailable.
    plan.strategy.max_unavailable = 9;
    plan.strategy.soak_seconds = 0;
    for task in &mut plan.tasks {
        task.disrupts = true;
        task.steps = vec![Step::Reboot(Reboot {})];
    }
    plan
}

/// A series by name, labels and value.
type Fact<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

/// A whole report of a machine that is well but for so many errors of its file system.
fn facts(ext4_errors: u32) -> Message {
    let booted = now().unix_seconds() as f64 - 86_400.0;
    let root = [("device", "/dev/sda1"), ("fstype", "ext4"), ("mountpoint", "/")];
    let all: [Fact<'_>; 12] = [
        ("hostler_node_info", &[("boot_id", BOOT), ("model", "PC")], 1.0),
        ("node_boot_time_seconds", &[], booted),
        ("node_filesystem_readonly", &root, 0.0),
        ("node_filesystem_size_bytes", &root, 100e9),
        ("node_filesystem_avail_bytes", &root, 50e9),
        ("node_memory_MemTotal_bytes", &[], 8e9),
        ("node_memory_MemAvailable_bytes", &[], 6e9),
        ("node_timex_sync_status", &[], 1.0),
        ("node_timex_maxerror_seconds", &[], 0.1),
        ("node_timex_offset_seconds", &[], 0.0001),
        ("hostler_cgroup_controller_enabled", &[("controller", "memory")], 1.0),
        ("hostler_ext4_errors_total", &[("device", "sda1")], f64::from(ext4_errors)),
    ];
    let label = |(name, value): &(&str, &str)| v1::Label { name: (*name).into(), value: (*value).into() };
    let added = all.iter().zip(0..).map(|((name, labels, value), id)| v1::NewSeries {
        id,
        name: (*name).into(),
        labels: labels.iter().map(label).collect(),
        value: Some(*value),
    });
    let taken_at = now().unix_milliseconds();
    Message::Facts(v1::FactsDelta { taken_at, added: added.collect(), ..v1::FactsDelta::default() })
}

/// The last series of [`facts`] has another value.
fn errors(ext4_errors: u32) -> Message {
    let set = Some(v1::ChangedValues { gaps: vec![11], values: vec![f64::from(ext4_errors)] });
    Message::Facts(v1::FactsDelta { taken_at: now().unix_milliseconds(), set, ..v1::FactsDelta::default() })
}

/// The rollout, once one of its waits says all of that.
async fn waits_for(ready: &Ready, parts: &[&str]) -> v1::RolloutDetail {
    let mut seen = Vec::new();
    for _ in 0..500 {
        let detail = ready.rollout("1").await;
        if detail.waits.iter().any(|w| parts.iter().all(|part| w.sentence.contains(part))) {
            return detail;
        }
        seen = detail.waits;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("expected a wait with {parts:?}, found {seen:?}");
}

async fn open(ready: &Ready, node: usize) -> Stream {
    let (node, chain) = &ready.nodes[node];
    Stream::open(&ready.fleet, node, chain, v1::Hello { root_version: 1, ..hello() }).await
}

#[tokio::test]
async fn a_rollout_waits_for_the_verdicts_that_people_read_and_compares_with_the_baseline_in_the_ledger() {
    let mut ready = ready(&["a", "b"]).await;
    let (mut a, b) = (open(&ready, 0).await, open(&ready, 1).await);
    ready.submit(&ready.signed(&reboots(&ready))).await.unwrap();
    waits_for(&ready, &["a is unknown", "report: no report comes from it"]).await;

    // Before: its own verdicts forbid it, in the same words everywhere.
    a.send(facts(1)).await;
    b.send(facts(0)).await;
    let sentence = "filesystem_errors sda1: number of errors since the last fsck is 1; read the kernel log";
    let detail = waits_for(&ready, &["waits because a is degraded since ", sentence]).await;
    assert!(detail.summary.unwrap().reason.contains(sentence), "the list of rollouts says it too");
    let mut admin = ready.fleet.login(&ready.fleet.viewer).await.unwrap();
    let nodes = admin.client.list_nodes(admin.with_session(v1::Empty {})).await.unwrap().into_inner().nodes;
    let of_a = nodes.iter().find(|n| n.name == "a").unwrap();
    assert_eq!(of_a.health(), v1::Level::Degraded);
    assert!(of_a.health_reason.starts_with(sentence), "{}", of_a.health_reason);
    let request = admin.with_session(v1::GetNodeRequest { name: "a".into() });
    let shown = admin.client.get_node(request).await.unwrap().into_inner();
    let verdict = &shown.verdicts[0];
    assert_eq!((verdict.level(), &verdict.sentence), (v1::Level::Degraded, &of_a.health_reason));
    let request = admin.with_session(v1::Empty {});
    let inventory = Inventory::try_from(admin.client.get_inventory(request).await.unwrap().into_inner()).unwrap();
    assert_eq!(inventory.nodes[&ready.nodes[0].0.name].verdicts[0].sentence(), of_a.health_reason);

    // Good again: the grant and the baseline are one record.
    a.send(errors(0)).await;
    let grant = a.grant().await;
    assert_eq!(grant.task, "a.check");
    let baselines = |records: Vec<hostler_plan::ledger::Record>| -> Vec<_> {
        let of = |entry: Entry| if let Entry::Granted { baseline, .. } = entry { Some(baseline) } else { None };
        records.into_iter().filter_map(|r| of(r.entry)).collect()
    };
    let found = baselines(ready.fleet.ledger().await);
    let [Some(baseline)] = found.as_slice() else { panic!("expected one grant with a baseline, found {found:?}") };
    assert_eq!((baseline.boot_id.as_str(), baseline.levels.len()), (BOOT, 0));
    assert_eq!(baseline.counters["hostler_ext4_errors_total{device=\"sda1\"}"], 0);
    drop(b);

    // Another coordinator on the same ledger compares with the same baseline.
    ready.fleet.restart(|_| {}).await;
    let (mut a, mut b) = (open(&ready, 0).await, open(&ready, 1).await);
    b.send(facts(0)).await;
    a.send(facts(2)).await;
    a.send(Message::Receipt(ready.receipt(0, &grant, 1, None).into())).await;
    a.acknowledged().await;
    let worse =
        ["waits because a is worse than before: was ok, is degraded: filesystem_errors sda1", "the rollout halts at"];
    let detail = waits_for(&ready, &worse).await;
    assert_eq!((detail.baselines[0].sentence.as_str(), detail.baselines[0].recovered), ("all ok", false));
    a.send(errors(0)).await;
    assert_eq!(b.grant().await.task, "b.check", "no worse than before, so the next one's turn comes");
    assert!(ready.rollout("1").await.baselines.iter().any(|b| b.node == "a" && b.recovered));
}

/// A plan that nobody's health holds: what a responder signs for a dying node.
#[tokio::test]
async fn a_drain_of_a_node_that_never_reported_is_granted() {
    let ready = ready(&["a"]).await;
    let mut a = open(&ready, 0).await;
    let mut plan = reboots(&ready);
    plan.kind = PlanKind::Drain;
    plan.tasks[0].steps = vec![Step::Cordon(Cordon { reason: "it dies".parse().unwrap() })];
    let signed: Signed = ready.signed(&plan);
    ready.submit(&signed).await.unwrap();
    assert_eq!(a.grant().await.task, "a.check");
}
