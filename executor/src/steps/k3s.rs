//! `k3s.bootstrap` and `k3s.upgrade`.

use std::time::Duration;

use hostler_plan::{id::ArtifactName, step::ClusterRole, version::Version};

use super::{Check, StepContext, StepError, artifact::staged};
use crate::{
    control::{POLL, span},
    host::K3sInstall,
};

/// The first start unpacks 200 MB and initialises a datastore; a Pi with an SD card takes some minutes.
const LIMIT: Duration = Duration::from_secs(600);

/// K3s that runs on another version for so long after its restart has come back on the old one.
const WRONG_VERSION: Duration = Duration::from_secs(60);

pub fn check_bootstrap(version: Version, context: &mut StepContext<'_>) -> Result<Check, StepError> {
    let found = context.host().k3s()?;
    let mismatch = |found: String| Check::Mismatch { expected: format!("no K3s, or a server at {version}"), found };
    Ok(match (found.running, found.role) {
        (Some(running), Some(ClusterRole::Server)) if running == version => {
            done(version, context);
            Check::Done(format!("K3s server runs at {version}"))
        }
        (Some(running), role) => mismatch(format!("K3s {} at {running}", role_name(role))),
        (None, Some(ClusterRole::Worker)) => mismatch("a K3s agent that does not run".into()),
        (None, Some(ClusterRole::Server) | None) => Check::Ready,
    })
}

pub fn apply_bootstrap(name: &ArtifactName, version: Version, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let binary = staged(name, context)?;
    let install = K3sInstall { binary: &binary, version, role: ClusterRole::Server, join: None };
    Ok(context.host().install_k3s(&install)?)
}

pub fn check_upgrade(version: Version, context: &mut StepContext<'_>) -> Result<Check, StepError> {
    let found = context.host().k3s()?;
    let current = found.running.or(found.installed);
    Ok(match (found.running, current) {
        (Some(running), _) if running == version => {
            done(version, context);
            Check::Done(format!("K3s runs at {version}"))
        }
        (_, Some(current)) if current > version => Check::Mismatch {
            expected: format!("K3s at {version} or older"),
            found: format!("{current}; K3s cannot go back, restore a snapshot instead"),
        },
        (_, Some(_)) => Check::Ready,
        (_, None) => {
            Check::Mismatch { expected: "an installed K3s".into(), found: "none; join this node first".into() }
        }
    })
}

pub fn apply_upgrade(name: &ArtifactName, version: Version, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let binary = staged(name, context)?;
    Ok(context.host().upgrade_k3s(&binary, version)?)
}

/// Waits until this version runs, whatever lies on the disk.
pub fn await_running(version: Version, context: &mut StepContext<'_>) -> Result<String, StepError> {
    let began = context.now();
    let mut other: Option<(Version, hostler_plan::timestamp::Timestamp)> = None;
    loop {
        let now = context.now();
        let running = context.host().k3s()?.running;
        match running {
            Some(running) if running == version => {
                done(version, context);
                return Ok(format!("K3s runs at {version} after {}", span(began, now)));
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
                        "K3s came back on the old version: expected {version}, found {running} running for {}; \
                         see `journalctl -u k3s*`",
                        span(since, now)
                    )));
                }
            }
            None => other = None,
        }
        if now.since(began) >= LIMIT {
            return Err(StepError::TimedOut(format!(
                "K3s {version} did not start in {} min, found {}; see `journalctl -u k3s*`",
                LIMIT.as_secs() / 60,
                running.map_or_else(|| "none running".to_owned(), |v| format!("{v} running")),
            )));
        }
        context.pause(POLL)?;
    }
}

pub fn done(version: Version, context: &mut StepContext<'_>) {
    context.observe("version", version.to_string());
}

pub fn role_name(role: Option<ClusterRole>) -> &'static str {
    match role {
        Some(ClusterRole::Server) => "server",
        Some(ClusterRole::Worker) => "agent",
        None => "of an unknown role",
    }
}
