//! Keys that a fleet file may have, so that a typo is met with the key that was meant.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::problem::{Location, Problem, nearest};

const TOP: &[&str] = &["name", "distribution", "version", "api", "policy", "nodes", "artifacts", "groups"];
const POLICY: &[&str] = &[
    "max_unavailable",
    "canary",
    "soak_seconds",
    "drain_timeout_seconds",
    "ready_timeout_seconds",
    "lease_seconds",
    "plan_lifetime_seconds",
    "delete_empty_dir_data",
    "force_unmanaged",
    "new_owners",
    "drain",
];
const DRAIN: &[&str] = &["never", "slow", "unreachable", "taken_over"];
const NODE: &[&str] = &["name", "role", "arch", "first", "labels", "group"];
const ARTIFACT: &[&str] = &[
    "name",
    "kind",
    "package",
    "version",
    "kubernetes",
    "arch",
    "role",
    "to",
    "path",
    "url",
    "member",
    "sha256",
    "size",
];
const GROUP: &[&str] = &["health"];

/// Every unknown key of the file.
pub(super) fn unknown(file: &str, text: &str, document: &DeTable<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut check = |table: &DeTable<'_>, known: &[&str], of: &str| {
        for key in table.keys().filter(|k| !known.contains(&k.get_ref().as_ref())) {
            problems.push(Problem {
                location: Location::of(file, text, key.span().start),
                message: sentence(key.get_ref(), known, of),
            });
        }
    };
    check(document, TOP, "a fleet file");
    for (key, value) in document {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("policy", DeValue::Table(policy)) => {
                check(policy, POLICY, "[policy]");
                if let Some(DeValue::Table(drain)) = policy.get("drain").map(Spanned::get_ref) {
                    check(drain, DRAIN, "[policy.drain]");
                }
            }
            ("nodes", DeValue::Array(nodes)) => tables(nodes).for_each(|t| check(t, NODE, "[[nodes]]")),
            ("artifacts", DeValue::Array(files)) => tables(files).for_each(|t| check(t, ARTIFACT, "[[artifacts]]")),
            ("groups", DeValue::Table(groups)) => {
                for group in groups.values().filter_map(|g| g.get_ref().as_table()) {
                    check(group, GROUP, "a group");
                }
            }
            _ => {}
        }
    }
    problems
}

/// Every key of a lock but its artifacts, and every unknown key of those.
pub(super) fn unknown_in_lock(file: &str, text: &str, document: &DeTable<'_>) -> Vec<Problem> {
    let other = |key: &&Spanned<_>| AsRef::<str>::as_ref(key.get_ref()) != "artifacts";
    let foreign = document.keys().filter(other).map(|key| Problem {
        location: Location::of(file, text, key.span().start),
        message: format!("a lock holds [[artifacts]] alone, found {:?}; move it to the fleet file", key.get_ref()),
    });
    let foreign: Vec<Problem> = foreign.collect();
    if foreign.is_empty() { unknown(file, text, document) } else { foreign }
}

fn tables<'t, 'i>(array: &'t [Spanned<DeValue<'i>>]) -> impl Iterator<Item = &'t DeTable<'i>> {
    array.iter().filter_map(|value| value.get_ref().as_table())
}

fn sentence(found: &str, known: &[&str], of: &str) -> String {
    match nearest(found, known.iter().copied()) {
        Some(meant) => format!("unknown key {found:?} in {of}; write {meant:?} if that is meant"),
        None => format!("unknown key {found:?} in {of}, expected one of {}; remove it", known.join(", ")),
    }
}
