//! An API server that knows one node and Hostler's account, for an executor that asks whether the node is Ready.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::json;

/// It ends with this process.
pub(crate) struct Api {
    ready: Arc<AtomicBool>,
}

impl Api {
    /// Answers, and writes a kubeconfig that leads to it.
    pub(crate) fn start(kubeconfig: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let config = json!({ "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": { "server": server } }],
            "users": [{ "name": "u", "user": {} }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }] });
        std::fs::write(kubeconfig, config.to_string()).unwrap();
        let ready = Arc::new(AtomicBool::new(false));
        let told = ready.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let told = told.clone();
                thread::spawn(move || answer(stream, &told));
            }
        });
        Self { ready }
    }

    /// What it says from now on.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::SeqCst);
    }
}

/// One request a connection.
fn answer(mut stream: TcpStream, ready: &AtomicBool) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut lines = reader.by_ref().lines().map_while(Result::ok);
    let first = lines.next()?;
    let rest: Vec<String> = lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
    let length = rest.iter().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    // Whoever closes with something unread resets the connection.
    std::io::copy(&mut reader.take(length.unwrap_or(0)), &mut std::io::sink()).ok()?;
    let status = if ready.load(Ordering::SeqCst) { "True" } else { "False" };
    let node = json!({ "metadata": { "name": "w1", "resourceVersion": "1" }, "spec": {}, "status": {
        "conditions": [{ "type": "Ready", "status": status, "lastHeartbeatTime": null, "lastTransitionTime": null }],
        "nodeInfo": { "architecture": "amd64", "bootID": "b1", "containerRuntimeVersion": "", "kernelVersion": "",
            "kubeProxyVersion": "", "kubeletVersion": "v1.36.3", "machineID": "", "operatingSystem": "linux",
            "osImage": "", "systemUUID": "" } } });
    let list = json!({ "apiVersion": "v1", "kind": "NodeList", "metadata": {}, "items": [node] });
    let account = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": "hostler" } });
    let token = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
        "spec": { "audiences": [], "expirationSeconds": 3600 },
        "status": { "token": "t", "expirationTimestamp": "2099-01-01T00:00:00Z" } });
    let objects = ["/namespaces/", "/serviceaccounts/", "/clusterroles/", "/clusterrolebindings/"];
    let missing = json!({ "kind": "Status", "apiVersion": "v1", "code": 404 });
    let (code, body) = match first.as_str() {
        asked if asked.contains("/api/v1/nodes") => ("200 OK", list),
        asked if asked.contains("/hostler/token") => ("200 OK", token),
        asked if objects.iter().any(|object| asked.contains(object)) => ("200 OK", account),
        _ => ("404 Not Found", missing),
    };
    let body = body.to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 {code}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).ok()
}
