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
        let persistent = context.host().read_file(&path(module))? == Some(file(module));
        if persistent && context.host().module_is_loaded(module)? {
            return Ok(Check::Done(format!("{module} is loaded, now and at every boot")));
        }
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let module = self.module.as_str();
        // First what may fail: nothing is to be tried at every boot that this kernel does not have. One that is built
        // in is there without any file of it.
        if !context.host().module_is_loaded(module)? {
            context.host().load_module(module)?;
        }
        Ok(context.host().write_file(&path(module), &file(module))?)
    }
}

fn path(module: &str) -> PathBuf {
    PathBuf::from(format!("/etc/modules-load.d/hostler-{module}.conf"))
}

fn file(module: &str) -> HostFile {
    HostFile { content: format!("{module}\n").into_bytes(), mode: 0o644, uid: 0, gid: 0 }
}
