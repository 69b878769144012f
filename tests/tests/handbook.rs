//! The handbook says what is there: every path, crate and command that its pages name exists.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::CommandFactory as _;
use hostler_plan::{document::PlanKind, step::Step};

/// What is no part of a repository's files, although it looks like a path of it.
const ELSEWHERE: [&str; 2] = ["target/", "packaging/generated"];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// The pages at the root, in `docs` and in each crate's folder. What CHANGELOG.md names may be gone by now.
fn pages() -> Vec<(PathBuf, String)> {
    let mut folders: Vec<PathBuf> = names(workspace()).into_iter().map(|name| workspace().join(name)).collect();
    folders.retain(|folder| folder.is_dir() && !folder.ends_with("target"));
    folders.push(workspace().to_owned());
    let mut found = Vec::new();
    for folder in folders {
        for name in names(&folder) {
            if name.ends_with(".md") && name != "CHANGELOG.md" {
                let text = std::fs::read_to_string(folder.join(&name)).expect("text");
                found.push((folder.join(name), text));
            }
        }
    }
    assert!(found.len() > 10, "found only {} pages", found.len());
    found
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// Words between blanks, quotes and brackets.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || "`\"'()[]<>,;|".contains(c))
        .map(|word| word.trim_end_matches(['.', ':', '…']))
}

#[test]
fn every_path_of_a_page_exists() {
    let tops: BTreeSet<String> = names(workspace()).into_iter().collect();
    let mut missing = Vec::new();
    for (page, text) in pages() {
        let folder = page.parent().expect("a folder");
        for word in words(&text) {
            let path = word.split(['#', '*', '{', ':']).next().unwrap_or_default();
            let inside = path.split_once('/').is_some_and(|(top, rest)| tops.contains(top) && !rest.is_empty());
            // `READER.rs` and the like stand for any name.
            let any = path.split(['/', '.']).any(|part| part.len() > 3 && part.chars().all(|c| c.is_ascii_uppercase()));
            if !inside
                || (any && !path.ends_with(".md"))
                || path.contains("//")
                || ELSEWHERE.iter().any(|e| path.starts_with(e))
            {
                continue;
            }
            if !workspace().join(path).exists() && !folder.join(path).exists() {
                missing.push(format!("{}: {word}", page.display()));
            }
        }
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !folder.join(file).exists() {
                missing.push(format!("{}: link to {link}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "these are not there:\n{}", missing.join("\n"));
}

#[test]
fn every_crate_and_module_of_a_page_exists() {
    let crates = ["plan", "proto", "daemon", "facts", "executor", "agent", "coordinator", "cli", "sim", "fixtures"];
    let mut missing = Vec::new();
    for (page, text) in pages() {
        for word in words(&text).filter(|word| word.contains("::")) {
            let mut parts = word.trim_start_matches("hostler_").split("::");
            let Some(of) = parts.next().filter(|first| crates.contains(first)) else { continue };
            let mut place = workspace().join(of).join("src");
            let mut source = std::fs::read_to_string(place.join("lib.rs")).expect("a crate's first file");
            for part in parts.filter(|part| !part.is_empty()) {
                let (file, old) = (place.join(format!("{part}.rs")), place.join(part).join("mod.rs"));
                place.push(part);
                match std::fs::read_to_string(file).or_else(|_| std::fs::read_to_string(old)) {
                    Ok(text) => source = text,
                    Err(_) if source.contains(part) => {}
                    Err(_) => missing.push(format!("{}: {word}, no {part}", page.display())),
                }
            }
        }
    }
    assert!(missing.is_empty(), "these are not there:\n{}", missing.join("\n"));
}

/// Pages whose tables say which test holds what.
const PAGES_OF_TESTS: [&str; 2] = ["docs/findings.md", "docs/tuf-conformance.md"];

#[test]
fn every_test_of_a_page_exists() {
    let sources = sources(workspace());
    let mut missing = Vec::new();
    for page in PAGES_OF_TESTS {
        let text = std::fs::read_to_string(workspace().join(page)).expect("a page");
        let last_cells = text.lines().filter_map(|line| line.strip_suffix('|')?.rsplit_once('|')).map(|(_, cell)| cell);
        let tests: Vec<&str> = last_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        assert!(tests.len() > 10, "{page} names only {} tests", tests.len());
        missing.extend(tests.into_iter().filter(|test| !sources.contains(&format!("fn {test}("))).map(str::to_owned));
    }
    assert!(missing.is_empty(), "these tests are not there: {missing:?}");
}

/// Every source in one text.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            all.push_str(&sources(&path));
        } else if name.ends_with(".rs") {
            all.push_str(&std::fs::read_to_string(&path).expect("text"));
        }
    }
    all
}

#[test]
fn every_kind_and_every_step_stands_on_its_page() {
    let page = std::fs::read_to_string(workspace().join("docs/plans.md")).expect("a page");
    let named: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let kinds = PlanKind::ALL.iter().map(|kind| kind.to_string());
    let all: BTreeSet<String> = kinds.chain(Step::OPS.iter().map(|op| (*op).to_owned())).collect();
    assert_eq!(named, all.iter().map(String::as_str).collect());
}

#[test]
fn every_command_of_a_page_is_taken() {
    let command = hostler_cli::args::Cli::command();
    let (mut seen, mut wrong) = (0, Vec::new());
    for (page, text) in pages() {
        for line in commands(&text) {
            seen += 1;
            if let Some(why) = refusal(&command, line) {
                wrong.push(format!("{}: {line}: {why}", page.display()));
            }
        }
    }
    assert!(seen > 30, "found only {seen} commands");
    assert!(wrong.is_empty(), "these are no commands:\n{}", wrong.join("\n"));
}

/// Everything behind `hostler ` in code, up to what ends a command in a shell.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    text.split("hostler ").zip(text.split("hostler ").skip(1)).filter_map(|(before, after)| {
        let begins = before.ends_with(['`', '\n']) || before.ends_with("$ ") || before.ends_with("&& ");
        begins.then(|| after.split(['`', '\n', '>', '#', '&', '|', '(']).next().unwrap_or_default().trim())
    })
}

/// Why the command line does not take that: a command or a flag that it does not know.
fn refusal(command: &clap::Command, line: &str) -> Option<String> {
    let (mut here, mut flags) = (command, Vec::new());
    for word in line.split_whitespace() {
        if let Some(flag) = word.strip_prefix("--") {
            flags.push(flag.split('=').next().unwrap_or(flag).trim_end_matches(','));
        } else if here.has_subcommands() && word.starts_with(|c: char| c.is_ascii_lowercase()) {
            match here.find_subcommand(word) {
                Some(found) => here = found,
                None => return Some(format!("no command {word}")),
            }
        }
    }
    let known = |flag: &str| {
        let of = |c: &clap::Command| c.get_arguments().any(|a| a.get_long() == Some(flag));
        matches!(flag, "help" | "version") || of(here) || of(command)
    };
    flags.into_iter().find(|flag| !known(flag)).map(|flag| format!("no flag --{flag}"))
}

#[test]
fn every_test_that_security_names_exists() {
    let page = std::fs::read_to_string(workspace().join("SECURITY.md")).expect("text");
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 5);
    let cells = rows.filter_map(|row| row.split('|').nth(4));
    let named: BTreeSet<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 10, "found only {named:?}");
    let mut all = String::new();
    let mut folders = vec![workspace().to_owned()];
    while let Some(folder) = folders.pop() {
        for name in names(&folder) {
            let path = folder.join(&name);
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                all.push_str(&std::fs::read_to_string(path).expect("text"));
            }
        }
    }
    let missing: Vec<&&str> = named.iter().filter(|test| !all.contains(&format!("fn {test}("))).collect();
    assert!(missing.is_empty(), "SECURITY.md names tests that are not there: {missing:?}");
}
