//! What goes on beside a new plan comes from signed bytes; what the coordinator says can only end a plan, and shows.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use hostler_fixtures::{self as made, key, name, public, signed};
use hostler_plan::{
    document::{DocumentKind, Plan, PlanKind, PlanRef, Roster, Signed, SignerRole},
    fleet::Fleet,
    id::{Digest, Epoch, Seq},
    planner::{
        self, Begins, Earlier, Intent, Inventory, InventoryNode, Numbering, OpenPlan, Preview, RunningPlan, Selection,
        Unproved,
    },
    refusal::Refusal,
    sequencer::{ClusterNode, Standing},
    step::ClusterRole,
    timestamp::Timestamp,
    trust::TrustedRoot,
};

const FLEET: &str = r#"
name = "home"
distribution = "k3s"
version = "v1.34.3+k3s1"
api = "s1:6443"
nodes = [{ name = "s1", role = "server", arch = "aarch64" }, { name = "w1", role = "worker", arch = "aarch64" }]
"#;

fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn trusted() -> TrustedRoot {
    let signers = vec![
        made::signer("ana", public(&key(200)), SignerRole::Admin),
        made::signer("vic", public(&key(201)), SignerRole::Viewer),
    ];
    let root = signed(DocumentKind::Root, &made::root(now(), signers), &[&key(200)]);
    TrustedRoot::first(&root, &root.digest()).unwrap()
}

fn roster(root: &TrustedRoot) -> Roster {
    let node = |node: &str, number, role| made::node(node, public(&key(number)), role);
    let nodes = vec![node("s1", 1, ClusterRole::Server), node("w1", 2, ClusterRole::Worker)];
    made::roster(root.root(), now(), nodes)
}

/// A plan that was signed earlier.
fn earlier(root: &TrustedRoot, seq: u64, kind: PlanKind, title: &str) -> OpenPlan {
    let plan = Plan { kind, title: title.to_owned(), ..made::plan(&roster(root), now(), seq) };
    let signed = signed(DocumentKind::Plan, &plan, &[&key(200)]);
    OpenPlan::verify(root, &signed.digest(), &signed).unwrap().0
}

fn reboot(open: &[OpenPlan], unproved: &[Unproved], running: &[RunningPlan]) -> (Plan, Preview) {
    let root = trusted();
    let roster = roster(&root);
    let condition =
        ClusterNode { standing: Standing::Ready, version: "v1.34.3+k3s1".parse().ok(), ..ClusterNode::UNKNOWN };
    let node = InventoryNode { connected: true, condition, ..InventoryNode::UNSEEN };
    let nodes = ["s1", "w1"].map(|n| (name(n), node.clone())).into_iter().collect();
    let inventory = Inventory { nodes, quarantines: Vec::new(), running: running.to_vec() };
    let numbering = Numbering {
        epoch: Epoch(1),
        seq: Seq(43),
        prev: None,
        also: Vec::new(),
        root_version: 1,
        roster: Digest::of(b"roster"),
        created: now().plus(std::time::Duration::from_secs(7200)),
        lifetime_seconds: 3600,
        begins: Begins::AtOnce,
    };
    let (fleet, _) = Fleet::from_toml(&[("fleet.toml", FLEET)]).unwrap();
    let intent = Intent::Reboot { nodes: Selection::Named(vec![name("w1")]), accept_outage: Vec::new() };
    let earlier = Earlier { open: open.to_vec(), unproved: unproved.to_vec(), ..Earlier::default() };
    planner::plan(&fleet, &roster, &inventory, &earlier, &intent, &numbering).unwrap()
}

fn running(plan: PlanRef, kind: PlanKind, title: &str) -> RunningPlan {
    RunningPlan { plan, kind, title: title.to_owned() }
}

#[test]
fn a_coordinator_that_lies_about_a_kind_or_a_title_keeps_nothing_alive() {
    let old = earlier(&trusted(), 42, PlanKind::Reboot, "Reboot everything");
    let said = running(old.plan, PlanKind::Check, "Check that plans arrive");
    let (plan, preview) = reboot(std::slice::from_ref(&old), &[], &[said]);
    assert_eq!(plan.keeps_valid, []);
    let text = preview.to_string();
    assert!(text.contains("warning: takes the place of plan 42: Reboot everything"), "{text}");
    assert!(text.contains("ends: plan 42 (reboot): Reboot everything; made 2026-11-21T08:00:00Z, 2 h before, by ana"));
    assert!(!text.contains("Check that"), "{text}");
}

#[test]
fn a_plan_goes_on_as_its_signed_bytes_say_with_kind_title_age_and_signers() {
    let old = earlier(&trusted(), 42, PlanKind::Drain, "Drain w1");
    let (plan, preview) = reboot(std::slice::from_ref(&old), &[], &[running(old.plan, PlanKind::Reboot, "x")]);
    assert_eq!(plan.keeps_valid, [old.plan]);
    let text = preview.to_string();
    assert!(
        text.contains("beside: plan 42 (drain): Drain w1; made 2026-11-21T08:00:00Z, 2 h before, by ana"),
        "{text}"
    );
}

#[test]
fn what_the_newest_plan_ended_or_nobody_showed_is_not_brought_back_to_life() {
    let dead = PlanRef { seq: Seq(12), digest: Digest::of(b"void for long") };
    let hidden = Unproved { digest: Digest::of(b"hidden"), seq: Some(Seq(41)), why: "not shown\n\x1b[2J".to_owned() };
    let said = running(dead, PlanKind::Check, "a harmless check");
    let (plan, preview) = reboot(&[], &[hidden], &[said]);
    assert_eq!(plan.keeps_valid, []);
    let text = preview.to_string();
    assert!(text.contains(&format!("ends: plan 12, {}; the coordinator says that it runs", dead.digest)), "{text}");
    assert!(text.contains("ends: plan 41, ") && text.contains(r"not shown\n\u{1b}[2J"), "{text}");
    assert!(text.contains("beside: no other plan; every earlier one that still runs ends"), "{text}");
}

#[test]
fn a_plan_that_is_said_to_be_over_ends_in_sight() {
    let old = earlier(&trusted(), 42, PlanKind::Drain, "Drain w1");
    let (plan, preview) = reboot(std::slice::from_ref(&old), &[], &[]);
    assert_eq!(plan.keeps_valid, []);
    let text = preview.to_string();
    assert!(text.contains("ends: plan 42 (drain): Drain w1;") && text.contains("the coordinator says that it is over"));
}

#[test]
fn the_word_of_the_coordinator_about_nodes_shows_as_such() {
    let (_, preview) = reboot(&[], &[], &[]);
    let text = preview.to_string();
    assert!(text.contains("the coordinator says: s1 w1: connected, Ready, runs v1.34.3+k3s1, health ok"), "{text}");
}

#[test]
fn only_bytes_that_enough_people_signed_are_an_earlier_plan() {
    let root = trusted();
    let plan = made::plan(&roster(&root), now(), 7);
    let good = signed(DocumentKind::Plan, &plan, &[&key(200)]);
    let verify = |signed: &Signed, digest: &Digest| {
        OpenPlan::verify(&root, digest, signed).map(|(open, _)| open.signed_by).map_err(|refused| refused.refusal)
    };
    assert_eq!(verify(&good, &good.digest()), Ok(vec!["ana".to_owned()]));
    assert_eq!(verify(&good, &Digest::of(b"another")), Err(Refusal::DigestMismatch));
    let none = Signed { signatures: Vec::new(), ..good.clone() };
    assert_eq!(verify(&none, &none.digest()), Err(Refusal::BadSignature));
    let viewer = signed(DocumentKind::Plan, &plan, &[&key(201)]);
    assert_eq!(verify(&viewer, &viewer.digest()), Err(Refusal::NotAllowed));
    let other_epoch = signed(DocumentKind::Plan, &Plan { epoch: Epoch(0), ..plan }, &[&key(200)]);
    assert_eq!(verify(&other_epoch, &other_epoch.digest()), Err(Refusal::Replay));
}
