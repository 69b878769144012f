//! A small fleet to break: two admins, an operator, a viewer, one server and two workers.

use hostler_fixtures::{self as made, task};
pub(crate) use hostler_fixtures::{key, name, recovery_key, task_id};
use hostler_plan::{
    document::{
        Admission, Artifact, DocumentKind, Enrolment, Plan, PlanKind, Receipt, Root, Roster, Signed, Signer,
        SignerRole, Strategy,
    },
    id::{Arch, Digest, FleetId, TokenId},
    json,
    refusal::{Refusal, Refused},
    signature::PublicKey,
    step::{ClusterRole, Noop, StageArtifact, Step, SwapOff},
    timestamp::Timestamp,
    trust::{self, Clock, Identity, Purpose, TrustedRoot, Verified},
};
use serde::Serialize;
use ssh_key::PrivateKey;

pub(crate) const ADA: u8 = 1;
pub(crate) const BEN: u8 = 2;
pub(crate) const OLGA: u8 = 3;
pub(crate) const VIC: u8 = 4;
pub(crate) const STRANGER: u8 = 9;
pub(crate) const TOKEN: u8 = 20;
pub(crate) const S1: u8 = 31;
pub(crate) const W1: u8 = 32;
pub(crate) const W2: u8 = 33;

pub(crate) fn public(seed: u8) -> PublicKey {
    made::public(&key(seed))
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn noon() -> Timestamp {
    at("2026-11-21T12:00:00Z")
}

pub(crate) fn now() -> Purpose {
    Purpose::Starting(noon())
}

pub(crate) fn clock() -> Clock {
    Clock { now: noon(), synchronised: true }
}

pub(crate) fn other_fleet() -> FleetId {
    FleetId::new("0bad".repeat(8)).unwrap()
}

/// `document` as bytes, signed by the keys from `seeds`.
pub(crate) fn signed<T: Serialize>(kind: DocumentKind, document: &T, seeds: &[u8]) -> Signed {
    signed_bytes(kind, json::write(document), seeds)
}

pub(crate) fn signed_bytes(kind: DocumentKind, bytes: Vec<u8>, seeds: &[u8]) -> Signed {
    let keys: Vec<PrivateKey> = seeds.iter().map(|s| key(*s)).collect();
    made::signed_bytes(kind, bytes, &keys.iter().collect::<Vec<_>>())
}

pub(crate) fn signer(name: &str, seed: u8, role: SignerRole) -> Signer {
    made::signer(name, public(seed), role)
}

pub(crate) fn root() -> Root {
    let signers = vec![
        signer("ada", ADA, SignerRole::Admin),
        signer("ben", BEN, SignerRole::Admin),
        signer("olga", OLGA, SignerRole::Operator),
        signer("vic", VIC, SignerRole::Viewer),
    ];
    made::root(at("2026-11-01T00:00:00Z"), signers)
}

/// The root, held by somebody who was given its digest.
pub(crate) fn trusted(root: &Root) -> TrustedRoot {
    let signed = signed(DocumentKind::Root, root, &[ADA, BEN]);
    TrustedRoot::first(&signed, &signed.digest()).unwrap()
}

pub(crate) fn roster() -> Roster {
    let nodes = vec![
        made::node("s1", public(S1), ClusterRole::Server),
        made::node("w1", public(W1), ClusterRole::Worker),
        made::node("w2", public(W2), ClusterRole::Worker),
    ];
    Roster { version: 3, ..made::roster(&root(), at("2026-11-20T00:00:00Z"), nodes) }
}

pub(crate) fn signed_roster(roster: &Roster) -> Signed {
    signed(DocumentKind::Roster, roster, &[ADA])
}

pub(crate) fn verified_roster(roster: &Roster) -> Verified<Roster> {
    let mut root = root();
    root.epoch = roster.epoch;
    trust::roster(&trusted(&root), None, &signed_roster(roster), now()).unwrap()
}

/// Stages on all three nodes: s1 first, then w1, then w2 after both.
pub(crate) fn plan() -> Plan {
    let stage = || vec![Step::StageArtifact(StageArtifact { artifact: "k3s-aarch64".parse().unwrap() })];
    Plan {
        kind: PlanKind::Upgrade,
        title: "stage a file".to_owned(),
        expires: at("2026-11-24T08:00:00Z"),
        artifacts: vec![Artifact { arch: Some(Arch::Aarch64), ..made::artifact("k3s-aarch64", b"k3s") }],
        strategy: Strategy { max_unavailable: 1, soak_seconds: 60, lease_seconds: 120 },
        tasks: vec![
            task("s1.stage", "s1", &[], stage()),
            task("w1.stage", "w1", &["s1.stage"], stage()),
            task("w2.stage", "w2", &["s1.stage", "w1.stage"], stage()),
        ],
        ..made::plan(&roster(), at("2026-11-21T08:00:00Z"), 42)
    }
}

/// Every node does nothing: what any kind of plan may hold but a stop, which holds no task.
pub(crate) fn noop_plan(kind: PlanKind) -> Plan {
    let mut plan = plan();
    plan.kind = kind;
    plan.artifacts.clear();
    plan.tasks.iter_mut().for_each(|t| t.steps = vec![Step::Noop(Noop {})]);
    if kind == PlanKind::Inspect {
        plan.tasks.iter_mut().for_each(|t| t.steps = vec![Step::SwapOff(SwapOff {})]);
    }
    if kind == PlanKind::Stop {
        (plan.tasks, plan.targets) = (Vec::new(), Vec::new());
    }
    plan
}

pub(crate) fn signed_plan(plan: &Plan) -> Signed {
    signed(DocumentKind::Plan, plan, &[ADA])
}

pub(crate) fn verified_plan(plan: &Plan) -> Verified<Plan> {
    trust::plan(&trusted(&root()), &verified_roster(&roster()), &signed_plan(plan), now()).unwrap()
}

/// A receipt that task `task` of `plan` succeeded, number `counter` of its node.
pub(crate) fn receipt(plan: &Verified<Plan>, task: &str, counter: u64) -> Receipt {
    Receipt {
        plan: plan.digest(),
        counter,
        previous: (counter > 1).then(|| Digest::of(b"the receipt before")),
        started: noon(),
        ended: noon(),
        ..made::receipt(plan.document(), task)
    }
}

pub(crate) fn node_seed(node: &str) -> u8 {
    match node {
        "s1" => S1,
        "w1" => W1,
        "w2" => W2,
        _ => panic!("no such node {node}"),
    }
}

pub(crate) fn signed_receipt(receipt: &Receipt) -> Signed {
    signed(DocumentKind::Receipt, receipt, &[node_seed(receipt.node.as_str())])
}

pub(crate) fn admission() -> Admission {
    let created = at("2026-11-21T11:45:00Z");
    Admission { token: TokenId::new("70ce4f00").unwrap(), ..made::admission(&root(), created, public(TOKEN)) }
}

pub(crate) fn enrolment() -> Enrolment {
    made::enrolment(&admission(), noon(), &roster().nodes[2])
}

pub(crate) fn identity(node: &str) -> Identity {
    Identity { node: name(node), key: public(node_seed(node)).fingerprint(), arch: Arch::Aarch64 }
}

/// A word of the refusal, and how to break the document so that it comes.
pub(crate) type Broken<T> = (&'static str, fn(&mut T));

/// Fails unless `result` is refused as `refusal` with all of `words` in its reason.
#[track_caller]
pub(crate) fn assert_refused<T: std::fmt::Debug>(result: Result<T, Refused>, refusal: Refusal, words: &[&str]) {
    let refused = result.expect_err("should have been refused");
    assert_eq!(refused.refusal, refusal, "{}", refused.reason);
    for word in words {
        assert!(refused.reason.contains(word), "expected {word:?} in: {}", refused.reason);
    }
}
