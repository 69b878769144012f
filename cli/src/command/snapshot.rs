//! `hostler snapshot …`

use std::{collections::BTreeSet, path::PathBuf};

use hostler_plan::{document::SnapshotNote, text::count};
use serde_json::{Value, json};

use super::{Context, plan};
use crate::{
    args::{SnapshotCommand, SnapshotFetchArgs, SnapshotVerifyArgs},
    error::Error,
    output::{clean, note, print, table},
    snapshot::{self, Listed, Verified},
    trust_store::TrustStore,
};

pub(super) async fn run(context: &Context, command: SnapshotCommand) -> Result<(), Error> {
    match command {
        SnapshotCommand::Take(args) => {
            if TrustStore::require(&context.profile.home)?.root().recovery.is_empty() {
                note(
                    "WARNING: the root has no recovery key: the snapshot stays on the server that takes it, and is \
                     lost with it; make one with `hostler recovery key new`",
                );
            }
            plan::run_interactive(context, args).await
        }
        SnapshotCommand::List => list(context).await,
        SnapshotCommand::Fetch(args) => fetch(context, args).await,
        SnapshotCommand::Verify(args) => verify(context, &args),
    }
}

async fn list(context: &Context) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    let listed = snapshot::list(&mut admin).await?;
    let names: BTreeSet<&str> = listed.iter().map(|listed| listed.taken.name.as_str()).collect();
    for why in names.into_iter().filter_map(|name| snapshot::disputed(&listed, name)) {
        note(&format!("WARNING: {}", clean(&why)));
    }
    print(
        context.output,
        || json!({ "snapshots": listed.iter().map(|one| as_json(&listed, one)).collect::<Vec<_>>() }),
        || match listed.is_empty() {
            true => "no receipt names a snapshot yet; take one with `hostler snapshot take`".to_owned(),
            false => table(
                ["SNAPSHOT", "REVISION", "KUBERNETES", "CLUSTER", "SIZE", "WHERE"],
                &listed.iter().map(|one| row(&listed, one)).collect::<Vec<_>>(),
            ),
        },
    )
}

fn row(all: &[Listed], listed: &Listed) -> [String; 6] {
    let Listed { taken, node, is_proved, is_here } = listed;
    let size = taken.sealed.map_or_else(|| "-".to_owned(), |sealed| format!("{} kB", sealed.size.div_ceil(1000)));
    let mut place = match (taken.sealed, is_here) {
        (None, _) => format!("on {node} alone"),
        (Some(_), true) => "coordinator".to_owned(),
        // Whether a server still keeps what it took nobody tells: the newest stay.
        (Some(_), false) => format!("not with the coordinator; perhaps still on {node}"),
    };
    if !is_proved {
        place.push_str(", and no server's key of today names it");
    }
    if snapshot::disputed(all, &taken.name).is_some() {
        place.push_str("; refused: two receipts say two digests");
    }
    [
        clean(&taken.name).into_owned(),
        taken.revision.to_string(),
        clean(&taken.kubernetes).into_owned(),
        clean(&taken.cluster_id).into_owned(),
        size,
        place,
    ]
}

fn as_json(all: &[Listed], listed: &Listed) -> Value {
    let Listed { taken, node, is_proved, is_here } = listed;
    json!({ "snapshot": taken.name, "node": node, "revision": taken.revision, "kubernetes": taken.kubernetes,
        "cluster_id": taken.cluster_id, "digest": taken.sealed.map(|sealed| sealed.digest),
        "size": taken.sealed.map(|sealed| sealed.size), "at_coordinator": is_here, "proved": is_proved,
        "disputed": snapshot::disputed(all, &taken.name).is_some() })
}

async fn fetch(context: &Context, args: SnapshotFetchArgs) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    let path = args.out.unwrap_or_else(|| PathBuf::from(format!("{}.age", args.name)));
    let sealed = snapshot::fetch(&mut admin, &args.name, &path).await?;
    let file = path.display().to_string();
    print(
        context.output,
        || json!({ "file": file, "digest": sealed.digest, "size": sealed.size }),
        || format!("wrote {file}\nnext: hostler snapshot verify {file} --recovery-key FILE"),
    )
}

fn verify(context: &Context, args: &SnapshotVerifyArgs) -> Result<(), Error> {
    let key = snapshot::recovery_key(&args.recovery_key)?;
    let Verified { note: found, digest, looked_into } = snapshot::verify(&args.file, &key)?;
    if let Some(store) = TrustStore::load(&context.profile.home)?
        && store.root().fleet_id != found.fleet_id
    {
        note(&format!("WARNING: it is of fleet {}, and this profile is of {}", found.fleet_id, store.root().fleet_id));
    }
    let SnapshotNote { name, node, taken, cluster_id, revision, keys, hash, etcd, kubernetes, files, .. } = &found;
    print(
        context.output,
        || {
            json!({ "snapshot": name, "node": node, "taken": taken, "cluster_id": cluster_id, "revision": revision,
                "keys": keys, "hash": hash, "etcd": etcd, "kubernetes": kubernetes, "digest": digest,
                "files": files, "looked_into": looked_into })
        },
        || {
            let looked = match looked_into {
                true => "etcdutl finds in it what was noted",
                false => "etcdutl is not in the path: etcd's data were compared by digest alone",
            };
            format!(
                "{name} is whole: {}, every one with its digest; {looked}\n\
                 taken       {taken} on {node}\n\
                 cluster     {cluster_id}, etcd {etcd}, Kubernetes {kubernetes}\n\
                 revision    {revision}, {keys} keys, hash {hash}\n\
                 digest      {digest}",
                count(files.len(), "file")
            )
        },
    )
}
