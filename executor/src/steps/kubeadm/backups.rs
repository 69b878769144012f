//! What kubeadm puts aside at every upgrade and never removes: whole data directories of etcd among it.

use std::path::Path;

use crate::{
    distribution::kubeadm::{BACKUPS, ETCD_DATA, QUICK},
    host::HostError,
    steps::action::{StepContext, StepError},
};

/// Room that stays beside what is copied: manifests, logs of what restarts.
const MARGIN: u64 = 256 << 20;

/// Removes what earlier runs left, and says how much that was, where it was anything.
pub(super) fn prune(context: &mut StepContext<'_>) -> Result<(), StepError> {
    let names = context.host().list_folder(Path::new(BACKUPS))?;
    let old: Vec<&String> = names.iter().filter(|name| is_left(name)).collect();
    if old.is_empty() {
        return Ok(());
    }
    if let Some(bytes) = size(BACKUPS, context)? {
        context.say(format!("removes {} old copies of kubeadm's, {} in {BACKUPS}", old.len(), megabytes(bytes)));
    }
    Ok(old.iter().try_for_each(|name| context.host().remove(&Path::new(BACKUPS).join(name)))?)
}

/// What kubeadm itself names so.
fn is_left(name: &str) -> bool {
    ["kubeadm-backup-", "kubeadm-upgraded-", "kubeadm-kubelet-config", "kubeadm-kubelet-env"]
        .iter()
        .any(|of_kubeadm| name.starts_with(of_kubeadm))
}

/// kubeadm copies all of etcd's data beside it: whether that fits is asked before.
pub(super) fn must_fit(context: &StepContext<'_>) -> Result<(), StepError> {
    let (Some(data), Some(free)) = (size(ETCD_DATA, context)?, free("/etc/kubernetes", context)?) else {
        return Ok(());
    };
    if data + MARGIN <= free {
        return Ok(());
    }
    Err(StepError::Failed(format!(
        "kubeadm copies etcd's {} to {BACKUPS} first, and {} are free there, {} wanted; make room",
        megabytes(data),
        megabytes(free),
        megabytes(data + MARGIN),
    )))
}

/// The bytes of a folder; none where nobody can tell.
pub(super) fn size(folder: &str, context: &StepContext<'_>) -> Result<Option<u64>, StepError> {
    first_number(&["du", "--summarize", "--block-size=1", folder], 0, context)
}

/// The bytes that are free where that folder lies; none where nobody can tell.
pub(super) fn free(folder: &str, context: &StepContext<'_>) -> Result<Option<u64>, StepError> {
    first_number(&["df", "--output=avail", "--block-size=1", folder], 1, context)
}

/// The bytes of a file, which is there.
pub(super) fn length(file: &str, context: &StepContext<'_>) -> Result<u64, StepError> {
    let found = first_number(&["stat", "--format=%s", file], 0, context)?;
    found.ok_or_else(|| StepError::Failed(format!("the length of {file} cannot be read")))
}

fn first_number(command: &[&str], line: usize, context: &StepContext<'_>) -> Result<Option<u64>, StepError> {
    match context.host().run(command, QUICK) {
        Ok(text) => Ok(text.lines().nth(line).and_then(|line| line.split_whitespace().next()?.parse().ok())),
        // A file that went away while it was counted, too.
        Err(HostError::Missing { .. } | HostError::Command { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}
