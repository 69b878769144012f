//! The health gates of a rollout: before a node is disrupted, the baseline, and no worse after it.
//!
//! Two nodes can be in the way of the next disruption. The one that the rollout worked on last and that is worse than
//! before: the work may be the reason, so after a limit the rollout halts. And any other one that turned critical: a
//! shared supply or switch may be the reason, so everybody waits until it is good again, and nothing ends.

use std::time::Duration;

use crate::{
    document::{PlanKind, Task},
    health::{Baseline, DOWN_MS, Level, Regression, SILENT_MS, Verdict, Vitals, blockers},
    id::NodeName,
    timestamp::Timestamp,
};

use super::{
    Seen, Sequencer,
    rollout::Rollout,
    wait::{Reason, worse_sentence},
};

/// How a node is that a rollout is done with, beside how it was before.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Recovery {
    /// In what it is worse; never empty.
    Regressed(Vec<Regression>),
    /// No worse, and if it stays so until then, that counts.
    Soaking { until: Timestamp },
}

/// Whether a task waits for health at all: a dying node is drained, or removed for good, because it is dying.
pub(super) fn is_gated(rollout: &Rollout, task: &Task) -> bool {
    task.disrupts && !matches!(rollout.plan.kind, PlanKind::Drain | PlanKind::Remove)
}

/// Every verdict about a node that is not ok, the worst first, as of now. A node that does not report has the one that
/// says so.
pub(super) fn verdicts(s: &Sequencer, node: &NodeName, now: Timestamp) -> Vec<Verdict> {
    let seen = s.nodes.get(node);
    match seen.and_then(|seen| vitals(seen, now)) {
        Some(vitals) => vitals.verdicts.clone(),
        None => vec![silent(s, seen, now)],
    }
}

fn silent(s: &Sequencer, seen: Option<&Seen>, now: Timestamp) -> Verdict {
    let reported = seen.and_then(|seen| seen.reported).map(|at| at.unix_milliseconds());
    let since = s.listening_since.unwrap_or(now).unix_milliseconds();
    Verdict::silent(now.unix_milliseconds(), reported, since)
}

/// The node's last report of this boot, while it is fresh.
fn vitals(seen: &Seen, now: Timestamp) -> Option<&Vitals> {
    seen.vitals.as_ref().filter(|_| seen.reported.is_some_and(|at| is_fresh(at, now)))
}

/// Whether a report still says how the node is.
pub(super) fn is_fresh(reported: Timestamp, now: Timestamp) -> bool {
    now.since(reported) <= Duration::from_millis(SILENT_MS)
}

/// The baseline of a node that may be disrupted now.
pub(super) fn baseline(s: &Sequencer, node: &NodeName, now: Timestamp) -> Option<Baseline> {
    Some(Baseline::take(now.unix_milliseconds(), vitals(s.nodes.get(node)?, now)?))
}

/// Every active node that may hold what is about other nodes: the critical ones, each with the verdict that turned so
/// last, and those that have not reported since the coordinator started, for nobody knows yet how they are.
pub(super) fn holding(s: &Sequencer, now: Timestamp) -> Vec<(NodeName, Verdict)> {
    let worst = |node: &NodeName| {
        let seen = s.nodes.get(node);
        let holds = |v: &Verdict| v.counts_as() == Level::Critical || never_reported(s, node);
        match seen.and_then(|seen| vitals(seen, now)) {
            Some(vitals) => vitals.verdicts.iter().filter(|v| holds(v)).max_by_key(|v| v.since_ms).cloned(),
            None => Some(silent(s, seen, now)).filter(holds),
        }
    };
    s.active().filter_map(|n| Some((n.name.clone(), worst(&n.name)?))).collect()
}

/// What must hold for a node and for all others before a task may disrupt it. `begun`: it is out of service already.
pub(super) fn gate(
    s: &Sequencer,
    now: Timestamp,
    holding: &[(NodeName, Verdict)],
    rollout: &Rollout,
    task: &Task,
    begun: bool,
) -> Result<(), Reason> {
    let mut soaking = None;
    for (node, recovery) in recovering(s, now, rollout) {
        match recovery {
            Recovery::Regressed(worse) => return Err(worse_than_before(s, rollout, node, &worse)),
            Recovery::Soaking { until } => soaking = Some(Reason::Soaking { node: node.clone(), until }),
        }
    }
    let cures = |verdict: &Verdict| task.steps.iter().any(|step| step.cures() == Some(verdict.rule));
    let own: Vec<Verdict> = verdicts(s, &task.subject, now).into_iter().filter(|v| !cures(v)).collect();
    if let [first, more @ ..] = blockers(&own).as_slice() {
        return Err(Reason::unhealthy(&task.subject, first, more.len()));
    }
    let holds = |(node, verdict): &&(NodeName, Verdict)| {
        *node != task.subject && turned(rollout, node, verdict) && !cures(verdict)
    };
    if let Some((node, verdict)) = holding.iter().find(holds) {
        return Err(Reason::unhealthy(node, verdict, 0));
    }
    match soaking {
        // Between two disruptions of one node the soak of another would only lengthen the outage.
        Some(reason) if !begun => Err(reason),
        Some(_) | None => Ok(()),
    }
}

/// Whether another node holds a rollout: one that the plan is about always does, any other when it turned critical
/// after the plan was made. Who signed a plan around a broken node knew of it.
fn turned(rollout: &Rollout, node: &NodeName, verdict: &Verdict) -> bool {
    let made = rollout.plan.created.min(rollout.received);
    let is_new = verdict.level == Level::Unknown || verdict.since_ms > made.unix_milliseconds();
    is_new || rollout.subjects.contains_key(node)
}

/// Why one node that the rollout is done with keeps it from going on, if it does.
pub(super) fn reason(s: &Sequencer, now: Timestamp, rollout: &Rollout, node: &NodeName) -> Option<Reason> {
    let (_, recovery) = recovering(s, now, rollout).find(|(name, _)| *name == node)?;
    Some(match recovery {
        Recovery::Regressed(worse) => worse_than_before(s, rollout, node, &worse),
        Recovery::Soaking { until } => Reason::Soaking { node: node.clone(), until },
    })
}

fn worse_than_before(s: &Sequencer, rollout: &Rollout, node: &NodeName, worse: &[Regression]) -> Reason {
    let first = worse.first().cloned().unwrap_or(Regression::Silent {});
    let (more, halts_at) = (worse.len().saturating_sub(1), halts_at(s, rollout, node));
    Reason::Regressed { node: node.clone(), worse: Box::new(first), more, halts_at }
}

/// Until when a node that the rollout is done with may be worse than before. A coordinator that was not there gives it
/// the whole time again.
fn halts_at(s: &Sequencer, rollout: &Rollout, node: &NodeName) -> Timestamp {
    let ended = rollout.ended(node).unwrap_or(rollout.received);
    let from = s.listening_since.map_or(ended, |start| start.max(ended));
    from.plus(Duration::from_secs(s.settings.recovery_seconds))
}

/// Why a rollout has to halt for a node's health, if it has to.
pub(super) fn halt(s: &Sequencer, now: Timestamp, rollout: &Rollout) -> Option<String> {
    recovering(s, now, rollout).find_map(|(node, recovery)| match recovery {
        Recovery::Regressed(worse) if halts_at(s, rollout, node) <= now => {
            let (first, seconds) = (worse.first()?, s.settings.recovery_seconds);
            let why = worse_sentence(node, first, worse.len() - 1);
            Some(format!("{why}; so for {seconds} s after its work; look at {node}, then sign a new plan to go on"))
        }
        Recovery::Regressed(_) | Recovery::Soaking { .. } => None,
    })
}

/// When the health of a node that a rollout is done with has to be looked at again without a report.
pub(super) fn deadlines<'r>(
    s: &'r Sequencer,
    now: Timestamp,
    rollout: &'r Rollout,
) -> impl Iterator<Item = Timestamp> + 'r {
    recovering(s, now, rollout).map(move |(node, recovery)| match recovery {
        Recovery::Regressed(_) => halts_at(s, rollout, node),
        Recovery::Soaking { until } => until,
    })
}

/// When a node that has not reported since the coordinator started counts as down instead of not known.
pub(super) fn all_heard_by(s: &Sequencer) -> Option<Timestamp> {
    // A node that is down for T is down just after T.
    let down = s.listening_since?.plus(Duration::from_millis(DOWN_MS + 1));
    (!s.unheard.is_empty()).then_some(down)
}

fn never_reported(s: &Sequencer, node: &NodeName) -> bool {
    s.nodes.get(node).is_none_or(|seen| seen.reported.is_none())
}

/// Takes a report into account for every rollout that is done with that node and has to know it no worse.
pub(super) fn observe(s: &mut Sequencer, now: Timestamp, node: &NodeName, vitals: Vitals) {
    for rollout in s.rollouts.active_mut().filter(|r| !r.is_over()) {
        let Some(baseline) = rollout.baselines.get(node) else { continue };
        if !rollout.is_undisturbed(node) || !baseline.regressions(&vitals).is_empty() {
            rollout.good.remove(node);
            continue;
        }
        let good = rollout.good.get(node).filter(|(_, last)| is_fresh(*last, now));
        let since = good.map_or(now, |(since, _)| *since);
        rollout.good.insert(node.clone(), (since, now));
    }
    let seen = s.nodes.entry(node.clone()).or_default();
    seen.vitals = Some(vitals);
    seen.reported = Some(now);
    s.unheard.remove(node);
}

/// Every node that the rollout is done with and that the ledger does not call no worse yet.
pub(super) fn recovering<'r>(
    s: &'r Sequencer,
    now: Timestamp,
    rollout: &'r Rollout,
) -> impl Iterator<Item = (&'r NodeName, Recovery)> {
    let done = rollout.unproved.iter().filter(|node| rollout.is_done(node));
    let with_baseline = done.filter_map(|node| Some((node, rollout.baselines.get(node)?)));
    with_baseline.map(move |(node, baseline)| (node, recovery(s, now, rollout, node, baseline)))
}

fn recovery(s: &Sequencer, now: Timestamp, rollout: &Rollout, node: &NodeName, baseline: &Baseline) -> Recovery {
    let soak = Duration::from_secs(rollout.plan.strategy.soak_seconds);
    if let Some((since, _)) = rollout.good.get(node).filter(|(_, last)| is_fresh(*last, now)) {
        return Recovery::Soaking { until: since.plus(soak) };
    }
    let worse = s.nodes.get(node).and_then(|seen| vitals(seen, now)).map(|vitals| baseline.regressions(vitals));
    // No report, or none since the node was disrupted: missing is never healthy.
    Recovery::Regressed(worse.filter(|worse| !worse.is_empty()).unwrap_or_else(|| vec![Regression::Silent {}]))
}
