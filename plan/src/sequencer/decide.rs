//! What to append to the ledger.

use std::time::Duration;

use crate::{document::PlanKind, entry::Entry, timestamp::Timestamp};

use super::{
    Sequencer,
    gate::{Availability, rollout_gate, task_gate},
    health,
    rollout::Rollout,
    rollouts::Arrival,
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
    for (_, r) in s.rollouts.active() {
        for &task in r.in_flight() {
            if let TaskState::Granted { grant } = &r.tasks()[task].state
                && lease_end(s, grant) < now
            {
                let task = r.plan.tasks[task].id.clone();
                entries.push(Entry::LeaseExpired { plan: r.digest, task, grant: grant.number });
            }
        }
        if !r.is_over() {
            entries.extend(recovered(s, r, now));
            entries.extend(ending(s, r, now));
        }
    }
    entries
}

/// An entry per node that is found no worse than before.
fn recovered<'s>(s: &'s Sequencer, r: &'s Rollout, now: Timestamp) -> impl Iterator<Item = Entry> {
    let proved = health::recovering(s, now, r).filter(move |(_, recovery)| match recovery {
        health::Recovery::Soaking { until } => *until <= now,
        health::Recovery::Regressed(_) => false,
    });
    proved.map(|(node, _)| Entry::Recovered { plan: r.digest, node: node.clone() })
}

/// The entry that ends a rollout, if it is to end.
fn ending(s: &Sequencer, r: &Rollout, now: Timestamp) -> Option<Entry> {
    let halted = |reason| Some(Entry::Halted { plan: r.digest, by: OWN_NAME.to_owned(), reason });
    if let Some(failed) = r.failed_for_good()
        && let (task, Some(outcome)) = (&r.plan.tasks[failed], r.tasks()[failed].failure())
    {
        return halted(format!("{} on {} {outcome}", task.id, task.node));
    }
    if let Some(reason) = health::halt(s, now, r) {
        return halted(reason);
    }
    if r.all_succeeded() {
        // The last node must be no worse either. What is done does not expire.
        return r.unproved.is_empty().then_some(Entry::Finished { plan: r.digest });
    }
    if r.plan.expires <= now && r.in_flight().is_empty() && !r.has_to_finish() {
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
    let mut open: Vec<(Arrival, &Rollout)> =
        s.rollouts.going_on().filter(|(_, r)| !r.ready().is_empty() && rollout_gate(s, now, r).is_ok()).collect();
    // A responder's drain goes first; then the older plan.
    open.sort_by_key(|(_, r)| (r.plan.kind != PlanKind::Drain, r.order()));
    let mut availability = Availability::new(s, now);
    let mut grant = s.last_grant;
    for (arrival, rollout) in open {
        for &i in rollout.ready().iter().filter(|&&i| rollout.is_in_time(i, now)) {
            let task = &rollout.plan.tasks[i];
            if let Ok(boot_id) = task_gate(s, &availability, (arrival, rollout), i) {
                grant += 1;
                availability.count(arrival, rollout, task);
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
    let leases = s.rollouts.active().flat_map(|(_, r)| r.in_flight().iter().map(|&i| &r.tasks()[i]));
    let leases = leases.filter_map(|record| match &record.state {
        TaskState::Granted { grant } => Some(lease_end(s, grant).plus(Duration::from_millis(1))),
        TaskState::Waiting | TaskState::Expired { .. } | TaskState::Ended { .. } => None,
    });
    let plans = s.rollouts.open().flat_map(|(_, r)| [r.plan.not_before, r.plan.expires]);
    let windows = s.rollouts.open().filter_map(|(_, r)| r.plan.windows.as_ref());
    let windows = windows.flat_map(|windows| windows.windows().map(|window| window.from));
    let health = s.rollouts.open().flat_map(|(_, r)| health::deadlines(s, now, r)).chain(health::all_heard_by(s));
    leases.chain(plans.chain(windows).chain(health).filter(|t| *t > now)).min()
}
