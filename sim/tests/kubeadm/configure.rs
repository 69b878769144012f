//! Changed settings of the fleet file come to a cluster that runs, and a second time nothing changes.

use hostler_plan::planner::{Intent, Selection};
use serde_json::Value;

use crate::{
    join,
    stand::{Ending, Stand},
    well,
};

/// All nodes, where the outage of every server is accepted.
pub(crate) fn configure(stand: &Stand, drains: bool) -> Intent {
    let accept_outage = stand.fleet.servers().iter().map(|server| server.name.clone()).collect();
    Intent::Configure { nodes: Selection::All, drains, accept_outage }
}

/// Settings of every kind that leave pods alone.
pub(crate) fn other_settings(text: String) -> String {
    text.replace(
        "[machine]\n",
        "cert_sans = [\"ops.lab\"]\n\
         [kubeadm.api_server]\nextra_args = { v = 4, audit-log-maxage = \"012\" }\n\
         [kubeadm.scheduler]\nextra_args = { v = \"yes\" }\n\
         [kubeadm.etcd]\nextra_args = { snapshot-count = 5000 }\n\
         [kubeadm.kubelet]\nextra_args = { v = 3 }\nconfig = { imageGCHighThresholdPercent = 90 }\n\
         [kubeadm.proxy]\nconfig = { mode = \"nftables\" }\n[machine]\n",
    )
}

fn grown(servers: usize, workers: usize) -> Stand {
    let mut stand = Stand::new(servers, workers);
    well(&mut stand, &Intent::Bootstrap {});
    if servers + workers > 1 {
        well(&mut stand, &join());
    }
    stand
}

fn differs(stand: &mut Stand) -> Vec<String> {
    let inspect = Intent::Inspect { nodes: Selection::All };
    well(stand, &inspect).iter().flat_map(|ending| ending.differs.clone()).collect()
}

/// A second plan may see a node Ready, and changes nothing.
fn is_done(stand: &mut Stand) {
    assert_eq!(differs(stand), Vec::<String>::new());
    let intent = configure(stand, false);
    let again = well(stand, &intent);
    let changed: Vec<&Ending> = again.iter().filter(|e| e.changed && !e.task.to_string().ends_with(".ready")).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

fn read(stand: &Stand, node: &str, path: &str) -> String {
    let world = stand.world.now();
    let machine = world.machine(&hostler_fixtures::name(node)).unwrap();
    machine.files.get(path).map_or_else(String::new, |file| String::from_utf8_lossy(&file.content).into_owned())
}

fn write(stand: &Stand, node: &str, path: &str, text: &str) {
    let mut world = stand.world.now();
    let files = &mut world.machine_mut(&hostler_fixtures::name(node)).unwrap().files;
    let mut file = files["/etc/kubernetes/admin.conf"].clone();
    file.content = text.into();
    files.insert(path.into(), file);
}

/// The snapshots of etcd on the first server.
fn snapshots(stand: &Stand) -> Vec<String> {
    let world = stand.world.now();
    let files = world.machine(&hostler_fixtures::name("s1")).unwrap().files.keys();
    files.filter(|path| path.contains("/change-") && path.ends_with(".db")).cloned().collect()
}

/// Where a server notes that a plan changes its settings.
const MARK: &str = "/etc/kubernetes/hostler-configuring";

/// The last task of a plan that did not succeed, and what it said.
fn refused(stand: &mut Stand, drains: bool) -> (String, String) {
    let intent = configure(stand, drains);
    let plan = stand.plan(&intent).unwrap();
    let endings = stand.perform(&plan);
    let last = endings.last().unwrap();
    assert!(!last.outcome.is_success(), "{endings:?}");
    (last.task.to_string(), last.outcome.to_string())
}

#[test]
fn settings_of_every_kind_come_to_every_node_once() {
    let mut stand = grown(3, 1);
    is_done(&mut stand);
    stand.rewrite(|text| {
        let text = other_settings(text);
        text.replace(
            "address = \"10.0.0.14\"",
            "address = \"10.0.0.14\"\nlabels = { disk = \"ssd\" }\n\
                      taints = [\"gpu=true:NoSchedule\"]",
        )
    });
    let found = differs(&mut stand);
    for expected in [
        "certificate of the API server: ops.lab is added",
        "etcd --snapshot-count: none -> 5000",
        "kube-apiserver --v: none -> 4",
        "kube-apiserver --audit-log-maxage: none -> 012",
        "kube-scheduler --v: none -> yes",
        "kubelet imageGCHighThresholdPercent: none -> 90",
        "kubelet --v: none -> 3",
        "kube-proxy mode:  -> nftables",
    ] {
        assert!(found.iter().any(|found| found.contains(expected)), "{expected}: {found:#?}");
    }
    let intent = configure(&stand, false);
    well(&mut stand, &intent);
    is_done(&mut stand);
    for server in ["s1", "s2", "s3"] {
        let manifest: Value =
            serde_json::from_str(&read(&stand, server, "/etc/kubernetes/manifests/kube-apiserver.yaml")).unwrap();
        let command = manifest["spec"]["containers"][0]["command"].to_string();
        assert!(command.contains("--v=4"), "{server}: {command}");
        assert!(read(&stand, server, "/etc/kubernetes/pki/apiserver.crt").contains("ops.lab"));
        assert_eq!(read(&stand, server, "/etc/kubernetes/hostler-before/kube-apiserver.yaml"), "");
    }
    let world = stand.world.now();
    let proxy = &world.kubeadm.objects["/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy"];
    assert!(proxy["spec"]["template"]["metadata"]["annotations"]["hostler.dev/configured"].is_string(), "{proxy}");
    let node = &world.kubeadm.objects["/api/v1/nodes/w1"];
    assert_eq!(node["metadata"]["labels"]["disk"], "ssd");
    assert_eq!(node["spec"]["taints"][0]["key"], "gpu");
    drop(world);
    // What the fleet file says no more goes.
    stand.rewrite(|text| text);
    let intent = configure(&stand, false);
    well(&mut stand, &intent);
    is_done(&mut stand);
    assert!(!read(&stand, "s2", "/etc/kubernetes/manifests/etcd.yaml").contains("snapshot-count"));
    assert!(stand.world.now().kubeadm.objects["/api/v1/nodes/w1"]["metadata"]["labels"]["disk"].is_null());
}

#[test]
fn an_argument_with_which_the_api_server_does_not_start_is_named_and_the_old_manifest_is_back() {
    let mut stand = grown(1, 1);
    let before = read(&stand, "s1", "/etc/kubernetes/manifests/kube-apiserver.yaml");
    let wrong = "[kubeadm.api_server]\nextra_args = { v = 4, no-such-flag = \"x\" }\n[machine]\n";
    stand.rewrite(|text| text.replace("[machine]\n", wrong));
    let (task, said) = refused(&mut stand, false);
    assert_eq!(task, "s1.configure");
    let expected = "kube-apiserver did not start with --no-such-flag=x: Error: unknown flag: --no-such-flag; its old \
                    manifest is back";
    assert!(said.contains(expected), "{said}");
    assert_eq!(read(&stand, "s1", "/etc/kubernetes/manifests/kube-apiserver.yaml"), before);
    let world = stand.world.now();
    let noted = world.kubeadm.objects["/api/v1/namespaces/kube-system/configmaps/kubeadm-config"].to_string();
    assert!(!noted.contains("no-such-flag"), "{noted}");
    drop(world);
    assert_eq!(read(&stand, "s1", MARK), "");
    // What the plan before left behind takes no guard from the next one.
    for left in ["", "of a plan before"] {
        write(&stand, "s1", MARK, left);
        stand.rewrite(|text| text.replace("10.244.0.0/16", "10.245.0.0/16"));
        let (task, said) = refused(&mut stand, false);
        assert!(task == "s1.configure" && said.contains("networking.podSubnet as the cluster was made"), "{said}");
    }
    stand.rewrite(other_settings);
    let intent = configure(&stand, false);
    write(&stand, "s1", MARK, "of a plan before");
    let snapshots = snapshots(&stand);
    well(&mut stand, &intent);
    assert_ne!(snapshots, self::snapshots(&stand), "another plan's mark spares nobody the snapshot");
    assert_eq!(read(&stand, "s1", MARK), "");
    is_done(&mut stand);
}

#[test]
fn a_setting_that_turns_pods_away_asks_for_a_drain_before_anything_changes() {
    let mut stand = grown(1, 1);
    stand.rewrite(|text| text.replace("[machine]\n", "[kubeadm.kubelet]\nconfig = { maxPods = 50 }\n[machine]\n"));
    let (task, said) = refused(&mut stand, false);
    assert_eq!(task, "s1.configure");
    assert!(said.contains("maxPods: none -> 50") && said.contains("`hostler plan configure s1 --drain`"), "{said}");
    let intent = configure(&stand, true);
    well(&mut stand, &intent);
    is_done(&mut stand);
    assert!(read(&stand, "w1", "/var/lib/kubelet/config.yaml").contains("50"));
}

#[test]
fn the_endpoint_moves_with_every_kubeconfig_once_every_node_reaches_the_new_one() {
    let mut stand = grown(1, 1);
    let rewritten = |to: &str, text: String| text.replace("api = \"k8s.lab:6443\"", &format!("api = \"{to}\""));
    let before = stand.world.now().kubeadm.objects.clone();
    stand.rewrite(|text| rewritten("gone.invalid:6443", text));
    let (task, said) = refused(&mut stand, false);
    assert_eq!(task, "s1.reach");
    assert!(said.contains("failed to lookup address information"), "{said}");
    assert_eq!(stand.world.now().kubeadm.objects, before);
    stand.rewrite(|text| rewritten("vip.lab:8443", text));
    let intent = configure(&stand, false);
    well(&mut stand, &intent);
    is_done(&mut stand);
    for (node, file) in [("s1", "admin"), ("s1", "super-admin"), ("w1", "kubelet")] {
        let text = read(&stand, node, &format!("/etc/kubernetes/{file}.conf"));
        assert!(text.contains("https://vip.lab:8443"), "{node} {file}: {text}");
    }
    let own = read(&stand, "s1", "/etc/kubernetes/scheduler.conf");
    assert!(own.contains("https://10.0.0.11:6443"), "what leads to its own API server stays: {own}");
    // Until every node has moved, and after it, the old one counts too.
    let certificate = read(&stand, "s1", "/etc/kubernetes/pki/apiserver.crt");
    assert!(certificate.contains("k8s.lab") && certificate.contains("vip.lab"), "{certificate}");
    let objects = stand.world.now().kubeadm.objects.clone();
    for map in [
        "kube-public/configmaps/cluster-info",
        "kube-system/configmaps/kube-proxy",
        "kube-system/configmaps/kubeadm-config",
    ] {
        let text = objects[&format!("/api/v1/namespaces/{map}")].to_string();
        assert!(text.contains("vip.lab:8443") && !text.contains("k8s.lab"), "{map}: {text}");
    }
}

#[test]
fn what_stays_for_ever_is_refused_with_what_it_would_take() {
    let mut stand = grown(1, 0);
    stand.rewrite(|text| text.replace("10.244.0.0/16", "10.245.0.0/16"));
    let (task, said) = refused(&mut stand, false);
    assert_eq!(task, "s1.configure");
    assert!(said.contains("networking.podSubnet as the cluster was made with, 10.244.0.0/16"), "{said}");
    stand.rewrite(|text| text.replace("address = \"10.0.0.11\"", "address = \"10.0.0.99\""));
    let (_, said) = refused(&mut stand, false);
    assert!(said.contains("10.0.0.99"), "{said}");
}
