//! What waits to be updated on a machine, as the machine itself read it out of apt's lists and signed it.
//!
//! A plan is made of these lists alone: what stands in none of them, by version and digest, no plan installs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    distribution::{has_own_upgrade, runs_pods},
    form::{KernelRelease, PackageArch, PackageName, PackageVersion},
    id::{Digest, FleetId, NodeName},
    timestamp::Timestamp,
};

/// The observation of a receipt that holds the list: JSON, gzip, base64.
pub const PENDING: &str = "updates";

/// A list as JSON at most, in bytes; one of 500 packages has 0.2 MiB.
pub const MAX_PENDING_BYTES: usize = 1 << 20;

/// Everything that waits on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// Always `hostler-updates/v1`.
    #[serde(rename = "_type")]
    pub document_type: PendingType,
    pub fleet_id: FleetId,
    /// Who read it.
    pub node: NodeName,
    pub read: Timestamp,
    pub system: System,
    /// What an update installs, in apt's order.
    pub packages: Vec<PendingPackage>,
    /// What waits and stays as it is.
    pub left: Vec<Left>,
    /// What only an upgrade with removals would remove; none of it is removed.
    pub removals: Vec<String>,
    /// Packages whose installation was cut off.
    pub unfinished: Vec<String>,
    pub kernel: Kernel,
    /// Why a reboot waits already, whatever is installed; none where none does.
    pub reboot: Vec<String>,
}

/// The type field of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PendingType {
    #[serde(rename = "hostler-updates/v1")]
    V1,
}

/// Which system it is, by `/etc/os-release` and dpkg.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Such as `debian`.
    pub id: String,
    /// Such as `12`; empty where it says none.
    pub version: String,
    /// Such as `bookworm`; empty where it says none.
    pub codename: String,
    /// The architecture of its packages.
    pub arch: PackageArch,
}

/// A package that an update installs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PendingPackage {
    pub package: PackageName,
    /// Of the package itself; `all` for one that fits every processor.
    pub arch: PackageArch,
    /// What is installed; none of a package that is new to the machine.
    pub from: Option<PackageVersion>,
    pub to: PackageVersion,
    /// Where it comes from, as apt says it: `Debian:12.15/oldstable, Debian-Security:12/oldstable-security`.
    pub origin: String,
    pub security: bool,
    /// Whether apt has it as installed for others' sake.
    pub auto: bool,
    /// Where the file is.
    pub uri: String,
    /// Bytes, by apt's signed lists.
    pub size: u64,
    /// By apt's signed lists.
    pub sha256: Digest,
}

/// A package that waits and stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    pub package: String,
    pub why: WhyLeft,
}

/// Why it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyLeft {
    /// An admin of the machine holds it.
    Held,
    /// Its archive lets only a part of all machines have it yet.
    Phased,
    /// It would take others away, or needs what is not there.
    Entangled,
    /// It goes with plans of its own.
    OwnPlan,
    /// Only security updates were asked for.
    NotSecurity,
}

impl WhyLeft {
    /// For people, after the package's name.
    pub fn words(self) -> &'static str {
        match self {
            WhyLeft::Held => "held by an admin of the machine (apt-mark showhold)",
            WhyLeft::Phased => "phased: its archive does not let this machine have it yet",
            WhyLeft::Entangled => "kept back: it would remove packages or needs what is not there",
            WhyLeft::OwnPlan => "left to plans of its own, such as `hostler upgrade`",
            WhyLeft::NotSecurity => "no security update",
        }
    }
}

/// The kernels of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// As `uname -r` says it.
    pub running: KernelRelease,
    /// What the next boot takes once everything is installed: the newest of the running one's flavour. None where the
    /// running kernel did not come from the machine's disk.
    pub next: Option<KernelRelease>,
}

/// Packages after which a machine has to be booted anew, by the beginning of their names: kernels and what runs before
/// them, and what every process holds on to.
const WANT_REBOOT: [&str; 15] = [
    "linux-image-",
    "linux-modules-",
    "raspberrypi-kernel",
    "raspi-firmware",
    "raspberrypi-bootloader",
    "linux-firmware",
    "firmware-",
    "intel-microcode",
    "amd64-microcode",
    "libc6",
    "systemd",
    "libsystemd",
    "udev",
    "dbus",
    "grub-",
];

impl Pending {
    /// Why the machine has to be booted anew once everything is installed; none where it has not.
    pub fn reboot_reasons(&self) -> Vec<String> {
        let named =
            |package: &&PendingPackage| WANT_REBOOT.iter().any(|begin| package.package.as_str().starts_with(begin));
        let names: BTreeSet<&str> =
            self.packages.iter().filter(named).map(|package| package.package.as_str()).collect();
        let mut reasons = self.reboot.clone();
        if !names.is_empty() {
            reasons.push(format!("new {}", names.into_iter().collect::<Vec<_>>().join(", ")));
        }
        if let Some(next) = self.new_kernel() {
            reasons.push(format!("kernel {next} takes the place of {}", self.kernel.running));
        }
        reasons
    }

    /// The kernel that the next boot takes, where it is another one than the one that runs.
    pub fn new_kernel(&self) -> Option<&KernelRelease> {
        self.kernel.next.as_ref().filter(|next| **next != self.kernel.running)
    }

    /// The packages whose installation stops or restarts what runs pods.
    pub fn touches_pods(&self) -> Vec<&str> {
        self.packages.iter().map(|package| package.package.as_str()).filter(|name| runs_pods(name)).collect()
    }

    /// The packages that belong to another release of the system than the one that is there.
    pub fn of_other_release(&self) -> Vec<&PendingPackage> {
        let other = |package: &&PendingPackage| is_of_other_release(&package.origin, &self.system.version);
        self.packages.iter().filter(other).collect()
    }
}

impl PendingPackage {
    /// As people and apt name it: with its architecture where that is not the machine's own.
    pub fn name_on(&self, system: &System) -> String {
        let native = self.arch == system.arch || self.arch.as_str() == "all";
        if native { self.package.to_string() } else { format!("{}:{}", self.package, self.arch) }
    }
}

/// Whether an update of the system leaves this package to plans of its own.
pub fn goes_with_own_plan(package: &str) -> bool {
    // The boot loader of a Pi in flash: its package writes it at the next boot, and nobody would see that fail.
    has_own_upgrade(package) || package == "rpi-eeprom"
}

/// Vendors that count their releases in what apt shows of an archive.
const COUNTED: [&str; 4] = ["Debian", "Debian-Security", "Ubuntu", "Raspbian"];

/// `Debian:13.1/stable` on a machine of version 12. Archives of others, and those without numbers, say nothing.
fn is_of_other_release(origin: &str, version: &str) -> bool {
    let release = |one: &str| {
        let (vendor, rest) = one.trim().split_once(':')?;
        let number = rest.split_once('/')?.0;
        let is_number = number.starts_with(|c: char| c.is_ascii_digit());
        (COUNTED.contains(&vendor) && is_number).then(|| number.to_owned())
    };
    let same = |number: &String| number == version || number.strip_prefix(version).is_some_and(|r| r.starts_with('.'));
    let mut releases = origin.split(',').filter_map(release).peekable();
    !version.is_empty() && releases.peek().is_some() && !releases.any(|number| same(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_release_is_told_by_its_number() {
        for (origin, version, other) in [
            ("Debian:12.15/oldstable, Debian-Security:12/oldstable-security", "12", false),
            ("Debian:13.1/stable", "12", true),
            ("Debian-Security:13/stable-security", "12", true),
            ("Ubuntu:24.04/noble-updates", "24.04", false),
            ("Ubuntu:24.10/oracular", "24.04", true),
            ("Debian:1/x", "12", true),
            ("Docker CE:bookworm", "12", false),
            ("Raspberry Pi Foundation:stable", "12", false),
            ("lab:13/stable", "12", false),
            ("Debian:13.1/testing", "", false),
        ] {
            assert_eq!(is_of_other_release(origin, version), other, "{origin} on {version}");
        }
    }

    #[test]
    fn what_goes_with_plans_of_its_own_is_named() {
        for own in ["kubelet", "kubectl", "rpi-eeprom"] {
            assert!(goes_with_own_plan(own), "{own}");
        }
        assert!(!goes_with_own_plan("libc6") && runs_pods("containerd.io") && !runs_pods("curl"));
    }
}
