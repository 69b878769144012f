//! `artifact.stage`: fetched by the network side, believed only after it was measured.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use hostler_plan::{
    document::Artifact,
    id::ArtifactName,
    step::{StageArtifact, Step},
    timestamp::Timestamp,
};

use crate::{
    artifacts::{self, Found},
    disk::DiskError,
    protocol::Fetch,
    steps::action::{Action, Check, StepContext, StepError},
};

/// The largest program (70 MB) over the slowest link we support (1 Mbit/s) takes 10 minutes.
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
    await_room(name, began, context)?;
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
        let accepted = result.map(|()| accept(&artifact, context));
        // Not before the copy: what nobody wants any more the network side removes.
        context.node.control.status.change(|content| content.fetch = None);
        let wrong = match accepted {
            Ok(accepted) => match accepted {
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

/// Waits until there is room for everything that the task stages, so that nothing of it comes in vain.
fn await_room(name: &ArtifactName, began: Timestamp, context: &mut StepContext<'_>) -> Result<(), StepError> {
    fn staged(step: &Step) -> Option<&ArtifactName> {
        if let Step::StageArtifact(stage) = step { Some(&stage.artifact) } else { None }
    }
    let mut names: BTreeSet<&ArtifactName> = context.task.steps.iter().filter_map(staged).collect();
    names.insert(name);
    let wanted = names.into_iter().map(|name| context.artifact(name)).collect::<Result<Vec<_>, _>>()?;
    let lacks = |context: &StepContext<'_>| {
        artifacts::lacks_room(&context.disk, &context.node.control.downloads, &wanted).map_err(|e| failed(name, &e))
    };
    while let Some(sentence) = lacks(context)? {
        if context.now().since(began) > LIMIT {
            return Err(StepError::TimedOut(sentence));
        }
        context.say(format!("waits to fetch {name}: {sentence}"));
        context.pause_while_wanted(RETRY)?;
    }
    Ok(())
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
