//! HAProxy and keepalived in front of the API servers, on the servers themselves.

use std::net::IpAddr;

use super::super::Member;
use crate::{
    fleet::{Balancer, Fleet, FleetNode},
    form::{FileMode, FilePath, UnitName},
    step::{ClusterRole, CurrentUnit, EnsureFile, EnsureUnit, Step, UnitState},
};

const HAPROXY: &str = "/etc/haproxy/haproxy.cfg";
const HAPROXY_UNIT: &str = "haproxy.service";
const KEEPALIVED: &str = "/etc/keepalived/keepalived.conf";
const KEEPALIVED_UNIT: &str = "keepalived.service";

const HEAD: &str = "# Written by hostler-agent from a signed plan; changes here are undone by the next one.\n";

/// Steps of a server: the files of both, and both at work by them. Their packages are artifacts, or installed already.
pub(super) fn steps(member: &Member<'_>) -> Vec<Step> {
    let Member { fleet, node, .. } = member;
    let Some(balancer) = fleet.balancer.as_ref().filter(|_| node.role == ClusterRole::Server) else {
        return Vec::new();
    };
    let written =
        [(HAPROXY, HAPROXY_UNIT, haproxy(fleet)), (KEEPALIVED, KEEPALIVED_UNIT, keepalived(fleet, node, balancer))];
    let mut steps = Vec::new();
    for (path, unit, content) in written {
        let path = FilePath::new(path).expect("our own path is one");
        let unit = UnitName::new(unit).expect("our own unit is one");
        let mode = FileMode::new("0644").expect("our own mode is one");
        steps.push(Step::EnsureFile(EnsureFile { path: path.clone(), mode, content }));
        let started = EnsureUnit { unit: unit.clone(), state: UnitState::Started, enabled: true };
        steps.push(Step::EnsureUnit(started));
        steps.push(Step::CurrentUnit(CurrentUnit { unit, files: vec![path] }));
    }
    steps
}

/// An API server without its etcd keeps its port open: only `/readyz` tells. Whose certificate answers is not asked for
/// that, because there is none before the cluster is made; clients prove it to themselves through every connection.
fn haproxy(fleet: &Fleet) -> String {
    let port = fleet.kubeadm.as_ref().map_or(6443, |kubeadm| kubeadm.bind_port);
    let (listen, bind) = (fleet.api.port, if is_ipv6(fleet) { "[::]" } else { "0.0.0.0" });
    let mut text = format!(
        "{HEAD}global\n    maxconn 20000\n\n\
         defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1h\n    timeout server 1h\n\n\
         frontend api\n    bind {bind}:{listen}\n    default_backend servers\n\n\
         backend servers\n    balance roundrobin\n    option httpchk GET /readyz\n    \
         http-check expect status 200\n    \
         default-server check check-ssl verify none inter 1s fall 2 rise 2 on-marked-down shutdown-sessions\n"
    );
    for server in fleet.servers() {
        if let Some(address) = server.address {
            let address = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
            text.push_str(&format!("    server {} {address}:{port}\n", server.name));
        }
    }
    text
}

/// The server that the file names first holds the address while its HAProxy runs. Peers are named one by one, because
/// not every network carries VRRP's multicast.
fn keepalived(fleet: &Fleet, node: &FleetNode, balancer: &Balancer) -> String {
    const FIRST_PRIORITY: usize = 150;
    let servers = fleet.servers();
    let place = servers.iter().position(|server| server.name == node.name).unwrap_or(0);
    let Balancer { address, interface, router_id } = balancer;
    let own = node.address.map_or_else(String::new, |own| format!("    unicast_src_ip {own}\n"));
    let peers: String = servers
        .iter()
        .filter(|server| server.name != node.name)
        .filter_map(|server| Some(format!("        {}\n", server.address?)))
        .collect();
    let unicast = if peers.is_empty() { String::new() } else { format!("{own}    unicast_peer {{\n{peers}    }}\n") };
    let prefix = if address.is_ipv6() { 128 } else { 32 };
    format!(
        "{HEAD}global_defs {{\n    enable_script_security\n    script_user root\n}}\n\n\
         vrrp_script haproxy {{\n    script \"/usr/bin/systemctl is-active --quiet {HAPROXY_UNIT}\"\n    \
         interval 1\n    fall 2\n    rise 2\n}}\n\n\
         vrrp_instance api {{\n    state BACKUP\n    interface {interface}\n    virtual_router_id {router_id}\n    \
         priority {}\n    advert_int 1\n{unicast}    virtual_ipaddress {{\n        \
         {address}/{prefix} dev {interface}\n    }}\n    track_script {{\n        haproxy\n    }}\n}}\n",
        FIRST_PRIORITY.saturating_sub(place)
    )
}

fn is_ipv6(fleet: &Fleet) -> bool {
    fleet.servers().iter().filter_map(|server| server.address).any(|address: IpAddr| address.is_ipv6())
}
