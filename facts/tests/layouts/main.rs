//! Machines as people have them, through the front door: sensors with an offset, disks that name limits nobody can
//! mean, `/` on layers, redundancy that is lost, disks that are not ATA, and what cannot be seen any more.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../recorded/machine.rs"]
mod machine;

mod arrays;
mod disks;
mod limits;
mod names;
mod rollout;
mod sensors;
mod sizes;

use hostler_fixtures::recorded::{UNIX_MS, copy};
use hostler_plan::fact::Reading;
use hostler_plan::health::{HealthEvaluator, Level, Rule, Thresholds, Verdict, worst};
use machine::{at, facts, write};
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than the longest hold of a verdict.
const LONG: u64 = 960;

/// A machine whose states follow each other, with what the readers and the judge remember.
struct Stage {
    machine: TempDir,
    facts: hostler_facts::Facts,
    health: HealthEvaluator,
    now: u64,
    last: Vec<Verdict>,
}

impl Stage {
    fn new(machine: TempDir) -> Self {
        let facts = facts(machine.path());
        Stage { machine, facts, health: HealthEvaluator::new(Thresholds::default()), now: 0, last: Vec::new() }
    }

    /// Plays so many seconds and gives what is not ok. Hours are played in steps of minutes.
    fn play(&mut self, seconds: u64) -> Vec<Verdict> {
        let (step, end) = (if seconds > 2000 { 600 } else { 30 }, self.now + seconds);
        while self.now <= end {
            self.facts.tick(at(self.now));
            let reading = self.facts.wait_for_helpers(Duration::from_secs(20));
            self.last = self.health.observe(UNIX_MS + self.now * 1000, reading).to_vec();
            self.now += step;
        }
        let mut verdicts = self.verdicts();
        verdicts.retain(|verdict| verdict.level != Level::Ok);
        verdicts
    }

    /// Every verdict of the last moment.
    fn verdicts(&self) -> Vec<Verdict> {
        self.last.clone()
    }

    fn reading(&self) -> &Reading {
        self.facts.reading()
    }
}

/// The level of a rule about a subject, and whether it is required.
fn level(verdicts: &[Verdict], rule: Rule, subject: &str) -> Option<(Level, bool)> {
    let found = verdicts.iter().find(|verdict| verdict.rule == rule && verdict.subject == subject);
    found.map(|verdict| (verdict.level, verdict.required))
}

/// What is said of disks.
fn of_disks(mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let rules = [Rule::DiskSmart, Rule::DiskWear, Rule::DiskTemperature, Rule::DiskGone];
    verdicts.retain(|verdict| rules.contains(&verdict.rule));
    verdicts
}

/// A recorded machine with other files, judged after 16 minutes.
fn judged(base: &str, files: &[(&str, &str)]) -> (Stage, Vec<Verdict>) {
    let machine = copy(base);
    files.iter().for_each(|(path, text)| write(&machine, path, text));
    let mut stage = Stage::new(machine);
    let verdicts = stage.play(LONG);
    (stage, verdicts)
}

/// `/` on that device, and nothing else.
fn mounted(numbers: &str, fstype: &str, device: &str) -> String {
    format!("25 1 {numbers} / / rw,noatime shared:1 - {fstype} {device} rw\n26 25 0:22 / /proc rw - proc proc rw\n")
}
