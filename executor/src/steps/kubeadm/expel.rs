//! `kubeadm.expel`: on a server, about a node that leaves, lives or not. Only when the other members have agreed to it
//! may anything on that node's machine be emptied.

use hostler_plan::step::{ClusterRole, kubeadm::Expel};

use crate::{
    distribution::kubeadm::{
        etcd::{self, Member},
        state, token,
    },
    steps::action::{Action, Check, StepContext, StepError},
};

impl Action for Expel {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let subject = &context.task.subject;
        let tokens = token::of_node(context.administrator()?, subject)?;
        let member = member(self, context)?;
        if member.is_some() || !tokens.is_empty() {
            return Ok(Check::Ready);
        }
        Ok(Check::Done(match self.role {
            ClusterRole::Server => format!("{subject} is no member of etcd, and no token lets it in"),
            ClusterRole::Worker | ClusterRole::Host => format!("no token lets {subject} in"),
        }))
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        if context.task.node == context.task.subject {
            return Err(StepError::Failed("a server is removed by another one, never by itself".into()));
        }
        token::revoke(context.administrator()?, &context.task.subject)?;
        let Some((members, member)) = member(self, context)? else { return Ok(()) };
        let mut answering = Vec::new();
        for other in &members {
            context.say(format!("asks etcd's member {} whether it answers", other.said()));
            if other.answers(context.host())? {
                answering.push(other.id);
            }
        }
        if self.silent && answering.contains(&member.id) {
            return Err(StepError::Failed(format!(
                "{} is said to be dead, and its etcd still answers (member {}): the old machine runs; switch it off, \
                 then plan again. Nothing was removed",
                context.task.subject,
                member.said()
            )));
        }
        if let Some(reason) = etcd::must_stay(&members, &member, &answering) {
            let subject = &context.task.subject;
            return Err(StepError::Failed(format!("{subject} stays a member of etcd: {reason}. Nothing was removed")));
        }
        context.await_act()?;
        Ok(etcd::remove(context.host(), &member)?)
    }
}

/// The subject's member among all of them, as a majority of them has it; none where it is no member of this machine's
/// etcd, or the cluster has its etcd elsewhere.
fn member(step: &Expel, context: &StepContext<'_>) -> Result<Option<(Vec<Member>, Member)>, StepError> {
    let manifests = state::manifests(context.host())?;
    if step.role == ClusterRole::Worker || !state::has_etcd(&manifests) {
        return Ok(None);
    }
    let listed = etcd::members(context.host()).map_err(|error| {
        let reason = format!("etcd does not say who its members are, as it does without a majority ({error})");
        StepError::Failed(format!("{reason}: bring another server back, or restore a snapshot. Nothing was removed"))
    })?;
    let Some(members) = listed else {
        return Err(StepError::Failed(
            "a server is removed from etcd with etcdctl, and this machine has none; add etcdctl to the artifacts"
                .into(),
        ));
    };
    let found = etcd::of_node(&members, context.subject(), step.address).map_err(StepError::Failed)?.cloned();
    Ok(found.map(|member| (members, member)))
}
