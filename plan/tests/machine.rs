//! What `[machine]` becomes in the plans of a fleet whose distribution says nothing of machines: the same steps before
//! a join, in a baseline and in an inspection, and a reboot only where no pod runs yet.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use hostler_fixtures::{self as made, key, name, public};
use hostler_plan::{
    document::{Plan, SignerRole},
    fleet::Fleet,
    id::{Digest, Epoch, NodeName, Seq},
    planner::{self, Begins, Earlier, Intent, Inventory, InventoryNode, Numbering, Preview, Selection},
    sequencer::{ClusterNode, Standing},
    step::ClusterRole,
    timestamp::Timestamp,
};

const FLEET: &str = r#"
name = "home"
distribution = "k3s"
version = "v1.34.3+k3s1"
api = "s1:6443"
nodes = [{ name = "s1", role = "server", arch = "aarch64" }, { name = "w1", role = "worker", arch = "aarch64" },
    { name = "h1", role = "host", arch = "aarch64" }]
[[artifacts]]
name = "k3s"
version = "v1.34.3+k3s1"
arch = "aarch64"
path = "k3s"
sha256 = "0000000000000000000000000000000000000000000000000000000000000001"
size = 5
[machine]
"#;

/// The plan for a fleet of one server, a worker that may be a member already, and a host.
fn plan(machine: &str, is_member: bool, intent: &Intent) -> (Plan, Preview) {
    let now: Timestamp = "2026-11-29T08:00:00Z".parse().unwrap();
    let fleet = Fleet::from_toml(&[("fleet.toml", &format!("{FLEET}{machine}\n"))]).unwrap().0;
    let root = made::root(now, vec![made::signer("ana", public(&key(200)), SignerRole::Admin)]);
    let node = |node: &str, number, role| made::node(node, public(&key(number)), role);
    let nodes =
        vec![node("s1", 1, ClusterRole::Server), node("w1", 2, ClusterRole::Worker), node("h1", 3, ClusterRole::Host)];
    let roster = made::roster(&root, now, nodes);
    let seen = |node: &str, standing| -> (NodeName, InventoryNode) {
        let version = (standing == Standing::Ready).then_some(fleet.version);
        let condition = ClusterNode { standing, version, ..ClusterNode::UNKNOWN };
        (name(node), InventoryNode { connected: true, condition, ..InventoryNode::UNSEEN })
    };
    let worker = if is_member { Standing::Ready } else { Standing::Outside };
    let nodes = [seen("s1", Standing::Ready), seen("w1", worker), seen("h1", Standing::Outside)];
    let inventory = Inventory { nodes: nodes.into_iter().collect(), ..Inventory::default() };
    let numbering = Numbering {
        epoch: Epoch(1),
        seq: Seq(7),
        prev: None,
        also: Vec::new(),
        root_version: 1,
        roster: Digest::of(b"roster"),
        created: now,
        lifetime_seconds: 3600,
        begins: Begins::AtOnce,
    };
    planner::plan(&fleet, &roster, &inventory, &Earlier::default(), intent, &numbering).unwrap()
}

/// The operations of a task, with what each says.
fn said(plan: &Plan, task: &str) -> Vec<String> {
    let steps = &plan.task(&task.parse().unwrap()).unwrap_or_else(|| panic!("no {task}")).steps;
    steps.iter().map(|step| step.said().remove(0)).collect()
}

const KERNEL: &str = "memory_cgroup = true\nkernel_arguments = [\"panic=10\"]";
const ARGUMENTS: &str = "panic=10 what brings the memory control group";

#[test]
fn a_machine_is_rebooted_into_its_arguments_only_before_it_joins() {
    let join = Intent::Join { nodes: Selection::Named(vec![name("w1")]) };
    let (joins, _) = plan(KERNEL, false, &join);
    let boots = format!("kernel.boot REBOOTS where the kernel was started without {ARGUMENTS}");
    assert_eq!(said(&joins, "w1.prepare"), [format!("kernel.arguments {ARGUMENTS}"), boots]);
    for is_member in [true, false] {
        let (baseline, preview) = plan(KERNEL, is_member, &Intent::Baseline { nodes: Selection::All });
        for node in ["s1", "w1", "h1"] {
            assert_eq!(said(&baseline, &format!("{node}.prepare")), [format!("kernel.arguments {ARGUMENTS}")]);
        }
        let told = preview.notes.iter().any(|note| format!("{note:?}").contains("no machine is rebooted"));
        assert!(told, "{:?}", preview.notes);
    }
}

#[test]
fn services_become_files_and_units_and_an_inspection_looks_at_the_network_too() {
    let services = "updates = \"hostler\"\njournal = { storage = \"volatile\", max_use_mib = 64 }\n\
        cloud_init = \"names\"\nstorage_clients = [\"iscsi\", \"nfs\"]\nmultipath_exclude = [\"^sd[a-z0-9]+\"]\n\
        sshd = { password_authentication = false, root_login = \"no\" }";
    let (baseline, _) = plan(services, true, &Intent::Baseline { nodes: Selection::All });
    let said_of = |plan: &Plan, task: &str| -> Vec<String> {
        // Of a file, its path alone.
        said(plan, task).into_iter().map(|line| line.split(" with mode").next().unwrap().to_owned()).collect()
    };
    let expected = [
        "cloud_init.fence leaves the host name and /etc/hosts alone",
        "file.ensure /etc/systemd/journald.conf.d/90-hostler.conf",
        "systemd.current systemd-journald.service: RESTARTED where it was started before \
         /etc/systemd/journald.conf.d/90-hostler.conf changed",
        "systemd.ensure apt-daily.timer: STOPPED, and NOT started at boot",
        "systemd.ensure apt-daily-upgrade.timer: STOPPED, and NOT started at boot",
        "file.ensure /etc/apt/apt.conf.d/99-hostler",
        "file.ensure /etc/needrestart/conf.d/90-hostler.conf",
        "sshd.set lets in by keys ALONE, root NOT at all",
        "file.ensure /etc/multipath/conf.d/90-hostler.conf",
        "systemd.current multipathd.service: RESTARTED where it was started before \
         /etc/multipath/conf.d/90-hostler.conf changed",
        "systemd.ensure nfs-client.target: started, and started at boot",
        "systemd.ensure iscsid.service: started, and started at boot",
        "iscsi.initiator has one name, which is not changed",
    ];
    for node in ["s1", "w1", "h1"] {
        assert_eq!(said_of(&baseline, &format!("{node}.prepare")), expected, "{node}");
    }
    let (inspect, _) = plan(services, true, &Intent::Inspect { nodes: Selection::All });
    let looked = said_of(&inspect, "s1.inspect");
    assert_eq!(looked.last().map(String::as_str), Some("network.lasts any address of a server"));
    assert_eq!(looked[..expected.len()], expected);
    // A machine gets back what it did itself, and nothing else changes.
    let (back, _) = plan("updates = \"machine\"", true, &Intent::Baseline { nodes: Selection::All });
    assert!(said(&back, "w1.prepare")[0].ends_with("apt-daily.timer: started, and started at boot"));
}

#[test]
fn a_file_that_the_fleet_file_writes_takes_the_place_of_ours() {
    let own = "journal = { max_use_mib = 64 }\n\
        files.\"/etc/systemd/journald.conf.d/90-hostler.conf\" = { content = \"[Journal]\\nStorage=none\\n\" }";
    let (baseline, _) = plan(own, true, &Intent::Baseline { nodes: Selection::All });
    let said = said(&baseline, "w1.prepare");
    assert!(said.len() == 1 && said[0].starts_with("file.ensure /etc/systemd/journald"), "{said:?}");
}
