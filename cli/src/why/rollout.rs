//! Why a rollout is not further than it is, and how its tasks ended.

use hostler_plan::{
    document::{Outcome, PodFate, Receipt},
    id::{NodeName, Seq},
};
use hostler_proto::v1::{RolloutStatus, TaskStatus, TaskView, WaitView};

use super::{Known, Proof, Said, Weight, plan_name};

/// All of it.
pub(super) fn said(known: &Known) -> Vec<Said> {
    let mut said: Vec<Said> = unproved(known).into_iter().chain(whole(known)).collect();
    said.extend(waits(known, |_| true));
    said.extend(ended(known, |_| true));
    said
}

/// What of it is about a node, or done by it.
pub(super) fn of_node(known: &Known, name: &NodeName) -> Vec<Said> {
    let tasks = &known.detail.tasks;
    let is_about = |task: &TaskView| task.subject == name.as_str() || task.node == name.as_str();
    if !tasks.iter().any(is_about) {
        return Vec::new();
    }
    let of_task = |wait: &WaitView| tasks.iter().any(|task| task.id == wait.task && is_about(task));
    let mut said: Vec<Said> = unproved(known).into_iter().chain(whole(known)).collect();
    said.extend(waits(known, |wait| wait.node == name.as_str() || of_task(wait)));
    said.extend(ended(known, is_about));
    said
}

fn seq(known: &Known) -> Seq {
    Seq(known.summary().seq)
}

fn coordinator(known: &Known, weight: Weight, sentence: String) -> Said {
    Said { weight, about: plan_name(seq(known)), sentence, proof: Proof::Coordinator }
}

/// That what is shown of it does not hold.
fn unproved(known: &Known) -> Vec<Said> {
    let evidence = &known.evidence;
    let plan = evidence.plan.as_ref().err().map(|refused| format!("its plan is not verified: {}", refused.reason));
    let order = evidence.order.as_ref().err().map(|refused| format!("its order was not kept: {}", refused.reason));
    let tasks = evidence.unproved.iter().map(|(task, why)| format!("{task} is called succeeded, and {why}"));
    plan.into_iter().chain(order).chain(tasks).map(|sentence| coordinator(known, Weight::Alarm, sentence)).collect()
}

/// Why the whole of it stands still.
fn whole(known: &Known) -> Option<Said> {
    let summary = known.summary();
    let status = summary.status();
    let weight = match status {
        RolloutStatus::Paused | RolloutStatus::NeedsAttention | RolloutStatus::Halted => Weight::NeedsPerson,
        RolloutStatus::Preempted => Weight::Waits,
        RolloutStatus::Superseded | RolloutStatus::Finished => Weight::Note,
        RolloutStatus::Running | RolloutStatus::Unspecified => return None,
    };
    // How a task ended stands in its receipt, below.
    let is_told = known.evidence.receipts.iter().any(|r| summary.reason.contains(&r.outcome.to_string()));
    let how = if is_told || summary.reason.is_empty() { status.to_string() } else { summary.reason };
    let next = match status {
        RolloutStatus::Halted => "; to go on, sign a new plan".to_owned(),
        RolloutStatus::Paused => format!("; `hostler rollout resume {}` ends that", summary.seq),
        RolloutStatus::NeedsAttention
        | RolloutStatus::Preempted
        | RolloutStatus::Superseded
        | RolloutStatus::Finished
        | RolloutStatus::Running
        | RolloutStatus::Unspecified => String::new(),
    };
    Some(coordinator(known, weight, format!("{:?}: {how}{next}", summary.title)))
}

/// What the coordinator says of the whole of it.
fn why_whole(known: &Known) -> Option<&str> {
    known.detail.waits.iter().find(|wait| wait.node.is_empty()).map(|wait| wait.sentence.as_str())
}

/// What is waited for, several nodes that wait for the same in one sentence.
fn waits(known: &Known, is_asked: impl Fn(&WaitView) -> bool) -> Vec<Said> {
    let summary = known.summary();
    let needs_person = matches!(summary.status(), RolloutStatus::Paused | RolloutStatus::NeedsAttention);
    let mut found: Vec<(Weight, &str, Vec<&str>)> = Vec::new();
    for wait in known.detail.waits.iter().filter(|wait| is_asked(wait)) {
        let status = known.detail.tasks.iter().find(|task| task.id == wait.task).map(TaskView::status);
        let weight = match status {
            Some(TaskStatus::LeaseExpired) => Weight::NeedsPerson,
            Some(TaskStatus::Granted) => Weight::Works,
            // Its receipt tells.
            Some(status) if is_ended(status) => continue,
            _ if needs_person => Weight::NeedsPerson,
            Some(_) | None => Weight::Waits,
        };
        match found.iter_mut().find(|(_, sentence, _)| *sentence == wait.sentence) {
            Some((_, _, nodes)) => nodes.push(&wait.node),
            None => found.push((weight, &wait.sentence, vec![&wait.node])),
        }
    }
    // Why the whole of it waits stands in its own sentence.
    found.retain(|(_, sentence, _)| Some(*sentence) != why_whole(known) || whole(known).is_none());
    let said = found.into_iter().map(|(weight, sentence, nodes)| {
        let about = std::iter::once(plan_name(seq(known))).chain(nodes.into_iter().map(str::to_owned));
        let about: Vec<String> = about.filter(|name| !name.is_empty()).collect();
        Said { about: about.join(", "), ..coordinator(known, weight, sentence.to_owned()) }
    });
    said.collect()
}

pub(super) fn is_ended(status: TaskStatus) -> bool {
    hostler_plan::sequencer::TaskStatus::try_from(status).is_ok_and(hostler_plan::sequencer::TaskStatus::is_ended)
}

/// How tasks ended that did not succeed, and what is left of those that did.
fn ended(known: &Known, is_asked: impl Fn(&TaskView) -> bool) -> Vec<Said> {
    let mut said = Vec::new();
    for task in known.detail.tasks.iter().filter(|task| is_asked(task)) {
        let receipt = known.evidence.receipts.iter().find(|receipt| receipt.task.to_string() == task.id);
        match receipt {
            Some(receipt) => said.extend(told(receipt)),
            None if is_ended(task.status()) && task.status() != TaskStatus::Succeeded => {
                let sentence = format!("{} is said to be {}, and no receipt proves it", task.id, task.sentence);
                said.push(coordinator(known, Weight::NeedsPerson, sentence));
            }
            None => {}
        }
    }
    said
}

/// What a receipt tells of what went wrong or is not as before.
fn told(receipt: &Receipt) -> Vec<Said> {
    let Receipt { node, task, seq, outcome, pods, .. } = receipt;
    let say = |weight, sentence| Said {
        weight,
        about: plan_name(*seq),
        sentence,
        proof: Proof::Receipt { node: node.clone() },
    };
    let mut said = Vec::new();
    if !outcome.is_success() {
        said.push(say(Weight::NeedsPerson, format!("{task} {outcome}")));
    }
    if let Outcome::Blocked { blockers, reason } = outcome {
        let blockers = blockers.iter().filter(|blocker| !reason.contains(&blocker.reason));
        said.extend(blockers.map(|b| say(Weight::NeedsPerson, format!("{task}: {} is held: {}", b.pod, b.reason))));
    }
    for pod in pods {
        let weight = match pod.fate {
            PodFate::Down | PodFate::Pending => Weight::Stands,
            PodFate::Left if !outcome.to_string().contains(&pod.pod) => Weight::Stands,
            PodFate::Left | PodFate::Ended | PodFate::Stays | PodFate::Moved => continue,
        };
        said.push(say(weight, format!("{task}: {} {}: {}", pod.pod, pod.fate.sentence(), pod.reason)));
    }
    said
}
