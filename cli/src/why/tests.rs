//! What is said of rollouts, nodes and pods, out of what is known of them.

use hostler_fixtures as made;
use hostler_plan::{
    document::{Blocker, Outcome, PlanKind, PodFate, PodReport, Receipt, SignerRole},
    health::{Level, Rule, Verdict},
    id::Digest,
    planner::InventoryNode,
    refusal::{Refusal, Refused},
    sequencer::{ClusterNode, Cordon, CordonOwner, Hold, Standing},
    step::ClusterRole,
    timestamp::Timestamp,
};
use hostler_proto::v1::{RolloutStatus as Status, TaskStatus, TaskView, WaitView};

use super::*;

fn receipt(outcome: Outcome, pods: Vec<PodReport>) -> Receipt {
    let (admin, node) = (made::public(&made::key(200)), made::public(&made::key(1)));
    let created = Timestamp::from_unix_seconds(1_795_000_000);
    let root = made::root(created, vec![made::signer("ana", admin, SignerRole::Admin)]);
    let roster = made::roster(&root, created, vec![made::node("s1", node, ClusterRole::Server)]);
    let mut plan = made::plan(&roster, created, 12);
    plan.tasks = vec![made::task("w1.drain", "s1", &[], Vec::new())];
    Receipt { outcome, pods, ..made::receipt(&plan, "w1.drain") }
}

fn known(status: Status, reason: &str, tasks: Vec<TaskView>, receipts: Vec<Receipt>) -> Known {
    let refused = Refused::new(Refusal::Malformed, "not asked here");
    let evidence = Evidence { plan: Err(refused), proved: Vec::new(), unproved: Vec::new(), receipts, order: Ok(()) };
    let summary = RolloutSummary { seq: 12, status: status.into(), reason: reason.into(), ..Default::default() };
    Known { detail: RolloutDetail { summary: Some(summary), tasks, ..Default::default() }, evidence }
}

fn task(node: &str, status: TaskStatus, sentence: &str) -> TaskView {
    TaskView {
        id: format!("{node}.drain"),
        node: "s1".into(),
        subject: node.into(),
        status: status.into(),
        sentence: sentence.into(),
        ..Default::default()
    }
}

fn wait(node: &str, sentence: &str) -> WaitView {
    WaitView { node: node.into(), task: format!("{node}.drain"), sentence: sentence.into() }
}

/// Without the plan's own proof, which has its test.
fn sentences(mut said: Vec<Said>) -> Vec<(Weight, String)> {
    said.retain(|said| said.weight != Weight::Alarm);
    said.sort();
    said.into_iter().map(|said| (said.weight, format!("{}: {}", said.about, said.sentence))).collect()
}

#[test]
fn nodes_that_wait_for_the_same_stand_in_one_sentence_and_what_needs_a_person_stands_first() {
    let tasks = vec![
        task("w1", TaskStatus::LeaseExpired, ""),
        task("w2", TaskStatus::Waiting, ""),
        task("w3", TaskStatus::Waiting, ""),
        task("w4", TaskStatus::Granted, ""),
    ];
    let mut known = known(Status::Running, "", tasks, Vec::new());
    known.detail.waits = vec![
        wait("w4", "s1 has w4.drain"),
        wait("w2", "waits for s2"),
        wait("w3", "waits for s2"),
        wait("w1", "stopped"),
    ];
    assert_eq!(
        sentences(rollout::said(&known)),
        [
            (Weight::NeedsPerson, "plan 12, w1: stopped".to_owned()),
            (Weight::Waits, "plan 12, w2, w3: waits for s2".to_owned()),
            (Weight::Works, "plan 12, w4: s1 has w4.drain".to_owned()),
        ]
    );
    let of_w3 = sentences(rollout::of_node(&known, &NodeName::new("w3").unwrap()));
    assert_eq!(of_w3, [(Weight::Waits, "plan 12, w3: waits for s2".to_owned())]);
    assert!(rollout::of_node(&known, &NodeName::new("w9").unwrap()).is_empty(), "it has no business with w9");
}

#[test]
fn how_a_task_ended_is_said_once_by_its_receipt_and_without_one_it_is_no_proof() {
    let blockers = vec![Blocker { pod: "shop/db-0".into(), budget: None, reason: "budget shop/db allows none".into() }];
    let outcome = Outcome::Blocked { reason: "1 pod stays".into(), blockers };
    let left = PodReport { pod: "shop/db-0".into(), fate: PodFate::Left, reason: "held".into() };
    let reason = "halted by hostler: w1.drain on s1 blocked: 1 pod stays";
    let tasks = vec![task("w1", TaskStatus::Blocked, "blocked: 1 pod stays")];
    let mut known = known(Status::Halted, reason, tasks, vec![receipt(outcome, vec![left])]);
    known.detail.waits = vec![wait("w1", "w1.drain blocked: 1 pod stays")];
    let said = sentences(rollout::said(&known));
    let told = said.iter().filter(|(_, sentence)| sentence.contains("1 pod stays")).count();
    assert_eq!(told, 1, "{said:?}");
    assert!(said.iter().any(|(_, sentence)| sentence.contains("budget shop/db allows none")), "{said:?}");

    known.evidence.receipts.clear();
    let said = sentences(rollout::said(&known));
    assert!(said.iter().any(|(_, sentence)| sentence.contains("no receipt proves it")), "{said:?}");
    let alarmed = rollout::said(&known).iter().any(|said| said.weight == Weight::Alarm);
    assert!(alarmed, "a plan that is not verified is said first");
}

#[test]
fn a_pod_is_told_of_by_the_plan_at_work_and_by_the_receipt_of_the_one_that_ended() {
    let name = PodName::new("shop/db-0").unwrap();
    let at_work = known(
        Status::Running,
        "",
        vec![task("w1", TaskStatus::Granted, "waits for shop/db-0: budget shop/db allows none")],
        Vec::new(),
    );
    let said = pod::said(&at_work, &name);
    assert!(said[0].sentence.contains("budget shop/db allows none") && said[0].proof == Proof::Coordinator);
    let down = PodReport { pod: "shop/db-0".into(), fate: PodFate::Down, reason: "its volume is on w1 only".into() };
    let ended = known(Status::Finished, "", Vec::new(), vec![receipt(Outcome::Succeeded {}, vec![down])]);
    let said = pod::said(&ended, &name);
    assert!(said[0].sentence.contains("is down until its node is schedulable again: its volume"), "{said:?}");
    assert_eq!(said[0].proof, Proof::Receipt { node: NodeName::new("s1").unwrap() });
    assert!(pod::said(&ended, &PodName::new("shop/db-01").unwrap()).is_empty());
}

#[test]
fn a_node_says_whose_cordon_it_has_what_its_health_is_and_nothing_when_it_is_well() {
    let name = NodeName::new("w1").unwrap();
    let condition = ClusterNode { standing: Standing::Ready, ..ClusterNode::UNKNOWN };
    let well = InventoryNode { connected: true, condition, ..InventoryNode::UNSEEN };
    assert!(node::said(&name, &well, false).is_empty());
    let cordoned = |owner| {
        let cordon = Some(Cordon { owner, reason: Some("disk swap".into()) });
        InventoryNode { condition: ClusterNode { cordon, ..well.condition.clone() }, ..well.clone() }
    };
    let said = |state: &InventoryNode| node::said(&name, state, false).remove(0).sentence;
    let theirs = said(&cordoned(CordonOwner::Other("kubectl-cordon".into())));
    assert!(theirs.contains("by kubectl-cordon (disk swap)") && theirs.contains("kubectl uncordon w1"), "{theirs}");
    assert!(said(&cordoned(CordonOwner::Node)).starts_with("cordoned itself (disk swap)"));
    let hold = |complete| Some(Hold { plan: Digest::of(b"12"), seq: Seq(12), kind: PlanKind::Drain, complete });
    let ours = cordoned(CordonOwner::Hostler);
    assert!(said(&InventoryNode { hold: hold(true), ..ours.clone() }).starts_with("is out of service by plan 12"));
    assert!(said(&InventoryNode { hold: hold(false), ..ours }).contains("half out of service"));
    let not_ready = ClusterNode { standing: Standing::NotReady, ..well.condition.clone() };
    assert!(said(&InventoryNode { condition: not_ready, ..well.clone() }).contains("not Ready"));
    assert!(said(&InventoryNode { connected: false, ..well.clone() }).contains("not connected"));
    let verdict = Verdict {
        rule: Rule::Report,
        subject: String::new(),
        level: Level::Critical,
        required: true,
        condition: None,
        fact: "report_age_seconds".into(),
        value: None,
        threshold: None,
        since_ms: 0,
        clear_seconds: None,
        damped: false,
        disk: None,
        numbers: Default::default(),
        accepted: None,
        advice: "check its power".into(),
    };
    let silent = InventoryNode { connected: false, verdicts: vec![verdict], ..well };
    assert_eq!(node::said(&name, &silent, false).len(), 1, "silence is said once");
    let at = |seconds| Timestamp::from_unix_seconds(seconds);
    assert!(node::left_alone(&name, &silent, at(60)).is_none(), "its cluster says that it is Ready");
    let condition = ClusterNode { standing: Standing::NotReady, ..silent.condition.clone() };
    let dead = InventoryNode { condition, ..silent };
    let said = |now| node::left_alone(&name, &dead, now).unwrap().sentence;
    assert!(said(at(60)).contains("1970-01-01T00:05:50Z, or after"), "{}", said(at(60)));
    assert!(said(at(600)).contains("which has passed") && said(at(600)).contains("--dead"), "{}", said(at(600)));
    let given_up = hold(true).map(|hold| Hold { kind: PlanKind::Dead, ..hold });
    let given_up = InventoryNode { hold: given_up, ..dead };
    assert!(node::left_alone(&name, &given_up, at(60)).is_none(), "a plan gave it up already");
}

#[test]
fn why_the_whole_of_it_stands_is_said_once() {
    let mut known =
        known(Status::Paused, "paused by anna: backup runs", vec![task("w1", TaskStatus::Waiting, "")], vec![]);
    let sentence = "paused by anna (backup runs); resume it to go on";
    known.detail.waits = vec![WaitView { sentence: sentence.into(), ..WaitView::default() }, wait("w1", sentence)];
    let said = sentences(rollout::said(&known));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].1.contains("backup runs; `hostler rollout resume 12`") && said[0].0 == Weight::NeedsPerson,
        "{said:?}"
    );
}
