//! What is written of an answer is read back as the cluster is, and nothing of the cluster is changed by it.

use std::collections::BTreeMap;

use hostler_plan::{
    fleet::{Fleet, Swap},
    id::{Arch, FleetId},
    import::{
        Addon, Answer, AnswerNode, AnswerType, Enrolled, Etcd, MachineFacts, Made, Program, Settings, fleet_file,
    },
    step::ClusterRole,
    timestamp::Timestamp,
};
use serde_json::json;

use super::write;

fn node(name: &str, number: u8, server: bool) -> AnswerNode {
    let role = if server { vec![("node-role.kubernetes.io/control-plane", "")] } else { vec![] };
    let own = [("kubernetes.io/hostname", name), ("topology.kubernetes.io/zone", "a"), ("lab/rack", "yes")];
    let labels = own.into_iter().chain(role).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let server_taint = "node-role.kubernetes.io/control-plane:NoSchedule".to_owned();
    AnswerNode {
        name: name.to_owned(),
        is_server: server,
        arch: "arm64".to_owned(),
        addresses: vec![format!("10.0.0.{number}")],
        labels,
        taints: if server { vec![server_taint] } else { vec!["node.kubernetes.io/not-ready:NoExecute".to_owned()] },
        version: "v1.36.3".to_owned(),
        runtime: "containerd://2.1.4".to_owned(),
    }
}

pub(super) fn answer() -> Answer {
    let args = [("audit-log-path", "/var/log/a \"b\".log"), ("v", "2"), ("feature", "a"), ("feature", "b")];
    let args = args.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let api_server = Program { args, ..Program::default() };
    let settings = Settings {
        name: "lab".to_owned(),
        version: "v1.36.3".to_owned(),
        endpoint: "k8s.lab:6443".to_owned(),
        pod_network: "10.244.0.0/16".to_owned(),
        service_network: "10.96.0.0/12".to_owned(),
        dns_domain: "cluster.local".to_owned(),
        cert_sans: vec!["k8s.lab".to_owned()],
        programs: BTreeMap::from([("api_server".to_owned(), api_server)]),
        etcd: Etcd { data_dir: "/var/lib/etcd".to_owned(), ..Etcd::default() },
        has_dns: false,
        has_proxy: true,
        bind_port: 6443,
        kubelet: BTreeMap::from([
            ("failSwapOn".to_owned(), json!(false)),
            ("cgroupDriver".to_owned(), json!("cgroupfs")),
            ("evictionHard".to_owned(), json!({ "memory.available": "100Mi" })),
            ("clusterDNS".to_owned(), json!(["10.96.0.10"])),
            ("syncFrequency".to_owned(), json!("0s")),
        ]),
        proxy: BTreeMap::from([
            ("mode".to_owned(), json!("nftables")),
            ("clusterCIDR".to_owned(), json!("10.244.0.0/16")),
            ("conntrack".to_owned(), json!({ "maxPerCore": 0, "min": 0, "tcpBeLiberal": false })),
        ]),
        kubelet_args: vec![("node-ip".to_owned(), "10.0.0.11".to_owned()), ("v".to_owned(), "4".to_owned())],
        ..Settings::default()
    };
    let addon = |name: &str| Addon {
        kind: "DaemonSet".to_owned(),
        namespace: "kube-system".to_owned(),
        name: name.to_owned(),
        image: "f:1".to_owned(),
    };
    let mut tainted = node("w2", 22, false);
    tainted.taints.push("gpu=yes:NoSchedule".to_owned());
    Answer {
        document_type: AnswerType::V1,
        fleet_id: FleetId::new("7d0f7d0f7d0f7d0f7d0f7d0f7d0f7d0f").unwrap(),
        node: "cp1".parse().unwrap(),
        read: Timestamp::from_unix_milliseconds(1_795_900_000_000),
        version: "v1.36.3".to_owned(),
        nodes: vec![tainted, node("w1", 21, false), node("cp1", 11, true)],
        made: Made::Kubeadm(Box::new(settings)),
        machine: MachineFacts::default(),
        addons: vec![addon("flannel")],
        static_pods: vec!["kube-system/kube-vip-cp1".to_owned()],
        masked: vec!["argument oidc-client-secret of apiServer".to_owned()],
        left_out: vec!["staticPodURL of Kubelet\n[x]".to_owned()],
    }
}

fn enrolled() -> Vec<Enrolled> {
    let machine = |name: &str, object: &str, role| Enrolled {
        name: name.parse().unwrap(),
        object: object.parse().unwrap(),
        role,
        arch: Arch::Aarch64,
    };
    vec![machine("cp1", "cp1", ClusterRole::Server), machine("pi-9", "w1", ClusterRole::Worker)]
}

#[test]
fn what_is_written_is_read_back_as_the_cluster_is() {
    let draft = fleet_file(&answer(), &enrolled(), "imported");
    let text = write(&draft, "from a test");
    let (fleet, unwise) = Fleet::from_toml(&[("fleet.toml", &text)]).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert!(unwise.is_empty(), "{unwise:?}");
    assert_eq!((fleet.name.as_str(), fleet.version.to_string().as_str()), ("lab", "v1.36.3"));
    assert_eq!(fleet.api.to_string(), "k8s.lab:6443");
    let names: Vec<&str> = fleet.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["cp1", "pi-9", "w2"], "the roster's name where it has one");
    assert_eq!(fleet.nodes[0].kubelet_args, [("v".to_owned(), "4".to_owned())]);
    assert_eq!(fleet.nodes[0].taints, None, "kubeadm's own habit");
    assert_eq!(fleet.nodes[1].labels, BTreeMap::from([("lab/rack".to_owned(), "yes".to_owned())]));
    assert_eq!(fleet.nodes[2].taints.as_ref().unwrap().len(), 1, "{text}");
    let kubeadm = fleet.kubeadm.as_ref().unwrap();
    assert_eq!(kubeadm.api_server.extra_args.len(), 4, "{:?}", kubeadm.api_server.extra_args);
    assert_eq!(kubeadm.kubelet.config.keys().collect::<Vec<_>>(), ["cgroupDriver", "evictionHard"]);
    assert_eq!(kubeadm.proxy.config.keys().collect::<Vec<_>>(), ["conntrack", "mode"]);
    assert!(kubeadm.dns.disabled && !kubeadm.proxy.disabled);
    assert_eq!((fleet.machine.swap, fleet.machine.modules.as_deref()), (Some(Swap::Allowed), Some(&[][..])));
    for said in [
        "no agent runs on w2",
        "DaemonSet flannel",
        "static pod kube-system/kube-vip-cp1",
        "oidc-client-secret of apiServer: its value may be a secret",
        "2 other nodes",
        "label",
    ] {
        assert!(draft.unsaid.iter().any(|sentence| sentence.contains(said)), "{said}: {:#?}", draft.unsaid);
        assert!(text.contains(said), "{said} stands in the file");
    }
}

#[test]
fn a_cluster_of_several_servers_behind_one_of_them_is_told_and_its_file_is_read_all_the_same() {
    let mut several = answer();
    several.nodes.push(node("cp2", 12, true));
    several.nodes.push(node("cp3", 13, true));
    let Made::Kubeadm(settings) = &mut several.made;
    settings.endpoint = "10.0.0.12:6443".to_owned();
    let draft = fleet_file(&several, &enrolled(), "imported");
    let text = write(&draft, "from a test");
    let (fleet, unwise) = Fleet::from_toml(&[("fleet.toml", &text)]).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert!(fleet.kubeadm.is_none() && !unwise.is_empty());
    assert!(draft.unsaid.iter().any(|said| said.contains("[kubeadm] is left out")));
}

#[test]
fn a_cluster_without_an_endpoint_gets_the_address_of_its_server() {
    let mut lone = answer();
    let Made::Kubeadm(settings) = &mut lone.made;
    (settings.endpoint, settings.bind_port) = (String::new(), 7443);
    let text = write(&fleet_file(&lone, &enrolled(), "imported"), "from a test");
    let (fleet, _) = Fleet::from_toml(&[("fleet.toml", &text)]).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!((fleet.api.to_string().as_str(), fleet.kubeadm.unwrap().bind_port), ("10.0.0.11:7443", 7443));
}
