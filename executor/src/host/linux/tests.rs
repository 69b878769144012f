//! The machine below a folder that a test made, and two things of the real kernel.

use super::*;

fn machine() -> (tempfile::TempDir, Linux) {
    let root = tempfile::tempdir().unwrap();
    let linux = Linux::at(
        Root::at(root.path()).unwrap(),
        vec!["/etc/kubernetes/admin.conf".into()],
        vec!["/kubelet.conf".into()],
    );
    (root, linux)
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_node_has_the_whole_name_of_its_host_and_what_is_no_name_is_said_once() {
    let (root, linux) = machine();
    let name = |host: &str| {
        put(root.path(), "proc/sys/kernel/hostname", host);
        crate::node::node_name(&crate::settings::Settings::default(), &linux)
    };
    assert_eq!(name("Node1.Example.org\n").unwrap().as_str(), "node1.example.org");
    assert_eq!(name("node1.site-b.example\n").unwrap().as_str(), "node1.site-b.example");
    let error: &dyn std::error::Error = &name("pi_worker_1\n").unwrap_err();
    assert_eq!(error.to_string().matches("node name expected").count(), 1, "{error}");
    assert!(error.source().is_none(), "whoever prints the chain says nothing twice");
}

#[test]
fn a_machine_is_read_below_its_root() {
    let (root, linux) = machine();
    assert!(linux.host_name().is_err() && linux.boot_id().is_err() && linux.cluster().is_none());
    put(root.path(), "proc/sys/kernel/hostname", "Pi-1\n");
    put(root.path(), "proc/sys/kernel/random/boot_id", "6dc7e1bb-45a9-4b4a-9d0b-7b2b1e0f5a11\n");
    put(root.path(), "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0");
    put(root.path(), "proc/meminfo", "MemTotal:        8245412 kB\nMemFree: 1 kB\n");
    assert_eq!(linux.host_name().unwrap(), "Pi-1");
    assert!(linux.boot_id().is_ok());
    let of_init = "a8b7c1d2-45a9-4b4a-9d0b-7b2b1e0f5a12";
    put(root.path(), "proc/1/root/proc/sys/kernel/random/boot_id", of_init);
    assert_eq!(linux.boot_id().unwrap().as_str(), of_init);
    let hardware = linux.hardware().unwrap();
    assert_eq!(hardware.model, "Raspberry Pi 5 Model B Rev 1.0");
    assert_eq!((hardware.memory_bytes, hardware.serial.as_str()), (8_245_412 * 1024, "unknown"));
}

#[test]
fn a_coordinator_is_seen_whoever_started_it() {
    let (root, linux) = machine();
    assert!(!linux.runs_coordinator(), "there is no /proc");
    put(root.path(), "proc/1/comm", "systemd\n");
    put(root.path(), "proc/self/comm", "hostler-coordin\n");
    put(root.path(), "proc/31/comm", "hostler-executo\n");
    assert!(!linux.runs_coordinator());
    put(root.path(), "proc/812/comm", "hostler-coordin\n");
    assert!(linux.runs_coordinator());
}

#[test]
fn a_worker_reaches_its_own_node_with_its_kubelets_file_and_no_other() {
    let (root, linux) = machine();
    assert!(linux.own_cluster().is_none());
    put(root.path(), "kubelet.conf", "kubelet");
    assert!(linux.own_cluster().is_some() && linux.cluster().is_none(), "a worker tells nothing of the cluster");
    put(root.path(), "etc/kubernetes/admin.conf", "admin");
    assert!(linux.cluster().is_some());
}

#[test]
fn a_reboot_that_ends_its_own_command_was_asked_for() {
    let ended = |signal| Err(HostError::Signalled { command: "systemctl".into(), signal });
    assert!(reboot_asked(Ok(String::new())).is_ok() && reboot_asked(ended(SIGTERM)).is_ok());
    assert!(reboot_asked(ended(9)).is_err());
    assert!(reboot_asked(run(&["ls", "/nowhere-at-all"], QUICK)).is_err());
}

/// `dummy` is a network interface that does nothing.
#[test]
#[ignore = "changes the kernel that it runs on: tests/vm/run has one of its own"]
fn a_module_and_a_parameter_are_brought_into_a_real_kernel() {
    let linux = Linux::new(Vec::new(), Vec::new(), ClockSource::default());
    assert!(!linux.module_is_loaded("dummy").unwrap());
    linux.load_module("dummy").unwrap();
    assert!(linux.module_is_loaded("dummy").unwrap());
    linux.load_module("dummy").unwrap();
    let missing = linux.load_module("no_such_module");
    assert!(matches!(&missing, Err(HostError::Command { command, .. }) if command == "modprobe -- no_such_module"));
    let key = "net.ipv4.conf.lo.log_martians";
    assert_eq!(linux.read_sysctl(key).unwrap().as_deref(), Some("0"));
    linux.write_sysctl(key, "1").unwrap();
    assert_eq!(linux.read_sysctl(key).unwrap().as_deref(), Some("1"));
    assert!(matches!(linux.write_sysctl(key, "martian"), Err(HostError::File { .. })));
    assert!(matches!(linux.write_sysctl("net.none", "1"), Err(HostError::File { .. })));
}

#[test]
fn kernel_parameters_and_modules_are_found_by_their_names() {
    let (root, linux) = machine();
    put(root.path(), "proc/sys/net/ipv4/conf/eth0.1/forwarding", "0\n");
    let key = "net.ipv4.conf.eth0/1.forwarding";
    assert_eq!(linux.read_sysctl(key).unwrap().as_deref(), Some("0"));
    linux.write_sysctl(key, "1").unwrap();
    assert_eq!(linux.read_sysctl(key).unwrap().as_deref(), Some("1"));
    assert_eq!(linux.read_sysctl("net.none").unwrap(), None);
    put(root.path(), "proc/sys/kernel/osrelease", "6.1.0\n");
    put(root.path(), "lib/modules/6.1.0/modules.builtin", "kernel/fs/ext4/ext4.ko\nkernel/x/a-b.ko\n");
    std::fs::create_dir_all(root.path().join("sys/module/br_netfilter")).unwrap();
    let loaded = |name: &str| linux.module_is_loaded(name).unwrap();
    assert!(loaded("br_netfilter") && loaded("br-netfilter") && loaded("a-b") && loaded("a_b"));
    assert!(!loaded("overlay"));
}
