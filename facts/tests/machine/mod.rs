//! Recorded machines for tests, and copies of them that a test may break.

#![allow(clippy::expect_used, dead_code, reason = "a failed expectation is how a test fails; not every suite uses all")]

use hostler_facts::{Facts, Now, Source, State};
use hostler_plan::fact::Reading;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The recorded machines know no clock of their own; their boot was two and a half hours before.
pub const UNIX_MS: u64 = 1_795_180_000_000;

pub fn machines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/machines")
}

pub fn at(seconds: u64) -> Now {
    Now { elapsed: Duration::from_secs(seconds), unix_ms: UNIX_MS + seconds * 1000 }
}

pub fn facts(folder: &Path) -> Facts {
    Facts::new(Source::recorded(folder).expect("a recorded machine"))
}

/// One reading of an untouched machine.
pub fn read(name: &str) -> Reading {
    let mut facts = facts(&machines().join(name));
    facts.tick(at(0));
    facts.settle(Duration::from_secs(20)).clone()
}

/// A copy that a test may break.
pub fn copy(name: &str) -> tempfile::TempDir {
    fn walk(from: &Path, to: &Path) -> std::io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
            if kind.is_symlink() {
                symlink(fs::read_link(entry.path())?, target)?;
            } else if kind.is_dir() {
                walk(&entry.path(), &target)?;
            } else {
                fs::copy(entry.path(), target)?;
            }
        }
        Ok(())
    }
    // In memory where that is possible: one test makes a hundred thousand files.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder");
    walk(&machines().join(name), folder.path()).expect("a copy of the machine");
    folder
}

pub fn write(folder: &tempfile::TempDir, path: &str, text: &str) {
    let path = folder.path().join(path);
    fs::create_dir_all(path.parent().expect("a path below the folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

pub fn failed(facts: &Facts) -> Vec<&'static str> {
    facts.states().filter(|(_, state)| matches!(state, State::Failed(_))).map(|(name, _)| name).collect()
}
