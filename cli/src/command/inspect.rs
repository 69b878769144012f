//! What an inspection found, from the receipts of its nodes alone.

use hostler_plan::{
    document::{DIFFERS, PlanKind},
    id::NodeName,
    step::Step,
};
use serde_json::{Value, json};

use crate::{output::table, rollout::Evidence};

/// In what machines differ from the fleet file.
pub(super) struct Inspected {
    /// The machines that signed what they found.
    nodes: Vec<NodeName>,
    differences: Vec<(NodeName, String)>,
}

/// Of an inspection; none of another plan. What a node did not sign is not in it.
pub(super) fn of(evidence: &Evidence) -> Option<Inspected> {
    let plan = evidence.plan.as_ref().ok()?.document();
    // What a server reads of its cluster is not compared with anything.
    let reads = plan.tasks.iter().flat_map(|task| &task.steps).any(Step::only_reads);
    if plan.kind != PlanKind::Inspect || reads {
        return None;
    }
    let receipts = || evidence.receipts.iter().filter(|receipt| receipt.outcome.is_success());
    let differs = receipts().flat_map(|receipt| {
        let found = receipt.observations.iter().filter(|observation| observation.name == DIFFERS);
        found.map(|observation| (receipt.node.clone(), observation.value.clone()))
    });
    Some(Inspected { nodes: receipts().map(|receipt| receipt.node.clone()).collect(), differences: differs.collect() })
}

impl Inspected {
    pub(super) fn json(&self) -> Value {
        let difference = |(node, found): &(NodeName, String)| json!({ "node": node, "difference": found });
        json!({ "event": "inspected", "nodes": self.nodes,
            "differences": self.differences.iter().map(difference).collect::<Vec<_>>() })
    }

    pub(super) fn text(&self) -> String {
        let rows: Vec<[String; 2]> =
            self.differences.iter().map(|(node, found)| [node.to_string(), found.clone()]).collect();
        match rows.as_slice() {
            [] => "the machines are what the fleet file says".to_owned(),
            rows => table(["NODE", "DIFFERENCE"], rows),
        }
    }
}
