//! `kubeadm.bare`: nothing of a cluster is on this machine.

use hostler_plan::step::restore::Bare;

use super::run;
use crate::steps::action::{Action, Check, StepContext, StepError};

impl Action for Bare {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let Self {} = self;
        let found = run::found(context)?;
        if found.is_empty() {
            return Ok(Check::Done("nothing of a cluster is on this machine".to_owned()));
        }
        Ok(run::leftovers("plan", &found.join(", ")))
    }

    /// What somebody needs is emptied by nobody.
    fn apply(&self, _: &mut StepContext<'_>) -> Result<(), StepError> {
        Ok(())
    }
}
