//! Nothing is signed that does not show: whatever is changed in a document changes the text that a person reads before
//! signing it.
//!
//! Generated: each place of each kind of document is changed in every way that still gives a document of that form.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::collections::BTreeSet;

use hostler_fixtures::{self as made, key, public};
use hostler_plan::{
    document::{Admission, Decision, Plan, PlanKind, Root, Roster, SignerRole, Window, WindowSet, WindowTask, Windows},
    id::Digest,
    json, show,
    step::{ClusterRole, Step},
    timestamp::Timestamp,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// A digest that stands for that of the bytes: with the real one every change would show in it.
const DIGEST: Digest = Digest::ZERO;

/// Words that some place or other takes, so that every choice is made.
const WORDS: &[&str] = &[
    "server",
    "worker",
    "active",
    "retired",
    "aarch64",
    "x86_64",
    "automatic",
    "manual",
    "viewer",
    "operator",
    "admin",
    "check",
    "memory",
    "unmanaged",
    "disk",
    "bootstrap",
    "join",
    "upgrade",
    "drain",
    "uncordon",
    "reboot",
    "stop",
    "ask",
    "wait",
    "started",
    "stopped",
    "v1.35.1+k3s2",
    "2026-12-24T08:00:00Z",
    "0600",
    "host.noop",
    "host.reboot",
    "degraded",
    "ok",
    "nvme_wear",
    "0.5",
    "names",
    "off",
    "no",
    "keys",
    "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
];

/// What may stand in the place of that value.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![json!(7), json!("v1.35.1+k3s2"), json!("aarch64"), json!(Digest::of(b"other"))],
        Value::Bool(b) => vec![json!(!b)],
        Value::Number(n) => {
            let n = n.as_u64().unwrap();
            vec![json!(n + 1), json!(n.saturating_sub(1)), json!(n.saturating_mul(2))]
        }
        Value::String(text) => {
            let mut others: Vec<String> = WORDS.iter().map(|w| (*w).to_owned()).collect();
            others.extend([format!("{text}x"), format!("x{text}"), format!("{text} "), text.to_uppercase()]);
            // Another character in each place: of a digest, a key, a time.
            for (at, c) in text.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()) {
                let other = match c {
                    '0'..='8' | 'a'..='y' | 'A'..='Y' => char::from(c as u8 + 1),
                    '9' => '0',
                    _ => 'a',
                };
                others.push(format!("{}{other}{}", &text[..at], &text[at + 1..]));
            }
            others.retain(|other| other != text);
            others.push(String::new());
            let null = std::iter::once(Value::Null);
            others.into_iter().map(Value::from).chain(null).collect()
        }
        Value::Array(_) | Value::Object(_) => Vec::new(),
    }
}

/// Every value that differs from `value` in one place, with the place's name.
fn changed(value: &Value) -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = others(value).into_iter().map(|v| (String::new(), v)).collect();
    match value {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let put = |other: Value| {
                    let mut items = items.clone();
                    items[i] = other;
                    Value::from(items)
                };
                all.extend(changed(item).into_iter().map(|(place, v)| (format!(".*{place}"), put(v))));
                let mut fewer = items.clone();
                fewer.remove(i);
                all.push((".-".to_owned(), fewer.into()));
                let mut more = items.clone();
                more.push(item.clone());
                all.push((".+".to_owned(), more.into()));
            }
            for first in [json!("check"), json!(Digest::of(b"more")), json!("70ce0001")] {
                let mut more = items.clone();
                more.push(first);
                all.push((".+".to_owned(), more.into()));
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let put = |other: Value| {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), other);
                    Value::from(fields)
                };
                all.extend(changed(field).into_iter().map(|(place, v)| (format!(".{name}{place}"), put(v))));
                let mut fewer = fields.clone();
                fewer.remove(name);
                all.push((format!(".{name}-"), fewer.into()));
            }
            for (name, value) in [("reboot", json!(2)), ("also", json!([Digest::of(b"fork")]))] {
                let mut more = fields.clone();
                more.entry(name).or_insert(value);
                all.push((format!(".{name}+"), more.into()));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    all
}

/// The names of every place that holds a value of its own.
fn places(value: &Value, name: &str, all: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| places(item, &format!("{name}.*"), all)),
        Value::Object(fields) => fields.iter().for_each(|(field, v)| places(v, &format!("{name}.{field}"), all)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            all.insert(name.to_owned());
        }
    }
}

/// Changes everything and gives how many changes there were. `fixed` are the places that hold one word only.
fn everything_shows<T: DeserializeOwned + Serialize>(
    document: &T,
    fixed: &[&str],
    show: impl Fn(&T) -> String,
) -> usize {
    let value = serde_json::to_value(document).unwrap();
    let text = show(document);
    assert!(text.lines().all(|line| !line.contains(char::is_control)), "{text}");
    let mut untouched = BTreeSet::new();
    places(&value, "", &mut untouched);
    let mut count = 0;
    for (place, other) in changed(&value) {
        let Ok(parsed) = json::parse::<T>(&serde_json::to_vec(&other).unwrap()) else { continue };
        if other == value {
            continue;
        }
        assert_ne!(show(&parsed), text, "{place} does not show: {other}");
        untouched.remove(&place);
        count += 1;
    }
    let untouched: Vec<&str> = untouched.iter().map(String::as_str).collect();
    assert_eq!(untouched, fixed, "every other place was changed");
    count
}

fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn root() -> Root {
    let signers = vec![
        made::signer("ana", public(&key(200)), SignerRole::Admin),
        hostler_plan::document::Signer {
            plan_kinds: vec![PlanKind::Drain, PlanKind::Reboot],
            ..made::signer("otto", public(&key(201)), SignerRole::Operator)
        },
    ];
    let mut root = made::root(now(), signers);
    root.thresholds.plan_kinds.insert(PlanKind::Upgrade, 2);
    root.revoked.push(public(&key(202)).fingerprint());
    root.recovery = vec![made::recovery_key("safe", 7)];
    (root.prev, root.also) = (Some(Digest::of(b"root before")), vec![Digest::of(b"its twin")]);
    root
}

fn roster() -> Roster {
    let node = |node: &str, number, role| made::node(node, public(&key(number)), role);
    let nodes = vec![node("s1", 1, ClusterRole::Server), node("w1", 2, ClusterRole::Worker)];
    let mut roster = made::roster(&root(), now(), nodes);
    (roster.prev, roster.also) = (Some(Digest::of(b"roster before")), vec![Digest::of(b"its twin")]);
    roster.revoked_tokens.push("70ce0009".parse().unwrap());
    roster
}

/// Every kind of step.
fn steps() -> Vec<Step> {
    let long: String = (0..100).map(|n| format!("line {n}\n")).collect();
    let steps = json!([
        {"op": "host.noop"},
        {"op": "artifact.stage", "artifact": "k3s-aarch64"},
        {"op": "file.ensure", "path": "/etc/motd", "mode": "0644", "content": "hello\u{1b}[2J\n"},
        {"op": "file.ensure", "path": "/etc/long", "mode": "0644", "content": long},
        {"op": "module.ensure", "module": "br_netfilter"},
        {"op": "sysctl.ensure", "key": "net.ipv4.ip_forward", "value": "1"},
        {"op": "package.ensure", "package": "curl", "version": "8.1-2"},
        {"op": "systemd.ensure", "unit": "ssh.service", "state": "started", "enabled": true},
        {"op": "systemd.current", "unit": "containerd.service", "files": ["/etc/containerd/config.toml"]},
        {"op": "program.ensure", "artifact": "kubelet-aarch64", "path": "/usr/local/bin/kubelet"},
        {"op": "image.ensure", "artifact": "images-aarch64"},
        {"op": "package.install", "artifact": "deb-aarch64", "package": "kubectl", "version": "1.36.3-1.1"},
        {"op": "package.hold", "package": "kubeadm"},
        {"op": "swap.off"},
        {"op": "hosts.ensure", "name": "k8s.lab", "address": "10.0.0.10"},
        {"op": "kernel.arguments", "arguments": ["panic=10", "console=ttyS0"], "memory_control_group": true},
        {"op": "kernel.boot", "arguments": ["panic=11"], "memory_control_group": true},
        {"op": "cloud_init.fence", "fence": "names"},
        {"op": "cloud_init.fence", "fence": "off"},
        {"op": "iscsi.initiator"},
        {"op": "network.lasts", "address": "10.0.0.12", "is_server": true},
        {"op": "sshd.set", "password_authentication": false, "root_login": "no"},
        {"op": "registry.ensure", "artifact": "registry-credentials.w1", "registry": "registry.lab:5000", "hosts": [
            {"url": "https://mirror.lab", "ca": true, "credentials": false},
            {"url": "https://registry.lab:5000", "ca": false, "credentials": true}]},
        {"op": "registry.forget", "keep": ["other.lab:5000"]},
        {"op": "k3s.bootstrap", "artifact": "k3s-aarch64", "version": "v1.34.3+k3s1"},
        {"op": "k3s.admit", "lifetime_seconds": 900},
        {"op": "k3s.join", "artifact": "k3s-aarch64", "version": "v1.34.3+k3s1", "role": "worker",
            "server_url": "https://api:6443", "admitted_by": "w1.admit"},
        {"op": "k3s.upgrade", "artifact": "k3s-aarch64", "version": "v1.34.3+k3s1"},
        {"op": "kubeadm.bootstrap", "version": "v1.36.3", "config": "kind: InitConfiguration\n"},
        {"op": "kubeadm.admit", "role": "server", "lifetime_seconds": 901},
        {"op": "kubeadm.join", "version": "v1.36.2", "role": "server", "config": "kind: JoinConfiguration\n",
            "admitted_by": "s2.admit"},
        {"op": "kubeadm.revoke"},
        {"op": "kubeadm.upgrade", "version": "v1.37.1", "config": "kind: UpgradeConfiguration\n"},
        {"op": "kubelet.ensure", "version": "v1.37.2"},
        {"op": "kubeadm.expel", "role": "server", "address": "10.0.0.13", "silent": false},
        {"op": "cluster.read", "to": "age1j3cvz8cyzu74l6uhx8uzxma8ftnns0hukzn3w58a544zrw6t6upsh0sj8w"},
        {"op": "apt.read", "security_only": true},
        {"op": "apt.install", "drained": true, "packages": [{"artifact": "deb-libc6-0123", "package": "libc6",
            "arch": "amd64", "from": "2.36-9", "version": "2.36-9+deb12u10", "auto": false}]},
        {"op": "kernel.runs", "release": "6.1.0-28-amd64"},
        {"op": "kube.no_removed_apis", "version": "v1.37.3", "accepted": ["policy/v1beta1/podsecuritypolicies"]},
        {"op": "kubeadm.reset", "config": "kind: ResetConfiguration\n", "expelled_by": "s3.expel"},
        {"op": "kubeadm.renew", "within_days": 90},
        {"op": "kubeadm.reach", "endpoint": "https://k8s.lab:6443"},
        {"op": "kubeadm.certify", "version": "v1.36.5", "config": "kind: InitConfiguration\napiServer: {}\n"},
        {"op": "kubeadm.configure", "version": "v1.36.6", "config": "kind: InitConfiguration\nscheduler: {}\n"},
        {"op": "kubelet.configure", "version": "v1.36.7", "config": "kind: InitConfiguration\nx: {}\n",
            "drained": true},
        {"op": "kube.describe", "labels": {"disk": "ssd"}, "taints": ["gpu=true:NoSchedule"]},
        {"op": "etcd.snapshot", "keep": 7, "days": 30, "to": ["/mnt/nas/etcd"]},
        {"op": "etcd.receive", "artifact": "etcd-snapshot", "snapshot": {"name": "s1-20261128T201500Z",
            "revision": 1281, "kubernetes": "v1.36.1", "etcd": "3.6.8"}, "restored": {"name": "20261129T001500Z-57",
                "members": [{"name": "s5", "address": "10.0.0.15"}, {"name": "s6", "address": "10.0.0.16"}]}},
        {"op": "etcd.stop", "restored": {"name": "20261129T001501Z-58",
            "members": [{"name": "s7", "address": "10.0.0.17"}]}},
        {"op": "etcd.restore", "bump_revision": 1_795_000_000_000_u64, "restored": {"name": "20261129T001502Z-59",
            "members": [{"name": "s8", "address": "10.0.0.18"}]}},
        {"op": "etcd.start", "restored": {"name": "20261129T001503Z-60",
            "members": [{"name": "s9", "address": "10.0.0.19"}]}},
        {"op": "etcd.seed", "artifact": "etcd-snapshot", "bump_revision": 1_795_000_000_001_u64,
            "snapshot": {"name": "s1-20261128T201501Z", "revision": 1282, "kubernetes": "v1.36.4", "etcd": "3.6.9"},
            "restored": {"name": "20261129T001504Z-61", "members": [{"name": "s3", "address": "10.0.0.20"}]}},
        {"op": "kubeadm.bare"},
        {"op": "kube.forget_nodes", "made_until": "2026-11-28T20:15:00Z"},
        {"op": "kube.cordon", "reason": "drain"},
        {"op": "kube.drain", "timeout_seconds": 600, "delete_empty_dir_data": "all", "force_unmanaged": false,
            "evict_anyway": ["shop/cart-0"], "consents": [
                {"of": {"owner": {"namespace": "shop", "kind": "Deployment", "name": "web"}}, "loss": "empty_dir_disk"},
                {"of": {"pod": {"pod": "shop/cart-0", "uid": "7d0f-1"}}, "loss": "unmanaged"}],
            "reactions": {"never": "ask", "slow": "wait", "unreachable": "ask", "taken_over": "wait"}},
        {"op": "kube.uncordon"},
        {"op": "kube.adopt_cordon", "reason": "Kim is away"},
        {"op": "kube.release_cordon", "reason": "the lab has it"},
        {"op": "kube.out_of_service", "power_off_proof": "plug pulled"},
        {"op": "kube.apply", "artifact": "cni"},
        {"op": "kube.remove_node"},
        {"op": "kube.await_ready", "version": null, "for_seconds": 60, "timeout_seconds": 600},
        {"op": "host.reboot"}
    ]);
    let steps: Vec<Step> = serde_json::from_value(steps).unwrap();
    let ops: BTreeSet<&str> = steps.iter().map(Step::op).collect();
    assert_eq!(ops, Step::OPS.iter().copied().collect(), "a step of each kind");
    steps
}

fn plan() -> Plan {
    let mut plan = made::plan(&roster(), now(), 43);
    plan.prev = Some(Digest::of(b"plan before"));
    plan.continues = Some(Digest::of(b"a drain before"));
    plan.keeps_valid.push(hostler_plan::document::PlanRef {
        seq: "42".parse::<u64>().map(hostler_plan::id::Seq).unwrap(),
        digest: Digest::of(b"42"),
    });
    let machine_id = "0123456789abcdef".repeat(2).parse().unwrap();
    let (node, name) = (plan.tasks[0].subject.clone(), made::name("s1.example.org"));
    plan.node_objects.push(hostler_plan::document::NodeObject { node, name, machine_id });
    plan.artifacts.push(made::artifact("k3s-aarch64", b"k3s"));
    let window = Window { from: now(), until: plan.expires, offset_minutes: 60 };
    let tasks = vec![WindowTask { task: plan.tasks[0].id.clone(), seconds: 900 }];
    let zone = "Europe/Berlin".parse().unwrap();
    plan.windows = Some(Windows::Within { sets: vec![WindowSet { zone, windows: vec![window], tasks }] });
    plan.tasks[0].steps = steps();
    plan.tasks[1].disrupts = true;
    plan
}

/// With another word there are no sets: `plan/tests/windows` has that form.
const BEGINS: &str = ".windows.begins";

#[test]
fn every_field_of_a_plan_shows() {
    let count = everything_shows(&plan(), &["._type", BEGINS], |plan| show::plan(plan, &DIGEST));
    assert!(count > 1000, "{count}");
}

#[test]
fn every_field_of_a_stop_shows() {
    let stop = Plan { kind: PlanKind::Stop, targets: Vec::new(), artifacts: Vec::new(), tasks: Vec::new(), ..plan() };
    everything_shows(&stop, &["._type", BEGINS], |plan| show::plan(plan, &DIGEST));
}

#[test]
fn every_field_of_alike_tasks_shows_where_they_are_folded() {
    let nodes = (1..=9).map(|n| made::node(&format!("w{n}"), public(&key(n)), ClusterRole::Worker)).collect();
    let mut plan = made::plan(&made::roster(&root(), now(), nodes), now(), 43);
    plan.tasks.iter_mut().for_each(|task| task.after.clear());
    let text = show::plan(&plan, &DIGEST);
    assert!(
        text.contains("1 to 9: NODE.check on NODE about NODE: steps 1, at once; NODE is in turn w1 w2 w3"),
        "{text}"
    );
    everything_shows(&plan, &["._type"], |plan| show::plan(plan, &DIGEST));
    for (a, b) in [(0, 1), (3, 8)] {
        let mut other = plan.clone();
        other.tasks.swap(a, b);
        assert_ne!(show::plan(&other, &DIGEST), text, "the order of tasks shows");
    }
}

#[test]
fn every_field_of_a_root_shows_whether_one_is_held_or_not() {
    let held = root();
    everything_shows(&root(), &["._type"], |root| show::root(None, root, &DIGEST));
    everything_shows(&root(), &["._type"], |root| show::root(Some(&held), root, &DIGEST));
}

#[test]
fn every_field_of_a_roster_shows_whether_one_is_held_or_not() {
    let held = roster();
    everything_shows(&roster(), &["._type"], |roster| show::roster(None, roster, &DIGEST));
    everything_shows(&roster(), &["._type"], |roster| show::roster(Some(&held), roster, &DIGEST));
}

#[test]
fn a_roster_begins_with_what_goes_and_with_servers() {
    let held = roster();
    let mut next = roster();
    next.version += 1;
    next.nodes.remove(1);
    next.nodes.push(made::node("w2", public(&key(3)), ClusterRole::Worker));
    next.nodes.push(made::node("s2", public(&key(4)), ClusterRole::Server));
    let text = show::roster(Some(&held), &next, &DIGEST);
    let changes: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  change     ")).collect();
    let begins: Vec<&str> = changes.iter().map(|change| change.split(' ').next().unwrap()).collect();
    assert_eq!(begins, ["w1", "s2", "w2"], "{text}");
    assert!(changes[0].contains("is not listed any more") && changes[1].contains("is new: active server"), "{text}");
}

#[test]
fn every_field_of_an_admission_shows() {
    let admission = json!({
        "_type": "hostler-admission/v1", "fleet_id": made::fleet_id(), "epoch": 1, "root_version": 2,
        "root": Digest::of(b"root"), "token": "70ce0000", "token_key": public(&key(9)), "uses": 3,
        "created": now(), "expires": "2026-11-22T08:00:00Z", "role": "worker", "approval": "manual"
    });
    let admission: Admission = json::parse(&serde_json::to_vec(&admission).unwrap()).unwrap();
    everything_shows(&admission, &["._type"], |admission| show::admission(admission, &DIGEST));
}

#[test]
fn every_field_of_every_decision_shows() {
    let digest = Digest::of(b"plan");
    let head = |n: u64| json!({ "next_index": n, "hash": Digest::of(b"head") });
    for decided in [
        json!({ "what": "pause", "plan": digest, "reason": "too warm" }),
        json!({ "what": "resume", "plan": digest }),
        json!({ "what": "halt", "plan": digest, "reason": "no" }),
        json!({ "what": "release_lease", "plan": digest, "task": "w1.drain", "grant": 3 }),
        json!({ "what": "release_quarantine", "node": "w1", "version": "v1.34.3+k3s1" }),
        json!({ "what": "revoke_token", "token": "70ce0000" }),
        json!({ "what": "adopt", "before": head(7), "after": head(3) }),
        about_w1(json!({ "matter": "accept", "rule": "disk_smart", "subject": "sda",
            "disk": { "serial": "S3Z8", "wwid": "naa.1", "part": "2" }, "level": "critical", "required": true,
            "values": { "pending_sectors": "8" }, "until": "2026-12-22T08:00:00Z", "reason": "tested" })),
        about_w1(json!({ "matter": "withdraw", "acceptance": digest })),
        about_w1(
            json!({ "matter": "release", "subject": "sda", "disk": { "serial": "S3Z8", "wwid": null, "part": "" },
            "level": "degraded", "required": false, "reason": "taken out" }),
        ),
    ] {
        let decision = json!({
            "_type": "hostler-decision/v1", "fleet_id": made::fleet_id(), "epoch": 1, "by": "anna",
            "seen": { "next_index": 7, "hash": DIGEST }, "created": now(),
            "expires": "2026-11-22T08:00:00Z", "decided": decided
        });
        let decision: Decision = json::parse(&serde_json::to_vec(&decision).unwrap()).unwrap();
        let mut fixed = vec!["._type", ".decided.about.matter", ".decided.what"];
        if !matches!(decision.decided, hostler_plan::document::Decided::Node(_)) {
            fixed.remove(1);
        }
        everything_shows(&decision, &fixed, |decision| show::decision(decision, &DIGEST));
    }
}

fn about_w1(about: Value) -> Value {
    json!({ "what": "node", "node": "w1", "key": public(&key(2)).fingerprint(), "number": 3,
        "keeps": [Digest::of(b"two")], "also": [Digest::of(b"hidden")], "about": about })
}
