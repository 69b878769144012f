//! Machines as people really have them: each case of `tests/cases` is a recorded machine with a few other files, and
//! what must be said of it. `docs/cases.md` is the list of them.
//! `HOSTLER_BLESS=1 cargo test -p hostler-facts --test cases` writes what is said into `expected.txt` and the list:
//! read the difference, a new value needs a reason.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use hostler_facts::{
    State,
    play::{Player, SECONDS},
};
use hostler_fixtures::{
    case::{names, read, steps},
    golden,
    recorded::UNIX_MS,
};
use hostler_plan::health::{Level, Verdict, worst};
use std::path::{Path, PathBuf};

/// Seldom enough for a debug build, often enough for every condition that counts samples.
const EVERY_SECONDS: u64 = 30;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// The end of each state: its level, then what is not well, then readers that failed.
fn played(case: &Path) -> String {
    let mut player = Player::new(UNIX_MS, EVERY_SECONDS);
    let mut said = String::new();
    for step in steps(case) {
        let machine = step.lay_out();
        let verdicts = player.play(machine.path(), step.seconds.unwrap_or(SECONDS)).unwrap();
        said.push_str(&format!("{}\n", worst(&verdicts)));
        verdicts.iter().filter(|v| v.level != Level::Ok).for_each(|verdict| said.push_str(&line(verdict)));
        for (name, state) in player.facts().into_iter().flat_map(|facts| facts.states()) {
            if let State::Failed(failure) = state {
                said.push_str(&format!("  failed reader {name}: {failure}\n"));
            }
        }
    }
    said
}

fn line(verdict: &Verdict) -> String {
    let required = if verdict.required { "required" } else { "optional" };
    format!("  {} ({required}) {}\n", verdict.level, verdict.sentence())
}

const HEAD: &str = "# Machines as people really have them

Each case is a recorded machine (`fixtures/machines`) with a few other files; the folder of that name in
`facts/tests/cases` holds them. `cargo test -p hostler-facts --test cases` plays each for 16 minutes, or one state after
the other, compares what is said at the end of each, and compares this page: it writes it when `HOSTLER_BLESS=1` is set.
Whoever meets another machine that is judged wrongly adds a folder. `hostler-agent health --root FOLDER` judges one
recorded machine, and without `--root` the one it runs on.

| case | what the machine has | what Hostler says |
|---|---|---|
";

/// What is expected, in the words of the list: each state's level and its verdicts without advice.
fn in_short(expected: &str) -> String {
    let mut states: Vec<String> = Vec::new();
    for line in expected.lines() {
        let Some(verdict) = line.strip_prefix("  ") else {
            states.push(line.to_owned());
            continue;
        };
        // Of what is not known and need not be, most is the recording's own.
        if verdict.starts_with("unknown (optional)") {
            continue;
        }
        let short = verdict.split("; ").next().unwrap_or_default().replace('|', "\\|");
        // The verdicts of a state say its level by themselves.
        match states.last_mut() {
            Some(state) if verdict.starts_with(state.as_str()) => *state = short,
            Some(state) => state.push_str(&format!("; {short}")),
            None => states.push(short),
        }
    }
    states.join(" → ")
}

#[test]
fn every_case_is_judged_as_it_should_be_and_stands_in_the_handbook() {
    let (mut wrong, mut page) = (Vec::new(), HEAD.to_owned());
    for name in names(&cases()) {
        let case = cases().join(&name);
        let (has, said) = (read(&case, "case.txt"), played(&case));
        assert!(!has.trim().is_empty(), "{name}/case.txt says nothing");
        page.push_str(&format!("| {name} | {} | {} |\n", has.trim(), in_short(&said)));
        wrong.extend(golden::difference(&case.join("expected.txt"), &said));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    golden::check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cases.md"), &page);
}
