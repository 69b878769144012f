//! `host.noop`.

use hostler_plan::step::Noop;

use crate::steps::action::{Action, Check, StepContext, StepError};

impl Action for Noop {
    fn check(&self, _: &mut StepContext<'_>) -> Result<Check, StepError> {
        Ok(Check::Done("nothing was to be done".into()))
    }

    fn apply(&self, _: &mut StepContext<'_>) -> Result<(), StepError> {
        Ok(())
    }
}
