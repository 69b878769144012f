//! The invariants of health: nobody is disrupted who is not well, and nobody else while the last one is worse for it.
//! Judged from the reports that reached the coordinator and the ledger, in books of their own.

use std::collections::BTreeMap;

use hostler_plan::{
    document::{Plan, PlanKind},
    health::{Baseline, Level, Vitals, blockers},
    id::NodeName,
};

use super::{Millis, coordinator::timestamp};

/// A report that is older says nothing.
const FRESH: Millis = 60_000;

/// The judge's books about health.
#[derive(Debug, Default)]
pub(super) struct HealthInvariants {
    boots: BTreeMap<NodeName, u64>,
    reports: BTreeMap<NodeName, (Millis, Vitals)>,
    disrupted: BTreeMap<(usize, NodeName), Disrupted>,
}

/// A node that a plan disrupts.
#[derive(Debug)]
struct Disrupted {
    baseline: Baseline,
    /// Every disrupting task of the plan about it succeeded.
    undisturbed: bool,
    /// Every task of the plan about it succeeded.
    done: bool,
    /// Since when every report after its disruption was no worse, and the last of them.
    good: Option<(Millis, Millis)>,
    recovered: bool,
}

impl HealthInvariants {
    pub(super) fn connected(&mut self, node: &NodeName, boot: u64) {
        if self.boots.insert(node.clone(), boot) != Some(boot) {
            self.reports.remove(node);
            self.break_soaks(node);
        }
    }

    pub(super) fn forget_reports(&mut self) {
        self.boots.clear();
        self.reports.clear();
        self.disrupted.values_mut().for_each(|d| d.good = None);
    }

    pub(super) fn reported(&mut self, now: Millis, node: &NodeName, vitals: &Vitals) {
        for (_, disrupted) in self.disrupted.iter_mut().filter(|((_, name), _)| name == node) {
            let good = disrupted.undisturbed && disrupted.baseline.regressions(vitals).is_empty();
            let since = disrupted.good.filter(|(_, last)| now - last <= FRESH).map_or(now, |(since, _)| since);
            disrupted.good = good.then_some((since, now));
        }
        self.reports.insert(node.clone(), (now, vitals.clone()));
    }

    pub(super) fn receipted(&mut self, plan: usize, subject: &NodeName, disrupts: bool, undisturbed: bool, done: bool) {
        if let Some(disrupted) = self.disrupted.get_mut(&(plan, subject.clone())) {
            disrupted.undisturbed = undisturbed;
            disrupted.done = done;
            if disrupts {
                disrupted.good = None;
            }
        }
    }

    /// A grant that was appended. Checks are no work and drains are held by nobody's health.
    pub(super) fn granted(
        &mut self,
        now: Millis,
        p: usize,
        plan: &Plan,
        task: usize,
        baseline: Option<&Baseline>,
    ) -> Result<(), String> {
        let task = &plan.tasks[task];
        let subject = &task.subject;
        if !task.disrupts || plan.kind == PlanKind::Drain {
            return if baseline.is_none() { Ok(()) } else { Err(format!("{} has a baseline for nothing", task.id)) };
        }
        let fail = |why: String| Err(format!("{} of plan {} was granted although {why}", task.id, plan.seq));
        let Some(vitals) = self.fresh(now, subject) else { return fail(format!("{subject} does not report")) };
        if let Some(verdict) = blockers(&vitals.verdicts).first() {
            return fail(format!("{subject} is {}: {}", verdict.level, verdict.rule));
        }
        let is_first = !self.disrupted.contains_key(&(p, subject.clone()));
        let wanted = Baseline::take(timestamp(now).unix_milliseconds(), vitals);
        if baseline != is_first.then_some(&wanted) {
            return fail(format!("its baseline is {baseline:?}, first {is_first}, wanted {wanted:?}"));
        }
        self.others_are_well(now, plan, subject).or_else(fail)?;
        let others =
            self.disrupted.iter().filter(|((of, node), d)| *of == p && node != subject && d.done && !d.recovered);
        for ((_, node), other) in others {
            if other.good.is_none_or(|(_, last)| now - last > FRESH) {
                return fail(format!("{node} is worse than before the plan, or nothing is known of it"));
            }
            if is_first {
                return fail(format!("{node} has not been no worse for the soak"));
            }
        }
        if let Some(baseline) = baseline.cloned() {
            let new = Disrupted { baseline, undisturbed: false, done: false, good: None, recovered: false };
            self.disrupted.insert((p, subject.clone()), new);
        }
        Ok(())
    }

    /// No other node turned critical since the plan was made.
    fn others_are_well(&self, now: Millis, plan: &Plan, subject: &NodeName) -> Result<(), String> {
        let made = plan.created.unix_milliseconds();
        for node in self.reports.keys().filter(|n| *n != subject) {
            let Some(vitals) = self.fresh(now, node) else { continue };
            let is_new = |since: u64| since > made || plan.tasks.iter().any(|t| t.subject == *node);
            if vitals.verdicts.iter().any(|v| v.level == Level::Critical && is_new(v.since_ms)) {
                return Err(format!("{node} is critical"));
            }
        }
        Ok(())
    }

    /// The ledger says that a node is no worse for a plan.
    pub(super) fn recovered(&mut self, now: Millis, p: usize, soak: Millis, node: &NodeName) -> Result<(), String> {
        let Some(disrupted) = self.disrupted.get_mut(&(p, node.clone())) else {
            return Err(format!("{node} is called no worse for plan {}, which never disrupted it", p + 1));
        };
        let soaked = disrupted.good.is_some_and(|(since, last)| now - since >= soak && now - last <= FRESH);
        if !disrupted.done || disrupted.recovered || !soaked {
            return Err(format!("{node} is called no worse for plan {}, but {disrupted:?}", p + 1));
        }
        disrupted.recovered = true;
        Ok(())
    }

    /// A rollout is finished only when nobody is worse for it.
    pub(super) fn finished(&self, p: usize) -> Result<(), String> {
        let open = self.disrupted.iter().find(|((of, _), d)| *of == p && !d.recovered);
        open.map_or(Ok(()), |((_, node), _)| Err(format!("plan {} finished, but {node} may be worse for it", p + 1)))
    }

    fn fresh(&self, now: Millis, node: &NodeName) -> Option<&Vitals> {
        self.reports.get(node).filter(|(at, _)| now - at <= FRESH).map(|(_, vitals)| vitals)
    }

    fn break_soaks(&mut self, node: &NodeName) {
        self.disrupted.iter_mut().filter(|((_, name), _)| name == node).for_each(|(_, d)| d.good = None);
    }
}
