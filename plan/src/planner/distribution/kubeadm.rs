//! A kubeadm cluster's life: machines with a container runtime, kubeadm's own configuration whole in the plan, and a
//! join token per node.

mod balancer;
mod config;
mod machine;
mod registry;

use std::{collections::BTreeSet, net::IpAddr};

use super::{super::seeding::Seeding, Becomes, Member, Obstacle, install};
use crate::{
    fleet::{ArtifactKind, ContainerRuntime, Fleet, FleetArtifact, FleetNode},
    form::{Config, ServerUrl, UnitName},
    id::{NodeName, TaskId},
    step::{ClusterRole, EnsureUnit, Step, UnitState, configure, kubeadm},
    version::Version,
};

pub(super) use balancer::steps as balance;
pub(super) use machine::{images, prepare};

/// What makes and what runs a node: without these two nothing joins and nothing is upgraded.
const KUBEADM: &str = "kubeadm";
const KUBELET: &str = "kubelet";

/// From making a join token to its use: the joining node was made ready before, so only the join itself.
const JOIN_TOKEN_SECONDS: u64 = 900;

pub(super) const DATABASE_BACKUP: &str = "a snapshot of etcd is taken on each server before its upgrade, and copied \
     to the coordinator where the root has a recovery key (`hostler recovery key new`); without one it stays on that \
     server alone";

/// Nobody is asked where the API server is before its name is in DNS or in `/etc/hosts`.
pub(super) fn before_bootstrap(member: &Member<'_>) -> Option<String> {
    let Member { fleet, node, .. } = member;
    let host = fleet.api.host.as_str();
    let found = |node: &FleetNode| fleet.machine(node).hosts.keys().any(|name| name.as_str() == host);
    let known = host.parse::<IpAddr>().is_ok() || host == node.name.as_str() || fleet.nodes.iter().all(found);
    (!known).then(|| {
        format!(
            "every node has to find {host} already, which leads to {}; where no DNS server knows it, write it into \
             hosts of [machine]",
            node.name
        )
    })
}

/// Whether it becomes a part of the system.
fn is_installed(artifact: &FleetArtifact) -> bool {
    match artifact.kind {
        ArtifactKind::Program { .. } | ArtifactKind::Package { .. } | ArtifactKind::Image => true,
        ArtifactKind::Manifest | ArtifactKind::File => false,
    }
}

pub(super) fn hinders(member: &Member<'_>, becomes: Becomes) -> Vec<Obstacle> {
    let Member { fleet, node, .. } = member;
    let mut hinders = Vec::new();
    if becomes == Becomes::First && fleet.kubeadm.is_none() {
        hinders.push(Obstacle::NoSettings { distribution: fleet.distribution });
    }
    // It stands in a server's certificates and in etcd's list of members; kubeadm would take any of the machine's.
    if becomes != Becomes::Newer && node.role == ClusterRole::Server && node.address.is_none() {
        hinders.push(Obstacle::NoAddress { node: node.name.clone() });
    }
    let config = match becomes {
        Becomes::First => config::init(member, true),
        Becomes::Member => config::join(member),
        Becomes::Newer => config::upgrade(member),
    };
    if Config::new(config.as_str()).is_err() {
        hinders.push(Obstacle::ConfigTooLong { node: node.name.clone(), bytes: config.len() });
    }
    hinders
}

fn judged(config: String) -> Config {
    Config::new(config).expect("what hinders was asked before")
}

pub(super) fn artifacts<'a>(
    fleet: &'a Fleet,
    node: &FleetNode,
    version: Version,
) -> Result<Vec<&'a FleetArtifact>, Vec<Obstacle>> {
    let mut needed = fleet.needed_artifacts(version, node.arch, node.role);
    needed.retain(|artifact| is_installed(artifact));
    // What other processors have for this version, this one needs too, and the images that it has for an older one: of
    // an upgrade kubeadm misses them when the node is drained already.
    let of_version = fleet.artifacts.iter().filter(|a| {
        let is_older = a.kind == ArtifactKind::Image && a.arch == Some(node.arch) && a.kubernetes < Some(version);
        is_installed(a)
            && (is_older || a.kubernetes.is_none_or(|v| v == version))
            && a.role.is_none_or(|role| role == node.role)
    });
    let wanted: BTreeSet<&str> = of_version.map(|a| a.name.as_str()).chain([KUBEADM, KUBELET]).collect();
    let has = |name: &str| needed.iter().any(|a| a.name.as_str() == name);
    let missing = wanted.into_iter().filter(|name| !has(name));
    let missing: Vec<Obstacle> =
        missing.map(|name| Obstacle::NoArtifact { name: name.to_owned(), version, arch: node.arch }).collect();
    if missing.is_empty() { Ok(needed) } else { Err(missing) }
}

/// What belongs to no version of Kubernetes: the container runtime, network plugins.
pub(super) fn baseline_artifacts<'a>(fleet: &'a Fleet, node: &FleetNode) -> Vec<&'a FleetArtifact> {
    let mut needed = fleet.needed_artifacts(fleet.version, node.arch, node.role);
    needed.retain(|artifact| is_installed(artifact) && artifact.kubernetes.is_none());
    needed
}

pub(super) fn manifests(fleet: &Fleet) -> Vec<&FleetArtifact> {
    let named = fleet.kubeadm.iter().flat_map(|kubeadm| &kubeadm.manifests);
    let manifest =
        |name: &String| fleet.artifacts.iter().find(|a| a.kind == ArtifactKind::Manifest && a.name.as_str() == name);
    named.filter_map(manifest).collect()
}

/// Programs and packages of Kubernetes' own, but for those that `without` names.
fn own_programs(member: &Member<'_>, which: impl Fn(&str) -> bool) -> Vec<Step> {
    let own = member.artifacts.iter().filter(|a| a.kubernetes.is_some() && which(a.name.as_str()));
    own.flat_map(|artifact| install(artifact)).collect()
}

/// The kubelet's own unit: kubeadm starts it and leaves to others that it starts at every boot.
fn kubelet_unit() -> Step {
    let unit = UnitName::new(machine::KUBELET_UNIT).expect("our own unit is one");
    Step::EnsureUnit(EnsureUnit { unit, state: UnitState::Started, enabled: true })
}

pub(super) fn bootstrap(member: &Member<'_>, seed: Option<&Seeding>) -> Vec<Step> {
    let mut steps = own_programs(member, |_| true);
    let config = judged(config::init(member, seed.is_some()));
    steps.extend(seed.map(|seed| Step::SeedEtcd(seed.seed.clone())));
    steps.push(Step::BootstrapKubeadm(kubeadm::Bootstrap { version: member.version, config }));
    steps.push(kubelet_unit());
    steps.extend(seed.map(|seed| Step::ForgetNodes(seed.forget.clone())));
    steps.extend(balancer::steps(&Member { inside: true, ..member.clone() }));
    steps
}

pub(super) fn admit(node: &FleetNode) -> Vec<Step> {
    vec![Step::AdmitToKubeadm(kubeadm::Admit { role: node.role, lifetime_seconds: JOIN_TOKEN_SECONDS })]
}

/// A server has the cluster's keys for ever.
pub(super) fn server_secret(server: &NodeName) -> String {
    format!(
        "the keys of the cluster's certificate authorities, which do not end, are sealed to the key of {server} and \
         stay in the ledger so: whoever gets {server}'s own key later can read them"
    )
}

pub(super) fn join(member: &Member<'_>, admitted_by: TaskId) -> Vec<Step> {
    let mut steps = own_programs(member, |_| true);
    let join = kubeadm::Join {
        version: member.version,
        role: member.node.role,
        config: judged(config::join(member)),
        admitted_by,
    };
    steps.push(Step::JoinKubeadm(join));
    steps.push(kubelet_unit());
    if member.node.role == ClusterRole::Server {
        steps.extend(balancer::steps(&Member { inside: true, ..member.clone() }));
    }
    steps
}

pub(super) fn settle() -> Vec<Step> {
    vec![Step::RevokeKubeadm(kubeadm::Revoke {})]
}

pub(super) fn expel(node: &FleetNode, silent: bool) -> Vec<Step> {
    let is_server = node.role == ClusterRole::Server;
    let address = node.address.filter(|_| is_server);
    vec![Step::ExpelFromKubeadm(kubeadm::Expel { role: node.role, address, silent: silent && is_server })]
}

/// The address leads to no machine whose keys are gone, and what was sealed to the member does not stay.
pub(super) fn reset(fleet: &Fleet, node: &FleetNode, expelled_by: TaskId) -> Vec<Step> {
    let mut steps = balancer::stop(fleet, node);
    steps.push(Step::ResetKubeadm(kubeadm::Reset { config: judged(config::reset()), expelled_by }));
    steps.push(registry::forget(&ContainerRuntime::default()));
    steps
}

pub(super) fn renew(within_days: u64) -> Vec<Step> {
    vec![Step::RenewKubeadm(kubeadm::Renew { within_days })]
}

/// Patches lie there before kubeadm is asked what it would write.
pub(super) fn reach(member: &Member<'_>) -> Vec<Step> {
    let api = &member.fleet.api;
    let endpoint = ServerUrl::new(format!("https://{api}")).expect("a fleet's endpoint is an address");
    let patches = machine::patches(member).into_iter().map(Step::EnsureFile);
    std::iter::once(Step::ReachKubeadm(configure::Reach { endpoint })).chain(patches).collect()
}

pub(super) fn certify(member: &Member<'_>) -> Vec<Step> {
    let (version, config) = (member.version, judged(config::init(member, false)));
    vec![Step::CertifyKubeadm(configure::Certify { version, config })]
}

pub(super) fn configure(member: &Member<'_>, drained: bool) -> Vec<Step> {
    let (version, config) = (member.version, judged(config::init(member, false)));
    let mut steps = Vec::new();
    if member.node.role == ClusterRole::Server {
        steps.push(Step::ConfigureKubeadm(configure::Configure { version, config: config.clone() }));
    }
    steps.push(Step::ConfigureKubelet(configure::ConfigureKubelet { version, config, drained }));
    steps
}

/// kubeadm's minor version is the one that it upgrades to, and the kubelet's is never newer than its API server's.
pub(super) fn upgrade(member: &Member<'_>) -> Vec<Step> {
    let mut steps = own_programs(member, |name| name == KUBEADM);
    let config = judged(config::upgrade(member));
    steps.push(Step::UpgradeKubeadm(kubeadm::Upgrade { version: member.version, config }));
    steps.extend(own_programs(member, |name| name != KUBEADM));
    steps.push(Step::EnsureKubelet(kubeadm::EnsureKubelet { version: member.version }));
    steps
}
