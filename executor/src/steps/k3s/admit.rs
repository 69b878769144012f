//! `k3s.admit`: on a server, for the node that comes.

use std::time::Duration;

use hostler_plan::step::k3s::Admit;

use crate::{
    distribution::k3s::K3s,
    steps::{
        action::{Action, Check, StepContext, StepError},
        membership,
    },
};

impl Action for Admit {
    fn check(&self, _: &mut StepContext<'_>) -> Result<Check, StepError> {
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        membership::admit::<K3s>(Duration::from_secs(self.lifetime_seconds), context)
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        Ok(format!("made a join secret and sealed it to {}", context.task.subject))
    }
}
