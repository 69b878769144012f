//! How entries and observations change the state.

use crate::{
    document::{DocumentKind, Outcome, Plan, PlanKind, Receipt, Root, Roster, Signed, Task},
    entry::{Entry, StoredDocument},
    health::Baseline,
    id::{Digest, NodeName, TaskId},
    timestamp::Timestamp,
    version::Version,
};

use super::{
    Hold, Observation, Seen, Sequencer, Standing, health,
    rollout::{End, Rollout, TaskRecord, awaits_version, leaves_unschedulable, reboots, upgrades_to},
    view::{Grant, TaskState},
};

pub(super) fn apply(s: &mut Sequencer, now: Timestamp, entry: &Entry) {
    match entry {
        Entry::Document { kind, document: StoredDocument(document) } => apply_document(s, now, *kind, document),
        Entry::Granted { plan, task, grant, node, boot_id, lease_seconds, baseline } => {
            let grant = Grant {
                number: *grant,
                node: node.clone(),
                boot_id: boot_id.clone(),
                since: now,
                renewed: now,
                lease_seconds: *lease_seconds,
            };
            granted(s, plan, task, grant, baseline.as_deref());
        }
        Entry::LeaseExpired { plan, task, grant } => {
            if let Some((_, record)) = holder(s, plan, task, *grant)
                && let TaskState::Granted { grant } = &record.state
            {
                record.state = TaskState::Expired { grant: grant.clone() };
            }
        }
        Entry::LeaseReleased { plan, task, grant, .. } => {
            if let Some((task, record)) = holder(s, plan, task, *grant) {
                record.state = TaskState::Waiting;
                note_cordon(s, now, plan, &task, false);
            }
        }
        Entry::Paused { plan, by, reason } => {
            if let Some(r) = rollout(s, plan).filter(|r| !r.is_over()) {
                r.paused = Some((by.clone(), reason.clone()));
            }
        }
        Entry::Resumed { plan, .. } => {
            if let Some(r) = rollout(s, plan) {
                r.paused = None;
            }
        }
        Entry::Halted { plan, by, reason } => end(s, plan, End::Halted { by: by.clone(), reason: reason.clone() }),
        Entry::NoWorse { plan, node } => {
            if let Some(r) = rollout(s, plan).filter(|r| r.baselines.contains_key(node)) {
                r.no_worse.insert(node.clone());
                r.good.remove(node);
            }
        }
        Entry::Finished { plan } => end(s, plan, End::Finished),
        Entry::Quarantined { node, version, reason } => {
            s.quarantine_due.remove(&(node.clone(), *version));
            s.quarantines.insert((node.clone(), *version), reason.clone());
        }
        Entry::QuarantineReleased { node, version, .. } => {
            s.quarantines.remove(&(node.clone(), *version));
        }
        Entry::NodeRefused { .. } | Entry::Alarm { .. } | Entry::TokenRevoked { .. } => {}
    }
}

fn apply_document(s: &mut Sequencer, now: Timestamp, kind: DocumentKind, document: &Signed) {
    match kind {
        DocumentKind::Plan => {
            if let Ok(plan) = read::<Plan>(document) {
                new_plan(s, now, document.digest(), plan);
            }
        }
        DocumentKind::Receipt => {
            if let Ok(receipt) = read::<Receipt>(document) {
                new_receipt(s, now, receipt);
            }
        }
        DocumentKind::Roster => {
            if let Ok(roster) = read::<Roster>(document)
                && s.roster.as_ref().is_none_or(|old| (old.epoch, old.version) < (roster.epoch, roster.version))
            {
                s.roster = Some(roster);
            }
        }
        DocumentKind::Root => {
            if let Ok(root) = read::<Root>(document)
                && root.epoch > s.epoch
            {
                s.epoch = root.epoch;
                for r in s.rollouts.iter_mut().filter(|r| !r.is_over() && r.plan.epoch < root.epoch) {
                    r.end = Some(End::Superseded { by: None });
                }
            }
        }
        DocumentKind::Admission | DocumentKind::Enrolment | DocumentKind::Login => {}
    }
}

/// The strict look at the bytes (`json::parse`) was part of verifying them.
fn read<T: serde::de::DeserializeOwned>(document: &Signed) -> Result<T, serde_json::Error> {
    serde_json::from_slice(&document.bytes)
}

fn new_plan(s: &mut Sequencer, now: Timestamp, digest: Digest, plan: Plan) {
    if s.rollouts.iter().any(|r| r.digest == digest) {
        return;
    }
    let mut new = Rollout::new(digest, plan, now);
    for old in s.rollouts.iter_mut().filter(|r| !r.is_over()) {
        if old.order() < new.order() {
            if !new.lists_beside(old) {
                old.end = Some(End::Superseded { by: Some(new.plan.seq) });
            }
        } else if !old.lists_beside(&new) {
            new.end = Some(End::Superseded { by: Some(old.plan.seq) });
        }
    }
    if new.plan.epoch < s.epoch {
        new.end = Some(End::Superseded { by: None });
    }
    s.rollouts.push(new);
}

fn granted(s: &mut Sequencer, plan: &Digest, task: &TaskId, grant: Grant, baseline: Option<&Baseline>) {
    s.last_grant = s.last_grant.max(grant.number);
    let Some(r) = rollout(s, plan) else { return };
    let Some(i) = r.task_index(task) else { return };
    if r.tasks[i].state == TaskState::Waiting {
        r.tasks[i].state = TaskState::Granted { grant };
        r.tasks[i].was_granted = true;
        r.tasks[i].progress = None;
        if let Some(baseline) = baseline {
            // A task that is granted again was disrupted by the first grant perhaps: how the node was before that counts.
            r.baselines.entry(r.plan.tasks[i].subject.clone()).or_insert_with(|| baseline.clone());
        }
    }
}

fn new_receipt(s: &mut Sequencer, now: Timestamp, receipt: Receipt) {
    let last_grant = s.last_grant;
    let Some(r) = rollout(s, &receipt.plan) else { return };
    let Some(i) = r.task_index(&receipt.task) else { return };
    let task = r.plan.tasks[i].clone();
    let record = &mut r.tasks[i];
    // A receipt for any grant that this task ever had ends it, even one that came after its lease was released; one
    // for a grant that was never given, or a second one, is not believed.
    let known = record.was_granted && (1..=last_grant).contains(&receipt.grant);
    if task.node != receipt.node || !known || matches!(record.state, TaskState::Ended { .. }) {
        return;
    }
    record.state = TaskState::Ended { grant: receipt.grant, at: now, outcome: receipt.outcome.clone() };
    record.progress = None;
    if task.disrupts {
        // Reports from before tell nothing about after.
        r.good.remove(&task.subject);
    }
    let kind = r.plan.kind;
    if let Some((version, reason)) = failed_version(&task, kind, &receipt) {
        s.quarantine_due.insert((task.subject.clone(), version), reason);
    }
    // A drain that saw beforehand that it cannot work began no step and left no cordon.
    let untouched = receipt.steps.is_empty() && !receipt.outcome.is_success();
    if !untouched && !matches!(receipt.outcome, Outcome::Refused { .. }) {
        note_cordon(s, now, &receipt.plan, &task, receipt.outcome.is_success());
    }
}

/// The version that the task's subject failed to come up on, and the sentence for people.
fn failed_version(task: &Task, kind: PlanKind, receipt: &Receipt) -> Option<(Version, String)> {
    let reason = match &receipt.outcome {
        Outcome::Failed { reason } | Outcome::TimedOut { reason } | Outcome::Unreachable { reason } => reason,
        Outcome::Succeeded {} | Outcome::Blocked { .. } | Outcome::Refused { .. } => return None,
    };
    let begun = |op: &str| receipt.steps.iter().any(|step| step.op == op);
    let upgrade = upgrades_to(&task.steps).filter(|_| begun("k3s.upgrade"));
    let version = upgrade.or_else(|| awaits_version(&task.steps).filter(|_| kind == PlanKind::Upgrade))?;
    Some((version, format!("{} in plan {}: {reason}", task.id, receipt.seq)))
}

/// Remembers who is unschedulable by our doing. A failed task may have left a cordon behind, but never lifted one
/// for certain.
fn note_cordon(s: &mut Sequencer, now: Timestamp, plan: &Digest, task: &Task, succeeded: bool) {
    let Some(r) = s.rollouts.iter().find(|r| r.digest == *plan) else { return };
    match leaves_unschedulable(&task.steps) {
        Some(true) => {
            let hold = Hold { plan: *plan, seq: r.plan.seq, kind: r.plan.kind, complete: succeeded };
            s.holds.insert(task.subject.clone(), (hold, now));
        }
        Some(false) if succeeded => {
            s.holds.remove(&task.subject);
        }
        Some(false) | None => {}
    }
}

pub(super) fn observe(s: &mut Sequencer, now: Timestamp, observation: Observation) {
    match observation {
        Observation::NodeConnected { node, boot_id } => {
            let seen = seen(s, node.clone());
            if seen.boot.replace(boot_id.clone()) != Some(boot_id.clone()) {
                // What it reported in another boot says nothing about this one.
                seen.vitals = None;
                for r in &mut s.rollouts {
                    r.good.remove(&node);
                }
            }
            let seen = self::seen(s, node);
            seen.connected = Some(boot_id);
            seen.disconnected_since = None;
        }
        Observation::NodeDisconnected { node } => {
            let seen = seen(s, node);
            seen.connected = None;
            seen.disconnected_since.get_or_insert(now);
        }
        Observation::LeaseRenewed { plan, task, grant, boot_id } => {
            let Some((task, record)) = holder(s, &plan, &task, grant) else { return };
            if let TaskState::Granted { grant } = &mut record.state
                && (grant.boot_id == boot_id || reboots(&task.steps))
            {
                grant.renewed = grant.renewed.max(now);
            }
        }
        Observation::NodeCondition { node, condition } => {
            let seen = seen(s, node);
            let schedulable = condition.cordon.is_none() && condition.standing != Standing::Unknown;
            seen.schedulable = schedulable.then(|| (seen.schedulable.map_or(now, |(since, _)| since), now));
            seen.condition = Some(condition);
        }
        Observation::NodeHealth { node, vitals } => health::observe(s, now, &node, vitals),
        Observation::Progress { plan, task, sentence } => {
            if let Some(r) = rollout(s, &plan)
                && let Some(i) = r.task_index(&task)
                && r.tasks[i].in_flight()
            {
                r.tasks[i].progress = Some(sentence);
            }
        }
    }
}

pub(super) fn clock_stepped(s: &mut Sequencer, by_ms: i64) {
    let step = |at: &mut Timestamp| {
        *at = Timestamp::from_unix_milliseconds(at.unix_milliseconds().saturating_add_signed(by_ms));
    };
    s.listening_since.iter_mut().for_each(step);
    for seen in s.nodes.values_mut() {
        seen.reported.iter_mut().chain(&mut seen.disconnected_since).for_each(step);
        seen.schedulable.iter_mut().for_each(|(since, last)| [since, last].into_iter().for_each(step));
    }
    for rollout in &mut s.rollouts {
        rollout.good.values_mut().for_each(|(since, last)| [since, last].into_iter().for_each(step));
        for record in &mut rollout.tasks {
            if let TaskState::Granted { grant } = &mut record.state {
                step(&mut grant.renewed);
            }
        }
    }
}

fn seen(s: &mut Sequencer, node: NodeName) -> &mut Seen {
    s.nodes.entry(node).or_default()
}

fn rollout<'s>(s: &'s mut Sequencer, plan: &Digest) -> Option<&'s mut Rollout> {
    s.rollouts.iter_mut().find(|r| r.digest == *plan)
}

/// The task and its record, if that grant is the one it holds or held last.
fn holder<'s>(s: &'s mut Sequencer, plan: &Digest, task: &TaskId, grant: u64) -> Option<(Task, &'s mut TaskRecord)> {
    let r = rollout(s, plan)?;
    let i = r.task_index(task)?;
    match &r.tasks[i].state {
        TaskState::Granted { grant: g } | TaskState::Expired { grant: g } if g.number == grant => {
            Some((r.plan.tasks[i].clone(), &mut r.tasks[i]))
        }
        TaskState::Granted { .. } | TaskState::Expired { .. } | TaskState::Waiting | TaskState::Ended { .. } => None,
    }
}

fn end(s: &mut Sequencer, plan: &Digest, end: End) {
    if let Some(r) = rollout(s, plan).filter(|r| !r.is_over()) {
        r.end = Some(end);
    }
}
