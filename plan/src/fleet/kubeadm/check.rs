//! From `[kubeadm]` as it was written to what is meant.

use std::collections::BTreeMap;

use crate::{form::HostName, network::Network};

use super::{
    super::{
        args::{Args, args},
        problem::{At, Found, Location, or_nearest},
    },
    Component, ComponentFragment, Dns, Etcd, Kubeadm, KubeadmFragment, Kubelet, Patch, Proxy,
};

/// As kubeadm has them (constants.go).
const SERVICE_NETWORK: &str = "10.96.0.0/12";
const DNS_DOMAIN: &str = "cluster.local";
const BIND_PORT: u16 = 6443;

/// Parts of `kubeadm init` that can be left out; of an upgrade, the add-ons alone.
const PHASES: &[&str] = &[
    "preflight",
    "certs",
    "kubeconfig",
    "etcd",
    "control-plane",
    "kubelet-start",
    "wait-control-plane",
    "upload-config",
    "upload-certs",
    "mark-control-plane",
    "bootstrap-token",
    "kubelet-finalize",
    "addon",
    "show-join-command",
];

/// What Hostler writes itself, or what its steps rely on, and where to say it instead.
const OWN_KEYS: &[(&str, &str)] = &[
    ("apiVersion", "it is v1beta4"),
    ("kind", "it is ClusterConfiguration"),
    ("kubernetesVersion", "write version at the top"),
    ("controlPlaneEndpoint", "write api at the top"),
    ("clusterName", "write name at the top"),
    ("networking", "write pod_network, service_network and dns_domain"),
    ("apiServer", "write [kubeadm.api_server] and cert_sans"),
    ("controllerManager", "write [kubeadm.controller_manager]"),
    ("scheduler", "write [kubeadm.scheduler]"),
    ("etcd", "write [kubeadm.etcd]; a database elsewhere is not supported"),
    ("dns", "write [kubeadm.dns]"),
    ("proxy", "write [kubeadm.proxy]"),
    ("featureGates", "write feature_gates"),
    ("imageRepository", "write image_repository"),
    ("certificatesDir", "it is /etc/kubernetes/pki"),
];

/// Keys of KubeletConfiguration that say what another place of the file says.
const OWN_KUBELET_KEYS: &[(&str, &str)] = &[
    ("apiVersion", "it is kubelet.config.k8s.io/v1beta1"),
    ("kind", "it is KubeletConfiguration"),
    ("failSwapOn", "write swap in [machine]"),
];

impl Default for Kubeadm {
    /// As kubeadm has it.
    fn default() -> Self {
        Self {
            pod_network: Vec::new(),
            service_network: SERVICE_NETWORK.parse().into_iter().collect(),
            dns_domain: DNS_DOMAIN.to_owned(),
            cert_sans: Vec::new(),
            bind_port: BIND_PORT,
            image_repository: None,
            manifests: Vec::new(),
            skip_phases: Vec::new(),
            feature_gates: BTreeMap::new(),
            ignore_preflight: Vec::new(),
            api_server: Component::default(),
            controller_manager: Component::default(),
            scheduler: Component::default(),
            etcd: Etcd::default(),
            kubelet: Kubelet::default(),
            proxy: Proxy::default(),
            dns: Dns::default(),
            patches: Vec::new(),
            cluster: toml::Table::new(),
        }
    }
}

/// How the cluster is made, by the table.
pub(in crate::fleet) fn kubeadm(found: &mut Found, written: &At<KubeadmFragment>) -> Kubeadm {
    let At { value: w, location } = written;
    let mut table = Table { found, location };
    table.words(w);
    Kubeadm {
        pod_network: w.pod_network.as_ref().map(|v| table.networks("pod_network", v)).unwrap_or_default(),
        service_network: match &w.service_network {
            Some(written) => table.networks("service_network", written),
            None => SERVICE_NETWORK.parse().into_iter().collect(),
        },
        dns_domain: w.dns_domain.clone().unwrap_or_else(|| DNS_DOMAIN.to_owned()),
        cert_sans: w.cert_sans.clone(),
        bind_port: table.bind_port(w.bind_port),
        image_repository: w.image_repository.clone(),
        manifests: w.manifests.clone(),
        skip_phases: w.skip_phases.clone(),
        feature_gates: w.feature_gates.clone(),
        ignore_preflight: w.ignore_preflight.clone(),
        api_server: table.component("api_server", &w.api_server),
        controller_manager: table.component("controller_manager", &w.controller_manager),
        scheduler: table.component("scheduler", &w.scheduler),
        etcd: Etcd {
            extra_args: table.args("etcd", &w.etcd.extra_args),
            extra_envs: w.etcd.extra_envs.clone(),
            image_repository: w.etcd.image_repository.clone(),
            image_tag: w.etcd.image_tag.clone(),
            server_cert_sans: w.etcd.server_cert_sans.clone(),
            peer_cert_sans: w.etcd.peer_cert_sans.clone(),
        },
        kubelet: Kubelet { extra_args: table.args("kubelet", &w.kubelet.extra_args), config: w.kubelet.config.clone() },
        proxy: Proxy { disabled: w.proxy.disabled, config: w.proxy.config.clone() },
        dns: Dns {
            disabled: w.dns.disabled,
            image_repository: w.dns.image_repository.clone(),
            image_tag: w.dns.image_tag.clone(),
        },
        patches: table.patches(w),
        cluster: w.cluster.clone(),
    }
}

/// The table that is read, and where it stands.
struct Table<'a> {
    found: &'a mut Found,
    location: &'a Location,
}

impl Table<'_> {
    fn error(&mut self, message: &str) {
        self.found.error(self.location, format!("[kubeadm] {message}"));
    }

    /// Names that have to be known or of a form.
    fn words(&mut self, w: &KubeadmFragment) {
        if let Some(domain) = w.dns_domain.as_ref().filter(|domain| !is_name(domain)) {
            self.error(&format!("dns_domain: expected a domain such as cluster.local, found {domain:?}; change it"));
        }
        for san in w.cert_sans.iter().chain(&w.etcd.server_cert_sans).chain(&w.etcd.peer_cert_sans) {
            let name = san.strip_prefix("*.").unwrap_or(san);
            if !is_name(name) && san.parse::<std::net::IpAddr>().is_err() {
                self.error(&format!("cert_sans: expected names and addresses, found {san:?}; change it"));
            }
        }
        for phase in &w.skip_phases {
            let main = phase.split('/').next().unwrap_or(phase);
            if !PHASES.contains(&main) {
                let hint = or_nearest(main, PHASES.iter().copied(), || "see `kubeadm init --help`".into());
                self.error(&format!("skip_phases: expected a phase of kubeadm, found {phase:?}; {hint}"));
            }
        }
        if w.ignore_preflight.iter().any(|check| check.eq_ignore_ascii_case("all")) && w.ignore_preflight.len() > 1 {
            self.error("ignore_preflight: \"all\" stands alone; remove the other names or \"all\"");
        }
        for (of, table, own) in
            [("cluster", &w.cluster, OWN_KEYS), ("kubelet.config", &w.kubelet.config, OWN_KUBELET_KEYS)]
        {
            for (key, instead) in own.iter().filter(|(key, _)| table.contains_key(*key)) {
                self.error(&format!("{of}: Hostler writes {key} itself; {instead}"));
            }
        }
    }

    /// One network, or one of each family: `"10.244.0.0/16"`, `"10.244.0.0/16,fd00::/48"` or a list.
    fn networks(&mut self, key: &str, written: &toml::Value) -> Vec<Network> {
        let texts: Vec<&str> = match (written.as_str(), written.as_array()) {
            (Some(text), _) => text.split(',').map(str::trim).collect(),
            (None, Some(values)) => values.iter().map(|v| v.as_str().unwrap_or_default()).collect(),
            (None, None) => vec![""],
        };
        let mut networks: Vec<Network> = Vec::new();
        for text in texts {
            match text.parse::<Network>() {
                Ok(network) => networks.push(network),
                Err(wrong) => self.error(&format!("{key}: {text:?}: {wrong}")),
            }
        }
        let families = networks.iter().filter(|n| n.is_ipv6()).count();
        if networks.len() > 2 || families > 1 || networks.len() - families > 1 {
            self.error(&format!("{key}: expected one network, or one of IPv4 and one of IPv6; remove what is more"));
        }
        networks
    }

    fn bind_port(&mut self, written: Option<i64>) -> u16 {
        let Some(written) = written else { return BIND_PORT };
        let port = u16::try_from(written).ok().filter(|port| *port > 0);
        if port.is_none() {
            self.error(&format!("bind_port: expected 1 to 65535, found {written}; change it"));
        }
        port.unwrap_or(BIND_PORT)
    }

    fn args(&mut self, of: &str, written: &BTreeMap<String, toml::Value>) -> Args {
        args(self.found, &format!("[kubeadm.{of}] extra_args"), self.location, written)
    }

    fn component(&mut self, of: &str, written: &ComponentFragment) -> Component {
        for volume in &written.extra_volumes {
            for path in [&volume.host_path, &volume.mount_path] {
                if !path.starts_with('/') {
                    let what =
                        format!("{of} extra_volumes: {}: expected an absolute path, found {path:?}", volume.name);
                    self.error(&format!("{what}; change it"));
                }
            }
        }
        Component {
            extra_args: self.args(of, &written.extra_args),
            extra_volumes: written.extra_volumes.clone(),
            extra_envs: written.extra_envs.clone(),
        }
    }

    fn patches(&mut self, w: &KubeadmFragment) -> Vec<Patch> {
        let mut patches = Vec::new();
        for (name, value) in &w.patches {
            match Patch::read(name, value) {
                Ok(patch) => patches.push(patch),
                Err(wrong) => self.error(&format!("patch {name:?}: {wrong}")),
            }
        }
        patches
    }
}

fn is_name(text: &str) -> bool {
    HostName::new(text).is_ok()
}
