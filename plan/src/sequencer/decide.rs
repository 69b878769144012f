//! What to append to the ledger.

use std::time::Duration;

use crate::{document::PlanKind, entry::Entry, timestamp::Timestamp};

use super::{
    Sequencer,
    gate::{Tally, rollout_gate, task_gate},
    health,
    rollout::Rollout,
    view::{Grant, TaskState},
};

/// How Hostler names itself where an entry says by whom.
const OWN_NAME: &str = "hostler";

pub(super) fn decide(s: &Sequencer, now: Timestamp) -> Vec<Entry> {
    // What ends comes before what begins: a grant must not be decided on a state that is about to change.
    let mut entries = closing(s, now);
    if entries.is_empty() {
        entries = grants(s, now);
    }
    entries
}

fn closing(s: &Sequencer, now: Timestamp) -> Vec<Entry> {
    let mut entries: Vec<Entry> = s
        .quarantine_due
        .iter()
        .map(|((node, version), reason)| Entry::Quarantined {
            node: node.clone(),
            version: *version,
            reason: reason.clone(),
        })
        .collect();
    for r in &s.rollouts {
        for (task, record) in r.plan.tasks.iter().zip(&r.tasks) {
            if let TaskState::Granted { grant } = &record.state
                && lease_end(s, grant) < now
            {
                entries.push(Entry::LeaseExpired { plan: r.digest, task: task.id.clone(), grant: grant.number });
            }
        }
        if !r.is_over() {
            entries.extend(no_worse(s, r, now));
            entries.extend(ending(s, r, now));
        }
    }
    entries
}

/// An entry per node that is found no worse than before.
fn no_worse<'s>(s: &'s Sequencer, r: &'s Rollout, now: Timestamp) -> impl Iterator<Item = Entry> {
    let proved = health::recovering(s, now, r).filter(move |(_, recovery)| match recovery {
        health::Recovery::Soaking { until } => *until <= now,
        health::Recovery::Worse(_) => false,
    });
    proved.map(|(node, _)| Entry::NoWorse { plan: r.digest, node: node.clone() })
}

/// The entry that ends a rollout, if it is to end.
fn ending(s: &Sequencer, r: &Rollout, now: Timestamp) -> Option<Entry> {
    let halted = |reason| Some(Entry::Halted { plan: r.digest, by: OWN_NAME.to_owned(), reason });
    let failed = r.plan.tasks.iter().zip(&r.tasks).find_map(|(task, record)| Some((task, record.failure()?)));
    if let Some((task, outcome)) = failed {
        return halted(format!("{} on {} {outcome}", task.id, task.node));
    }
    if let Some(reason) = health::halt(s, now, r) {
        return halted(reason);
    }
    if r.tasks.iter().all(super::rollout::TaskRecord::succeeded) {
        // The last node must be no worse either. What is done does not expire.
        let proved = r.baselines.keys().all(|node| r.no_worse.contains(node));
        return proved.then_some(Entry::Finished { plan: r.digest });
    }
    let in_flight = r.tasks.iter().any(super::rollout::TaskRecord::in_flight);
    if r.plan.expires <= now && !in_flight {
        return halted(format!("the plan expired at {}; sign a new one to go on", r.plan.expires));
    }
    None
}

fn lease_end(s: &Sequencer, grant: &Grant) -> Timestamp {
    let from = s.listening_since.map_or(grant.renewed, |start| start.max(grant.renewed));
    from.plus(Duration::from_secs(grant.lease_seconds))
}

fn grants(s: &Sequencer, now: Timestamp) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut open: Vec<(usize, &Rollout)> =
        s.rollouts.iter().enumerate().filter(|(_, r)| !r.is_over() && rollout_gate(s, now, r).is_ok()).collect();
    // A responder's drain goes first; then the older plan.
    open.sort_by_key(|(_, r)| (r.plan.kind != PlanKind::Drain, r.order()));
    // Only when a task could start is it worth counting who is unavailable.
    let could =
        |(_, r): &(usize, &Rollout)| (0..r.tasks.len()).any(|i| r.tasks[i].state == TaskState::Waiting && r.is_next(i));
    if !open.iter().any(could) {
        return entries;
    }
    let mut tally = Tally::of(s, now);
    let mut grant = s.last_grant;
    for (r, rollout) in open {
        for (i, task) in rollout.plan.tasks.iter().enumerate() {
            if rollout.tasks[i].state != TaskState::Waiting || !rollout.is_next(i) {
                continue;
            }
            if let Ok(boot_id) = task_gate(s, &tally, r, i) {
                grant += 1;
                tally.count(r, rollout, task);
                let is_first = health::is_gated(rollout, task) && !rollout.baselines.contains_key(&task.subject);
                let baseline = if is_first { health::baseline(s, &task.subject, now).map(Box::new) } else { None };
                entries.push(Entry::Granted {
                    plan: rollout.digest,
                    task: task.id.clone(),
                    grant,
                    node: task.node.clone(),
                    boot_id,
                    lease_seconds: rollout.plan.strategy.lease_seconds,
                    baseline,
                });
            }
        }
    }
    entries
}

pub(super) fn deadline(s: &Sequencer, now: Timestamp) -> Option<Timestamp> {
    // A lease that ends at T is over just after T.
    let leases = s.rollouts.iter().flat_map(|r| &r.tasks).filter_map(|record| match &record.state {
        TaskState::Granted { grant } => Some(lease_end(s, grant).plus(Duration::from_millis(1))),
        TaskState::Waiting | TaskState::Expired { .. } | TaskState::Ended { .. } => None,
    });
    let plans = s.rollouts.iter().filter(|r| !r.is_over()).flat_map(|r| [r.plan.not_before, r.plan.expires]);
    let open = s.rollouts.iter().filter(|r| !r.is_over());
    let health = open.flat_map(|r| health::deadlines(s, now, r)).chain(health::all_heard_by(s));
    leases.chain(plans.chain(health).filter(|t| *t > now)).min()
}
