//! `file.ensure`.

use std::path::Path;

use super::{Check, StepContext, StepError};
use crate::host::HostFile;

pub fn check(path: &str, mode: &str, content: &str, context: &mut StepContext<'_>) -> Result<Check, StepError> {
    let wanted = wanted(path, mode, content)?;
    match context.host().read_file(Path::new(path))? {
        Some(found) if found == wanted => Ok(Check::Done(format!("{path} is as it should be"))),
        Some(_) | None => Ok(Check::Ready),
    }
}

pub fn apply(path: &str, mode: &str, content: &str, context: &mut StepContext<'_>) -> Result<(), StepError> {
    Ok(context.host().write_file(Path::new(path), &wanted(path, mode, content)?)?)
}

fn wanted(path: &str, mode: &str, content: &str) -> Result<HostFile, StepError> {
    let clean = path.starts_with('/') && path.len() > 1 && !path.split('/').any(|part| part == "..");
    if !clean || path.contains('\0') {
        return Err(StepError::Failed(format!("file path expected an absolute one without .., found {path:?}")));
    }
    let bits = u32::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o7777);
    let bits =
        bits.ok_or_else(|| StepError::Failed(format!("file mode expected octal such as 0644, found {mode:?}")))?;
    Ok(HostFile { content: content.as_bytes().to_vec(), mode: bits, uid: 0, gid: 0 })
}
