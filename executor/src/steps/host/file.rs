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
        match context.host().read_file(Path::new(&self.path))? {
            Some(found) if found == wanted => Ok(Check::Done(format!("{} is as it should be", self.path))),
            Some(_) | None => Ok(Check::Ready),
        }
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        Ok(context.host().write_file(Path::new(&self.path), &wanted(self)?)?)
    }
}

fn wanted(EnsureFile { path, mode, content }: &EnsureFile) -> Result<HostFile, StepError> {
    let clean = path.starts_with('/') && path.len() > 1 && !path.split('/').any(|part| part == "..");
    if !clean || path.contains('\0') {
        return Err(StepError::Failed(format!("file path expected an absolute one without .., found {path:?}")));
    }
    let bits = u32::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o7777);
    let bits =
        bits.ok_or_else(|| StepError::Failed(format!("file mode expected octal such as 0644, found {mode:?}")))?;
    Ok(HostFile { content: content.as_bytes().to_vec(), mode: bits, uid: 0, gid: 0 })
}
