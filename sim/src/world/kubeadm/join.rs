//! `kubeadm join`, phase by phase.

use hostler_plan::{id::NodeName, step::ClusterRole};
use serde_json::{Value, json};

use super::{
    super::World,
    BOOTSTRAP, KUBELET, KUBELET_CONFIG, Member, PKI, configure, init,
    run::{Acted, kind},
};

/// Where discovery leads: the file's content, read.
fn discovery(text: &str) -> Option<(String, String)> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let read: Value = serde_json::from_str(text).ok()?;
    let cluster = &read["clusters"][0]["cluster"];
    let ca = STANDARD.decode(cluster["certificate-authority-data"].as_str()?).ok()?;
    Some((cluster["server"].as_str()?.to_owned(), String::from_utf8(ca).ok()?))
}

/// What the joining server knows: its own configuration and the cluster's.
fn as_joined(config: &[Value], cluster: &Value) -> Vec<Value> {
    let mut cluster = cluster.clone();
    cluster["kind"] = "ClusterConfiguration".into();
    config.iter().cloned().chain([cluster]).collect()
}

impl World {
    /// What a join begins with: the file and the token lead to a cluster that takes them.
    fn discover(&self, name: &NodeName, config: &[Value]) -> Result<(String, String, String), String> {
        let join = kind(config, "JoinConfiguration");
        let token = join["discovery"]["tlsBootstrapToken"].as_str().unwrap_or_default().to_owned();
        let file = join["discovery"]["file"]["kubeConfigPath"].as_str().unwrap_or_default();
        let text = self.machines.get(name).and_then(|machine| machine.text(file)).unwrap_or_default();
        let (server, ca) = discovery(text).ok_or("couldn't load the kubeconfig file of discovery")?;
        if !self.kubeadm_answers() {
            return Err(format!(
                "failed to request the cluster-info ConfigMap: Get {server}: connect: connection refused"
            ));
        }
        let trusted = |machine: &super::Machine| {
            init::is_server(machine) && machine.text(&format!("{PKI}/ca.crt")).is_some_and(|own| own == ca)
        };
        if !self.machines.values().any(|machine| machine.name != *name && trusted(machine)) {
            return Err("x509: certificate signed by unknown authority".into());
        }
        if !self.token_counts(&token, self.clock()) {
            return Err("failed to get config map: Unauthorized".into());
        }
        Ok((server, ca, token))
    }

    /// A server's own files, but for etcd's manifest. The authorities were handed over before.
    pub(super) fn prepare_server(&mut self, name: &NodeName, config: &[Value]) -> Acted {
        let (server, _, _) = match self.discover(name, config) {
            Ok(found) => found,
            Err(why) => return Acted::Failed(format!("error execution phase preflight: {why}")),
        };
        let Some(machine) = self.machines.get(name) else { return Acted::Failed("no such machine".into()) };
        if machine.text(&format!("{PKI}/ca.key")).is_none_or(str::is_empty) {
            return Acted::Failed("error execution phase control-plane-prepare: ca.key is missing".into());
        }
        let endpoint =
            configure::local_endpoint(&kind(config, "JoinConfiguration")["controlPlane"]["localAPIEndpoint"]);
        let cluster = self.noted_cluster();
        for made in [
            self.certs(name, &as_joined(config, &cluster)),
            self.write_kubeconfigs(name, &server, &["admin"]),
            self.write_kubeconfigs(name, &format!("https://{endpoint}"), &["controller-manager", "scheduler"]),
            self.write_manifests(
                name,
                &["kube-apiserver", "kube-controller-manager", "kube-scheduler"],
                &endpoint,
                &cluster,
            ),
        ] {
            if let Acted::Failed(why) = made {
                return Acted::Failed(why);
            }
        }
        Acted::Done
    }

    pub(super) fn join_kubelet(&mut self, name: &NodeName, config: &[Value]) -> Acted {
        let (server, ca, token) = match self.discover(name, config) {
            Ok(found) => found,
            Err(why) => return Acted::Failed(format!("error execution phase kubelet-start: {why}")),
        };
        if self.cluster.nodes.get(name).is_some_and(|node| node.ready) {
            return Acted::Failed(format!(
                "error execution phase kubelet-start: a Node with name {:?} and status \"Ready\" already exists in the \
                 cluster. You must delete the existing Node or change the name of this new joining Node",
                name.as_str()
            ));
        }
        let (now, kubelet) = (self.now, self.noted_kubelet());
        let Some(machine) = self.machines.get_mut(name) else { return Acted::Failed("no such machine".into()) };
        machine.write_unsynced(&format!("{PKI}/ca.crt"), ca.clone(), 0o644, now);
        let text = super::kubelet::kubeconfig(&server, &ca, json!({ "token": token }));
        machine.write_unsynced(BOOTSTRAP, text, 0o600, now);
        machine.write_unsynced(KUBELET_CONFIG, kubelet, 0o644, now);
        let flags = configure::flags(kind(config, "JoinConfiguration"));
        machine.write_unsynced("/var/lib/kubelet/kubeadm-flags.env", flags, 0o644, now);
        machine.start_kubelet(now);
        Acted::Done
    }

    /// The kubelet asks for its certificate with the token, and gets it at once.
    pub(super) fn await_certificate(&mut self, name: &NodeName) -> Acted {
        let Some(machine) = self.machines.get_mut(name) else { return Acted::Failed("no such machine".into()) };
        if machine.text(KUBELET).is_none_or(str::is_empty) {
            return Acted::Waits(
                "error execution phase kubelet-wait-bootstrap: failed while waiting for TLS bootstrap".into(),
            );
        }
        machine.files.remove(BOOTSTRAP);
        machine.kubeadm.unsynced.remove(BOOTSTRAP);
        Acted::Done
    }

    /// etcd takes one learner at a time.
    pub(super) fn add_member(&mut self, name: &NodeName) -> Acted {
        if !self.kubeadm_answers() {
            return Acted::Waits("error execution phase etcd-join: dial tcp: connect: connection refused".into());
        }
        let other = |member: &Member| member.is_learner && member.name != *name;
        if self.kubeadm.members.iter().any(other) {
            return Acted::Failed(
                "error execution phase etcd-join: etcdserver: too many learner members in cluster".into(),
            );
        }
        if !self.kubeadm.members.iter().any(|member| member.name == *name) {
            let id = 0x1000 + self.number();
            self.kubeadm.members.push(Member { id, name: name.clone(), is_learner: true, has_started: false });
        }
        let cluster = self.noted_cluster();
        let endpoint = self.machines.get(name).and_then(super::Machine::endpoint).unwrap_or_default();
        self.write_manifests(name, &["etcd"], &endpoint, &cluster)
    }

    pub(super) fn promote_member(&mut self, name: &NodeName) -> Acted {
        match self.kubeadm.members.iter_mut().find(|member| member.name == *name) {
            Some(member) if member.has_started => {
                member.is_learner = false;
                Acted::Done
            }
            Some(_) | None => Acted::Waits(
                "error execution phase etcd-join: can only promote a learner member which is in sync".into(),
            ),
        }
    }

    /// The role under which a node is shown.
    pub(super) fn role_of(&self, name: &NodeName) -> ClusterRole {
        self.machines.get(name).and_then(super::Machine::kubeadm_role).unwrap_or(ClusterRole::Worker)
    }
}
