//! `kubeadm upgrade apply` and `upgrade node`, phase by phase.

use hostler_plan::id::NodeName;
use serde_json::{Value, json};

use super::{
    super::{World, fault::Fault},
    COMPONENTS, KUBEADM_CONFIG, KUBELET_CONFIG, MANIFESTS, image,
    objects::manifest,
    preflight::{judged, no_image},
    run::{Acted, kind},
};

const COREDNS: &str = "/apis/apps/v1/namespaces/kube-system/deployments/coredns";
const KUBE_PROXY: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy";

/// Where kubeadm puts aside what it replaces, and never looks again.
const TMP: &str = "/etc/kubernetes/tmp";

impl World {
    pub(super) fn upgrade_preflight(&mut self, name: &NodeName, config: &[Value]) -> Acted {
        let Some(machine) = self.machines.get(name) else { return Acted::Failed("no such machine".into()) };
        if self.kubeadm_refuses(machine).is_some() {
            return Acted::Failed(
                "[upgrade/config] FATAL: failed to get config map: connect: connection refused".into(),
            );
        }
        let (Some(version), Some(noted)) = (self.kubeadm_version(name), self.kubeadm_noted()) else {
            return Acted::Failed("[upgrade/config] FATAL: failed to get config map: not found".into());
        };
        let mut faults: Vec<(String, String)> = Vec::new();
        if version.minor > noted.minor + 1 {
            return Acted::Failed(format!(
                "[upgrade/version] FATAL: Specified version to upgrade to {version:?} is too high; kubeadm can upgrade \
                 only 1 minor version at a time"
            ));
        }
        let apply = noted < version;
        if apply && !self.kubeadm.objects.contains_key(COREDNS) {
            faults.push(("CoreDNSUnsupportedPlugins".into(), "start version '' not supported".into()));
            faults.push((
                "CoreDNSMigration".into(),
                "CoreDNS will not be upgraded: start version '' not supported".into(),
            ));
        }
        let missing = |image: &String| !machine.kubeadm.images.contains_key(image);
        faults.extend(image::of_server(version, false).into_iter().filter(missing).map(no_image));
        let ignored = &kind(config, "UpgradeConfiguration")[if apply { "apply" } else { "node" }];
        judged(faults, &ignored["ignorePreflightErrors"])
    }

    /// Puts a component's new manifest in place and waits for its pod; one that does not start gets its old one back.
    pub(super) fn upgrade_component(&mut self, name: &NodeName, at: usize) -> Acted {
        let (now, component) = (self.now, COMPONENTS[at]);
        let Some(version) = self.kubeadm_version(name) else { return Acted::Failed("no kubeadm".into()) };
        let breaks = component == "kube-apiserver" && self.faults.has_broken_api_server(name);
        let cluster = self.noted_cluster();
        let Some(machine) = self.machines.get_mut(name) else { return Acted::Failed("no such machine".into()) };
        let path = format!("{MANIFESTS}/{component}.yaml");
        let endpoint = machine.endpoint().unwrap_or_default();
        let image = image::of_component(component, version);
        let wanted = manifest(component, &image, &version.to_string(), (name, &endpoint), &cluster);
        let found = machine.text(&path).unwrap_or_default().to_owned();
        if found == wanted {
            // Files are compared, not processes.
            let is_ready = machine.runs(component, now);
            return if is_ready { Acted::Done } else { Acted::Waits(not_started(component, name)) };
        }
        if breaks {
            self.faults.take(&Fault::BrokenApiServer { node: name.clone() });
            return Acted::Failed(format!(
                "[upgrade/apply] FATAL: couldn't upgrade control plane. kubeadm has tried to recover everything into \
                 the earlier state before the upgrade. Errors faced: {}",
                not_started(component, name)
            ));
        }
        if component == "etcd" {
            machine.write_unsynced(&format!("{TMP}/kubeadm-backup-etcd-{now}/etcd/member/snap/db"), "copy", 0o600, now);
        }
        machine.write_unsynced(&format!("{TMP}/kubeadm-backup-manifests-{now}/{component}.yaml"), found, 0o600, now);
        machine.write_unsynced(&path, wanted, 0o600, now);
        Acted::Waits(not_started(component, name))
    }

    pub(super) fn upgrade_config(&mut self, name: &NodeName) -> Acted {
        let Some(version) = self.kubeadm_version(name) else { return Acted::Failed("no kubeadm".into()) };
        if !self.kubeadm_answers() {
            return Acted::Waits("error execution phase upload-config: connection refused".into());
        }
        let Some(map) = self.kubeadm.objects.get_mut(KUBEADM_CONFIG) else {
            return Acted::Failed("no kubeadm-config".into());
        };
        let text = map["data"]["ClusterConfiguration"].as_str().unwrap_or_default();
        let mut cluster: Value = serde_json::from_str(text).unwrap_or_default();
        cluster["kubernetesVersion"] = version.to_string().into();
        map["data"]["ClusterConfiguration"] = cluster.to_string().into();
        Acted::Done
    }

    /// A worker's whole upgrade: it ends well whatever became of the servers.
    pub(super) fn upgrade_kubelet(&mut self, name: &NodeName) -> Acted {
        let now = self.now;
        if !self.kubeadm_answers() {
            return Acted::Waits("failed to get config map: connection refused".into());
        }
        let version = self.kubeadm_version(name).map(|v| v.to_string()).unwrap_or_default();
        let kubelet = self.noted_kubelet();
        let Some(machine) = self.machines.get_mut(name) else { return Acted::Failed("no such machine".into()) };
        let before = machine.text(KUBELET_CONFIG).unwrap_or_default().to_owned();
        machine.write_unsynced(&format!("{TMP}/kubeadm-kubelet-config-{now}/config.yaml"), before, 0o600, now);
        machine.write_unsynced(KUBELET_CONFIG, format!("{kubelet} # {version}\n"), 0o644, now);
        Acted::Done
    }

    /// CoreDNS and kube-proxy follow once all API servers have one image.
    pub(super) fn upgrade_addons(&mut self) -> Acted {
        let images: std::collections::BTreeSet<&str> = self
            .machines
            .values()
            .filter_map(|machine| Some(machine.kubeadm.pods.get("kube-apiserver")?.image.as_str()))
            .collect();
        if let [image] = images.into_iter().collect::<Vec<_>>().as_slice() {
            let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag).to_owned();
            if let Some(proxy) = self.kubeadm.objects.get_mut(KUBE_PROXY) {
                proxy["spec"] = json!({ "tag": tag });
            }
        }
        Acted::Done
    }
}

fn not_started(component: &str, name: &NodeName) -> String {
    format!("static Pod hash for component {component} on Node {name} did not change after 5m0s")
}
