//! What is said on the wire, from views and to what is decided by: the only place that knows both.

use hostler_plan::{
    document::{Blocker, Signed},
    health::Verdict,
    id::{Digest, NodeName, TaskId},
    sequencer::Wait,
    step::ClusterRole,
};
use hostler_proto::v1::{self, SignedDocument, to_agent::Message};
use tonic::Status;

use crate::{
    control::{self, Action, Cordoner, NodeReading, RunningTask, State, ToNode},
    nodes::history::Line,
    view::{BaselineView, NodeStatus, NodeView, Pending, RolloutDetail, RolloutSummary, TaskView},
};

/// What a node is told.
pub fn to_agent(message: ToNode) -> v1::ToAgent {
    let message = match message {
        ToNode::Welcome { report_interval_seconds } => Message::Welcome(v1::Welcome { report_interval_seconds }),
        ToNode::Trust { roots, roster } => Message::Trust(trust_chain((roots, roster))),
        ToNode::Plan(plan) => Message::Plan(plan.signed().clone().into()),
        ToNode::Grant { plan, task, grant, lease_seconds, receipts } => Message::Grant(v1::Grant {
            plan: plan.to_string(),
            task: task.to_string(),
            grant,
            lease_seconds,
            receipts: receipts.iter().map(|r| r.signed().clone().into()).collect(),
        }),
        ToNode::Stop { plan, reason } => Message::Stop(v1::Stop { plan: plan.to_string(), reason }),
        ToNode::ReceiptAcknowledged(digest) => {
            Message::ReceiptAcknowledged(v1::ReceiptAcknowledged { digest: digest.to_string() })
        }
        ToNode::LeaseRenewed { grant, lease_seconds } => {
            Message::LeaseRenewed(v1::LeaseRenewed { grant, lease_seconds })
        }
    };
    v1::ToAgent { message: Some(message) }
}

/// Documents as they are sent.
pub fn documents(signed: Vec<Signed>) -> Vec<SignedDocument> {
    signed.into_iter().map(SignedDocument::from).collect()
}

/// Roots and the roster.
pub fn trust_chain((roots, roster): (Vec<Signed>, Option<Signed>)) -> v1::TrustChain {
    v1::TrustChain { roots: documents(roots), roster: roster.map(Into::into) }
}

/// A document that a message must carry.
pub fn required(document: Option<SignedDocument>, what: &str) -> Result<Signed, Status> {
    document
        .map(Into::into)
        .ok_or_else(|| Status::invalid_argument(format!("expected {what} in the request, found none")))
}

/// A digest that a message must carry.
pub fn digest(text: &str) -> Result<Digest, Status> {
    text.parse().map_err(|e: hostler_plan::id::InvalidId| Status::invalid_argument(e.to_string()))
}

/// The task that a node is in the middle of; none that names no plan.
pub fn running(task: &v1::RunningTask) -> Option<RunningTask> {
    let plan = task.plan.parse().ok()?;
    Some(RunningTask { plan, task: TaskId::new(task.task.as_str()).ok(), grant: task.grant })
}

/// A node's renewal; none that names no plan and task.
pub fn renewal(renewal: &v1::LeaseRenewal) -> Option<control::Renewal> {
    let (plan, task) = (renewal.plan.parse().ok()?, TaskId::new(renewal.task.as_str()).ok()?);
    Some(control::Renewal { plan, task, grant: renewal.grant })
}

/// What a task is doing; none that names no plan and task.
pub fn progress(progress: v1::Progress) -> Option<control::Progress> {
    let v1::Progress { plan, task, step, steps, op: _, sentence } = progress;
    Some(control::Progress { plan: plan.parse().ok()?, task: TaskId::new(task).ok()?, step, steps, sentence })
}

/// A node as a server reads it; none that has no proper name.
pub fn node_reading(condition: v1::NodeCondition) -> Option<(NodeName, NodeReading)> {
    let v1::NodeCondition { node, ready, unschedulable, cordoned_by, version } = condition;
    let cordoned_by = unschedulable.then(|| Cordoner::from(cordoned_by.as_str()));
    Some((NodeName::new(node).ok()?, NodeReading { is_ready: ready, cordoned_by, version }))
}

fn node_condition(node: &NodeName, reading: NodeReading) -> v1::NodeCondition {
    let NodeReading { is_ready, cordoned_by, version } = reading;
    v1::NodeCondition {
        node: node.to_string(),
        ready: is_ready,
        unschedulable: cordoned_by.is_some(),
        cordoned_by: cordoned_by.map(|by| by.to_string()).unwrap_or_default(),
        version,
    }
}

/// What a person does to a rollout; none for another word.
pub fn action(word: &str, task: String) -> Option<Action> {
    Some(match word {
        "pause" => Action::Pause,
        "resume" => Action::Resume,
        "halt" => Action::Halt,
        "release" => Action::Release(task),
        _ => return None,
    })
}

/// Every token with the nodes that it admitted.
pub fn tokens(state: &State) -> Vec<v1::Token> {
    let token = |t: &control::Token| v1::Token {
        admission: Some(t.admission.signed().clone().into()),
        used: count(t.keys.len()),
        revoked: t.revoked,
        nodes: t.keys.values().map(ToString::to_string).collect(),
    };
    state.tokens.values().map(token).collect()
}

/// An enrolment that waits for approval.
pub fn pending(pending: Pending) -> v1::PendingEnrolment {
    v1::PendingEnrolment {
        enrolment: Some(pending.enrolment.into()),
        admission: pending.admission.map(Into::into),
        peer_address: pending.address.map(|a| a.to_string()).unwrap_or_default(),
        enrolled_at: pending.at.unix_seconds(),
    }
}

/// A node.
pub fn node_summary(node: NodeView) -> v1::NodeSummary {
    v1::NodeSummary {
        status: match node.status {
            NodeStatus::Active => "active",
            NodeStatus::Retired => "retired",
            NodeStatus::Pending => "pending",
        }
        .to_owned(),
        role: match node.role {
            Some(ClusterRole::Server) => "server",
            Some(ClusterRole::Worker) => "worker",
            None => "",
        }
        .to_owned(),
        arch: node.arch.map(|a| a.to_string()).unwrap_or_default(),
        key: node.key.map(|k| k.to_string()).unwrap_or_default(),
        connected: node.is_connected,
        agent_version: node.agent_version,
        boot_id: node.boot_id.map(|b| b.to_string()).unwrap_or_default(),
        last_report: node.last_report.map_or(0, |at| at.unix_milliseconds()),
        condition: node.reading.map(|reading| node_condition(&node.name, reading)),
        health: node.health.to_string(),
        health_reason: node.health_reason,
        temperature_celsius: node.facts.temperature_celsius,
        throttled: node.facts.throttled,
        memory_used_ratio: node.facts.memory_used_ratio,
        disk_used_ratio: node.facts.disk_used_ratio,
        nvme_used_ratio: node.facts.nvme_used_ratio,
        clock_synchronised: node.facts.clock_synchronised,
        activity: node.activity,
        model: node.model,
        name: node.name.to_string(),
    }
}

/// Refusals that a node reported, the newest first.
pub fn refusals(state: &State, node: &NodeName) -> Vec<v1::ReportedRefusal> {
    let refusals = state.refusals.get(node).into_iter().flatten().rev();
    let refusal = |r: &control::NodeRefusal| v1::ReportedRefusal {
        at: r.at.unix_seconds(),
        refusal: r.refusal.word().to_owned(),
        reason: r.reason.clone(),
        document: r.document.map(|d| d.to_string()).unwrap_or_default(),
    };
    refusals.map(refusal).collect()
}

/// What a rule says about a node.
pub fn verdict(verdict: &Verdict) -> v1::Verdict {
    v1::Verdict {
        rule: verdict.rule.name().to_owned(),
        level: verdict.level.to_string(),
        sentence: verdict.sentence(),
        advice: verdict.advice.clone(),
        since: verdict.since_ms / 1000,
    }
}

/// One fact over time.
pub fn history_series((name, points): Line) -> v1::HistorySeries {
    let points = points.into_iter().map(|(at, value)| v1::HistoryPoint { at, value }).collect();
    v1::HistorySeries { name: name.to_owned(), points }
}

/// A rollout that is not over.
pub fn open_plan(rollout: &RolloutSummary) -> v1::OpenPlan {
    v1::OpenPlan {
        seq: rollout.seq.0,
        digest: rollout.plan.to_string(),
        kind: rollout.kind.to_string(),
        state: rollout.state.word().to_owned(),
    }
}

/// One line about a rollout.
pub fn rollout_summary(rollout: RolloutSummary) -> v1::RolloutSummary {
    v1::RolloutSummary {
        plan: rollout.plan.to_string(),
        epoch: rollout.epoch.0,
        seq: rollout.seq.0,
        kind: rollout.kind.to_string(),
        title: rollout.title,
        state: rollout.state.word().to_owned(),
        reason: rollout.reason,
        tasks: count(rollout.tasks),
        tasks_succeeded: count(rollout.succeeded),
        submitted_at: rollout.submitted.unix_seconds(),
    }
}

/// Everything about a rollout but its receipts.
pub fn rollout_detail(rollout: RolloutDetail) -> v1::RolloutDetail {
    v1::RolloutDetail {
        summary: Some(rollout_summary(rollout.summary)),
        tasks: rollout.tasks.into_iter().map(task).collect(),
        waits: rollout.waits.iter().map(wait).collect(),
        plan: rollout.plan.map(|p| p.signed().clone().into()),
        receipts: Vec::new(),
        baselines: rollout.baselines.into_iter().map(baseline).collect(),
    }
}

fn task(task: TaskView) -> v1::TaskView {
    v1::TaskView {
        id: task.id.to_string(),
        node: task.node.to_string(),
        subject: task.subject.to_string(),
        state: task.state.map_or("never", |state| state.word()).to_owned(),
        sentence: task.sentence,
        step: task.step,
        steps: task.steps,
        receipt: task.receipt.map(|r| r.to_string()).unwrap_or_default(),
        blockers: task.blockers.into_iter().map(blocker).collect(),
    }
}

fn baseline(baseline: BaselineView) -> v1::BaselineView {
    let BaselineView { node, taken_at_ms, sentence, no_worse } = baseline;
    v1::BaselineView { node: node.to_string(), taken_at: taken_at_ms, sentence, no_worse }
}

fn wait(wait: &Wait) -> v1::WaitView {
    v1::WaitView {
        node: wait.node.as_ref().map(ToString::to_string).unwrap_or_default(),
        task: wait.task.as_ref().map(ToString::to_string).unwrap_or_default(),
        sentence: wait.reason.to_string(),
    }
}

fn blocker(blocker: Blocker) -> v1::BlockerView {
    let Blocker { pod, budget, reason } = blocker;
    v1::BlockerView { pod, budget: budget.unwrap_or_default(), reason }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
