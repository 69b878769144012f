//! The fleet file beside what runs, and beside the copy that the coordinator has.

use std::collections::BTreeMap;

use hostler_plan::{
    document::{Roster, RosterStatus},
    fleet::Fleet,
    id::NodeName,
    planner::Inventory,
    step::ClusterRole,
    version::Version,
};
use hostler_proto::v1;

use crate::{Admin, error::Error};

/// Something in which the fleet is not what its file says, and what brings it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// None where it is about the whole.
    pub node: Option<NodeName>,
    pub expected: String,
    pub found: String,
    pub next: String,
}

/// Where the fleet differs from its file.
pub fn differences(fleet: &Fleet, roster: Option<&Roster>, inventory: &Inventory) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut add = |node: &NodeName, expected: String, found: &str, next: String| {
        all.push(Difference { node: Some(node.clone()), expected, found: found.to_owned(), next });
    };
    let listed: BTreeMap<&NodeName, _> = roster
        .iter()
        .flat_map(|r| &r.nodes)
        .filter(|n| n.status == RosterStatus::Active)
        .map(|n| (&n.name, n))
        .collect();
    for node in &fleet.nodes {
        let name = &node.name;
        let Some(entry) = listed.get(name) else {
            add(name, "an active node".into(), "it is not in the roster", "enrol it with a join string".into());
            continue;
        };
        if entry.role != node.role {
            add(
                name,
                node.role.to_string(),
                entry.role.word(),
                "correct the file, or enrol it with another token".into(),
            );
        }
        if entry.arch != node.arch {
            add(name, node.arch.to_string(), &entry.arch.to_string(), "correct the file".into());
        }
        // A host is no member of the cluster, and runs no version of it.
        if node.role == ClusterRole::Host {
            continue;
        }
        match inventory.nodes.get(name).and_then(|n| n.condition.version) {
            None => add(name, fleet.version.to_string(), "not in the cluster", format!("hostler plan join {name}")),
            Some(runs) if runs != fleet.version => {
                let next = upgrade(fleet.version, runs);
                add(name, fleet.version.to_string(), &runs.to_string(), next);
            }
            Some(_) => {}
        }
    }
    for name in listed.keys().filter(|n| fleet.node(n).is_none()) {
        add(
            name,
            "no such node".into(),
            "it is in the roster",
            format!("add it to the file, or hostler node retire {name}"),
        );
    }
    all
}

fn upgrade(wanted: Version, runs: Version) -> String {
    match wanted > runs {
        true => format!("hostler upgrade --to {wanted}"),
        false => "raise the version in the file; Kubernetes cannot go back".to_owned(),
    }
}

/// The lines that are only in one of two texts, marked `-` and `+`, in order; equal lines are left out.
pub fn line_changes(old: &str, new: &str) -> Vec<String> {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // The longest common subsequence by dynamic programming: fleet files have hundreds of lines, not millions.
    if a.len().saturating_mul(b.len()) > MAX_CELLS {
        return vec![format!("- {} lines", a.len()), format!("+ {} lines", b.len())];
    }
    let width = b.len() + 1;
    let mut longest = vec![0u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i * width + j] = match a[i] == b[j] {
                true => longest[(i + 1) * width + j + 1] + 1,
                false => longest[(i + 1) * width + j].max(longest[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut changes) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && longest[(i + 1) * width + j] >= longest[i * width + j + 1]) {
            changes.push(format!("- {}", a[i]));
            i += 1;
        } else {
            changes.push(format!("+ {}", b[j]));
            j += 1;
        }
    }
    changes
}

/// 4,000 by 4,000 lines take 64 MB for a moment; a longer file is counted only.
const MAX_CELLS: usize = 16_000_000;

/// The fleet file that the coordinator has; empty before the first.
pub async fn stored(admin: &mut Admin) -> Result<Vec<u8>, Error> {
    let request = admin.with_session(v1::Empty {});
    Ok(admin.client().get_fleet_file(request).await?.into_inner().content)
}

/// Gives the coordinator a fleet file.
pub async fn put(admin: &mut Admin, content: Vec<u8>) -> Result<(), Error> {
    let request = admin.with_session(v1::FleetFile { content });
    admin.client().put_fleet_file(request).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use hostler_fixtures as fixtures;

    use super::*;

    #[test]
    fn a_host_is_no_member_that_has_to_join() {
        let text = "name = \"a\"\ndistribution = \"k3s\"\nversion = \"v1.34.3+k3s1\"\napi = \"10.0.0.1:6443\"\n\
                    [[nodes]]\nname = \"box\"\nrole = \"server\"\narch = \"aarch64\"\n\
                    [[nodes]]\nname = \"store\"\nrole = \"host\"\narch = \"aarch64\"\n";
        let (fleet, _) = Fleet::from_toml(&[("fleet.toml", text)]).unwrap();
        let created = "2026-12-01T00:00:00Z".parse().unwrap();
        let entry = |name, seed, role| fixtures::node(name, fixtures::public(&fixtures::key(seed)), role);
        let nodes = vec![entry("box", 1, ClusterRole::Server), entry("store", 2, ClusterRole::Host)];
        let roster = fixtures::roster(&fixtures::root(created, Vec::new()), created, nodes);
        let found = differences(&fleet, Some(&roster), &Inventory::default());
        let next: Vec<&str> = found.iter().map(|difference| difference.next.as_str()).collect();
        assert_eq!(next, ["hostler plan join box"]);
    }

    #[test]
    fn only_changed_lines_are_shown_in_order() {
        assert_eq!(line_changes("a\nb\nc\n", "a\nb\nc\n"), Vec::<String>::new());
        assert_eq!(line_changes("a\nb\nc\n", "a\nx\nc\nd\n"), ["- b", "+ x", "+ d"]);
        assert_eq!(line_changes("", "a\n"), ["+ a"]);
        assert_eq!(line_changes("a\n", ""), ["- a"]);
    }
}
