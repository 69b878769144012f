//! What the suites of the readers do with a recorded machine.

#![allow(clippy::expect_used, dead_code, reason = "a failed expectation is how a test fails; not every suite uses all")]

use hostler_facts::{Facts, Now, Source, State};
use hostler_fixtures::recorded::{UNIX_MS, machine};
use hostler_plan::fact::Reading;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub(crate) fn at(seconds: u64) -> Now {
    Now { elapsed: Duration::from_secs(seconds), unix_ms: UNIX_MS + seconds * 1000 }
}

pub(crate) fn facts(folder: &Path) -> Facts {
    Facts::new(Source::recorded(folder).expect("a recorded machine"))
}

/// One reading of an untouched machine.
pub(crate) fn read(name: &str) -> Reading {
    let mut facts = facts(&machine(name));
    facts.tick(at(0));
    facts.wait_for_helpers(Duration::from_secs(20)).clone()
}

pub(crate) fn write(folder: &tempfile::TempDir, path: &str, text: &str) {
    let path = folder.path().join(path);
    fs::create_dir_all(path.parent().expect("a path below the folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

pub(crate) fn failed(facts: &Facts) -> Vec<&'static str> {
    facts.states().filter(|(_, state)| matches!(state, State::Failed(_))).map(|(name, _)| name).collect()
}
