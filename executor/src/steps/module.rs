//! `module.ensure`: in the running kernel, and at every boot through `/etc/modules-load.d`.

use std::path::PathBuf;

use super::{Check, StepContext, StepError};
use crate::host::HostFile;

pub fn check(module: &str, context: &mut StepContext<'_>) -> Result<Check, StepError> {
    valid(module)?;
    let persistent = context.host().read_file(&path(module))? == Some(file(module));
    if persistent && context.host().module_is_loaded(module)? {
        return Ok(Check::Done(format!("{module} is loaded, now and at every boot")));
    }
    Ok(Check::Ready)
}

pub fn apply(module: &str, context: &mut StepContext<'_>) -> Result<(), StepError> {
    context.host().write_file(&path(module), &file(module))?;
    Ok(context.host().load_module(module)?)
}

fn valid(module: &str) -> Result<(), StepError> {
    let good = (1..=64).contains(&module.len())
        && !module.starts_with('-')
        && module.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if good { Ok(()) } else { Err(StepError::Failed(format!("kernel module expected a name, found {module:?}"))) }
}

fn path(module: &str) -> PathBuf {
    PathBuf::from(format!("/etc/modules-load.d/hostler-{module}.conf"))
}

fn file(module: &str) -> HostFile {
    HostFile { content: format!("{module}\n").into_bytes(), mode: 0o644, uid: 0, gid: 0 }
}
