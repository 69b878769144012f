//! `k3s.join`: on the node that comes.

use hostler_plan::step::k3s::Join;

use crate::{
    distribution::k3s::K3s,
    steps::{
        action::{Action, Check, StepContext, StepError},
        membership,
    },
};

impl Action for Join {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        membership::check_member::<K3s>(self.version, self.role, context)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let join = (self.server_url.as_str(), &self.admitted_by);
        membership::install::<K3s>(&self.artifact, self.role, Some(join), context)
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        membership::await_running::<K3s>(self.version, context)
    }
}
