//! What the API servers of the simulated kubeadm cluster answer to an administrator.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hostler_plan::id::{Arch, NodeName};
use serde_json::{Value, json};

use super::{super::World, COMPONENTS, ENDPOINT, path_of};

/// Where its API server was asked.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    /// At the address of the whole cluster.
    Cluster,
    /// At the address of one machine, such as `https://10.0.0.11:6443`.
    Machine(&'a str),
}

impl World {
    /// GET of a path; none for what is not there. The error is why nobody answers.
    pub fn kubeadm_get(&self, at: &At<'_>, path: &str) -> Result<Option<String>, String> {
        let server = match at {
            At::Cluster => self.kubeadm_server().ok_or("dial tcp: connect: connection refused")?,
            At::Machine(address) => {
                let is_there = |m: &&super::Machine| m.endpoint().is_some_and(|e| format!("https://{e}") == *address);
                let found = self.machines.values().find(is_there);
                let server = found.ok_or("dial tcp: connect: connection refused")?;
                match self.kubeadm_refuses(server) {
                    Some(reason) => return Err(reason),
                    None => server,
                }
            }
        };
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        Ok(match path {
            "/readyz" => Some("ok".to_owned()),
            // Nobody asks for what is deprecated.
            "/metrics" => Some(String::new()),
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices" => Some(self.api_servers().to_string()),
            "/version" => {
                let image = server.kubeadm.pods.get("kube-apiserver").map(|pod| pod.image.as_str());
                let tag = image.and_then(|image| image.rsplit_once(':')).map_or("", |(_, tag)| tag);
                Some(json!({ "gitVersion": tag }).to_string())
            }
            _ => self.object(path).map(|object| object.to_string()),
        })
    }

    /// Each API server that answers, as the Service `kubernetes` leads to it.
    fn api_servers(&self) -> Value {
        let answers = self.machines.values().filter(|m| self.kubeadm_refuses(m).is_none());
        let addresses: Vec<Value> = answers
            .filter_map(|machine| Some(machine.endpoint()?.rsplit_once(':')?.0.to_owned()))
            .map(|address| json!({ "addresses": [address] }))
            .collect();
        json!({ "items": [{ "ports": [{ "port": 6443 }], "endpoints": addresses }] })
    }

    /// An object, or a list of those below a path.
    pub(super) fn object(&self, path: &str) -> Option<Value> {
        if path == "/api/v1/nodes" && !self.kubeadm.objects.contains_key(path) {
            let nodes: Vec<Value> = self.cluster.nodes.keys().filter_map(|name| self.node_object(name)).collect();
            return Some(json!({ "items": nodes }));
        }
        if let Some(name) = path.strip_prefix("/api/v1/nodes/") {
            return self.node_object(&NodeName::new(name).ok()?);
        }
        if let Some(name) = path.strip_prefix("/api/v1/namespaces/kube-system/pods/") {
            return self.mirror(name);
        }
        if let Some(found) = self.kubeadm.objects.get(path) {
            return Some(found.clone());
        }
        let is_list = matches!(path.rsplit('/').next(), Some("secrets" | "configmaps" | "daemonsets" | "deployments"));
        let below = |at: &str| at.rsplit_once('/').is_some_and(|(list, _)| list == path);
        let items = self.kubeadm.objects.iter().filter(|(at, _)| below(at)).map(|(_, object)| object);
        is_list.then(|| json!({ "items": items.collect::<Vec<_>>() }))
    }

    fn node_object(&self, name: &NodeName) -> Option<Value> {
        let node = self.cluster.nodes.get(name)?;
        let mut labels = json!({ "kubernetes.io/hostname": name.as_str() });
        if self.kubeadm.labelled.contains(name) {
            labels["node-role.kubernetes.io/control-plane"] = json!("");
        }
        let ready = if node.ready { "True" } else { "False" };
        let machine = self.machines.get(name);
        let arch = match machine.map(|machine| machine.board.arch) {
            Some(Arch::Aarch64) => "arm64",
            Some(Arch::X86_64) => "amd64",
            None => "",
        };
        let address = machine.and_then(|m| m.endpoint()).and_then(|e| Some(e.rsplit_once(':')?.0.to_owned()));
        let addresses: Vec<Value> =
            address.into_iter().map(|address| json!({ "type": "InternalIP", "address": address })).collect();
        let stored = self.kubeadm.objects.get(&format!("/api/v1/nodes/{name}")).unwrap_or(&Value::Null);
        if let Some(own) = stored["metadata"]["labels"].as_object() {
            own.iter().for_each(|(key, value)| labels[key] = value.clone());
        }
        Some(json!({ "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name.as_str(), "labels": labels,
                "annotations": stored["metadata"]["annotations"] },
            "spec": { "taints": stored["spec"]["taints"] },
            "status": { "addresses": addresses,
                "nodeInfo": { "kubeletVersion": node.version.to_string(), "architecture": arch },
                "conditions": [{ "type": "Ready", "status": ready }] } }))
    }

    /// A static pod as the API shows it: `COMPONENT-NODE`.
    fn mirror(&self, name: &str) -> Option<Value> {
        let component = COMPONENTS.iter().find(|c| name.starts_with(&format!("{c}-")))?;
        let machine = self.machines.get(&NodeName::new(&name[component.len() + 1..]).ok()?)?;
        let pod = machine.kubeadm.pods.get(*component)?;
        let ready = if machine.runs(component, self.now) { "True" } else { "False" };
        let read: Value = serde_json::from_slice(&pod.manifest).ok()?;
        Some(json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "kube-system", "annotations": read["metadata"]["annotations"] },
            "spec": read["spec"],
            "status": { "conditions": [{ "type": "Ready", "status": ready }] } }))
    }

    /// The object of the kind and the name of this one.
    pub fn kubeadm_find(&self, object: &Value) -> Result<Option<Value>, String> {
        self.kubeadm_get(&At::Cluster, "/readyz")?;
        Ok(self.object(&path_of(object)))
    }

    /// Server-side apply, without the conflicts of the real one. Gives the object as it is then.
    pub fn kubeadm_apply(&mut self, object: &Value, really: bool) -> Result<Value, String> {
        self.kubeadm_get(&At::Cluster, "/readyz")?;
        let mut object = object.clone();
        if let Some(texts) = object["stringData"].as_object().cloned() {
            let mut data = object["data"].as_object().cloned().unwrap_or_default();
            for (key, text) in texts {
                data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()).into());
            }
            object["data"] = data.into();
            object.as_object_mut().map(|object| object.remove("stringData"));
        }
        if really {
            self.put(object.clone());
        }
        Ok(object)
    }

    /// Removes what lies at a path.
    pub fn kubeadm_delete(&mut self, path: &str) -> Result<(), String> {
        self.kubeadm_get(&At::Cluster, "/readyz")?;
        self.kubeadm.objects.remove(path);
        if let Some(node) = path.strip_prefix("/api/v1/nodes/").and_then(|name| NodeName::new(name).ok()) {
            self.cluster.nodes.remove(&node);
            self.kubeadm.labelled.remove(&node);
        }
        Ok(())
    }

    pub(super) fn put(&mut self, object: Value) {
        self.kubeadm.objects.insert(path_of(&object), object);
    }

    /// Whether the network add-on is there: any DaemonSet but kube-proxy's.
    pub(in super::super) fn has_network(&self) -> bool {
        self.kubeadm.objects.keys().any(|path| path.contains("/daemonsets/") && !path.ends_with("/kube-proxy"))
    }

    /// Whether a bootstrap token lets somebody in, `ID.SECRET`.
    pub(super) fn token_counts(&self, token: &str, now_unix: hostler_plan::timestamp::Timestamp) -> bool {
        let Some((id, secret)) = token.split_once('.') else { return false };
        let path = format!("/api/v1/namespaces/kube-system/secrets/bootstrap-token-{id}");
        let Some(found) = self.kubeadm.objects.get(&path) else { return false };
        let field = |key: &str| {
            let bytes = STANDARD.decode(found["data"][key].as_str()?).ok()?;
            String::from_utf8(bytes).ok()
        };
        let expires = field("expiration").and_then(|text| text.parse::<hostler_plan::timestamp::Timestamp>().ok());
        field("token-secret").as_deref() == Some(secret)
            && field("usage-bootstrap-authentication").as_deref() == Some("true")
            && expires.is_none_or(|expires| now_unix < expires)
    }
}

/// A static pod's manifest: JSON, which is YAML. Of the machine its name, and where its API server is reached.
pub(super) fn manifest(
    component: &str,
    image: &str,
    kubeadm: &str,
    (name, endpoint): (&NodeName, &str),
    cluster: &Value,
) -> String {
    let mut annotations = json!({ "hostler.dev/written-by-kubeadm": kubeadm });
    if component == "kube-apiserver" {
        annotations[ENDPOINT] = endpoint.into();
    }
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": component, "namespace": "kube-system", "annotations": annotations },
        "spec": { "hostNetwork": true, "containers": [{ "name": component, "image": image,
            "command": command(component, (name, endpoint), cluster) }] } })
    .to_string()
}

/// The arguments of a component.
fn command(component: &str, (name, endpoint): (&NodeName, &str), cluster: &Value) -> Vec<String> {
    let settings = match component {
        "etcd" => &cluster["etcd"]["local"],
        "kube-apiserver" => &cluster["apiServer"],
        "kube-controller-manager" => &cluster["controllerManager"],
        _ => &cluster["scheduler"],
    };
    let extra = settings["extraArgs"].as_array().into_iter().flatten();
    let word = |arg: &Value| {
        let text = |key: &str| arg[key].as_str().unwrap_or_default().to_owned();
        format!("--{}={}", text("name"), text("value"))
    };
    let address = endpoint.rsplit_once(':').map_or("", |(address, _)| address);
    let own = match component {
        "etcd" => vec![
            format!("--name={name}"),
            format!("--initial-advertise-peer-urls=https://{address}:2380"),
            "--data-dir=/var/lib/etcd".to_owned(),
        ],
        _ => Vec::new(),
    };
    std::iter::once(component.to_owned()).chain(own).chain(extra.map(word)).collect()
}
