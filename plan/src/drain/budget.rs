//! The arithmetic of disruption budgets: which of them can never allow what the drain needs, however long one waits,
//! and why one says no just now.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{pods::budget_counts, selectors::Selectors};
use crate::{
    cluster::{Budget, BudgetCondition, BudgetLimit, Owner, Pod, Scale},
    timestamp::Timestamp,
};

/// Finds the budgets that count a pod.
#[derive(Debug)]
pub struct Budgets<'a>(Selectors<'a, &'a Budget>);

impl<'a> Budgets<'a> {
    /// Over these budgets.
    pub fn new(budgets: impl IntoIterator<Item = &'a Budget>) -> Self {
        let mut selectors = Selectors::new();
        let mut known = BTreeSet::new();
        for budget in budgets {
            // One that is listed twice is not two.
            if known.insert((&budget.namespace, &budget.name)) {
                selectors.add(Some([budget.namespace.as_str()]), &budget.selector, budget);
            }
        }
        Self(selectors)
    }

    /// Those whose selector takes the pod.
    pub fn of<'s>(&'s self, pod: &'s Pod) -> impl Iterator<Item = &'a Budget> + use<'s, 'a> {
        self.0.of(pod).copied()
    }

    /// Those that have a say in an eviction of the pod; of many the first two, because more than one is one too many.
    pub(super) fn asked_about(&self, pod: &Pod) -> Vec<&'a Budget> {
        if budget_counts(pod) { self.of(pod).take(2).collect() } else { Vec::new() }
    }

    /// The only one that has a say.
    pub(super) fn only(&self, pod: &Pod) -> Option<&'a Budget> {
        match self.asked_about(pod).as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

/// What is known of a controller and its pods.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    /// Kind and name of what stands at the top, which may have several of them.
    pub(super) top: (&'a str, &'a str),
    pub(super) scale: Option<Scale>,
    /// Its pods that run or will, counted by the budget or not.
    pub(super) pods: u32,
}

/// What a budget counts, and how many of that can be Ready at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Pods in full strength; with an autoscaler the most that it may make.
    pub(super) pods: u32,
    /// Of how many the budget takes its part.
    expected: u32,
    by: AskedBy,
    /// The budget counts a part of the pods of one controller: of how many, and whose.
    part: Option<Part>,
}

/// Who asks for the pods that a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AskedBy {
    /// Controllers, a rolling Deployment as one.
    controllers: usize,
    /// Pods without one.
    loose: u32,
    /// Whether the scale of each is known.
    known: bool,
    /// Whether an autoscaler may raise the number later.
    scales: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    counted: u32,
    of: u32,
    owner: String,
    /// Whether the label by which it counts can never move to another pod.
    fixed: bool,
}

/// Labels by which a controller numbers its pods; all others may be a role, such as the leader's.
const NUMBERS: [&str; 3] =
    ["statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index", "batch.kubernetes.io/job-completion-index"];

impl Asked {
    /// Adds up the controllers of the pods that the budget counts, as the cluster's own controller does
    /// (pkg/controller/disruption): a plain `minAvailable` counts pods, whoever made them; everything else counts what
    /// their controllers ask for, and yet every pod that is Ready helps it.
    pub(super) fn of<'a>(budget: &Budget, counted: &[&'a Pod], about: impl Fn(&'a Owner) -> About<'a>) -> Self {
        let mut owners: BTreeMap<&Owner, u32> = BTreeMap::new();
        let mut loose: u32 = 0;
        for pod in counted {
            let runs = u32::from(pod.runs());
            match &pod.owner {
                Some(owner) => *owners.entry(owner).or_default() += runs,
                None => loose += runs,
            }
        }
        let (mut part, mut known, mut scales) = (None, true, false);
        let mut tops: BTreeMap<(&str, &str), (u32, u32, u32)> = BTreeMap::new();
        for (owner, runs) in owners {
            let About { top, scale, pods } = about(owner);
            known &= scale.is_some();
            let Scale { replicas, whole, max_replicas, .. } = scale.unwrap_or(Scale::of(runs, 1));
            let is_part = (1..pods).contains(&runs);
            if is_part {
                let fixed = budget.selector.asks_for().any(|key| NUMBERS.contains(&key));
                part = Some(Part { counted: runs, of: pods, owner: format!("{} {}", top.0, top.1), fixed });
            }
            let most = max_replicas.unwrap_or(0);
            scales |= most > replicas.max(whole);
            let (sum, least, asked) = tops.entry(top).or_default();
            // Of several ReplicaSets that share what a Deployment asks for, the autoscaler means all together.
            *sum = sum.saturating_add(if is_part { runs } else { replicas.max(runs) });
            *least = if is_part { 0 } else { most.max(whole).max(*least) };
            *asked = most.max(whole).max(*asked);
        }
        let sum = |numbers: &mut dyn Iterator<Item = u32>| numbers.fold(0, u32::saturating_add);
        let mut pods = sum(&mut tops.values().map(|(sum, least, _)| *sum.max(least)));
        let mut expected = sum(&mut tops.values().map(|(.., asked)| *asked));
        if !budget.limit.counts_pods() && !known {
            // The cluster's own controller knows scales that are not known here.
            expected = expected.max(budget.expected_pods);
            pods = if part.is_none() { pods.max(expected) } else { pods };
        }
        pods = pods.saturating_add(loose);
        if budget.limit.counts_pods() {
            expected = pods;
        }
        Asked { pods, expected, by: AskedBy { controllers: tops.len(), loose, known, scales }, part }
    }

    /// How many of them may be away in full strength.
    pub(super) fn may_be_away(&self, limit: BudgetLimit) -> u32 {
        if self.expected == 0 { 0 } else { self.pods.saturating_sub(limit.desired(self.expected)) }
    }

    /// The role whose only bearers the budget counts, where it needs all of them: it opens when that moves.
    fn role(&self, limit: BudgetLimit) -> Option<&Part> {
        self.part.as_ref().filter(|part| !part.fixed && limit.desired(self.expected) >= self.pods)
    }

    /// Whether one that it needs may go as soon as another takes its role.
    pub(super) fn moves_role(&self, limit: BudgetLimit) -> bool {
        self.role(limit).is_some()
    }

    /// What would let one of them go.
    fn advice(&self, limit: BudgetLimit) -> String {
        if let Some(Part { owner, .. }) = &self.part {
            return format!("Let its selector take all pods of {owner}");
        }
        let wanted = match limit {
            BudgetLimit::MinAvailable(pods) => Some(pods.saturating_add(1)),
            BudgetLimit::MinAvailablePercent(percent) if percent < 100 => {
                Some(100_u32.div_ceil(100 - percent).max(self.pods.saturating_add(1)))
            }
            BudgetLimit::MinAvailablePercent(_)
            | BudgetLimit::MaxUnavailable(_)
            | BudgetLimit::MaxUnavailablePercent(_) => None,
        };
        // The other limits count what has a scale alone.
        let limit = if limit.counts_pods() && (!self.by.known || self.by.loose > 0) {
            format!("et minAvailable {}", self.pods.saturating_sub(1))
        } else {
            "et maxUnavailable 1".to_owned()
        };
        match wanted {
            None => format!("S{limit}"),
            Some(wanted) if self.by.scales => format!("Let its autoscaler make {wanted} or s{limit}"),
            Some(wanted) if self.by.controllers == 1 && self.by.loose == 0 => {
                format!("Run {wanted} replicas or s{limit}")
            }
            Some(wanted) => format!("Run {} more of them or s{limit}", wanted.saturating_sub(self.pods)),
        }
    }
}

/// One that has not been Ready for so long is not merely starting: kubelet's own pauses between two tries end at this.
const STARTING: Duration = Duration::from_secs(300);

/// Why this budget will never let this pod go, and what to do about it, by all the pods that it counts.
pub(super) fn never(budget: &Budget, asked: &Asked, pod: &Pod, counted: &[&Pod], now: Timestamp) -> Option<String> {
    let name = budget.full_name();
    if !pod.ready && budget.always_allow_unhealthy {
        return None;
    }
    if let BudgetCondition::SyncFailed(message) = &budget.condition {
        return Some(format!("budget {name} cannot be worked out ({message}). Repair or delete it"));
    }
    if !budget.limit.counts_pods() && asked.by.controllers == 0 {
        return Some(format!("budget {name} counts only pods without a controller. Use minAvailable with a number"));
    }
    let desired = budget.limit.desired(asked.expected);
    if desired > 0 && desired >= asked.pods && asked.role(budget.limit).is_none() {
        let advice = asked.advice(budget.limit);
        let all = match budget.limit {
            BudgetLimit::MaxUnavailable(0) | BudgetLimit::MaxUnavailablePercent(0) => {
                return Some(format!("budget {name} allows 0 pods to be unavailable. Set maxUnavailable 1"));
            }
            BudgetLimit::MaxUnavailable(_)
            | BudgetLimit::MaxUnavailablePercent(_)
            | BudgetLimit::MinAvailable(_)
            | BudgetLimit::MinAvailablePercent(_) => asked.pods,
        };
        let until = if asked.by.scales { ", even scaled to its most" } else { "" };
        return Some(format!("budget {name} needs {desired} of {all} pods{until}. {advice}"));
    }
    let starts = |pod: &Pod| pod.broken.is_none() && pod.unready_since.is_some_and(|since| now.since(since) < STARTING);
    let helps = |other: &&Pod| other.key != pod.key && other.runs() && (other.ready || other.broken.is_none());
    if !pod.ready && desired == 0 && !starts(pod) && !counted.iter().any(helps) {
        return Some(format!(
            "budget {name} needs 0 healthy pods, and so never lets one go that is not Ready. Repair the pod or set \
             unhealthyPodEvictionPolicy AlwaysAllow"
        ));
    }
    None
}

/// What a budget that says no needs and has, when so many evictions are under way that its status does not show. An
/// eviction takes from what it allows at once, and from what it calls healthy a moment later.
pub fn budget_needs(budget: &Budget, under_way: u32) -> String {
    let allowed = budget.desired_healthy.saturating_add(budget.disruptions_allowed);
    let has = budget.current_healthy.min(allowed).saturating_sub(under_way);
    format!("it needs {} healthy pods and has {has}", budget.desired_healthy)
}

/// Why the budget does not let the pod go just now, and what opens it, by all the pods that it counts.
pub(super) fn closed(budget: &Budget, asked: &Asked, pod: &Pod, counted: &[&Pod]) -> Option<String> {
    let is_healthy = budget.desired_healthy > 0 && budget.current_healthy >= budget.desired_healthy;
    // One that is not Ready may go like any other where the budget has something left.
    let passes = !pod.ready && (budget.always_allow_unhealthy || is_healthy);
    if passes || budget.disruptions_allowed > 0 {
        return None;
    }
    let name = budget.full_name();
    if budget.condition == BudgetCondition::Missing {
        return Some(format!("budget {name} has no status yet; if that lasts, the controller manager is down"));
    }
    if let Some(Part { counted, of, owner, .. }) = asked.role(budget.limit) {
        return Some(format!(
            "budget {name}: it counts {counted} of the {of} pods of {owner} and needs each; it opens when another pod \
             takes that role. If that lasts, ask for the change (a switchover)"
        ));
    }
    let needs = budget_needs(budget, 0);
    let unready: Vec<&Pod> = counted.iter().copied().filter(|other| !other.ready && other.runs()).collect();
    let broken = unready.iter().find_map(|other| Some((&other.key, other.broken.as_ref()?)));
    let homeless = unready.iter().find_map(|other| Some((&other.key, other.unschedulable.as_ref()?)));
    let starting = unready.first().map(|other| &other.key);
    Some(match (broken, homeless, starting) {
        (Some((other, why)), ..) => {
            format!("budget {name}: {needs}, and {other} is not Ready ({why}). Repair it: waiting alone will not help")
        }
        (None, Some((other, why)), _) => format!(
            "budget {name}: {needs}, and {other} finds no node ({}). Make room for it: waiting alone will not help",
            why.split(" preemption:").next().unwrap_or(why).trim_end_matches('.')
        ),
        (None, None, Some(other)) if *other == pod.key => {
            format!("budget {name}: {needs}, and lets no pod go that is not Ready. Repair {other}, or wait until it is")
        }
        (None, None, Some(other)) => format!("budget {name}: {needs}; it opens when {other} is Ready"),
        (None, None, None) if asked.by.scales => {
            format!(
                "budget {name}: {needs}; it opens when the autoscaler runs one more. Raise its minReplicas to be sure"
            )
        }
        (None, None, None) => format!("budget {name}: {needs}; it opens when one more is Ready"),
    })
}
