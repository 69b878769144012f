//! What runs on a machine, read from its files and processes: never from what was done to it before.

use std::path::Path;

use hostler_plan::{step::ClusterRole, version::Version};
use serde_json::Value;

use super::layout::{CNI_CONFIG, ETCD_DATA, KUBELET_CONFIG, KUBELET_KUBECONFIG, KUBELET_UNIT, MANIFESTS, PKI, QUICK};
pub(crate) use crate::host::text;
use crate::host::{Host, HostError, UnitActivity};

/// A component that runs as a static pod, in the order in which kubeadm upgrades them.
pub(crate) const COMPONENTS: [&str; 4] = [ETCD, API_SERVER, "kube-controller-manager", "kube-scheduler"];
pub(crate) const ETCD: &str = "etcd";
pub(crate) const API_SERVER: &str = "kube-apiserver";

/// A static pod's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub component: &'static str,
    pub image: String,
    /// Where its own API server is reached, of an API server.
    endpoint: Option<String>,
}

impl Manifest {
    /// The version that the image's tag says; etcd numbers its own.
    pub(crate) fn version(&self) -> Option<Version> {
        self.tag().parse().ok()
    }

    pub(crate) fn tag(&self) -> &str {
        self.image.rsplit_once(':').map_or("", |(_, tag)| tag)
    }
}

/// Whether etcd is one of a server's static pods; else the cluster has it elsewhere.
pub(crate) fn has_etcd(manifests: &[Manifest]) -> bool {
    manifests.iter().any(|manifest| manifest.component == ETCD)
}

/// The manifests of Kubernetes' own components that are there.
pub(crate) fn manifests(host: &dyn Host) -> Result<Vec<Manifest>, HostError> {
    let mut found = Vec::new();
    for component in COMPONENTS {
        let path = format!("{MANIFESTS}/{component}.yaml");
        let Some(text) = text(host, &path)? else { continue };
        let pod: Value = serde_saphyr::from_str(&text).map_err(|e| HostError::Unexpected {
            what: "manifest",
            expected: "a pod in YAML",
            found: format!("{path}: {e}"),
        })?;
        let annotation =
            &pod["metadata"]["annotations"]["kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint"];
        found.push(Manifest {
            component,
            image: pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned(),
            endpoint: annotation.as_str().map(str::to_owned),
        });
    }
    Ok(found)
}

/// The address of the API server that runs on this machine, such as `https://10.0.0.11:6443`.
pub(crate) fn own_server(manifests: &[Manifest]) -> Option<String> {
    manifests.iter().find_map(|manifest| Some(format!("https://{}", manifest.endpoint.as_deref()?)))
}

/// What the machine was made, or begun to be made.
pub(crate) fn role(host: &dyn Host) -> Result<Option<ClusterRole>, HostError> {
    if !manifests(host)?.is_empty() {
        return Ok(Some(ClusterRole::Server));
    }
    Ok(host.read_file(Path::new(KUBELET_KUBECONFIG))?.map(|_| ClusterRole::Worker))
}

/// The version of the kubelet's process; none when it does not run, or ended since systemd named it.
pub(crate) fn kubelet(host: &dyn Host) -> Result<Option<Version>, HostError> {
    let unit = host.unit(KUBELET_UNIT)?;
    let pid = unit.main_pid.filter(|_| unit.activity == UnitActivity::Active);
    let Some(pid) = pid else { return Ok(None) };
    version_of(host, &[&format!("/proc/{pid}/exe"), "--version"])
}

/// The version of the kubelet's program on the disk.
pub(crate) fn installed_kubelet(host: &dyn Host) -> Result<Option<Version>, HostError> {
    version_of(host, &["kubelet", "--version"])
}

/// The version of the program kubeadm.
pub(crate) fn kubeadm(host: &dyn Host) -> Result<Option<Version>, HostError> {
    version_of(host, &["kubeadm", "version", "--output", "short"])
}

fn version_of(host: &dyn Host, command: &[&str]) -> Result<Option<Version>, HostError> {
    match host.run(command, QUICK) {
        Ok(text) => Ok(parse_version(&text)),
        Err(HostError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `Kubernetes v1.36.3`, and `v1.36.3` of kubeadm.
fn parse_version(text: &str) -> Option<Version> {
    text.trim().rsplit(' ').next()?.parse().ok()
}

/// What lies on the machine of a cluster, each in a few words: a machine without any is a fresh one.
pub(crate) fn leftovers(host: &dyn Host) -> Result<Vec<String>, HostError> {
    leftovers_but(host, &[])
}

/// The same without what is in these folders.
pub(crate) fn leftovers_but(host: &dyn Host, known: &[&str]) -> Result<Vec<String>, HostError> {
    let mut found = Vec::new();
    for name in host.list_folder(Path::new("/etc/kubernetes"))? {
        found.extend(name.ends_with(".conf").then(|| format!("/etc/kubernetes/{name}")));
    }
    for (folder, what) in [(MANIFESTS, "static pods"), (PKI, "certificates"), (ETCD_DATA, "data of etcd")] {
        let names = host.list_folder(Path::new(folder))?;
        if !names.is_empty() && !known.contains(&folder) {
            found.push(format!("{what} in {folder} ({})", names.join(", ")));
        }
    }
    if host.read_file(Path::new(KUBELET_CONFIG))?.is_some() {
        found.push(KUBELET_CONFIG.to_owned());
    }
    Ok(found)
}

/// What shows kube-proxy's rules in the kernel, and the word that is in them.
const RULES: [(&[&str], &str); 2] =
    [(&["nft", "list", "tables"], "kube-proxy"), (&["iptables-save", "--table", "nat"], "KUBE-SERVICES")];

/// What an earlier cluster left of its network: files that are not `brought` by who asks, and rules of kube-proxy.
/// Packets for Services of the new cluster may go by them.
pub(crate) fn network_leftovers(host: &dyn Host, brought: impl Fn(&str) -> bool) -> Result<Vec<String>, HostError> {
    let mut found = Vec::new();
    let mut names = host.list_folder(Path::new(CNI_CONFIG))?;
    names.retain(|name| !brought(&format!("{CNI_CONFIG}/{name}")));
    if !names.is_empty() {
        found.push(format!("network configuration in {CNI_CONFIG} ({})", names.join(", ")));
    }
    for (command, word) in RULES {
        match host.run(command, QUICK) {
            Ok(rules) if rules.contains(word) => {
                found.push(format!("rules of kube-proxy (`{}`), which a reboot removes", command.join(" ")));
            }
            // Without the program, or without the right, nobody can tell.
            Ok(_) | Err(HostError::Missing { .. } | HostError::Command { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn versions_are_read_of_both_programs() {
        let wanted = Some("v1.36.3".parse().unwrap());
        assert_eq!(parse_version("Kubernetes v1.36.3\n"), wanted);
        assert_eq!(parse_version("v1.36.3\n"), wanted);
        assert_eq!(parse_version("unknown"), None);
    }

    #[test]
    fn a_fresh_machine_has_no_leftovers_and_others_are_told_by_them() {
        let machine = Machine::new(crate::build_time());
        assert_eq!((leftovers(&machine), role(&machine)), (Ok(Vec::new()), Ok(None)));
        machine.inner().put("/etc/kubernetes/kubelet.conf", "");
        assert_eq!(role(&machine), Ok(Some(ClusterRole::Worker)));
        machine.inner().put(
            "/etc/kubernetes/manifests/kube-apiserver.yaml",
            "metadata:\n  annotations:\n    \
             kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint: 10.0.0.1:6443\n\
             spec:\n  containers:\n  - image: registry.k8s.io/kube-apiserver:v1.36.3\n",
        );
        machine.inner().put("/var/lib/etcd/member/snap/db", "");
        let found = manifests(&machine).unwrap();
        assert_eq!(own_server(&found).as_deref(), Some("https://10.0.0.1:6443"));
        assert_eq!(found[0].version(), Some("v1.36.3".parse().unwrap()));
        assert_eq!(role(&machine), Ok(Some(ClusterRole::Server)));
        let expected = [
            "/etc/kubernetes/kubelet.conf",
            "static pods in /etc/kubernetes/manifests (kube-apiserver.yaml)",
            "data of etcd in /var/lib/etcd (member)",
        ];
        assert_eq!(leftovers(&machine).unwrap(), expected);
    }
}
