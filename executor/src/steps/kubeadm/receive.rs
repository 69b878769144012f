//! `etcd.receive`: the snapshot is here, opened, proved, and fit for this server. Whatever can refuse refuses here,
//! before anything stops.

use std::path::Path;

use hostler_plan::{
    document::SnapshotNote,
    id::{ArtifactName, Digest},
    json,
    step::restore::{Member, Receive, Restored, SnapshotOf},
    version::Version,
};
use hostler_seal::Identity;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    backups::{self, megabytes},
    encryption,
    restored::{self, Lies, Places, SNAPSHOTS, STOPPED},
    run, snapshot,
};
use crate::{
    distribution::kubeadm::{ETCD_DATA, KUBELET_UNIT, PKI, QUICK, etcd, state},
    host::{HostError, Opened, UnitActivity},
    steps::{
        action::{Action, Check, StepContext, StepError},
        host::artifact::staged,
    },
};

/// What tells one cluster from another: its authorities, and the key that service accounts are proved by.
const OF_THE_CLUSTER: [&str; 3] = ["ca.crt", "etcd/ca.crt", "sa.pub"];

/// Of a bundle, where the cluster's Secrets are encrypted at rest.
pub(super) const ENCRYPTION: &str = "encryption.yaml";

/// A write-ahead log that etcd makes at once, and what else runs on.
const MARGIN: u64 = (64 + 256) << 20;

/// The first etcdutl that lets revisions go on behind those that anybody saw.
const ETCDUTL: (u32, u32) = (3, 6);

/// What was proved of the data that are kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proved {
    sha256: Digest,
    artifact: Digest,
}

impl Action for Receive {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        if restored::is_restored(&self.restored, context)? {
            return Ok(Check::Done(format!("etcd's data here are those of restore {} already", self.restored.name)));
        }
        if let Some((expected, found)) = unfit(self, context)? {
            return Ok(Check::Mismatch { expected, found });
        }
        Ok(match is_kept(self, context)? {
            true => Check::Done(format!(
                "snapshot {} is whole, of this machine's cluster, and kept for the restore; revision {}",
                self.snapshot.name, self.snapshot.revision
            )),
            false => Check::Ready,
        })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let taken = Taken { artifact: &self.artifact, snapshot: &self.snapshot, restored: &self.restored };
        take_in(taken, context, of_another_cluster).map(drop)
    }
}

/// What is taken in, and for which restore.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken<'a> {
    pub artifact: &'a ArtifactName,
    pub snapshot: &'a SnapshotOf,
    pub restored: &'a Restored,
}

/// Opens the sealed snapshot, proves it, and keeps etcd's data where the restore looks for them. `unfit` says what else
/// does not fit here, expected and found. Of what is refused nothing stays.
pub(super) fn take_in(
    taken: Taken<'_>,
    context: &mut StepContext<'_>,
    unfit: impl Fn(&[Opened], &StepContext<'_>) -> Result<Option<(String, String)>, StepError>,
) -> Result<Vec<Opened>, StepError> {
    let places = Places::of(&taken.restored.name);
    let artifact = context.artifact(taken.artifact)?;
    must_fit(artifact.size, context)?;
    run::write(&format!("{SNAPSHOTS}/README"), snapshot::README, 0o600, context)?;
    forget_others(&places, context)?;
    let file = staged(taken.artifact, context)?;
    context.say(format!("opens snapshot {}", taken.snapshot.name));
    let key = Identity::from_bytes(context.keys.sealing().to_bytes());
    let opened = context.host().open_sealed(&key, &file, SnapshotNote::DATA, Path::new(&places.snapshot));
    let opened = opened.map_err(|error| {
        StepError::Failed(format!("{error}; nothing was stopped: the same command seals the snapshot anew"))
    })?;
    let proved = prove(taken.snapshot, &opened, &places, context).and_then(|sha256| match unfit(&opened, context)? {
        Some((expected, found)) => Err(wrong(taken.snapshot, &expected, &found)),
        None => Ok(sha256),
    });
    let sha256 = proved.inspect_err(|_| drop(context.host().remove(Path::new(&places.snapshot))))?;
    let proved = Proved { sha256, artifact: artifact.sha256 };
    let text = serde_json::to_string(&proved).map_err(|e| StepError::Failed(e.to_string()))?;
    run::write(&places.proved, &text, 0o600, context)?;
    Ok(opened)
}

/// What an earlier restore took in and did not come to use.
fn forget_others(places: &Places, context: &StepContext<'_>) -> Result<(), StepError> {
    for name in context.host().list_folder(Path::new(SNAPSHOTS))? {
        let path = format!("{SNAPSHOTS}/{name}");
        if name.starts_with("restore-") && path != places.snapshot && path != places.proved {
            context.host().remove(Path::new(&path))?;
        }
    }
    Ok(())
}

/// Whether the data are here that were proved, bit by bit.
fn is_kept(step: &Receive, context: &StepContext<'_>) -> Result<bool, StepError> {
    let places = Places::of(&step.restored.name);
    let Some(text) = state::text(context.host(), &places.proved)? else { return Ok(false) };
    let Ok(proved) = serde_json::from_str::<Proved>(&text) else { return Ok(false) };
    let found = context.host().measure_file(Path::new(&places.snapshot))?;
    let artifact = context.artifact(&step.artifact)?.sha256;
    Ok(proved.artifact == artifact && found.is_some_and(|found| found.digest == proved.sha256))
}

/// What of this machine does not fit, expected and found.
fn unfit(step: &Receive, context: &StepContext<'_>) -> Result<Option<(String, String)>, StepError> {
    let differs = |expected: String, found: &str| Ok(Some((expected, found.to_owned())));
    let Some(member) = restored::own_member(&step.restored, context) else {
        return differs(format!("{} among the members of the restore", context.subject()), "it is not");
    };
    for component in STOPPED {
        if restored::lies(component, context)? == Lies::Nowhere {
            let expected = format!("a server with {component} among its static pods");
            return differs(expected, "none; take the machine out of the fleet file, or bootstrap with the snapshot");
        }
    }
    let Some(etcd) = restored::pod(state::ETCD, context)? else { return Ok(None) };
    if let Some(unfit) = unfit_member(&etcd, member) {
        return Ok(Some(unfit));
    }
    let server = restored::pod(state::API_SERVER, context)?.unwrap_or_default();
    if let Some(unfit) = unfit_versions(step, restored::tag(&server), restored::tag(&etcd)) {
        return Ok(Some(unfit));
    }
    if context.host().unit(KUBELET_UNIT)?.activity != UnitActivity::Active {
        let expected = "a kubelet that runs: it stops and starts static pods".to_owned();
        return differs(expected, "it does not; `systemctl start kubelet` there");
    }
    if let Some(found) = outdated_etcdutl(context)? {
        let (major, minor) = ETCDUTL;
        return Ok(Some((
            format!("etcdutl {major}.{minor} or later"),
            format!("{found}; put it among the artifacts of the fleet file (`hostler plan baseline`)"),
        )));
    }
    if let Some(stranger) = left_out(&step.restored, context)? {
        let expected = "every voting member of etcd among the servers of the restore".to_owned();
        let found = format!(
            "etcd that answers with the member {stranger}, which would go on beside the restored cluster; write its \
             server into the fleet file again, or prove that its power is off and take it out of the cluster first \
             (`hostler node remove`)"
        );
        return Ok(Some((expected, found)));
    }
    // Who cannot be asked now could not be asked when everything stands still.
    restored::at_work(context)?;
    Ok(None)
}

/// A voting member of an etcd that still answers, and that is none of the restore's servers.
fn left_out(restored: &Restored, context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    let members = match etcd::members(context.host()) {
        Ok(members) => members.unwrap_or_default(),
        // Without a majority nobody answers: what a restore is for.
        Err(HostError::Command { .. } | HostError::TimedOut { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let is_restored = |voter: &etcd::Member| {
        let is = |m: &Member| etcd::of_node(std::slice::from_ref(voter), &m.name, Some(m.address));
        restored.members.iter().any(|member| is(member).is_ok_and(|found| found.is_some()))
    };
    Ok(members.iter().find(|member| !member.is_learner && !is_restored(member)).map(etcd::Member::said))
}

/// etcd's own idea of itself: the data that are restored say the same of it.
fn unfit_member(etcd: &Value, member: &Member) -> Option<(String, String)> {
    let wanted = [
        ("name", member.name.to_string()),
        ("initial-advertise-peer-urls", restored::peer_url(member)),
        ("data-dir", ETCD_DATA.to_owned()),
    ];
    for (flag, expected) in wanted {
        let found = restored::flag(etcd, flag).unwrap_or("nothing");
        if found != expected {
            return Some((
                format!("etcd of this machine with --{flag}={expected}"),
                format!("{found}; correct the fleet file, or restore by hand (docs/snapshots.md)"),
            ));
        }
    }
    let elsewhere = restored::flag(etcd, "wal-dir")?;
    Some(("etcd's log in its data directory".into(), format!("--wal-dir={elsewhere}; restore by hand")))
}

/// Older servers cannot read what newer ones stored, nor newer ones what far older ones did.
fn unfit_versions(step: &Receive, server: &str, etcd: &str) -> Option<(String, String)> {
    const NEXT: &str = "take another snapshot, or bring the servers to its version first";
    let Ok(runs) = server.parse::<Version>() else {
        let found = format!("an image of the API server with the tag {server:?}; {NEXT}");
        return Some(("a tag that is a version of Kubernetes".into(), found));
    };
    let taken = step.snapshot.kubernetes;
    let (minors, oldest) = ((taken.major, taken.minor), (runs.major, runs.minor.saturating_sub(1)));
    if taken > runs || minors < oldest {
        let expected = format!("a snapshot of {runs}, which runs here, or of the minor version before it");
        return Some((expected, format!("one of {taken}; {NEXT}")));
    }
    let (Some(took), Some(runs)) = (minor_of(step.snapshot.etcd.as_str()), minor_of(etcd)) else {
        let found = format!("etcd {} in the snapshot and {etcd:?} here; {NEXT}", step.snapshot.etcd);
        return Some(("versions of etcd that can be compared".into(), found));
    };
    let newer = took > runs;
    newer
        .then(|| (format!("a snapshot of etcd {etcd} or older"), format!("one of etcd {}; {NEXT}", step.snapshot.etcd)))
}

/// `3.6.8` and `3.6.8-0` as their first two numbers.
fn minor_of(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches('v').split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The version of an etcdutl that is too old or not there.
fn outdated_etcdutl(context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    let text = match context.host().run(&["etcdutl", "version"], QUICK) {
        Err(HostError::Missing { .. }) => return Ok(Some("none".to_owned())),
        other => other?,
    };
    let version = text.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap_or_default();
    let is_new = minor_of(version).is_some_and(|found| found >= ETCDUTL);
    Ok((!is_new).then(|| version.to_owned()))
}

/// The data out of the snapshot, the restored ones and a log; those before stay where they are.
fn must_fit(size: u64, context: &StepContext<'_>) -> Result<(), StepError> {
    let needed = size.saturating_mul(2).saturating_add(MARGIN);
    for folder in [SNAPSHOTS, ETCD_DATA] {
        if let Some(free) = backups::free(folder, context)?
            && free < needed
        {
            return Err(StepError::Failed(format!(
                "a restore needs {} in {folder}, found {} free; make room, nothing was stopped",
                megabytes(needed),
                megabytes(free)
            )));
        }
    }
    Ok(())
}

fn wrong(snapshot: &SnapshotOf, expected: &str, found: &str) -> StepError {
    StepError::Failed(format!(
        "snapshot {}: expected {expected}, found {found}; nothing was stopped: take another snapshot \
         (`hostler snapshot list`)",
        snapshot.name
    ))
}

/// That it is the snapshot that the plan names, and whole. The digest of etcd's data.
fn prove(
    named: &SnapshotOf,
    opened: &[Opened],
    places: &Places,
    context: &mut StepContext<'_>,
) -> Result<Digest, StepError> {
    let wrong = |expected: &str, found: &str| Err(wrong(named, expected, found));
    let note = opened.split_first().and_then(|(first, rest)| Some((first.content.as_deref()?, &first.file, rest)));
    let Some((text, first, rest)) = note.filter(|(_, first, _)| first.name == SnapshotNote::NAME) else {
        return wrong(&format!("{} as its first file", SnapshotNote::NAME), "none");
    };
    let note: SnapshotNote = match json::parse(text) {
        Ok(note) => note,
        Err(e) => return wrong(&format!("{} that can be read", first.name), &format!("it is {e}")),
    };
    let said = [
        ("name", named.name.to_string(), &note.name),
        ("revision", named.revision.to_string(), &note.revision.to_string()),
        ("Kubernetes", named.kubernetes.to_string(), &note.kubernetes),
        ("etcd", named.etcd.to_string(), &note.etcd),
    ];
    if let Some((what, expected, found)) = said.iter().find(|(_, expected, found)| expected != *found) {
        return wrong(&format!("{what} {expected}"), found);
    }
    if rest.iter().map(|part| &part.file).ne(&note.files) {
        return wrong("the files that it names, with their digests", "others");
    }
    let Some(data) = note.files.iter().find(|file| file.name == SnapshotNote::DATA) else {
        return wrong(SnapshotNote::DATA, "none");
    };
    let status = snapshot::status(&places.snapshot, context)?;
    let (hash, revision) = (format!("{:x}", status.hash), status.revision);
    if (&hash, revision) != (&note.hash, note.revision) {
        let expected = format!("hash {} at revision {}", note.hash, note.revision);
        return wrong(&expected, &format!("{hash} at {revision}"));
    }
    context.observe("snapshot_restored", format!("{} revision {revision}, hash {hash}", note.name));
    Ok(data.sha256)
}

/// Files of this machine that are not those of the snapshot's cluster, expected and found.
fn of_another_cluster(parts: &[Opened], context: &StepContext<'_>) -> Result<Option<(String, String)>, StepError> {
    let content = |name: &str| parts.iter().find(|part| part.file.name == name).and_then(|part| part.content.as_ref());
    for name in OF_THE_CLUSTER {
        let path = format!("{PKI}/{name}");
        let here = context.host().read_file(Path::new(&path))?.map(|file| Digest::of(&file.content));
        let there = content(&format!("pki/{name}")).map(|content| Digest::of(content));
        if here.is_none() || here != there {
            let said = |digest: Option<Digest>| digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
            return Ok(Some((
                format!("this machine's cluster ({path} {})", said(here)),
                format!("another one's ({})", said(there)),
            )));
        }
    }
    // What was stored encrypted is read by the keys of then.
    let there = content(ENCRYPTION).map(|content| String::from_utf8_lossy(content));
    let unreadable = encryption::unreadable(there.as_deref(), keys_here(context)?.as_deref());
    unreadable.map_err(|why| StepError::Failed(format!("{why}; nothing was stopped")))
}

/// The configuration by which this server's API server encrypts what it stores, where it does.
fn keys_here(context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    let server = restored::pod(state::API_SERVER, context)?.unwrap_or_default();
    let Some(path) = restored::flag(&server, "encryption-provider-config") else { return Ok(None) };
    let text = state::text(context.host(), path)?;
    text.map(Some).ok_or_else(|| {
        StepError::Failed(format!("expected {path}, which the API server is told to encrypt by, found none"))
    })
}
