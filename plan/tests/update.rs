//! Plans that update machines' systems: made of what the machines signed, and of nothing else.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::collections::BTreeSet;

use hostler_fixtures::{self as made, key, name, public};
use hostler_plan::{
    document::{Plan, PlanKind, RosterNode, SignerRole},
    fleet::Fleet,
    id::{Digest, Epoch, NodeName, Seq},
    planner::{self, Begins, Earlier, Intent, Inventory, InventoryNode, Numbering, PlanError, Preview, Selection},
    sequencer::{ClusterNode, Standing},
    step::Step,
    timestamp::Timestamp,
    update::{Kernel, Left, Pending, PendingPackage, PendingType, System, WhyLeft},
};
use proptest::prelude::*;

const FLEET: &str = include_str!("../../examples/kubeadm-ha.toml");

fn fleet() -> Fleet {
    Fleet::from_toml(&[("fleet.toml", FLEET)]).unwrap().0
}

fn package(name: &str, from: Option<&str>, to: &str) -> PendingPackage {
    PendingPackage {
        package: name.parse().unwrap(),
        arch: "all".parse().unwrap(),
        from: from.map(|from| from.parse().unwrap()),
        to: to.parse().unwrap(),
        origin: "Debian:12.15/oldstable".to_owned(),
        security: true,
        auto: false,
        uri: format!("http://lab/{name}_{to}_all.deb"),
        size: 7,
        sha256: Digest::of(format!("{name} {to}").as_bytes()),
    }
}

fn list(node: &NodeName, packages: Vec<PendingPackage>) -> Pending {
    Pending {
        document_type: PendingType::V1,
        fleet_id: made::root(now(), Vec::new()).fleet_id,
        node: node.clone(),
        read: now(),
        system: System {
            id: "debian".to_owned(),
            version: "12".to_owned(),
            codename: "bookworm".to_owned(),
            arch: "arm64".parse().unwrap(),
        },
        packages,
        left: vec![Left { package: "nano".to_owned(), why: WhyLeft::Held }],
        removals: Vec::new(),
        unfinished: Vec::new(),
        kernel: Kernel { running: "6.1.0-9-amd64".parse().unwrap(), next: Some("6.1.0-9-amd64".parse().unwrap()) },
        reboot: Vec::new(),
    }
}

fn now() -> Timestamp {
    "2026-11-28T08:00:00Z".parse().unwrap()
}

/// The plan of these lists for a fleet of which all but `outside` are members.
fn plan(fleet: &Fleet, pending: Vec<Pending>, outside: &[&str]) -> Result<(Plan, Preview), PlanError> {
    let root = made::root(now(), vec![made::signer("ana", public(&key(200)), SignerRole::Admin)]);
    let node = |(n, i): (&hostler_plan::fleet::FleetNode, u8)| RosterNode {
        arch: n.arch,
        ..made::node(n.name.as_str(), public(&key(i)), n.role)
    };
    let roster = made::roster(&root, now(), fleet.nodes.iter().zip(1..).map(node).collect());
    let seen = |n: &NodeName| {
        let standing = if outside.contains(&n.as_str()) { Standing::Outside } else { Standing::Ready };
        let condition = ClusterNode { standing, version: Some(fleet.version), ..ClusterNode::UNKNOWN };
        (n.clone(), InventoryNode { connected: true, condition, ..InventoryNode::UNSEEN })
    };
    let nodes = fleet.nodes.iter().map(|n| seen(&n.name)).collect();
    let inventory = Inventory { nodes, ..Inventory::default() };
    let numbering = Numbering {
        epoch: Epoch(1),
        seq: Seq(7),
        prev: None,
        also: Vec::new(),
        root_version: 1,
        roster: Digest::of(b"roster"),
        created: now(),
        lifetime_seconds: 3600,
        begins: Begins::AtOnce,
    };
    let accept_outage = fleet.servers().iter().map(|n| n.name.clone()).collect();
    let intent = Intent::Update { nodes: Selection::All, pending, accept_outage };
    planner::plan(fleet, &roster, &inventory, &Earlier::default(), &intent, &numbering)
}

fn all(fleet: &Fleet, packages: &[PendingPackage]) -> Vec<Pending> {
    fleet.nodes.iter().map(|node| list(&node.name, packages.to_vec())).collect()
}

fn ops<'a>(plan: &'a Plan, task: &str) -> Vec<&'a str> {
    let id = task.parse().unwrap();
    plan.task(&id).map(|task| task.steps.iter().map(Step::op).collect()).unwrap_or_default()
}

#[test]
fn nothing_of_pods_is_touched_by_what_does_not_concern_them() {
    let fleet = fleet();
    let (plan, preview) = plan(&fleet, all(&fleet, &[package("tzdata", Some("1"), "2")]), &[]).unwrap();
    assert_eq!(plan.kind, PlanKind::Update);
    for node in &fleet.nodes {
        assert_eq!(ops(&plan, &format!("{}.stage", node.name)), ["artifact.stage"]);
        assert_eq!(ops(&plan, &format!("{}.update", node.name)), ["apt.install"]);
        assert_eq!(ops(&plan, &format!("{}.ready", node.name)), ["kube.await_ready"]);
        assert!(ops(&plan, &format!("{}.drain", node.name)).is_empty());
    }
    assert_eq!(plan.artifacts.len(), 1, "a file is carried once for all machines");
    let text = preview.to_string();
    assert!(text.contains("not drained") && text.contains("stays on") && text.contains("nano"), "{text}");
}

#[test]
fn a_new_kernel_drains_and_reboots_and_the_first_of_all_does_so_twice() {
    let fleet = fleet();
    let mut lists = all(&fleet, &[package("linux-image-6.1.0-28-amd64", None, "2")]);
    lists.iter_mut().for_each(|list| list.kernel.next = Some("6.1.0-28-amd64".parse().unwrap()));
    let (plan, preview) = plan(&fleet, lists, &[]).unwrap();
    let again: Vec<_> = plan.tasks.iter().filter(|task| task.id.to_string().ends_with(".again")).collect();
    assert_eq!(again.len(), 1, "one machine boots twice");
    let first = preview.phases[0].nodes[0].clone();
    assert_eq!(again[0].subject, first);
    for node in &fleet.nodes {
        let steps = ops(&plan, &format!("{}.update", node.name));
        assert_eq!(steps, ["apt.install", "host.reboot", "kernel.runs"]);
        assert_eq!(ops(&plan, &format!("{}.drain", node.name)), ["kube.cordon", "kube.drain"]);
        assert_eq!(ops(&plan, &format!("{}.ready", node.name)), ["kube.await_ready", "kube.uncordon"]);
    }
    // Everything is on every machine before the first one is drained.
    let drain = plan.task(&format!("{first}.drain").parse().unwrap()).unwrap();
    for node in &fleet.nodes {
        assert!(drain.after.contains(&format!("{}.stage", node.name).parse().unwrap()), "{:?}", drain.after);
    }
}

#[test]
fn what_pods_run_in_drains_without_a_reboot() {
    let fleet = fleet();
    let (plan, _) = plan(&fleet, all(&fleet, &[package("containerd", Some("1"), "2")]), &[]).unwrap();
    let node = &fleet.nodes[0].name;
    assert_eq!(ops(&plan, &format!("{node}.update")), ["apt.install"]);
    assert_eq!(ops(&plan, &format!("{node}.drain")), ["kube.cordon", "kube.drain"]);
}

#[test]
fn a_machine_outside_the_cluster_is_updated_without_a_drain() {
    let fleet = fleet();
    let node = fleet.nodes.last().unwrap().name.clone();
    let mut alone = list(&node, vec![package("libc6", Some("1"), "2")]);
    alone.kernel.next = None;
    let (plan, _) = plan(&fleet, vec![alone], &[node.as_str()]).unwrap();
    assert!(ops(&plan, &format!("{node}.drain")).is_empty());
    assert_eq!(ops(&plan, &format!("{node}.update")), ["apt.install", "host.reboot"]);
    assert_eq!(ops(&plan, &format!("{node}.ready")), ["host.noop"]);
    assert!(plan.tasks.iter().all(|task| task.node == node), "nobody else has a task");
}

#[test]
fn another_release_other_versions_other_content_and_kubernetes_are_refused_by_name() {
    let fleet = fleet();
    let refused = |change: &dyn Fn(&mut Vec<Pending>)| {
        let mut lists = all(&fleet, &[package("tzdata", Some("1"), "2")]);
        change(&mut lists);
        plan(&fleet, lists, &[]).unwrap_err().to_string()
    };
    let said = refused(&|lists| lists[0].packages[0].origin = "Debian:13.1/stable".to_owned());
    assert!(said.contains("an upgrade of the distribution") && said.contains("debian 12 bookworm"), "{said}");
    let said = refused(&|lists| lists[0].packages[0] = package("tzdata", Some("1"), "3"));
    assert!(said.contains("different versions of tzdata: 2 on") && said.contains("3 on"), "{said}");
    let said = refused(&|lists| lists[0].packages[0].sha256 = Digest::of(b"other"));
    assert!(said.contains("tzdata 2 has another content"), "{said}");
    let said = refused(&|lists| lists[0].packages.push(package("kubelet", Some("1"), "2")));
    assert!(said.contains("kubelet") && said.contains("apt-mark hold kubelet"), "{said}");
}

#[test]
fn where_nothing_waits_there_is_no_plan() {
    let fleet = fleet();
    let said = plan(&fleet, all(&fleet, &[]), &[]).unwrap_err().to_string();
    assert!(said.contains("is up to date"), "{said}");
}

proptest! {
    /// Whatever machines list, a plan installs nothing else: by name, version and digest.
    #[test]
    fn a_plan_installs_only_what_a_machine_signed(counts in prop::collection::vec(0_usize..6, 5), seed in 0_u32..1000) {
        let fleet = fleet();
        let lists: Vec<Pending> = fleet.nodes.iter().zip(&counts).map(|(node, n)| {
            let one = |i: usize| package(&format!("p{i}"), Some("1"), &format!("2.{seed}"));
            list(&node.name, (0..*n).map(one).collect())
        }).collect();
        let signed: BTreeSet<_> = lists.iter()
            .flat_map(|list| {
                list.packages.iter().map(|p| (list.node.clone(), p.package.clone(), p.to.clone(), p.sha256))
            })
            .collect();
        let Ok((plan, _)) = plan(&fleet, lists, &[]) else {
            prop_assert!(signed.is_empty());
            return Ok(());
        };
        let mut installed = BTreeSet::new();
        for task in &plan.tasks {
            for step in &task.steps {
                if let Step::InstallUpdates(install) = step {
                    for package in &install.packages {
                        let digest = plan.artifact(&package.artifact).unwrap().sha256;
                        installed.insert((task.node.clone(), package.package.clone(), package.version.clone(), digest));
                    }
                }
            }
        }
        prop_assert_eq!(installed, signed);
    }
}

#[test]
fn machines_are_asked_all_at_once_and_nothing_is_installed() {
    assert!(PlanKind::Inspect.may_hold(&Step::ReadUpdates(hostler_plan::step::update::Read { security_only: true })));
    assert!(!PlanKind::Update.needs_only_operator());
    let node = name("w1");
    let install = Step::InstallUpdates(hostler_plan::step::update::Install { packages: Vec::new(), drained: false });
    let others = PlanKind::ALL.into_iter().filter(|kind| *kind != PlanKind::Update);
    assert!(others.clone().all(|kind| !kind.may_hold(&install)), "{node}");
}
