//! `hostler-agent facts`: one reading without a coordinator.

use hostler_facts::{Facts, Failure, Now, Program, Source, State};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long the command waits for slow answers: apt takes seconds on a Raspberry Pi.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// Prometheus text format.
    #[default]
    Text,
    /// `{"at_ms": …, "series": [{"name": …, "labels": {…}, "value": …}]}`
    Json,
}

/// Why the command fails.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    #[error("cannot read a recorded machine: {0}")]
    Recorded(Failure),
    #[error("cannot write the reading as JSON: {0}")]
    Json(serde_json::Error),
    /// It is closed.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// Takes one reading of this machine, or of the recorded one in `root`, and prints it to standard output. Readers that
/// failed are named on standard error; the command succeeds all the same, because the rest is true.
pub fn command(root: Option<&Path>, output: Output) -> Result<(), FactsError> {
    let source = match root {
        Some(folder) => Source::recorded(folder).map_err(FactsError::Recorded)?,
        None => Source::real(Program::Agent),
    };
    let mut facts = Facts::new(source);
    facts.tick(Now { elapsed: Duration::ZERO, unix_ms: now_unix_ms() });
    facts.wait_for_helpers(PATIENCE);
    let text = match output {
        Output::Text => facts.reading().exposition(&[]),
        Output::Json => serde_json::to_string_pretty(facts.reading()).map_err(FactsError::Json)? + "\n",
    };
    io::stdout().write_all(text.as_bytes()).map_err(FactsError::Output)?;
    for (name, state) in facts.states() {
        if let State::Failed(failure) = state {
            eprintln!("{name}: {failure}");
        }
    }
    Ok(())
}

pub(crate) fn now_unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
