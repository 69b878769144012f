//! `hostler artifact …`: what nodes run, by digest.

use std::path::Path;

use hostler_plan::{fleet::FleetArtifact, text::count};
use serde_json::{Value, json};

use super::Context;
use crate::{
    args::{ArtifactCommand, LockArgs},
    artifact::{self, Change, Locked, Standing},
    error::Error,
    output::{clean, note, print, table},
    plan,
};

pub(super) async fn run(context: &Context, command: ArtifactCommand) -> Result<(), Error> {
    match command {
        ArtifactCommand::Lock(args) => lock(context, *args).await,
        ArtifactCommand::List => list(context),
        ArtifactCommand::Verify => verify(context),
    }
}

async fn lock(context: &Context, args: LockArgs) -> Result<(), Error> {
    let (fleet_file, kept) = (context.profile.fleet()?.to_owned(), context.profile.kept_artifacts());
    let (sources, told) = args.told();
    // It reads, unpacks and downloads for as long as that takes.
    let work = move || artifact::lock(&fleet_file, &kept, &sources, &told);
    let done = tokio::task::spawn_blocking(work).await.map_err(|e| Error::Failed(e.to_string()))??;
    done.notes.iter().for_each(|n| note(&clean(n)));
    print(
        context.output,
        || {
            let artifacts: Vec<Value> = done.locked.iter().map(said).collect();
            json!({ "lock": done.lock.display().to_string(), "artifacts": artifacts })
        },
        || {
            let rows: Vec<[String; 6]> = done.locked.iter().map(row).collect();
            let changed = done.locked.iter().filter(|l| l.change != Change::Same).count();
            let text = table(["NAME", "VERSION", "ARCH", "KIND", "CHANGE", "COMPARED WITH"], &rows);
            format!("{text}\n{}: {} of {} changed", done.lock.display(), changed, count(rows.len(), "artifact"))
        },
    )
}

fn said(locked: &Locked) -> Value {
    let entry = &locked.entry;
    json!({ "name": entry.name, "kind": entry.kind, "version": entry.version, "arch": entry.arch,
        "sha256": entry.sha256, "size": entry.size, "change": locked.change.word(), "checked": locked.checked })
}

fn row(locked: &Locked) -> [String; 6] {
    let entry = &locked.entry;
    let or = |text: &Option<String>| clean(text.as_deref().unwrap_or("-")).into_owned();
    let (version, arch) = (or(&entry.version), or(&entry.arch));
    [
        clean(&entry.name).into_owned(),
        version,
        arch,
        entry.kind.clone(),
        locked.change.word().to_owned(),
        or(&locked.checked),
    ]
}

/// Every artifact of the fleet file and its lock, and what stands of it here.
fn standings(context: &Context, quick: bool) -> Result<Vec<(FleetArtifact, Standing)>, Error> {
    let fleet_file = context.profile.fleet()?;
    let (fleet, _) = plan::read_fleet(fleet_file)?;
    let kept = context.profile.kept_artifacts();
    let look = |a: FleetArtifact| {
        let standing = artifact::standing(&a, fleet_file, &kept, quick);
        (a, standing)
    };
    Ok(fleet.artifacts.into_iter().map(look).collect())
}

fn list(context: &Context) -> Result<(), Error> {
    let all = standings(context, true)?;
    let place = |standing: &Standing| match standing {
        Standing::Here(path) | Standing::Wrong(path, _) => path.display().to_string(),
        Standing::Missing => "-".to_owned(),
    };
    print(
        context.output,
        || {
            let of = |(a, standing): &(FleetArtifact, Standing)| {
                json!({ "name": a.name, "kind": a.kind.word(), "version": a.version,
                    "kubernetes": a.kubernetes.map(|v| v.to_string()), "arch": a.arch.map(|a| a.to_string()),
                    "role": a.role.map(|r| r.to_string()), "sha256": a.sha256.hex(), "size": a.size,
                    "here": *standing != Standing::Missing })
            };
            json!({ "artifacts": all.iter().map(of).collect::<Vec<_>>() })
        },
        || {
            let row = |(a, standing): &(FleetArtifact, Standing)| {
                let arch = a.arch.map_or("-".to_owned(), |arch| arch.to_string());
                let role = a.role.map_or("all".to_owned(), |role| role.to_string());
                let version = clean(a.version.as_deref().unwrap_or("-")).into_owned();
                [a.name.to_string(), version, arch, a.kind.word().to_owned(), role, a.size.to_string(), place(standing)]
            };
            let rows: Vec<[String; 7]> = all.iter().map(row).collect();
            table(["NAME", "VERSION", "ARCH", "KIND", "ROLE", "BYTES", "FILE"], &rows)
        },
    )
}

fn verify(context: &Context) -> Result<(), Error> {
    let all = standings(context, false)?;
    let wrong: Vec<String> = all.iter().filter_map(|(a, standing)| trouble(a, standing)).collect();
    if !wrong.is_empty() {
        return Err(Error::Failed(wrong.join("\n")));
    }
    let bytes: u64 = all.iter().map(|(a, _)| a.size).sum();
    print(
        context.output,
        || json!({ "artifacts": all.len(), "bytes": bytes }),
        || format!("{} here and as locked, {bytes} bytes", count(all.len(), "artifact")),
    )
}

fn trouble(artifact: &FleetArtifact, standing: &Standing) -> Option<String> {
    let name = artifact.plan_name();
    let said = |path: &Path, why: &str| format!("{name}: {}: {why}", path.display());
    match standing {
        Standing::Here(_) => None,
        Standing::Wrong(path, why) => Some(said(path, why)),
        Standing::Missing => {
            let from = match &artifact.source {
                hostler_plan::fleet::Source::Path(path) => path,
                hostler_plan::fleet::Source::Url(url) => url,
            };
            Some(format!("{name}: its file is not here; `hostler artifact lock {from}` brings it"))
        }
    }
}
