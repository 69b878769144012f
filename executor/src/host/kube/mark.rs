//! What a drain leaves on a node beside its cordon while it goes on: conditions and a soft taint. What others wrote
//! there stays as it is.

use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{ClusterError, CordonAnswer, KubeCluster, error, read::is_ours};
use crate::host::{DrainCondition, FIELD_MANAGER, WAITING_TAINT, Waiting};

/// Hostler's conditions on a node: these True, the others away.
pub(super) fn show(
    cluster: &KubeCluster,
    node: &str,
    conditions: &[DrainCondition],
    sentence: &str,
) -> Result<CordonAnswer, ClusterError> {
    let api = Api::<Node>::all(cluster.client()?);
    let Some(found) = cluster.get(api.clone(), node, "get nodes")? else { return Ok(CordonAnswer::Gone) };
    let found = found.status.and_then(|status| status.conditions).unwrap_or_default();
    let now = Time(jiff::Timestamp::now());
    let changes: Vec<Value> = DrainCondition::ALL
        .into_iter()
        .filter_map(|which| change(which, &found, conditions.contains(&which).then_some(sentence), &now))
        .collect();
    if changes.is_empty() {
        return Ok(CordonAnswer::Done);
    }
    // By their type, so that the kubelet's own stay as they are.
    let patch = Patch::Strategic(json!({ "status": { "conditions": changes } }));
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    match cluster.call(api.patch_status(node, &parameters, &patch)) {
        Ok(_) => Ok(CordonAnswer::Done),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(CordonAnswer::Gone),
        Err(e) => Err(error(e, "patch nodes/status")),
    }
}

/// What is to be done about one of them; nothing where somebody else's is there.
fn change(which: DrainCondition, found: &[NodeCondition], sentence: Option<&str>, now: &Time) -> Option<Value> {
    let known = found.iter().find(|c| c.type_ == which.word());
    match (sentence, known) {
        (_, Some(known)) if !is_ours(known) => None,
        (None, None) => None,
        (None, Some(_)) => Some(json!({ "type": which.word(), "$patch": "delete" })),
        (Some(_), Some(_)) => None,
        (Some(sentence), None) => Some(json!({
            "type": which.word(), "status": "True", "reason": DrainCondition::REASON, "message": sentence,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })),
    }
}

/// The soft taint of a node that waits: put, or removed.
pub(super) fn keep_off(
    cluster: &KubeCluster,
    node: &str,
    waiting: Option<&Waiting>,
) -> Result<CordonAnswer, ClusterError> {
    let taint = waiting.map(|waiting| (waiting.to_string(), "PreferNoSchedule"));
    set_taint(cluster, (node, None), WAITING_TAINT, taint)
}

/// Puts one taint of this key on a node, with its value and effect, or removes it. With a version, only where the node
/// has not changed since.
pub(super) fn set_taint(
    cluster: &KubeCluster,
    (node, version): (&str, Option<&str>),
    key: &str,
    taint: Option<(String, &str)>,
) -> Result<CordonAnswer, ClusterError> {
    let Some(found) = cluster.get(Api::<Node>::all(cluster.client()?), node, "get nodes")? else {
        return Ok(CordonAnswer::Gone);
    };
    if version.is_some() && version != found.metadata.resource_version.as_deref() {
        return Ok(CordonAnswer::Changed);
    }
    let old = found.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let mut taints: Vec<Taint> = old.iter().filter(|taint| taint.key != key).cloned().collect();
    taints.extend(taint.map(|(value, effect)| Taint {
        key: key.into(),
        value: Some(value),
        effect: effect.into(),
        time_added: None,
    }));
    if taints == old {
        return Ok(CordonAnswer::Done);
    }
    // To every kind of patch the list is one value: all of it is written, and the node must not have changed, so that
    // nobody else's taint is lost.
    let taints = (!taints.is_empty()).then_some(taints);
    let patch =
        json!({ "metadata": { "resourceVersion": found.metadata.resource_version }, "spec": { "taints": taints } });
    cluster.patch_node(node, &Patch::Merge(patch), FIELD_MANAGER)
}
