//! `kubelet.ensure`: the process, not the program, has that version. Pods run on while it restarts.

use hostler_plan::step::kubeadm::EnsureKubelet;

use crate::{
    distribution::kubeadm::{KUBELET_UNIT, Kubeadm, state},
    steps::{
        action::{Action, Check, StepContext, StepError},
        membership,
    },
};

impl Action for EnsureKubelet {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let running = state::kubelet(context.host())?;
        if running == Some(self.version) {
            context.observe("version", self.version.to_string());
            return Ok(Check::Done(format!("the kubelet runs at {}", self.version)));
        }
        let expected = format!("the program kubelet at {}", self.version);
        Ok(match state::installed_kubelet(context.host())? {
            Some(installed) if installed == self.version => Check::Ready,
            Some(installed) => Check::Mismatch { expected, found: format!("{installed}; install it first") },
            None => Check::Mismatch { expected, found: "none; install it first".into() },
        })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        // A unit file may have come with the program.
        context.host().reload_units()?;
        Ok(context.host().restart_unit(KUBELET_UNIT)?)
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        membership::await_running::<Kubeadm>(self.version, context)
    }
}
