//! `sysctl.ensure`: in the running kernel, and at every boot through `/etc/sysctl.d`.

use std::path::PathBuf;

use hostler_plan::step::EnsureSysctl;

use crate::{
    host::HostFile,
    steps::action::{Action, Check, StepContext, StepError},
};

impl Action for EnsureSysctl {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let Self { key, value } = self;
        valid(key, value)?;
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
        let Self { key, value } = self;
        context.host().write_file(&path(key), &file(key, value))?;
        Ok(context.host().write_sysctl(key, value)?)
    }
}

/// The kernel separates numbers by tabs where people write blanks.
fn same(found: &str, wanted: &str) -> bool {
    found.split_whitespace().eq(wanted.split_whitespace())
}

fn valid(key: &str, value: &str) -> Result<(), StepError> {
    let key_good = (1..=128).contains(&key.len())
        && key.split('.').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'/'))
        })
        && !key.starts_with('/');
    let value_good = value.len() <= 256 && !value.contains(['\n', '\0']);
    if key_good && value_good {
        Ok(())
    } else {
        Err(StepError::Failed(format!(
            "kernel parameter expected a form such as net.ipv4.ip_forward = 1, found {key:?}"
        )))
    }
}

fn path(key: &str) -> PathBuf {
    PathBuf::from(format!("/etc/sysctl.d/90-hostler-{}.conf", key.replace('/', ".")))
}

fn file(key: &str, value: &str) -> HostFile {
    HostFile { content: format!("{key} = {value}\n").into_bytes(), mode: 0o644, uid: 0, gid: 0 }
}
