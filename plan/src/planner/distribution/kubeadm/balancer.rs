//! HAProxy and keepalived in front of the API servers: on the servers themselves, or on the machines that the file
//! names.

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

/// The cluster's authority, as kubeadm leaves it on every server.
const AUTHORITY: &str = "/etc/kubernetes/pki/ca.crt";

/// kubeadm writes it into the certificate of every API server and into no other one.
const API_SERVER: &str = "kubernetes.default.svc";

const HEAD: &str = "# Written by hostler-agent from a signed plan; changes here are undone by the next one.\n";

/// Steps of a machine that is a balancer: the files of both, and both at work by them. Their packages are artifacts, or
/// installed already.
pub(in super::super) fn steps(member: &Member<'_>) -> Vec<Step> {
    let Member { fleet, node, .. } = member;
    let Some(balancer) = fleet.balancer.as_ref().filter(|_| fleet.is_balancer(node)) else { return Vec::new() };
    let path = |path: &str| FilePath::new(path).expect("our own path is one");
    let has_authority = member.inside && node.role == ClusterRole::Server;
    let authority = has_authority.then_some(AUTHORITY);
    let mut read = vec![path(HAPROXY)];
    read.extend(authority.map(path));
    let written = [
        (HAPROXY_UNIT, haproxy(fleet, authority), read),
        (KEEPALIVED_UNIT, keepalived(fleet, node, balancer), vec![path(KEEPALIVED)]),
    ];
    let mut steps = Vec::new();
    for (unit, content, files) in written {
        let unit = UnitName::new(unit).expect("our own unit is one");
        let mode = FileMode::new("0644").expect("our own mode is one");
        steps.push(Step::EnsureFile(EnsureFile { path: files[0].clone(), mode, content }));
        let started = EnsureUnit { unit: unit.clone(), state: UnitState::Started, enabled: true };
        steps.push(Step::EnsureUnit(started));
        steps.push(Step::CurrentUnit(CurrentUnit { unit, files }));
    }
    steps
}

/// Steps of a machine that is one no more: the address leaves it first.
pub(super) fn stop(fleet: &Fleet, node: &FleetNode) -> Vec<Step> {
    if !fleet.is_balancer(node) {
        return Vec::new();
    }
    let stopped = |unit| {
        let unit = UnitName::new(unit).expect("our own unit is one");
        Step::EnsureUnit(EnsureUnit { unit, state: UnitState::Stopped, enabled: false })
    };
    [KEEPALIVED_UNIT, HAPROXY_UNIT].map(stopped).into()
}

/// An API server without its etcd keeps its port open: only `/readyz` tells. Whose certificate answers is verified
/// where the cluster's authority is at hand; before there is one, clients alone do it, through every connection.
fn haproxy(fleet: &Fleet, authority: Option<&str>) -> String {
    let port = fleet.kubeadm.as_ref().map_or(6443, |kubeadm| kubeadm.bind_port);
    let (listen, bind) = (fleet.api.port, if is_ipv6(fleet) { "[::]" } else { "0.0.0.0" });
    let verify = authority.map_or_else(
        || "verify none".to_owned(),
        |authority| format!("verify required ca-file {authority} verifyhost {API_SERVER}"),
    );
    let mut text = format!(
        "{HEAD}global\n    user haproxy\n    group haproxy\n    maxconn 8000\n\n\
         defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1h\n    timeout server 1h\n\n\
         frontend api\n    bind {bind}:{listen}\n    default_backend servers\n\n\
         backend servers\n    balance roundrobin\n    option httpchk GET /readyz\n    \
         http-check expect status 200\n    \
         default-server check check-ssl {verify} inter 1s fall 2 rise 2 on-marked-down shutdown-sessions\n"
    );
    for server in fleet.servers() {
        if let Some(address) = server.address {
            let address = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
            text.push_str(&format!("    server {} {address}:{port}\n", server.name));
        }
    }
    text
}

/// The machine that the file names first holds the address while its HAProxy leads to an API server that is ready;
/// where none does, the order alone counts, so that the address is there before the first server is. Whom HAProxy
/// lets through it has verified itself, so the question does not. Peers are named one by one, because not every
/// network carries VRRP's multicast.
fn keepalived(fleet: &Fleet, node: &FleetNode, balancer: &Balancer) -> String {
    // Every machine that answers comes before every one that does not, up to as many as the weight is.
    const FIRST_PRIORITY: usize = 200;
    const WEIGHT: usize = 100;
    let machines = fleet.balancers();
    let place = machines.iter().position(|machine| machine.name == node.name).unwrap_or(0);
    let Balancer { address, interface, router_id, .. } = balancer;
    let own = node.address.map_or_else(String::new, |own| format!("    unicast_src_ip {own}\n"));
    let peers: String = machines
        .iter()
        .filter(|machine| machine.name != node.name)
        .filter_map(|machine| Some(format!("        {}\n", machine.address?)))
        .collect();
    let unicast = if peers.is_empty() { String::new() } else { format!("{own}    unicast_peer {{\n{peers}    }}\n") };
    let (prefix, here) = if address.is_ipv6() { (128, "[::1]") } else { (32, "127.0.0.1") };
    let port = fleet.api.port;
    format!(
        "{HEAD}global_defs {{\n    enable_script_security\n    script_user root\n}}\n\n\
         vrrp_script api {{\n    script \"/usr/bin/curl --silent --fail --insecure --noproxy * --max-time 2 \
         --output /dev/null https://{here}:{port}/readyz\"\n    \
         interval 1\n    timeout 3\n    fall 2\n    rise 2\n    weight -{WEIGHT}\n}}\n\n\
         vrrp_instance api {{\n    state BACKUP\n    interface {interface}\n    virtual_router_id {router_id}\n    \
         priority {}\n    advert_int 1\n{unicast}    virtual_ipaddress {{\n        \
         {address}/{prefix} dev {interface}\n    }}\n    track_script {{\n        api\n    }}\n}}\n",
        FIRST_PRIORITY.saturating_sub(place)
    )
}

fn is_ipv6(fleet: &Fleet) -> bool {
    fleet.servers().iter().filter_map(|server| server.address).any(|address: IpAddr| address.is_ipv6())
}
