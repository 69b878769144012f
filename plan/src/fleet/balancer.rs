//! `[balancer]`: HAProxy and keepalived on the servers or on machines of their own, by which the API is found as long
//! as one of them lives.

use std::net::IpAddr;

use serde::Deserialize;

use super::{
    Fleet,
    problem::{At, Found, Location, or_nearest},
};
use crate::{id::NodeName, step::ClusterRole};

/// VRRP numbers its groups so (RFC 9568).
const ROUTER_IDS: (i64, i64) = (1, 255);

/// Any number does that no other group of the same network has.
const ROUTER_ID: u8 = 51;

/// The kernel's own limit (`IFNAMSIZ`), its end not counted.
const INTERFACE_CHARACTERS: usize = 15;

/// As many priorities as keepalived's file has for machines that answer.
const MACHINES: usize = 100;

/// What stands in front of the API servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balancer {
    /// An address of the servers' network that no machine has: one of them holds it.
    pub address: IpAddr,
    /// The interface of every balancer that has that network.
    pub interface: String,
    /// Which group of VRRP the balancers are.
    pub router_id: u8,
    /// The machines that it runs on, the first one first; none where it is the servers.
    pub nodes: Vec<NodeName>,
}

/// As a file writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BalancerFragment {
    address: String,
    interface: String,
    router_id: Option<i64>,
    #[serde(default)]
    nodes: Vec<String>,
}

pub(super) fn balancer(found: &mut Found, written: Option<&At<BalancerFragment>>) -> Option<Balancer> {
    let At { value, location } = written?;
    let address: Option<IpAddr> = value.address.parse().ok();
    let reached = address.filter(|a| !(a.is_loopback() || a.is_unspecified() || a.is_multicast()));
    if reached.is_none() {
        let message = format!(
            "[balancer] address: expected an IP address at which machines are reached, found {:?}; write one of the \
             servers' network that no machine has",
            value.address
        );
        found.error(location, message);
    }
    let interface = &value.interface;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let begins = interface.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins || interface.len() > INTERFACE_CHARACTERS || !interface.chars().all(is_name) {
        let message = format!(
            "[balancer] interface: expected a name as `ip link` shows it before any '@', of at most \
             {INTERFACE_CHARACTERS} letters, digits, '.', '-', '_', found {interface:?}; correct it"
        );
        found.error(location, message);
    }
    let (least, most) = ROUTER_IDS;
    let router_id = value.router_id.unwrap_or(i64::from(ROUTER_ID));
    let fits = u8::try_from(router_id).ok().filter(|id| (least..=most).contains(&i64::from(*id)));
    if fits.is_none() {
        let message = format!("[balancer] router_id: expected {least} to {most}, found {router_id}; change it");
        found.error(location, message);
    }
    let named = value.nodes.iter().map(|name| {
        let name = NodeName::new(name.as_str());
        name.map_err(|e| found.error(location, format!("[balancer] nodes: {e}; write a node of this file"))).ok()
    });
    let nodes = named.collect::<Vec<_>>().into_iter().collect::<Option<Vec<NodeName>>>()?;
    Some(Balancer { address: reached?, interface: interface.clone(), router_id: fits?, nodes })
}

/// Whether it can stand in front of this fleet's servers.
pub(super) fn check(found: &mut Found, fleet: &Fleet, location: &Location) {
    let Some(balancer) = &fleet.balancer else { return };
    let Some(kubeadm) = &fleet.kubeadm else {
        let message = "[balancer]: Hostler writes one in front of a cluster that it makes with kubeadm; write \
                       [kubeadm], or remove the table";
        return found.error(location, message.to_owned());
    };
    let address = balancer.address;
    if let Some(node) = fleet.nodes.iter().find(|node| node.address == Some(address)) {
        let message = format!(
            "[balancer] address: {address} is {} alone; write one that no machine has, which a living server holds",
            node.name
        );
        found.error(location, message);
    }
    machines(found, fleet, balancer, location);
    let on_server = fleet.balancers().iter().any(|node| node.role == ClusterRole::Server);
    if on_server && kubeadm.bind_port == fleet.api.port {
        let message = format!(
            "[balancer]: HAProxy listens on port {} of every server, and so do the API servers; for a cluster \
             that runs, write another port into `api`; for a new one another bind_port in [kubeadm], such as 6444",
            fleet.api.port
        );
        found.error(location, message);
    }
    let mut asked = fleet.servers();
    asked.extend(fleet.balancers().into_iter().filter(|node| node.role != ClusterRole::Server));
    for node in asked {
        match node.address {
            None => {
                let message = format!("[balancer]: {} has no address; write it", node.name);
                found.error(location, message);
            }
            Some(own) if own.is_ipv6() != address.is_ipv6() => {
                let message = format!("[balancer] address: {address} is of another family than {} ({own})", node.name);
                found.error(location, format!("{message}; use one of it"));
            }
            Some(_) => {}
        }
    }
    programs(found, fleet, location);
    let host = fleet.api.host.as_str();
    let leads = |node: &super::FleetNode| {
        let machine = fleet.machine(node);
        machine.hosts.iter().any(|(name, to)| name.as_str() == host && *to == address)
    };
    if host.parse() != Ok(address) && !fleet.nodes.iter().all(leads) {
        let message = format!(
            "[balancer]: nothing in this file says that {host} is {address}; write it into hosts of [machine], or see \
             that DNS says so"
        );
        found.warning(location, message);
    }
}

/// Whether the machines that it names can be balancers.
fn machines(found: &mut Found, fleet: &Fleet, balancer: &Balancer, location: &Location) {
    for (place, name) in balancer.nodes.iter().enumerate() {
        let Some(node) = fleet.node(name) else {
            let known = fleet.nodes.iter().map(|node| node.name.as_str());
            let hint = or_nearest(name.as_str(), known, || "add a [[nodes]] for it".to_owned());
            let message = format!("[balancer] nodes: expected nodes of this file, found {:?}; {hint}", name.as_str());
            found.error(location, message);
            continue;
        };
        if balancer.nodes[..place].contains(name) {
            found.error(location, format!("[balancer] nodes: {name} stands twice; remove one"));
        }
        if node.role == ClusterRole::Worker {
            let message = format!(
                "[balancer] nodes: {name} is a worker, which serves pods; name servers, or machines of role \"host\""
            );
            found.error(location, message);
        }
    }
    let count = fleet.balancers().len();
    if count > MACHINES {
        let message = format!("[balancer]: expected at most {MACHINES} machines, found {count}; name fewer in nodes");
        found.error(location, message);
    }
}

/// keepalived asks by curl; a program that is missing shows only when the address should move.
fn programs(found: &mut Found, fleet: &Fleet, location: &Location) {
    let brings = |name: &str| fleet.artifacts.iter().any(|artifact| artifact.name.as_str() == name);
    if brings("keepalived") && !brings("curl") {
        let message = "[balancer]: keepalived asks HAProxy by /usr/bin/curl, and no artifact brings the package curl; \
                       lock it too, or see that every balancer has it";
        found.warning(location, message.to_owned());
    }
}
