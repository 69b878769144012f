//! `[balancer]`: HAProxy and keepalived on the servers, by which the API is found as long as one of them lives.

use std::net::IpAddr;

use serde::Deserialize;

use super::{
    Fleet,
    problem::{At, Found, Location},
};

/// VRRP numbers its groups so (RFC 9568).
const ROUTER_IDS: (i64, i64) = (1, 255);

/// Any number does that no other group of the same network has.
const ROUTER_ID: u8 = 51;

/// The kernel's own limit (`IFNAMSIZ`), its end not counted.
const INTERFACE_CHARACTERS: usize = 15;

/// What stands in front of the API servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balancer {
    /// An address of the servers' network that no machine has: one of them holds it.
    pub address: IpAddr,
    /// The interface of every server that has that network.
    pub interface: String,
    /// Which group of VRRP the servers are.
    pub router_id: u8,
}

/// As a file writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BalancerFragment {
    address: String,
    interface: String,
    router_id: Option<i64>,
}

pub(super) fn balancer(found: &mut Found, written: Option<&At<BalancerFragment>>) -> Option<Balancer> {
    let At { value, location } = written?;
    let address: Option<IpAddr> = value.address.parse().ok();
    if address.is_none() {
        let message = format!("[balancer] address: expected an IP address, found {:?}; correct it", value.address);
        found.error(location, message);
    }
    let interface = &value.interface;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    if interface.is_empty() || interface.len() > INTERFACE_CHARACTERS || !interface.chars().all(is_name) {
        let message = format!(
            "[balancer] interface: expected a name as `ip link` shows it, of at most {INTERFACE_CHARACTERS} letters, \
             digits, '.', '-', '_', found {interface:?}; correct it"
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
    Some(Balancer { address: address?, interface: interface.clone(), router_id: fits? })
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
    if kubeadm.bind_port == fleet.api.port {
        let message = format!(
            "[balancer]: HAProxy listens on port {} of every server, and so do the API servers; for a cluster \
             that runs, write another port into `api`; for a new one another bind_port in [kubeadm], such as 6444",
            fleet.api.port
        );
        found.error(location, message);
    }
    for server in fleet.servers() {
        match server.address {
            None => {
                let message = format!("[balancer]: the server {} has no address; write it", server.name);
                found.error(location, message);
            }
            Some(own) if own.is_ipv6() != address.is_ipv6() => {
                let message =
                    format!("[balancer] address: {address} is of another family than {} ({own})", server.name);
                found.error(location, format!("{message}; use one of it"));
            }
            Some(_) => {}
        }
    }
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
