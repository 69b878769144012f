//! Steps that documents may hold and that this agent refuses before it touches anything.

use hostler_plan::step::{
    Apply, EnsureHost, EnsureImages, EnsureProgram, HoldPackage, InstallPackage, SwapOff, kubeadm,
};

use crate::steps::action::{Action, Check, StepContext, StepError};

fn refuse(context: &StepContext<'_>) -> Result<Check, StepError> {
    let expected = "an agent that performs it".to_owned();
    Ok(Check::Mismatch { expected, found: format!("one that does not know {} yet; upgrade it", context.op()) })
}

macro_rules! unbuilt {
    ($($step:ty),* $(,)?) => {
        $(impl Action for $step {
            fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
                refuse(context)
            }

            fn apply(&self, _: &mut StepContext<'_>) -> Result<(), StepError> {
                Ok(())
            }
        })*
    };
}

unbuilt!(
    EnsureProgram,
    EnsureImages,
    InstallPackage,
    HoldPackage,
    SwapOff,
    EnsureHost,
    Apply,
    kubeadm::Bootstrap,
    kubeadm::Admit,
    kubeadm::Join,
    kubeadm::Revoke,
    kubeadm::Upgrade,
    kubeadm::EnsureKubelet,
);
