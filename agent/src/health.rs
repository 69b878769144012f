//! `hostler-agent health`: how a machine is judged, without a coordinator.

use hostler_facts::{
    Facts, Failure, Now, Program, Source, State,
    play::{self, EVERY_SECONDS, Player, SECONDS},
};
use hostler_plan::{
    health::{self, Level, Verdict, worst},
    text::clean,
    timestamp::Timestamp,
};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::facts::{PATIENCE, now_unix_ms};

/// Why the command fails.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    #[error("cannot read a recorded machine: {0}")]
    Recorded(Failure),
    /// It is closed.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// Prints the verdicts over this machine, or over the recorded one in `root`, as `hostler node show` does. A recorded
/// machine is played for 16 minutes, the longest hold of a verdict; of this machine one reading is taken, and it is
/// judged as if it had been so for as long.
pub fn command(root: Option<&Path>, all: bool) -> Result<(), HealthError> {
    let (verdicts, failures) = match root {
        Some(folder) => recorded(folder).map_err(HealthError::Recorded)?,
        None => this_machine(),
    };
    let mut text = format!("{:<9} {}\n", "health", worst(&verdicts));
    for verdict in verdicts.iter().filter(|verdict| all || verdict.level != Level::Ok) {
        let since = Timestamp::from_unix_milliseconds(verdict.since_ms).whole_seconds();
        text.push_str(&clean(&health::line(verdict.level, &said(verdict), since)));
        text.push('\n');
    }
    io::stdout().write_all(text.as_bytes()).map_err(HealthError::Output)?;
    failures.iter().for_each(|failure| eprintln!("{}", clean(failure)));
    Ok(())
}

/// A verdict as a list has it: of what is well and was compared with a limit, nothing is to be done about it.
fn said(verdict: &Verdict) -> String {
    let sentence = verdict.sentence();
    let nothing_to_do = verdict.level == Level::Ok && verdict.threshold.is_some();
    let without = sentence.strip_suffix(&*verdict.advice).and_then(|short| short.strip_suffix("; "));
    without.filter(|_| nothing_to_do).map_or(sentence.clone(), str::to_owned)
}

type Judged = (Vec<Verdict>, Vec<String>);

fn recorded(folder: &Path) -> Result<Judged, Failure> {
    let begin = play::recorded_unix_ms(folder)?.unwrap_or_else(now_unix_ms);
    let mut player = Player::new(begin, EVERY_SECONDS);
    let verdicts = player.play(folder, SECONDS)?;
    Ok((verdicts, player.facts().map(failures).unwrap_or_default()))
}

fn this_machine() -> Judged {
    let mut facts = Facts::new(Source::real(Program::Agent));
    facts.tick(Now { elapsed: Duration::ZERO, unix_ms: now_unix_ms() });
    let verdicts = play::judge_unchanged(facts.wait_for_helpers(PATIENCE));
    (verdicts, failures(&facts))
}

/// Readers that failed: what they would have known is not judged.
fn failures(facts: &Facts) -> Vec<String> {
    let failed = facts.states().filter_map(|(name, state)| match state {
        State::Failed(failure) => Some(format!("{name}: {failure}")),
        State::Worked | State::Absent => None,
    });
    failed.collect()
}
