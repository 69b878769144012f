//! kubespray (<https://kubespray.io>), whose clusters kubeadm makes.

use crate::import::draft::{Entry, Table};

use super::{
    Tool,
    fleet_file::{Reader, plain},
};

pub(super) const KUBESPRAY: Tool = Tool {
    distribution: "kubeadm",
    servers: &["kube_control_plane", "kube-master", "kube_master"],
    workers: &["kube_node", "kube-node"],
    others: &["all", "ungrouped", "k8s_cluster", "k8s-cluster", "etcd"],
    version: "kube_version",
    example: "v1.36.3",
    more,
};

/// `[kubeadm]`, of its variables.
fn more(reader: &mut Reader<'_>, servers: &[&str]) {
    let mut table = Table::new("kubeadm", "variables of kubespray");
    for (key, names) in [
        ("pod_network", &["kube_pods_subnet"][..]),
        ("service_network", &["kube_service_addresses"]),
        ("dns_domain", &["dns_domain", "cluster_name"]),
        ("image_repository", &["kube_image_repo"]),
    ] {
        if let Some((text, place)) = names.iter().find_map(|name| reader.shared(name)) {
            table.entries.push(Entry::new(key, text, place.to_string()));
        }
    }
    let first = servers.first().copied().unwrap_or_default();
    let names = reader.list(first, "supplementary_addresses_in_ssl_keys");
    let names: Vec<toml::Value> = names.iter().filter_map(|name| Some(toml::Value::from(plain(name)?))).collect();
    table.add("cert_sans", names);
    reader.draft.table(table);
    reader.draft.say(
        "kubespray keeps certificates in /etc/kubernetes/ssl and may run etcd as a service of the machine; Hostler \
         knows /etc/kubernetes/pki and etcd as a static pod alone: read the cluster itself with --node first",
    );
}
