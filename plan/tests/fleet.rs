//! Fleet files: the examples are read, and every mistake gets one clear message with its place.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use hostler_plan::{
    fleet::{ArtifactKind, Canary, Fleet, Problem, Source},
    id::Arch,
    step::ClusterRole,
};

const SMALL: &str = include_str!("../../examples/small.toml");

fn read(text: &str) -> Result<(Fleet, Vec<Problem>), String> {
    Fleet::from_toml(&[("fleet.toml", text)]).map_err(|e| e.to_string())
}

/// The message for the small example with `from` replaced by `to`.
fn broken(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from:?} is not in the example");
    read(&SMALL.replacen(from, to, 1)).expect_err(to)
}

#[test]
fn the_examples_are_fleets() {
    let pi = include_str!("../../examples/pi-rack.toml");
    let (pi, warnings) = read(pi).unwrap();
    assert_eq!((pi.nodes.len(), pi.servers().len(), warnings.len()), (8, 1, 0));
    assert!(matches!(&pi.policy.canary, Canary::Node(n) if n.as_str() == "pi-2"));
    let lab = include_str!("../../examples/kubeadm-lab.toml");
    assert_eq!(read(lab).unwrap().0.nodes.len(), 3);
    let (small, _) = read(SMALL).unwrap();
    assert!(small.nodes[0].first, "the only server is the first");
    assert_eq!(small.policy.max_unavailable, 1);
}

#[test]
fn a_typo_is_met_with_the_key_that_was_meant() {
    let typo = broken("distribution =", "distributon =");
    assert_eq!(
        typo,
        "fleet.toml:4:1: unknown key \"distributon\" in a fleet file; write \"distribution\" if that is meant"
    );
    let policy = format!("{SMALL}\n[policy]\nmax_unavailble = 2\n");
    let message = read(&policy).expect_err("typo");
    assert!(message.contains("unknown key \"max_unavailble\" in [policy]; write \"max_unavailable\""), "{message}");
    let node = broken("role = \"server\"", "colour = \"red\"");
    assert!(
        node.contains("fleet.toml:10:1: unknown key \"colour\" in [[nodes]], expected one of name, role"),
        "{node}"
    );
}

#[test]
fn every_mistake_has_its_sentence() {
    let cases = [
        ("name = \"pi\"", "name = \"box\"", "node box stands twice, first at fleet.toml:8:1"),
        ("name = \"pi\"", "name = \"Pi_1\"", "node name expected 1 to 253 of a-z, 0-9, '-' and '.', with"),
        (
            "role = \"worker\"",
            "role = \"server\"\nfirst = true\narch = \"aarch64\"\n[[nodes]]\nname = \"c\"\narch = \"x86_64\"\n\
             role = \"server\"\nfirst = true\n[[nodes]]\nname = \"d\"\nrole = \"worker\"",
            "two first servers: pi at fleet.toml:13:1 and c",
        ),
        ("role = \"server\"", "role = \"worker\"", "fleet.toml:8:1: the fleet has no server: expected"),
        ("role = \"worker\"", "role = \"agent\"", "role: expected \"server\", \"worker\" or \"host\", found \"agent\""),
        ("arch = \"aarch64\"", "arch = \"arm64\"", "found \"arm64\"; write \"aarch64\""),
        ("v1.34.3+k3s1", "1.34", "version: expected a version such as v1.34.3+k3s1, found \"1.34\""),
        ("v1.34.3+k3s1", "v1.34.3", "version: expected a version such as v1.34.3+k3s1"),
        ("\"k3s\"", "\"rke2\"", "distribution: expected \"k3s\" or \"kubeadm\", found \"rke2\""),
        ("192.168.1.10:6443", "192.168.1.10", "api: expected HOST:PORT"),
        ("name = \"home\"", "", "fleet.toml:1:1: the fleet has no name"),
        ("name = \"home\"", "name = \"home", "fleet.toml:3:13: invalid basic string"),
        ("[[nodes]]", "[policy]\nsoak_seconds = -1\n[[nodes]]", "soak_seconds: expected 0 to 86400, found -1"),
        (
            "[[nodes]]",
            "[policy.drain]\nslow = \"ignore\"\n[[nodes]]",
            "[policy.drain] slow: expected \"wait\", \"stop\" or \"ask\", found \"ignore\"; nothing is ever ignored",
        ),
        ("[[nodes]]", "[policy.drain]\nnever = true\n[[nodes]]", "[policy.drain] never: expected \"wait\""),
        ("[[nodes]]", "[policy.drain]\nnevr = \"ask\"\n[[nodes]]", "write \"never\" if that is meant"),
        ("[[nodes]]", "[policy]\nmax_unavailable = 0\n[[nodes]]", "max_unavailable: expected 1 to 1000, found 0"),
        (
            "[[nodes]]",
            "[policy]\nmax_unavailable = \"2\"\n[[nodes]]",
            "fleet.toml:9:19: invalid type: string \"2\", expected a whole number; see docs/fleet-file.md",
        ),
        (
            "[[nodes]]",
            "[policy]\ncanary = \"px\"\n[[nodes]]",
            "canary: expected a node of the fleet, found \"px\"; write \"pi\"",
        ),
        ("[[nodes]]", "[policy]\ncanary = 9\n[[nodes]]", "canary: expected a node's name or a number up to 2, found 9"),
        (
            "arch = \"aarch64\"",
            "arch = \"aarch64\"\ngroup = \"pis\"",
            "expected a group of this file, found \"pis\"; add [groups.pis]",
        ),
        (
            "arch = \"aarch64\"",
            "arch = \"aarch64\"\nlabels = { \"node-role.kubernetes.io/x\" = \"1\" }",
            "cannot give itself the label",
        ),
        (
            "arch = \"aarch64\"",
            "arch = \"aarch64\"\nlabels = { \"/x\" = \"1\" }",
            "\"/x\" = \"1\" is not a Kubernetes label",
        ),
        ("arch = \"aarch64\"", "arch = \"aarch64\"\nlabels = { \"Lab/x\" = \"1\" }", "is not a Kubernetes label"),
        ("arch = \"aarch64\"", "arch = \"aarch64\"\nlabels = { \"a..b/x\" = \"1\" }", "is not a Kubernetes label"),
        (
            "arch = \"aarch64\"",
            "arch = \"aarch64\"\nlabels = { zone = \"a b\" }",
            "is not a Kubernetes label; use letters",
        ),
        ("arch = \"aarch64\"", "arch = \"aarch64\"\nlabels = { zone = 3 }", "integer `3`, expected a text in quotes"),
        ("arch = \"aarch64\"", "arch = \"aarch64\"\nlabels = [\"a=b\"]", "sequence, expected a table"),
        (
            "arch = \"aarch64\"",
            "arch = \"aarch64\"\n[[artifacts]]\nname = \"k3s\"\nversion = \"v1.34.3+k3s1\"\narch = \"aarch64\"\n\
             sha256 = \"12\"\nsize = 0",
            "expected a sha256 of 64 hexadecimal digits, found \"12\"",
        ),
    ];
    for (from, to, expected) in cases {
        let message = broken(from, to);
        assert!(message.starts_with("fleet.toml:"), "{to}: no place in {message}");
        assert!(message.contains(expected), "{to}\n  expected: {expected}\n  found: {message}");
    }
}

#[test]
fn how_a_kernel_is_started_is_said_for_all_and_for_groups() {
    let with = |text: &str| {
        let machine = "arch = \"aarch64\"\ngroup = \"pis\"";
        read(&format!("{}\n{text}\n", SMALL.replacen("arch = \"aarch64\"", machine, 1)))
    };
    let both = with(
        "[machine]\nmemory_cgroup = true\nkernel_arguments = [\"panic=5\"]\n[groups.pis.machine]\n\
        kernel_arguments = [\"console=tty1\", \"console=ttyS0\"]",
    );
    let (fleet, _) = both.unwrap();
    let said = |node: usize| fleet.machine(&fleet.nodes[node]).kernel_arguments.unwrap_or_default();
    let group = fleet.nodes.iter().position(|node| node.group.is_some()).unwrap();
    assert_eq!((said(group).len(), said(1 - group).len()), (2, 1), "a group's list takes the place of the fleet's");
    assert_eq!(fleet.machine(&fleet.nodes[group]).memory_cgroup, Some(true));
    for (text, expected) in [
        ("[machine]\nmemory_cgroup = \"yes\"\n[groups.pis]", "invalid type: string \"yes\", expected true or false"),
        ("[machine]\nmemory_cgrop = true\n[groups.pis]", "write \"memory_cgroup\" if that is meant"),
        ("[machine]\nkernel_arguments = \"a\"\n[groups.pis]", "expected a list in [ ]"),
        (
            "[machine]\nkernel_arguments = [\"a b\"]\n[groups.pis]",
            "[machine] kernel argument expected 1 to 256 letters",
        ),
        ("[machine]\nkernel_arguments = [\"root=/dev/sda\"]\n[groups.pis]", "and none of root, rootfstype"),
        ("[machine]\nkernel_arguments = [\"panic=1\", \"panic=2\"]\n[groups.pis]", "panic=1 and panic=2; keep one"),
        (
            "[machine]\nmemory_cgroup = true\n[groups.pis.machine]\nkernel_arguments = [\"cgroup_disable=cpu,memory\"]",
            "group pis: memory_cgroup is true and kernel_arguments have cgroup_disable=cpu,memory; remove one",
        ),
    ] {
        let why = with(text).map(drop).unwrap_err();
        assert!(why.contains(expected), "{text}\n  expected: {expected}\n  found: {why}");
    }
}

#[test]
fn every_mistake_of_a_window_has_its_sentence() {
    let cases = [
        (
            "zone = \"Europe/Berln\"",
            "start = \"22:00\"\nend = \"02:00\"",
            "found \"Europe/Berln\"; write \"Europe/Berlin\"",
        ),
        ("zone = \"+01:00\"", "start = \"22:00\"\nend = \"02:00\"", "write a name of `timedatectl list-timezones`"),
        ("", "start = \"22:00\"\nend = \"02:00\"", "there is no zone, and a window is measured by the clock on a wall"),
        (BERLIN, "days = [\"Satrday\"]\nstart = \"22:00\"\nend = \"02:00\"", "found \"Satrday\"; write \"Saturday\""),
        (BERLIN, "days = [\"weekend\"]\nstart = \"22:00\"\nend = \"02:00\"", "write Monday, Tuesday, Wednesday"),
        (
            BERLIN,
            "days = []\nstart = \"22:00\"\nend = \"02:00\"",
            "days: expected at least one, found none; leave days out",
        ),
        (BERLIN, "start = \"25:00\"\nend = \"02:00\"", "start: expected a time from 00:00 to 23:59, found \"25:00\""),
        (BERLIN, "start = \"24:00\"\nend = \"02:00\"", "start: expected a time from 00:00 to 23:59, found \"24:00\""),
        (BERLIN, "start = \"22:00\"\nend = \"2\"", "end: expected a time from 00:00 to 24:00, found \"2\""),
        (BERLIN, "start = \"22:00\"\nend = \"22:00\"", "write length = \"24h\" where a whole day is meant"),
        (BERLIN, "start = \"22:00\"\nlength = \"0h\"", "length: expected 1 minute to 7 days"),
        (BERLIN, "start = \"22:00\"\nlength = \"169h\"", "length: expected 1 minute to 7 days"),
        (
            BERLIN,
            "start = \"22:00\"\nlength = \"4h\"\nend = \"02:00\"",
            "expected end or length, found both; remove one",
        ),
        (BERLIN, "start = \"22:00\"", "expected end or length, found neither"),
        (
            BERLIN,
            "start = \"22:00\"\nends = \"02:00\"",
            "unknown key \"ends\" in a window of [maintenance]; write \"end\"",
        ),
        ("zon = \"UTC\"", "start = \"22:00\"\nend = \"02:00\"", "unknown key \"zon\" in [maintenance]; write \"zone\""),
    ];
    for (table, window, expected) in cases {
        let message =
            read(&format!("{SMALL}\n[maintenance]\n{table}\n[[maintenance.windows]]\n{window}\n")).expect_err(window);
        assert!(message.starts_with("fleet.toml:"), "{window}: no place in {message}");
        assert!(message.contains(expected), "{window}\n  expected: {expected}\n  found: {message}");
    }
    for (levels, expected) in [
        ("[maintenance]\nzone = \"UTC\"\n", "[maintenance]: expected 1 to 32 windows, found 0"),
        ("[maintenance]\nzone = \"UTC\"\nwindows = []\n", "without it there is no time at which nothing begins"),
        ("[groups.pis.maintenance]\nzone = \"UTC\"\n", "[groups.pis.maintenance]: expected 1 to 32 windows, found 0"),
        (
            "[groups.pis.maintenance]\nwindows = [{ start = \"22:00\", end = \"02:00\" }]\n",
            "[groups.pis.maintenance]: there is no zone",
        ),
    ] {
        let message = read(&format!("{SMALL}\n{levels}")).expect_err(levels);
        assert!(message.contains(expected), "{levels}\n  expected: {expected}\n  found: {message}");
    }
    // A group takes from the fleet what it does not say itself.
    let both = format!(
        "{SMALL}\n[maintenance]\n{BERLIN}\nwindows = [{{ start = \"22:00\", end = \"02:00\" }}]\n\
         [groups.pis.maintenance]\nzone = \"asia/tokyo\"\n"
    );
    let group = read(&both).unwrap().0.groups["pis"].maintenance.clone().unwrap();
    assert_eq!((group.zone.name().as_str(), group.windows[0].minutes), ("Asia/Tokyo", 240));
}

const BERLIN: &str = "zone = \"Europe/Berlin\"";

#[test]
fn the_services_of_a_machine_are_said_and_every_mistake_has_its_sentence() {
    let with = |text: &str| read(&format!("{SMALL}\n[machine]\n{text}\n"));
    let whole = "cloud_init = \"names\"\n\
        journal = { storage = \"volatile\", max_use_mib = 64 }\nupdates = \"hostler\"\n\
        storage_clients = [\"nfs\", \"iscsi\"]\nmultipath_exclude = [\"^sd[a-z0-9]+\"]\n\
        sshd = { password_authentication = false, root_login = \"no\" }";
    let settings = with(whole).unwrap().0.machine.settings;
    assert_eq!((settings.journal.unwrap().max_use_mib, settings.storage_clients.unwrap().len()), (64, 2));
    for (text, expected) in [
        ("cloud_init = \"of\"", "cloud_init: expected \"names\" or \"off\", found \"of\"; write one of them"),
        ("cloud_init = false", "invalid type: boolean"),
        ("updates = \"never\"", "updates: expected \"hostler\" or \"machine\", found \"never\""),
        ("update = \"hostler\"", "write \"updates\" if that is meant"),
        ("journal = { max_use_mib = 8 }", "journal max_use_mib: expected 16 to 65536, found 8; change it"),
        ("journal = { storage = \"ram\", max_use_mib = 64 }", "expected \"persistent\" or \"volatile\", found \"ram\""),
        ("journal = { max_use_mb = 64 }", "in journal of [machine]; write \"max_use_mib\" if that is meant"),
        ("storage_clients = [\"smb\"]", "storage_clients: expected \"nfs\" or \"iscsi\", found \"smb\""),
        ("multipath_exclude = [\"a\\\"b\"]", "device pattern expected 1 to 128 letters"),
        ("sshd = { password_authentication = false }", "missing field `root_login`"),
        (
            "sshd = { password_authentication = false, root_login = \"yes\" }",
            "expected \"no\" or \"keys\", found \"yes\"",
        ),
    ] {
        let why = with(text).map(drop).unwrap_err();
        assert!(why.contains(expected), "{text}\n  expected: {expected}\n  found: {why}");
    }
}

#[test]
fn an_even_number_of_servers_is_a_warning() {
    let (_, warnings) = read(&SMALL.replacen("role = \"worker\"", "role = \"server\"", 1)).unwrap();
    assert!(warnings[0].message.starts_with("2 servers keep a majority"), "{warnings:?}");
}

#[test]
fn a_later_file_goes_over_an_earlier_one() {
    let more = "version = \"v1.34.4+k3s1\"\n[policy]\nmax_unavailable = 2\n[[nodes]]\nname = \"pi-2\"\n\
        role = \"worker\"\narch = \"aarch64\"\n";
    let (fleet, _) = Fleet::from_toml(&[("fleet.toml", SMALL), ("fleet.d/50-more.toml", more)]).unwrap();
    assert_eq!((fleet.version.patch, fleet.policy.max_unavailable, fleet.nodes.len()), (4, 2, 3));
    let again = Fleet::from_toml(&[
        ("a.toml", SMALL),
        ("b.toml", "[[nodes]]\nname = \"pi\"\nrole = \"worker\"\narch = \"aarch64\"\n"),
    ]);
    assert_eq!(
        again.unwrap_err().to_string(),
        "b.toml:1:1: node pi stands twice, first at a.toml:13:1; rename or remove one"
    );
}

const LAB: &str = include_str!("../../examples/kubeadm-lab.toml");

/// An entry of a lock: `keys` after a digest and a size.
fn entry(name: &str, keys: &str) -> String {
    format!("[[artifacts]]\nname = {name:?}\nsha256 = \"{:064}\"\nsize = 7\npath = \"x\"\n{keys}\n", 1)
}

fn locked(lock: &str) -> Result<Fleet, String> {
    Fleet::with_lock(("fleet.toml", LAB), ("fleet.lock", lock)).map(|(fleet, _)| fleet).map_err(|e| e.to_string())
}

#[test]
fn artifacts_of_a_known_name_say_no_more_than_they_must() {
    let lock = [
        entry("kubelet", "version = \"v1.36.3\"\narch = \"x86_64\""),
        entry("runc", "version = \"1.4.0\"\narch = \"x86_64\""),
        entry("kube-apiserver", "version = \"v1.36.3\"\narch = \"x86_64\"\nrole = \"server\""),
        entry("nginx", "kind = \"image\"\nversion = \"1.29\"\narch = \"aarch64\""),
        entry("cni.yaml", "kind = \"manifest\""),
        entry("libstdc", "kind = \"package\"\npackage = \"libstdc++6\"\nversion = \"14.2.0-19\"\narch = \"none\""),
    ];
    let fleet = locked(&lock.concat()).unwrap();
    let named = |name: &str| fleet.artifacts.iter().find(|a| a.name.as_str() == name).unwrap();
    let to = |name: &str| {
        let ArtifactKind::Program { to } = &named(name).kind else { panic!("{name} is no program") };
        to.to_string()
    };
    assert_eq!((to("kubelet").as_str(), to("runc").as_str()), ("/usr/local/bin/kubelet", "/usr/local/sbin/runc"));
    assert_eq!(named("kubelet").kubernetes.map(|v| v.to_string()).as_deref(), Some("v1.36.3"));
    assert_eq!((named("runc").kubernetes, named("runc").version.as_deref()), (None, Some("1.4.0")));
    assert_eq!(named("cni.yaml").plan_name().as_str(), "cni.yaml", "what fits every processor has its own name");
    assert_eq!(named("runc").source, Source::Path("x".into()));
    let version = "v1.36.3".parse().unwrap();
    let needed = |arch, role| -> Vec<&str> {
        fleet.needed_artifacts(version, arch, role).iter().map(|a| a.name.as_str()).collect()
    };
    assert_eq!(
        needed(Arch::X86_64, ClusterRole::Server),
        ["cni.yaml", "kube-apiserver", "kubelet", "libstdc", "runc"],
        "only what a server of that processor needs"
    );
    assert_eq!(needed(Arch::Aarch64, ClusterRole::Worker), ["cni.yaml", "libstdc", "nginx"]);
}

#[test]
fn what_belongs_to_a_version_goes_before_what_belongs_to_none() {
    let etcd = |keys: &str| entry("etcd", &format!("arch = \"x86_64\"\n{keys}"));
    let lock = [etcd("version = \"3.6.8-0\""), etcd("version = \"3.7.3-0\"\nkubernetes = \"v1.37.2\"")];
    let fleet = locked(&lock.concat()).unwrap();
    let etcd_of = |version: &str| {
        fleet.needed_artifacts(version.parse().unwrap(), Arch::X86_64, ClusterRole::Server)[0].version.clone().unwrap()
    };
    assert_eq!((etcd_of("v1.36.3"), etcd_of("v1.37.2")), ("3.6.8-0".to_owned(), "3.7.3-0".to_owned()));
    let twice = locked(&[etcd("version = \"3.6.8-0\""), etcd("version = \"3.7.3-0\"")].concat()).unwrap_err();
    assert!(
        twice.contains("fleet.lock:8:1: artifact etcd for x86_64 stands twice, first at fleet.lock:1:1"),
        "{twice}"
    );
    assert!(twice.contains("say with kubernetes ="), "{twice}");
}

#[test]
fn every_mistake_of_an_artifact_has_its_sentence() {
    let arch = "arch = \"x86_64\"";
    let cases = [
        ("nginx", format!("version = \"1\"\n{arch}"), "what is it? add kind = one of \"program\", \"image\""),
        ("nginx", format!("kind = \"imgae\"\nversion = \"1\"\n{arch}"), "kind: found \"imgae\"; write \"image\""),
        ("tool", format!("kind = \"program\"\nversion = \"1\"\n{arch}"), "where does it go? add to ="),
        ("tool", format!("kind = \"program\"\nto = \"x\"\nversion = \"1\"\n{arch}"), "an absolute path"),
        ("runc", "version = \"1.4.0\"".into(), "for which processor is it? add arch = \"aarch64\""),
        ("runc", arch.into(), "expected a version, found none"),
        ("runc", format!("version = \"1\"\nrole = \"master\"\n{arch}"), "expected \"server\", \"worker\" or \"host\""),
        ("kubelet", format!("version = \"1.36.3\"\n{arch}"), "such as v1.36.3, found \"1.36.3\""),
        (
            "kubelet",
            format!("kind = \"package\"\nversion = \"1.36.3-1.1\"\n{arch}"),
            "of which Kubernetes version is it? add kubernetes = \"v1.36.3\"",
        ),
        ("cni.yaml", format!("kind = \"manifest\"\n{arch}"), "a manifest is for all nodes, found arch x86_64"),
        ("cni.yaml", "kind = \"manifest\"\nto = \"/x\"".into(), "only a program has to, found kind \"manifest\""),
        ("n".repeat(57).leak(), "kind = \"file\"".into(), "expected at most 56 characters"),
        ("x", "knid = \"file\"".into(), "unknown key \"knid\" in [[artifacts]]; write \"kind\""),
    ];
    for (name, keys, expected) in cases {
        let message = locked(&entry(name, &keys)).unwrap_err();
        assert!(message.starts_with("fleet.lock:") && message.contains(expected), "{keys}\n  found: {message}");
    }
    let foreign = locked("version = \"v1.37.2\"\n").unwrap_err();
    assert_eq!(
        foreign,
        "fleet.lock:1:1: a lock holds [[artifacts]] alone, found \"version\"; move it to the fleet file"
    );
}
