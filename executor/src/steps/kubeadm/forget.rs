//! `kube.forget_nodes`: the Nodes of machines that a snapshot knew and that are no more are gone from the cluster.

use hostler_plan::{step::restore::Forget, timestamp::Timestamp};
use serde_json::Value;

use crate::{
    host::Administrator,
    steps::action::{Action, Check, StepContext, StepError},
};

const NODES: &str = "/api/v1/nodes";

impl Action for Forget {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let old = old(self, context)?;
        Ok(match old.is_empty() {
            true => Check::Done(format!("the cluster has no other Node that was made until {}", self.made_until)),
            false => Check::Ready,
        })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let old = old(self, context)?;
        context.observe("forgotten_nodes", old.join(" "));
        for name in old {
            context.say(format!("removes the Node {name}, whose machine is no more"));
            context.administrator()?.delete(&format!("{NODES}/{name}"))?;
        }
        Ok(())
    }
}

/// The Nodes of before, without this server's own.
fn old(step: &Forget, context: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    let own = context.subject().as_str();
    let mut old = list(context.administrator()?)?;
    old.retain(|(name, made)| name != own && *made <= step.made_until);
    Ok(old.into_iter().map(|(name, _)| name).collect())
}

/// Every Node with the time at which it was made.
fn list(administrator: &dyn Administrator) -> Result<Vec<(String, Timestamp)>, StepError> {
    let text = administrator.get(NODES)?.unwrap_or_default();
    let unreadable = |what: &str| StepError::Failed(format!("{NODES} cannot be read: {what}"));
    let read: Value = serde_json::from_str(&text).map_err(|e| unreadable(&e.to_string()))?;
    let items = read["items"].as_array().ok_or_else(|| unreadable("it is no list"))?;
    let node = |item: &Value| {
        let metadata = &item["metadata"];
        Some((metadata["name"].as_str()?.to_owned(), metadata["creationTimestamp"].as_str()?.parse().ok()?))
    };
    items.iter().map(|item| node(item).ok_or_else(|| unreadable("a Node without name or time"))).collect()
}
