//! What became of the pods of drained nodes and how their drains ended, as the receipts tell it.

use hostler_plan::{
    document::PodReport,
    drain::{DrainSummary, summaries},
};
use serde_json::{Value, json};

use crate::{
    output::{clean, table},
    rollout::Evidence,
};

/// A table for each task.
pub(super) fn text(evidence: &Evidence) -> String {
    let mut text = String::new();
    for (task, pods) in evidence.pods() {
        let row =
            |pod: &PodReport| [clean(&pod.pod).into_owned(), pod.fate.to_string(), clean(&pod.reason).into_owned()];
        let rows: Vec<[String; 3]> = pods.iter().map(row).collect();
        text.push_str(&format!("\n{task}\n{}", table(["POD", "", ""], &rows)));
    }
    text
}

/// The same for programs.
pub(super) fn json(evidence: &Evidence) -> Value {
    let tasks: Vec<Value> = evidence.pods().map(|(task, pods)| json!({ "task": task, "pods": pods })).collect();
    json!({ "event": "pods", "tasks": tasks })
}

/// How each drain ended that has a receipt; none of a plan that does not count.
pub(super) fn drains(evidence: &Evidence) -> Vec<DrainSummary> {
    evidence.plan.as_ref().map(|plan| summaries(plan.document(), &evidence.receipts)).unwrap_or_default()
}

/// For people, one line a node and one for what to do next.
pub(super) fn drains_text(drains: &[DrainSummary]) -> String {
    drains.iter().map(|drain| format!("{drain}\n")).collect()
}
