//! Which crate may name which: the arrows of ARCHITECTURE.md, read from the manifests.

use std::{collections::BTreeSet, path::Path};

const MAY_NAME: &[(&str, &[&str])] = &[
    ("plan", &[]),
    ("fixtures", &["plan"]),
    ("proto", &["plan"]),
    ("facts", &["plan"]),
    ("daemon", &[]),
    ("seal", &["plan"]),
    ("executor", &["plan", "facts", "daemon", "seal"]),
    ("agent", &["plan", "proto", "facts", "daemon", "executor"]),
    ("coordinator", &["plan", "proto", "daemon"]),
    ("cli", &["plan", "proto", "daemon", "seal"]),
    ("sim", &["plan", "proto", "facts", "daemon", "seal", "executor", "agent", "coordinator", "cli"]),
    (
        "tests",
        &["plan", "fixtures", "proto", "facts", "daemon", "seal", "executor", "agent", "coordinator", "cli", "sim"],
    ),
];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// What the manifest of a crate names: for what it builds, and for its tests as well.
fn named_by(member: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let manifest = std::fs::read_to_string(workspace().join(member).join("Cargo.toml")).expect("a manifest");
    let (built, tested) = manifest.split_once("[dev-dependencies]").unwrap_or((&manifest, ""));
    (named_in(member, built), named_in(member, tested))
}

fn named_in(member: &str, manifest: &str) -> BTreeSet<String> {
    let own = format!("hostler-{member}");
    manifest
        .lines()
        .filter_map(|line| line.trim().strip_prefix("hostler-"))
        .map(|rest| rest.split(['.', ' ', '=']).next().unwrap_or_default().to_owned())
        .filter(|name| format!("hostler-{name}") != own && workspace().join(name).join("Cargo.toml").exists())
        .collect()
}

#[test]
fn crates_name_only_the_crates_below_them() {
    for (member, allowed) in MAY_NAME {
        let mut allowed: BTreeSet<String> = allowed.iter().map(|a| (*a).to_owned()).collect();
        let (built, tested) = named_by(member);
        let wrong: Vec<_> = built.difference(&allowed).collect();
        assert!(wrong.is_empty(), "{member} may name {allowed:?}, found also {wrong:?}; see ARCHITECTURE.md");
        allowed.insert("fixtures".to_owned());
        let wrong: Vec<_> = tested.difference(&allowed).collect();
        assert!(wrong.is_empty(), "the tests of {member} may name {allowed:?}, found also {wrong:?}");
    }
}

#[test]
fn every_member_has_its_row() {
    let manifest = std::fs::read_to_string(workspace().join("Cargo.toml")).expect("the workspace manifest");
    let members = manifest.lines().find(|l| l.starts_with("members")).expect("members");
    for member in members.split('"').skip(1).step_by(2) {
        assert!(MAY_NAME.iter().any(|(name, _)| *name == member), "{member} has no row in this test");
    }
}

#[test]
fn the_deciding_crate_has_no_clock_no_files_and_no_async() {
    let mut found = Vec::new();
    visit(&workspace().join("plan/src"), &mut |path, text| {
        for word in [
            "std::fs",
            "TcpStream",
            "UdpSocket",
            "UnixStream",
            "std::env",
            "SystemTime::now",
            "Instant::now",
            "tokio",
            "async fn",
            "thread::",
        ] {
            if text.contains(word) {
                found.push(format!("{}: {word}", path.display()));
            }
        }
    });
    assert!(found.is_empty(), "{found:#?}");
}

fn visit(folder: &Path, see: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            visit(&path, see);
        } else if path.extension().is_some_and(|e| e == "rs") {
            see(&path, &std::fs::read_to_string(&path).expect("text"));
        }
    }
}

#[test]
fn the_network_side_names_of_the_executor_only_its_protocol_and_never_a_machine() {
    let mut found = Vec::new();
    visit(&workspace().join("agent/src"), &mut |path, text| {
        if text.contains("dyn Host") {
            found.push(format!("{}: holds a machine", path.display()));
        }
        let mut named = text.match_indices("hostler_executor::").map(|(at, word)| &text[at + word.len()..]);
        if named.any(|rest| !rest.starts_with("protocol")) {
            found.push(format!("{}: names more than the protocol", path.display()));
        }
    });
    assert!(found.is_empty(), "{found:#?}");
}
