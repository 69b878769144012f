//! `kubeadm.admit`: on a server, for the node that comes.

use std::time::Duration;

use hostler_plan::{document::Outcome, step::kubeadm::Admit};

use super::material::Material;
use crate::{
    distribution::kubeadm::token,
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
        let administrator = context.administrator()?;
        let subject = &context.task.subject;
        // One token lets one node in, once: that of an earlier try ends.
        token::revoke(administrator, subject)?;
        let lifetime = Duration::from_secs(self.lifetime_seconds).min(MAX_LIFETIME);
        let token = token::make(administrator, subject, context.host().now().plus(lifetime))?;
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
