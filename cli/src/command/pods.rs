//! What became of the pods of drained nodes, as the receipts tell it.

use hostler_plan::document::PodReport;
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
