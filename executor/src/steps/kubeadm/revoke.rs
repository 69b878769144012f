//! `kubeadm.revoke`: no token that was made for the task's subject lets anybody in.

use hostler_plan::step::kubeadm::Revoke;

use crate::{
    distribution::kubeadm::token,
    steps::action::{Action, Check, StepContext, StepError},
};

impl Action for Revoke {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let subject = &context.task.subject;
        if token::of_node(context.administrator()?, subject)?.is_empty() {
            return Ok(Check::Done(format!("no join token of {subject} is in the cluster")));
        }
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        token::revoke(context.administrator()?, &context.task.subject)?;
        Ok(())
    }
}
