//! `file.ensure`.

use std::path::Path;

use hostler_plan::step::EnsureFile;

use crate::{
    host::HostFile,
    steps::action::{Action, Check, StepContext, StepError},
};

impl Action for EnsureFile {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let wanted = wanted(self)?;
        match context.host().read_file(Path::new(self.path.as_str()))? {
            Some(found) if found == wanted => Ok(Check::Done(format!("{} is as it should be", self.path))),
            Some(_) | None => Ok(Check::Ready),
        }
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        Ok(context.host().write_file(Path::new(self.path.as_str()), &wanted(self)?)?)
    }
}

fn wanted(EnsureFile { path: _, mode, content }: &EnsureFile) -> Result<HostFile, StepError> {
    // Its form was read with the plan.
    let mode =
        u32::from_str_radix(mode.as_str(), 8).map_err(|e| StepError::Failed(format!("file mode {mode}: {e}")))?;
    Ok(HostFile { content: content.as_bytes().to_vec(), mode, uid: 0, gid: 0 })
}
