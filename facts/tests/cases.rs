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
    recorded::{self, UNIX_MS},
};
use hostler_plan::health::{Level, Rule, Verdict, worst};
use std::path::{Path, PathBuf};

/// Seldom enough for a debug build, often enough for every condition that counts samples.
const EVERY_SECONDS: u64 = 30;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// The end of each state: its level, then what is not well or what `shown.txt` names, then readers that failed.
fn played(case: &Path) -> String {
    let mut player = Player::new(UNIX_MS, EVERY_SECONDS);
    let (mut said, shown) = (String::new(), read(case, "shown.txt"));
    let shown: Vec<&str> = shown.lines().collect();
    for step in steps(case) {
        let machine = step.lay_out();
        let verdicts = player.play(machine.path(), step.seconds.unwrap_or(SECONDS)).unwrap();
        said.push_str(&format!("{}\n", worst(&verdicts)));
        let is_shown = |v: &&Verdict| v.level != Level::Ok || shown.iter().any(|name| v.sentence().starts_with(name));
        verdicts.iter().filter(is_shown).for_each(|verdict| said.push_str(&line(verdict)));
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

#[test]
fn of_sixty_nvme_disks_every_one_is_judged() {
    let machine = recorded::copy("intel-n100");
    let own = machine.path().join(".calls/nvme");
    for number in 1..60 {
        let folder = machine.path().join(format!("sys/class/nvme/nvme{number}"));
        std::fs::create_dir_all(&folder).unwrap();
        for (file, text) in [("state", "live\n"), ("serial", &format!("S{number}\n"))] {
            std::fs::write(folder.join(file), text).unwrap();
        }
        std::fs::copy(own.join("nvme0.smart"), own.join(format!("nvme{number}.smart"))).unwrap();
    }
    let mut player = Player::new(UNIX_MS, EVERY_SECONDS);
    let verdicts = player.play(machine.path(), 60).unwrap();
    for rule in [Rule::NvmeState, Rule::NvmeWarning, Rule::NvmeSpare, Rule::NvmeWear, Rule::NvmeTemperature] {
        let well = verdicts.iter().filter(|verdict| verdict.rule == rule && verdict.level == Level::Ok);
        assert_eq!(well.count(), 60, "{rule}");
    }
    assert!(!verdicts.iter().any(|verdict| verdict.required && verdict.level == Level::Unknown));
    let left_out = verdicts.iter().find(|verdict| verdict.rule == Rule::Facts).unwrap();
    assert!(left_out.level == Level::Ok && left_out.value > Some(100.0), "{}", left_out.sentence());
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

const BEFORE: &str = "
## What was said of them before

Reports of people about comparable systems; what Hostler said of such a machine when it was first tried.

| case | what was said | what is said |
|---|---|---|
";

/// Reports that are about no machine's facts, and the tests that play them.
const OTHERS: &str = "\
| names with dots | a machine `node1.example.org` was `node1`, two of them met, and members were \
joined once more | the \
whole name: `a_node_has_the_whole_name_of_its_host_and_what_is_no_name_is_said_once`; a member under another name is \
known by its machine: scenario `another-name` |
| a join file from Windows | a byte order mark, UTF-16 and `join.txt` were not read, and nobody saw \
why | read, or said \
on the screen: `tests/tests/halves/join_file.rs` |
| a clock without rtcsync | facts called it right and the executor refused every plan; the rollout said that the node \
was at work | one measure for both, and a refusal is the reason of the wait: \
`a_clock_is_synchronised_while_its_error_is_small_whatever_the_flag_says` |
| a coordinator in the past | nothing, and its nodes were silent | \
`a_coordinator_in_the_past_says_so_and_its_nodes_name_its_clock` |
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
    let (mut wrong, mut page, mut changed) = (Vec::new(), HEAD.to_owned(), BEFORE.to_owned());
    for name in names(&cases()) {
        let case = cases().join(&name);
        let (has, said) = (read(&case, "case.txt"), played(&case));
        assert!(!has.trim().is_empty(), "{name}/case.txt says nothing");
        page.push_str(&format!("| {name} | {} | {} |\n", has.trim(), in_short(&said)));
        let before = read(&case, "before.txt");
        if !before.is_empty() {
            changed.push_str(&format!("| {name} | {} | {} |\n", before.trim(), in_short(&said)));
        }
        wrong.extend(golden::difference(&case.join("expected.txt"), &said));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    golden::check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cases.md"), &(page + &changed + OTHERS));
}
