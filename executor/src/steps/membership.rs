//! What the steps of every distribution have in common: when a machine may be set up or upgraded, and when it runs.

use std::time::Duration;

use hostler_plan::{
    id::{ArtifactName, TaskId},
    step::ClusterRole,
    timestamp::Timestamp,
    trust,
    version::Version,
};

use super::{
    action::{Check, StepContext, StepError},
    host::artifact::staged,
};
use crate::{
    control::span,
    distribution::{Distribution, Install, Join, OneProgram},
    seal,
};

/// The first start unpacks 200 MB and initialises a datastore; a Pi with an SD card takes some minutes.
const LIMIT: Duration = Duration::from_secs(600);

/// How often the process is looked for: what follows in the plan waits for it.
const LOOK: Duration = Duration::from_millis(500);

/// What runs on another version for so long after its restart has come back on the old one.
const WRONG_VERSION: Duration = Duration::from_secs(60);

/// The observation that says which machine was emptied of its cluster.
pub(super) const MACHINE_ID: &str = "machine_id";

/// The observation that carries the ciphertext.
const SEALED: &str = "sealed_join_secret";

/// An hour is what a slow download leaves of a join; a longer life only helps a thief.
pub(super) const MAX_LIFETIME: Duration = Duration::from_secs(3600);

/// Whether this machine is a member in that role at that version, or can become one.
pub(super) fn check_member<D: Distribution>(
    version: Version,
    role: ClusterRole,
    context: &mut StepContext<'_>,
) -> Result<Check, StepError> {
    let (name, wanted) = (D::NAME, D::role(role));
    let found = D::status(context.host())?;
    let expected = format!("no {name}, or a {wanted} at {version}");
    Ok(match (found.running, found.role) {
        (Some(running), Some(is)) if running == version && is == role => {
            observe(version, context);
            Check::Done(format!("{name} {wanted} runs at {version}"))
        }
        (Some(running), is) => {
            Check::Mismatch { expected, found: format!("{name} {} at {running}", role_name::<D>(is)) }
        }
        (None, Some(is)) if is != role => {
            Check::Mismatch { expected, found: format!("a {name} {} that does not run", D::role(is)) }
        }
        (None, _) => Check::Ready,
    })
}

/// Installs the distribution, as the first server or with the secret of the task that admitted this node.
pub(super) fn install<D: OneProgram>(
    artifact: &ArtifactName,
    role: ClusterRole,
    join: Option<(&str, &TaskId)>,
    context: &mut StepContext<'_>,
) -> Result<(), StepError> {
    let secret = join.map(|(_, admitted_by)| open_secret(admitted_by, context)).transpose()?;
    let artifact = staged(artifact, context)?;
    let join = join.zip(secret.as_deref()).map(|((server_url, _), secret)| Join { server_url, secret });
    Ok(D::install(context.host(), &Install { artifact: &artifact, role, join })?)
}

/// Whether this machine runs that version, or can be brought to it.
pub(super) fn check_upgrade<D: Distribution>(
    version: Version,
    context: &mut StepContext<'_>,
) -> Result<Check, StepError> {
    let name = D::NAME;
    let running = D::status(context.host())?.running;
    if running == Some(version) {
        observe(version, context);
        return Ok(Check::Done(format!("{name} runs at {version}")));
    }
    let current = match running {
        Some(running) => Some(running),
        None => D::installed(context.host())?,
    };
    Ok(match current {
        Some(current) if current > version => Check::Mismatch {
            expected: format!("{name} at {version} or older"),
            found: format!("{current}; {name} cannot go back, restore a snapshot instead"),
        },
        Some(_) => Check::Ready,
        None => {
            Check::Mismatch { expected: format!("an installed {name}"), found: "none; join this node first".into() }
        }
    })
}

/// Brings the distribution to the version of the artifact.
pub(super) fn upgrade<D: OneProgram>(artifact: &ArtifactName, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let artifact = staged(artifact, context)?;
    Ok(D::upgrade(context.host(), &artifact)?)
}

/// Waits until this version runs, whatever lies on the disk.
pub(super) fn await_running<D: Distribution>(
    version: Version,
    context: &mut StepContext<'_>,
) -> Result<String, StepError> {
    let (name, journal) = (D::NAME, D::JOURNAL);
    let began = context.now();
    let mut other: Option<(Version, Timestamp)> = None;
    loop {
        let now = context.now();
        let running = D::status(context.host())?.running;
        match running {
            Some(running) if running == version => {
                observe(version, context);
                return Ok(format!("{name} runs at {version} after {}", span(began, now)));
            }
            Some(running) => {
                let since = match other {
                    Some((same, since)) if same == running => since,
                    Some(_) | None => now,
                };
                other = Some((running, since));
                if now.since(since) >= WRONG_VERSION {
                    context.observe("version", running.to_string());
                    return Err(StepError::Failed(format!(
                        "{name} came back on the old version: expected {version}, found {running} running for {}; \
                         see `journalctl {journal}`",
                        span(since, now)
                    )));
                }
            }
            None => other = None,
        }
        if now.since(began) >= LIMIT {
            return Err(StepError::TimedOut(format!(
                "{name} {version} did not start in {} min, found {}; see `journalctl {journal}`",
                LIMIT.as_secs() / 60,
                running.map_or_else(|| "none running".to_owned(), |v| format!("{v} running")),
            )));
        }
        context.pause(LOOK)?;
    }
}

/// Makes a join secret for the task's subject and seals it to the subject's key: the ciphertext travels in the receipt.
pub(super) fn admit<D: OneProgram>(lifetime: Duration, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let subject = &context.task.subject;
    let Some(node) = context.roster.document().active(subject) else {
        return Err(StepError::Failed(format!("expected {subject} active in the roster, found it is not")));
    };
    let secret = D::join_secret(context.host(), node.role, lifetime.min(MAX_LIFETIME))?;
    seal_for_subject(secret.as_bytes(), context)
}

/// Seals what lets the task's subject in to the subject's key, for the receipt.
pub(super) fn seal_for_subject(secret: &[u8], context: &mut StepContext<'_>) -> Result<(), StepError> {
    let subject = &context.task.subject;
    let Some(node) = context.roster.document().active(subject) else {
        return Err(StepError::Failed(format!("expected {subject} active in the roster, found it is not")));
    };
    let sealed = seal::seal(&node.seal_key, secret).map_err(|e| StepError::Failed(e.to_string()))?;
    context.observe(SEALED, sealed);
    Ok(())
}

/// Opens the secret in the receipt of the task that admitted this node. The receipt is verified again.
pub(super) fn open_secret(admitted_by: &TaskId, context: &StepContext<'_>) -> Result<String, StepError> {
    let plan = context.plan.digest();
    let sealed = context
        .receipts()
        .iter()
        .filter_map(|stored| trust::receipt(&context.roster, &stored.0).ok())
        .find(|r| r.document().plan == plan && r.document().task == *admitted_by)
        .and_then(|r| r.document().observation(SEALED).map(str::to_owned))
        .ok_or_else(|| {
            StepError::Failed(format!("expected a join secret in the receipt of {admitted_by}, found none"))
        })?;
    let bytes = seal::open(context.keys.sealing(), &sealed).map_err(|e| StepError::Failed(e.to_string()))?;
    String::from_utf8(bytes).map_err(|_| StepError::Failed("the join secret is not text".into()))
}

fn observe(version: Version, context: &mut StepContext<'_>) {
    context.observe("version", version.to_string());
}

fn role_name<D: Distribution>(role: Option<ClusterRole>) -> &'static str {
    role.map_or("of an unknown role", D::role)
}
