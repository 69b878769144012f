//! Plays recorded machines to the readers and the rules, one after the other as the states of one machine.

use super::{Facts, Failure, Now, Root, Source};
use hostler_plan::{
    fact::Reading,
    health::{HealthEvaluator, Thresholds, Verdict},
};
use std::{path::Path, time::Duration};

/// A little longer than the longest hold of a verdict.
pub const SECONDS: u64 = 960;
/// As often as an agent reports.
pub const EVERY_SECONDS: u64 = 10;
/// How long a reading waits for helper threads, in real time.
const PATIENCE: Duration = Duration::from_secs(20);

/// One machine, with what readers and rules remember of it.
#[derive(Debug)]
pub struct Player {
    facts: Option<Facts>,
    health: HealthEvaluator,
    begin_unix_ms: u64,
    elapsed: u64,
    every_seconds: u64,
}

impl Player {
    /// A machine whose clock says this when it is first looked at, and which is looked at that often.
    pub fn new(begin_unix_ms: u64, every_seconds: u64) -> Self {
        let health = HealthEvaluator::new(Thresholds::default());
        Player { facts: None, health, begin_unix_ms, elapsed: 0, every_seconds }
    }

    /// Lets the machine stay for so many seconds in the state that is recorded in the folder.
    pub fn play(&mut self, folder: &Path, seconds: u64) -> Result<Vec<Verdict>, Failure> {
        let source = Source::recorded(folder)?;
        let facts = match &mut self.facts {
            Some(facts) => {
                facts.turn_to(source);
                facts
            }
            none => none.insert(Facts::new(source)),
        };
        let end = self.elapsed + seconds;
        let mut verdicts = Vec::new();
        while self.elapsed <= end {
            let unix_ms = self.begin_unix_ms + self.elapsed * 1000;
            facts.tick(Now { elapsed: Duration::from_secs(self.elapsed), unix_ms });
            verdicts = self.health.observe(unix_ms, facts.wait_for_helpers(PATIENCE)).to_vec();
            self.elapsed += self.every_seconds;
        }
        Ok(verdicts)
    }

    /// The readers, once something was played.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// Seconds of the machine's time until the last look.
    pub fn elapsed_seconds(&self) -> u64 {
        self.elapsed.saturating_sub(self.every_seconds)
    }
}

/// When a recorded machine may be looked at: it has no clock, but says when it was started. Three hours later what
/// happens after a start is over.
pub fn recorded_unix_ms(folder: &Path) -> Result<Option<u64>, Failure> {
    let stat = Root::at(folder)?.bytes("proc/stat").unwrap_or_default();
    let text = String::from_utf8_lossy(&stat);
    let started = text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok());
    Ok(started.map(|seconds| (seconds + 3 * 3600) * 1000))
}

/// How a machine is judged that has been as this reading says for the longest hold of a verdict.
pub fn judge_unchanged(reading: &Reading) -> Vec<Verdict> {
    let mut health = HealthEvaluator::new(Thresholds::default());
    let mut verdicts = Vec::new();
    for ago in (0..=SECONDS).rev().step_by(EVERY_SECONDS as usize) {
        // The reading keeps its own time: nothing in it has happened since.
        verdicts = health.observe(reading.at_ms().saturating_sub(ago * 1000), reading).to_vec();
    }
    verdicts
}
