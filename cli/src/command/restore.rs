//! `hostler cluster restore`: a snapshot, opened and proved here, sealed to the servers, and the plan that restores it.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use hostler_plan::{
    document::{Artifact, Recipient},
    form::SnapshotName,
    id::{ArtifactName, NodeName},
    planner::{Intent, OpenedSnapshot},
    step::restore::SnapshotOf,
    text::count,
};

use super::{
    Context,
    plan::{self, Run},
};
use crate::{
    Admin,
    args::RestoreArgs,
    artifact::{kept_path, measure},
    error::Error,
    output::{clean, note},
    plan::read_fleet,
    snapshot::{self, Verified},
};

/// How the sealed file is called in plans.
const ARTIFACT: &str = "etcd-snapshot";

pub(super) async fn restore(context: &Context, args: RestoreArgs) -> Result<(), Error> {
    let (fleet, _) = read_fleet(context.profile.fleet()?)?;
    let servers: Vec<NodeName> = fleet.servers().into_iter().map(|server| server.name.clone()).collect();
    let asked =
        Asked { which: &args.snapshot, recovery_key: &args.recovery_key, accept_unproved: args.accept_unproved };
    let sealed = seal_to(context, asked, &servers).await?;
    let run = Run { options: args.options, out: args.out, yes: args.yes, no_watch: args.no_watch, artifacts: None };
    let intent = Intent::Restore { snapshot: sealed.opened.clone() };
    let ended = plan::run_request(context, intent.into(), run).await;
    sealed.remove();
    ended.map(drop)
}

/// A snapshot that was opened and proved here, and is sealed to machines of the fleet now.
#[derive(Debug)]
pub(super) struct Sealed {
    pub opened: OpenedSnapshot,
    /// The plan's artifact, among those that are kept by their digests: it is found there whatever folder is named.
    file: PathBuf,
}

impl Sealed {
    /// The coordinator has it, or nobody needs it.
    pub(super) fn remove(self) {
        let _ = fs::remove_file(self.file);
    }
}

/// The snapshot that an admin asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// A file, or a name.
    pub which: &'a str,
    pub recovery_key: &'a Path,
    /// Though no receipt names the file.
    pub accept_unproved: bool,
}

/// Finds the snapshot, opens and proves it, and hands it on to these machines.
pub(super) async fn seal_to(context: &Context, asked: Asked<'_>, machines: &[NodeName]) -> Result<Sealed, Error> {
    let key = snapshot::recovery_key(asked.recovery_key)?;
    let folder = context.profile.home.join("restore");
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|e| Error::file("write", &folder, e))?;
    let mut admin = context.admin().await?;
    admin.refresh().await?;
    let keys = sealing_keys(&admin, machines)?;
    let file = find(&mut admin, asked.which, &folder).await?;
    note(&format!("opens {}", file.display()));
    let verified = snapshot::verify(&file, &key)?;
    let by = snapshot::named_by(&mut admin, &verified).await?;
    let signer = by.as_ref().map_or_else(|| "nobody: no receipt names it".to_owned(), snapshot::Listed::signer);
    note(&format!("it is {}, signed by {signer}", verified.digest));
    if !asked.accept_unproved {
        snapshot::must_be_proved(by.as_ref(), &file, &verified)?;
    }
    let fleet_id = &admin.trust_store().root().fleet_id;
    if verified.note.fleet_id != *fleet_id {
        note(&format!(
            "WARNING: it is of fleet {}, and this profile is of {fleet_id}; a server that has a cluster compares its \
             certificate authorities with the snapshot's before anything stops",
            verified.note.fleet_id
        ));
    }
    let handed_on = folder.join(ARTIFACT);
    snapshot::hand_on((&file, &verified), &key, &keys, &handed_on)?;
    note(&format!("it is whole, and sealed to {} now", count(keys.len(), "server")));
    let opened = opened(&verified, &handed_on)?;
    let file = keep(&handed_on, &context.profile.kept_artifacts(), &opened.artifact)?;
    Ok(Sealed { opened, file })
}

/// Moves the sealed file to where artifacts are looked for by digest.
fn keep(sealed: &Path, kept: &Path, artifact: &Artifact) -> Result<PathBuf, Error> {
    let file = kept_path(kept, &artifact.sha256);
    let folder = file.parent().unwrap_or(kept);
    fs::create_dir_all(folder).map_err(|e| Error::file("write", folder, e))?;
    fs::rename(sealed, &file).map_err(|e| Error::file("write", &file, e))?;
    Ok(file)
}

/// A file of that name, or the snapshot that the coordinator keeps under it.
async fn find(admin: &mut Admin, which: &str, folder: &Path) -> Result<PathBuf, Error> {
    if Path::new(which).is_file() {
        return Ok(PathBuf::from(which));
    }
    let name = SnapshotName::new(which).map_err(|_| {
        Error::Usage(format!("expected a file, or a snapshot of `hostler snapshot list`, found {:?}", clean(which)))
    })?;
    let path = folder.join(format!("{name}.age"));
    snapshot::fetch(admin, name.as_str(), &path).await?;
    Ok(path)
}

/// The keys of those machines, as the roster lists them.
fn sealing_keys(admin: &Admin, machines: &[NodeName]) -> Result<Vec<Recipient>, Error> {
    let roster = admin.trust_store().require_roster()?.document();
    let mut keys = Vec::new();
    for name in machines {
        let listed = roster.active(name).ok_or_else(|| {
            Error::Failed(format!(
                "expected every server of the fleet file in the roster, found that {name} is not: approve it (`hostler \
                 node approve {name}`). Left out it may go on with the cluster as it is, beside the restored one: \
                 prove that its power is off before you take it out of the fleet file"
            ))
        })?;
        keys.push(listed.sealing_recipient().map_err(|e| Error::Failed(format!("{name}: {e}")))?);
    }
    Ok(keys)
}

fn opened(verified: &Verified, file: &Path) -> Result<OpenedSnapshot, Error> {
    let Verified { note, .. } = verified;
    let unfit = |what: &str, found: &str| {
        Error::Failed(format!(
            "expected a snapshot that says its {what}, found {:?}; restore it by hand (docs/snapshots.md)",
            clean(found)
        ))
    };
    let measured = measure(file)?;
    let name = ArtifactName::new(ARTIFACT).map_err(|e| Error::Failed(e.to_string()))?;
    Ok(OpenedSnapshot {
        is: SnapshotOf {
            name: note.name.parse().map_err(|_| unfit("name", &note.name))?,
            revision: note.revision,
            kubernetes: note.kubernetes.parse().map_err(|_| unfit("version of Kubernetes", &note.kubernetes))?,
            etcd: note.etcd.parse().map_err(|_| unfit("version of etcd", &note.etcd))?,
        },
        taken: note.taken,
        artifact: Artifact { name, sha256: measured.sha256, size: measured.size, arch: None },
    })
}
