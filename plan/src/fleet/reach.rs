//! Whether everything of a fleet can be reached: networks that do not hide each other, addresses that each mean one
//! machine, and an endpoint that outlives a server.

use std::net::IpAddr;

use crate::{distribution::Distribution, network::Network, step::ClusterRole};

use super::{
    Fleet, Kubeadm,
    problem::{Found, Location},
};

/// A node gets so many bits of the pod network (kube-controller-manager's `--node-cidr-mask-size-ipv4` and `-ipv6`).
const NODE_PREFIX: (u8, u8) = (24, 64);
/// kubeadm takes a service network of at most 2^20 addresses (constants.go, `MaximumBitsForServiceSubnet`).
const MOST_SERVICE_BITS: u8 = 20;
/// kubeadm takes one of at least 10 addresses (constants.go, `MinimumAddressesInServiceSubnet`).
const LEAST_SERVICE_BITS: u8 = 4;

/// Where things stand that are compared.
pub(super) struct Places<'a> {
    pub api: &'a Location,
    /// Of `[kubeadm]`.
    pub cluster: &'a Location,
    /// Of the nodes, in their order.
    pub nodes: Vec<&'a Location>,
}

pub(super) fn check(found: &mut Found, fleet: &Fleet, places: &Places<'_>) {
    addresses(found, fleet, places);
    endpoint(found, fleet, places);
    if let Some(kubeadm) = &fleet.kubeadm {
        networks(found, kubeadm, places.cluster);
        families(found, fleet, kubeadm, places);
        inside(found, fleet, kubeadm, places);
        enough(found, fleet, kubeadm, places.cluster);
    }
}

/// Each means one machine.
fn addresses(found: &mut Found, fleet: &Fleet, places: &Places<'_>) {
    for (i, node) in fleet.nodes.iter().enumerate() {
        let Some(address) = node.address else { continue };
        if let Some(earlier) = fleet.nodes[..i].iter().find(|n| n.address == Some(address)) {
            let message = format!("node {}: {address} is the address of {} too; correct one", node.name, earlier.name);
            found.error(places.nodes[i], message);
        }
    }
}

/// Behind an endpoint that is one server, the others are of no use when it is away; and moving it later means new
/// certificates and kubeconfigs everywhere.
fn endpoint(found: &mut Found, fleet: &Fleet, places: &Places<'_>) {
    let host = fleet.api.host.as_str();
    let address: Option<IpAddr> = host.parse().ok();
    if address.is_some_and(|a| a.is_loopback() || a.is_unspecified()) || host == "localhost" {
        let message = format!("api: every node takes {host} for itself; write the address that all of them reach");
        found.error(places.api, message);
    }
    let is_host = |n: &&super::FleetNode| n.name.as_str() == host || address.is_some() && n.address == address;
    let Some(node) = fleet.nodes.iter().find(is_host) else { return };
    let servers = fleet.servers().len();
    let message = match node.role {
        ClusterRole::Host if fleet.is_balancer(node) && fleet.balancers().len() == 1 => return,
        ClusterRole::Host => format!(
            "api: {host} is the host {} alone; where it is one of several balancers, write the address of [balancer] \
             or a name that leads to it; else that of a server",
            node.name
        ),
        ClusterRole::Worker => {
            format!("api: {host} is the worker {}, where no API server runs; write that of a server", node.name)
        }
        ClusterRole::Server if servers > 1 && fleet.distribution == Distribution::Kubeadm => format!(
            "api: {host} is {} alone, and the cluster has {servers} servers: without it nothing reaches the others; \
             write a name or address that stays when a server goes, such as that of a balancer; a cluster that runs \
             is moved there by `hostler plan configure --all` while it has its one server",
            node.name
        ),
        ClusterRole::Server => return,
    };
    // Of a cluster that stands, and that Hostler did not make, a person is told and not kept from working on it.
    if fleet.kubeadm.is_some() { found.error(places.api, message) } else { found.warning(places.api, message) }
}

fn networks(found: &mut Found, kubeadm: &Kubeadm, location: &Location) {
    for pods in &kubeadm.pod_network {
        if let Some(services) = kubeadm.service_network.iter().find(|services| services.overlaps(*pods)) {
            let message = format!(
                "[kubeadm] pod_network {pods} and service_network {services} overlap: a Service could have a pod's \
                 address; choose another one"
            );
            found.error(location, message);
        }
    }
    for services in &kubeadm.service_network {
        let bits = services.free_bits();
        if !(LEAST_SERVICE_BITS..=MOST_SERVICE_BITS).contains(&bits) {
            let (least, most) = if services.is_ipv6() { (108, 124) } else { (12, 28) };
            let message = format!(
                "[kubeadm] service_network {services}: kubeadm takes /{least} to /{most}; write another length"
            );
            found.error(location, message);
        }
    }
}

/// Pods, Services and nodes speak the same.
fn families(found: &mut Found, fleet: &Fleet, kubeadm: &Kubeadm, places: &Places<'_>) {
    let of = |networks: &[Network]| (networks.iter().any(|n| !n.is_ipv6()), networks.iter().any(|n| n.is_ipv6()));
    let named = |(v4, v6): (bool, bool)| match (v4, v6) {
        (true, true) => "IPv4 and IPv6",
        (true, false) => "IPv4",
        (false, true) => "IPv6",
        (false, false) => "nothing",
    };
    let (pods, services) = (of(&kubeadm.pod_network), of(&kubeadm.service_network));
    if !kubeadm.pod_network.is_empty() && pods != services {
        let message = format!(
            "[kubeadm] pod_network is of {} and service_network of {}; write both with the same families",
            named(pods),
            named(services)
        );
        found.error(places.cluster, message);
        return;
    }
    let speaks = |address: &IpAddr| if address.is_ipv6() { services.1 } else { services.0 };
    for (node, location) in fleet.nodes.iter().zip(&places.nodes) {
        if let Some(address) = node.address.filter(|address| !speaks(address)) {
            let message = format!(
                "node {}: {address} is of another family than service_network, which is of {}; use one of it",
                node.name,
                named(services)
            );
            found.error(location, message);
        }
    }
    first_families(found, fleet, kubeadm, places);
    if let Ok(address) = fleet.api.host.parse::<IpAddr>()
        && !speaks(&address)
    {
        let message =
            format!("api: {address} is of another family than service_network, which is of {}", named(services));
        found.error(places.api, format!("{message}; use one of it"));
    }
}

/// An API server does not start whose own address is of another family than the first service network, of which the
/// Service `kubernetes` is (validatePublicIPServiceClusterIPRangeIPFamilies of kube-apiserver).
fn first_families(found: &mut Found, fleet: &Fleet, kubeadm: &Kubeadm, places: &Places<'_>) {
    let Some(services) = kubeadm.service_network.first().filter(|_| kubeadm.service_network.len() > 1) else { return };
    let servers = fleet.nodes.iter().zip(&places.nodes).filter(|(node, _)| node.role == ClusterRole::Server);
    for (node, location) in servers {
        let Some(address) = node.address.filter(|address| address.is_ipv6() != services.is_ipv6()) else { continue };
        let message = format!(
            "node {}: {address} is a server's, and no API server starts there while service_network begins with \
             {services}, which is of the other family; write the networks of {address}'s family first",
            node.name
        );
        found.error(location, message);
    }
    if let Some(pods) = kubeadm.pod_network.first().filter(|pods| pods.is_ipv6() != services.is_ipv6()) {
        let message = format!(
            "[kubeadm] pod_network begins with {pods} and service_network with {services}, which is of the other \
             family; write both in the same order"
        );
        found.warning(places.cluster, message);
    }
}

/// What is in a network of the cluster's own is looked for there, and a machine is not.
fn inside(found: &mut Found, fleet: &Fleet, kubeadm: &Kubeadm, places: &Places<'_>) {
    let own = || {
        let pods = kubeadm.pod_network.iter().map(|n| ("pod_network", n));
        pods.chain(kubeadm.service_network.iter().map(|n| ("service_network", n)))
    };
    for (node, location) in fleet.nodes.iter().zip(&places.nodes) {
        let Some(address) = node.address else { continue };
        if let Some((key, network)) = own().find(|(_, network)| network.contains(address)) {
            let message = format!(
                "node {}: {address} is in {key} {network}; choose another {key}, away from the machines'",
                node.name
            );
            found.error(location, message);
        }
    }
    let api = fleet.api.host.parse::<IpAddr>().ok().map(|address| ("api", address));
    let balancer = fleet.balancer.as_ref().map(|balancer| ("[balancer] address", balancer.address));
    for (what, address) in api.into_iter().chain(balancer) {
        if let Some((key, network)) = own().find(|(_, network)| network.contains(address)) {
            let message =
                format!("{what}: {address} is in {key} {network}; choose another {key}, away from the machines'");
            found.error(places.api, message);
        }
    }
}

/// Every node gets a part of the pod network, unless somebody else gives them.
fn enough(found: &mut Found, fleet: &Fleet, kubeadm: &Kubeadm, location: &Location) {
    let args = &kubeadm.controller_manager.extra_args;
    let said = |name: &str| args.iter().any(|(arg, _)| arg.starts_with(name));
    if said("allocate-node-cidrs") || said("node-cidr-mask-size") {
        return;
    }
    for pods in &kubeadm.pod_network {
        let node = if pods.is_ipv6() { NODE_PREFIX.1 } else { NODE_PREFIX.0 };
        let bits = node.checked_sub(pods.prefix());
        let parts = bits.map_or(0, |bits| 1_u64.checked_shl(bits.into()).unwrap_or(u64::MAX));
        if parts < fleet.nodes.len() as u64 {
            let message = format!(
                "[kubeadm] pod_network {pods} has {parts} parts of /{node}, one for each node, and the fleet has {} \
                 nodes; write a larger network",
                fleet.nodes.len()
            );
            found.error(location, message);
        }
    }
}
