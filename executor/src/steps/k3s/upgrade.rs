//! `k3s.upgrade`: another version of the program, and pods run on.

use hostler_plan::step::k3s::Upgrade;

use crate::{
    distribution::k3s::K3s,
    steps::{
        action::{Action, Check, StepContext, StepError},
        membership,
    },
};

impl Action for Upgrade {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        membership::check_upgrade::<K3s>(self.version, context)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        membership::upgrade::<K3s>(&self.artifact, context)
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        membership::await_running::<K3s>(self.version, context)
    }
}
