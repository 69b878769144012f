//! Plays recorded machines to the readers, one after the other as the states of one machine, and prints how its health
//! is judged at the end of each:
//!
//! ```text
//! cargo run -p hostler-facts --example judge -- [--all] [--every SECONDS] [SECONDS:]FOLDER...
//! ```
//!
//! A folder is a machine as in `fixtures/machines`. It is read for 16 minutes, the longest hold of a verdict, unless it
//! says for how long. Verdicts that are not ok are printed, with `--all` every one.

use std::{env, path::PathBuf, process::ExitCode};

use hostler_facts::{
    Facts, State,
    play::{EVERY_SECONDS, Player, SECONDS},
};
use hostler_plan::health::{Level, Verdict, worst};

/// Where the machine's clock begins: in November 2026.
const UNIX_MS: u64 = 1_795_000_000_000;

/// What to play.
struct Arguments {
    all: bool,
    every_seconds: u64,
    states: Vec<(u64, PathBuf)>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self { all: false, every_seconds: EVERY_SECONDS, states: Vec::new() };
        let seconds = |text: &str| {
            text.parse::<u64>().ok().filter(|s| *s > 0).ok_or_else(|| format!("expected seconds, found {text:?}"))
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--all" => arguments.all = true,
                "--every" => arguments.every_seconds = seconds(&words.next().unwrap_or_default())?,
                state => arguments.states.push(match state.split_once(':') {
                    Some((text, folder)) => (seconds(text)?, folder.into()),
                    None => (SECONDS, state.into()),
                }),
            }
        }
        if arguments.states.is_empty() {
            return Err("expected a folder such as fixtures/machines/pi5-nvme, found none".into());
        }
        Ok(arguments)
    }
}

fn play(arguments: &Arguments) -> Result<String, String> {
    let mut player = Player::new(UNIX_MS, arguments.every_seconds);
    let mut said = String::new();
    for (seconds, folder) in &arguments.states {
        let verdicts = player.play(folder, *seconds).map_err(|failure| failure.to_string())?;
        let title = format!("{} after {} s", folder.display(), player.elapsed_seconds());
        said.extend(player.facts().map(|facts| report(&title, facts, &verdicts, arguments.all)));
    }
    Ok(said)
}
fn report(title: &str, facts: &Facts, verdicts: &[Verdict], all: bool) -> String {
    let mut text = format!("{title}: {:?}, {} series\n", worst(verdicts), facts.reading().len());
    for verdict in verdicts.iter().filter(|verdict| all || verdict.level != Level::Ok) {
        let required = if verdict.required { "required" } else { "optional" };
        text.push_str(&format!("  {:?} ({required}) {}\n", verdict.level, verdict.sentence()));
    }
    for (name, state) in facts.states() {
        if let State::Failed(failure) = state {
            text.push_str(&format!("  failed reader {name}: {failure}\n"));
        }
    }
    text
}

fn main() -> ExitCode {
    match Arguments::parse(env::args().skip(1)).and_then(|arguments| play(&arguments)) {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("judge: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str) -> String {
        format!("{}/../fixtures/machines/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    fn judged(words: &[String]) -> String {
        play(&Arguments::parse(words.iter().cloned()).unwrap()).unwrap()
    }

    #[test]
    fn a_machine_that_is_replaced_by_a_failing_one_is_judged_anew() {
        let said = judged(&[format!("60:{}", machine("intel-n100")), machine("server-ecc-failing")]);
        let states: Vec<&str> = said.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!(states.len(), 2, "{said}");
        assert!(states[0].contains("intel-n100 after 60 s: ") && states[1].contains(": Critical, "), "{said}");
        assert!(said.lines().any(|line| line.starts_with("  Critical (required) ")), "{said}");
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let error = |words: &[&str]| Arguments::parse(words.iter().map(|w| (*w).to_owned())).err().unwrap();
        assert!(error(&[]).contains("expected a folder"));
        assert!(error(&["--every", "soon"]).contains("expected seconds, found \"soon\""));
    }
}
