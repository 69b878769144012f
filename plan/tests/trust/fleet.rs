//! A small fleet to break: two admins, an operator, a viewer, one server and two workers.

use hostler_plan::{
    document::{
        Admission, AdmissionType, Approval, Artifact, DocumentKind, Enrolment, EnrolmentType, Hardware, Outcome, Plan,
        PlanKind, PlanType, Policy, Receipt, ReceiptType, Root, RootType, Roster, RosterNode, RosterStatus, RosterType,
        Signed, Signer, SignerRole, Strategy, Target, Task, Thresholds,
    },
    id::{Arch, BootId, Digest, Epoch, FleetId, NodeName, Seq, TaskId, TokenId},
    json,
    refusal::{Refusal, Refused},
    signature::{PublicKey, sign},
    step::{ClusterRole, Noop, StageArtifact, Step},
    timestamp::Timestamp,
    trust::{self, Clock, Identity, Moment, TrustedRoot, Verified},
};
use serde::Serialize;
use ssh_key::{PrivateKey, private::Ed25519Keypair};

pub const ADA: u8 = 1;
pub const BEN: u8 = 2;
pub const OLGA: u8 = 3;
pub const VIC: u8 = 4;
pub const STRANGER: u8 = 9;
pub const TOKEN: u8 = 20;
pub const S1: u8 = 31;
pub const W1: u8 = 32;
pub const W2: u8 = 33;

/// The key that grows from `seed`.
pub fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

pub fn public(seed: u8) -> PublicKey {
    key(seed).public_key().clone().into()
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn noon() -> Timestamp {
    at("2026-11-21T12:00:00Z")
}

pub fn now() -> Moment {
    Moment::Starting(noon())
}

pub fn clock() -> Clock {
    Clock { now: noon(), synchronised: true }
}

pub fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

pub fn task_id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

pub fn fleet_id() -> FleetId {
    FleetId::new("7d0f".repeat(8)).unwrap()
}

pub fn other_fleet() -> FleetId {
    FleetId::new("0bad".repeat(8)).unwrap()
}

/// `document` as bytes, signed by the keys from `seeds`.
pub fn signed<T: Serialize>(kind: DocumentKind, document: &T, seeds: &[u8]) -> Signed {
    signed_bytes(kind, json::write(document), seeds)
}

pub fn signed_bytes(kind: DocumentKind, bytes: Vec<u8>, seeds: &[u8]) -> Signed {
    let signatures = seeds.iter().map(|s| sign(&key(*s), kind, &bytes).unwrap()).collect();
    Signed { bytes, signatures }
}

pub fn signer(name: &str, seed: u8, role: SignerRole) -> Signer {
    Signer { name: name.to_owned(), key: public(seed), role, plan_kinds: Vec::new() }
}

pub fn root() -> Root {
    Root {
        document_type: RootType::V1,
        fleet_id: fleet_id(),
        version: 1,
        epoch: Epoch(1),
        created: at("2026-11-01T00:00:00Z"),
        expires: at("2027-11-01T00:00:00Z"),
        signers: vec![
            signer("ada", ADA, SignerRole::Admin),
            signer("ben", BEN, SignerRole::Admin),
            signer("olga", OLGA, SignerRole::Operator),
            signer("vic", VIC, SignerRole::Viewer),
        ],
        thresholds: Thresholds { root: 1, admission: 1, roster: 1, plan: 1 },
        revoked: Vec::new(),
        coordinator_ca: vec![Digest::of(b"coordinator CA")],
        policy: Policy {
            max_plan_lifetime_seconds: 7 * 86_400,
            max_admission_lifetime_seconds: 86_400,
            cordon_when_critical: false,
        },
    }
}

/// The root, held by somebody who was given its digest.
pub fn trusted(root: &Root) -> TrustedRoot {
    let signed = signed(DocumentKind::Root, root, &[ADA, BEN]);
    TrustedRoot::first(&signed, &signed.digest()).unwrap()
}

fn node(node: &str, seed: u8, role: ClusterRole) -> RosterNode {
    RosterNode {
        name: name(node),
        key: public(seed),
        seal_key: "c2VhbCBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyEhISE=".to_owned(),
        role,
        arch: Arch::Aarch64,
        status: RosterStatus::Active,
    }
}

pub fn roster() -> Roster {
    Roster {
        document_type: RosterType::V1,
        fleet_id: fleet_id(),
        epoch: Epoch(1),
        version: 3,
        root_version: 1,
        created: at("2026-11-20T00:00:00Z"),
        nodes: vec![
            node("s1", S1, ClusterRole::Server),
            node("w1", W1, ClusterRole::Worker),
            node("w2", W2, ClusterRole::Worker),
        ],
    }
}

pub fn signed_roster(roster: &Roster) -> Signed {
    signed(DocumentKind::Roster, roster, &[ADA])
}

pub fn verified_roster(roster: &Roster) -> Verified<Roster> {
    let mut root = root();
    root.epoch = roster.epoch;
    trust::roster(&trusted(&root), None, &signed_roster(roster), now()).unwrap()
}

fn task(id: &str, node: &str, after: &[&str], steps: Vec<Step>) -> Task {
    Task {
        id: task_id(id),
        node: name(node),
        subject: name(node),
        after: after.iter().map(|a| task_id(a)).collect(),
        disrupts: false,
        steps,
    }
}

/// Stages on all three nodes: s1 first, then w1, then w2 after both.
pub fn plan() -> Plan {
    let roster = roster();
    let stage = || vec![Step::StageArtifact(StageArtifact { artifact: "k3s-aarch64".parse().unwrap() })];
    Plan {
        document_type: PlanType::V1,
        fleet_id: fleet_id(),
        epoch: Epoch(1),
        seq: Seq(42),
        kind: PlanKind::Upgrade,
        title: "stage a file".to_owned(),
        root_version: 1,
        roster_version: roster.version,
        roster: Digest::of(&json::write(&roster)),
        created: at("2026-11-21T08:00:00Z"),
        not_before: at("2026-11-21T08:00:00Z"),
        expires: at("2026-11-24T08:00:00Z"),
        beside: Vec::new(),
        targets: roster
            .nodes
            .iter()
            .map(|n| Target { node: n.name.clone(), key: n.key.fingerprint(), arch: n.arch })
            .collect(),
        artifacts: vec![Artifact {
            name: "k3s-aarch64".parse().unwrap(),
            sha256: Digest::of(b"k3s"),
            size: 3,
            arch: Some(Arch::Aarch64),
        }],
        strategy: Strategy { max_unavailable: 1, soak_seconds: 60, lease_seconds: 120 },
        tasks: vec![
            task("s1.stage", "s1", &[], stage()),
            task("w1.stage", "w1", &["s1.stage"], stage()),
            task("w2.stage", "w2", &["s1.stage", "w1.stage"], stage()),
        ],
    }
}

/// Every node does nothing: what any kind of plan may hold.
pub fn noop_plan(kind: PlanKind) -> Plan {
    let mut plan = plan();
    plan.kind = kind;
    plan.artifacts.clear();
    plan.tasks.iter_mut().for_each(|t| t.steps = vec![Step::Noop(Noop {})]);
    plan
}

pub fn signed_plan(plan: &Plan) -> Signed {
    signed(DocumentKind::Plan, plan, &[ADA])
}

pub fn verified_plan(plan: &Plan) -> Verified<Plan> {
    trust::plan(&trusted(&root()), &verified_roster(&roster()), &signed_plan(plan), now()).unwrap()
}

/// A receipt that task `task` of `plan` succeeded, number `counter` of its node.
pub fn receipt(plan: &Verified<Plan>, task: &str, counter: u64) -> Receipt {
    let document = plan.document();
    Receipt {
        document_type: ReceiptType::V1,
        fleet_id: fleet_id(),
        node: document.task(&task_id(task)).unwrap().node.clone(),
        plan: plan.digest(),
        epoch: document.epoch,
        seq: document.seq,
        task: task_id(task),
        grant: 1,
        outcome: Outcome::Succeeded {},
        steps: Vec::new(),
        observations: Vec::new(),
        boot_id: BootId::new("1f").unwrap(),
        counter,
        previous: (counter > 1).then(|| Digest::of(b"the receipt before")),
        relied_on: Vec::new(),
        started: noon(),
        ended: noon(),
    }
}

pub fn node_seed(node: &str) -> u8 {
    match node {
        "s1" => S1,
        "w1" => W1,
        "w2" => W2,
        _ => panic!("no such node {node}"),
    }
}

pub fn signed_receipt(receipt: &Receipt) -> Signed {
    signed(DocumentKind::Receipt, receipt, &[node_seed(receipt.node.as_str())])
}

pub fn admission() -> Admission {
    Admission {
        document_type: AdmissionType::V1,
        fleet_id: fleet_id(),
        epoch: Epoch(1),
        token: TokenId::new("70ce4f00").unwrap(),
        token_key: public(TOKEN),
        uses: 1,
        created: at("2026-11-21T11:45:00Z"),
        expires: at("2026-11-21T12:15:00Z"),
        role: ClusterRole::Worker,
        approval: Approval::Manual,
    }
}

pub fn enrolment() -> Enrolment {
    Enrolment {
        document_type: EnrolmentType::V1,
        fleet_id: fleet_id(),
        token: admission().token,
        node: name("w2"),
        key: public(W2),
        seal_key: roster().nodes[2].seal_key.clone(),
        tls_key: Digest::of(b"tls key"),
        arch: Arch::Aarch64,
        hardware: Hardware {
            model: "Raspberry Pi 5 Model B Rev 1.0".to_owned(),
            serial: "10000000deadbeef".to_owned(),
            machine_id: "0".repeat(32),
            memory_bytes: 8 << 30,
        },
        created: noon(),
    }
}

pub fn identity(node: &str) -> Identity {
    Identity { node: name(node), key: public(node_seed(node)).fingerprint(), arch: Arch::Aarch64 }
}

/// A word of the refusal, and how to break the document so that it comes.
pub type Broken<T> = (&'static str, fn(&mut T));

/// Fails unless `result` is refused as `refusal` with all of `words` in its reason.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T, Refused>, refusal: Refusal, words: &[&str]) {
    let refused = result.expect_err("should have been refused");
    assert_eq!(refused.refusal, refusal, "{}", refused.reason);
    for word in words {
        assert!(refused.reason.contains(word), "expected {word:?} in: {}", refused.reason);
    }
}
