//! Every file `plan/tests/scenarios/*.txt` is a test: lines that begin with `> ` are commands, the lines under each are
//! what it answers. `HOSTLER_BLESS=1 cargo test -p hostler-plan --test scenarios` writes the answers anew; read the
//! diff.
//!
//! The commands are explained in `scenarios/world.rs`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "a test reads its scenarios; the core does not")]

#[path = "scenarios/world.rs"]
mod world;

use std::{fs, path::Path};

use hostler_fixtures::golden;

#[test]
fn scenarios_answer_as_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "txt"));
    files.sort();
    assert!(files.len() >= 12, "only {} scenarios found in {}", files.len(), directory.display());
    let mut differing = Vec::new();
    for file in files {
        let written = fs::read_to_string(&file).unwrap();
        let played = play(&written);
        differing.extend(golden::difference(&file, &played));
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// The file with every answer as it is given now.
fn play(written: &str) -> String {
    let mut world = world::World::default();
    let mut played = String::new();
    for line in written.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            played.push_str(line);
            played.push('\n');
            for answer in world.command(command).lines() {
                played.push_str("  ");
                played.push_str(answer.trim_end());
                played.push('\n');
            }
        } else if line.starts_with('#') || line.is_empty() {
            played.push_str(line);
            played.push('\n');
        }
    }
    played
}
