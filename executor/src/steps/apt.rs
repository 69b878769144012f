//! Updates of the machine's system: what waits, its installation, and the kernel that runs after it.

mod install;
mod kernel;
mod listed;
mod parse;
mod read;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::action::{StepContext, StepError};

/// As for packages of a plan: nothing else of ours installs meanwhile.
const UNIT: &str = "hostler-package.service";

/// apt and dpkg read all their lists; a Pi under load with a slow card gets this long.
const QUICK: Duration = Duration::from_secs(180);

/// Somebody else's apt is waited for.
const LOCKED: Duration = Duration::from_secs(1800);

/// Whether a failure is another program's lock: apt's and dpkg's words for it.
fn is_locked(output: &str) -> bool {
    ["Could not get lock", "lock was locked by another process", "Unable to acquire the dpkg frontend lock"]
        .iter()
        .any(|words| output.contains(words))
}

/// Runs a program until nobody else's lock is in its way, and says that it waits.
fn unlocked(
    run: impl Fn(&mut StepContext<'_>) -> Result<crate::host::RunEnd, StepError>,
    context: &mut StepContext<'_>,
) -> Result<crate::host::RunEnd, StepError> {
    let began = context.now();
    loop {
        let end = run(context)?;
        if end.is_success() || !is_locked(&end.output) || context.now().since(began) > LOCKED {
            return Ok(end);
        }
        context.say("waits for another program that installs packages or refreshes their lists: it holds the lock");
        context.pause(Duration::from_secs(10))?;
    }
}
