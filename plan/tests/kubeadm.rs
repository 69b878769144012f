//! Fleets that kubeadm makes: what is read, and every fleet that cannot work with the sentence that helps.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use hostler_plan::{
    cluster::Effect,
    fleet::{Fleet, Problem, Swap},
};

const RACK: &str = include_str!("../../examples/kubeadm-ha.toml");

fn read(text: &str) -> Result<(Fleet, Vec<Problem>), String> {
    Fleet::from_toml(&[("fleet.toml", text)]).map_err(|e| e.to_string())
}

#[test]
fn the_example_is_read_whole() {
    let (fleet, warnings) = read(RACK).unwrap();
    assert_eq!(warnings, []);
    let kubeadm = fleet.kubeadm.as_ref().unwrap();
    assert_eq!(kubeadm.pod_network[0].to_string(), "10.244.0.0/16");
    assert_eq!(kubeadm.api_server.extra_args, [("shutdown-delay-duration".to_owned(), "10s".to_owned())]);
    let pi = fleet.nodes.iter().find(|n| n.name.as_str() == "pi-1").unwrap();
    assert_eq!(pi.taints.as_ref().unwrap()[0].effect, Effect::PreferNoSchedule);
    let machine = fleet.machine(pi);
    assert_eq!(machine.swap, Some(Swap::Off));
    assert_eq!(machine.kubelet_args[0].1, "cpu=200m,memory=256Mi", "a group's goes over the fleet's");
    assert_eq!(machine.container_runtime.sandbox_image.as_deref(), Some("registry.k8s.io/pause:3.10.2"));
}

#[test]
fn the_example_of_a_course_lacks_nothing_but_its_lock() {
    let course = include_str!("../../examples/jupyterhub.toml");
    let (fleet, warnings) = Fleet::without_lock(("fleet.toml", course)).unwrap();
    assert_eq!((fleet.nodes.len(), warnings.len()), (5, 0));
    let manifests: Vec<_> = fleet.missing_manifests().collect();
    assert_eq!(manifests, ["calico.yaml", "metallb-native.yaml", "metallb-pool.yaml"]);
    let why = read(course).unwrap_err();
    assert!(why.contains("found \"calico.yaml\"; lock it: hostler artifact lock calico.yaml"), "{why}");
}

#[test]
fn a_balancer_that_cannot_work_is_refused_with_the_sentence_that_helps() {
    let lab = include_str!("../../examples/kubeadm-balancer.toml");
    let (fleet, warnings) = read(lab).unwrap();
    assert_eq!(warnings, []);
    let balancer = fleet.balancer.unwrap();
    assert_eq!((balancer.address.to_string().as_str(), balancer.router_id), ("192.168.1.10", 51));
    for (written, instead, expected) in [
        ("address = \"192.168.1.10\"", "address = \"lb\"", "at which machines are reached, found \"lb\""),
        (
            "address = \"192.168.1.10\"",
            "address = \"10.96.0.9\"",
            "[balancer] address: 10.96.0.9 is in service_network",
        ),
        ("address = \"192.168.1.10\"", "address = \"127.0.0.1\"", "machines are reached, found \"127.0.0.1\""),
        ("\"eth0\"", "\"eth0@if3\"", "before any '@', of at most 15 letters"),
        ("\"eth0\"", "\"eth0\"\nnodes = [\"s4\"]", "nodes: expected nodes of this file, found \"s4\"; write \"s1\""),
        ("\"eth0\"", "\"eth0\"\nnodes = [\"s2\", \"s2\"]", "[balancer] nodes: s2 stands twice; remove one"),
        ("address = \"192.168.1.10\"", "address = \"192.168.1.12\"", "192.168.1.12 is s2 alone; write one that no"),
        ("address = \"192.168.1.10\"", "address = \"fd00::1\"", "is of another family than s1 (192.168.1.11)"),
        ("\"eth0\"", "\"eth0; reboot\"", "[balancer] interface: expected a name as `ip link` shows it"),
        ("\"eth0\"", "\"eth0\"\nrouter_id = 256", "[balancer] router_id: expected 1 to 255, found 256"),
        ("bind_port = 6444\n", "", "HAProxy listens on port 6443 of every server, and so do the API servers"),
        ("address = \"192.168.1.13\"\n", "", "[balancer]: s3 has no address; write it"),
        ("interface = ", "interfaces = ", "write \"interface\" if that is meant"),
    ] {
        assert!(lab.contains(written), "{written}");
        let why = read(&lab.replacen(written, instead, 1)).unwrap_err();
        assert!(why.contains(expected), "{expected}: {why}");
    }
    let nowhere = lab.replace("[\"k8s.lab\"] }", "[\"other.lab\"] }");
    let (_, warnings) = read(&nowhere).unwrap();
    assert!(warnings[0].message.contains("nothing in this file says that k8s.lab is 192.168.1.10"), "{warnings:?}");
}

#[test]
fn a_cluster_is_left_to_a_manifest_that_is_locked_and_applied_once() {
    let gitops = format!("{RACK}\n[handover]\nmanifest = \"flux.yaml\"\n");
    let why = read(&gitops).unwrap_err();
    assert!(why.contains("[handover] manifest: expected an artifact of kind manifest, found \"flux.yaml\""), "{why}");
    let (fleet, _) = Fleet::without_lock(("fleet.toml", &gitops)).unwrap();
    assert_eq!(fleet.missing_manifests().collect::<Vec<_>>(), ["flux.yaml"]);
    assert!(
        read(&gitops.replace("manifest =", "manifests =")).unwrap_err().contains("write \"manifest\" if that is meant")
    );
}

/// Each: what is written instead of what, and what is said.
const REFUSED: &[(&str, &str, &str)] = &[
    // Networks.
    ("10.96.0.0/12", "10.244.128.0/20", "pod_network 10.244.0.0/16 and service_network 10.244.128.0/20 overlap"),
    ("10.244.0.0/16", "10.244.3.0/16", "its address is not the first one of the network; write 10.244.0.0/16"),
    ("10.244.0.0/16", "10.244.0.0", "expected an address and how many of its bits count"),
    ("10.244.0.0/16", "10.244.0.0/22", "has 4 parts of /24, one for each node, and the fleet has 5 nodes"),
    ("10.96.0.0/12", "10.0.0.0/8", "kubeadm takes /12 to /28"),
    ("10.244.0.0/16", "192.168.0.0/16", "node s1: 192.168.1.11 is in pod_network 192.168.0.0/16; choose another"),
    ("api = \"k8s.lab:6443\"", "api = \"10.96.0.10:6443\"", "api: 10.96.0.10 is in service_network 10.96.0.0/12"),
    ("10.244.0.0/16", "fd00::/48", "pod_network is of IPv6 and service_network of IPv4; write both"),
    ("10.244.0.0/16", "10.244.0.0/16,10.200.0.0/16", "expected one network, or one of IPv4 and one of IPv6"),
    ("192.168.1.22", "fd00::22", "node pi-1: fd00::22 is of another family than service_network, which is of IPv4"),
    // Where things are.
    ("192.168.1.12", "192.168.1.11", "node s2: 192.168.1.11 is the address of s1 too; correct one"),
    ("192.168.1.12", "127.0.1.1", "node s2: address: expected one at which the other nodes reach it"),
    ("api = \"k8s.lab:6443\"", "api = \"192.168.1.11:6443\"", "api: 192.168.1.11 is s1 alone, and the cluster has 3"),
    ("api = \"k8s.lab:6443\"", "api = \"s2:6443\"", "without it nothing reaches the others; write a name or address"),
    ("api = \"k8s.lab:6443\"", "api = \"w1:6443\"", "api: w1 is the worker w1, where no API server runs"),
    ("api = \"k8s.lab:6443\"", "api = \"localhost:6443\"", "api: every node takes localhost for itself"),
    // Nodes.
    ("board=pi:PreferNoSchedule", "board=pi:PreferNoSchedul", "write PreferNoSchedule if that is meant"),
    ("board=pi:PreferNoSchedule", "board=pi:Never", "expected an effect of NoSchedule, PreferNoSchedule, NoExecute"),
    ("board=pi:PreferNoSchedule", "board", "expected KEY=VALUE:EFFECT or KEY:EFFECT, found no ':'"),
    ("{ system-reserved = \"cpu=200m,memory=256Mi\" }", "{ v = { } }", "argument \"v\" has the value {}; write text"),
    ("{ system-reserved = \"cpu=200m,memory=256Mi\" }", "{ --v = 2 }", "write it without the dashes before it"),
    // The machine.
    ("swap = \"off\"", "swap = \"none\"", "[machine] swap: expected \"off\" or \"allowed\", found \"none\""),
    ("swap = \"off\"", "swop = \"off\"", "unknown key \"swop\" in [machine]; write \"swap\" if that is meant"),
    ("swap = \"off\"", "modules = [\"../x\"]", "[machine] kernel module expected 1 to 64 letters"),
    ("swap = \"off\"", "sysctl = { \"k\" = 1 }", "[machine] sysctl key expected at least two names"),
    ("swap = \"off\"", "files.\"etc/x\".content = \"a\"", "[machine] file path expected an absolute path"),
    ("\"192.168.1.10\" = [", "\"k8s\" = [", "hosts: expected an address and its names such as"),
    ("[\"k8s.lab\"] }", "[\"k8s.lab\"], \"192.168.1.9\" = [\"k8s.lab\"] }", "hosts: k8s.lab is 192.168.1.10 and"),
    ("time_sync = true", "time_sync = 1", "time_sync: expected true or a unit such as \"chrony.service\", found 1"),
    ("https://mirror.lab", "mirror.lab", "registry \"docker.io\": expected a mirror such as"),
    ("mirrors = ", "ca = \"x\"\nmirrors = ", "its ca is no certificate; write the PEM text"),
    // What registries are asked with.
    (
        "mirrors = ",
        "password = \"hunter2\"\nmirrors = ",
        "a registry: password is no key of it. The fleet file is kept",
    ),
    (
        "mirrors = ",
        "credentials = { user = \"a\", password = \"hunter2\" }\nmirrors = ",
        "user stands in the fleet file",
    ),
    ("mirrors = ", "credentials = \"user = \\\"a\\\"\"\nmirrors = ", "expected a file for the registry itself"),
    ("mirrors = ", "credentials = 7\nmirrors = ", "credentials = \"FILE\", or a table with one for each who is asked"),
    (
        "mirrors = ",
        "credentials = { \"https://miror.lab\" = \"hub.toml\" }\nmirrors = ",
        "who are asked, \"https://mirror.lab:5000\", \"docker.io\", found \"https://miror.lab\"; correct it",
    ),
    ("https://mirror.lab", "https://ana:hunter2@mirror.lab", "a mirror is written with a user in front of '@'"),
    ("\"docker.io\"]", "\"docker.io/library\"]", "expected a host such as \"docker.io\" or \"registry.lab:5000\""),
    (
        "[machine.container_runtime.registries.",
        "[machine.container_runtime.config.plugins.x.registry.configs.y.auth]\npassword = \"hunter2\"\n\
         [machine.container_runtime.registries.",
        "container_runtime: its config holds what registries are asked with; remove it. The fleet file",
    ),
    (
        "swap = \"off\"",
        "files.\"/etc/containerd/certs.d/quay.io/hosts.toml\".content = \"[header]\\nauthorization = 'hunter2'\"",
        "files: /etc/containerd/certs.d/quay.io/hosts.toml holds what registries are asked with; remove it",
    ),
    (
        "swap = \"off\"",
        "files.\"/var/lib/kubelet/config.json\".content = \"{\\\"auths\\\": \\\"hunter2\\\"}\"",
        "files: /var/lib/kubelet/config.json holds what registries are asked with",
    ),
    // kubeadm's.
    ("cert_sans", "cert_san", "unknown key \"cert_san\" in [kubeadm]; write \"cert_sans\" if that is meant"),
    (
        "cert_sans",
        "manifests = [\"cni\"]\ncert_sans",
        "manifests: expected an artifact of kind manifest, found \"cni\"",
    ),
    ("cert_sans", "skip_phases = [\"addons\"]\ncert_sans", "found \"addons\"; write \"addon\" if that is meant"),
    ("cert_sans", "ignore_preflight = [\"all\", \"Swap\"]\ncert_sans", "\"all\" stands alone"),
    ("cert_sans", "bind_port = 70000\ncert_sans", "bind_port: expected 1 to 65535, found 70000"),
    (
        "[kubeadm.kubelet.config]",
        "[kubeadm.cluster]\nclusterName = \"x\"\n[kubeadm.kubelet.config]",
        "write name at the top",
    ),
    ("maxPods = 60", "failSwapOn = false", "Hostler writes failSwapOn itself; write swap in [machine]"),
    (
        "[kubeadm.kubelet.config]",
        "[kubeadm.patches]\nkube-apiserv = { }\n[kubeadm.kubelet.config]",
        "patch \"kube-apiserv\": expected a target of kube-apiserver",
    ),
    (
        "[kubeadm.kubelet.config]",
        "[kubeadm.patches]\nkube-apiserver = \"spec: {\"\n[kubeadm.kubelet.config]",
        "patch \"kube-apiserver\": it is no JSON (expected value at line 1 column 1); write it as a table",
    ),
    (
        "[kubeadm.kubelet.config]",
        "[kubeadm.patches]\n\"etcd+jsn\" = []\n[kubeadm.kubelet.config]",
        "expected a type of strategic, merge, json, found \"jsn\"; write \"json\" if that is meant",
    ),
    (
        "[kubeadm.kubelet.config]",
        "[kubeadm.patches]\n\"etcd+json\" = { }\n[kubeadm.kubelet.config]",
        "expected a list of operations, as a patch of type json is",
    ),
];

#[test]
fn every_fleet_that_cannot_work_has_its_sentence() {
    for (from, to, expected) in REFUSED {
        assert!(RACK.contains(from), "{from:?} is not in the example");
        let message = read(&RACK.replacen(from, to, 1)).expect_err(to);
        assert!(message.starts_with("fleet.toml:"), "{to}: no place in {message}");
        assert!(message.contains(expected), "{to}\n  expected: {expected}\n  found: {message}");
        assert!(!message.contains("hunter2"), "{to}: a secret is repeated: {message}");
    }
}

#[test]
fn credentials_are_named_by_their_files_and_go_to_nobody_else() {
    let both =
        "credentials = { \"docker.io\" = \"hub.toml\", \"https://mirror.lab:5000\" = \"mirror.toml\" }\nmirrors = ";
    let (fleet, warnings) = read(&RACK.replacen("mirrors = ", both, 1)).unwrap();
    assert_eq!(warnings, []);
    let (name, registry) = fleet.machine.container_runtime.registries.first_key_value().unwrap();
    let files: Vec<_> = registry.credentials.iter().map(|(url, file)| (url.as_str(), file.as_str())).collect();
    assert_eq!(files, [("https://mirror.lab:5000", "mirror.toml"), ("https://registry-1.docker.io", "hub.toml")]);
    assert!(registry.hosts(name).iter().all(|host| host.credentials && !host.ca));
    let itself = RACK.replacen("mirrors = ", "credentials = \"hub.toml\"\nmirrors = ", 1);
    let registries = read(&itself).unwrap().0.machine.container_runtime.registries;
    let hosts = registries.iter().flat_map(|(name, registry)| registry.hosts(name));
    let with: Vec<bool> = hosts.map(|host| host.credentials).collect();
    assert_eq!(with, [false, true], "a mirror is not asked with what is the registry's");
    let open = both.replace("https://mirror", "http://mirror");
    let (_, warnings) =
        read(&RACK.replace("https://mirror", "http://mirror").replacen("mirrors = ", &open, 1)).unwrap();
    assert!(warnings[0].message.contains("everybody on the way to http://mirror.lab:5000 can read"), "{warnings:?}");
    let written = "swap = \"off\"\nfiles.\"/etc/containerd/certs.d/docker.io/hosts.toml\".content = \"x\"";
    let message = read(&itself.replacen("swap = \"off\"", written, 1)).unwrap_err();
    assert!(message.contains("is written with the credentials of its registry; write them both through"), "{message}");
}

#[test]
fn a_registry_without_mirrors_is_judged_by_its_own_authority() {
    let ca = "ca = \"-----BEGIN CERTIFICATE-----\"\nmirrors = ";
    let judged = |text: &str| {
        let registries = read(text).unwrap().0.machine.container_runtime.registries;
        let hosts = registries.iter().flat_map(|(name, registry)| registry.hosts(name));
        hosts.map(|host| (host.url.to_string(), host.ca)).collect::<Vec<_>>()
    };
    let mirrored = RACK.replacen("mirrors = ", ca, 1);
    let (mirror, hub) = ("https://mirror.lab:5000".to_owned(), "https://registry-1.docker.io".to_owned());
    assert_eq!(judged(&mirrored), [(mirror, true), (hub.clone(), false)]);
    assert_eq!(judged(&mirrored.replacen("[\"https://mirror.lab:5000\"]", "[]", 1)), [(hub, true)]);
}

#[test]
fn a_cluster_that_hostler_did_not_make_is_worked_on_whatever_its_endpoint() {
    let lab = include_str!("../../examples/kubeadm-lab.toml");
    let (fleet, warnings) = read(&lab.replacen("role = \"worker\"", "role = \"server\"", 2)).unwrap();
    assert!(fleet.kubeadm.is_none());
    assert!(warnings.iter().any(|w| w.message.starts_with("api: cp1 is cp1 alone")), "{warnings:?}");
}

#[test]
fn manifests_in_a_lock_are_not_missed_by_who_holds_no_lock() {
    let fleet = RACK.replacen("cert_sans", "manifests = [\"cni.yaml\"]\ncert_sans", 1);
    assert!(read(&fleet).unwrap_err().contains("found \"cni.yaml\""));
    let (fleet, _) = Fleet::without_lock(("fleet.toml", &fleet)).unwrap();
    assert_eq!(fleet.kubeadm.unwrap().manifests, ["cni.yaml"]);
}

#[test]
fn another_distribution_knows_nothing_of_it() {
    let small = format!("{}\n[kubeadm]\n", include_str!("../../examples/small.toml"));
    let message = read(&small).expect_err("not K3s'");
    assert!(message.contains("[kubeadm]: the distribution is k3s, which knows nothing of it"), "{message}");
}

#[test]
fn what_only_kubeadm_is_told_is_refused_elsewhere() {
    let small = include_str!("../../examples/small.toml");
    let runtime = "[machine]\nkubelet_args = { v = 2 }\n[machine.container_runtime]\nsandbox_image = \"x\"\n";
    let message = read(&format!("{small}\n{runtime}")).expect_err("K3s has its own");
    assert_eq!(message.lines().count(), 2, "{message}");
    assert!(
        message.contains("kubelet_args: only kubeadm is told of it, found the distribution k3s; remove it"),
        "{message}"
    );
    let message = read(&format!("{small}\n[snapshots]\nkeep = 3\n")).expect_err("K3s takes its own");
    assert!(message.contains("[snapshots]: only kubeadm is told of it"), "{message}");
    let kernel = read(&format!("{small}\n[machine]\nmodules = [\"overlay\"]\nswap = \"off\"\n")).unwrap().0;
    assert_eq!(kernel.machine.swap, Some(Swap::Off));
}

#[test]
fn the_fleet_of_the_labs_life_is_one() {
    let life = include_str!("../../tests/lab/config/life-fleet.toml");
    let life = life.replace("@VERSION@", "v1.36.3").replace("@ENDPOINT@", "10.87.0.11").replace("@SANDBOX@", "pause:1");
    let life =
        life.replace("@SOAK@", "10").replace("@API@", "k8s.lab:6443").replace("@SAN@", "").replace("@KUBELET@", "");
    let rest = "[[nodes]]\nname = \"cp1\"\nrole = \"server\"\narch = \"x86_64\"\naddress = \"10.87.0.11\"\n\
        group = \"nspawn\"\ntaints = []\n[kubeadm.dns]\ndisabled = true\n[[artifacts]]\nname = \"flannel.yaml\"\n\
        kind = \"manifest\"\npath = \"x\"\nsize = 1\nsha256 = \"";
    let (fleet, warnings) = read(&format!("{life}\n{rest}{}\"\n", "0".repeat(64))).unwrap();
    assert_eq!((warnings, fleet.nodes[0].taints.as_deref()), (Vec::new(), Some(&[][..])));
}

#[test]
fn two_families_are_written_together() {
    let both = RACK
        .replacen("10.244.0.0/16", "10.244.0.0/16,fd01::/48", 1)
        .replacen("10.96.0.0/12", "10.96.0.0/12, fd02::/112", 1)
        .replacen("192.168.1.22", "fd00::22", 1);
    let (fleet, warnings) = read(&both).unwrap();
    assert_eq!((fleet.kubeadm.unwrap().service_network.len(), warnings), (2, Vec::new()));
    // Of the first family are the servers, whose API servers do not start otherwise.
    let turned = both.replacen("10.96.0.0/12, fd02::/112", "fd02::/112,10.96.0.0/12", 1);
    let why = read(&turned).unwrap_err();
    assert!(why.contains("node s1: 192.168.1.11 is a server's, and no API server starts there while"), "{why}");
    assert!(why.contains("begins with fd02::/112, which is of the other family; write the networks of"), "{why}");
    let pods = both.replacen("10.244.0.0/16,fd01::/48", "fd01::/48,10.244.0.0/16", 1);
    let (_, warnings) = read(&pods).unwrap();
    assert!(warnings[0].message.contains("pod_network begins with fd01::/48 and service_network with"), "{warnings:?}");
    let overlapping = both.replacen("fd02::/112", "fd01::100:0/112", 1);
    let why = read(&overlapping).unwrap_err();
    assert!(why.contains("pod_network fd01::/48 and service_network fd01::100:0/112 overlap"), "{why}");
    let inside = both.replacen("fd00::22", "fd01::22", 1);
    assert!(read(&inside).unwrap_err().contains("node pi-1: fd01::22 is in pod_network fd01::/48"));
}
