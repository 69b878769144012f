//! What must hold before a task is granted: one question for deciding and for explaining.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    document::{PlanKind, RosterStatus, Task},
    health::Verdict,
    id::{BootId, NodeName, Seq},
    step::ClusterRole,
    timestamp::Timestamp,
};

use super::{
    CordonOwner, Sequencer, Unavailable, budget, health,
    rollout::{Rollout, TaskRecord, upgrades_to},
    view::{Grant, TaskState},
    wait::{Reason, Wait},
};

/// What is counted once for many questions, and grows with the grants of one call of `decide`.
#[derive(Debug)]
pub(super) struct Tally {
    pub now: Timestamp,
    /// Active nodes whose health may hold others.
    pub holding: Vec<(NodeName, Verdict)>,
    pub unavailable: BTreeMap<NodeName, Unavailable>,
    /// Tasks in flight per performing node.
    pub grants: BTreeMap<NodeName, usize>,
    /// Subjects with a disruption that another grant of the same call began: the index of its rollout.
    pub begun: BTreeMap<NodeName, usize>,
}

impl Tally {
    pub fn of(s: &Sequencer, now: Timestamp) -> Self {
        let mut grants = BTreeMap::new();
        for r in &s.rollouts {
            for (task, _) in r.plan.tasks.iter().zip(&r.tasks).filter(|(_, record)| record.in_flight()) {
                *grants.entry(task.node.clone()).or_default() += 1;
            }
        }
        let holding = health::holding(s, now);
        Self { now, holding, unavailable: budget::unavailable(s), grants, begun: BTreeMap::new() }
    }

    pub fn count(&mut self, r: usize, rollout: &Rollout, task: &Task) {
        *self.grants.entry(task.node.clone()).or_default() += 1;
        if task.disrupts {
            let why = Unavailable::Disrupted { seq: rollout.plan.seq, task: Some(task.id.clone()) };
            self.unavailable.insert(task.subject.clone(), why);
            self.begun.entry(task.subject.clone()).or_insert(r);
        }
    }
}

impl Sequencer {
    /// The drain that goes before `rollout`, if one does.
    pub(super) fn preemption_of(&self, rollout: &Rollout) -> Option<Seq> {
        if !rollout.yields_to_drains() {
            return None;
        }
        let drain = |r: &&Rollout| r.plan.kind == PlanKind::Drain && !r.is_over() && r.lists_beside(rollout);
        self.rollouts.iter().find(drain).map(|r| r.plan.seq)
    }
}

/// What keeps the whole rollout from being granted anything, if something does.
pub(super) fn rollout_gate(s: &Sequencer, now: Timestamp, r: &Rollout) -> Result<(), Reason> {
    if now < r.plan.not_before {
        return Err(Reason::NotYetValid { until: r.plan.not_before });
    }
    if r.plan.expires <= now {
        return Err(Reason::PlanExpired { at: r.plan.expires });
    }
    if let Some((by, reason)) = &r.paused {
        return Err(Reason::Paused { by: by.clone(), reason: reason.clone() });
    }
    if let Some(i) = r.tasks.iter().position(|t| t.failure().is_some()) {
        return Err(Reason::Stopping { task: r.plan.tasks[i].id.clone() });
    }
    if let Some(i) = r.expired_task() {
        let TaskState::Expired { grant } = &r.tasks[i].state else { return Ok(()) };
        return Err(lease_expired(&r.plan.tasks[i], grant));
    }
    if s.roster.is_none() {
        return Err(Reason::NoRoster);
    }
    Ok(())
}

fn lease_expired(task: &Task, grant: &Grant) -> Reason {
    Reason::LeaseExpired { task: task.id.clone(), node: task.node.clone(), renewed: grant.renewed }
}

/// Leases that ran out in a rollout that is over: their nodes count as unavailable until a person looked at them.
fn left_over(r: &Rollout) -> Vec<Wait> {
    let expired = |(task, record): (&Task, &TaskRecord)| match &record.state {
        TaskState::Expired { grant } => Some(Wait {
            plan: r.digest,
            seq: r.plan.seq,
            node: Some(task.subject.clone()),
            task: Some(task.id.clone()),
            reason: lease_expired(task, grant),
        }),
        TaskState::Waiting | TaskState::Granted { .. } | TaskState::Ended { .. } => None,
    };
    r.plan.tasks.iter().zip(&r.tasks).filter_map(expired).collect()
}

/// Whether that waiting task of a rollout whose own gate is open may be granted, and the boot in which.
pub(super) fn task_gate(s: &Sequencer, tally: &Tally, r: usize, i: usize) -> Result<BootId, Reason> {
    let rollout = &s.rollouts[r];
    let task = &rollout.plan.tasks[i];
    if let Some(&before) = rollout.after[i].iter().find(|&&a| !rollout.tasks[a].succeeded()) {
        let before = (&rollout.plan.tasks[before], &rollout.tasks[before]);
        return Err(Reason::After {
            task: before.0.id.clone(),
            node: before.0.node.clone(),
            running: before.1.in_flight(),
            progress: before.1.progress.clone(),
        });
    }
    let begun = rollout.began_before(i) || tally.begun.get(&task.subject) == Some(&r);
    // A subject that may have been begun, by a grant whose lease was released, is finished: the drain waits for it.
    if !begun
        && !rollout.disrupts_now(&task.subject)
        && let Some(by) = s.preemption_of(rollout)
    {
        return Err(Reason::Preempted { by });
    }
    target_gate(s, rollout, task)?;
    quarantine_gate(s, rollout, task)?;
    let boot = connected(s, &task.node)?;
    if task.disrupts && !begun {
        disruption_gate(s, tally, r, task)?;
    } else if rollout.plan.kind != PlanKind::Check {
        subject_gate(s, tally, r, task)?;
    }
    if task.disrupts {
        standing_gate(s, tally, rollout, task, begun)?;
    }
    if tally.grants.get(&task.node).is_some_and(|n| *n >= s.settings.grants_per_node) {
        return Err(Reason::NodeBusy { node: task.node.clone(), limit: s.settings.grants_per_node });
    }
    Ok(boot)
}

/// The performing node is still the one that the plan was signed for.
fn target_gate(s: &Sequencer, rollout: &Rollout, task: &Task) -> Result<(), Reason> {
    let Some(roster) = &s.roster else { return Err(Reason::NoRoster) };
    let same = roster
        .active(&task.node)
        .zip(rollout.plan.target(&task.node))
        .is_some_and(|(node, target)| node.key.fingerprint() == target.key);
    if same { Ok(()) } else { Err(Reason::NotTheTarget { node: task.node.clone() }) }
}

fn connected(s: &Sequencer, node: &NodeName) -> Result<BootId, Reason> {
    let seen = s.nodes.get(node);
    seen.and_then(|seen| seen.connected.clone()).ok_or_else(|| Reason::NotConnected {
        node: node.clone(),
        since: seen.and_then(|seen| seen.disconnected_since),
    })
}

/// Another rollout's business with the subject comes first.
fn subject_gate(s: &Sequencer, tally: &Tally, r: usize, task: &Task) -> Result<(), Reason> {
    let other = s.rollouts.iter().enumerate().find(|(i, other)| {
        *i != r
            && other.plan.kind != PlanKind::Check
            && (other.disrupts_now(&task.subject) || other.flying_task(&task.subject).is_some())
    });
    let other = other.map(|(i, _)| i).or_else(|| tally.begun.get(&task.subject).copied().filter(|i| *i != r));
    match other {
        Some(i) => Err(Reason::SubjectBusy { node: task.subject.clone(), seq: s.rollouts[i].plan.seq }),
        None => Ok(()),
    }
}

/// What must hold before a node is taken out of service.
fn disruption_gate(s: &Sequencer, tally: &Tally, r: usize, task: &Task) -> Result<(), Reason> {
    let rollout = &s.rollouts[r];
    let subject = &task.subject;
    subject_gate(s, tally, r, task)?;
    let drains = rollout.plan.kind == PlanKind::Drain;
    if !drains {
        connected(s, subject)?;
        if let Some((hold, _)) = s.holds.get(subject)
            && hold.kind == PlanKind::Drain
            && hold.seq > rollout.plan.seq
            && budget::holds(s, subject)
        {
            return Err(Reason::Drained { node: subject.clone(), seq: hold.seq });
        }
        let condition = s.nodes.get(subject).and_then(|seen| seen.condition.as_ref());
        if let Some(cordon) = condition.and_then(|c| c.cordon.as_ref())
            && let CordonOwner::Other(owner) = &cordon.owner
        {
            return Err(Reason::CordonedByOther { node: subject.clone(), owner: owner.clone() });
        }
    }
    let others: BTreeSet<&NodeName> = tally.unavailable.keys().filter(|n| *n != subject).collect();
    let max = rollout.plan.strategy.max_unavailable;
    if others.len() >= usize::try_from(max).unwrap_or(usize::MAX) {
        let unavailable = tally.unavailable.iter().filter(|(n, _)| *n != subject);
        return Err(Reason::Budget { max, unavailable: unavailable.map(|(n, u)| (n.clone(), u.clone())).collect() });
    }
    Ok(())
}

/// What must hold before every disrupting task, also of a node that is out of service already: between its drain and
/// its upgrade it may have turned bad, or another server may have gone away.
fn standing_gate(s: &Sequencer, tally: &Tally, rollout: &Rollout, task: &Task, begun: bool) -> Result<(), Reason> {
    if let Some((server, why)) = other_server_down(s, tally, &task.subject) {
        return Err(Reason::OtherServer { node: task.subject.clone(), server, why });
    }
    match health::is_gated(rollout, task) {
        true => health::gate(s, tally.now, &tally.holding, rollout, task, begun),
        false => Ok(()),
    }
}

/// A node that failed on a version is not even drained for another try.
fn quarantine_gate(s: &Sequencer, rollout: &Rollout, task: &Task) -> Result<(), Reason> {
    if !task.disrupts || s.quarantines.is_empty() {
        return Ok(());
    }
    let tasks = rollout.subjects.get(&task.subject).into_iter().flatten().map(|&i| &rollout.plan.tasks[i]);
    for version in tasks.filter_map(|t| upgrades_to(&t.steps)) {
        if let Some(reason) = s.quarantines.get(&(task.subject.clone(), version)) {
            return Err(Reason::Quarantined { node: task.subject.clone(), version, reason: reason.clone() });
        }
    }
    Ok(())
}

/// While one server of several is unavailable, no other is taken out: the members that are left must be a majority
/// and stay one.
fn other_server_down(s: &Sequencer, tally: &Tally, subject: &NodeName) -> Option<(NodeName, Unavailable)> {
    let roster = s.roster.as_ref()?;
    if roster.active(subject)?.role != ClusterRole::Server {
        return None;
    }
    let others = roster
        .nodes
        .iter()
        .filter(|n| n.status == RosterStatus::Active && n.role == ClusterRole::Server && n.name != *subject);
    others.filter_map(|n| tally.unavailable.get(&n.name).map(|why| (n.name.clone(), why.clone()))).next()
}

pub(super) fn waits(s: &Sequencer, now: Timestamp) -> Vec<Wait> {
    let tally = Tally::of(s, now);
    let mut waits: Vec<Wait> = s.rollouts.iter().filter(|r| r.is_over()).flat_map(left_over).collect();
    for (r, rollout) in s.rollouts.iter().enumerate().filter(|(_, r)| !r.is_over()) {
        let wait = |node, task, reason| Wait { plan: rollout.digest, seq: rollout.plan.seq, node, task, reason };
        let stopped = rollout_gate(s, now, rollout).err();
        if let Some(reason) = &stopped {
            waits.push(wait(None, None, reason.clone()));
        } else if let Some(by) = s.preemption_of(rollout) {
            waits.push(wait(None, None, Reason::Preempted { by }));
        }
        for (subject, tasks) in &rollout.subjects {
            let Some(&i) = tasks.iter().find(|&&i| !rollout.tasks[i].succeeded()) else {
                waits
                    .extend(health::reason(s, now, rollout, subject).map(|why| wait(Some(subject.clone()), None, why)));
                continue;
            };
            // Of several tasks that are not done, the one that its node is at tells most.
            let i = rollout.flying_task(subject).unwrap_or(i);
            let task = &rollout.plan.tasks[i];
            let record = &rollout.tasks[i];
            let reason = match &record.state {
                TaskState::Granted { grant } => Reason::Performing {
                    task: task.id.clone(),
                    node: task.node.clone(),
                    since: grant.since,
                    progress: record.progress.clone(),
                },
                TaskState::Expired { grant } => {
                    Reason::LeaseExpired { task: task.id.clone(), node: task.node.clone(), renewed: grant.renewed }
                }
                TaskState::Ended { outcome, .. } => {
                    Reason::Failed { task: task.id.clone(), outcome: outcome.to_string() }
                }
                TaskState::Waiting => match (&stopped, task_gate(s, &tally, r, i)) {
                    (Some(reason), _) => reason.clone(),
                    (None, Err(reason)) => reason,
                    // It will be granted at the next decision.
                    (None, Ok(_)) => continue,
                },
            };
            waits.push(wait(Some(subject.clone()), Some(task.id.clone()), reason));
        }
    }
    waits
}
