//! What plans for kubeadm's clusters hold, word for word: `tests/kubeadm_plans.txt` has every file and configuration of
//! the example, and `HOSTLER_BLESS=1` writes it anew when it is meant to be another. kubeadm itself takes the
//! configurations there (`kubeadm config validate`).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use hostler_fixtures::{self as made, golden, key, name, public};
use hostler_plan::{
    document::{Artifact, Plan, PlanKind, RosterNode, RosterStatus, SignerRole},
    fleet::Fleet,
    form::Config,
    id::{Digest, Epoch, NodeName, Seq},
    planner::{
        self, Accepted, Begins, Earlier, Intent, Inventory, InventoryNode, Numbering, PlanError, Preview, Quarantined,
        Selection,
    },
    sequencer::{ClusterNode, Standing},
    step::Step,
    timestamp::Timestamp,
};

const RACK: &str = include_str!("../../examples/kubeadm-ha.toml");

/// The example with programs, images, a package and a manifest for both processors.
fn rack(text: &str) -> Fleet {
    let mut lock = String::new();
    let mut artifact = |name: &str, rest: &str| {
        let sha256 = Digest::of(format!("{name} {rest}").as_bytes()).hex();
        writeln!(lock, "[[artifacts]]\nname = {name:?}\npath = {name:?}\nsha256 = \"{sha256}\"\nsize = 5\n{rest}")
            .unwrap();
    };
    for arch in ["x86_64", "aarch64"] {
        for version in ["v1.36.3", "v1.37.2"] {
            for name in ["kubeadm", "kubelet", "kubectl", "kube-proxy"] {
                artifact(name, &format!("arch = {arch:?}\nversion = {version:?}"));
            }
            artifact("kube-apiserver", &format!("arch = {arch:?}\nversion = {version:?}\nrole = \"server\""));
        }
        for name in ["containerd", "containerd-shim-runc-v2", "loopback"] {
            artifact(name, &format!("arch = {arch:?}\nversion = \"2.4.2\""));
        }
        artifact("runc", &format!("arch = {arch:?}\nversion = \"1.1.5+ds1-1\"\nkind = \"package\""));
    }
    artifact("cni.yaml", "kind = \"manifest\"");
    Fleet::with_lock(("fleet.toml", text), ("fleet.lock", &lock)).unwrap().0
}

/// The plan for a fleet whose `members` run that version.
fn plan(fleet: &Fleet, members: &[&str], intent: &Intent) -> Result<Plan, PlanError> {
    plan_without(fleet, members, intent, &[]).map(|(plan, _)| plan)
}

/// The same where those were retired.
fn plan_without(
    fleet: &Fleet,
    members: &[&str],
    intent: &Intent,
    retired: &[&str],
) -> Result<(Plan, Preview), PlanError> {
    let now: Timestamp = "2026-11-28T08:00:00Z".parse().unwrap();
    let root = made::root(now, vec![made::signer("ana", public(&key(200)), SignerRole::Admin)]);
    let node = |(n, i): (&hostler_plan::fleet::FleetNode, u8)| RosterNode {
        arch: n.arch,
        status: if retired.contains(&n.name.as_str()) { RosterStatus::Retired } else { RosterStatus::Active },
        ..made::node(n.name.as_str(), public(&key(i)), n.role)
    };
    let roster = made::roster(&root, now, fleet.nodes.iter().zip(1..).map(node).collect());
    let seen = |n: &NodeName| {
        let is_member = members.contains(&n.as_str());
        let standing = if is_member { Standing::Ready } else { Standing::Outside };
        let version = is_member.then_some(fleet.version);
        let condition = ClusterNode { standing, version, ..ClusterNode::UNKNOWN };
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
        created: now,
        lifetime_seconds: 3600,
        begins: Begins::AtOnce,
    };
    planner::plan(fleet, &roster, &inventory, &Earlier::default(), intent, &numbering)
}

fn join(nodes: &[&str]) -> Intent {
    Intent::Join { nodes: Selection::Named(nodes.iter().map(|n| name(n)).collect()) }
}

fn upgrade(to: &str) -> Intent {
    let nodes = Selection::All;
    Intent::Upgrade { to: to.parse().unwrap(), nodes, quarantined: Quarantined::Refuse, accepted: Accepted::default() }
}

/// What kubeadm is given in that task.
fn config(plan: &Plan, task: &str) -> String {
    let task = plan.task(&task.parse().unwrap()).unwrap();
    task.steps.iter().find_map(given).unwrap().to_string()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other step gives kubeadm nothing")]
fn given(step: &Step) -> Option<&Config> {
    match step {
        Step::BootstrapKubeadm(step) => Some(&step.config),
        Step::JoinKubeadm(step) => Some(&step.config),
        Step::UpgradeKubeadm(step) => Some(&step.config),
        _ => None,
    }
}

/// Every step of a task, with what it holds.
fn told(plan: &Plan, task: &str, text: &mut String) {
    writeln!(text, "## {task}\n").unwrap();
    for step in &plan.task(&task.parse().unwrap()).unwrap().steps {
        let file = if let Step::EnsureFile(file) = step { Some(file.content.as_str()) } else { None };
        let whole = file.or(given(step).map(Config::as_str)).unwrap_or_default();
        writeln!(text, "{}", step.said()[0]).unwrap();
        whole.lines().for_each(|line| writeln!(text, "    {line}").unwrap());
    }
    text.push('\n');
}

/// The steps about registries in a task.
fn about_registries(plan: &Plan, task: &str) -> Vec<String> {
    let steps = plan.task(&task.parse().unwrap()).unwrap().steps.iter();
    let is = |step: &&Step| matches!(step, Step::EnsureRegistry(_) | Step::ForgetRegistries(_));
    steps.filter(is).map(|step| step.said().concat()).collect()
}

#[test]
fn a_retired_name_joins_no_more_and_the_sentence_says_what_it_takes() {
    let fleet = rack(RACK);
    let refused = plan_without(&fleet, &["s1"], &join(&["w1"]), &["w1"]).unwrap_err().to_string();
    assert!(
        refused.contains("w1 is no active node of the roster; enrol it (a retired one anew), or leave it"),
        "{refused}"
    );
    let (_, preview) = plan_without(&fleet, &["s1"], &Intent::Join { nodes: Selection::All }, &["w1"]).unwrap();
    let why: Vec<_> = preview.skipped.iter().filter(|(node, _)| *node == name("w1")).map(|(_, why)| why).collect();
    let said = "is retired: enrol and approve it anew (`hostler node approve`), or take it out of the fleet file";
    assert_eq!(why, [said]);
}

#[test]
fn credentials_travel_sealed_to_each_machine_and_what_the_file_has_no_more_is_forgotten() {
    let with = RACK.replacen("mirrors = ", "credentials = \"hub.toml\"\nmirrors = ", 1);
    let baseline = Intent::Baseline { nodes: Selection::Named(vec![name("w1"), name("pi-1")]) };
    let mut fleet = rack(&with);
    let refused = plan(&fleet, &["s1", "w1", "pi-1"], &baseline).unwrap_err().to_string();
    assert!(refused.contains("the credentials of w1's registries are not sealed to it"), "{refused}");
    for node in ["w1", "pi-1"] {
        let sealed = Artifact {
            name: planner::credentials_name(&name(node)),
            sha256: Digest::of(node.as_bytes()),
            size: 4400,
            arch: None,
        };
        fleet.sealed.insert(name(node), sealed);
    }
    let made = plan(&fleet, &["s1", "w1", "pi-1"], &baseline).unwrap();
    let ensure = "registry.ensure images of docker.io from https://mirror.lab:5000 without credentials, then \
                  https://registry-1.docker.io WITH CREDENTIALS; credentials out of registry-credentials.w1";
    let forget = "registry.forget credentials that hostler wrote for registries other than docker.io";
    assert_eq!(about_registries(&made, "w1.prepare"), [ensure, forget]);
    let carried: Vec<_> = made.artifacts.iter().filter(|a| a.name.as_str().starts_with("registry-")).collect();
    assert_eq!(carried.len(), 2);
    assert_eq!(carried[0].sha256, Digest::of(b"pi-1"));
    assert!(!hostler_plan::json::write(&made).windows(8).any(|part| part == b"hub.toml"), "not even where they lie");
    // Nobody's any more: what lies there goes, and nothing travels.
    let without = plan(&rack(RACK), &["s1", "w1", "pi-1"], &baseline).unwrap();
    assert_eq!(
        about_registries(&without, "w1.prepare"),
        ["registry.forget all credentials that hostler wrote for registries"]
    );
    assert!(without.artifacts.iter().all(|a| !a.name.as_str().starts_with("registry-")));
    let long = planner::credentials_name(&name(&format!("{}.lab", "a".repeat(63))));
    assert!(long.as_str().len() <= 64);
}

#[test]
fn plans_of_the_example_are_as_written() {
    let rich = RACK
        .replacen("[kubeadm]\n", "[kubeadm]\nmanifests = [\"cni.yaml\"]\nignore_preflight = [\"NumCPU\"]\n", 1)
        .replacen(
            "[kubeadm.kubelet.config]",
            "[kubeadm.patches.kubeletconfiguration]\nmaxPods = 70\n[kubeadm.kubelet.config]",
            1,
        );
    let fleet = rack(&rich);
    let mut text = String::from("# Every file and configuration in plans of examples/kubeadm-ha.toml.\n\n");
    let bootstrap = plan(&fleet, &[], &Intent::Bootstrap {}).unwrap();
    for task in ["s1.stage", "s1.prepare", "s1.bootstrap", "s1.apply", "s1.ready"] {
        told(&bootstrap, task, &mut text);
    }
    let joins = plan(&fleet, &["s1"], &join(&["s2", "pi-1"])).unwrap();
    for task in ["s2.admit", "s2.join", "pi-1.admit", "pi-1.join", "pi-1.ready"] {
        told(&joins, task, &mut text);
    }
    let upgrades = plan(&fleet, &["s1", "s2", "s3", "w1", "pi-1"], &upgrade("v1.37.2")).unwrap();
    told(&upgrades, "s3.upgrade", &mut text);
    golden::check(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kubeadm_plans.txt")), &text);
}

#[test]
fn what_yaml_would_read_as_something_else_reaches_kubeadm_as_it_was_written() {
    let traps =
        ["yes", "no", "1e3", "0x1", "~", "null", "2026-11-28", "0123", "1:30", "a: b", "- a", "\"", "'", "#", "é"];
    let args: Vec<String> = traps.iter().map(|trap| toml::Value::from(*trap).to_string()).collect();
    let text = RACK.replacen(
        "[kubeadm.api_server.extra_args]",
        &format!("[kubeadm.api_server.extra_args]\ntrap = [{}]", args.join(", ")),
        1,
    );
    let plan = plan(&rack(&text), &[], &Intent::Bootstrap {}).unwrap();
    let config = config(&plan, "s1.bootstrap");
    let cluster = config.split("---\n").nth(1).unwrap();
    let cluster: serde_json::Value = serde_saphyr::from_str(cluster).unwrap();
    let read = cluster["apiServer"]["extraArgs"].as_array().unwrap().iter();
    let read: Vec<&str> = read.filter(|a| a["name"] == "trap").map(|a| a["value"].as_str().unwrap()).collect();
    assert_eq!(read, traps);
}

#[test]
fn what_keeps_a_cluster_from_being_made_is_said_before_anything_is_signed() {
    let said = |fleet: &Fleet, members: &[&str], intent: &Intent| plan(fleet, members, intent).unwrap_err().to_string();
    let lab = include_str!("../../examples/kubeadm-lab.toml");
    let lab = said(&rack(lab), &[], &Intent::Bootstrap {});
    assert!(lab.contains("write [kubeadm] with its networks"), "{lab}");
    assert!(lab.contains("no address for the server cp1"), "{lab}");
    let mut fleet = rack(RACK);
    fleet.artifacts.retain(|a| a.plan_name().as_str() != "kube-proxy-aarch64");
    let image = said(&fleet, &["s1"], &join(&["pi-1", "w1"]));
    assert_eq!(image.lines().count(), 1, "{image}");
    assert!(image.contains("no artifact kube-proxy v1.36.3 for aarch64"), "{image}");
    // One that only the older version has would be missed by kubeadm, on a server that is drained.
    let mut fleet = rack(RACK);
    fleet.artifacts.retain(|a| a.name.as_str() != "kube-apiserver" || a.kubernetes == Some(fleet.version));
    let image = said(&fleet, &["s1", "s2", "s3", "w1", "pi-1"], &upgrade("v1.37.2"));
    assert_eq!(image.lines().count(), 2, "a server has another processor: {image}");
    assert!(image.contains("no artifact kube-apiserver v1.37.2 for x86_64"), "{image}");
    let long: BTreeMap<String, String> = (0..3000).map(|i| (format!("k{i}"), "v".repeat(20))).collect();
    let args: Vec<String> = long.iter().map(|(key, value)| format!("{key} = {value:?}")).collect();
    let text = RACK.replacen(
        "[kubeadm.api_server.extra_args]",
        &format!("[kubeadm.api_server.extra_args]\n{}", args.join("\n")),
        1,
    );
    let long = said(&rack(&text), &[], &Intent::Bootstrap {});
    assert!(long.contains("bytes, and a plan holds 65536 of each; say less"), "{long}");
}

#[test]
fn a_baseline_holds_what_makes_machines_ready_and_only_an_admin_signs_it() {
    let fleet = rack(&RACK.replacen("[kubeadm]\n", "[kubeadm]\nmanifests = [\"cni.yaml\"]\n", 1));
    let bootstrap = plan(&fleet, &[], &Intent::Bootstrap {}).unwrap();
    for (task, allowed) in [("s1.stage", true), ("s1.prepare", true), ("s1.apply", false)] {
        for step in &bootstrap.task(&task.parse().unwrap()).unwrap().steps {
            assert_eq!(PlanKind::Baseline.may_hold(step), allowed, "{}", step.op());
        }
    }
    let joins = plan(&fleet, &["s1"], &join(&["s2"])).unwrap();
    let steps = joins.tasks.iter().chain(&bootstrap.tasks).flat_map(|task| &task.steps);
    for step in steps.filter(|step| step.op().starts_with("kubeadm.")) {
        assert!(!PlanKind::Baseline.may_hold(step), "{}", step.op());
    }
    let baseline = plan(&fleet, &["s1"], &Intent::Baseline { nodes: Selection::All }).unwrap();
    assert_eq!((baseline.kind, baseline.kind.needs_only_operator()), (PlanKind::Baseline, false));
    assert!(baseline.tasks.iter().flat_map(|task| &task.steps).all(|step| PlanKind::Baseline.may_hold(step)));
    assert!(baseline.tasks.iter().all(|task| !task.disrupts));
}

/// kubeadm tries a cluster out by a pod with an image of the new version, on whichever node the scheduler takes.
#[test]
fn nobody_is_drained_before_every_node_has_the_images_of_the_new_version() {
    let nodes = ["s1", "s2", "s3", "w1", "pi-1"];
    let upgrades = plan(&rack(RACK), &nodes, &upgrade("v1.37.2")).unwrap();
    let task = |id: &str| upgrades.task(&id.parse().unwrap()).unwrap();
    for node in nodes {
        let stage = task(&format!("{node}.stage"));
        assert!(stage.steps.iter().any(|step| matches!(step, Step::EnsureImages(_))), "{node}");
        assert!(task("s1.prepare").after.contains(&stage.id), "{node}");
    }
}

#[test]
fn a_bootstrap_ends_with_the_handover_and_no_other_plan_has_it() {
    let fleet =
        rack(&format!("{RACK}\n[handover]\nmanifest = \"cni.yaml\"\n").replace("manifests = [\"cni.yaml\"]\n", ""));
    let made = plan(&fleet, &[], &Intent::Bootstrap {}).unwrap();
    let last = made.tasks.last().unwrap();
    assert_eq!((last.id.to_string().as_str(), last.steps[0].op()), ("s1.handover", "kube.apply"));
    assert_eq!(last.after[0].to_string(), "s1.ready");
    for intent in [join(&["w1"]), Intent::Baseline { nodes: Selection::All }] {
        let other = plan(&fleet, &["s1"], &intent).unwrap();
        assert!(
            other.tasks.iter().flat_map(|task| &task.steps).all(|step| step.op() != "kube.apply"),
            "{}",
            other.title
        );
    }
}
