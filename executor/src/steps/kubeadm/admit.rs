//! `kubeadm.admit`: on a server, for the node that comes.

use std::time::Duration;

use hostler_plan::{
    document::{Outcome, PlanRef},
    step::{ClusterRole, kubeadm::Admit},
};
use serde_json::Value;

use super::material::Material;
use crate::{
    distribution::kubeadm::{
        etcd, state,
        token::{self, Admission},
    },
    host::Noted,
    steps::{
        action::{Action, Check, StepContext, StepError, Undone},
        membership::{self, MAX_LIFETIME},
    },
};

impl Action for Admit {
    fn check(&self, _: &mut StepContext<'_>) -> Result<Check, StepError> {
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        has_its_name(context)?;
        if self.role == ClusterRole::Server {
            outlives_this_server(context)?;
            settle_members(context)?;
        }
        let administrator = context.administrator()?;
        let subject = &context.task.subject;
        // One token lets one node in, once: that of an earlier try ends.
        token::revoke(administrator, subject)?;
        let plan = context.plan.document();
        let reference = PlanRef { seq: plan.seq, digest: context.plan.digest() };
        let noted = Noted { subject: subject.clone(), epoch: plan.epoch, plan: reference };
        let admission = Admission { noted, until: plan.expires };
        let lifetime = Duration::from_secs(self.lifetime_seconds).min(MAX_LIFETIME);
        // From now on somebody sees to it that it ends with its plan.
        context.node.control.status.admits();
        let token = token::make(administrator, &admission, context.host().now().plus(lifetime))?;
        let material = Material::of_server(token, self.role, context.host())?;
        let text = serde_json::to_vec(&material).map_err(|e| StepError::Failed(e.to_string()))?;
        membership::seal_for_subject(&text, context)
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let subject = &context.task.subject;
        match token::of_node(context.administrator()?, subject)?.len() {
            1 => Ok(format!("made a join token for {subject} and sealed it to {subject}")),
            found => Err(StepError::Failed(format!("expected one join token of {subject}, found {found}"))),
        }
    }

    fn undo(&self, _: &Outcome, context: &mut StepContext<'_>) -> Undone {
        revoke(context)
    }
}

/// A token that nobody was told of lets nobody in.
fn revoke(context: &StepContext<'_>) -> Undone {
    let Ok(administrator) = context.administrator() else { return Undone::Nothing };
    let subject = &context.task.subject;
    match token::revoke(administrator, subject) {
        Ok(0) => Undone::Nothing,
        Ok(_) => Undone::Said(format!("the join token of {subject} was revoked")),
        Err(error) => Undone::Said(format!("the join token of {subject} could not be revoked: {error}")),
    }
}

/// Nobody is let in under the name of a node that lives.
fn has_its_name(context: &StepContext<'_>) -> Result<(), StepError> {
    let subject = &context.task.subject;
    let Some(text) = context.administrator()?.get(&format!("/api/v1/nodes/{subject}"))? else { return Ok(()) };
    let node: Value = serde_json::from_str(&text)
        .map_err(|e| StepError::Failed(format!("the Node {subject} cannot be read: {e}")))?;
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    if !conditions.any(|c| c["type"] == "Ready" && c["status"] == "True") {
        return Ok(());
    }
    let machine = node["status"]["nodeInfo"]["machineID"].as_str().unwrap_or("unknown");
    Err(StepError::Failed(format!(
        "{subject} is the name of a Ready node of the cluster, on machine {machine}: remove that one first (`hostler \
         node remove {subject}`), or let this machine enrol under another name"
    )))
}

/// Behind an endpoint that is one server's own address a further one is of no use: without the first nothing reaches
/// it.
fn outlives_this_server(context: &StepContext<'_>) -> Result<(), StepError> {
    const PATH: &str = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config";
    let Some(own) = state::own_server(&state::manifests(context.host())?) else { return Ok(()) };
    let Some(text) = context.administrator()?.get(PATH)? else { return Ok(()) };
    let unreadable = |e: &dyn std::fmt::Display| StepError::Failed(format!("kubeadm-config cannot be read: {e}"));
    let map: Value = serde_json::from_str(&text).map_err(|e| unreadable(&e))?;
    let written = map["data"]["ClusterConfiguration"].as_str().unwrap_or_default();
    let cluster: Value = serde_saphyr::from_str(written).map_err(|e| unreadable(&e))?;
    let endpoint = cluster["controlPlaneEndpoint"].as_str().unwrap_or_default();
    let here = context.host().host_name()?;
    let is_own = endpoint.is_empty()
        || own == format!("https://{endpoint}")
        || endpoint.rsplit_once(':').is_some_and(|(host, _)| host == here);
    if !is_own {
        return Ok(());
    }
    let where_it_is = if endpoint.is_empty() { "no endpoint" } else { endpoint };
    Err(StepError::Failed(format!(
        "the cluster's endpoint is {where_it_is}, which is {here} alone: without it nothing would reach another \
         server. Write api in the fleet file as a name or address that stays when a server goes, such as a \
         balancer's, and move the cluster there with `hostler plan configure --all`; then let {} join",
        context.task.subject
    )))
}

/// A further server joins only where every member of etcd votes: a learner that has caught up is promoted, which the
/// server that joined half would have done; any other is named.
fn settle_members(context: &mut StepContext<'_>) -> Result<(), StepError> {
    let Some(members) = etcd::members(context.host())? else { return Ok(()) };
    if !state::has_etcd(&state::manifests(context.host())?) {
        return Ok(());
    }
    let subject = context.task.subject.clone();
    // One that never started has no name: kubeadm takes it for that of whoever has its address.
    for member in members.iter().filter(|member| !member.name.is_empty()) {
        let is_own = member.name == subject.as_str();
        if !(member.is_learner || is_own) {
            continue;
        }
        let (said, name) = (member.said(), &member.name);
        let answers = member.answers(context.host())?;
        if !answers && is_own {
            return Err(StepError::Failed(format!(
                "etcd still lists {subject} (member {said}), which does not answer: a machine that comes without its \
                 data cannot be that one. Remove it first (`hostler node remove {subject}`), or replace it (`hostler \
                 node replace {subject}`)"
            )));
        }
        if !answers {
            return Err(StepError::Failed(format!(
                "etcd's member {said} is a learner that does not answer, and blocks every further server: start {name} \
                 again, or remove it (`hostler node remove {name}`)"
            )));
        }
        if member.is_learner {
            context.say(format!("lets etcd's member {said} vote, which is still a learner"));
            etcd::promote(context.host(), member).map_err(|error| {
                StepError::Failed(format!(
                    "etcd's member {said} is still a learner and blocks every further server; it could not be promoted \
                     ({error}): wait until it has caught up, or remove it (`hostler node remove {name}`)"
                ))
            })?;
        }
    }
    Ok(())
}
