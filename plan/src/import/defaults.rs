//! What of a cluster's settings is no choice of anybody: kubeadm and Kubernetes write their defaults out
//! (<https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/>,
//! <https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/>).

use serde_json::{Value, json};

/// What kubeadm writes into every KubeletConfiguration (cmd/kubeadm/app/componentconfigs/kubelet.go).
fn kubelet(key: &str, value: &Value) -> bool {
    match key {
        "apiVersion" | "kind" => true,
        "authentication" => {
            *value
                == json!({ "anonymous": { "enabled": false }, "webhook": { "enabled": true },
                    "x509": { "clientCAFile": "/etc/kubernetes/pki/ca.crt" } })
        }
        "authorization" => *value == json!({ "mode": "Webhook" }),
        "cgroupDriver" => value == "systemd",
        "containerRuntimeEndpoint" => value == "unix:///run/containerd/containerd.sock",
        "healthzBindAddress" => value == "127.0.0.1",
        "healthzPort" => *value == json!(10248),
        "rotateCertificates" => *value == json!(true),
        "staticPodPath" => value == "/etc/kubernetes/manifests",
        // kubeadm finds it out on each machine.
        "resolvConf" => value == "/run/systemd/resolve/resolv.conf",
        _ => false,
    }
}

/// Whether the value is what kubeadm would write of itself. `pruned` before.
pub(super) fn is_kubelet_default(key: &str, value: &Value, dns: (&str, Option<&str>)) -> bool {
    let (domain, address) = dns;
    kubelet(key, value)
        || key == "clusterDomain" && value == domain
        || key == "clusterDNS" && address.is_some_and(|address| *value == json!([address]))
}

/// The same of KubeProxyConfiguration.
pub(super) fn is_proxy_default(key: &str, value: &Value, pod_network: &str) -> bool {
    match key {
        "apiVersion" | "kind" => true,
        "bindAddress" => value == "0.0.0.0" || value == "::",
        "clusterCIDR" => value == pod_network,
        _ => false,
    }
}

/// The value without what means "the default" where it is written out: nothing, empty texts and tables, no time, and
/// of fields that cannot be left out (`false`, numbers of logging) the zero. None where nothing is left.
pub(super) fn pruned(key: &str, value: &Value, zeros: Zeros) -> Option<Value> {
    let zeros = if key == "logging" { Zeros::Nothing } else { zeros };
    match value {
        Value::Null => None,
        Value::String(text) => {
            (!text.is_empty() && text != "0s" && !(zeros == Zeros::Nothing && text == "0")).then(|| value.clone())
        }
        Value::Bool(truth) => (*truth || zeros == Zeros::Something).then(|| value.clone()),
        Value::Number(number) => {
            (number.as_f64() != Some(0.0) || key != "verbosity" && key != "flushFrequency").then(|| value.clone())
        }
        Value::Array(values) => (!values.is_empty()).then(|| value.clone()),
        Value::Object(entries) => {
            let kept = entries.iter().filter_map(|(key, value)| Some((key.clone(), pruned(key, value, zeros)?)));
            let kept: serde_json::Map<String, Value> = kept.collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
    }
}

/// What `false` says in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zeros {
    /// Somebody wrote it.
    Something,
    /// It stands there always.
    Nothing,
}

/// Labels, by their keys, that Kubernetes and kubeadm give nodes themselves.
pub(super) fn is_own_label(key: &str) -> bool {
    const OWN: [&str; 8] = [
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "kubernetes.io/hostname",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "node-role.kubernetes.io/control-plane",
        "node-role.kubernetes.io/master",
        "node.kubernetes.io/exclude-from-external-load-balancers",
    ];
    OWN.contains(&key)
}

/// Whether a kubelet may not give itself that label: another one gave it.
pub(super) fn is_reserved_label(key: &str) -> bool {
    let prefix = key.rsplit_once('/').map_or("", |(prefix, _)| prefix);
    ["kubernetes.io", "k8s.io"].iter().any(|own| prefix == *own || prefix.ends_with(&format!(".{own}")))
}

/// The taint that kubeadm gives servers.
pub(super) const SERVER_TAINT: &str = "node-role.kubernetes.io/control-plane:NoSchedule";

/// Taints that come and go with a node's state.
pub(super) fn is_passing_taint(taint: &str) -> bool {
    let key = taint.split(['=', ':']).next().unwrap_or(taint);
    key.starts_with("node.kubernetes.io/")
        || key.starts_with("node.cloudprovider.kubernetes.io/")
        || key == crate::cluster::WAITING_TAINT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubeadm_writes_out_is_no_choice() {
        let written = json!({
            "authentication": { "anonymous": { "enabled": false },
                "webhook": { "cacheTTL": "0s", "enabled": true },
                "x509": { "clientCAFile": "/etc/kubernetes/pki/ca.crt" } },
            "authorization": { "mode": "Webhook",
                "webhook": { "cacheAuthorizedTTL": "0s", "cacheUnauthorizedTTL": "0s" } },
            "cgroupDriver": "systemd", "clusterDNS": ["10.96.0.10"], "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": "", "crashLoopBackOff": {}, "healthzPort": 10248,
            "logging": { "flushFrequency": 0, "options": { "json": { "infoBufferSize": "0" },
                "text": { "infoBufferSize": "0" } }, "verbosity": 0 },
            "memorySwap": {}, "rotateCertificates": true, "syncFrequency": "0s",
            "imageGCHighThresholdPercent": 100, "failCgroupV1": false, "maxPods": 0,
        });
        let kept: Vec<&str> = written
            .as_object()
            .unwrap()
            .iter()
            .filter_map(|(key, value)| Some((key, pruned(key, value, Zeros::Something)?)))
            .filter(|(key, value)| !is_kubelet_default(key, value, ("cluster.local", Some("10.96.0.10"))))
            .map(|(key, _)| key.as_str())
            .collect();
        assert_eq!(kept, ["failCgroupV1", "imageGCHighThresholdPercent", "maxPods"]);
        let conntrack = json!({ "maxPerCore": 0, "min": 0, "tcpBeLiberal": false, "udpTimeout": "0s" });
        assert_eq!(pruned("conntrack", &conntrack, Zeros::Nothing), Some(json!({ "maxPerCore": 0, "min": 0 })));
    }

    #[test]
    fn labels_and_taints_of_kubernetes_are_told_from_those_of_people() {
        assert!(is_own_label("kubernetes.io/hostname") && !is_own_label("topology.kubernetes.io/zone"));
        assert!(is_reserved_label("topology.kubernetes.io/zone") && !is_reserved_label("lab.example/rack"));
        assert!(
            is_passing_taint("node.kubernetes.io/unreachable:NoExecute") && !is_passing_taint("gpu=yes:NoSchedule")
        );
    }
}
