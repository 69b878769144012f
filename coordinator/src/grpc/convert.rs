//! What is said on the wire, from views and to what is decided by: the only place that knows both.

use std::net::IpAddr;

use hostler_plan::{
    document::{Blocker, Holding, RosterNode, RosterStatus, Signed},
    health::{Level, Verdict},
    id::{Digest, NodeName, TaskId},
    sequencer::{Cordon, CordonOwner, TaskState, TaskStatus, Wait},
    text::clean_to,
    trust::{NodeDecisions, Verified},
};
use hostler_proto::v1::{self, SignedDocument, to_agent::Message};
use tonic::Status;

use crate::{
    control::{self, Control, Double, NodeReading, RunningTask, State, Stranger, Submitted, ToNode, ViewQuestion},
    limits::{MACHINE_ID_BYTES, SENTENCE_BYTES, VERSION_BYTES},
    nodes::history::Line,
    view::{BaselineView, NodeStatus, NodeView, Pending, RolloutChange, RolloutDetail, RolloutSummary, TaskDetail},
};

/// What a node is told.
pub(super) fn to_agent(message: ToNode) -> v1::ToAgent {
    let message = match message {
        ToNode::Welcome { report_interval_seconds, own_receipts, head } => Message::Welcome(v1::Welcome {
            report_interval_seconds,
            own_receipts: own_receipts.iter().map(|r| r.signed().clone().into()).collect(),
            head: Some(head.into()),
        }),
        ToNode::Trust { roots, roster } => Message::Trust(trust_chain((roots, roster))),
        ToNode::Plan(plan) => Message::Plan(plan.signed().clone().into()),
        ToNode::Decision(decision) => Message::Decision(decision.into()),
        ToNode::Grant { plan, task, grant, lease_seconds, receipts, head } => Message::Grant(v1::TaskGrant {
            plan: plan.to_string(),
            task: task.to_string(),
            grant,
            lease_seconds,
            receipts: receipts.iter().map(|r| r.signed().clone().into()).collect(),
            head: Some(head.into()),
        }),
        ToNode::View(ViewQuestion { number, nodes, nonce }) => Message::View(v1::ViewQuestion {
            number,
            nodes: nodes.iter().map(ToString::to_string).collect(),
            nonce: nonce.to_string(),
        }),
        ToNode::Stop { plan, reason } => Message::Stop(v1::Stop { plan: plan.to_string(), reason }),
        ToNode::ReceiptAcknowledged(digest) => Message::ReceiptAcknowledged(v1::ReceiptAcknowledged {
            digest: digest.to_string(),
            not_taken: String::new(),
        }),
        ToNode::ReceiptNotTaken { digest, refused } => {
            let not_taken = clean_to(&refused.reason, SENTENCE_BYTES).into_owned();
            Message::ReceiptAcknowledged(v1::ReceiptAcknowledged { digest: digest.to_string(), not_taken })
        }
        ToNode::LeaseRenewed { grant, lease_seconds } => {
            Message::LeaseRenewed(v1::LeaseRenewed { grant, lease_seconds })
        }
    };
    v1::ToAgent { message: Some(message) }
}

/// Documents as they are sent.
pub(super) fn documents(signed: Vec<Signed>) -> Vec<SignedDocument> {
    signed.into_iter().map(SignedDocument::from).collect()
}

/// Roots and the roster.
pub(super) fn trust_chain((roots, roster): (Vec<Signed>, Option<Signed>)) -> v1::TrustChain {
    v1::TrustChain { roots: documents(roots), roster: roster.map(Into::into) }
}

/// A document that a message must carry.
pub(super) fn required(document: Option<SignedDocument>, what: &str) -> Result<Signed, Status> {
    document
        .map(Into::into)
        .ok_or_else(|| Status::invalid_argument(format!("expected {what} in the request, found none")))
}

/// A digest that a message must carry.
pub(super) fn digest(text: &str) -> Result<Digest, Status> {
    text.parse().map_err(|e: hostler_plan::id::InvalidId| Status::invalid_argument(e.to_string()))
}

/// The task that a node is in the middle of; none that names no plan.
pub(super) fn running(task: &v1::RunningTask) -> Option<RunningTask> {
    let plan = task.plan.parse().ok()?;
    Some(RunningTask { plan, task: TaskId::new(task.task.as_str()).ok(), grant: task.grant })
}

/// A node's renewal; none that names no plan and task.
pub(super) fn renewal(renewal: &v1::LeaseRenewal) -> Option<control::Renewal> {
    let (plan, task) = (renewal.plan.parse().ok()?, TaskId::new(renewal.task.as_str()).ok()?);
    Some(control::Renewal { plan, task, grant: renewal.grant })
}

/// What a task is doing; none that names no plan and task.
pub(super) fn progress(progress: v1::Progress) -> Option<control::Progress> {
    let v1::Progress { plan, task, step, steps, sentence } = progress;
    Some(control::Progress { plan: plan.parse().ok()?, task: TaskId::new(task).ok()?, step, steps, sentence })
}

/// A node as a server reads it; none that has no proper name.
pub(super) fn node_reading(condition: v1::NodeCondition) -> Option<(NodeName, NodeReading)> {
    let v1::NodeCondition { node, ready, cordon, version, machine_id } = condition;
    // Whoever it is of whom a later version speaks: a cordon is a cordon.
    let owner = |cordon| Cordon::try_from(cordon).map_or(CordonOwner::Other("somebody".to_owned()), |c| c.owner);
    let version = clean_to(&version, VERSION_BYTES).into_owned();
    let machine_id = clean_to(&machine_id, MACHINE_ID_BYTES).into_owned();
    let reading = NodeReading { is_ready: ready, cordoned_by: cordon.map(owner), version, machine_id };
    Some((NodeName::new(node).ok()?, reading))
}

fn node_condition(node: &NodeName, reading: NodeReading) -> v1::NodeCondition {
    let NodeReading { is_ready, cordoned_by, version, machine_id } = reading;
    v1::NodeCondition {
        node: node.to_string(),
        ready: is_ready,
        cordon: cordoned_by.map(|owner| Cordon { owner, reason: None }.into()),
        version,
        machine_id,
    }
}

/// What became of a document that an admin handed in.
pub(super) fn document_reply(submitted: Submitted) -> v1::DocumentReply {
    let Submitted { digest, is_new, overtaken_by } = submitted;
    v1::DocumentReply { digest: digest.to_string(), is_new, overtaken_by: overtaken_by.map(Into::into) }
}

/// What every active node signed last.
pub(super) fn holdings(control: &Control) -> Vec<v1::NodeHolding> {
    let roster = control.state().roster.iter().flat_map(|r| &r.document().nodes);
    let active = roster.filter(|n| n.status == RosterStatus::Active);
    let holding = |n: &RosterNode| v1::NodeHolding {
        node: n.name.to_string(),
        holding: control.newest_holding(&n.name).map(|h| h.signed().clone().into()),
        receipt: control.state().receipts.last_of(&n.name).map(|r| r.signed().clone().into()),
        connected: control.is_connected(&n.name),
    };
    active.map(holding).collect()
}

/// What nodes hold that the ledger does not have.
pub(super) fn forks(control: &Control) -> Vec<v1::Fork> {
    let fork = |(stranger, node, holding): (&Stranger, &NodeName, &Verified<Holding>)| v1::Fork {
        what: stranger.what.clone(),
        here: stranger.here.map(|here| here.to_string()).unwrap_or_default(),
        other: stranger.other.to_string(),
        node: node.to_string(),
        holding: Some(holding.signed().clone().into()),
    };
    control.told_forks().into_iter().map(fork).collect()
}

/// Every token with the nodes that it admitted.
pub(super) fn tokens(state: &State) -> Vec<v1::Token> {
    let token = |t: &control::Token| v1::Token {
        admission: Some(t.admission.signed().clone().into()),
        used: count(t.keys.len()),
        revoked: t.revoked,
        nodes: t.keys.values().map(ToString::to_string).collect(),
    };
    state.tokens.values().map(token).collect()
}

/// An enrolment that waits for approval.
pub(super) fn pending(pending: Pending) -> v1::PendingEnrolment {
    v1::PendingEnrolment {
        enrolment: Some(pending.enrolment.into()),
        admission: pending.admission.map(Into::into),
        peer_address: pending.address.map(|a| a.to_string()).unwrap_or_default(),
        enrolled_at: pending.at.unix_seconds(),
    }
}

/// A machine that was turned away.
pub(super) fn double((double, beside_address): (Double, Option<IpAddr>)) -> v1::DoubleEnrolment {
    v1::DoubleEnrolment {
        enrolment: Some(v1::PendingEnrolment {
            enrolment: Some(double.enrolment.signed().clone().into()),
            admission: Some(double.admission.signed().clone().into()),
            peer_address: double.address.to_string(),
            enrolled_at: double.at.unix_seconds(),
        }),
        reason: double.reason,
        beside_name: double.beside.node.to_string(),
        beside_key: double.beside.key.to_string(),
        beside_address: beside_address.map(|a| a.to_string()).unwrap_or_default(),
    }
}

/// A node.
pub(super) fn node_summary(node: NodeView) -> v1::NodeSummary {
    v1::NodeSummary {
        status: match node.status {
            NodeStatus::Active => v1::NodeStatus::Active,
            NodeStatus::Retired => v1::NodeStatus::Retired,
            NodeStatus::Pending => v1::NodeStatus::Pending,
        }
        .into(),
        role: node.role.map(v1::ClusterRole::from).unwrap_or_default().into(),
        arch: node.arch.map(v1::Arch::from).unwrap_or_default().into(),
        key: node.key.map(|k| k.to_string()).unwrap_or_default(),
        connected: node.is_connected,
        agent_version: node.agent_version,
        boot_id: node.boot_id.map(|b| b.to_string()).unwrap_or_default(),
        last_report: node.last_report.map_or(0, |at| at.unix_milliseconds()),
        condition: node.reading.map(|reading| node_condition(&node.name, reading)),
        health: v1::Level::from(node.health).into(),
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

/// What a node refused, as it reported, the newest first; and what people decided about it.
pub(super) fn about_node(state: &State, node: &NodeName) -> (Vec<v1::ReportedRefusal>, NodeDecisions) {
    let refusals = state.refusals.get(node).into_iter().flatten().rev();
    let refusal = |r: &control::NodeRefusal| v1::ReportedRefusal {
        at: r.at.unix_seconds(),
        refusal: v1::Refusal::from(r.refusal).into(),
        reason: r.reason.clone(),
        document: r.document.map(|d| d.to_string()).unwrap_or_default(),
    };
    (refusals.map(refusal).collect(), state.judge.decisions_about(node).cloned().unwrap_or_default())
}

/// Verdicts as they are shown, and those that are not ok field by field.
pub(super) fn verdicts(all: &[Verdict]) -> (Vec<v1::VerdictView>, Vec<v1::Verdict>) {
    let ill = all.iter().filter(|v| v.level != Level::Ok);
    (all.iter().map(Into::into).collect(), ill.cloned().map(Into::into).collect())
}

/// One fact over time.
pub(super) fn history_series((name, points): Line) -> v1::HistorySeries {
    let points = points.into_iter().map(|(at, value)| v1::HistoryPoint { at, value }).collect();
    v1::HistorySeries { name: name.to_owned(), points }
}

/// One line about a rollout.
pub(super) fn rollout_summary(rollout: RolloutSummary) -> v1::RolloutSummary {
    v1::RolloutSummary {
        plan: rollout.plan.to_string(),
        epoch: rollout.epoch.0,
        seq: rollout.seq.0,
        kind: v1::PlanKind::from(rollout.kind).into(),
        title: rollout.title,
        status: v1::RolloutStatus::from(rollout.state.status()).into(),
        reason: rollout.reason,
        tasks: count(rollout.tasks),
        tasks_succeeded: count(rollout.succeeded),
        submitted_at: rollout.submitted.unix_seconds(),
    }
}

/// Everything about a rollout, with its plan and receipts as they are given.
pub(crate) fn rollout_detail(rollout: RolloutDetail, plan: Option<Signed>, receipts: Vec<Signed>) -> v1::RolloutDetail {
    v1::RolloutDetail {
        summary: Some(rollout_summary(rollout.summary)),
        tasks: rollout.tasks.into_iter().map(task).collect(),
        waits: rollout.waits.iter().map(wait).collect(),
        plan: plan.map(Into::into),
        receipts: documents(receipts),
        baselines: rollout.baselines.into_iter().map(baseline).collect(),
    }
}

/// What of a rollout changed.
pub(super) fn rollout_change(change: RolloutChange) -> v1::RolloutChange {
    v1::RolloutChange {
        summary: Some(rollout_summary(change.summary)),
        tasks: change.tasks.into_iter().map(task).collect(),
        waits: change.waits.iter().map(wait).collect(),
        baselines: change.baselines.into_iter().map(baseline).collect(),
    }
}

fn task(task: TaskDetail) -> v1::TaskView {
    v1::TaskView {
        id: task.id.to_string(),
        node: task.node.to_string(),
        subject: task.subject.to_string(),
        grant: match &task.state {
            Some(TaskState::Granted { grant } | TaskState::Expired { grant }) => grant.number,
            Some(TaskState::Ended { grant, .. }) => *grant,
            Some(TaskState::Waiting) | None => 0,
        },
        status: v1::TaskStatus::from(task.state.map_or(TaskStatus::Never, |state| state.status())).into(),
        sentence: task.sentence,
        step: task.step,
        steps: task.steps,
        receipt: task.receipt.map(|r| r.to_string()).unwrap_or_default(),
        blockers: task.blockers.into_iter().map(blocker).collect(),
    }
}

fn baseline(baseline: BaselineView) -> v1::BaselineView {
    let BaselineView { node, taken_at_ms, sentence, recovered } = baseline;
    v1::BaselineView { node: node.to_string(), taken_at: taken_at_ms, sentence, recovered }
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
