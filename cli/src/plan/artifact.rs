//! The files that a plan names by digest: found, checked and uploaded before the plan is submitted.

use std::path::{Path, PathBuf};

use hostler_plan::{
    document::{Artifact, Plan},
    fleet::{Fleet, Source},
    refusal::{Refusal, Refused},
};
use hostler_proto::{ARTIFACT_CHUNK_BYTES, v1::UploadArtifactRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::{
    Admin,
    artifact::{candidates, measure, sealed_path},
    error::Error,
};

/// Where the files may lie.
#[derive(Debug, Clone, Default)]
pub struct ArtifactFiles {
    /// Searched first: a file with the artifact's plan name, or with the file name of its source.
    pub directory: Option<PathBuf>,
    /// What `hostler artifact lock` downloaded and took out of archives, by digest.
    pub kept: Option<PathBuf>,
    /// Sources of kind path are relative to it.
    pub fleet_file: Option<PathBuf>,
}

/// Uploads every artifact of the plan that the coordinator has not. Gives the names of those that were uploaded. Asked
/// before anything is signed: without its files no plan is taken.
pub async fn upload_missing(
    admin: &mut Admin,
    plan: &Plan,
    fleet: Option<&Fleet>,
    files: &ArtifactFiles,
) -> Result<Vec<String>, Error> {
    let mut uploaded = Vec::new();
    for artifact in &plan.artifacts {
        if !lacks(admin, artifact).await? {
            continue;
        }
        let path = find(artifact, fleet, files).ok_or_else(|| {
            Error::Failed(format!(
                "expected artifact {} ({}, {} bytes) in a file here or at the coordinator, found it in neither place; \
                 name its folder with --artifacts",
                artifact.name, artifact.sha256, artifact.size
            ))
        })?;
        check(artifact, &path)?;
        upload(admin, artifact, &path).await?;
        uploaded.push(artifact.name.to_string());
    }
    Ok(uploaded)
}

/// Uploads what was sealed for the plan and lies nowhere else: who signs or submits it may do so on another machine.
pub async fn upload_sealed(admin: &mut Admin, plan: &Plan, kept: &Path) -> Result<(), Error> {
    for artifact in &plan.artifacts {
        let path = sealed_path(kept, &artifact.sha256);
        if path.is_file() && lacks(admin, artifact).await? {
            upload(admin, artifact, &path).await?;
        }
    }
    Ok(())
}

fn find(artifact: &Artifact, fleet: Option<&Fleet>, files: &ArtifactFiles) -> Option<PathBuf> {
    let named = fleet.and_then(|f| f.artifacts.iter().find(|a| a.sha256 == artifact.sha256));
    let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
    let mut places = Vec::new();
    if let Some(directory) = &files.directory {
        places.push(directory.join(artifact.name.as_str()));
        // Of an archive the last part names the archive, and not the file in it.
        let name = named.filter(|a| a.member.is_none()).map(|a| match &a.source {
            Source::Path(path) => last(path),
            Source::Url(url) => last(url),
        });
        places.extend(name.map(|n| directory.join(n)));
    }
    places.extend(candidates(named, &artifact.sha256, files.fleet_file.as_deref(), files.kept.as_deref()));
    places.into_iter().find(|p| p.is_file())
}

fn check(artifact: &Artifact, path: &Path) -> Result<(), Error> {
    let found = measure(path)?;
    if (found.sha256, found.size) == (artifact.sha256, artifact.size) {
        return Ok(());
    }
    Err(Refused::new(
        Refusal::DigestMismatch,
        format!(
            "{}: expected artifact {} with {} and {} bytes, found {} and {} bytes; fetch it again, or correct the \
             fleet file or its lock",
            path.display(),
            artifact.name,
            artifact.sha256,
            artifact.size,
            found.sha256,
            found.size
        ),
    )
    .into())
}

/// Whether the coordinator says that it has it not: who sends nothing of an artifact asks that.
async fn lacks(admin: &mut Admin, artifact: &Artifact) -> Result<bool, Error> {
    let first = UploadArtifactRequest { digest: artifact.sha256.to_string(), size: artifact.size, data: Vec::new() };
    let request = admin.with_session(tokio_stream::iter([first]));
    match admin.client().upload_artifact(request).await {
        Err(status) if status.code() == Code::InvalidArgument => Ok(true),
        // Who may not upload may sign: whether the coordinator has it shows when the plan is handed in.
        Err(status) if status.code() == Code::PermissionDenied => Ok(false),
        other => Ok(other.map(|_| false)?),
    }
}

async fn upload(admin: &mut Admin, artifact: &Artifact, path: &Path) -> Result<(), Error> {
    let mut file = tokio::fs::File::open(path).await.map_err(|e| Error::file("read", path, e))?;
    let first = UploadArtifactRequest { digest: artifact.sha256.to_string(), size: artifact.size, data: Vec::new() };
    let (sender, receiver) = mpsc::channel(4);
    let feed = async {
        if sender.send(first).await.is_err() {
            return Ok(());
        }
        loop {
            let mut data = vec![0; ARTIFACT_CHUNK_BYTES];
            let n = tokio::io::AsyncReadExt::read(&mut file, &mut data).await?;
            data.truncate(n);
            let chunk = UploadArtifactRequest { digest: String::new(), size: 0, data };
            // The coordinator has it already, or refused: its answer says which.
            if n == 0 || sender.send(chunk).await.is_err() {
                drop(sender);
                return Ok::<(), std::io::Error>(());
            }
        }
    };
    let request = admin.with_session(ReceiverStream::new(receiver));
    let (fed, answer) = tokio::join!(feed, admin.client().upload_artifact(request));
    answer?;
    fed.map_err(|e| Error::file("read", path, e))
}
