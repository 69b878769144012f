//! What an inspection found, from the receipts of its nodes alone.

use std::collections::BTreeMap;

use hostler_plan::{
    document::{DIFFERS, ISCSI_INITIATOR, PlanKind, Receipt},
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
    let mut differences: Vec<(NodeName, String)> = differs.collect();
    differences.extend(same_initiators(receipts()));
    Some(Inspected { nodes: receipts().map(|receipt| receipt.node.clone()).collect(), differences })
}

/// Machines that targets of iSCSI take for one, as those that were made from one image.
fn same_initiators<'r>(receipts: impl Iterator<Item = &'r Receipt>) -> Vec<(NodeName, String)> {
    let mut nodes: BTreeMap<&str, Vec<&NodeName>> = BTreeMap::new();
    for receipt in receipts {
        let names = receipt.observations.iter().filter(|observation| observation.name == ISCSI_INITIATOR);
        names.for_each(|name| nodes.entry(&name.value).or_default().push(&receipt.node));
    }
    let same = nodes.into_iter().filter(|(_, nodes)| nodes.len() > 1);
    let said = same.flat_map(|(name, nodes)| {
        let all: Vec<&str> = nodes.iter().map(|node| node.as_str()).collect();
        let all = all.join(", ");
        let what =
            format!("iscsi.initiator: {all} have the name {name}; give each its own, which `iscsi-iname` prints");
        nodes.into_iter().map(move |node| (node.clone(), what.clone()))
    });
    said.collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_fixtures::{self as made, key, public};
    use hostler_plan::{document::Observation, step::ClusterRole};

    #[test]
    fn machines_of_one_image_are_named_together_and_others_not_at_all() {
        let root = made::root("2026-11-29T08:00:00Z".parse().unwrap(), Vec::new());
        let nodes = ["w1", "w2", "w3"].map(|name| made::node(name, public(&key(1)), ClusterRole::Worker));
        let roster = made::roster(&root, root.created, nodes.to_vec());
        let plan = made::plan(&roster, root.created, 1);
        let receipt = |name: &str, initiator: &str| {
            let task = plan.tasks.first().unwrap().id.to_string();
            let named = Observation { name: ISCSI_INITIATOR.to_owned(), value: initiator.to_owned() };
            Receipt { node: name.parse().unwrap(), observations: vec![named], ..made::receipt(&plan, &task) }
        };
        let receipts = [receipt("w1", "iqn.a:1"), receipt("w2", "iqn.a:2"), receipt("w3", "iqn.a:1")];
        let said = same_initiators(receipts.iter());
        let nodes: Vec<&str> = said.iter().map(|(node, _)| node.as_str()).collect();
        assert_eq!(nodes, ["w1", "w3"]);
        assert!(said[0].1.contains("w1, w3 have the name iqn.a:1"), "{said:?}");
    }
}
