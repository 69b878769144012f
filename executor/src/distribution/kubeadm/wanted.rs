//! What kubeadm would make of a configuration on this machine, by its own word: its phases write into a folder that
//! nobody reads but this. So nothing here has to know what a version of kubeadm writes.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use super::{
    config::Documents,
    layout::QUICK,
    state::{self, COMPONENTS, ETCD},
};
use crate::host::{Host, HostError, HostFile};

/// In memory, so that it is gone with the boot.
const FOLDER: &str = "/run/hostler/kubeadm-trial";

/// kubeadm writes there what it would write into the system (cmd/kubeadm/app/constants, `GetDryRunDir`).
const INTO: &str = "KUBEADM_INIT_DRYRUN_DIR=/run/hostler/kubeadm-trial";

const CONFIG: &str = "/run/hostler/kubeadm-trial/hostler.yaml";

/// What a kubelet runs by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KubeletFiles {
    pub config: Value,
    /// Of kubeadm-flags.env, each as `--NAME=VALUE`.
    pub flags: Vec<String>,
    /// Where it reaches the container runtime.
    pub socket: String,
}

/// Runs phases as a trial and takes what `read` makes of what they wrote; nothing of it stays.
fn trial<T>(
    host: &dyn Host,
    documents: &Documents,
    phases: &[&[&str]],
    read: impl Fn(&dyn Host) -> Result<T, HostError>,
) -> Result<T, HostError> {
    host.remove(Path::new(FOLDER))?;
    let file = HostFile { content: documents.write().into_bytes(), mode: 0o600, uid: 0, gid: 0 };
    host.write_file(Path::new(CONFIG), &file)?;
    let ran = phases.iter().try_for_each(|phase| {
        let command = [&["env", INTO, "kubeadm", "init", "phase"], *phase, &["--config", CONFIG, "--dry-run"]].concat();
        host.run(&command, QUICK).map(drop)
    });
    let found = ran.and_then(|()| read(host));
    host.remove(Path::new(FOLDER))?;
    found
}

/// The static pods of a server, by component: with etcd, where this server has it.
pub(crate) fn pods(
    host: &dyn Host,
    documents: &Documents,
    has_etcd: bool,
) -> Result<BTreeMap<&'static str, Value>, HostError> {
    let phases: [&[&str]; 2] = [&["control-plane", "all"], &["etcd", "local"]];
    let phases = if has_etcd { &phases[..] } else { &phases[..1] };
    trial(host, documents, phases, |host| {
        let mut pods = BTreeMap::new();
        for component in COMPONENTS.into_iter().filter(|component| has_etcd || *component != ETCD) {
            pods.insert(component, yaml(host, &format!("{FOLDER}/{component}.yaml"))?);
        }
        Ok(pods)
    })
}

/// The files of a kubelet.
pub(crate) fn kubelet(host: &dyn Host, documents: &Documents) -> Result<KubeletFiles, HostError> {
    let unexpected = |found| HostError::Unexpected { what: "plan", expected: "kubeadm's configuration", found };
    let documents = documents.for_kubelet().map_err(unexpected)?;
    trial(host, &documents, &[&["kubelet-start"]], |host| kubelet_files(host, FOLDER))
}

/// Those in a folder, such as `/var/lib/kubelet`.
pub(crate) fn kubelet_files(host: &dyn Host, folder: &str) -> Result<KubeletFiles, HostError> {
    let config = yaml(host, &format!("{folder}/config.yaml"))?;
    let flags = state::text(host, format!("{folder}/kubeadm-flags.env"))?.unwrap_or_default();
    let instance = yaml(host, &format!("{folder}/instance-config.yaml"))?;
    let socket = [&instance, &config].into_iter().find_map(|file| file["containerRuntimeEndpoint"].as_str());
    // kubeadm of before 1.35 says it by a flag.
    let flags: Vec<String> = words(&flags).filter(|flag| flag.starts_with("--")).map(str::to_owned).collect();
    let by_flag = flags.iter().find_map(|flag| flag.strip_prefix("--container-runtime-endpoint="));
    let socket = socket.or(by_flag).unwrap_or_default().replace("/var/run/", "/run/");
    Ok(KubeletFiles { config, flags, socket })
}

/// `KUBELET_KUBEADM_ARGS="--a=b --c=d"`.
fn words(file: &str) -> impl Iterator<Item = &str> {
    let behind = file.lines().filter_map(|line| line.split_once('=')).map(|(_, flags)| flags.trim().trim_matches('"'));
    behind.flat_map(str::split_whitespace)
}

/// The ClusterConfiguration with all that kubeadm adds to it, as the cluster keeps it.
pub(crate) fn cluster(host: &dyn Host, documents: &Documents) -> Result<Value, HostError> {
    let file = HostFile { content: documents.write().into_bytes(), mode: 0o600, uid: 0, gid: 0 };
    host.write_file(Path::new(CONFIG), &file)?;
    let written = host.run(&["kubeadm", "config", "migrate", "--old-config", CONFIG], QUICK);
    host.remove(Path::new(FOLDER))?;
    document(&written?, "ClusterConfiguration")
}

/// What kubeadm writes for kube-proxy where nobody says anything.
pub(crate) fn proxy_defaults(host: &dyn Host) -> Result<Value, HostError> {
    const KIND: &str = "KubeProxyConfiguration";
    let command = ["kubeadm", "config", "print", "init-defaults", "--component-configs", KIND];
    document(&host.run(&command, QUICK)?, KIND)
}

/// `over` over `under`: maps in maps are put together, everything else is replaced.
pub(crate) fn put_over(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(entries), Value::Object(new)) => {
            for (key, value) in new {
                put_over(entries.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

fn document(text: &str, kind: &str) -> Result<Value, HostError> {
    let unexpected = |found: String| HostError::Unexpected { what: "kubeadm", expected: "its configuration", found };
    let documents = Documents::read(text).map_err(unexpected)?;
    let found = documents.kind(kind);
    if found.is_null() { Err(unexpected(format!("no {kind}"))) } else { Ok(found.clone()) }
}

/// A file in YAML; null where there is none.
fn yaml(host: &dyn Host, path: &str) -> Result<Value, HostError> {
    let Some(text) = state::text(host, path)? else { return Ok(Value::Null) };
    serde_saphyr::from_str(&text).map_err(|e| HostError::Unexpected {
        what: "file",
        expected: "YAML",
        found: format!("{path}: {e}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_of_their_file() {
        let file = "KUBELET_KUBEADM_ARGS=\"--hostname-override=c1 --node-labels=a=b,c=d\"\n";
        assert_eq!(words(file).collect::<Vec<_>>(), ["--hostname-override=c1", "--node-labels=a=b,c=d"]);
        assert_eq!(words("").count(), 0);
    }

    #[test]
    fn what_is_said_stands_over_what_nobody_said() {
        let mut under = serde_json::json!({ "mode": "", "conntrack": { "min": null, "tcpBeLiberal": false } });
        put_over(&mut under, &serde_json::json!({ "mode": "nftables", "conntrack": { "min": 0 } }));
        let expected = serde_json::json!({ "mode": "nftables", "conntrack": { "min": 0, "tcpBeLiberal": false } });
        assert_eq!(under, expected);
    }
}
