//! A K3s cluster's life: one binary, Hostler's own drop-in before its first start, and a join secret per node.

use super::{Member, Obstacle};
use crate::{
    distribution::Distribution,
    fleet::{Fleet, FleetArtifact, FleetNode},
    form::{FileMode, FilePath, ServerUrl},
    id::{ArtifactName, NodeName, TaskId},
    step::{ClusterRole, EnsureFile, Step, k3s},
    version::Version,
};

/// The one binary.
const ARTIFACT: &str = "k3s";

pub(super) const DATABASE_BACKUP: &str =
    "Hostler does not back up the cluster's database yet; take and copy a snapshot before you sign";

/// From making a join secret to its use: the joining node has staged everything before, so only the join itself.
const JOIN_SECRET_SECONDS: u64 = 900;

/// Hostler's own drop-in, after the ones that people number lower.
const DROP_IN: &str = "/etc/rancher/k3s/config.yaml.d/50-hostler.yaml";

pub(super) fn artifacts<'a>(
    fleet: &'a Fleet,
    node: &FleetNode,
    version: Version,
) -> Result<Vec<&'a FleetArtifact>, Vec<Obstacle>> {
    match fleet.artifact(ARTIFACT, version, node.arch) {
        Some(binary) => Ok(vec![binary]),
        None => Err(vec![Obstacle::NoArtifact { name: ARTIFACT.to_owned(), version, arch: node.arch }]),
    }
}

fn binary(member: &Member<'_>) -> ArtifactName {
    let binary = member.artifacts.iter().find(|a| a.name.as_str() == ARTIFACT);
    binary.expect("a member's artifacts were found").plan_name()
}

pub(super) fn bootstrap(member: &Member<'_>) -> Vec<Step> {
    // A cluster of one server may keep its database in SQLite; with a second one it has to begin with etcd.
    let several_servers = member.fleet.servers().len() > 1;
    let drop_in = drop_in(member, several_servers);
    vec![drop_in, Step::BootstrapK3s(k3s::Bootstrap { artifact: binary(member), version: member.version })]
}

pub(super) fn admit() -> Vec<Step> {
    vec![Step::AdmitToK3s(k3s::Admit { lifetime_seconds: JOIN_SECRET_SECONDS })]
}

pub(super) fn join(member: &Member<'_>, admitted_by: TaskId) -> Vec<Step> {
    let drop_in = drop_in(member, true);
    let join = k3s::Join {
        artifact: binary(member),
        version: member.version,
        role: member.node.role,
        server_url: ServerUrl::new(format!("https://{}", member.fleet.api)).expect("the fleet file's address is one"),
        admitted_by,
    };
    vec![drop_in, Step::JoinK3s(join)]
}

/// Its own tools remove a node until Hostler does.
pub(super) fn keeps_members() -> Obstacle {
    Obstacle::NotOfDistribution {
        distribution: Distribution::K3s,
        what: "remove or replace nodes",
        instead: "drain the node, run `k3s-uninstall.sh` or `k3s-agent-uninstall.sh` on it, then `kubectl delete node` \
                  and `hostler node retire`",
    }
}

/// It does so at its start, from 90 days before their end.
pub(super) fn renews_itself() -> Obstacle {
    Obstacle::NotOfDistribution {
        distribution: Distribution::K3s,
        what: "renew certificates",
        instead: "it renews them itself when it starts within 90 days of their end (`systemctl restart k3s`)",
    }
}

pub(super) fn upgrade(member: &Member<'_>) -> Vec<Step> {
    vec![Step::UpgradeK3s(k3s::Upgrade { artifact: binary(member), version: member.version })]
}

/// What K3s must know before its first start; `+` adds to what the admin's own files say.
fn drop_in(member: &Member<'_>, several_servers: bool) -> Step {
    let node = member.node;
    let mut content =
        String::from("# Written by hostler-agent from a signed plan; changes here are undone by the next one.\n");
    if node.role == ClusterRole::Server {
        content.push_str(&format!("tls-san+:\n  - \"{}\"\n", member.fleet.api.host));
        if several_servers && node.first {
            content.push_str("cluster-init: true\n");
        }
    }
    if !node.labels.is_empty() {
        content.push_str("node-label+:\n");
        for (key, value) in &node.labels {
            content.push_str(&format!("  - \"{key}={value}\"\n"));
        }
    }
    let path = FilePath::new(DROP_IN).expect("our own path is one");
    let mode = FileMode::new("0600").expect("our own mode is one");
    Step::EnsureFile(EnsureFile { path, mode, content })
}

/// K3s knows one token for servers, the cluster's own, and it never ends.
pub(super) fn server_secret(server: &NodeName) -> String {
    format!(
        "the cluster's server token, which does not end, is sealed to the key of {server} and stays in the ledger so; \
         rotate it after the join with `k3s token rotate`"
    )
}

/// Its settings lie in files of the machine that it reads at its start.
pub(super) fn keeps_settings() -> Obstacle {
    Obstacle::NotOfDistribution {
        distribution: Distribution::K3s,
        what: "bring changed settings to a running cluster",
        instead: "write them into /etc/rancher/k3s/config.yaml.d by files of [machine], then `hostler plan baseline` \
                  and `hostler reboot`",
    }
}
