//! `program.ensure`.

use std::path::Path;

use hostler_plan::step::EnsureProgram;

use super::artifact::staged;
use crate::{
    host::MeasuredFile,
    steps::action::{Action, Check, StepContext, StepError},
};

/// Everybody runs a program, and root alone writes it.
const MODE: u32 = 0o755;

impl Action for EnsureProgram {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let wanted = MeasuredFile { digest: context.artifact(&self.artifact)?.sha256, mode: MODE, uid: 0 };
        match context.host().measure_file(Path::new(self.path.as_str()))? {
            Some(found) if found == wanted => Ok(Check::Done(format!("{} is {}", self.path, self.artifact))),
            Some(_) | None => Ok(Check::Ready),
        }
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let artifact = staged(&self.artifact, context)?;
        Ok(context.host().install_program(&artifact, Path::new(self.path.as_str()))?)
    }
}
