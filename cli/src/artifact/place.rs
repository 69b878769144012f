//! Where the file of an artifact lies on this machine, and whether it is still what the fleet file says.

use std::path::{Path, PathBuf};

use hostler_plan::{
    fleet::{ArtifactKind, FleetArtifact, Source},
    id::Digest,
};

use super::{content, kept_path, measure, sealed_path};

/// What was found of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It lies there, and is what it should be.
    Here(PathBuf),
    /// It lies nowhere on this machine.
    Missing,
    /// Something else lies there, in words that end with what to do.
    Wrong(PathBuf, String),
}

/// Looks where a file would be taken from for a plan and, unless `quick`, reads it.
pub fn standing(artifact: &FleetArtifact, fleet_file: &Path, kept: &Path, quick: bool) -> Standing {
    let Some(path) =
        candidates(Some(artifact), &artifact.sha256, Some(fleet_file), Some(kept)).into_iter().find(|p| p.is_file())
    else {
        return Standing::Missing;
    };
    if quick {
        return Standing::Here(path);
    }
    match judge(artifact, &path) {
        Ok(()) => Standing::Here(path),
        Err(why) => Standing::Wrong(path, why),
    }
}

/// Where the file may lie, the first one first: kept under its digest, or where the fleet file says.
pub(crate) fn candidates(
    artifact: Option<&FleetArtifact>,
    digest: &Digest,
    fleet_file: Option<&Path>,
    kept: Option<&Path>,
) -> Vec<PathBuf> {
    let kept = kept.into_iter().flat_map(|kept| [kept_path(kept, digest), sealed_path(kept, digest)]);
    let mut candidates: Vec<PathBuf> = kept.collect();
    if let (Some(FleetArtifact { source: Source::Path(path), member: None, .. }), Some(file)) = (artifact, fleet_file) {
        candidates.push(file.parent().unwrap_or(Path::new(".")).join(path));
    }
    candidates
}

fn judge(artifact: &FleetArtifact, path: &Path) -> Result<(), String> {
    let found = measure(path).map_err(|e| e.to_string())?;
    if (found.sha256, found.size) != (artifact.sha256, artifact.size) {
        return Err(format!(
            "expected {} and {} bytes, found {} and {} bytes; fetch it again, or lock it again if the new one is meant",
            artifact.sha256, artifact.size, found.sha256, found.size
        ));
    }
    let archs = content::look(path)?.archs();
    match artifact.arch {
        Some(arch) if !archs.is_empty() && !archs.contains(&arch) => {
            let found: Vec<String> = archs.iter().map(ToString::to_string).collect();
            Err(format!("expected one for {arch}, found one for {}; lock the right one", found.join(" and ")))
        }
        None if matches!(artifact.kind, ArtifactKind::Program { .. }) => Err("a program for no processor".to_owned()),
        Some(_) | None => Ok(()),
    }
}
