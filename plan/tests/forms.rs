//! An admin's signature does not make a plan of what no node should do: every value has its form and its range.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use hostler_fixtures::{self as made, key, public, signed};
use hostler_plan::{
    document::{DocumentKind, PlanKind, SignerRole},
    json,
    refusal::Refusal,
    step::ClusterRole,
    timestamp::Timestamp,
    trust::{self, Purpose, TrustedRoot, Verified},
};
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

struct World {
    root: TrustedRoot,
    roster: Verified<hostler_plan::document::Roster>,
    plan: Value,
}

impl World {
    fn new() -> Self {
        let root = made::root(now(), vec![made::signer("ana", public(&key(200)), SignerRole::Admin)]);
        let trusted = signed(DocumentKind::Root, &root, &[&key(200)]);
        let trusted = TrustedRoot::first(&trusted, &trusted.digest()).unwrap();
        let node = made::node("w1", public(&key(1)), ClusterRole::Worker);
        let roster = made::roster(&root, now(), vec![node]);
        let mut plan = serde_json::to_value(made::plan(&roster, now(), 1)).unwrap();
        plan["kind"] = json!(PlanKind::Bootstrap);
        let roster = signed(DocumentKind::Roster, &roster, &[&key(200)]);
        let roster = trust::roster(&trusted, None, &roster, Purpose::Submitting(now())).unwrap();
        Self { root: trusted, roster, plan }
    }

    /// What becomes of the plan with `value` at `place`, signed by the admin.
    fn with(&self, place: &str, value: Value) -> Result<(), Refusal> {
        let mut plan = self.plan.clone();
        *plan.pointer_mut(place).unwrap() = value;
        self.judge(&plan)
    }

    fn judge(&self, plan: &Value) -> Result<(), Refusal> {
        let plan = signed(DocumentKind::Plan, plan, &[&key(200)]);
        trust::plan(&self.root, &self.roster, &plan, Purpose::Submitting(now())).map(drop).map_err(|r| r.refusal)
    }
}

/// A step with its good values, and for each of its fields what must not stand there.
type Case = (Value, Vec<(&'static str, Vec<Value>)>);

fn steps() -> Vec<Case> {
    let unseen = ["a\u{0}b", "a\u{1b}[2Jb", "a\nb", "a\u{202e}b", "a\u{200b}b", "a\u{2028}b", "", " a", "a\u{e0041}"];
    let texts = |more: &[&str]| unseen.iter().chain(more).map(|t| json!(t)).collect::<Vec<_>>();
    let long = "x".repeat(2000);
    vec![
        (
            json!({"op": "file.ensure", "path": "/etc/motd", "mode": "0644", "content": "any\u{1b}\n"}),
            vec![
                (
                    "path",
                    texts(&[
                        "motd",
                        "/etc/../root",
                        "/etc//motd",
                        "/etc/",
                        "/",
                        "/var/lib/hostler/agent/state.1",
                        "/etc/hostler/agent.toml",
                        "/proc/self/root/etc/passwd",
                        &long,
                    ]),
                ),
                ("mode", texts(&["4755", "644", "0999", "rw"])),
            ],
        ),
        (
            json!({"op": "kernel.arguments", "arguments": ["panic=10"], "memory_control_group": true}),
            vec![(
                "arguments",
                vec![json!(["a b"]), json!(["init=/bin/sh"]), json!(["a\"b"]), json!(["$x"]), json!("a")],
            )],
        ),
        (json!({"op": "module.ensure", "module": "br_netfilter"}), vec![("module", texts(&["-r", "../x", "a b"]))]),
        (
            json!({"op": "sysctl.ensure", "key": "vm.swappiness", "value": "1"}),
            vec![("key", texts(&["../../etc/passwd", "a", "a.=b"])), ("value", texts(&[&long]))],
        ),
        (
            json!({"op": "package.ensure", "package": "curl", "version": "8.1-2"}),
            vec![("package", texts(&["-oDPkg::Pre-Invoke::=id", "./x.deb"])), ("version", texts(&["latest", "-1"]))],
        ),
        (
            json!({"op": "systemd.ensure", "unit": "ssh.service", "state": "started", "enabled": true}),
            vec![("unit", texts(&["--root=/x", "ssh", "hostler-agent.service", "../a.service"]))],
        ),
        (json!({"op": "registry.forget", "keep": ["a.lab"]}), vec![("keep", vec![json!(["../x"]), json!(["A"])])]),
        (
            json!({"op": "k3s.admit", "lifetime_seconds": 900}),
            vec![("lifetime_seconds", vec![json!(0), json!(u64::MAX)])],
        ),
        (json!({"op": "kube.cordon", "reason": "drain"}), vec![("reason", texts(&[&long]))]),
        (
            json!({
                "op": "kube.drain", "timeout_seconds": 600, "delete_empty_dir_data": "all", "force_unmanaged": false
            }),
            vec![("timeout_seconds", vec![json!(0), json!(86_401), json!(u64::MAX)])],
        ),
        (
            json!({"op": "kube.await_ready", "version": null, "for_seconds": 60, "timeout_seconds": 600}),
            vec![("for_seconds", vec![json!(u64::MAX)]), ("timeout_seconds", vec![json!(0), json!(u64::MAX)])],
        ),
    ]
}

#[test]
fn a_signed_step_holds_only_what_a_node_may_do() {
    let world = World::new();
    let mut refused = 0;
    for (good, fields) in steps() {
        assert_eq!(world.with("/tasks/0/steps/0", good.clone()), Ok(()), "{good}");
        for (field, bad) in fields {
            for value in bad {
                let mut step = good.clone();
                step[field] = value.clone();
                assert_eq!(world.with("/tasks/0/steps/0", step), Err(Refusal::Malformed), "{field} {value}");
                refused += 1;
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn a_signed_plan_stays_in_its_ranges() {
    let world = World::new();
    assert_eq!(world.judge(&world.plan), Ok(()));
    for (place, good, bad) in [
        ("/strategy/max_unavailable", vec![1, 1000], vec![0, 1001, u64::MAX]),
        ("/strategy/lease_seconds", vec![10, 3600], vec![0, 9, 3601, u64::MAX]),
        ("/strategy/soak_seconds", vec![0, 86_400], vec![86_401, u64::MAX]),
    ] {
        for value in good {
            assert_eq!(world.with(place, json!(value)), Ok(()), "{place} {value}");
        }
        for value in bad {
            assert_eq!(world.with(place, json!(value)), Err(Refusal::Malformed), "{place} {value}");
        }
    }
    for title in ["", "a\nb", "a\u{1b}[2J", "a\u{202e}b", "a\u{200b}", " a", &"x".repeat(401)] {
        assert_eq!(world.with("/title", json!(title)), Err(Refusal::Malformed), "{title:?}");
    }
    for id in ["..", "a..b", "-a", ".a", "a/b", "A"] {
        assert_eq!(world.with("/tasks/0/id", json!(id)), Err(Refusal::Malformed), "{id:?}");
    }
}

#[test]
fn a_signed_plan_in_another_form_than_it_is_written_in_is_refused() {
    let world = World::new();
    let values = |value: &Value| Value::from(value.as_object().unwrap().values().cloned().collect::<Vec<_>>());
    let strategy = json!([1, 1, 120]);
    for (place, other) in [
        ("", values(&world.plan)),
        ("/strategy", strategy),
        ("/kind", json!({"bootstrap": null})),
        ("/targets/0", json!(["w1", world.plan["targets"][0]["key"], "aarch64"])),
        ("/tasks/0/steps/0", json!(["host.noop"])),
        ("/created", json!("2026-11-21T08:00:00.000Z")),
    ] {
        assert_eq!(world.with(place, other.clone()), Err(Refusal::Malformed), "{place} {other}");
    }
    let mut missing = world.plan.clone();
    missing.as_object_mut().unwrap().remove("prev");
    assert_eq!(world.judge(&missing), Err(Refusal::Malformed));
}

#[test]
fn a_plan_of_the_largest_size_is_read_strictly() {
    let world = World::new();
    let mut plan = world.plan.clone();
    let line = "x".repeat(1000);
    let file = |n: usize| json!({"op": "file.ensure", "path": format!("/etc/f{n}"), "mode": "0644", "content": line});
    plan["tasks"][0]["steps"] = (0..915).map(file).collect();
    let bytes = json::write(&plan);
    assert!((1000 << 10..=1 << 20).contains(&bytes.len()), "{}", bytes.len());
    assert_eq!(world.judge(&plan), Ok(()));
}
