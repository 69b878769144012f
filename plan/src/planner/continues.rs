//! Which earlier plan a drain goes on with.

use std::collections::BTreeSet;

use crate::{
    document::{PlanKind, PlanRef},
    id::NodeName,
};

use super::{Continues, Draft, Note, Obstacle, Request, task::list};

/// An earlier plan whose drain is not done, and of which nodes.
struct Open {
    plan: PlanRef,
    nodes: BTreeSet<NodeName>,
}

pub(super) fn choose(request: Request<'_>, draft: &mut Draft, nodes: &[NodeName], wish: &Continues) {
    let open = open(request);
    let mut found: Vec<&Open> = open.iter().filter(|open| nodes.iter().any(|node| open.nodes.contains(node))).collect();
    let obstacle = match wish {
        Continues::IfOpen => None,
        Continues::Open if found.is_empty() => Some(Obstacle::NothingToContinue { nodes: nodes.to_vec(), named: None }),
        Continues::Open => None,
        Continues::Named(which) => {
            found.retain(|open| open.plan.is_named(which));
            let named = || Obstacle::NothingToContinue { nodes: nodes.to_vec(), named: Some(which.clone()) };
            found.is_empty().then(named)
        }
    };
    draft.obstacles.extend(obstacle);
    match found[..] {
        [] => {}
        [open] => go_on(draft, nodes, open),
        [..] if *wish == Continues::IfOpen => draft.notes.push(Note::Info(
            "these nodes are in several drains that are not done, and this plan goes on with none of them".to_owned(),
        )),
        [..] => {
            let plans = found.iter().map(|open| open.plan.seq).collect();
            draft.obstacles.push(Obstacle::ContinuesSeveral { plans });
        }
    }
}

fn go_on(draft: &mut Draft, nodes: &[NodeName], open: &Open) {
    let seq = open.plan.seq;
    let (passes, ends): (Vec<NodeName>, Vec<NodeName>) = open.nodes.iter().cloned().partition(|n| nodes.contains(n));
    draft.notes.push(Note::Info(format!(
        "goes on with plan {seq}, which ends: the cordon of {} passes on and is not undone in between",
        list(&passes)
    )));
    if !ends.is_empty() {
        draft.notes.push(Note::Warning(format!(
            "plan {seq} drains {} too: that ends, and what it cordoned there is put back; name it here too to keep it",
            list(&ends)
        )));
    }
    draft.continues = Some(open.plan);
}

/// Drains that run, by their signed bytes, and what plans left half done, as the coordinator says.
fn open(request: Request<'_>) -> Vec<Open> {
    let running = &request.inventory.running;
    let runs = |plan: &PlanRef| running.iter().any(|running| running.plan == *plan);
    let drains = request.earlier.open.iter().filter(|open| open.kind == PlanKind::Drain && runs(&open.plan));
    let mut found: Vec<Open> =
        drains.map(|open| Open { plan: open.plan, nodes: open.cordons.iter().cloned().collect() }).collect();
    for (node, state) in &request.inventory.nodes {
        let Some(hold) = &state.hold else { continue };
        let plan = PlanRef { seq: hold.seq, digest: hold.plan };
        if hold.complete {
            // Its cordon stays, whatever becomes of the plan.
            for open in found.iter_mut().filter(|open| open.plan == plan) {
                open.nodes.remove(node);
            }
            continue;
        }
        // One that runs has its nodes already; one of another kind that runs goes on by itself.
        if runs(&plan) {
            continue;
        }
        match found.iter_mut().find(|open| open.plan == plan) {
            Some(open) => {
                open.nodes.insert(node.clone());
            }
            None => found.push(Open { plan, nodes: BTreeSet::from([node.clone()]) }),
        }
    }
    found
}
