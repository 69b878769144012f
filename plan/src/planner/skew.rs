//! How far the versions of one cluster may be apart while a plan runs.
//! <https://kubernetes.io/releases/version-skew-policy/>: servers within one minor version; a kubelet never newer than
//! its servers and at most three minor versions older, two where it is older than 1.25. What comes before a release
//! counts as its minor version.

use crate::{id::NodeName, step::ClusterRole, version::Version};

use super::{Draft, Obstacle, Request};

/// How many minor versions a node that runs `runs` may be behind servers, and so how far it goes in one step.
fn limit(role: ClusterRole, runs: Version) -> u16 {
    match role {
        ClusterRole::Server => 1,
        ClusterRole::Worker | ClusterRole::Host if runs.minor < 25 => 2,
        ClusterRole::Worker | ClusterRole::Host => 3,
    }
}

/// Whether a node that runs `runs` may be there while its servers run `to`, and be brought to it at once.
pub(super) fn reaches(role: ClusterRole, runs: Version, to: Version) -> bool {
    to.major == runs.major && to.minor <= runs.minor.saturating_add(limit(role, runs))
}

/// Why it is not, with the versions that lead there: as few as there can be.
pub(super) fn beyond(node: NodeName, role: ClusterRole, runs: Version, to: Version) -> Obstacle {
    let mut through = Vec::new();
    let mut at = runs;
    while at.major == to.major && !reaches(role, at, to) {
        at.minor += limit(role, at);
        through.push(at.minor);
    }
    match role {
        ClusterRole::Server => Obstacle::SkippedMinor { node, runs, to, through },
        ClusterRole::Worker | ClusterRole::Host => {
            Obstacle::TooFarBehind { node, runs, to, limit: limit(role, runs), through }
        }
    }
}

/// Members that the plan leaves where they are, too far behind the servers that it brings to another minor version.
pub(super) fn left_behind(request: Request<'_>, draft: &mut Draft, nodes: &[NodeName], to: Version) {
    let runs = |node: &NodeName| request.state(node).condition.version;
    let rises = request.fleet.servers().into_iter().any(|server| {
        nodes.contains(&server.name) && runs(&server.name).is_some_and(|version| version.minor < to.minor)
    });
    if !rises {
        return;
    }
    for node in &request.fleet.nodes {
        let judged = |obstacle: &Obstacle| {
            matches!(obstacle, Obstacle::SkippedMinor { node: known, .. } | Obstacle::TooFarBehind { node: known, .. }
                if *known == node.name)
        };
        if nodes.contains(&node.name) || !request.is_member(&node.name) || draft.obstacles.iter().any(judged) {
            continue;
        }
        let Some(runs) = runs(&node.name).filter(|runs| !reaches(node.role, *runs, to)) else { continue };
        draft.obstacles.push(match node.role {
            ClusterRole::Server => Obstacle::ServersApart { server: node.name.clone(), runs, to },
            ClusterRole::Worker | ClusterRole::Host => beyond(node.name.clone(), node.role, runs, to),
        });
    }
}

/// Whether nodes of these roles may join at `version`.
pub(super) fn joins(request: Request<'_>, draft: &mut Draft, roles: &[ClusterRole], version: Version) {
    let servers = request.fleet.servers().into_iter().filter(|server| request.is_member(&server.name));
    let newest = servers.filter_map(|s| Some((request.state(&s.name).condition.version?, &s.name))).max();
    let Some((runs, server)) = newest else { return };
    if let Some(role) = roles.iter().find(|role| runs > version && !reaches(**role, version, runs)) {
        let limit = limit(*role, version);
        draft.obstacles.push(Obstacle::JoinsTooOld { version, server: server.clone(), runs, limit });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_refused_beyond_three_minor_versions_and_the_way_there_is_said() {
        let said = |role, runs: &str, to: &str| {
            let [runs, to] = [runs, to].map(|text| text.parse().expect("a version"));
            let node: NodeName = "w1".parse().expect("a name");
            (!reaches(role, runs, to)).then(|| beyond(node, role, runs, to).to_string())
        };
        let worker = |runs, to| said(ClusterRole::Worker, runs, to).unwrap_or_default();
        for (runs, to) in [
            ("v1.31.4", "v1.34.0"),
            ("v1.25.0", "v1.28.0"),
            ("v1.24.17", "v1.26.1"),
            ("v1.24.0", "v1.24.1"),
            ("v1.31.0", "v1.34.0-rc.1"),
            ("v1.34.0-rc.1", "v1.34.0"),
        ] {
            assert_eq!(worker(runs, to), "", "{runs} to {to}");
        }
        let end = |text: String| text.split("; ").nth(1).unwrap_or_default().to_owned();
        assert_eq!(end(worker("v1.30.9", "v1.34.0")), "bring it to v1.33 first");
        assert_eq!(end(worker("v1.24.17", "v1.27.0")), "bring it to v1.26 first");
        assert_eq!(end(worker("v1.23.0", "v1.33.0")), "bring it to v1.25 first, then to v1.28, then to v1.31");
        assert_eq!(end(worker("v1.30.0", "v1.34.0-alpha.1")), "bring it to v1.33 first");
        let server = |runs, to| said(ClusterRole::Server, runs, to).map(end).unwrap_or_default();
        assert_eq!(server("v1.33.9", "v1.34.0-beta.0"), "");
        assert_eq!(server("v1.32.9", "v1.35.0"), "go to v1.33 first, then to v1.34");
    }
}
