//! `k3s.bootstrap`: the first server of a new cluster.

use hostler_plan::step::{ClusterRole, k3s::Bootstrap};

use crate::{
    distribution::k3s::K3s,
    steps::{
        action::{Action, Check, StepContext, StepError},
        membership,
    },
};

impl Action for Bootstrap {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        membership::check_member::<K3s>(self.version, ClusterRole::Server, context)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        membership::install::<K3s>(&self.artifact, ClusterRole::Server, None, context)
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        membership::await_running::<K3s>(self.version, context)
    }
}
