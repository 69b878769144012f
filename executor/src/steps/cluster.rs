//! `cluster.read`: how the cluster is made, without its secrets, sealed to the one who asked.

mod objects;
#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hostler_plan::{
    id::Digest,
    import::{Answer, AnswerType, MAX_ANSWER_BYTES, Made, READ_DIGEST, READ_SEALED},
    json,
    step::cluster::Read,
    text::count,
};
use hostler_seal::seal_letter;

use crate::{
    control::POLL,
    distribution::kubeadm::settings::{self, Found},
    host::{Administrator, ClusterError},
    steps::action::{Action, Check, StepContext, StepError},
};

/// A sealed answer at most, in bytes: in base64 it has its place in a receipt, beside what else that holds.
const MAX_SEALED: usize = 42 << 10;

/// How long an API server that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

impl Action for Read {
    /// The look is all of it.
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let answer = read(context)?;
        let written = json::write(&answer);
        if written.len() > MAX_ANSWER_BYTES {
            return Err(too_long(&answer, written.len(), MAX_ANSWER_BYTES));
        }
        let sealed = seal_letter(self.to, &written).map_err(|e| StepError::Failed(e.to_string()))?;
        if sealed.len() > MAX_SEALED {
            return Err(too_long(&answer, sealed.len(), MAX_SEALED));
        }
        context.observe(READ_DIGEST, Digest::of(&written).to_string());
        context.observe(READ_SEALED, STANDARD.encode(sealed));
        Ok(Check::Done(format!("read {} and sealed them to who asked", count(answer.nodes.len(), "node"))))
    }

    fn apply(&self, _: &mut StepContext<'_>) -> Result<(), StepError> {
        Ok(())
    }
}

fn too_long(answer: &Answer, found: usize, most: usize) -> StepError {
    let nodes = count(answer.nodes.len(), "node");
    StepError::Failed(format!(
        "what was read of {nodes} has {found} bytes, and an answer may have {most}; write the fleet file from an \
         inventory instead (hostler fleet import --inventory)"
    ))
}

/// Waits for a silent API server, and begins anew then.
fn read(context: &mut StepContext<'_>) -> Result<Answer, StepError> {
    let began = context.now();
    loop {
        match read_once(context) {
            Err(StepError::Unreachable(reason)) if context.now().since(began) < PATIENCE => {
                context.say(format!("waits: {reason}"));
                context.pause(POLL)?;
            }
            other => return other,
        }
    }
}

fn read_once(context: &StepContext<'_>) -> Result<Answer, StepError> {
    let administrator = context.administrator()?;
    let found = gather(administrator).map_err(|error| match error {
        ClusterError::Silent(reason) => StepError::Unreachable(format!("the API server does not answer ({reason})")),
        other @ (ClusterError::Forbidden { .. } | ClusterError::NoAccount { .. } | ClusterError::Refused { .. }) => {
            other.into()
        }
    })?;
    let Some((version, nodes, addons, static_pods, mut found)) = found else {
        return Err(StepError::Failed(
            "expected a cluster that kubeadm made, found no ConfigMap kube-system/kubeadm-config; others cannot be \
             read yet"
                .into(),
        ));
    };
    let machine = settings::machine(context.host(), &mut found)?;
    let Found { settings, masked, left_out } = found;
    Ok(Answer {
        document_type: AnswerType::V1,
        fleet_id: context.plan.document().fleet_id.clone(),
        node: context.task.node.clone(),
        read: context.host().now(),
        version,
        nodes,
        made: Made::Kubeadm(Box::new(settings)),
        machine,
        addons,
        static_pods,
        masked,
        left_out,
    })
}

type Gathered = (String, Vec<hostler_plan::import::AnswerNode>, Vec<hostler_plan::import::Addon>, Vec<String>, Found);

/// Everything that the API server is asked; none where something else made the cluster.
fn gather(administrator: &dyn Administrator) -> Result<Option<Gathered>, ClusterError> {
    let Some(mut found) = settings::cluster(administrator)? else { return Ok(None) };
    let (version, nodes) = (objects::version(administrator)?, objects::nodes(administrator)?);
    let addons = objects::addons(administrator, &settings::OWN_ADDONS, &mut found.left_out)?;
    let static_pods = objects::static_pods(administrator, &settings::OWN_PODS, &mut found.left_out)?;
    Ok(Some((version, nodes, addons, static_pods, found)))
}
