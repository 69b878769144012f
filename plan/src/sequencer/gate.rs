//! What must hold before a task is granted: one question for deciding and for explaining.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    document::{PlanKind, RosterNode, Shut, Task},
    health::Verdict,
    id::{BootId, NodeName, Seq},
    quorum::Quorum,
    step::ClusterRole,
    timestamp::Timestamp,
};

use super::{
    CordonOwner, Sequencer, Standing, Unavailable, budget, health,
    rollout::{End, Rollout, TaskRecord, upgrades_to},
    rollouts::Arrival,
    view::{Grant, TaskState},
    wait::{Reason, Wait},
};

/// What is counted for many questions, and grows with the grants of one call of `decide`.
#[derive(Debug)]
pub(super) struct Availability<'s> {
    s: &'s Sequencer,
    now: Timestamp,
    /// Active nodes whose health may hold others; found when a task first asks.
    holding: OnceCell<Vec<(NodeName, Verdict)>>,
    /// Tasks per performing node that another grant of the same call put in flight.
    granted: BTreeMap<NodeName, usize>,
    /// Subjects that such a grant is about, and its rollout: no other has business with them. A check disturbs nobody.
    busy: BTreeMap<NodeName, Arrival>,
    /// Subjects with a disruption that such a grant began: its rollout, and why that makes the subject unavailable.
    begun: BTreeMap<NodeName, (Arrival, Unavailable)>,
}

impl<'s> Availability<'s> {
    pub(super) fn new(s: &'s Sequencer, now: Timestamp) -> Self {
        Self {
            s,
            now,
            holding: OnceCell::new(),
            granted: BTreeMap::new(),
            busy: BTreeMap::new(),
            begun: BTreeMap::new(),
        }
    }

    pub(super) fn count(&mut self, arrival: Arrival, rollout: &Rollout, task: &Task) {
        *self.granted.entry(task.node.clone()).or_default() += 1;
        if rollout.plan.kind != PlanKind::Check {
            self.busy.insert(task.subject.clone(), arrival);
        }
        if task.disrupts {
            let why = Unavailable::Disrupted { seq: rollout.plan.seq, task: Some(task.id.clone()) };
            let begun = self.begun.entry(task.subject.clone()).or_insert_with(|| (arrival, why.clone()));
            begun.1 = why;
        }
    }

    fn holding(&self) -> &[(NodeName, Verdict)] {
        self.holding.get_or_init(|| health::holding(self.s, self.now))
    }

    fn begun_by(&self, subject: &NodeName) -> Option<Arrival> {
        self.begun.get(subject).map(|(arrival, _)| *arrival)
    }

    fn in_flight(&self, node: &NodeName) -> usize {
        self.s.rollouts.count_in_flight(node) + self.granted.get(node).copied().unwrap_or_default()
    }

    fn unavailable(&self, node: &NodeName) -> Option<&Unavailable> {
        self.begun.get(node).map(|(_, why)| why).or_else(|| self.s.unavailable.get(node))
    }

    /// How many nodes but that one are unavailable.
    fn count_others(&self, subject: &NodeName) -> usize {
        let known = &self.s.unavailable;
        let begun = self.begun.keys().filter(|n| *n != subject && !known.contains_key(*n)).count();
        known.len() - usize::from(known.contains_key(subject)) + begun
    }

    /// Every node but that one that is unavailable, by name.
    fn others(&self, subject: &NodeName) -> Vec<(NodeName, Unavailable)> {
        let names: BTreeSet<&NodeName> = self.s.unavailable.keys().chain(self.begun.keys()).collect();
        let others = names.into_iter().filter(|n| *n != subject);
        others.filter_map(|n| Some((n.clone(), self.unavailable(n)?.clone()))).collect()
    }
}

impl Sequencer {
    /// The drain that goes before `rollout`, if one does.
    pub(super) fn preemption_of(&self, rollout: &Rollout) -> Option<Seq> {
        if !rollout.plan.kind.yields_to_drains() {
            return None;
        }
        let drain = |r: &&Rollout| r.plan.kind == PlanKind::Drain && r.lists_beside(rollout);
        self.rollouts.open().map(|(_, r)| r).find(drain).map(|r| r.plan.seq)
    }
}

/// What keeps the whole rollout from being granted anything, if something does.
pub(super) fn rollout_gate(s: &Sequencer, now: Timestamp, r: &Rollout) -> Result<(), Reason> {
    if s.is_restored {
        return Err(Reason::LedgerLost);
    }
    if now < r.plan.not_before {
        return Err(Reason::NotYetValid { until: r.plan.not_before });
    }
    if r.plan.expires <= now && !r.has_to_finish() {
        return Err(Reason::PlanExpired { at: r.plan.expires });
    }
    if let Some((by, reason)) = &r.paused {
        return Err(Reason::Paused { by: by.clone(), reason: reason.clone() });
    }
    if let Some(i) = r.asks() {
        let task = &r.plan.tasks[i];
        return Err(Reason::Asks { task: task.id.clone(), subject: task.subject.clone(), seq: r.plan.seq });
    }
    if let Some(i) = r.failed() {
        return Err(Reason::Stopping { task: r.plan.tasks[i].id.clone() });
    }
    if let Some(i) = r.expired_task() {
        let TaskState::Expired { grant } = &r.tasks()[i].state else { return Ok(()) };
        return Err(lease_expired(s, r, &r.plan.tasks[i], grant));
    }
    if s.roster.is_none() {
        return Err(Reason::NoRoster);
    }
    Ok(())
}

fn lease_expired(s: &Sequencer, r: &Rollout, task: &Task, grant: &Grant) -> Reason {
    let (id, node) = (task.id.clone(), task.node.clone());
    Reason::LeaseExpired { task: id, node, renewed: grant.renewed, drains: by_another(s, r, task) }
}

/// The node that a task drains, where a server is connected that could do it in another's place and no newer plan
/// ended it.
fn by_another(s: &Sequencer, r: &Rollout, task: &Task) -> Option<NodeName> {
    let could =
        |n: &RosterNode| n.role == ClusterRole::Server && n.name != task.node && connected(s, &n.name).is_some();
    let is_replaced = matches!(r.end, Some(End::Superseded { .. }));
    (r.plan.kind == PlanKind::Drain && !is_replaced && s.active().any(could)).then(|| task.subject.clone())
}

/// Leases that ran out in a rollout that is over: their nodes count as unavailable until a person looked at them.
fn left_over(s: &Sequencer, r: &Rollout) -> Vec<Wait> {
    let expired = |(task, record): (&Task, &TaskRecord)| match &record.state {
        TaskState::Expired { grant } => Some(Wait {
            plan: r.digest,
            seq: r.plan.seq,
            node: Some(task.subject.clone()),
            task: Some(task.id.clone()),
            reason: lease_expired(s, r, task, grant),
        }),
        TaskState::Waiting | TaskState::Granted { .. } | TaskState::Ended { .. } => None,
    };
    r.each().filter_map(expired).collect()
}

/// Whether that waiting task of a rollout whose own gate is open may be granted, and the boot in which.
pub(super) fn task_gate(
    s: &Sequencer,
    availability: &Availability,
    (arrival, rollout): (Arrival, &Rollout),
    i: usize,
) -> Result<BootId, Reason> {
    let task = &rollout.plan.tasks[i];
    if let Some(before) = rollout.comes_after(i) {
        let before = (&rollout.plan.tasks[before], &rollout.tasks()[before]);
        return Err(Reason::After {
            task: before.0.id.clone(),
            node: before.0.node.clone(),
            running: before.1.in_flight(),
            progress: before.1.progress.clone(),
        });
    }
    let begun = rollout.began_before(i) || availability.begun_by(&task.subject) == Some(arrival);
    // A subject that may have been begun, by a grant whose lease was released, is finished: the drain waits for it.
    if !begun
        && !rollout.disrupts_now(&task.subject)
        && let Some(by) = s.preemption_of(rollout)
    {
        return Err(Reason::Preempted { by });
    }
    target_gate(s, rollout, task)?;
    quarantine_gate(s, rollout, task)?;
    let boot = connected(s, &task.node).ok_or_else(|| not_connected(s, &task.node, by_another(s, rollout, task)))?;
    window_gate(availability.now, rollout, i)?;
    if task.disrupts && !begun {
        disruption_gate(s, availability, (arrival, rollout), task)?;
    } else if !matches!(rollout.plan.kind, PlanKind::Check | PlanKind::Dead) {
        // Whatever was at work on a dead node ended with it.
        subject_gate(s, availability, arrival, task)?;
    }
    if task.disrupts {
        standing_gate(s, availability, rollout, task, begun)?;
    }
    if availability.in_flight(&task.node) >= s.settings.grants_per_node {
        return Err(Reason::NodeBusy { node: task.node.clone(), limit: s.settings.grants_per_node });
    }
    Ok(boot)
}

/// How much less of a window may be left by a node's clock than by this one: a grant that comes too late by that would
/// keep its node waiting for the next window.
pub const WINDOW_MARGIN: Duration = Duration::from_secs(60);

/// A maintenance window is open with enough of it left, where the task begins in one. What was granted before may have
/// begun in its window, and is finished.
fn window_gate(now: Timestamp, rollout: &Rollout, i: usize) -> Result<(), Reason> {
    let (task, record) = (&rollout.plan.tasks[i], &rollout.tasks()[i]);
    let Some(windows) = rollout.plan.windows.as_ref().filter(|_| !record.was_granted) else { return Ok(()) };
    let shut = windows.shut(&task.id, now).or_else(|| windows.shut(&task.id, now.plus(WINDOW_MARGIN)));
    match shut {
        Some(shut) => Err(Reason::Window { shut: Box::new(Shut { now, ..shut }) }),
        None => Ok(()),
    }
}

/// The performing node is still the one that the plan was signed for.
fn target_gate(s: &Sequencer, rollout: &Rollout, task: &Task) -> Result<(), Reason> {
    if s.roster.is_none() {
        return Err(Reason::NoRoster);
    }
    let same = s.keys.get(&task.node).is_some_and(|key| rollout.target_key(&task.node) == Some(key));
    if same { Ok(()) } else { Err(Reason::NotTheTarget { node: task.node.clone() }) }
}

fn connected(s: &Sequencer, node: &NodeName) -> Option<BootId> {
    s.nodes.get(node)?.connected.clone()
}

fn not_connected(s: &Sequencer, node: &NodeName, drains: Option<NodeName>) -> Reason {
    let since = s.nodes.get(node).and_then(|seen| seen.disconnected_since);
    Reason::NotConnected { node: node.clone(), since, drains }
}

/// Another rollout's business with the subject comes first, but for one that this goes on with and whose node lost its
/// lease: it may begin nothing any more, and the signature that ended it is the answer to the question that is open.
fn subject_gate(s: &Sequencer, availability: &Availability, own: Arrival, task: &Task) -> Result<(), Reason> {
    let left = |other: &Rollout| {
        let flying = other.flying_task(&task.subject).map(|i| &other.tasks()[i].state);
        matches!(flying, Some(TaskState::Expired { .. })) && s.rollouts.at(own).goes_on_with.contains(&other.digest)
    };
    let restores = |other: &Rollout| other.has_to_finish() && other.subjects.contains_key(&task.subject);
    let busy = |(arrival, other): &(Arrival, &Rollout)| {
        *arrival != own
            && other.plan.kind != PlanKind::Check
            && (other.disrupts_now(&task.subject) || other.flying_task(&task.subject).is_some() || restores(other))
            && !left(other)
    };
    let granted = || availability.busy.get(&task.subject).copied().filter(|arrival| *arrival != own);
    let other = s.rollouts.active().find(busy).map(|(_, other)| other);
    match other.or_else(|| granted().map(|arrival| s.rollouts.at(arrival))) {
        Some(other) => Err(Reason::SubjectBusy { node: task.subject.clone(), seq: other.plan.seq }),
        None => Ok(()),
    }
}

/// Whether a plan keeps the node out of service, as a receipt or the cluster tells.
fn is_cordoned_by_us(s: &Sequencer, node: &NodeName) -> bool {
    let condition = s.nodes.get(node).and_then(|seen| seen.condition.as_ref());
    let cordon = condition.and_then(|condition| condition.cordon.as_ref());
    budget::holds(s, node) || cordon.is_some_and(|cordon| cordon.owner == CordonOwner::Hostler)
}

/// What must hold before a node is taken out of service.
fn disruption_gate(
    s: &Sequencer,
    availability: &Availability,
    (arrival, rollout): (Arrival, &Rollout),
    task: &Task,
) -> Result<(), Reason> {
    let subject = &task.subject;
    subject_gate(s, availability, arrival, task)?;
    let drains = rollout.plan.kind == PlanKind::Drain;
    if !drains {
        connected(s, subject).ok_or_else(|| not_connected(s, subject, None))?;
        if let Some((hold, _)) = s.holds.get(subject)
            && hold.kind.keeps_out()
            && hold.seq > rollout.plan.seq
            && budget::holds(s, subject)
        {
            return Err(Reason::Drained { node: subject.clone(), seq: hold.seq });
        }
        let condition = s.nodes.get(subject).and_then(|seen| seen.condition.as_ref());
        if let Some(owner) = condition.and_then(|c| c.cordon.as_ref()).and_then(|c| c.owner.foreign()) {
            return Err(Reason::CordonedByOther { node: subject.clone(), owner: owner.to_owned() });
        }
    }
    // One that goes on with a cordon takes no more away.
    if !rollout.goes_on_with.is_empty() && is_cordoned_by_us(s, subject) {
        return Ok(());
    }
    let max = rollout.plan.strategy.max_unavailable;
    if availability.count_others(subject) >= usize::try_from(max).unwrap_or(usize::MAX) {
        return Err(Reason::Budget { max, unavailable: availability.others(subject) });
    }
    Ok(())
}

/// What must hold before every disrupting task, also of a node that is out of service already: between its drain and
/// its upgrade it may have turned bad, or another server may have gone away.
fn standing_gate(
    s: &Sequencer,
    availability: &Availability,
    rollout: &Rollout,
    task: &Task,
    begun: bool,
) -> Result<(), Reason> {
    // A drain alone leaves its API server and etcd running.
    let stays_up = rollout.plan.kind == PlanKind::Drain;
    if let Some((server, why)) = other_server_down(s, availability, &task.subject).filter(|_| !stays_up) {
        return Err(Reason::OtherServer { node: task.subject.clone(), server, why, quorum: quorum(s) });
    }
    match health::is_gated(rollout, task) {
        true => health::gate(s, availability.now, availability.holding(), rollout, task, begun),
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
fn other_server_down(
    s: &Sequencer,
    availability: &Availability,
    subject: &NodeName,
) -> Option<(NodeName, Unavailable)> {
    if s.roster.as_ref()?.active(subject)?.role != ClusterRole::Server {
        return None;
    }
    let others = s.active().filter(|n| n.role == ClusterRole::Server && n.name != *subject);
    others.filter_map(|n| availability.unavailable(&n.name).map(|why| (n.name.clone(), why.clone()))).next()
}

/// The servers of the cluster as etcd counts them.
fn quorum(s: &Sequencer) -> Quorum {
    let standing = |n: &RosterNode| s.nodes.get(&n.name)?.condition.as_ref().map(|c| c.standing);
    let servers = s.active().filter(|n| n.role == ClusterRole::Server).map(standing);
    let members: Vec<_> = servers.filter(|standing| *standing != Some(Standing::Outside)).collect();
    let healthy = members.iter().filter(|standing| **standing == Some(Standing::Ready)).count();
    Quorum { members: members.len(), healthy }
}

pub(super) fn waits(s: &Sequencer, now: Timestamp) -> Vec<Wait> {
    let availability = Availability::new(s, now);
    let over = s.rollouts.active().filter(|(_, r)| r.is_over() && !r.has_to_finish());
    let mut waits: Vec<Wait> = over.flat_map(|(_, r)| left_over(s, r)).collect();
    for (arrival, rollout) in s.rollouts.going_on() {
        let wait = |node, task, reason| Wait { plan: rollout.digest, seq: rollout.plan.seq, node, task, reason };
        let stopped = rollout_gate(s, now, rollout).err();
        if let Some(reason) = &stopped {
            waits.push(wait(None, None, reason.clone()));
        } else if let Some(by) = s.preemption_of(rollout) {
            waits.push(wait(None, None, Reason::Preempted { by }));
        }
        for (subject, tasks) in &rollout.subjects {
            let Some(&i) = tasks.iter().find(|&&i| !rollout.tasks()[i].succeeded()) else {
                waits
                    .extend(health::reason(s, now, rollout, subject).map(|why| wait(Some(subject.clone()), None, why)));
                continue;
            };
            // Of several tasks that are not done, the one that its node is at tells most.
            let i = rollout.flying_task(subject).unwrap_or(i);
            let task = &rollout.plan.tasks[i];
            let record = &rollout.tasks()[i];
            let refused = rollout.refused.get(&task.node);
            let refused = refused.map(|why| Reason::Refused { node: task.node.clone(), why: why.clone() });
            let reason = match &record.state {
                TaskState::Granted { grant } => refused.unwrap_or_else(|| Reason::Performing {
                    task: task.id.clone(),
                    node: task.node.clone(),
                    since: grant.since,
                    progress: record.progress.clone(),
                }),
                TaskState::Expired { grant } => lease_expired(s, rollout, task, grant),
                TaskState::Ended { outcome, .. } => {
                    Reason::Failed { task: task.id.clone(), outcome: outcome.to_string() }
                }
                TaskState::Waiting => match (&stopped, task_gate(s, &availability, (arrival, rollout), i)) {
                    (Some(reason), _) => reason.clone(),
                    (None, Err(reason)) => refused.unwrap_or(reason),
                    // It will be granted at the next decision.
                    (None, Ok(_)) => continue,
                },
            };
            waits.push(wait(Some(subject.clone()), Some(task.id.clone()), reason));
        }
    }
    waits
}
