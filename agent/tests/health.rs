//! `hostler-agent health` as a process: what it says of a recorded machine, in the words of `hostler node show`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::process::Command;

use hostler_fixtures::recorded::machine;

fn said(words: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hostler-agent")).arg("health").args(words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_recorded_machine_is_judged_without_a_coordinator() {
    let folder = machine("pi5-fan-undervoltage");
    let (success, text, _) = said(&["--root", folder.to_str().unwrap()]);
    assert!(success && text.starts_with("health    critical\n"), "{text}");
    let line = text.lines().find(|line| line.starts_with("critical  pi_under_voltage: ")).unwrap();
    assert!(line.contains("official power supply"), "{line}");
    assert!(line.contains(" (since 2026-") && line.ends_with("Z)"), "{line}");
    let (_, all, _) = said(&["--all", "--root", folder.to_str().unwrap()]);
    assert!(all.lines().any(|line| line.starts_with("ok        memory: ")), "{all}");
}

#[test]
fn what_is_no_machine_is_said() {
    let (success, text, error) = said(&["--root", "/nonexistent"]);
    assert!(!success && text.is_empty() && error.contains("expected a recorded machine"), "{error}");
}
