//! `kubeadm init`, phase by phase.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hostler_plan::id::NodeName;
use serde_json::{Value, json};

use super::{
    super::World,
    ADMIN, COMPONENTS, KUBELET, KUBELET_CERTIFICATE, MANIFESTS, PKI,
    configure::{api_server_certificate, kubelet_settings, leads_to, local_endpoint},
    image,
    objects::manifest,
    run::{Acted, kind},
};

/// Pairs of files below the folder of certificates, each an authority or a key.
const AUTHORITIES: [(&str, &str); 4] = [
    ("ca.crt", "ca.key"),
    ("etcd/ca.crt", "etcd/ca.key"),
    ("front-proxy-ca.crt", "front-proxy-ca.key"),
    ("sa.pub", "sa.key"),
];

/// What is signed by them, so that a machine looks like a real one.
const LEAVES: [&str; 6] = [
    "apiserver.crt",
    "apiserver.key",
    "apiserver-etcd-client.crt",
    "etcd/server.crt",
    "etcd/healthcheck-client.crt",
    "etcd/healthcheck-client.key",
];

impl World {
    /// What is there is used, but for what cannot be read.
    pub(super) fn certs(&mut self, name: &NodeName, config: &[Value]) -> Acted {
        let (now, number) = (self.now, self.number());
        let own = api_server_certificate(number, config);
        let Some(machine) = self.machines.get_mut(name) else { return Acted::Failed("no such machine".into()) };
        for (public, private) in AUTHORITIES {
            let paths = [public, private].map(|file| format!("{PKI}/{file}"));
            if let Some(empty) =
                paths.iter().find(|path| machine.files.get(*path).is_some_and(|f| f.content.is_empty()))
            {
                return Acted::Failed(format!(
                    "error execution phase certs/ca: failed to load certificate from {empty}: data does not contain \
                     any valid RSA or ECDSA certificates"
                ));
            }
            if !machine.files.contains_key(&paths[0]) {
                machine.write_unsynced(&paths[0], format!("simulated {public} {number} of {name}\n"), 0o644, now);
                machine.write_unsynced(&paths[1], format!("simulated {private} {number} of {name}\n"), 0o600, now);
            }
        }
        for leaf in LEAVES {
            let text = if leaf == "apiserver.crt" { own.clone() } else { format!("simulated {leaf} {number}\n") };
            machine.write_unsynced(&format!("{PKI}/{leaf}"), text, 0o600, now);
        }
        Acted::Done
    }

    pub(super) fn kubeconfigs(&mut self, name: &NodeName, config: &[Value]) -> Acted {
        let endpoint = kind(config, "ClusterConfiguration")["controlPlaneEndpoint"].as_str().unwrap_or_default();
        let server = format!("https://{endpoint}");
        let own = format!("https://{}", local_endpoint(&kind(config, "InitConfiguration")["localAPIEndpoint"]));
        match self.write_kubeconfigs(name, &server, &["admin", "super-admin"]) {
            Acted::Done => self.write_kubeconfigs(name, &own, &["controller-manager", "scheduler", "kubelet"]),
            acted @ (Acted::Waits(_) | Acted::Failed(_)) => acted,
        }
    }

    /// Kubeconfigs with this machine's authority; one with another is refused.
    pub(super) fn write_kubeconfigs(&mut self, name: &NodeName, server: &str, which: &[&str]) -> Acted {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(name) else { return Acted::Failed("no such machine".into()) };
        let ca = machine.text(&format!("{PKI}/ca.crt")).unwrap_or_default().to_owned();
        for file in which {
            let path = format!("/etc/kubernetes/{file}.conf");
            let cluster = json!({ "server": server, "certificate-authority-data": STANDARD.encode(&ca) });
            let text = json!({ "apiVersion": "v1", "kind": "Config",
                "clusters": [{ "name": "kubernetes", "cluster": cluster }] });
            match machine.text(&path).map(serde_json::from_str::<Value>) {
                Some(Ok(found))
                    if found["clusters"][0]["cluster"]["certificate-authority-data"] != STANDARD.encode(&ca) =>
                {
                    return Acted::Failed(format!(
                        "error execution phase kubeconfig: a kubeconfig file {path:?} exists already but has got the \
                         wrong CA cert"
                    ));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) => {
                    return Acted::Failed(format!(
                        "error execution phase kubeconfig: failed to load kubeconfig file {path} that already exists \
                         on disk: invalid configuration"
                    ));
                }
                None => machine.write_unsynced(&path, text.to_string(), 0o600, now),
            }
        }
        Acted::Done
    }

    pub(super) fn static_pods(&mut self, name: &NodeName, config: &[Value]) -> Acted {
        let endpoint = local_endpoint(&kind(config, "InitConfiguration")["localAPIEndpoint"]);
        self.write_manifests(name, &COMPONENTS, &endpoint, kind(config, "ClusterConfiguration"))
    }

    pub(super) fn write_manifests(
        &mut self,
        name: &NodeName,
        which: &[&str],
        endpoint: &str,
        cluster: &Value,
    ) -> Acted {
        let now = self.now;
        let Some(version) = self.kubeadm_version(name) else { return Acted::Failed("no kubeadm".into()) };
        let Some(machine) = self.machines.get_mut(name) else { return Acted::Failed("no such machine".into()) };
        for component in which {
            let image = image::of_component(component, version);
            let text = manifest(component, &image, &version.to_string(), (name, endpoint), cluster);
            machine.write_unsynced(&format!("{MANIFESTS}/{component}.yaml"), text, 0o600, now);
        }
        Acted::Done
    }

    pub(super) fn await_control_plane(&mut self, name: &NodeName) -> Acted {
        let refuses = self.machines.get(name).and_then(|machine| self.kubeadm_refuses(machine));
        match refuses {
            None => Acted::Done,
            Some(reason) => Acted::Waits(format!(
                "error execution phase wait-control-plane: failed while waiting for the control plane to start: \
                 kube-apiserver check failed: {reason}"
            )),
        }
    }

    pub(super) fn upload_config(&mut self, config: &[Value]) -> Acted {
        if !self.kubeadm_answers() {
            return Acted::Failed("error execution phase upload-config: dial tcp: connect: connection refused".into());
        }
        let cluster = kind(config, "ClusterConfiguration").to_string();
        let map = |name: &str, namespace: &str, data: Value| {
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": data,
                "metadata": { "name": name, "namespace": namespace } })
        };
        self.put(map("kubeadm-config", "kube-system", json!({ "ClusterConfiguration": cluster })));
        let kubelet = kubelet_settings(config);
        self.put(map("kubelet-config", "kube-system", json!({ "kubelet": kubelet.to_string() })));
        Acted::Done
    }

    pub(super) fn label_server(&mut self, name: &NodeName) -> Acted {
        if !self.kubeadm_answers() || !self.cluster.nodes.contains_key(name) {
            return Acted::Waits(format!("error execution phase mark-control-plane: nodes {name:?} not found"));
        }
        self.kubeadm.labelled.insert(name.clone());
        Acted::Done
    }

    /// A token that nobody asked for, described as the configuration says.
    pub(super) fn bootstrap_token(&mut self, config: &[Value]) -> Acted {
        let number = self.number();
        let endpoint = kind(config, "ClusterConfiguration")["controlPlaneEndpoint"].as_str().unwrap_or_default();
        self.put(json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "kubeconfig": leads_to(endpoint) },
            "metadata": { "name": "cluster-info", "namespace": "kube-public" } }));
        let description = kind(config, "InitConfiguration")["bootstrapTokens"][0]["description"].as_str().unwrap_or("");
        self.put(json!({ "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": { "name": format!("bootstrap-token-{number:06}"), "namespace": "kube-system" },
            "data": { "description": STANDARD.encode(description) } }));
        Acted::Done
    }

    /// From here on the kubelet's file names the certificate that it renews by itself.
    pub(super) fn finalize_kubelet(&mut self, name: &NodeName) -> Acted {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(name) else { return Acted::Failed("no such machine".into()) };
        let text = machine.text(KUBELET).unwrap_or_default().to_owned();
        let Ok(mut found) = serde_json::from_str::<Value>(&text) else {
            return Acted::Failed("error execution phase kubelet-finalize: kubelet.conf cannot be loaded".into());
        };
        found["users"] = json!([{ "user": { "client-certificate": KUBELET_CERTIFICATE } }]);
        machine.write_unsynced(KUBELET, found.to_string(), 0o600, now);
        Acted::Done
    }

    pub(super) fn addons(&mut self, config: &[Value]) -> Acted {
        let (cluster, init) = (kind(config, "ClusterConfiguration"), kind(config, "InitConfiguration"));
        let skips = |phase: &str| {
            let mut skipped = init["skipPhases"].as_array().into_iter().flatten();
            skipped.any(|skipped| skipped == "addon" || *skipped == format!("addon/{phase}"))
        };
        let addons = [("DaemonSet", "kube-proxy", "proxy"), ("Deployment", "coredns", "dns")];
        for (kind, name, field) in addons {
            if cluster[field]["disabled"] == true || skips(name) {
                continue;
            }
            if name == "kube-proxy" {
                self.put_proxy(config);
            } else {
                self.put(json!({ "apiVersion": "apps/v1", "kind": kind,
                    "metadata": { "name": name, "namespace": "kube-system" } }));
            }
        }
        Acted::Done
    }
}

/// Whether the administrator's file is there.
pub(super) fn is_server(machine: &super::Machine) -> bool {
    machine.files.contains_key(ADMIN)
}
