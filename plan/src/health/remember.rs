//! What must not be forgotten when it cannot be seen any more: disks that were bad, and disks that were there.
//!
//! It outlives a restart: whoever evaluates keeps [`Remembered`] and hands it to the next evaluator. A disk that was
//! bad is bad until it is seen well; one that is gone for a day was taken out on purpose, and all of it is forgotten.

use super::Level;
use super::accepted::{DiskNumber, DiskNumbers, Release, device};
use super::condition::Condition;
use super::disks::{Disks, Numbers};
use crate::fact::{Labels, Reading};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A disk that is gone for a day was taken out on purpose.
pub(super) const GONE_MS: u64 = 86_400_000;
/// What is kept of one node: a server has some dozens of disks, and each is bad in a handful of ways.
const MAX_KEPT: usize = 256;
/// How far a signer's clock may be behind: as far as one may be ahead.
const RELEASE_SKEW_MS: u64 = 300_000;
/// What a machine cannot do without. The words are those of `hostler_disk_carries`.
const VITAL: [&str; 3] = ["root", "data", "swap"];

/// Kept over restarts of whoever evaluates. Times are on its clock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// What a disk said of itself that does not pass, by condition and subject.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) bad: BTreeMap<String, Bad>,
    /// Disks that were there, by their number of their own, or by name where they have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) drives: BTreeMap<String, Drive>,
    /// By what to know these disks again when they come back under other names.
    #[serde(default)]
    pub(super) disks: Disks,
    /// File systems that an error made read-only, by mount point. The log that says so is overwritten some day.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) forced: BTreeMap<String, Forced>,
    /// When an NVMe controller was seen last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) controllers: BTreeMap<String, u64>,
    /// The most members that a bond or a team had, and when it had as many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) members: BTreeMap<String, (f64, u64)>,
}

/// A condition that held when its disk was last heard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Bad {
    pub(super) condition: Condition,
    pub(super) subject: String,
    pub(super) fact: String,
    pub(super) value: Option<f64>,
    pub(super) threshold: Option<f64>,
    pub(super) required: bool,
    /// Whose it is; empty where it tells no number.
    #[serde(default)]
    pub(super) disk: Numbers,
    /// When the disk was last there, asleep or awake.
    seen_ms: u64,
    /// When it was last told by the disk itself.
    #[serde(default)]
    told_ms: u64,
}

/// A file system that was seen to be read-only because of an error.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Forced {
    device: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    boot: String,
    /// The mount, and when whoever read it was started, where these are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mount: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reader: Option<f64>,
}

impl Forced {
    pub(super) fn now(reading: &Reading, boot: &str, mountpoint: &str, device: &str) -> Self {
        Forced {
            device: device.to_owned(),
            boot: boot.to_owned(),
            mount: reading.get("hostler_filesystem_mount_id", &[("mountpoint", mountpoint)]),
            reader: reading.get("process_start_time_seconds", &[("program", "executor")]),
        }
    }

    /// Whether nothing says that it can be written again. A file system that the kernel shut down is rw in the table:
    /// that it was mounted anew says the same reader, or the number of the mount.
    fn holds(&self, now: &Self, readonly: bool) -> bool {
        let same_boot = self.boot.is_empty() || now.boot.is_empty() || self.boot == now.boot;
        let shut_down = self.mount.is_some() && self.mount == now.mount && self.reader != now.reader;
        same_boot && self.device == now.device && (readonly || shut_down)
    }
}

/// A disk as it was last there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Drive {
    pub(super) device: String,
    pub(super) seen_ms: u64,
    /// Words of `hostler_disk_carries`.
    pub(super) carries: BTreeSet<String>,
    /// The boot in which it was last there; empty where that is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    boot: String,
    /// What smartctl told of it, where it did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    serial: String,
}

impl Drive {
    pub(super) fn has(&self, what: &str) -> bool {
        self.carries.contains(what)
    }

    fn vital(&self) -> impl Iterator<Item = &str> {
        VITAL.into_iter().filter(|what| self.has(what))
    }

    pub(super) fn is_vital(&self) -> bool {
        self.vital().next().is_some()
    }

    /// Whether it was last there in that boot. Where nobody knows, it was: then nobody had the machine open.
    pub(super) fn is_of(&self, boot: &str) -> bool {
        self.boot.is_empty() || boot.is_empty() || self.boot == boot
    }

    /// Whether it carries what it did not when it was last there, if it was.
    fn took_over(&self, before: Option<&Drive>) -> bool {
        before.is_none_or(|before| !before.is_vital() || (self.has("root") && !before.has("root")))
    }
}

/// What disks serve that another one may have served before: one `/` there is, of the rest what newcomers carry.
fn served<'there>(there: &'there BTreeMap<String, Drive>, before: &BTreeMap<String, Drive>) -> BTreeSet<&'there str> {
    let of_newcomers = there.iter().filter(|(key, drive)| drive.took_over(before.get(*key)));
    let root = there.values().any(|drive| drive.has("root")).then_some("root");
    of_newcomers.flat_map(|(_, drive)| drive.vital()).chain(root).collect()
}

fn cap<V>(kept: &mut BTreeMap<String, V>) {
    while kept.len() > MAX_KEPT {
        kept.pop_first();
    }
}

/// A drive is kept by its number, where it has one.
fn drive_numbers(key: &str, drive: &Drive) -> DiskNumbers {
    let wwid = Some(key).filter(|key| *key != drive.device).and_then(|key| DiskNumber::new(key).ok());
    DiskNumbers { wwid, ..DiskNumbers::default() }
}

/// Whether anything tells that the device is there.
fn is_there(reading: &Reading, device: &str) -> bool {
    let carries = |(labels, there): (Labels<'_>, f64)| there == 1.0 && labels.get("device") == Some(device);
    reading.all("hostler_disk_carries").any(carries)
        || ["node_nvme_info", "node_disk_io_now", "hostler_mmc_info"]
            .iter()
            .any(|name| reading.find(name, &[("device", device)]).is_some())
}

fn key(condition: Condition, subject: &str) -> String {
    format!("{condition:?} {subject}")
}

impl Remembered {
    /// The same on a clock that is this many milliseconds ahead: as of a date it can be kept over a restart.
    pub fn moved(&self, ahead_ms: i64) -> Self {
        let mut moved = self.clone();
        let shift = |at: &mut u64| *at = at.saturating_add_signed(ahead_ms);
        moved.bad.values_mut().for_each(|bad| {
            shift(&mut bad.seen_ms);
            shift(&mut bad.told_ms);
        });
        moved.drives.values_mut().for_each(|drive| shift(&mut drive.seen_ms));
        moved.controllers.values_mut().for_each(shift);
        moved.members.values_mut().for_each(|(_, at)| shift(at));
        moved
    }

    /// Whether both say the same but for times that go on while nothing happens: then nothing has to be kept anew.
    pub fn is_like(&self, other: &Self) -> bool {
        let bad = |one: &Self| one.bad.iter().map(|(key, bad)| (key.clone(), bad.value.is_some())).collect::<Vec<_>>();
        let drives = |one: &Self| {
            let drives = one.drives.iter();
            let like = |drive: &Drive| Drive { seen_ms: 0, ..drive.clone() };
            drives.map(|(key, drive)| (key.clone(), like(drive))).collect::<Vec<_>>()
        };
        let members = |one: &Self| one.members.iter().map(|(key, (most, _))| (key.clone(), *most)).collect::<Vec<_>>();
        bad(self) == bad(other)
            && drives(self) == drives(other)
            && self.disks == other.disks
            && self.forced == other.forced
            && self.controllers.keys().eq(other.controllers.keys())
            && members(self) == members(other)
    }

    /// Takes over how a condition stands that its disk told just now.
    pub(super) fn told(&mut self, bad: Option<Bad>, condition: Condition, subject: &str) {
        match bad {
            Some(bad) if self.bad.len() < MAX_KEPT => drop(self.bad.insert(key(condition, subject), bad)),
            Some(_) => {}
            None => drop(self.bad.remove(&key(condition, subject))),
        }
    }

    /// Forgets what a person let go at that time. What the disk told since is remembered, but for what a clock that
    /// differs from the signer's makes of it.
    pub(super) fn release(&mut self, release: &Release, at_ms: u64) {
        let until = at_ms.saturating_add(RELEASE_SKEW_MS);
        let is_old = |bad: &Bad| bad.told_ms <= until;
        self.bad.retain(|_, bad| {
            !(is_old(bad)
                && release.covers(
                    bad.condition.row().level,
                    &bad.subject,
                    &DiskNumbers::of(&bad.disk, ""),
                    bad.required,
                ))
        });
        // One that is there is seen again at once.
        self.drives.retain(|key, drive| {
            let numbers = drive_numbers(key, drive);
            !(drive.seen_ms <= until && release.covers(Level::Critical, &drive.device, &numbers, drive.is_vital()))
        });
    }

    /// The numbers of a disk that was there under that name and is not any more; of several the last.
    pub(super) fn numbers_of_gone(&self, device: &str) -> DiskNumbers {
        let newest = self.drives.values().map(|drive| drive.seen_ms).max();
        let named = self.drives.iter().filter(|(_, drive)| drive.device == device);
        let drive = named.max_by_key(|(_, drive)| (Some(drive.seen_ms) != newest, drive.seen_ms));
        drive.map(|(key, drive)| drive_numbers(key, drive)).unwrap_or_default()
    }

    /// What was bad about that subject when it was last heard.
    pub(super) fn bad(&self, condition: Condition, subject: &str) -> Option<&Bad> {
        self.bad.get(&key(condition, subject))
    }

    /// Forgets what is another disk now, or was taken out on purpose. True: a disk took the place of another one.
    pub(super) fn look(&mut self, now: u64, reading: &Reading, boot: &str, same_boot: bool) -> bool {
        let before = std::mem::replace(&mut self.disks, Disks::of(reading));
        self.disks.recall(&before, same_boot);
        let disks = Names { now: &self.disks, before: &before };
        let bad = std::mem::take(&mut self.bad).into_values().filter_map(|bad| bad.looked_for(now, reading, &disks));
        self.bad = bad.map(|bad| (key(bad.condition, &bad.subject), bad)).collect();
        let replaced = self.disks.replaced(&before);
        // What is not mounted any more was taken care of. No mount at all is a reader that failed.
        let is_mounted = |place: &String| reading.find("node_filesystem_readonly", &[("mountpoint", place)]).is_some();
        if reading.all("node_filesystem_readonly").next().is_some() {
            self.forced.retain(|place, _| is_mounted(place));
        }
        // One that is there no more is told as well while something is mounted from it.
        let told = reading.all("hostler_disk_carries").filter(|(_, there)| *there == 1.0);
        let mut there: BTreeMap<String, Drive> = BTreeMap::new();
        for (labels, _) in told {
            let (Some(device), Some(what)) = (labels.get("device"), labels.get("what")) else { continue };
            let key = labels.get("id").unwrap_or(device).to_owned();
            let (device, boot) = (device.to_owned(), boot.to_owned());
            let told = self.disks.get(&device).map(|numbers| numbers.serial.clone()).filter(|told| !told.is_empty());
            // One that sleeps is the same as long as it keeps its name.
            let known = || self.drives.get(&key).filter(|drive| drive.device == device && drive.boot == boot);
            let serial = told.or_else(|| Some(known()?.serial.clone())).unwrap_or_default();
            let new = || Drive { device, seen_ms: now, carries: BTreeSet::new(), boot, serial };
            there.entry(key).or_insert_with(new).carries.insert(what.to_owned());
        }
        // No disk at all is a reader that failed.
        if !there.is_empty() {
            let served = served(&there, &self.drives);
            // One that was replaced while the machine was off is missed by nobody. Of members their array speaks.
            let replaced = |drive: &Drive| {
                let by_others = drive.is_vital() && drive.vital().all(|what| served.contains(what));
                by_others && !drive.has("array") && !drive.is_of(boot)
            };
            // Its number is known now, or is not any more: within a boot the name is the same disk all the same.
            let renamed = |key: &str, drive: &Drive| {
                let same = |(new, now): (&String, &Drive)| {
                    let unknown = key == drive.device || *new == now.device;
                    now.device == drive.device && unknown && drive.vital().all(|what| now.has(what))
                };
                drive.is_of(boot) && there.iter().any(same)
            };
            let moved = self.under_other_names(&there);
            self.drives.retain(|key, drive| {
                let is_there = there.contains_key(key);
                let is_missed = || !replaced(drive) && !renamed(key, drive) && !moved.contains(key);
                now.saturating_sub(drive.seen_ms) < GONE_MS && (is_there || is_missed())
            });
            self.drives.extend(there);
            cap(&mut self.drives);
        }
        self.members.retain(|_, (_, at)| now.saturating_sub(*at) < GONE_MS);
        self.controllers.retain(|_, seen| now.saturating_sub(*seen) < GONE_MS);
        cap(&mut self.members);
        cap(&mut self.controllers);
        replaced
    }

    /// Disks of which the kernel tells no number, and that are there under another name: smartctl told the serial
    /// number that one has now, or a newcomer without a number, which may be the same one, serves what it did.
    fn under_other_names(&self, there: &BTreeMap<String, Drive>) -> BTreeSet<String> {
        let is_moved = |key: &str, drive: &Drive| {
            let told = |now: &Drive| !drive.serial.is_empty() && now.serial == drive.serial && now.device != key;
            let serves = |(new, now): (&String, &Drive)| {
                let newcomer = *new == now.device && now.took_over(self.drives.get(new));
                newcomer && drive.is_vital() && drive.vital().all(|what| now.has(what))
            };
            key == drive.device && (there.values().any(told) || there.iter().any(serves))
        };
        let moved = self.drives.iter().filter(|(key, drive)| is_moved(key, drive));
        moved.map(|(key, _)| key.clone()).collect()
    }

    /// Whether an error made that file system read-only and it was not mounted again since. `seen`: it is seen now.
    pub(super) fn is_forced(&mut self, mountpoint: &str, now: Forced, readonly: bool, seen: bool) -> bool {
        let holds = self.forced.get(mountpoint).is_some_and(|forced| forced.holds(&now, readonly));
        if seen && self.forced.len() < MAX_KEPT {
            self.forced.insert(mountpoint.to_owned(), now);
        } else if !holds {
            self.forced.remove(mountpoint);
        }
        seen || holds
    }

    /// How many members of a bond or a team are there no more, although they were within a day.
    pub(super) fn lost_members(&mut self, now: u64, name: &str, members: f64) -> f64 {
        let (most, at) = self.members.entry(name.to_owned()).or_insert((members, now));
        if members >= *most {
            (*most, *at) = (members, now);
        }
        *most - members
    }
}

/// What the disks are called, and what they were called when they were last told.
struct Names<'disks> {
    now: &'disks Disks,
    before: &'disks Disks,
}

impl Bad {
    /// The same under the name that its disk has now; none of one that is another disk now or was taken out.
    fn looked_for(mut self, now: u64, reading: &Reading, disks: &Names) -> Option<Self> {
        let name = device(&self.subject).to_owned();
        let other = disks.now.get(&name).filter(|other| self.disk.contradict(other));
        if other.is_some() || !is_there(reading, &name) {
            match (disks.now.name(&self.disk), other) {
                (Some(new), _) => self.rename(&name, new),
                // The name of a disk that is gone went to one that was there as well: nothing took its place.
                (None, Some(other)) if disks.before.name(other).is_some_and(|before| before != name) => {
                    self.rename(&name, &self.disk.word());
                }
                (None, Some(_)) => return None,
                (None, None) => {}
            }
        }
        if is_there(reading, device(&self.subject)) {
            self.seen_ms = now;
            // What was not known when it got bad may be by now.
            if self.disk.is_empty() {
                self.disk = disks.now.get(device(&self.subject)).cloned().unwrap_or_default();
            }
        }
        (now.saturating_sub(self.seen_ms) < GONE_MS).then_some(self)
    }

    fn rename(&mut self, old: &str, new: &str) {
        let label = |name: &str| format!("device=\"{name}\"");
        self.fact = self.fact.replace(&label(old), &label(new));
        self.subject = self.subject.replacen(old, new, 1);
    }

    pub(super) fn new(
        now: u64,
        disks: &Disks,
        condition: Condition,
        subject: &str,
        fact: &str,
        numbers: (Option<f64>, Option<f64>),
        required: bool,
    ) -> Self {
        let disk = disks.get(device(subject)).cloned().unwrap_or_default();
        let (value, threshold) = numbers;
        let (subject, fact) = (subject.to_owned(), fact.to_owned());
        Bad { condition, subject, fact, value, threshold, required, disk, seen_ms: now, told_ms: now }
    }
}
