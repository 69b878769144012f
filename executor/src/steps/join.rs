//! `k3s.admit` on a server and `k3s.join` on the node that comes: the secret between them is sealed all the way.

use std::time::Duration;

use hostler_plan::{
    id::TaskId,
    step::{ClusterRole, k3s::Join},
    trust,
    version::Version,
};

use super::{Check, StepContext, StepError, artifact::staged, k3s::role_name};
use crate::{
    host::{K3sInstall, K3sJoin},
    seal,
};

/// The observation that carries the ciphertext.
const SEALED: &str = "sealed_join_secret";

/// An hour is what a slow download leaves of a join; a longer life only helps a thief.
const MAX_LIFETIME: Duration = Duration::from_secs(3600);

pub fn admit(lifetime: Duration, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let subject = &context.task.subject;
    let Some(node) = context.roster.document().active(subject) else {
        return Err(StepError::Failed(format!("expected {subject} active in the roster, found it is not")));
    };
    let secret = context.host().make_join_secret(node.role, lifetime.min(MAX_LIFETIME))?;
    let sealed = seal::seal(&node.seal_key, secret.as_bytes()).map_err(|e| StepError::Failed(e.to_string()))?;
    context.observe(SEALED, sealed);
    Ok(())
}

pub fn check(version: Version, role: ClusterRole, context: &mut StepContext<'_>) -> Result<Check, StepError> {
    let found = context.host().k3s()?;
    let mismatch = |found: String| Check::Mismatch {
        expected: format!("no K3s, or a {} at {version}", role_name(Some(role))),
        found,
    };
    Ok(match (found.running, found.role) {
        (Some(running), Some(is)) if running == version && is == role => {
            super::k3s::done(version, context);
            Check::Done(format!("K3s {} runs at {version}", role_name(Some(role))))
        }
        (Some(running), is) => mismatch(format!("K3s {} at {running}", role_name(is))),
        (None, Some(is)) if is != role => mismatch(format!("a K3s {} that does not run", role_name(Some(is)))),
        (None, _) => Check::Ready,
    })
}

pub fn apply(step: &Join, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let secret = secret(&step.admitted_by, context)?;
    let binary = staged(&step.artifact, context)?;
    let join = K3sJoin { server_url: &step.server_url, secret: &secret };
    let (version, role) = (step.version, step.role);
    Ok(context.host().install_k3s(&K3sInstall { binary: &binary, version, role, join: Some(join) })?)
}

/// Opens the secret in the receipt of the task that admitted this node. The receipt is verified again.
fn secret(admitted_by: &TaskId, context: &StepContext<'_>) -> Result<String, StepError> {
    let plan = context.plan.digest();
    let sealed = context
        .receipts
        .iter()
        .filter_map(|stored| trust::receipt(context.roster, &stored.0).ok())
        .find(|r| r.document().plan == plan && r.document().task == *admitted_by)
        .and_then(|r| r.document().observation(SEALED).map(str::to_owned))
        .ok_or_else(|| {
            StepError::Failed(format!("expected a join secret in the receipt of {admitted_by}, found none"))
        })?;
    let bytes = seal::open(context.keys.sealing(), &sealed).map_err(|e| StepError::Failed(e.to_string()))?;
    String::from_utf8(bytes).map_err(|_| StepError::Failed("the join secret is not text".into()))
}
