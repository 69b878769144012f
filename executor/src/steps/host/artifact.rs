//! `artifact.stage`: fetched by the network side, believed only after it was measured.

use std::{path::PathBuf, time::Duration};

use hostler_plan::{document::Artifact, id::ArtifactName, step::StageArtifact};

use crate::{
    artifacts::{self, Found},
    disk::DiskError,
    protocol::Fetch,
    steps::action::{Action, Check, StepContext, StepError},
};

/// The largest artifact (70 MB) over the slowest link we support (1 Mbit/s) takes 10 minutes.
const LIMIT: Duration = Duration::from_secs(1800);

/// A fetch that fails is tried again after this.
const RETRY: Duration = Duration::from_secs(10);

/// Bytes that do not match are fetched once more from the beginning: a cut transfer looks like that too.
const MISMATCHES: u32 = 2;

impl Action for StageArtifact {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        check(&self.artifact, context)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        fetch(&self.artifact, context)
    }
}

fn check(name: &ArtifactName, context: &mut StepContext<'_>) -> Result<Check, StepError> {
    let artifact = context.artifact(name)?;
    let path = artifacts::path(&context.disk, &artifact.sha256);
    match artifacts::examine(&path, &artifact).map_err(|e| failed(name, &e))? {
        Found::Right => Ok(Check::Done(format!("{name} is staged: {} bytes, {}", artifact.size, artifact.sha256))),
        Found::Nothing => Ok(Check::Ready),
        Found::Wrong(_) => {
            // Damaged on the disk since; it is fetched again.
            context.disk.remove(&format!("artifacts/{}", artifact.sha256.hex()))?;
            Ok(Check::Ready)
        }
    }
}

fn fetch(name: &ArtifactName, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let artifact = context.artifact(name)?;
    let began = context.now();
    let mut mismatches = 0;
    let mut afresh = false;
    for attempt in 1.. {
        context.await_act()?;
        let fetch = Fetch { digest: artifact.sha256, size: artifact.size, attempt, afresh };
        afresh = false;
        context.node.control.status.change(|content| content.fetch = Some(fetch));
        let result = loop {
            if let Some(result) = context.node.control.take_fetched(&artifact.sha256) {
                break result;
            }
            if context.now().since(began) > LIMIT {
                context.node.control.status.change(|content| content.fetch = None);
                return Err(StepError::TimedOut(format!("{name} did not arrive in {} min", LIMIT.as_secs() / 60)));
            }
            context.pause_while_wanted(Duration::from_secs(1))?;
        };
        context.node.control.status.change(|content| content.fetch = None);
        let wrong = match result {
            Ok(()) => match accept(&artifact, context) {
                // An agent that was ended in between has cleared its folder.
                Ok(Found::Nothing) => Err("it was fetched and is not there any more".to_owned()),
                Ok(Found::Right) => return Ok(()),
                Ok(Found::Wrong(found)) => Ok(found),
                // A disk without room, above all: somebody makes some.
                Err(error) => Err(error.to_string()),
            },
            Err(reason) => Err(reason),
        };
        match wrong {
            Err(reason) => {
                if context.now().since(began) > LIMIT {
                    return Err(StepError::TimedOut(format!("{name} cannot be fetched: {reason}")));
                }
                context.say(format!("waits to fetch {name} again: {reason}"));
                context.pause_while_wanted(RETRY)?;
            }
            Ok(found) => {
                mismatches += 1;
                afresh = true;
                if mismatches == MISMATCHES {
                    return Err(StepError::Failed(format!(
                        "{name} is not what the plan says: found {found}; it was removed unopened"
                    )));
                }
            }
        }
    }
    unreachable!("attempts are counted without end")
}

fn accept(artifact: &Artifact, context: &StepContext<'_>) -> Result<Found, DiskError> {
    context.node.control.downloads.accept(&context.disk, artifact)
}

/// The verified file of an artifact; fetched now if nobody staged it.
pub(crate) fn staged(name: &ArtifactName, context: &mut StepContext<'_>) -> Result<PathBuf, StepError> {
    match check(name, context)? {
        Check::Done(_) => {}
        Check::Ready | Check::Mismatch { .. } => fetch(name, context)?,
    }
    Ok(artifacts::path(&context.disk, &context.artifact(name)?.sha256))
}

/// The verified file of an artifact, if somebody staged it.
pub(crate) fn find_staged(name: &ArtifactName, context: &mut StepContext<'_>) -> Result<Option<PathBuf>, StepError> {
    let path = artifacts::path(&context.disk, &context.artifact(name)?.sha256);
    Ok(match check(name, context)? {
        Check::Done(_) => Some(path),
        Check::Ready | Check::Mismatch { .. } => None,
    })
}

fn failed(name: &ArtifactName, error: &std::io::Error) -> StepError {
    StepError::Failed(format!("reading the staged {name} failed: {error}"))
}
