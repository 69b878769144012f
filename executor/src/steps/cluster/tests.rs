//! A server reads its cluster, of a double that answers as API servers were seen to: nothing that may be a secret is in
//! the answer, and nobody but the one who asked opens it.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hostler_plan::{
    document::{Outcome, PlanKind, Receipt},
    id::Digest,
    import::{Answer, MAX_ANSWER_BYTES, READ_DIGEST, READ_SEALED},
    json,
    step::{Step, cluster},
};
use hostler_seal::{Identity, open_letter};
use serde_json::{Value, json};

use crate::{
    protocol::Request,
    testing::{Fleet, Machine, TestAdministrator},
};

const SECRET: &str = "hunter2-never-told";

fn config_map(name: &str, key: &str, content: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "namespace": "kube-system", "name": name },
        "data": { key: content, "notes": SECRET } })
}

fn node(name: &str, labels: Value, taints: Value) -> Value {
    json!({ "metadata": { "name": name, "labels": labels, "annotations": { "note": SECRET } },
        "spec": { "taints": taints, "providerID": SECRET },
        "status": { "addresses": [{ "type": "InternalIP", "address": "10.0.0.11" },
                { "type": "Hostname", "address": name }],
            "nodeInfo": { "architecture": "arm64", "kubeletVersion": "v1.36.3",
                "containerRuntimeVersion": "containerd://2.1.4" } } })
}

/// A cluster of two, with secrets wherever people leave them.
fn cluster() -> TestAdministrator {
    let cluster = TestAdministrator::default();
    cluster.page("/version", json!({ "gitVersion": "v1.36.3" }).to_string());
    let server = json!({ "node-role.kubernetes.io/control-plane": "", "lab/rack": "a" });
    let taint = json!([{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }]);
    let nodes = json!({ "items": [node("w1", server, taint), node("w2", json!({}), json!([]))] });
    cluster.page("/api/v1/nodes", nodes.to_string());
    cluster.put(config_map(
        "kubeadm-config",
        "ClusterConfiguration",
        &format!(
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nclusterName: lab\n\
         kubernetesVersion: v1.36.3\ncontrolPlaneEndpoint: k8s.lab:6443\n\
         networking: {{podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/12, dnsDomain: cluster.local}}\n\
         apiServer:\n  certSANs: [k8s.lab]\n  extraArgs:\n  - {{name: oidc-client-secret, value: {SECRET}}}\n  \
         - {{name: audit-log-path, value: /var/log/audit.log}}\n  extraEnvs:\n  \
         - {{name: HTTPS_PROXY, value: 'http://ada:{SECRET}@proxy:1'}}\n\
         etcd:\n  external:\n    endpoints: ['https://u:{SECRET}@db.lab:2379']\n    keyFile: /etc/db.key\n\
         surprise: {SECRET}\n"
        ),
    ));
    cluster.put(config_map(
        "kubelet-config",
        "kubelet",
        &format!(
            "kind: KubeletConfiguration\nmaxPods: 50\nstaticPodURL: http://{SECRET}\n\
                 staticPodURLHeader: {{A: [{SECRET}]}}\n"
        ),
    ));
    let daemon = |name: &str| {
        json!({ "metadata": { "namespace": "kube-system", "name": name },
        "spec": { "template": { "spec": { "containers": [{ "image": "x:1", "env": [{ "value": SECRET }] }] } } } })
    };
    cluster.page("/apis/apps/v1/daemonsets", json!({ "items": [daemon("kube-proxy"), daemon("flannel")] }).to_string());
    cluster.page("/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy", "{}");
    cluster.put(config_map("kube-proxy", "config.conf", "mode: nftables\nclientConnection: {kubeconfig: /x}\n"));
    let pod = |name: &str| {
        json!({ "metadata": { "name": name,
            "annotations": { "kubernetes.io/config.mirror": "1" } }, "spec": { "nodeName": "w1" } })
    };
    let pods = json!({ "items": [pod("etcd-w1"), pod("kube-vip-w1")] });
    cluster.page("/api/v1/namespaces/kube-system/pods", pods.to_string());
    cluster
}

fn machine(fleet: &Fleet, cluster: TestAdministrator) -> Arc<Machine> {
    let mut machine = Machine::new(fleet.now.plus(std::time::Duration::from_secs(60)));
    machine.administrator = Some(Arc::new(cluster));
    {
        let mut inner = machine.inner();
        inner.put(
            "/var/lib/kubelet/kubeadm-flags.env",
            format!("KUBELET_KUBEADM_ARGS=\"--v=2 --auth-token={SECRET}\"\n"),
        );
        inner.put(
            "/etc/containerd/config.toml",
            format!(
                "[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = 'pause:3.10'\n\
                      [plugins.'io.containerd.cri.v1.images'.registry.configs.'r'.auth]\npassword = '{SECRET}'\n"
            ),
        );
        let secret = format!("[header]\nAuthorization = \"Basic {SECRET}\"\n");
        inner.put("/etc/containerd/certs.d/docker.io/hosts.toml", secret);
        inner.put("/etc/containerd/certs.d/quay.io/hosts.toml", "server = 'https://quay.io'\n");
        inner.packages.insert("kubelet".into(), "1.36.3-1.1".into());
    }
    Arc::new(machine)
}

fn ask(fleet: &Fleet, machine: &Arc<Machine>, identity: &Identity) -> Receipt {
    let steps = vec![Step::ReadCluster(cluster::Read { to: identity.recipient() })];
    let plan = fleet.plan(1, steps, |plan| {
        plan.kind = PlanKind::Inspect;
        plan.tasks[0].disrupts = false;
    });
    let before = machine.inner().files.clone();
    let (executor, sender, status, _disk) = fleet.executor(machine).unwrap();
    let granted = Request::Grant(Fleet::grant(&plan, "w1.work", 1).into());
    for request in [Request::Plan(plan.clone()), granted] {
        sender.offer(request).unwrap();
    }
    executor.run_until_idle().unwrap();
    let content = status.content();
    assert!(content.refusals.is_empty());
    let receipts: Vec<Receipt> = content.receipts.iter().map(|r| json::parse(&r.bytes).unwrap()).collect();
    assert!(machine.inner().files == before && machine.inner().acts.is_empty(), "nothing is touched");
    receipts.into_iter().find(|receipt| receipt.plan == plan.digest()).unwrap()
}

#[test]
fn a_server_reads_its_cluster_for_the_one_who_asks_and_no_secret_comes_along() {
    let (fleet, identity) = (Fleet::new(), Identity::generate());
    let receipt = ask(&fleet, &machine(&fleet, cluster()), &identity);
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    assert!(receipt.steps.iter().all(|step| !step.changed));
    let sealed = STANDARD.decode(receipt.observation(READ_SEALED).unwrap()).unwrap();
    assert!(open_letter(&Identity::generate(), &*sealed, MAX_ANSWER_BYTES).is_err(), "another one asked");
    let opened = open_letter(&identity, &*sealed, MAX_ANSWER_BYTES).unwrap();
    assert_eq!(receipt.observation(READ_DIGEST), Some(&*Digest::of(&opened).to_string()));
    let text = String::from_utf8(opened.clone()).unwrap();
    assert!(!text.contains(SECRET), "{text}");
    let answer: Answer = json::parse(&opened).unwrap();
    let settings = answer.settings();
    assert_eq!((answer.nodes.len(), answer.nodes[0].is_server, answer.nodes[1].is_server), (2, true, false));
    assert_eq!(answer.nodes[0].addresses, ["10.0.0.11"]);
    assert_eq!((settings.endpoint.as_str(), settings.pod_network.as_str()), ("k8s.lab:6443", "10.244.0.0/16"));
    assert_eq!(settings.programs["api_server"].args, [("audit-log-path".into(), "/var/log/audit.log".into())]);
    assert_eq!(settings.etcd.external, ["db.lab:2379"]);
    assert_eq!(settings.kubelet.get("maxPods"), Some(&json!(50)));
    assert_eq!(settings.proxy.get("mode"), Some(&json!("nftables")));
    assert_eq!((settings.has_proxy, settings.has_dns), (true, false));
    assert_eq!(settings.kubelet_args, [("v".into(), "2".into())]);
    assert_eq!(answer.machine.sandbox_image, "pause:3.10");
    let registries = ["docker.io (asked with credentials)", "quay.io", "r (asked with credentials)"];
    assert_eq!(answer.machine.registries, registries);
    assert_eq!(answer.machine.packages.get("kubelet").map(String::as_str), Some("1.36.3-1.1"));
    assert_eq!(answer.addons.iter().map(|addon| addon.name.as_str()).collect::<Vec<_>>(), ["flannel"]);
    assert_eq!(answer.static_pods, ["kube-system/kube-vip-w1"]);
    for masked in ["argument oidc-client-secret of apiServer", "variable HTTPS_PROXY of apiServer"] {
        assert!(answer.masked.iter().any(|found| found == masked), "{masked}: {:?}", answer.masked);
    }
    for name in ["staticPodURLHeader of KubeletConfiguration", "surprise of ClusterConfiguration"] {
        assert!(answer.left_out.iter().any(|found| found == name), "{name}: {:?}", answer.left_out);
    }
}

#[test]
fn what_cannot_be_read_is_said_and_the_task_fails() {
    let identity = Identity::generate();
    let fleet = Fleet::new();
    let reason = |receipt: Receipt| {
        let Outcome::Failed { reason } = receipt.outcome else { panic!("{}", receipt.outcome) };
        reason
    };
    let empty = machine(&fleet, TestAdministrator::default());
    assert!(reason(ask(&fleet, &empty, &identity)).contains("no ConfigMap kube-system/kubeadm-config"));
    let broken = cluster();
    broken.put(config_map("kubelet-config", "kubelet", &format!("{SECRET}: [")));
    let fleet = Fleet::new();
    let said = reason(ask(&fleet, &machine(&fleet, broken), &identity));
    assert!(said.contains("its kubelet is no YAML") && !said.contains(SECRET), "{said}");
    let many = cluster();
    let nodes: Vec<Value> = (0..1001).map(|i| node(&format!("n{i}"), json!({}), json!([]))).collect();
    many.page("/api/v1/nodes", json!({ "items": nodes }).to_string());
    let fleet = Fleet::new();
    assert!(reason(ask(&fleet, &machine(&fleet, many), &identity)).contains("more than 1000 objects"));
}

#[test]
fn of_more_than_is_looked_at_the_rest_is_named_and_the_import_goes_on() {
    let (fleet, identity) = (Fleet::new(), Identity::generate());
    let many = cluster();
    let deployment = |i: usize| json!({ "metadata": { "namespace": "kube-system", "name": format!("d{i:03}") } });
    let path = "/apis/apps/v1/namespaces/kube-system/deployments";
    many.page(path, json!({ "items": (0..201).map(deployment).collect::<Vec<_>>() }).to_string());
    let pods: Vec<Value> = (0..5001).map(|i| json!({ "metadata": { "name": format!("p{i}") } })).collect();
    many.page("/api/v1/namespaces/kube-system/pods", json!({ "items": pods }).to_string());
    let receipt = ask(&fleet, &machine(&fleet, many), &identity);
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    let sealed = STANDARD.decode(receipt.observation(READ_SEALED).unwrap()).unwrap();
    let answer: Answer = json::parse(&open_letter(&identity, &*sealed, MAX_ANSWER_BYTES).unwrap()).unwrap();
    assert_eq!(answer.addons.iter().filter(|addon| addon.kind == "Deployment").count(), 200);
    for words in ["every Deployment after the first 200", "every pod of kube-system after the first 5000"] {
        assert!(answer.left_out.iter().any(|said| said.contains(words)), "{words}: {:?}", answer.left_out);
    }
}
