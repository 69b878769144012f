//! How entries and observations change the state.

use crate::{
    document::{Decided, Decision, DocumentKind, Outcome, Plan, PlanKind, Receipt, Root, Roster, Signed, Task},
    entry::{Entry, MAX_LOST_GRANTS, StoredDocument},
    health::Baseline,
    id::{Digest, NodeName, TaskId},
    step::Step,
    timestamp::Timestamp,
    version::Version,
};

use super::{
    Hold, NodeEvent, Seen, Sequencer, Standing, health,
    rollout::{End, Rollout, awaits_version, leaves_unschedulable, reboots},
    rollouts::Arrival,
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
            if let Some((arrival, task)) = holder(s, plan, task, *grant)
                && let TaskState::Granted { grant } = &s.rollouts.at(arrival).tasks()[task].state
            {
                let state = TaskState::Expired { grant: grant.clone() };
                set_state(s, arrival, task, state);
            }
        }
        Entry::LeaseReleased { plan, task, grant, .. } => {
            if let Some((arrival, task)) = holder(s, plan, task, *grant) {
                set_state(s, arrival, task, TaskState::Waiting);
                note_cordon(s, now, arrival, task, false);
            }
        }
        Entry::Paused { plan, by, reason } => {
            if let Some(r) = s.rollouts.get_mut(plan).filter(|r| !r.is_over()) {
                r.paused = Some((by.clone(), reason.clone()));
            }
        }
        Entry::Resumed { plan, .. } => {
            if let Some(r) = s.rollouts.get_mut(plan) {
                r.paused = None;
            }
        }
        Entry::Halted { plan, by, reason } => {
            end_open(s, plan, End::Halted { by: by.clone(), reason: reason.clone() });
        }
        Entry::Recovered { plan, node } => {
            if let Some(r) = s.rollouts.get_mut(plan).filter(|r| r.baselines.contains_key(node)) {
                r.recovered.insert(node.clone());
                r.unproved.remove(node);
                r.good.remove(node);
            }
        }
        Entry::Finished { plan } => end_open(s, plan, End::Finished),
        Entry::Quarantined { node, version, reason } => {
            s.quarantine_due.remove(&(node.clone(), *version));
            s.quarantines.insert((node.clone(), *version), reason.clone());
        }
        Entry::QuarantineReleased { node, version, .. } => {
            s.quarantines.remove(&(node.clone(), *version));
            s.misconfigured.remove(&(node.clone(), *version));
        }
        Entry::NodeRefused { .. } | Entry::Alarm { .. } | Entry::TokenRevoked { .. } | Entry::ClockSetBack { .. } => {}
        Entry::CaughtUp { .. } => s.is_restored = false,
        Entry::Restored { .. } => {
            let first = s.last_grant.saturating_add(1);
            s.last_grant = s.last_grant.saturating_add(MAX_LOST_GRANTS);
            s.lost_grants.push(first..=s.last_grant);
            s.is_restored = true;
        }
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
                new_receipt(s, now, &receipt);
            }
        }
        DocumentKind::Roster => {
            if let Ok(roster) = read::<Roster>(document)
                && s.roster.as_ref().is_none_or(|old| (old.epoch, old.version) < (roster.epoch, roster.version))
            {
                new_roster(s, roster);
            }
        }
        DocumentKind::Root => {
            if let Ok(root) = read::<Root>(document)
                && root.epoch > s.epoch
            {
                s.epoch = root.epoch;
                let old: Vec<Arrival> =
                    s.rollouts.open().filter(|(_, r)| r.plan.epoch < root.epoch).map(|(arrival, _)| arrival).collect();
                old.into_iter().for_each(|arrival| end(s, arrival, End::Superseded { by: None, finishes: false }));
            }
        }
        DocumentKind::Decision => {
            if let Ok(Decision { decided, by, .. }) = read(document) {
                s.is_restored &= !matches!(decided, Decided::Adopt { .. });
                if let Some(entry) = Entry::of(&decided, &by) {
                    apply(s, now, &entry);
                }
            }
        }
        DocumentKind::Admission
        | DocumentKind::Enrolment
        | DocumentKind::Holding
        | DocumentKind::Pass
        | DocumentKind::View
        | DocumentKind::Login => {}
    }
}

/// The strict look at the bytes (`json::parse`) was part of verifying them.
fn read<T: serde::de::DeserializeOwned>(document: &Signed) -> Result<T, serde_json::Error> {
    serde_json::from_slice(&document.bytes)
}

fn new_roster(s: &mut Sequencer, roster: Roster) {
    let before = std::mem::take(&mut s.keys);
    s.roster = Some(roster);
    s.keys = s.active().map(|n| (n.name.clone(), n.key.fingerprint())).collect();
    let heard = |node: &NodeName| s.nodes.get(node).is_some_and(|seen| seen.reported.is_some());
    // Another machine takes another time.
    let keys = &s.keys;
    s.away.retain(|(node, _), _| before.get(node) == keys.get(node));
    s.unheard = s.keys.keys().filter(|node| !heard(node)).cloned().collect();
    s.unlooked.extend(before.into_keys());
    s.unlooked.extend(s.keys.keys().cloned());
}

fn new_plan(s: &mut Sequencer, now: Timestamp, digest: Digest, plan: Plan) {
    if s.rollouts.knows(&digest) {
        return;
    }
    let mut new = Rollout::new(digest, plan, now);
    let before = new.plan.continues.and_then(|plan| s.rollouts.get(&plan));
    new.goes_on_with.extend(before.map(|before| before.goes_on_with.clone()).unwrap_or_default());
    let mut superseded = Vec::new();
    for (arrival, old) in s.rollouts.open() {
        if old.order() < new.order() {
            if !new.lists_beside(old) {
                superseded.push(arrival);
            }
        } else if !old.lists_beside(&new) {
            new.end = Some(End::Superseded { by: Some(old.plan.seq), finishes: false });
        }
    }
    let by = Some(new.plan.seq);
    // A newer restore does what an older one left half done; nothing else does.
    let finishes = new.plan.kind != PlanKind::Restore;
    superseded.into_iter().for_each(|arrival| end(s, arrival, End::Superseded { by, finishes }));
    // It has no work: what it ends has ended.
    if new.plan.kind == PlanKind::Stop {
        new.end.get_or_insert(End::Finished);
    }
    if new.plan.epoch < s.epoch {
        new.end = Some(End::Superseded { by: None, finishes: false });
    }
    s.rollouts.add(new);
}

fn granted(s: &mut Sequencer, plan: &Digest, task: &TaskId, grant: Grant, baseline: Option<&Baseline>) {
    s.last_grant = s.last_grant.max(grant.number);
    let Some((arrival, task)) = find(s, plan, task) else { return };
    if s.rollouts.at(arrival).tasks()[task].state != TaskState::Waiting {
        return;
    }
    let since = grant.since;
    set_state(s, arrival, task, TaskState::Granted { grant });
    let Some(r) = s.rollouts.get_mut(plan) else { return };
    if r.plan.tasks[task].disrupts {
        r.began.entry(r.plan.tasks[task].subject.clone()).or_insert(since);
    }
    r.set_progress(task, None);
    if let Some(baseline) = baseline {
        // A task that is granted again was disrupted by the first grant perhaps: how the node was before that counts.
        let subject = r.plan.tasks[task].subject.clone();
        if !r.recovered.contains(&subject) {
            r.unproved.insert(subject.clone());
        }
        r.baselines.entry(subject).or_insert_with(|| baseline.clone());
    }
}

fn new_receipt(s: &mut Sequencer, now: Timestamp, receipt: &Receipt) {
    let Some((arrival, task)) = find(s, &receipt.plan, &receipt.task) else { return };
    let r = s.rollouts.at(arrival);
    let (planned, record, kind) = (&r.plan.tasks[task], &r.tasks()[task], r.plan.kind);
    // A receipt for any grant that this task ever had ends it, even one that came after its lease was released; one
    // for a grant that was never given, or a second one, is not believed.
    let is_lost = s.lost_grants.iter().any(|lost| lost.contains(&receipt.grant));
    let known = is_lost || record.was_granted && (1..=s.last_grant).contains(&receipt.grant);
    if planned.node != receipt.node || !known || matches!(record.state, TaskState::Ended { .. }) {
        return;
    }
    let (subject, disrupts) = (planned.subject.clone(), planned.disrupts);
    let settled = planned.steps.iter().find_map(Step::settles).filter(|_| kind == PlanKind::Configure);
    if let Some((version, reason)) = failed_version(planned, kind, receipt) {
        if kind == PlanKind::Configure {
            s.misconfigured.insert((subject.clone(), version));
        }
        s.quarantine_due.insert((subject.clone(), version), reason);
    } else if let Some(version) = settled.filter(|_| receipt.outcome.is_success()) {
        // Whoever signed other settings, which work, has decided that it goes on.
        let node = (subject.clone(), version);
        if s.misconfigured.remove(&node) {
            s.quarantine_due.remove(&node);
            s.quarantines.remove(&node);
        }
    }
    let state = TaskState::Ended { grant: receipt.grant, at: now, outcome: receipt.outcome.clone() };
    set_state(s, arrival, task, state);
    if let Some(r) = s.rollouts.get_mut(&receipt.plan) {
        r.set_progress(task, None);
        r.refused.remove(&receipt.node);
        if disrupts {
            // Reports from before tell nothing about after.
            r.good.remove(&subject);
        }
    }
    note_away(s, now, arrival, &subject);
    // A drain that saw beforehand that it cannot work began no step and left no cordon.
    let untouched = receipt.steps.is_empty() && !receipt.outcome.is_success();
    if !untouched && !matches!(receipt.outcome, Outcome::Refused { .. }) {
        note_cordon(s, now, arrival, task, receipt.outcome.is_success());
    }
}

/// How many times are kept of a node and kind: what took long once, and is long past, counts no more.
const MAX_AWAY: usize = 5;

/// Remembers how long a node was away, once it is back from a kind of plan that waits for windows.
fn note_away(s: &mut Sequencer, now: Timestamp, arrival: Arrival, subject: &NodeName) {
    let r = s.rollouts.at(arrival);
    let Some(began) = r.began.get(subject).filter(|_| r.plan.kind.waits_for_windows() && r.is_done(subject)) else {
        return;
    };
    let seconds = now.since(*began).as_secs();
    let away = s.away.entry((subject.clone(), r.plan.kind)).or_default();
    away.push_back(seconds);
    if away.len() > MAX_AWAY {
        away.pop_front();
    }
}

/// The version that the task's subject failed to come up on, or at which other settings did not work, and the sentence
/// for people.
fn failed_version(task: &Task, kind: PlanKind, receipt: &Receipt) -> Option<(Version, String)> {
    let reason = match &receipt.outcome {
        Outcome::Failed { reason } | Outcome::TimedOut { reason } | Outcome::Unreachable { reason } => reason,
        Outcome::Succeeded {} | Outcome::Blocked { .. } | Outcome::TakenOver { .. } | Outcome::Refused { .. } => {
            return None;
        }
    };
    let begun = |step: &&Step| receipt.steps.iter().any(|done| done.op == step.op());
    let of_begun = |version: fn(&Step) -> Option<Version>| task.steps.iter().filter(begun).find_map(version);
    let settled = || of_begun(Step::settles).filter(|_| kind == PlanKind::Configure);
    let waits = matches!(kind, PlanKind::Upgrade | PlanKind::Configure);
    let awaited = || awaits_version(&task.steps).filter(|_| waits);
    let version = of_begun(Step::upgrades_to).or_else(settled).or_else(awaited)?;
    Some((version, format!("{} in plan {}: {reason}", task.id, receipt.seq)))
}

/// Remembers who is unschedulable by our doing. A failed task may have left a cordon behind, but never lifted one
/// for certain.
fn note_cordon(s: &mut Sequencer, now: Timestamp, arrival: Arrival, task: usize, succeeded: bool) {
    let r = s.rollouts.at(arrival);
    let subject = r.plan.tasks[task].subject.clone();
    match leaves_unschedulable(&r.plan.tasks[task].steps) {
        Some(true) => {
            let hold = Hold { plan: r.digest, seq: r.plan.seq, kind: r.plan.kind, complete: succeeded };
            s.holds.insert(subject.clone(), (hold, now));
        }
        Some(false) if succeeded => {
            s.holds.remove(&subject);
        }
        Some(false) | None => return,
    }
    s.unlooked.insert(subject);
}

pub(super) fn observe(s: &mut Sequencer, now: Timestamp, event: NodeEvent) {
    match event {
        NodeEvent::NodeConnected { node, boot_id } => {
            let seen = seen(s, node.clone());
            if seen.boot.replace(boot_id.clone()) != Some(boot_id.clone()) {
                // What it reported in another boot says nothing about this one.
                seen.vitals = None;
                for r in s.rollouts.active_mut() {
                    r.good.remove(&node);
                }
            }
            let seen = self::seen(s, node.clone());
            seen.connected = Some(boot_id);
            seen.disconnected_since = None;
            s.unlooked.insert(node);
        }
        NodeEvent::NodeDisconnected { node } => {
            s.unlooked.insert(node.clone());
            let seen = seen(s, node.clone());
            seen.connected = None;
            seen.disconnected_since.get_or_insert(now);
            s.rollouts.active_mut().for_each(|r| drop(r.refused.remove(&node)));
        }
        NodeEvent::LeaseRenewed { plan, task, grant, boot_id } => {
            let Some((_, task)) = holder(s, &plan, &task, grant) else { return };
            let Some(r) = s.rollouts.get_mut(&plan) else { return };
            let may_reboot = reboots(&r.plan.tasks[task].steps);
            r.refused.remove(&r.plan.tasks[task].node);
            if let Some(grant) = r.grant_mut(task).filter(|grant| grant.boot_id == boot_id || may_reboot) {
                grant.renewed = grant.renewed.max(now);
            }
        }
        NodeEvent::NodeCondition { node, condition } => {
            s.unlooked.insert(node.clone());
            let seen = seen(s, node);
            let schedulable = condition.cordon.is_none() && condition.standing != Standing::Unknown;
            seen.schedulable = schedulable.then(|| (seen.schedulable.map_or(now, |(since, _)| since), now));
            seen.condition = Some(condition);
        }
        NodeEvent::NodeHealth { node, vitals } => health::observe(s, now, &node, vitals),
        NodeEvent::PlanRefused { node, plan, reason } => refused(s, now, node, &plan, reason),
        NodeEvent::PlanOffered { node, plan } => offered(s, &node, &plan),
        NodeEvent::Progress { plan, task, sentence } => {
            if let Some(r) = s.rollouts.get_mut(&plan)
                && let Some(task) = r.task_index(&task)
                && r.in_flight().contains(&task)
            {
                r.refused.remove(&r.plan.tasks[task].node);
                r.set_progress(task, Some(sentence));
            }
        }
    }
}

fn refused(s: &mut Sequencer, now: Timestamp, node: NodeName, plan: &Digest, why: String) {
    let Some(r) = s.rollouts.get_mut(plan).filter(|r| !r.is_over()) else { return };
    let tasks: Vec<usize> = r.unended(&node).collect();
    if tasks.is_empty() {
        return;
    }
    // Who refuses is there and not at work: that is no silence that ends a lease.
    for task in tasks {
        if let Some(grant) = r.grant_mut(task) {
            grant.renewed = grant.renewed.max(now);
        }
    }
    r.refused.insert(node, why);
}

/// Of a task that is granted the node tells when it takes it; of another plan it says nothing then.
fn offered(s: &mut Sequencer, node: &NodeName, plan: &Digest) {
    if let Some(r) = s.rollouts.get_mut(plan)
        && !r.unended(node).any(|task| r.in_flight().contains(&task))
    {
        r.refused.remove(node);
    }
}

pub(super) fn clock_stepped(s: &mut Sequencer, by_ms: i64) {
    let step = |at: &mut Timestamp| *at = at.stepped(by_ms);
    s.listening_since.iter_mut().for_each(step);
    for seen in s.nodes.values_mut() {
        seen.reported.iter_mut().chain(&mut seen.disconnected_since).for_each(step);
        seen.schedulable.iter_mut().for_each(|(since, last)| [since, last].into_iter().for_each(step));
    }
    for rollout in s.rollouts.active_mut() {
        rollout.good.values_mut().for_each(|(since, last)| [since, last].into_iter().for_each(step));
        rollout.grants_mut().for_each(|grant| step(&mut grant.renewed));
    }
    // A cordon that was undone counts again when its readings are older than it.
    s.unlooked.extend(s.holds.keys().cloned());
}

fn seen(s: &mut Sequencer, node: NodeName) -> &mut Seen {
    s.nodes.entry(node).or_default()
}

/// A task of a rollout that is known.
fn find(s: &Sequencer, plan: &Digest, task: &TaskId) -> Option<(Arrival, usize)> {
    let arrival = s.rollouts.find(plan)?;
    Some((arrival, s.rollouts.at(arrival).task_index(task)?))
}

/// The task, if that grant is the one it holds or held last.
fn holder(s: &Sequencer, plan: &Digest, task: &TaskId, grant: u64) -> Option<(Arrival, usize)> {
    let (arrival, task) = find(s, plan, task)?;
    match &s.rollouts.at(arrival).tasks()[task].state {
        TaskState::Granted { grant: g } | TaskState::Expired { grant: g } if g.number == grant => Some((arrival, task)),
        TaskState::Granted { .. } | TaskState::Expired { .. } | TaskState::Waiting | TaskState::Ended { .. } => None,
    }
}

fn set_state(s: &mut Sequencer, arrival: Arrival, task: usize, state: TaskState) {
    let had_failed = s.rollouts.at(arrival).failed().is_some();
    s.rollouts.set_state(arrival, task, state);
    let r = s.rollouts.at(arrival);
    s.unlooked.insert(r.plan.tasks[task].subject.clone());
    // With its first failure a rollout stands, and what it has begun about other nodes counts differently.
    if !had_failed && r.failed().is_some() {
        s.unlooked.extend(r.subjects.keys().cloned());
    }
}

fn end(s: &mut Sequencer, arrival: Arrival, end: End) {
    s.rollouts.end(arrival, end);
    s.unlooked.extend(s.rollouts.at(arrival).subjects.keys().cloned());
}

fn end_open(s: &mut Sequencer, plan: &Digest, how: End) {
    if let Some(arrival) = s.rollouts.find(plan).filter(|&arrival| !s.rollouts.at(arrival).is_over()) {
        end(s, arrival, how);
    }
}
