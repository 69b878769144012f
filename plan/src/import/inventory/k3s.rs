//! k3s-ansible (<https://github.com/k3s-io/k3s-ansible>).

use super::{Tool, fleet_file::Reader};

pub(super) const K3S_ANSIBLE: Tool = Tool {
    distribution: "k3s",
    servers: &["server", "master"],
    workers: &["agent", "node"],
    others: &["k3s_cluster"],
    version: "k3s_version",
    example: "v1.34.3+k3s1",
    more,
};

/// The fleet file has no table of its settings.
fn more(_: &mut Reader<'_>, _: &[&str]) {}
