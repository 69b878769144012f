//! From what was written to what is meant, with every problem named.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    distribution::{self, Distribution},
    form,
    health::Thresholds,
    id::NodeName,
    step::{Reaction, Reactions},
    version::Version,
};

use super::{
    ApiAddress, ArtifactKind, Canary, ContainerRuntime, Fleet, FleetNode, FleetPolicy, Group, Kubeadm, artifact,
    balancer,
    fragment::Merged,
    kubeadm, machine, maintenance, node,
    problem::{At, FleetError, Found, Location, Problem, nearest, or_nearest},
    reach::{self, Places},
    registry, snapshots, version,
};

/// A month: what the default trust root allows a plan to live at most is shorter still.
const PLAN_LIFETIME_SECONDS: (u64, u64) = (60, 31 * 86_400);

/// Whether everything that may name artifacts was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Artifacts {
    Read,
    /// In a lock that is not at hand or not finished: what names one is not judged.
    Elsewhere,
}

pub(super) fn fleet(merged: Merged, artifacts_are: Artifacts) -> Result<(Fleet, Vec<Problem>), FleetError> {
    let mut found = Found { top: merged.top.clone(), errors: Vec::new(), warnings: Vec::new() };
    let name = name(&mut found, merged.name.as_ref());
    let distribution = distribution(&mut found, merged.distribution.as_ref());
    let fleet_version = fleet_version(&mut found, merged.version.as_ref(), distribution);
    let api = api(&mut found, merged.api.as_ref());
    let groups = groups(&mut found, &merged);
    let machine = merged.machine.as_ref().map(|written| machine::machine(&mut found, "[machine]", written));
    let kubeadm = kubeadm(&mut found, &merged, distribution);
    let nodes = node::nodes(&mut found, &merged.nodes, &groups);
    let policy = policy(&mut found, &merged, &nodes);
    let snapshots = snapshots::snapshots(&mut found, merged.snapshots.as_ref());
    let maintenance = merged.maintenance.as_ref();
    let maintenance = maintenance.and_then(|w| maintenance::maintenance(&mut found, "[maintenance]", w, None));
    let artifacts = artifact::check(&mut found, &merged.artifacts, distribution);
    match (name, distribution, fleet_version, api, found.errors.is_empty()) {
        (Some(name), Some(distribution), Some(version), Some(api), true) => {
            let machine = machine.unwrap_or_default();
            let fleet = Fleet {
                name,
                distribution,
                version,
                api,
                policy,
                nodes,
                artifacts,
                groups,
                machine,
                kubeadm,
                snapshots,
                maintenance,
                balancer: balancer::balancer(&mut found, merged.balancer.as_ref()),
                handover: merged.handover.as_ref().map(|at| at.value.manifest.clone()),
                sealed: BTreeMap::new(),
            };
            whole(&mut found, &fleet, &merged, artifacts_are);
            if found.errors.is_empty() { Ok((fleet, found.warnings)) } else { Err(FleetError(found.errors)) }
        }
        _ => Err(FleetError(found.errors)),
    }
}

/// What can only be judged once everything is read.
fn whole(found: &mut Found, fleet: &Fleet, merged: &Merged, artifacts_are: Artifacts) {
    let place = |written: Option<&Location>| written.cloned().unwrap_or_else(|| merged.top.clone());
    let (api, cluster) =
        (place(merged.api.as_ref().map(|at| &at.location)), place(merged.kubeadm.as_ref().map(|at| &at.location)));
    let nodes = merged.nodes.iter().map(|at| &at.location).collect();
    if fleet.distribution != Distribution::Kubeadm {
        foreign_keys(found, fleet, &place(merged.machine.as_ref().map(|at| &at.location)));
        if let Some(At { location, .. }) = &merged.snapshots {
            only_kubeadm(found, fleet, location, "[snapshots]");
        }
    }
    if let Some(why) = machine::contradiction(&fleet.machine) {
        found.error(&place(merged.machine.as_ref().map(|at| &at.location)), format!("[machine]: {why}"));
    }
    for (name, At { location, .. }) in &merged.groups {
        let with = fleet.groups.get(name).map(|group| fleet.machine.with(&group.machine));
        let why = with.filter(|with| *with != fleet.machine).and_then(|with| machine::contradiction(&with));
        found.errors.extend(
            why.map(|why| Problem { location: location.clone(), message: format!("machines of group {name}: {why}") }),
        );
    }
    balancer::check(found, fleet, &place(merged.balancer.as_ref().map(|at| &at.location)));
    registry::check(found, fleet, &place(merged.machine.as_ref().map(|at| &at.location)));
    reach::check(found, fleet, &Places { api: &api, cluster: &cluster, nodes });
    if artifacts_are == Artifacts::Elsewhere {
        return;
    }
    let brings_runtime = fleet.artifacts.iter().any(|artifact| artifact.name.as_str() == "containerd");
    let names_image = fleet.nodes.iter().all(|node| fleet.machine(node).container_runtime.sandbox_image.is_some());
    if brings_runtime && fleet.kubeadm.is_some() && !names_image {
        let message = "[machine.container_runtime]: there is no sandbox_image, so that containerd asks a registry for \
                       the one that it was built with; write the pause image of `kubeadm config images list`";
        found.warning(&place(merged.machine.as_ref().map(|at| &at.location)), message.to_owned());
    }
    let applied = fleet.kubeadm.iter().flat_map(|kubeadm| &kubeadm.manifests);
    if let Some(name) = applied.into_iter().find(|name| fleet.handover.as_ref() == Some(name)) {
        let message = format!("[handover] manifest: {name:?} stands in manifests of [kubeadm] too; write it once");
        found.error(&place(merged.handover.as_ref().map(|at| &at.location)), message);
    }
    for name in fleet.missing_manifests() {
        let known = fleet.artifacts.iter().filter(|a| a.kind == ArtifactKind::Manifest).map(|a| a.name.as_str());
        let hint = or_nearest(name, known, || format!("lock it: hostler artifact lock {name}"));
        let is_last = fleet.handover.as_deref() == Some(name);
        let (key, written) = match is_last {
            true => ("[handover] manifest", merged.handover.as_ref().map(|at| &at.location)),
            false => ("[kubeadm] manifests", merged.kubeadm.as_ref().map(|at| &at.location)),
        };
        found.error(&place(written), format!("{key}: expected an artifact of kind manifest, found {name:?}; {hint}"));
    }
}

/// What only a kubelet and a container runtime of their own would read.
fn foreign_keys(found: &mut Found, fleet: &Fleet, location: &Location) {
    let machines = fleet.groups.values().map(|group| &group.machine).chain([&fleet.machine]);
    let of_machines = machines.flat_map(|machine| {
        let runtime = machine.container_runtime != ContainerRuntime::default();
        [(runtime, "container_runtime"), (!machine.kubelet_args.is_empty(), "kubelet_args")]
    });
    let of_nodes = fleet
        .nodes
        .iter()
        .flat_map(|node| [(node.taints.is_some(), "taints"), (!node.kubelet_args.is_empty(), "kubelet_args")]);
    let keys: BTreeSet<&str> = of_machines.chain(of_nodes).filter(|(stands, _)| *stands).map(|(_, key)| key).collect();
    for key in keys {
        only_kubeadm(found, fleet, location, key);
    }
}

fn only_kubeadm(found: &mut Found, fleet: &Fleet, location: &Location, key: &str) {
    let (distribution, other) = (fleet.distribution, Distribution::Kubeadm);
    let message = format!("{key}: only {other} is told of it, found the distribution {distribution}; remove it");
    found.error(location, message);
}

fn groups(found: &mut Found, merged: &Merged) -> BTreeMap<String, Group> {
    let mut groups = BTreeMap::new();
    for (name, At { value, location }) in &merged.groups {
        if let Some(Err(error)) = value.health.as_ref().map(Thresholds::from_table) {
            found.missing(&format!("group {name}: {error}"));
        }
        let machine = value.machine.clone().map(|value| {
            let written = At { value, location: location.clone() };
            machine::machine(found, &format!("[groups.{name}.machine]"), &written)
        });
        let maintenance = value.maintenance.clone().and_then(|value| {
            let written = At { value, location: location.clone() };
            let table = format!("[groups.{name}.maintenance]");
            maintenance::maintenance(found, &table, &written, merged.maintenance.as_ref())
        });
        let machine = machine.unwrap_or_default();
        groups.insert(name.clone(), Group { health: value.health.clone(), machine, maintenance });
    }
    groups
}

fn kubeadm(found: &mut Found, merged: &Merged, distribution: Option<Distribution>) -> Option<Kubeadm> {
    let written = merged.kubeadm.as_ref()?;
    if let Some(other) = distribution.filter(|d| *d != Distribution::Kubeadm) {
        let name = Distribution::Kubeadm.name();
        let message = format!("[{name}]: the distribution is {other}, which knows nothing of it; remove the table");
        found.error(&written.location, message);
    }
    Some(kubeadm::kubeadm(found, written))
}

fn name(found: &mut Found, name: Option<&At<String>>) -> Option<String> {
    let Some(At { value, location }) = name else {
        found.missing("the fleet has no name; write name = \"my-fleet\" at the top");
        return None;
    };
    if NodeName::new(value.as_str()).is_err() {
        found.error(
            location,
            format!("fleet name: expected 1 to 63 of a-z, 0-9 and '-', found {value:?}; choose another"),
        );
    }
    Some(value.clone())
}

fn distribution(found: &mut Found, written: Option<&At<String>>) -> Option<Distribution> {
    let Some(At { value, location }) = written else {
        let lines = distribution::any(|d| format!("distribution = {:?}", d.name()));
        found.missing(&format!("the fleet has no distribution; write {lines}"));
        return None;
    };
    let distribution = Distribution::named(value);
    if distribution.is_none() {
        let names = distribution::any(|d| format!("{:?}", d.name()));
        found.error(location, format!("distribution: expected {names}, found {value:?}; write one of them"));
    }
    distribution
}

fn fleet_version(
    found: &mut Found,
    written: Option<&At<String>>,
    distribution: Option<Distribution>,
) -> Option<Version> {
    let Some(At { value, location }) = written else {
        let [usual, ..] = Distribution::ALL;
        let example = distribution.unwrap_or(usual).example_version();
        found.missing(&format!("the fleet has no version; write version = {example:?} or the one you run"));
        return None;
    };
    version::parse(found, location, value, distribution)
}

fn api(found: &mut Found, written: Option<&At<String>>) -> Option<ApiAddress> {
    let Some(At { value, location }) = written else {
        found.missing(
            "the fleet has no API address; write api = \"HOST:6443\" with the first server or its virtual address",
        );
        return None;
    };
    let address = form::host_and_port(value).map(|(host, port)| ApiAddress { host: host.to_owned(), port });
    if address.is_none() {
        found.error(
            location,
            format!("api: expected HOST:PORT such as 192.168.1.11:6443, found {value:?}; add the port"),
        );
    }
    address
}

fn policy(found: &mut Found, merged: &Merged, nodes: &[FleetNode]) -> FleetPolicy {
    let default = FleetPolicy::default();
    let mut number = |name: &str, written: &Option<At<i64>>, (least, most): (u64, u64), default: u64| {
        let Some(At { value, location }) = written else { return default };
        let fits = u64::try_from(*value).ok().filter(|value| (least..=most).contains(value));
        if fits.is_none() {
            found.error(location, format!("{name}: expected {least} to {most}, found {value}; change it"));
        }
        fits.unwrap_or(default)
    };
    let max_unavailable =
        number("max_unavailable", &merged.max_unavailable, form::MAX_UNAVAILABLE, u64::from(default.max_unavailable));
    let soak_seconds = number("soak_seconds", &merged.soak_seconds, form::WAIT_SECONDS, default.soak_seconds);
    let drain_timeout_seconds = number(
        "drain_timeout_seconds",
        &merged.drain_timeout_seconds,
        form::TIMEOUT_SECONDS,
        default.drain_timeout_seconds,
    );
    let ready_timeout_seconds = number(
        "ready_timeout_seconds",
        &merged.ready_timeout_seconds,
        form::TIMEOUT_SECONDS,
        default.ready_timeout_seconds,
    );
    let lease_seconds = number("lease_seconds", &merged.lease_seconds, form::LEASE_SECONDS, default.lease_seconds);
    let plan_lifetime_seconds = number(
        "plan_lifetime_seconds",
        &merged.plan_lifetime_seconds,
        PLAN_LIFETIME_SECONDS,
        default.plan_lifetime_seconds,
    );
    FleetPolicy {
        max_unavailable: u32::try_from(max_unavailable).unwrap_or(1),
        canary: canary(found, merged.canary.as_ref(), nodes).unwrap_or(default.canary),
        soak_seconds,
        drain_timeout_seconds,
        ready_timeout_seconds,
        lease_seconds,
        plan_lifetime_seconds,
        delete_empty_dir_data: merged.delete_empty_dir_data.unwrap_or(default.delete_empty_dir_data),
        force_unmanaged: merged.force_unmanaged.unwrap_or(default.force_unmanaged),
        new_owners: merged.new_owners.unwrap_or(default.new_owners),
        reactions: Reactions {
            never: reaction(found, "never", merged.never.as_ref()),
            slow: reaction(found, "slow", merged.slow.as_ref()),
            unreachable: reaction(found, "unreachable", merged.unreachable.as_ref()),
            taken_over: reaction(found, "taken_over", merged.taken_over.as_ref()),
        },
    }
}

/// What a drain does about that; nothing is ever ignored.
fn reaction(found: &mut Found, key: &str, written: Option<&At<toml::Value>>) -> Reaction {
    let Some(At { value, location }) = written else { return Reaction::default() };
    let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let known = Reaction::ALL.into_iter().find(|reaction| reaction.word() == word);
    if known.is_none() {
        let message = format!(
            "[policy.drain] {key}: expected \"wait\", \"stop\" or \"ask\", found {word:?}; nothing is ever ignored: \
             write \"ask\" to decide yourself, see docs/fleet-file.md"
        );
        found.error(location, message);
    }
    known.unwrap_or_default()
}

fn canary(found: &mut Found, written: Option<&At<toml::Value>>, nodes: &[FleetNode]) -> Option<Canary> {
    let At { value, location } = written?;
    if let Some(name) = value.as_str() {
        if let Some(node) = nodes.iter().find(|n| n.name.as_str() == name) {
            return Some(Canary::Node(node.name.clone()));
        }
        let hint = nearest(name, nodes.iter().map(|n| n.name.as_str()))
            .map_or_else(|| "name one of the nodes".to_owned(), |meant| format!("write {meant:?} if that is meant"));
        found.error(location, format!("canary: expected a node of the fleet, found {name:?}; {hint}"));
        return None;
    }
    let count = value.as_integer().and_then(|n| u32::try_from(n).ok()).filter(|n| *n as usize <= nodes.len());
    if count.is_none() {
        let message =
            format!("canary: expected a node's name or a number up to {}, found {value}; change it", nodes.len());
        found.error(location, message);
    }
    count.map(Canary::Count)
}
