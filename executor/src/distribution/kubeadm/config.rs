//! kubeadm's configuration as a plan brings it: YAML documents, of which a node reads some fields and fills in what is
//! made on the spot. What is written again is JSON, which is YAML in which every text is quoted.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::layout::{PKI, RUN_DISCOVERY};

/// A folder that nobody makes.
const NO_CERTIFICATES: &str = "/run/hostler/no-certificates";

/// The documents of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Documents(Vec<Value>);

impl Documents {
    /// Reads them; a sentence says what is wrong.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|e| e.to_string())?;
        Ok(Self(documents.into_iter().filter(|document| !document.is_null()).collect()))
    }

    /// The document of that kind; null where there is none.
    pub(crate) fn kind(&self, kind: &str) -> &Value {
        self.0.iter().find(|document| document["kind"] == kind).unwrap_or(&Value::Null)
    }

    fn edit(&mut self, kind: &str) -> Result<&mut Map<String, Value>, String> {
        let found = self.0.iter_mut().find(|document| document["kind"] == kind).and_then(Value::as_object_mut);
        found.ok_or_else(|| format!("it has no document of kind {kind}"))
    }

    /// Lets kubeadm go on where an earlier run was cut off. Beside `all` no check may be named.
    pub(crate) fn go_on(&mut self, kind: &str) -> Result<(), String> {
        map_in(self.edit(kind)?, "nodeRegistration")?.insert("ignorePreflightErrors".into(), json!(["all"]));
        Ok(())
    }

    /// Describes the token that `kubeadm init` makes whether somebody wants it or not, and ends it soon.
    pub(crate) fn describe_token(&mut self, description: &str) -> Result<(), String> {
        let token = json!({ "description": description, "ttl": "5m0s", "usages": ["authentication"] });
        self.edit("InitConfiguration")?.insert("bootstrapTokens".into(), json!([token]));
        Ok(())
    }

    /// Lets a node in by a token, which reaches the cluster by the file at [`RUN_DISCOVERY`].
    pub(crate) fn discover_with(&mut self, token: &str) -> Result<(), String> {
        let discovery = json!({ "file": { "kubeConfigPath": RUN_DISCOVERY }, "tlsBootstrapToken": token });
        self.edit("JoinConfiguration")?.insert("discovery".into(), discovery);
        Ok(())
    }

    /// Makes the API server's certificate with these names beside those that kubeadm adds.
    pub(crate) fn certify(&mut self, names: impl Iterator<Item = String>) -> Result<(), String> {
        let server = map_in(self.edit("ClusterConfiguration")?, "apiServer")?;
        server.insert("certSANs".into(), json!(names.collect::<Vec<_>>()));
        Ok(())
    }

    /// The same without the patches of one machine: what the cluster keeps has none.
    pub(crate) fn unpatched(&self) -> Self {
        let mut documents = self.clone();
        for document in documents.0.iter_mut().filter_map(Value::as_object_mut) {
            document.remove("patches");
        }
        documents
    }

    /// For the files of a kubelet alone. Where the certificate of a CA lies without its key, as on every worker,
    /// `kubeadm init` takes the CA for one that somebody else keeps and wants a server's certificates whatever the
    /// phase; so it looks where there are none, and the kubelet's own settings say where the CA's certificate is.
    pub(crate) fn for_kubelet(&self) -> Result<Self, String> {
        let mut documents = self.clone();
        documents.edit("ClusterConfiguration")?.insert("certificatesDir".into(), json!(NO_CERTIFICATES));
        if documents.kind("KubeletConfiguration").is_null() {
            documents.0.push(json!({ "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration" }));
        }
        let authentication = map_in(documents.edit("KubeletConfiguration")?, "authentication")?;
        let authorities = map_in(authentication, "x509")?.entry("clientCAFile").or_insert(Value::Null);
        if authorities.is_null() {
            *authorities = json!(format!("{PKI}/ca.crt"));
        }
        Ok(documents)
    }

    /// `HOST:PORT` where all nodes reach the API server.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        self.kind("ClusterConfiguration")["controlPlaneEndpoint"].as_str()
    }

    /// The name or the address in it.
    pub(crate) fn endpoint_host(&self) -> Option<String> {
        let (host, _) = self.endpoint()?.rsplit_once(':')?;
        Some(host.trim_start_matches('[').trim_end_matches(']').to_owned())
    }

    /// As kubeadm reads them.
    pub(crate) fn write(&self) -> String {
        let documents: Vec<String> = self.0.iter().map(Value::to_string).collect();
        documents.join("\n---\n") + "\n"
    }

    /// Whether kubeadm is to run that add-on of its own.
    pub(crate) fn has_addon(&self, phase: &str, field: &str) -> bool {
        let skipped = self.kind("InitConfiguration")["skipPhases"].as_array().into_iter().flatten();
        let mut skipped = skipped.filter_map(Value::as_str);
        let is_skipped = skipped.any(|skipped| skipped == "addon" || skipped == format!("addon/{phase}"));
        !is_skipped && self.kind("ClusterConfiguration")[field]["disabled"] != true
    }
}

/// The map below a key, made where there is none.
fn map_in<'a>(map: &'a mut Map<String, Value>, key: &str) -> Result<&'a mut Map<String, Value>, String> {
    let found = map.entry(key).or_insert(Value::Null);
    if found.is_null() {
        *found = json!({});
    }
    found.as_object_mut().ok_or_else(|| format!("its {key} is no map of names and values"))
}

/// A kubeconfig that says where the cluster is and whose certificates count, and no more: kubeadm takes none with a
/// context that has no user.
pub(crate) fn discovery(server: &str, ca: &str) -> String {
    let cluster = json!({ "server": server, "certificate-authority-data": STANDARD.encode(ca) });
    json!({ "apiVersion": "v1", "kind": "Config", "clusters": [{ "name": "", "cluster": cluster }] }).to_string()
}

/// Where a kubeconfig leads, and the certificate authority (PEM) that it believes.
pub(crate) fn cluster_of(kubeconfig: &str) -> Result<(String, String), String> {
    let read: Value = serde_saphyr::from_str(kubeconfig).map_err(|e| e.to_string())?;
    let cluster = &read["clusters"][0]["cluster"];
    let server = cluster["server"].as_str().ok_or("it names no server")?;
    let data = cluster["certificate-authority-data"].as_str().ok_or("it holds no certificate authority")?;
    let bytes = STANDARD.decode(data).map_err(|e| e.to_string())?;
    let ca = String::from_utf8(bytes).map_err(|e| e.to_string())?;
    Ok((server.to_owned(), ca))
}

/// Where a kubeconfig leads, and all that it says; none of what is no kubeconfig.
pub(crate) fn server_of(kubeconfig: &str) -> Option<(String, Value)> {
    let read: Value = serde_saphyr::from_str(kubeconfig).ok()?;
    let server = read["clusters"][0]["cluster"]["server"].as_str()?.to_owned();
    Some((server, read))
}

/// A kubeconfig that leads elsewhere, with nothing else of it changed: whoever wrote it finds it as it was.
pub(crate) fn led_to(kubeconfig: &str, server: &str) -> Result<String, String> {
    let (old, mut wanted) = server_of(kubeconfig).ok_or("it is no kubeconfig with a server")?;
    if let Some(wanted) = wanted.pointer_mut("/clusters/0/cluster/server") {
        *wanted = server.into();
    }
    let led = kubeconfig.replace(&old, server);
    match server_of(&led) {
        Some((_, read)) if read == wanted => Ok(led),
        Some(_) | None => Err(format!("{old} stands in it in more than one meaning; change it by hand to {server}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INIT: &str = "kind: InitConfiguration\nnodeRegistration:\n  name: c1\n  ignorePreflightErrors: [Swap]\n\
                        skipPhases: [addon/coredns]\n---\nkind: ClusterConfiguration\nproxy: {disabled: false}\n";

    #[test]
    fn a_run_that_goes_on_ignores_everything_that_the_first_one_left() {
        let mut documents = Documents::read(INIT).unwrap();
        documents.go_on("InitConfiguration").unwrap();
        let again = Documents::read(&documents.write()).unwrap();
        assert_eq!(
            again.kind("InitConfiguration")["nodeRegistration"],
            json!({"name": "c1",
            "ignorePreflightErrors": ["all"]})
        );
        assert_eq!(again.kind("ClusterConfiguration")["proxy"]["disabled"], false);
        assert!(again.has_addon("kube-proxy", "proxy") && !again.has_addon("coredns", "dns"));
        assert!(Documents::read(INIT).unwrap().discover_with("a").unwrap_err().contains("JoinConfiguration"));
    }

    #[test]
    fn a_token_that_looks_like_a_number_stays_a_text() {
        let mut documents = Documents::read("kind: JoinConfiguration\ndiscovery: {}\n").unwrap();
        for token in ["123456.1234567890123456", "1e1000.0000000000000001", "000000.0000000000000000"] {
            documents.discover_with(token).unwrap();
            let again = Documents::read(&documents.write()).unwrap();
            assert_eq!(again.kind("JoinConfiguration")["discovery"]["tlsBootstrapToken"], token);
        }
    }

    #[test]
    fn what_is_written_for_discovery_is_read_back_and_has_no_context() {
        let written = discovery("https://k8s.lab:6443", "PEM\n");
        assert_eq!(cluster_of(&written), Ok(("https://k8s.lab:6443".into(), "PEM\n".into())));
        assert!(!written.contains("context"));
        assert!(cluster_of("{}").is_err() && cluster_of("a: [").is_err());
    }
}
