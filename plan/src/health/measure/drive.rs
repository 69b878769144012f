//! Disks as smartctl and the kernel's list tell them: SATA, SAS, behind USB, and those that are there no more.

use super::super::condition::Condition as C;
use super::super::remember::Drive;
use super::super::rule::Rule;
use super::disk::NO_COUNT;
use super::{DAY_MS, Evaluation, Found, fact};
use crate::fact::Reading;
use std::collections::BTreeMap;

/// A disk gets warm this much below the temperature at which it stops itself.
const BELOW_TRIP: f64 = 5.0;

impl Evaluation<'_> {
    pub(super) fn smartctl(&mut self) {
        for (device, passed) in self.by_device("smartctl_device_smart_status") {
            let series = fact("smartctl_device_smart_status", "device", &device);
            self.push(Found::value(C::SmartFailed, &device, series, passed));
        }
        for (device, pending) in self.by_device("smartctl_device_pending_sectors") {
            let series = fact("smartctl_device_pending_sectors", "device", &device);
            self.push(Found::value(C::PendingSectors, &device, series, pending));
        }
        // A SATA disk calls sectors that it put aside so, a SAS disk calls them its grown defects.
        for name in ["smartctl_device_reallocated_sectors", "smartctl_scsi_grown_defect_list"] {
            for (device, aside) in self.by_device(name) {
                let pending = self.reading.get("smartctl_device_pending_sectors", &[("device", &device)]);
                let grown = self.grown_in_life("sectors", &device, aside + pending.unwrap_or_default());
                self.push(Found::value(C::SectorsGrew, &device, fact(name, "device", &device), grown[0]));
            }
        }
        self.uncorrected();
        for (device, percent) in self.by_device("smartctl_device_percentage_used") {
            if percent / 100.0 == NO_COUNT {
                continue;
            }
            let series = fact("smartctl_device_percentage_used", "device", &device);
            for condition in [C::DiskWorn, C::DiskWornOut] {
                self.push(Found::value(condition, &device, series.clone(), percent / 100.0));
            }
        }
        self.heat();
        self.behind_bridges();
        self.gone();
    }

    /// Growth in a week and in a day of a count that a disk keeps for life.
    pub(super) fn grown_in_life(&mut self, what: &str, device: &str, count: f64) -> [f64; 2] {
        let now = self.now;
        let growth = self.disk_growth(what, device);
        growth.add_for_life(now, count);
        [growth.within(now, 7 * DAY_MS), growth.within(now, DAY_MS)]
    }

    /// Data that a SAS disk could neither read nor write, for its whole life and lately.
    fn uncorrected(&mut self) {
        let name = "smartctl_read_total_uncorrected_errors";
        for (device, read) in self.by_device(name) {
            let more = ["smartctl_write_total_uncorrected_errors", "smartctl_verify_total_uncorrected_errors"];
            let get = |name: &&str| self.reading.get(name, &[("device", &device)]);
            let count = read + more.iter().filter_map(get).sum::<f64>();
            let [week, day] = self.grown_in_life("uncorrected", &device, count);
            let series = fact(name, "device", &device);
            self.push(Found::value(C::UncorrectedGrew, &device, series.clone(), week));
            self.push(Found::value(C::UncorrectedMany, &device, series.clone(), day));
            self.push(Found::value(C::UncorrectedKept, &device, series, count));
        }
    }

    /// Temperatures, against the limits that the disk names.
    fn heat(&mut self) {
        let name = "smartctl_device_temperature";
        let current: Vec<(String, f64)> = self
            .reading
            .all(name)
            .filter(|(labels, _)| labels.get("temperature_type") == Some("current"))
            .filter_map(|(labels, celsius)| Some((labels.get("device")?.to_owned(), celsius)))
            .collect();
        for (device, celsius) in current {
            // An NVMe disk behind a bridge has a rule of its own.
            if self.reading.get("nvme_critical_warning", &[("device", &device)]).is_some() {
                continue;
            }
            let limit = |kind| self.reading.get(name, &[("device", &device), ("temperature_type", kind)]);
            let (highest, trip) = (limit("op_limit_max"), limit("drive_trip"));
            let hot = highest.or(trip.map(|trip| trip - BELOW_TRIP));
            let too_hot = trip.or(highest.map(|highest| highest + BELOW_TRIP));
            let series = format!("{name}{{device=\"{device}\",temperature_type=\"current\"}}");
            for (condition, limit) in [(C::DiskHot, hot), (C::DiskTooHot, too_hot)] {
                let found = Found::value(condition, &device, series.clone(), celsius);
                self.push(limit.map_or(found.clone(), |limit| found.limits(limit, limit - BELOW_TRIP)));
            }
        }
    }

    /// NVMe disks that are no controllers of this machine are judged like those that are.
    fn behind_bridges(&mut self) {
        for (device, _) in self.by_device("nvme_critical_warning") {
            if self.reading.get("hostler_nvme_live", &[("device", &device)]).is_none() {
                let required = self.reading.find("hostler_disk_carries", &[("device", &device), ("what", "root")]);
                self.smart(&device, required.is_some());
            }
        }
    }

    /// Disks that were there within a day and are not now.
    fn gone(&mut self) {
        let arrays = Arrays::of(self.reading);
        let drives: Vec<_> = self.tracker.remembered.drives.values().cloned().collect();
        self.outlived();
        for drive in drives {
            let (device, there) = (drive.device.as_str(), drive.seen_ms == self.now);
            let series = fact("hostler_disk_carries", "device", device);
            let this_boot = drive.is_of(&self.tracker.boot_id);
            if self.is_of_lost_controller(device) {
                continue;
            }
            if drive.has("array") && (!this_boot || !drive.is_vital() || arrays.redundant) {
                let whole = arrays.whole && (!this_boot || arrays.redundant);
                if !there && whole {
                    // A spare took over: nothing lacks, and the disk is gone all the same.
                    self.push(Found::note(Rule::DiskGone, device, series, 0.0));
                } else {
                    self.push(Found::value(C::MemberGone, device, series, f64::from(there)));
                }
            } else if drive.is_vital() && (there || this_boot || drive.has("root")) {
                let found = Found::value(C::DiskGone, device, series, f64::from(there));
                self.push(found.required(drive.has("root") || drive.has("data")));
            } else if drive.is_vital() {
                // The machine came up without it.
                self.push(Found::value(C::MemberGone, device, series, 0.0));
            } else if !there {
                self.push(Found::note(Rule::DiskGone, device, series, 0.0));
            }
        }
    }

    /// Disks that are there no more although something is still mounted from them: what is written there is lost, also
    /// where the disk came back under another name.
    fn outlived(&mut self) {
        let mut lost: BTreeMap<String, bool> = BTreeMap::new();
        for (labels, _) in self.reading.all("hostler_disk_carries").filter(|(_, there)| *there == 0.0) {
            let (Some(device), Some(what)) = (labels.get("device"), labels.get("what")) else { continue };
            *lost.entry(device.to_owned()).or_default() |= what == "root" || what == "data";
        }
        // A memory stick says that it is one while it is there.
        let drives = &self.tracker.remembered.drives;
        let is_stick = |device: &String| drives.values().any(|drive| drive.device == *device && !drive.is_vital());
        lost.retain(|device, _| !is_stick(device));
        for (device, required) in lost {
            let series = fact("hostler_disk_carries", "device", &device);
            self.push(Found::value(C::DiskGone, &device, series, 0.0).required(required));
        }
    }

    /// Whether `nvme_state` speaks of the disk.
    fn is_of_lost_controller(&self, device: &str) -> bool {
        let controller = controller(device).filter(|name| self.tracker.remembered.controllers.contains_key(*name));
        controller.is_some_and(|name| match self.reading.get("hostler_nvme_live", &[("device", name)]) {
            Some(live) => live != 1.0,
            None => self.carried(name).is_some(),
        })
    }

    /// Whether the node is lost without what a controller carries or did in this boot. None where that was nothing
    /// vital, or what others have too.
    pub(super) fn carried(&self, name: &str) -> Option<bool> {
        let arrays = Arrays::of(self.reading);
        let is_one = |drive: &&Drive| drive.is_vital() && !(drive.has("array") && arrays.redundant);
        let boot = &self.tracker.boot_id;
        let drives = self.tracker.remembered.drives.values();
        let of_it = drives.filter(|drive| controller(&drive.device) == Some(name) && drive.is_of(boot));
        of_it.filter(is_one).map(|drive| drive.has("root") || drive.has("data")).max()
    }
}

/// `nvme0` of `nvme0n1`.
fn controller(device: &str) -> Option<&str> {
    let digits = device.strip_prefix("nvme")?.find('n')?;
    device.get(.."nvme".len() + digits)
}

/// How the machine's software RAID stands, that of LVM too.
struct Arrays {
    /// Whether every array can do without a member: only such a one is ever rebuilt.
    redundant: bool,
    /// Whether no array lacks a member.
    whole: bool,
}

impl Arrays {
    fn of(reading: &Reading) -> Self {
        let every = |is: &dyn Fn(&str, &str) -> bool| {
            let all = reading.all("hostler_redundancy_required");
            let named = all.filter_map(|(labels, _)| Some((labels.get("kind")?, labels.get("name")?)));
            let mut told = named.filter(|(kind, _)| ["md", "lvm"].contains(kind)).peekable();
            told.peek().is_some() && told.all(|(kind, name)| is(kind, name))
        };
        let get = |series: &str, kind: &str, name: &str| reading.get(series, &[("kind", kind), ("name", name)]);
        Arrays {
            // Of LVM only mirrors are told, and not whether they are rebuilt.
            redundant: every(&|kind, name| kind == "lvm" || get("hostler_redundancy_rebuilding", kind, name).is_some()),
            whole: every(&|kind, name| get("hostler_redundancy_missing", kind, name) == Some(0.0)),
        }
    }
}
