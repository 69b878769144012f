//! A snapshot of etcd before a server is changed: taken, verified, and kept by count on the server itself.

use std::{path::Path, time::Duration};

use hostler_plan::text;
use serde::Deserialize;

use super::run;
use crate::{
    distribution::kubeadm::{etcd, state},
    host::HostError,
    steps::action::{StepContext, StepError},
};

/// For root alone: it holds every Secret of the cluster.
const FOLDER: &str = "/var/lib/hostler/etcd";

/// The newest of them; each is as large as etcd's data, 2 GiB at most unless somebody raised its quota.
const KEPT: usize = 3;

/// etcd reads all of its data, from an SD card too.
const LIMIT: Duration = Duration::from_secs(600);

const README: &str = "Snapshots of etcd that Hostler took before it changed this server, by their time in seconds \
                      since 1970.\nEach holds every Secret of the cluster. The newest three are kept.\n\
                      `etcdutl snapshot status` reads them.\n";

/// What `etcdutl snapshot status` says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Status {
    hash: u64,
    revision: i64,
    #[serde(rename = "totalKey")]
    keys: u64,
}

/// Takes one of the etcd on this server and says what is in it; nothing where etcd is not one of its static pods.
pub(super) fn take(context: &mut StepContext<'_>) -> Result<(), StepError> {
    if !state::manifests(context.host())?.iter().any(|manifest| manifest.component == state::ETCD) {
        return Ok(());
    }
    run::write(&format!("{FOLDER}/README"), README, 0o600, context)?;
    let file = format!("{FOLDER}/etcd-{}.db", context.host().now().unix_milliseconds() / 1000);
    context.say("takes a snapshot of etcd");
    let save = etcd::command(&["snapshot", "save", &file]);
    context.host().run(&save, LIMIT).map_err(needs)?;
    let status = context.host().run(&["etcdutl", "snapshot", "status", &file, "--write-out", "json"], LIMIT);
    let status = read(&status.map_err(needs)?).map_err(StepError::Failed)?;
    let measured = context.host().measure_file(Path::new(&file))?;
    let digest = measured.map_or_else(String::new, |measured| measured.digest.to_string());
    let Status { hash, revision, keys } = status;
    context.observe("etcd_snapshot", format!("{file} {digest} revision {revision}, {keys} keys, hash {hash:x}"));
    prune(context)
}

/// A server is changed with a snapshot of its etcd, or not at all.
fn needs(error: HostError) -> StepError {
    match error {
        HostError::Missing { what } => StepError::Failed(format!(
            "a server is changed only with a snapshot of etcd, and this machine has no {what}; add etcdctl and \
             etcdutl to the artifacts"
        )),
        other @ (HostError::File { .. }
        | HostError::Command { .. }
        | HostError::Signalled { .. }
        | HostError::TimedOut { .. }
        | HostError::Unexpected { .. }) => {
            StepError::Failed(format!("a server is changed only with a snapshot of etcd, and there is none: {other}"))
        }
    }
}

fn read(status: &str) -> Result<Status, String> {
    let found = text::clean_to(status, 200);
    let read: Status = serde_json::from_str(status).map_err(|_| {
        format!("etcdutl says nothing of the snapshot that can be read: expected its hash and revision, found {found}")
    })?;
    if read.revision < 1 || read.keys < 1 {
        return Err(format!("the snapshot of etcd is empty: {found}"));
    }
    Ok(read)
}

/// Keeps the newest; their names sort as their times do. What was cut off while it was written goes too.
fn prune(context: &StepContext<'_>) -> Result<(), StepError> {
    let names = context.host().list_folder(Path::new(FOLDER))?;
    let (whole, parts): (Vec<&String>, Vec<&String>) =
        names.iter().filter(|name| name.starts_with("etcd-")).partition(|name| name.ends_with(".db"));
    let old = &whole[..whole.len().saturating_sub(KEPT)];
    Ok(old.iter().chain(&parts).try_for_each(|name| context.host().remove(&Path::new(FOLDER).join(name)))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_counts_only_with_something_in_it() {
        let good = r#"{"hash":3549437345,"revision":1281,"totalKey":613,"totalSize":5677056,"version":"3.6.0"}"#;
        assert_eq!(read(good), Ok(Status { hash: 3_549_437_345, revision: 1281, keys: 613 }));
        for bad in ["", "{}", r#"{"hash":1,"revision":0,"totalKey":0}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
