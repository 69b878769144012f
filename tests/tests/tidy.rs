//! The shape of the sources: what a reader may count on in every file. An exception stands here with its reason.

use std::path::{Path, PathBuf};

/// A file that is longer is two ideas.
const MOST_LINES: usize = 500;
/// What rustfmt keeps to where it can; it wraps neither texts nor comments.
const MOST_COLUMNS: usize = 120;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// Files that may have longer lines, and why.
const LONG_LINES: &[(&str, &str)] = &[
    ("executor/src/distribution/k3s.rs", "a unit, as it is written"),
    ("executor/src/host/kube/eviction.rs", "answers of a real API server, as they came"),
    ("facts/src/packages.rs", "output of apt, as it came"),
    ("plan/src/fact/growth.rs", "a head of proptest, which rustfmt does not touch"),
];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// Every source of the workspace, by its path in it.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(workspace())
        .expect("the workspace")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("Cargo.toml").exists())
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(workspace()).expect("inside").display().to_string();
                found.push((name, std::fs::read_to_string(&path).expect("text")));
            }
        }
    }
    assert!(found.len() > 200, "the sources were not found");
    found
}

fn excepted(list: &[(&str, &str)], name: &str) -> bool {
    list.iter().any(|(file, _)| *file == name)
}

#[test]
fn every_file_says_first_what_it_is() {
    let silent: Vec<_> = sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(n, _)| n).collect();
    assert!(silent.is_empty(), "expected //! and a sentence in the first line of {silent:#?}");
}

#[test]
fn no_file_is_too_long() {
    let long = |(name, text): &(String, String)| text.lines().count() > MOST_LINES && !excepted(LONG_FILES, name);
    let found: Vec<_> = sources().into_iter().filter(long).map(|(name, _)| name).collect();
    assert!(found.is_empty(), "expected at most {MOST_LINES} lines; split by idea: {found:#?}");
}

#[test]
fn no_line_is_too_long() {
    let mut found = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| !excepted(LONG_LINES, name)) {
        let long = text.lines().enumerate().filter(|(_, line)| line.chars().count() > MOST_COLUMNS);
        found.extend(long.map(|(number, _)| format!("{name}:{}", number + 1)));
    }
    assert!(found.is_empty(), "expected at most {MOST_COLUMNS} columns: {found:#?}");
}

#[test]
fn a_module_stands_beside_its_folder() {
    let found: Vec<_> = sources().into_iter().filter(|(n, _)| n.ends_with("/mod.rs")).map(|(n, _)| n).collect();
    assert!(found.is_empty(), "expected name.rs beside the folder name/: {found:#?}");
}

#[test]
fn every_exception_is_still_needed() {
    let sources = sources();
    let text = |name: &str| sources.iter().find(|(n, _)| n == name).map_or("", |(_, text)| text.as_str());
    for (name, _) in LONG_FILES {
        assert!(text(name).lines().count() > MOST_LINES, "{name} is no exception any more");
    }
    for (name, _) in LONG_LINES {
        let long = text(name).lines().any(|line| line.chars().count() > MOST_COLUMNS);
        assert!(long, "{name} is no exception any more");
    }
}
