//! One simulated machine: its disk, its units, its power.

use std::collections::{BTreeMap, BTreeSet};

use hostler_executor::distribution::k3s;
use hostler_plan::{
    id::{BootId, NodeName},
    step::ClusterRole,
    version::Version,
};
use serde::{Deserialize, Serialize};

use super::{Millis, Random, hardware::Board};

/// From the reset to a login prompt: a Pi 5 with NVMe needs 20 to 40 s.
pub const BOOT: Millis = 25_000;

/// From `systemctl restart` to a running K3s, with the unpacking of a new version.
pub const K3S_START: Millis = 12_000;

/// A simulated machine.
#[derive(Debug, Clone)]
pub struct Machine {
    pub name: NodeName,
    pub board: Board,
    pub power: Power,
    pub boot_id: BootId,
    /// Boots since the world began, the first included.
    pub boots: u32,
    /// When the present boot was over.
    pub booted_at: Millis,
    /// By absolute path.
    pub files: BTreeMap<String, File>,
    /// Directories that exist without a file in them.
    pub modules: BTreeSet<String>,
    pub sysctls: BTreeMap<String, String>,
    pub packages: BTreeMap<String, String>,
    pub units: BTreeMap<String, Unit>,
    pub k3s: K3s,
    pub kubeadm: super::kubeadm::Local,
}

/// Whether the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    Up,
    Booting {
        until: Millis,
    },
    /// It was rebooted and never came back.
    Dead,
}

/// A file on the machine's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Permission bits.
    pub mode: u32,
    pub content: Vec<u8>,
}

/// A systemd unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Unit {
    pub active: bool,
    pub enabled: bool,
}

/// K3s on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct K3s {
    /// What the machine was set up as; none before the first bootstrap or join.
    pub role: Option<ClusterRole>,
    /// What `k3s --version` prints: the binary's, not the running one.
    pub binary: Option<Version>,
    pub process: Process,
    /// The version that is unpacked below /var/lib/rancher/k3s/data and is started.
    pub unpacked: Option<Version>,
}

/// The K3s process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Process {
    #[default]
    Stopped,
    Starting {
        until: Millis,
    },
    Running {
        version: Version,
        since: Millis,
    },
}

impl K3s {
    /// The running version, none while it is stopped or starting.
    pub fn running(&self) -> Option<Version> {
        match self.process {
            Process::Running { version, .. } => Some(version),
            Process::Stopped | Process::Starting { .. } => None,
        }
    }
}

impl Machine {
    /// A machine that is switched on and has nothing installed.
    pub fn new(name: NodeName, board: Board, random: &mut Random) -> Self {
        let boot_id = new_boot_id(random);
        let packages = [("openssh-server", "1:10.0p1-7"), ("linux-image-rpi-2712", "1:6.12.47-1+rpt1")];
        let ssh = Unit { active: true, enabled: true };
        Self {
            name,
            board,
            power: Power::Up,
            boot_id,
            boots: 1,
            booted_at: 0,
            files: KERNEL.map(|(path, text)| (path.to_owned(), File { mode: 0o444, content: text.into() })).into(),
            modules: BTreeSet::new(),
            sysctls: SYSCTLS.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            packages: packages.map(|(name, version)| (name.to_owned(), version.to_owned())).into(),
            units: BTreeMap::from([("ssh.service".to_owned(), ssh)]),
            k3s: K3s::default(),
            kubeadm: super::kubeadm::Local::default(),
        }
    }

    /// Whether programs run on it.
    pub fn is_up(&self) -> bool {
        self.power == Power::Up
    }

    /// The unit K3s runs under.
    pub fn k3s_unit(role: ClusterRole) -> &'static str {
        match role {
            ClusterRole::Server => k3s::SERVER_UNIT,
            ClusterRole::Worker | ClusterRole::Host => k3s::AGENT_UNIT,
        }
    }

    /// Starts K3s: it runs what is unpacked, which after an upgrade should be what the binary holds.
    pub(super) fn start_k3s(&mut self, now: Millis) {
        if self.k3s.unpacked.is_some() {
            self.k3s.process = Process::Starting { until: now + K3S_START };
        }
    }

    /// Goes down now; comes back after [`BOOT`] unless `never`.
    pub(super) fn reboot(&mut self, now: Millis, never: bool) {
        self.power = if never { Power::Dead } else { Power::Booting { until: now + BOOT } };
        self.k3s.process = Process::Stopped;
        self.kubeadm.power_off();
        self.kubeadm.unsynced.clear();
        for unit in self.units.values_mut() {
            unit.active = false;
        }
        // /run and /tmp live in memory.
        self.files.retain(|path, _| !path.starts_with("/run/") && !path.starts_with("/tmp/"));
    }

    /// What happens by itself on this machine until `now`. True when a boot ended.
    pub(super) fn tick(&mut self, now: Millis, random: &mut Random) -> bool {
        let mut booted = false;
        if let Power::Booting { until } = self.power
            && now >= until
        {
            self.power = Power::Up;
            self.boot_id = new_boot_id(random);
            self.boots += 1;
            self.booted_at = now;
            booted = true;
            self.set_up_kernel();
            let enabled: Vec<String> =
                self.units.iter().filter(|(_, unit)| unit.enabled).map(|(name, _)| name.clone()).collect();
            for name in enabled {
                self.set_unit(&name, true, true, now);
            }
        }
        if let Process::Starting { until } = self.k3s.process
            && now >= until
            && let Some(version) = self.k3s.unpacked
        {
            self.k3s.process = Process::Running { version, since: now };
        }
        if self.is_up() {
            self.tick_kubelet(now);
        }
        booted
    }

    /// Knows the units whose files were written since.
    pub(crate) fn reload_units(&mut self) {
        let written = self.files.keys().filter_map(|path| path.strip_prefix("/etc/systemd/system/"));
        // What lies in a folder there adds to a unit and is none.
        for unit in written.filter(|unit| !unit.contains('/')) {
            self.units.entry(unit.to_owned()).or_default();
        }
    }

    /// The process of a unit that has one here.
    pub(crate) fn process_of(&self, unit: &str) -> Option<Process> {
        match unit {
            KUBELET_UNIT => Some(self.kubeadm.kubelet),
            _ => (self.k3s.role.map(Self::k3s_unit) == Some(unit)).then_some(self.k3s.process),
        }
    }

    /// Brings a unit into a state; a K3s unit takes its process with it.
    pub fn set_unit(&mut self, name: &str, active: bool, enabled: bool, now: Millis) {
        let unit = self.units.entry(name.to_owned()).or_default();
        let was_active = unit.active;
        *unit = Unit { active, enabled };
        if active && !was_active {
            self.kubeadm.started.insert(name.to_owned(), now);
        }
        if name == KUBELET_UNIT {
            match active {
                true if self.kubeadm.kubelet == Process::Stopped => self.start_kubelet(now),
                true => {}
                false => self.kubeadm.kubelet = Process::Stopped,
            }
        }
        if self.k3s.role.map(Self::k3s_unit) == Some(name) && active != was_active {
            match active {
                true => self.start_k3s(now),
                false => self.k3s.process = Process::Stopped,
            }
        }
    }
}

/// Parameters that every kernel has.
const SYSCTLS: [(&str, &str); 2] = [("net.ipv4.ip_forward", "0"), ("vm.swappiness", "60")];

/// What the kernel says of itself: one that has the memory control group without being asked.
const KERNEL: [(&str, &str); 2] = [
    ("/proc/cmdline", "console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 rootwait\n"),
    ("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n"),
];

/// The unit of a kubelet that is a program of its own.
const KUBELET_UNIT: &str = "kubelet.service";

/// Those that come with a module.
const OF_MODULE: [(&str, &str, &str); 1] = [("br_netfilter", "net.bridge.bridge-nf-call-iptables", "1")];

impl Machine {
    /// Loads a module, and with it the parameters that it brings.
    pub(crate) fn load_module(&mut self, module: &str) {
        self.modules.insert(module.to_owned());
        for (_, key, value) in OF_MODULE.iter().filter(|(of, ..)| *of == module) {
            self.sysctls.entry((*key).to_owned()).or_insert_with(|| (*value).to_owned());
        }
    }

    /// What a boot makes of the kernel: its own values, and what files say.
    fn set_up_kernel(&mut self) {
        self.modules.clear();
        self.sysctls = SYSCTLS.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let lines = |folder: &str| -> Vec<String> {
            let files = self.files.iter().filter(|(path, _)| path.starts_with(folder));
            files
                .flat_map(|(_, file)| {
                    String::from_utf8_lossy(&file.content).lines().map(str::to_owned).collect::<Vec<_>>()
                })
                .collect()
        };
        let (modules, values) = (lines("/etc/modules-load.d/"), lines("/etc/sysctl.d/"));
        for module in modules {
            self.load_module(&module);
        }
        for line in values {
            if let Some((key, value)) = line.split_once(" = ") {
                self.sysctls.insert(key.to_owned(), value.to_owned());
            }
        }
    }
}

/// A random UUID in the kernel's form.
fn new_boot_id(random: &mut Random) -> BootId {
    let (high, low) = (random.next(), random.next());
    let text = format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff
    );
    BootId::new(text).expect("hexadecimal digits and dashes")
}
