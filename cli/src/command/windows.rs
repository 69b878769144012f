//! What is back and what is left of a plan that waited for maintenance windows, from the receipts of its nodes alone.

use std::collections::BTreeSet;

use hostler_plan::{
    document::{Plan, Receipt},
    id::{NodeName, TaskId},
    text::count,
};
use serde_json::{Value, json};

use crate::rollout::Evidence;

/// Where each node stands at the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// All that was to be done about it succeeded.
    back: Vec<NodeName>,
    /// Something was done about it, and not all.
    half_done: Vec<NodeName>,
    /// Its turn did not come.
    left: Vec<NodeName>,
}

/// Of a plan that waited for windows; none of another one.
pub(super) fn of(evidence: &Evidence) -> Option<Left> {
    let plan = evidence.plan.as_ref().ok()?.document();
    plan.windows.is_some().then(|| sorted(plan, &evidence.receipts))
}

fn sorted(plan: &Plan, receipts: &[Receipt]) -> Left {
    let ended: BTreeSet<&TaskId> = receipts.iter().map(|receipt| &receipt.task).collect();
    let succeeded: BTreeSet<&TaskId> =
        receipts.iter().filter(|receipt| receipt.outcome.is_success()).map(|receipt| &receipt.task).collect();
    let out: BTreeSet<&NodeName> = plan.tasks.iter().filter(|task| task.disrupts).map(|task| &task.subject).collect();
    let mut all = Left { back: Vec::new(), half_done: Vec::new(), left: Vec::new() };
    for node in out {
        let mut about = plan.tasks.iter().filter(|task| task.subject == *node);
        let mut disrupting = about.clone().filter(|task| task.disrupts);
        let of = match (about.all(|task| succeeded.contains(&task.id)), disrupting.any(|t| ended.contains(&t.id))) {
            (true, _) => &mut all.back,
            (false, true) => &mut all.half_done,
            (false, false) => &mut all.left,
        };
        of.push(node.clone());
    }
    all
}

impl Left {
    pub(super) fn json(&self) -> Value {
        json!({ "event": "windows", "back": self.back, "half_done": self.half_done, "left": self.left })
    }

    pub(super) fn text(&self) -> String {
        let names = |nodes: &[NodeName]| nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
        if self.half_done.is_empty() && self.left.is_empty() {
            return format!("everything is back: {}, and nothing is left", count(self.back.len(), "node"));
        }
        let said = [
            ("back", &self.back),
            ("half done, to be looked at first", &self.half_done),
            ("left, for another plan", &self.left),
        ];
        let said = said.iter().filter(|(_, nodes)| !nodes.is_empty());
        said.map(|(what, nodes)| format!("{what}: {}", names(nodes))).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use hostler_fixtures as made;
    use hostler_plan::{document::Outcome, step::ClusterRole, timestamp::Timestamp};

    use super::*;

    #[test]
    fn what_is_back_and_what_is_left_is_said_by_receipts() {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let root = made::root(now, Vec::new());
        let node = |(name, seed)| made::node(name, made::public(&made::key(seed)), ClusterRole::Worker);
        let nodes = [("w1", 1), ("w2", 2), ("w3", 3)].map(node).into();
        let mut plan = made::plan(&made::roster(&root, now, nodes), now, 7);
        plan.tasks.iter_mut().for_each(|task| task.disrupts = true);
        let receipt = |task: &str| made::receipt(&plan, task);
        let failed = Receipt { outcome: Outcome::Failed { reason: "no".to_owned() }, ..receipt("w2.check") };
        let some = sorted(&plan, &[receipt("w1.check"), failed]);
        assert_eq!(some.text(), "back: w1; half done, to be looked at first: w2; left, for another plan: w3");
        let all = sorted(&plan, &["w1.check", "w2.check", "w3.check"].map(receipt));
        assert_eq!(all.text(), "everything is back: 3 nodes, and nothing is left");
        assert_eq!(all.json()["back"].as_array().map(Vec::len), Some(3));
    }
}
