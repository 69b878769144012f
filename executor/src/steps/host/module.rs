//! `module.ensure`: in the running kernel, and at every boot through `/etc/modules-load.d`.

use std::path::PathBuf;

use hostler_plan::step::EnsureModule;

use crate::{
    host::HostFile,
    steps::action::{Action, Check, StepContext, StepError},
};

impl Action for EnsureModule {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let module = self.module.as_str();
        valid(module)?;
        let persistent = context.host().read_file(&path(module))? == Some(file(module));
        if persistent && context.host().module_is_loaded(module)? {
            return Ok(Check::Done(format!("{module} is loaded, now and at every boot")));
        }
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let module = self.module.as_str();
        context.host().write_file(&path(module), &file(module))?;
        Ok(context.host().load_module(module)?)
    }
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
