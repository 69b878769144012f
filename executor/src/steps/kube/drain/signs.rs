//! What a drain shows on nodes while it goes on: conditions on the one that it empties, and a soft taint on those that
//! the plan drains after it, so that evicted pods do not hop there. Nothing of it holds a drain up.

use std::{collections::BTreeSet, time::Duration};

use hostler_plan::{
    document::{Plan, PlanKind, Task},
    id::NodeName,
    step::Step,
};

use super::state::Drain;
use crate::{
    host::{Cluster, CordonAnswer, DrainCondition, Node, Shared, Waiting},
    steps::action::StepContext,
};

/// How long after its time a drain may still look for the last time.
const MARGIN: Duration = Duration::from_secs(600);
/// A node changes with every heartbeat.
const ATTEMPTS: u32 = 3;

/// The Node objects that a plan drains only after this task.
pub(super) fn next_nodes<'p>(plan: &'p Plan, task: &Task) -> BTreeSet<&'p NodeName> {
    let mut behind = BTreeSet::from([&task.id]);
    let mut nodes = BTreeSet::new();
    // They stand in an order that respects `after`.
    for later in &plan.tasks {
        if later.after.iter().any(|id| behind.contains(id)) {
            behind.insert(&later.id);
            if later.subject != task.subject && later.steps.iter().any(|step| matches!(step, Step::Drain(_))) {
                nodes.insert(plan.name_in_cluster(&later.subject));
            }
        }
    }
    nodes
}

impl Drain<'_> {
    /// Says on the node that it is being drained.
    pub(super) fn show_begin(&self, context: &StepContext<'_>) {
        let planned = is_worked_on(context).then_some(DrainCondition::MaintenancePlanned);
        show(context, &[Some(DrainCondition::DrainInProgress), planned]);
    }

    /// Says on the node how the drain ended, and lets pods onto the others again.
    pub(super) fn show_end(&self, is_drained: bool, context: &StepContext<'_>) {
        let working = is_worked_on(context).then_some(DrainCondition::MaintenanceInProgress);
        let drained = [Some(DrainCondition::Drained), working];
        show(context, if is_drained { &drained } else { &[] });
        let_pods_in(context);
    }

    /// Keeps evicted pods off the nodes that come next; a drain of another lane may have let them in.
    pub(super) fn keep_off_next(&self, nodes: &[Shared<Node>], context: &StepContext<'_>) {
        let plan = context.plan.document();
        let next = next_nodes(plan, context.task);
        let waiting = Waiting { seq: plan.seq, until: self.began.plus(self.timeout).plus(MARGIN) };
        let waits = |node: &&Shared<Node>| next.iter().any(|name| name.as_str() == node.name);
        for node in nodes.iter().filter(waits).filter(|node| !node.unschedulable && node.waiting().is_none()) {
            attempt(context, &node.name, |cluster| cluster.keep_off(&node.name, Some(&waiting)));
        }
    }
}

/// Lets pods onto the nodes again that this plan kept them off.
pub(super) fn let_pods_in(context: &StepContext<'_>) {
    let Ok(cluster) = context.cluster() else { return };
    // What is left because nobody answers goes when its time is over.
    let Ok(nodes) = cluster.nodes() else { return };
    let seq = context.plan.document().seq;
    for node in nodes.iter().filter(|node| node.waiting().is_some_and(|waiting| waiting.seq == seq)) {
        attempt(context, &node.name, |cluster| cluster.keep_off(&node.name, None));
    }
}

/// Whether the plan works on the machine once it is drained.
fn is_worked_on(context: &StepContext<'_>) -> bool {
    match context.plan.document().kind {
        PlanKind::Upgrade | PlanKind::Reboot | PlanKind::Remove => true,
        PlanKind::Check
        | PlanKind::Bootstrap
        | PlanKind::Join
        | PlanKind::Drain
        | PlanKind::Dead
        | PlanKind::Uncordon
        | PlanKind::Baseline
        | PlanKind::Replace
        | PlanKind::Inspect
        | PlanKind::Snapshot
        | PlanKind::Restore
        | PlanKind::Configure
        | PlanKind::Update
        | PlanKind::Stop => false,
    }
}

fn show(context: &StepContext<'_>, conditions: &[Option<DrainCondition>]) {
    let conditions: Vec<DrainCondition> = conditions.iter().flatten().copied().collect();
    let plan = context.plan.document();
    let sentence = format!("plan {}: {}", plan.seq, plan.title);
    let node = context.subject().as_str();
    attempt(context, node, |cluster| cluster.show(node, &conditions, &sentence));
}

fn attempt<E: std::fmt::Display>(
    context: &StepContext<'_>,
    node: &str,
    change: impl Fn(&dyn Cluster) -> Result<CordonAnswer, E>,
) {
    let Ok(cluster) = context.cluster() else { return };
    for _ in 0..ATTEMPTS {
        match change(cluster) {
            Ok(CordonAnswer::Done | CordonAnswer::Gone) => return,
            Ok(CordonAnswer::Changed) => {}
            Err(error) => {
                tracing::warn!("what the drain shows on {node} was not written: {error}");
                return;
            }
        }
    }
}
