//! `sysctl.ensure`: in the running kernel, and at every boot through `/etc/sysctl.d`.

use std::path::PathBuf;

use hostler_plan::step::EnsureSysctl;

use crate::{
    host::HostFile,
    steps::action::{Action, Check, StepContext, StepError},
};

impl Action for EnsureSysctl {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let (key, value) = (self.key.as_str(), self.value.as_str());
        let Some(found) = context.host().read_sysctl(key)? else {
            return Ok(Check::Mismatch {
                expected: format!("kernel parameter {key}"),
                found: "no such parameter; load its module first".into(),
            });
        };
        let persistent = context.host().read_file(&path(key))? == Some(file(key, value));
        if persistent && same(&found, value) {
            return Ok(Check::Done(format!("{key} is {value}, now and at every boot")));
        }
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let (key, value) = (self.key.as_str(), self.value.as_str());
        // First what may be refused: a value that the kernel does not take is to be set at no boot.
        context.host().write_sysctl(key, value)?;
        Ok(context.host().write_file(&path(key), &file(key, value))?)
    }
}

/// The kernel separates numbers by tabs where people write blanks.
fn same(found: &str, wanted: &str) -> bool {
    found.split_whitespace().eq(wanted.split_whitespace())
}

fn path(key: &str) -> PathBuf {
    PathBuf::from(format!("/etc/sysctl.d/90-hostler-{}.conf", key.replace('/', ".")))
}

fn file(key: &str, value: &str) -> HostFile {
    HostFile { content: format!("{key} = {value}\n").into_bytes(), mode: 0o644, uid: 0, gid: 0 }
}
