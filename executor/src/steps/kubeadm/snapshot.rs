//! Snapshots of etcd: taken, verified, kept on the server itself, and sealed to the root's recovery keys with what a
//! restore needs.

use std::{collections::BTreeSet, path::Path, time::Duration};

use hostler_plan::{
    document::{Observation, Recipient, SealedSnapshot, SnapshotFile, SnapshotNote, SnapshotType, TakenSnapshot},
    form::FilePath,
    id::Digest,
    json,
    step::etcd::Snapshot,
    text::{self, count},
    timestamp::Timestamp,
};
use serde::Deserialize;

use super::{backups, restored::SNAPSHOTS as FOLDER, run};
use crate::{
    distribution::kubeadm::{ETCD_DATA, MANIFESTS, PKI, SERVER_FILES, etcd, health, state},
    host::{HostError, Part, PartContent},
    steps::action::{Action, Check, StepContext, StepError},
};

/// What the network side may read and sends on: sealed, so that nothing but lengths show.
const SEALED: &str = "/var/lib/hostler/sealed";

/// etcd reads all of its data, from an SD card too.
const LIMIT: Duration = Duration::from_secs(600);

/// Room that stays beside a snapshot and its sealed form.
const MARGIN: u64 = 256 << 20;

pub(super) const README: &str = "Snapshots of etcd that Hostler took on this server, by their time.\n\
                      Each holds every Secret of the cluster. `etcdutl snapshot status` reads them.\n";

/// What stays of snapshots of one sort, and where they go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept<'a> {
    /// What names of its files in [`FOLDER`] begin with: no sort takes the place of another.
    sort: &'static str,
    pub keep: usize,
    pub days: u32,
    pub to: &'a [FilePath],
}

/// Before a server is changed: three upgrades back is what anybody goes.
pub(super) const BEFORE_A_CHANGE: Kept<'static> = Kept { sort: CHANGE, keep: 3, days: 3660, to: &[] };

/// Snapshots that a plan asked for, and those before a change.
const TAKEN: &str = "etcd-";
const CHANGE: &str = "change-";

impl Action for Snapshot {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        if !has_etcd(context)? {
            let expected = format!("a server with etcd among the static pods of {MANIFESTS}");
            return Ok(Check::Mismatch { expected, found: "none; name another node".into() });
        }
        let Some(text) = state::text(context.host(), done(context.began()))? else { return Ok(Check::Ready) };
        let Ok(observations) = serde_json::from_str::<Vec<Observation>>(&text) else { return Ok(Check::Ready) };
        let value = |name: &str| observations.iter().find(|o| o.name == name).map(|o| o.value.clone());
        let (name, where_it_is) = (value("snapshot").unwrap_or_default(), value("snapshot_kept").unwrap_or_default());
        context.observations.extend(observations);
        Ok(Check::Done(format!("{name} is verified, {where_it_is}")))
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let kept = Kept { sort: TAKEN, keep: self.keep as usize, days: self.days, to: &self.to };
        let at = context.began();
        let observations = take(at, kept, context)?;
        let text = serde_json::to_string(&observations).map_err(|e| StepError::Failed(e.to_string()))?;
        run::write(&done(at), &text, 0o600, context)
    }
}

/// Says that the snapshot of that time is whole, in every place.
fn done(at: Timestamp) -> String {
    format!("{FOLDER}/{TAKEN}{}.json", SnapshotNote::time_of(at))
}

/// What `etcdutl snapshot status` says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Status {
    pub hash: u64,
    pub revision: u64,
    #[serde(rename = "totalKey")]
    keys: u64,
    /// Of etcd, as its data say it.
    #[serde(default)]
    version: String,
}

fn has_etcd(context: &StepContext<'_>) -> Result<bool, StepError> {
    Ok(state::has_etcd(&state::manifests(context.host())?))
}

/// Takes one before a server is changed and says what is in it; nothing where etcd is not one of its static pods.
pub(super) fn before_a_change(context: &mut StepContext<'_>) -> Result<(), StepError> {
    if !has_etcd(context)? {
        return Ok(());
    }
    let observations = take(context.host().now(), BEFORE_A_CHANGE, context);
    let observations = observations.map_err(|error| {
        if let StepError::Failed(reason) = error {
            StepError::Failed(format!("a server is changed only with a snapshot: {reason}"))
        } else {
            error
        }
    })?;
    context.observations.extend(observations);
    Ok(())
}

/// Takes the snapshot of that time, and gives what a receipt says of it.
fn take(at: Timestamp, kept: Kept<'_>, context: &mut StepContext<'_>) -> Result<Vec<Observation>, StepError> {
    run::write(&format!("{FOLDER}/README"), README, 0o600, context)?;
    must_fit(context)?;
    let file = format!("{FOLDER}/{}{}.db", kept.sort, SnapshotNote::time_of(at));
    context.say("takes a snapshot of etcd");
    context.host().run(&etcd::command(&["snapshot", "save", &file]), LIMIT).map_err(needs)?;
    let status = status(&file, context)?;
    let member = health::status(context.host())?;
    let node = context.task.node.clone();
    let kubernetes = state::manifests(context.host())?
        .iter()
        .find(|manifest| manifest.component == state::API_SERVER)
        .map_or_else(String::new, |manifest| manifest.tag().to_owned());
    let note = SnapshotNote {
        document_type: SnapshotType::V1,
        fleet_id: context.plan.document().fleet_id.clone(),
        name: SnapshotNote::name_of(&node, at),
        node,
        taken: at.whole_seconds(),
        cluster_id: format!("{:x}", member.header.cluster_id),
        revision: status.revision,
        keys: status.keys,
        hash: format!("{:x}", status.hash),
        etcd: member.version,
        kubernetes,
        files: Vec::new(),
    };
    let keys: Vec<Recipient> = context.node.state.root().root().recovery.iter().map(|key| key.key).collect();
    let measured = context.host().measure_file(Path::new(&file))?;
    let Some(digest) = measured.map(|measured| measured.digest) else {
        return Err(StepError::Failed(format!("etcdctl ended well, and {file} is not there")));
    };
    let sealed = match keys.is_empty() {
        true => None,
        false => Some(seal(&note, (&file, digest), &keys, kept.to, context)?),
    };
    prune(&note, kept, context)?;
    Ok(observed(&note, (&file, digest), sealed, kept.to.len()))
}

/// What etcdutl says of a snapshot.
pub(super) fn status(file: &str, context: &StepContext<'_>) -> Result<Status, StepError> {
    let status = context.host().run(&["etcdutl", "snapshot", "status", file, "--write-out", "json"], LIMIT);
    read(&status.map_err(needs)?).map_err(StepError::Failed)
}

fn observed(
    note: &SnapshotNote,
    (file, digest): (&str, Digest),
    sealed: Option<SealedSnapshot>,
    folders: usize,
) -> Vec<Observation> {
    let SnapshotNote { name, cluster_id, revision, kubernetes, keys, hash, .. } = note;
    let (name, cluster_id, kubernetes) = (name.clone(), cluster_id.clone(), kubernetes.clone());
    let taken = TakenSnapshot { name, cluster_id, revision: *revision, kubernetes, sealed };
    let kept = match (sealed, folders) {
        (None, _) => "on this server alone: the root has no recovery key (`hostler recovery key new`)".to_owned(),
        (Some(_), 0) => "sealed for the coordinator".to_owned(),
        (Some(_), folders) => format!("sealed for the coordinator and in {}", count(folders, "folder")),
    };
    let said = format!("{file} {digest} revision {revision}, {keys} keys, hash {hash}");
    let more = [("etcd_snapshot", said), ("snapshot_kept", kept)];
    let more = more.map(|(name, value)| Observation { name: name.to_owned(), value });
    taken.observations().into_iter().chain(more).collect()
}

/// Seals the snapshot with what a restore needs, and copies it to every folder.
fn seal(
    note: &SnapshotNote,
    (file, digest): (&str, Digest),
    to: &[Recipient],
    folders: &[FilePath],
    context: &mut StepContext<'_>,
) -> Result<SealedSnapshot, StepError> {
    context.say(format!("seals the snapshot to {}", count(to.len(), "recovery key")));
    let mut contents: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, path) in authorities(context)? {
        let found = context.host().read_file(Path::new(&path))?;
        let content = found.ok_or_else(|| StepError::Failed(format!("expected {path} on this server, found none")))?;
        contents.push((name, content.content));
    }
    let of = |(name, content): &(String, Vec<u8>)| SnapshotFile {
        name: name.clone(),
        sha256: Digest::of(content),
        size: content.len() as u64,
    };
    let mut note = SnapshotNote { files: contents.iter().map(of).collect(), ..note.clone() };
    let size = backups::length(file, context)?;
    note.files.push(SnapshotFile { name: SnapshotNote::DATA.into(), sha256: digest, size });
    let text = json::write(&note);
    let mut parts = vec![Part { name: SnapshotNote::NAME, content: PartContent::Bytes(&text) }];
    parts.extend(contents.iter().map(|(name, content)| Part { name, content: PartContent::Bytes(content) }));
    parts.push(Part { name: SnapshotNote::DATA, content: PartContent::File(Path::new(file)) });
    let sealed_file = format!("{SEALED}/{}.age", note.name);
    let sealed = context.host().seal(to, &parts, Path::new(&sealed_file))?;
    for folder in folders {
        context.say(format!("copies the snapshot to {folder}"));
        let copy = format!("{folder}/{}.age", note.name);
        context.host().copy_file(Path::new(&sealed_file), Path::new(&copy))?;
    }
    Ok(sealed)
}

/// The names in the bundle and the places of what a restore needs besides etcd's data: the certificate authorities, the
/// keys of service accounts, and what etcd's Secrets are encrypted with where they are.
fn authorities(context: &StepContext<'_>) -> Result<Vec<(String, String)>, StepError> {
    let mut files: Vec<(String, String)> =
        SERVER_FILES.iter().map(|name| (format!("pki/{name}"), format!("{PKI}/{name}"))).collect();
    let manifest = state::text(context.host(), format!("{MANIFESTS}/{}.yaml", state::API_SERVER))?;
    let encryption = manifest.as_deref().and_then(|text| text.split("--encryption-provider-config=").nth(1));
    if let Some(path) = encryption.and_then(|rest| rest.split(|c: char| c.is_whitespace() || c == '"').next()) {
        files.push(("encryption.yaml".to_owned(), path.to_owned()));
    }
    Ok(files)
}

/// Its plain and its sealed form each have as many bytes as etcd's data, at most.
fn must_fit(context: &StepContext<'_>) -> Result<(), StepError> {
    let (Some(data), Some(free)) = (backups::size(ETCD_DATA, context)?, backups::free(FOLDER, context)?) else {
        return Ok(());
    };
    let needed = data.saturating_mul(2).saturating_add(MARGIN);
    if needed <= free {
        return Ok(());
    }
    Err(StepError::Failed(format!(
        "a snapshot and its sealed form need {} MB in {FOLDER}, found {} MB free; make room",
        needed / 1_000_000,
        free / 1_000_000
    )))
}

fn needs(error: HostError) -> StepError {
    match error {
        HostError::Missing { what } => {
            StepError::Failed(format!("this machine has no {what}; add etcdctl and etcdutl to the artifacts"))
        }
        other @ (HostError::File { .. }
        | HostError::Command { .. }
        | HostError::Signalled { .. }
        | HostError::TimedOut { .. }
        | HostError::Unexpected { .. }) => StepError::Failed(format!("etcd gives no snapshot: {other}")),
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

/// In every place the newest of each sort stay, and of those only what is not too old, but for the newest of all. With
/// a snapshot goes whatever else there is of it. What was cut off while it was written goes too, and what a restore put
/// aside that long ago.
fn prune(note: &SnapshotNote, kept: Kept<'_>, context: &StepContext<'_>) -> Result<(), StepError> {
    let oldest = note.taken.minus(Duration::from_secs(86_400).saturating_mul(kept.days));
    let oldest = SnapshotNote::time_of(oldest);
    let list = |folder: &str| context.host().list_folder(Path::new(folder));
    let remove = |folder: &str, name: &str| context.host().remove(&Path::new(folder).join(name));
    for name in outdated(&list(FOLDER)?, (kept.sort, ".db"), kept.keep, &oldest) {
        remove(FOLDER, name)?;
    }
    let mine = format!("{}-", note.node);
    for folder in kept.to {
        for name in outdated(&list(folder.as_str())?, (&mine, ".age"), kept.keep, &oldest) {
            remove(folder.as_str(), name)?;
        }
    }
    let names = list(FOLDER)?;
    let data = |sort| names.iter().filter_map(move |name| time_in(name, (sort, ".db")));
    let stay: BTreeSet<&str> = [TAKEN, CHANGE].into_iter().flat_map(data).collect();
    for name in names.iter().filter(|name| time_in(name, (TAKEN, ".json")).is_some_and(|time| !stay.contains(time))) {
        remove(FOLDER, name)?;
    }
    for name in &list(SEALED)? {
        if time_in(name, (&mine, ".age")).is_some_and(|time| !stay.contains(time)) {
            remove(SEALED, name)?;
        }
    }
    for before in list(ETCD_DATA)? {
        let put_aside = before.strip_prefix("before-").and_then(|name| name.split('-').next());
        if put_aside.is_some_and(|time| time < oldest.as_str()) {
            remove(ETCD_DATA, &before)?;
        }
    }
    names.iter().filter(|name| name.ends_with(".db.part")).try_for_each(|part| remove(FOLDER, part))?;
    Ok(())
}

/// Of a snapshot's file, the time in its name.
fn time_in<'n>(name: &'n str, (start, end): (&str, &str)) -> Option<&'n str> {
    name.strip_prefix(start)?.strip_suffix(end).filter(|time| SnapshotNote::is_time(time))
}

/// Names sort as their times do.
fn outdated<'n>(names: &'n [String], ends: (&str, &str), keep: usize, oldest: &str) -> Vec<&'n String> {
    let mut found: Vec<(&str, &String)> = names.iter().filter_map(|name| Some((time_in(name, ends)?, name))).collect();
    found.sort();
    let last = found.len().saturating_sub(1);
    let goes = |(at, (time, _)): &(usize, (&str, &String))| {
        *at < last && (*at < (last + 1).saturating_sub(keep) || *time < oldest)
    };
    found.into_iter().enumerate().filter(goes).map(|(_, (_, name))| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_counts_only_with_something_in_it() {
        let good = r#"{"hash":3549437345,"revision":1281,"totalKey":613,"totalSize":5677056,"version":"3.6.0"}"#;
        let version = "3.6.0".to_owned();
        assert_eq!(read(good), Ok(Status { hash: 3_549_437_345, revision: 1281, keys: 613, version }));
        for bad in ["", "{}", r#"{"hash":1,"revision":0,"totalKey":0}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_newest_stay_and_none_of_another_server_or_of_a_person_goes() {
        let names = ["s1-20261101T000000Z.age", "s1-20261120T000000Z.age", "s1-20261128T000000Z.age"];
        let others =
            ["s1-b-20260101T000000Z.age", "s10-20260101T000000Z.age", "s1-20260101T000000Z.bak", "s1-mine.age"];
        let names: Vec<String> = names.iter().chain(&others).map(|name| (*name).to_owned()).collect();
        let goes =
            |keep, oldest| outdated(&names, ("s1-", ".age"), keep, oldest).into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(goes(2, "20250101T000000Z"), names[..1]);
        assert_eq!(goes(9, "20261119T000000Z"), names[..1]);
        assert_eq!(goes(9, "20270101T000000Z"), names[..2], "the newest stays however old it is");
        assert!(goes(3, "20250101T000000Z").is_empty());
    }
}
