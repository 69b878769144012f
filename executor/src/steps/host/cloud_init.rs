//! `cloud_init.fence`: cloud-init gives the machine no other name and writes no other `/etc/hosts` at the next boot.

use std::path::Path;

use hostler_plan::step::machine::{CloudInit, FenceCloudInit};

use crate::{
    host::{Host, HostFile, text},
    steps::action::{Action, Check, StepContext, StepError},
};

/// There where cloud-init is installed.
const CONFIG: &str = "/etc/cloud/cloud.cfg";
const OURS: &str = "/etc/cloud/cloud.cfg.d/99-hostler.cfg";
/// <https://docs.cloud-init.io/en/latest/howto/disable_cloud_init.html>
const DISABLED: &str = "/etc/cloud/cloud-init.disabled";
/// What a machine was told at its first boot, which goes over its own files.
const USER_DATA: &str = "/var/lib/cloud/instance/cloud-config.txt";
const FINISHED: &str = "/var/lib/cloud/instance/boot-finished";
const HOST_NAME: &str = "/etc/hostname";

const NAMES: &str = "# Written by hostler-agent from a signed plan; changes here are undone by the next one.\n\
    preserve_hostname: true\nmanage_etc_hosts: false\n";

impl Action for FenceCloudInit {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let host = context.host();
        if let Some(unfit) = host_name(host)? {
            return Ok(unfit);
        }
        if host.read_file(Path::new(CONFIG))?.is_none() {
            return Ok(Check::Done("there is no cloud-init that would change names".into()));
        }
        if host.read_file(Path::new(FINISHED))?.is_none() {
            return Ok(Check::Mismatch {
                expected: "a machine whose first boot is over".into(),
                found: "cloud-init is still at it, or did not end it: `cloud-init status --wait --long`".into(),
            });
        }
        match self.fence {
            CloudInit::Off => off(context),
            CloudInit::Names => names(context),
        }
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let (path, content) = match self.fence {
            CloudInit::Off => (DISABLED, ""),
            CloudInit::Names => (OURS, NAMES),
        };
        Ok(context.host().write_file(Path::new(path), &root_file(content))?)
    }
}

fn root_file(content: &str) -> HostFile {
    HostFile { content: content.into(), mode: 0o644, uid: 0, gid: 0 }
}

fn off(context: &mut StepContext<'_>) -> Result<Check, StepError> {
    if context.host().read_file(Path::new(DISABLED))?.is_some() {
        return Ok(Check::Done("cloud-init runs at no boot".into()));
    }
    context.observe("change", format!("{DISABLED}: cloud-init runs at no boot any more"));
    Ok(Check::Ready)
}

fn names(context: &mut StepContext<'_>) -> Result<Check, StepError> {
    let host = context.host();
    let told = text(host, USER_DATA)?.unwrap_or_default();
    let value = |key: &str| told.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim);
    let said = [("manage_etc_hosts", value("manage_etc_hosts")), ("preserve_hostname", value("preserve_hostname"))];
    let against = said.into_iter().find_map(|(key, value)| {
        let value = value?.trim_matches(['"', '\'']);
        let is_off = ["false", "no", "off"].iter().any(|no| value.eq_ignore_ascii_case(no));
        ((key == "preserve_hostname") == is_off).then(|| format!("{key}: {value}"))
    });
    if let Some(against) = against {
        return Ok(Check::Mismatch {
            expected: "names that cloud-init leaves alone".into(),
            found: format!(
                "{against} in the machine's user-data, which goes over every file: write cloud_init = \"off\" into the \
                 fleet file"
            ),
        });
    }
    if host.read_file(Path::new(OURS))? == Some(root_file(NAMES)) {
        return Ok(Check::Done("cloud-init leaves the host name and /etc/hosts alone".into()));
    }
    context.observe("change", format!("{OURS}: preserve_hostname, and not manage_etc_hosts"));
    Ok(Check::Ready)
}

/// Why the next boot would give the machine another name than it has.
fn host_name(host: &dyn Host) -> Result<Option<Check>, StepError> {
    let (now, next) = (host.host_name()?, text(host, HOST_NAME)?);
    let next = next.as_deref().map(str::trim);
    if next == Some(now.as_str()) {
        return Ok(None);
    }
    Ok(Some(Check::Mismatch {
        expected: format!("{now} in {HOST_NAME}, the name that the machine has now"),
        found: match next {
            Some(next) => format!("{next:?}, which it has from the next boot on: `hostnamectl hostname NAME`"),
            None => "no such file: `hostnamectl hostname NAME`".to_owned(),
        },
    }))
}
