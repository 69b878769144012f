//! Programs that take long, such as kubeadm and dpkg: each runs as a unit of its own, goes on when this process ends,
//! and is found again by the next one.

use std::time::Duration;

use super::action::{StepContext, StepError};
use crate::host::{Reach, RunEnd, Started, StartedState, UnitRun};

/// The end of a program is looked for this often at first, and twice as seldom each time.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(1);

/// A program that takes long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Long<'a> {
    /// The unit's name; programs that must not run at the same time have the same one.
    pub unit: &'a str,
    pub arguments: &'a [&'a str],
    pub limit: Duration,
    pub reach: Reach,
    /// What it is at, by what it has printed so far, where that can be told.
    pub at_work: Option<fn(&str) -> Option<String>>,
}

/// Runs it to its end, or waits for the end of the run that an earlier process of ours began for this very step. What
/// is begun is not broken off: a stop counts once the program has ended.
pub(super) fn run(long: &Long<'_>, context: &mut StepContext<'_>) -> Result<RunEnd, StepError> {
    let Long { unit, arguments, limit, reach, at_work } = *long;
    let purpose = purpose(arguments, context);
    let run = UnitRun { unit, purpose: &purpose, arguments, limit, reach };
    let (mut seen, mut look, mut said) = (false, FIRST_LOOK, None);
    loop {
        match context.host().started_unit(unit)? {
            None if seen => {
                return Err(StepError::Failed(format!(
                    "{unit} is gone, and nobody knows how it ended; see `journalctl -u {unit}`"
                )));
            }
            None => context.host().start_unit(&run)?,
            Some(Started { purpose: found, state: StartedState::Ended(end) }) => {
                context.host().forget_unit(unit)?;
                if found == purpose {
                    return Ok(end);
                }
                continue;
            }
            Some(Started { purpose: found, state: StartedState::Running }) if found != purpose => {
                context.say(format!("waits for the end of {unit}, which still runs for something else: {found}"));
                wait(look, context)?;
                look = (look * 2).min(LOOK);
                continue;
            }
            Some(Started { state: StartedState::Running, .. }) => {
                if let Some(at_work) = at_work {
                    let found = at_work(&context.host().output_of_unit(unit)?);
                    if found != said {
                        found.iter().for_each(|found| context.say(found));
                        said = found;
                    }
                }
            }
        }
        seen = true;
        wait(look, context)?;
        look = (look * 2).min(LOOK);
    }
}

/// Whether a run that was begun for this very step is there, at work or with an end that nobody has read.
pub(super) fn is_there(unit: &str, program: &str, context: &StepContext<'_>) -> Result<bool, StepError> {
    let found = context.host().started_unit(unit)?;
    Ok(found.is_some_and(|found| found.purpose == purpose(&[program], context)))
}

fn wait(look: Duration, context: &mut StepContext<'_>) -> Result<(), StepError> {
    match context.pause(look) {
        Err(StepError::Stopped(_)) if context.node.control.pause_though_stopped(look) => Ok(()),
        Err(StepError::Stopped(_)) => Err(StepError::Ending),
        other => other,
    }
}

/// Which step of which plan it is run for, so that nobody takes the end of another run for that of this one.
fn purpose(arguments: &[&str], context: &StepContext<'_>) -> String {
    let program = arguments.first().copied().unwrap_or_default();
    let plan = context.plan.digest().hex();
    format!("{program} for step {} of {} in plan {}", context.step + 1, context.task.id, &plan[..12])
}

/// A program's failure in one sentence: what it printed last says why.
pub(super) fn failed(arguments: &[&str], unit: &str, end: &RunEnd) -> StepError {
    let said = match last_lines(&end.output) {
        said if said.is_empty() => String::new(),
        said => format!(": {said}"),
    };
    let program = arguments.join(" ");
    StepError::Failed(format!("`{program}` ended with {}{said}; see `journalctl -u {unit}`", end.how))
}

/// What a program said last, in one line.
fn last_lines(output: &str) -> String {
    const LINES: usize = 5;
    const CHARACTERS: usize = 500;
    let lines: Vec<&str> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join("; ");
    let start = last.char_indices().rev().nth(CHARACTERS - 1).map_or(0, |(at, _)| at);
    last[start..].to_owned()
}
