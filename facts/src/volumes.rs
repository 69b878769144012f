//! Which block devices are volumes of pods and not disks of the node.
//!
//! The kernel tells: what is mounted below a kubelet's folder and nowhere else, what came over a network, and what
//! stands on nothing but such devices. Whatever carries a file system of the machine or its swap is the machine's own,
//! however it is attached, and a disk that is plugged into the machine is hardware whoever uses it.

use super::{Root, diskstats, filesystem::Mount, text, topology};
use std::collections::{BTreeMap, BTreeSet};

const BLOCK: &str = "sys/block";
/// Kinds that only a storage system makes: network block devices, RBD, DRBD, and the volumes of a ZFS pool.
const MADE: [&str; 4] = ["nbd", "rbd", "drbd", "zd"];
/// Parts of a device's path that stand for a plug of this machine.
const PLUGS: [&str; 5] = ["ata", "usb", "mmc_host", "end_device-", "phy-"];
/// Parts of a device's path that stand for a network: an iSCSI session, a remote port of Fibre Channel.
const NETWORKS: [&str; 2] = ["session", "rport-"];

/// The volumes that are attached now.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    seen: Option<Seen>,
    /// Whole devices that are volumes.
    devices: BTreeSet<String>,
    /// Devices and partitions whose file system only pods use.
    file_systems: BTreeSet<String>,
    /// Controllers of disks that are reached over a network.
    controllers: BTreeSet<String>,
}

/// What decides, so that a quiet machine is not looked through again.
#[derive(Debug, PartialEq)]
struct Seen {
    own: BTreeSet<String>,
    pods: BTreeSet<String>,
    names: Vec<String>,
    controllers: Vec<String>,
}

impl Volumes {
    /// Looks again: `own` and `pods` are the mounts of the machine and those below a kubelet's folder.
    pub(super) fn look(&mut self, root: &Root, own: &[Mount], pods: &BTreeSet<String>) {
        let names = root.list(BLOCK).unwrap_or_default();
        let controllers = root.list("sys/class/nvme").unwrap_or_default();
        let numbers = own.iter().map(|mount| mount.numbers.clone());
        let seen = Seen { own: numbers.collect(), pods: pods.clone(), names, controllers };
        if self.seen.as_ref() != Some(&seen) {
            let devices = Devices::read(root, own, &seen);
            self.devices = devices.volumes();
            self.file_systems = devices.file_systems();
            self.controllers = devices.remote_controllers(&seen.controllers);
            self.seen = Some(seen);
        }
    }

    /// Whether a whole device is a volume.
    pub(super) fn has(&self, device: &str) -> bool {
        self.devices.contains(device)
    }

    /// Whether the file system on a device or partition is one of pods.
    pub(super) fn has_file_system(&self, device: &str) -> bool {
        self.file_systems.contains(device)
    }

    /// Whether an NVMe controller leads to a volume.
    pub(super) fn has_controller(&self, controller: &str) -> bool {
        self.controllers.contains(controller)
    }
}

/// All block devices of a machine.
struct Devices<'root> {
    root: &'root Root,
    /// Every device and partition.
    all: BTreeSet<String>,
    /// What carries a file system of the machine or its swap, with all below it.
    own: BTreeSet<String>,
    /// What is mounted for pods.
    mounted: BTreeSet<String>,
}

impl<'root> Devices<'root> {
    fn read(root: &'root Root, mounts: &[Mount], seen: &Seen) -> Self {
        let numbered = numbered(root);
        let mut all: BTreeSet<String> = numbered.values().cloned().collect();
        all.extend(seen.names.iter().cloned());
        let name = |numbers: &String| {
            numbered.get(numbers).cloned().or_else(|| root.link_name(&format!("sys/dev/block/{numbers}")))
        };
        let mut devices = Devices { root, all, own: BTreeSet::new(), mounted: BTreeSet::new() };
        devices.mounted = seen.pods.iter().filter_map(name).collect();
        let mut own: Vec<String> = seen.own.iter().filter_map(name).collect();
        // btrfs and ZFS have numbers of their own.
        own.extend(topology::devices_of_all(root, mounts));
        own.extend(swaps(root));
        for device in own {
            devices.claim(device);
        }
        devices
    }

    /// Takes a device and everything that it stands on as the machine's own.
    fn claim(&mut self, device: String) {
        let mut next = vec![device];
        while let Some(device) = next.pop() {
            if self.own.insert(device.clone()) {
                next.extend(topology::layers(self.root, &device));
                next.extend(self.whole(&device));
            }
        }
    }

    fn volumes(&self) -> BTreeSet<String> {
        let whole = self.all.iter().filter(|name| diskstats::is_disk(name) || is_made(name));
        whole.filter(|name| self.is_volume(name, 8)).cloned().collect()
    }

    fn file_systems(&self) -> BTreeSet<String> {
        let of_pods = |name: &&String| {
            let whole = self.whole(name);
            self.mounted.contains(*name) || self.is_volume(whole.as_deref().unwrap_or(name), 8)
        };
        self.all.iter().filter(|name| !self.own.contains(*name)).filter(of_pods).cloned().collect()
    }

    /// `depth` bounds layers that stand on each other in a circle, which no kernel makes.
    fn is_volume(&self, device: &str, depth: u8) -> bool {
        if depth == 0 || self.own.contains(device) {
            return false;
        }
        if is_made(device) || self.is_remote(device) {
            return true;
        }
        if self.is_plugged(device) {
            return false;
        }
        let all = |others: Vec<String>| !others.is_empty() && others.iter().all(|o| self.is_volume(o, depth - 1));
        self.mounted.iter().any(|mounted| mounted == device || self.whole(mounted).as_deref() == Some(device))
            || all(self.below(device))
            // The paths of a volume that is reached over several.
            || all(self.root.list(&format!("{BLOCK}/{device}/holders")).unwrap_or_default())
    }

    /// Whether it comes over a network.
    fn is_remote(&self, device: &str) -> bool {
        if let Some(path) = self.path(device) {
            return NETWORKS.iter().any(|network| has_part(&path, network)) || self.is_fabric(device);
        }
        // A recording without links: the target that Longhorn and tgt give is known by its name.
        let says = |file: &str| self.root.text(&format!("{BLOCK}/{device}/device/{file}")).unwrap_or_default();
        self.is_fabric(device) || (says("vendor") == "IET" && says("model") == "VIRTUAL-DISK")
    }

    /// Whether it is plugged into this machine.
    fn is_plugged(&self, device: &str) -> bool {
        let nvme = device.starts_with("nvme") && !self.is_fabric(device);
        nvme || self.path(device).is_some_and(|path| PLUGS.iter().any(|plug| has_part(&path, plug)))
    }

    fn is_fabric(&self, device: &str) -> bool {
        let Some((controller, _)) = device.strip_prefix("nvme").and_then(|rest| rest.split_once('n')) else {
            return false;
        };
        is_fabric(self.root, &format!("nvme{controller}"))
    }

    fn remote_controllers(&self, controllers: &[String]) -> BTreeSet<String> {
        let disks = self.own.iter().filter(|name| name.starts_with("nvme"));
        let carrying: BTreeSet<String> = disks.flat_map(|disk| topology::controllers(self.root, disk)).collect();
        let remote = controllers.iter().filter(|controller| is_fabric(self.root, controller));
        remote.filter(|controller| !carrying.contains(*controller)).cloned().collect()
    }

    /// Where the kernel has put the device, if the recording keeps that.
    fn path(&self, device: &str) -> Option<String> {
        self.root.link(&format!("{BLOCK}/{device}"))?;
        Some(self.root.resolved(&format!("{BLOCK}/{device}"))?.display().to_string())
    }

    /// What a device stands on directly.
    fn below(&self, device: &str) -> Vec<String> {
        self.root.list(&format!("{BLOCK}/{device}/slaves")).unwrap_or_default()
    }

    /// The device that a partition is a part of.
    fn whole(&self, device: &str) -> Option<String> {
        if self.root.exists(&format!("{BLOCK}/{device}")) {
            return None;
        }
        let parent = self.root.resolved(&format!("sys/class/block/{device}"));
        let parent = parent.as_deref().and_then(|path| path.parent()?.file_name()?.to_str().map(str::to_owned));
        parent.filter(|name| self.all.contains(name)).or_else(|| {
            let part = device.trim_end_matches(|last: char| last.is_ascii_digit());
            let named = [part.strip_suffix('p').unwrap_or(part), part];
            named.into_iter().find(|name| *name != device && self.all.contains(*name)).map(str::to_owned)
        })
    }
}

fn is_fabric(root: &Root, controller: &str) -> bool {
    let transport = root.text(&format!("sys/class/nvme/{controller}/transport"));
    transport.is_ok_and(|transport| !transport.is_empty() && transport != "pcie")
}

fn is_made(device: &str) -> bool {
    let number = |kind: &str| device.strip_prefix(kind).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    MADE.iter().any(|kind| number(kind))
}

/// Whether a part of the path is this word with a number behind it, or begins with it where it ends in a dash.
fn has_part(path: &str, word: &str) -> bool {
    path.split('/').filter_map(|part| part.strip_prefix(word)).any(|rest| {
        word.ends_with('-') || word == "mmc_host" || (!rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Every device of `/proc/diskstats` by its numbers.
fn numbered(root: &Root) -> BTreeMap<String, String> {
    let bytes = root.bytes("proc/diskstats").unwrap_or_default();
    let rows = text::lines(&bytes).filter_map(|line| {
        let mut words = text::words(line).map(text::word);
        Some((format!("{}:{}", words.next()?, words.next()?), words.next()?.to_owned()))
    });
    rows.collect()
}

/// Devices that are swapped to.
fn swaps(root: &Root) -> Vec<String> {
    let bytes = root.bytes("proc/swaps").unwrap_or_default();
    let rows = text::lines(&bytes).skip(1).filter_map(|line| text::words(line).next());
    rows.filter_map(|path| Some(text::word(path).strip_prefix("/dev/")?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(disks: &[(&str, &str)]) -> Self {
            let machine = Machine(tempfile::tempdir().unwrap());
            let rows = disks.iter().zip(0..).map(|((name, _), minor)| format!("8 {minor} {name} 1 2 3\n"));
            machine.file("proc/diskstats", &rows.collect::<String>());
            for (name, path) in disks.iter().filter(|(_, path)| !path.is_empty()) {
                let path = format!("sys/devices/{path}/block/{name}");
                fs::create_dir_all(machine.0.path().join(&path)).unwrap();
                fs::create_dir_all(machine.0.path().join(BLOCK)).unwrap();
                symlink(format!("../../{path}"), machine.0.path().join(BLOCK).join(name)).unwrap();
            }
            machine
        }

        fn file(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// Which of all devices are volumes, with these mounted by the machine and by pods.
        fn volumes(&self, own: &[&str], pods: &[&str]) -> Vec<String> {
            let root = Root::at(self.0.path()).unwrap();
            let mount = |numbers: &&str| Mount {
                id: 25,
                device: "/dev/x".to_owned(),
                mountpoint: "/".to_owned(),
                fstype: "ext4".to_owned(),
                numbers: (*numbers).to_owned(),
                readonly: false,
                emergency: false,
            };
            let own: Vec<Mount> = own.iter().map(mount).collect();
            let mut volumes = Volumes::default();
            volumes.look(&root, &own, &pods.iter().map(|numbers| (*numbers).to_owned()).collect());
            volumes.devices.into_iter().collect()
        }
    }

    const ISCSI: &str = "platform/host2/session1/target2:0:0/2:0:0:1";
    const SATA: &str = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0";

    #[test]
    fn what_comes_over_a_network_is_a_volume_unless_the_machine_lives_on_it() {
        let machine = Machine::new(&[("sda", ISCSI), ("sdb", SATA), ("rbd0", ""), ("nbd1", ""), ("zd16", "")]);
        assert_eq!(machine.volumes(&["8:1"], &[]), ["nbd1", "rbd0", "sda", "zd16"]);
        assert_eq!(machine.volumes(&["8:0", "8:2"], &[]), ["nbd1", "zd16"], "/ over iSCSI, data over RBD");
        machine.file("proc/swaps", "Filename Type Size Used Priority\n/dev/nbd1 partition 1 0 -2\n");
        assert_eq!(machine.volumes(&[], &[]), ["rbd0", "sda", "zd16"]);
    }

    #[test]
    fn a_disk_that_is_plugged_in_stays_one_when_a_pod_mounts_it() {
        let virtio = "pci0000:00/0000:00:05.0/virtio2/host3/target3:0:0/3:0:0:1";
        let machine = Machine::new(&[("sda", SATA), ("sdb", virtio), ("sdc", "")]);
        assert_eq!(machine.volumes(&[], &["8:0", "8:1", "8:2"]), ["sdb", "sdc"]);
    }

    #[test]
    fn several_paths_and_what_stands_on_volumes_are_volumes_too() {
        let machine =
            Machine::new(&[("sda", ""), ("sdb", ""), ("dm-0", ""), ("dm-1", ""), ("sdc", SATA), ("dm-2", "")]);
        for (device, folder, others) in [
            ("dm-0", "slaves", &["sda", "sdb"][..]),
            ("sda", "holders", &["dm-0"]),
            ("sdb", "holders", &["dm-0"]),
            ("dm-1", "slaves", &["dm-0"]),
            ("dm-2", "slaves", &["sdc"]),
        ] {
            others.iter().for_each(|other| machine.file(&format!("{BLOCK}/{device}/{folder}/{other}"), ""));
        }
        assert_eq!(machine.volumes(&[], &["8:3"]), ["dm-1"], "the crypted device on top of the paths");
        assert_eq!(machine.volumes(&[], &["8:2"]), ["dm-0", "dm-1", "sda", "sdb"]);
        assert_eq!(machine.volumes(&["8:3"], &["8:2"]), [""; 0], "all of it carries a file system of the machine");
        assert_eq!(machine.volumes(&[], &["8:5"]), ["dm-2"], "a logical volume for a pod on a disk of the machine");
    }
}
