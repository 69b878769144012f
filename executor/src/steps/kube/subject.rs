//! The node object that a step is about, and how it is changed.

use std::time::Duration;

use crate::{
    control::POLL,
    host::{Cluster, ClusterError, CordonAnswer, Node},
    steps::action::{StepContext, StepError},
};

/// The node's status changes every few seconds, and each change makes an update look again.
pub(super) const ATTEMPTS: u32 = 20;

/// How long a silent API server is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// The subject's node object; waits for a silent API server.
pub(super) fn subject(context: &mut StepContext<'_>) -> Result<Node, StepError> {
    let name = context.subject().to_owned();
    let found = ask(context, |cluster| cluster.node(&name))?;
    found.ok_or_else(|| StepError::Failed(format!("the cluster has no node {name}")))
}

/// Asks the cluster; waits for a silent API server.
pub(super) fn ask<T>(
    context: &mut StepContext<'_>,
    question: impl Fn(&dyn Cluster) -> Result<T, ClusterError>,
) -> Result<T, StepError> {
    let began = context.now();
    loop {
        match question(context.cluster()?) {
            Ok(answer) => return Ok(answer),
            Err(ClusterError::Silent(reason)) if context.now().since(began) < PATIENCE => {
                context.say(format!("waits: the API server does not answer ({reason})"));
                context.pause(POLL)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Looks and changes until the change is taken; `None` says that there is nothing to change any more.
pub(super) fn change(
    context: &mut StepContext<'_>,
    attempt: impl Fn(&Node, &StepContext<'_>) -> Result<Option<Result<CordonAnswer, ClusterError>>, StepError>,
) -> Result<(), StepError> {
    for _ in 0..ATTEMPTS {
        let node = subject(context)?;
        match attempt(&node, context)? {
            None | Some(Ok(CordonAnswer::Done)) => return Ok(()),
            Some(Ok(CordonAnswer::Gone)) => {
                return Err(StepError::Failed(format!("the cluster has no node {} any more", node.name)));
            }
            // Another writer was faster, or nobody answered: look at what is there now.
            Some(Ok(CordonAnswer::Changed) | Err(ClusterError::Silent(_))) => context.pause(POLL / 4)?,
            Some(Err(error)) => return Err(error.into()),
        }
    }
    Err(StepError::TimedOut(format!("{} kept changing; nothing was changed by Hostler", context.subject())))
}
