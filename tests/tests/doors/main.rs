//! The doors of a coordinator, tried from outside over the real wire: who may call what, and what strangers can do.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

#[allow(dead_code, reason = "a stolen worker speaks more of it")]
mod flood;
mod matrix;
mod neighbour;
mod open;
mod raw;

#[allow(dead_code, reason = "the coordinator's own tests use more of it")]
#[path = "../../../coordinator/tests/grpc/fleet.rs"]
mod fleet;

#[allow(dead_code, reason = "the coordinator's own tests use more of it")]
#[path = "../../../coordinator/tests/grpc/ready.rs"]
mod ready;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hostler_coordinator::Settings;

/// Both kinds of network.
const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

fn listen_on(settings: &mut Settings, address: IpAddr) {
    let any = SocketAddr::new(address, 0);
    (settings.enrolment_listen, settings.agent_listen, settings.admin_listen) = (any, any, any);
}
