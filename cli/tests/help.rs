//! Every command explains itself, and the same definition makes man pages and completions.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use clap::CommandFactory as _;
use hostler_cli::args::Cli;

fn visit(command: &clap::Command, path: &str, see: &mut impl FnMut(&str, &clap::Command)) {
    see(path, command);
    for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
        visit(sub, &format!("{path} {}", sub.get_name()), see);
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_help_ends_in_examples_that_call_the_command() {
    let mut command = Cli::command();
    command.build();
    let mut seen = 0;
    visit(&command, "hostler", &mut |path, command| {
        let help = command.clone().render_long_help().to_string();
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{path} --help has no examples"));
        assert!(examples.contains(path), "the examples of {path} do not show it:\n{examples}");
        assert!(command.get_about().is_some(), "{path} does not say what it does");
        seen += 1;
    });
    assert!(seen > 40, "expected the whole tree, saw {seen} commands");
}

/// A public key from age's own documentation.
const RECOVERY_KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

#[test]
fn every_example_is_a_command_line_that_parses() {
    let mut command = Cli::command();
    command.build();
    let mut seen = 0;
    visit(&command, "hostler", &mut |path, command| {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter_map(|l| l.strip_prefix("  hostler ")) {
            let line = line.split([';', '|', '>', '&']).next().unwrap_or_default();
            // Good enough for our own examples: words, and texts in single quotes.
            let mut words = vec!["hostler".to_owned()];
            for (i, part) in line.split('\'').enumerate() {
                match i % 2 {
                    0 => words.extend(part.split_whitespace().map(str::to_owned)),
                    _ => words.push(part.to_owned()),
                }
            }
            // An ellipsis stands for digits that would not fit.
            let digest = format!("sha256:{}", "3".repeat(64));
            let whole = |word: &String| word.replace("sha256:3f1c…", &digest).replace("age1…", RECOVERY_KEY);
            let words: Vec<String> = words.iter().map(whole).collect();
            if let Err(e) = Cli::command().try_get_matches_from(&words) {
                panic!("an example of `{path}` does not parse: {line}\n{e}");
            }
            seen += 1;
        }
    });
    assert!(seen > 50, "expected an example everywhere, saw {seen}");
}

#[test]
fn every_command_has_a_man_page_and_every_shell_its_script() {
    let folder = tempfile::tempdir().unwrap();
    hostler_cli::command::man(folder.path()).unwrap();
    let mut command = Cli::command();
    command.build();
    visit(&command, "hostler", &mut |path, _| {
        let page = folder.path().join(format!("{}.1", path.replace(' ', "-")));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        assert!(text.contains("Examples:"), "{}", page.display());
    });
    for shell in ["bash", "zsh", "fish"] {
        let out =
            std::process::Command::new(env!("CARGO_BIN_EXE_hostler")).args(["completions", shell]).output().unwrap();
        assert!(out.status.success());
        let script = String::from_utf8(out.stdout).unwrap();
        assert!(script.contains("quarantine"), "{shell}");
    }
}
