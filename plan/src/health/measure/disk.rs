//! File systems, I/O, NVMe, eMMC and SATA.

use super::super::condition::Condition as C;
use super::super::remember::Forced;
use super::{DAY_MS, Evaluation, Found, MINUTE_MS, fact};

/// Mount points that Kubernetes cannot do without.
pub const REQUIRED_MOUNTS: [&str; 6] =
    ["/", "/var", "/var/lib", "/var/lib/kubelet", "/var/lib/rancher", "/var/lib/containerd"];
/// On small disks 5 % is nothing; on large ones it is plenty.
const SMALL_BYTES: f64 = 5e9;
/// An I/O latency of fewer operations says nothing.
const MIN_OPERATIONS: f64 = 10.0;
/// SD cards are that much slower when they are well.
const CARD_FACTOR: f64 = 3.0;
/// What a disk says that does not count how far it is worn: 255 %, all bits set.
pub(super) const NO_COUNT: f64 = 2.55;
/// Spare blocks run low this much above the disk's own threshold, and do not any more this much above it.
const SPARE_LOW: f64 = 0.10;
const SPARE_CLEAR: f64 = 0.15;
/// Load after a boot (images are pulled, logs are read) is no finding.
pub(super) const SETTLING_SECONDS: f64 = 300.0;

impl Evaluation<'_> {
    pub(super) fn filesystems(&mut self) {
        let mounts: Vec<(String, String, bool)> = self
            .reading
            .all("node_filesystem_readonly")
            .filter_map(|(labels, readonly)| {
                Some((labels.get("mountpoint")?.to_owned(), labels.get("device")?.to_owned(), readonly == 1.0))
            })
            .collect();
        if !mounts.iter().any(|(mountpoint, ..)| mountpoint == "/") {
            let root = fact("node_filesystem_avail_bytes", "mountpoint", "/");
            self.push(Found::maybe(C::DiskUsed, "/", root, None).required(true));
        }
        for (mountpoint, device, readonly) in mounts {
            let required = REQUIRED_MOUNTS.contains(&mountpoint.as_str());
            self.read_only(&mountpoint, &device, readonly, required);
            if !readonly {
                self.space(&mountpoint, &device, required);
            }
        }
        let errors: Vec<(String, f64)> = self.by_device("hostler_ext4_errors_total");
        for (device, count) in errors {
            // The superblock keeps the count over a boot, until fsck. After an error ext4 may refuse writes while the
            // mount table still says rw, so a count that was there before anybody looked is no history either.
            let now = self.now;
            let growth = self.disk_growth("ext4", &device);
            growth.add(now, count);
            let grown = growth.within(now, DAY_MS);
            let fact = fact("hostler_ext4_errors_total", "device", &device);
            self.push(Found::value(C::Ext4ErrorsKept, &device, fact.clone(), count));
            self.push(Found::value(C::Ext4Errors, &device, fact, grown));
        }
    }

    /// Read-only counts when an error made it so: the kernel's log says it, or ext4 has counted errors. Where nobody
    /// can tell, one that was writable before in this boot counts too. A boot partition that is writable for an update
    /// only, and a root that is meant to be read-only, are as they should be.
    fn read_only(&mut self, mountpoint: &str, device: &str, readonly: bool, required: bool) {
        let name = device.rsplit('/').next().unwrap_or_default();
        // A name of device mapper and /dev/root tell no device: then any may be meant.
        let vague = device.starts_with("/dev/mapper/") || device == "/dev/root" || !device.starts_with("/dev/");
        let is_it = |known: &str| known == name || (vague && (device == "/dev/root" || known.starts_with("dm-")));
        let sum = |series: &str| {
            let of = self.reading.all(series).filter(|(labels, _)| labels.get("device").is_some_and(is_it));
            of.map(|(_, count)| count).sum::<f64>()
        };
        let (forced, errors) = (sum("hostler_filesystem_forced_readonly_total"), sum("hostler_ext4_errors_total"));
        if !readonly {
            // What was forced before is repaired.
            self.tracker.was_writable.insert(mountpoint.to_owned(), forced);
        }
        let before = self.tracker.was_writable.get(mountpoint).copied();
        let has_log = self.reading.all("hostler_kernel_events_total").next().is_some();
        let emergency = self.reading.get("hostler_filesystem_emergency_readonly", &[("mountpoint", mountpoint)]);
        let mut counted = self.reading.all("hostler_ext4_errors_total");
        let has_count = counted.any(|(labels, _)| labels.get("device").is_some_and(is_it));
        // Without any witness a boot partition is taken to be as people keep it.
        let is_boot = ["/boot", "/efi"].iter().any(|folder| mountpoint.starts_with(folder));
        let turned = before.is_some() && !has_log && (errors > 0.0 || !(has_count || is_boot));
        let seen = readonly && (emergency.is_some() || forced > before.unwrap_or_default() || turned);
        let now = Forced::now(self.reading, &self.tracker.boot_id, mountpoint, device);
        let bad = self.tracker.remembered.is_forced(mountpoint, now, readonly, seen);
        let fact = fact("node_filesystem_readonly", "mountpoint", mountpoint);
        self.push(Found::value(C::ReadOnly, mountpoint, fact, f64::from(bad)).required(required));
    }

    fn space(&mut self, mountpoint: &str, device: &str, required: bool) {
        let value = |name: &str| {
            let labels = [("device", device), ("mountpoint", mountpoint)];
            self.reading.find(name, &labels).map(|(_, value)| value)
        };
        let (avail, size) = (value("node_filesystem_avail_bytes"), value("node_filesystem_size_bytes"));
        let (files, free) = (value("node_filesystem_files"), value("node_filesystem_files_free"));
        let ratio = avail.zip(size).filter(|(_, size)| *size > 0.0).map(|(avail, size)| avail / size);
        let used = ratio.map(|ratio| 1.0 - ratio);
        let small = avail.zip(ratio).map(|(avail, ratio)| if avail < SMALL_BYTES { ratio } else { 1.0 });
        let series = fact("node_filesystem_avail_bytes", "mountpoint", mountpoint);
        for (condition, value) in [(C::DiskUsed, used), (C::DiskFull, used), (C::DiskAvailable, small)] {
            self.push(Found::maybe(condition, mountpoint, series.clone(), value).required(required));
        }
        if let (Some(avail), Some(ratio)) = (avail, ratio) {
            let trend = self.tracker.trends.entry(mountpoint.to_owned()).or_default();
            trend.add(self.now, avail);
            // Before an hour there is no trend and no finding; a disk with plenty of room may grow.
            if let Some(hours) = trend.hours_to_zero(self.now) {
                for (condition, room) in [(C::DiskFullInADay, 0.40), (C::DiskFullInHours, 0.20)] {
                    let found = if ratio < room && hours.is_finite() {
                        Found::value(condition, mountpoint, series.clone(), hours)
                    } else {
                        Found::quiet(condition, mountpoint, series.clone())
                    };
                    self.push(found);
                }
            }
        }
        if let (Some(files), Some(free)) = (files, free)
            && files > 0.0
        {
            let series = fact("node_filesystem_files_free", "mountpoint", mountpoint);
            for condition in [C::InodesUsed, C::InodesFull] {
                self.push(Found::value(condition, mountpoint, series.clone(), 1.0 - free / files));
            }
        }
    }

    pub(super) fn disks(&mut self) {
        for (device, _) in self.by_device("node_disk_io_now") {
            self.latency(&device);
            self.queue(&device);
        }
        self.emmc();
    }

    fn latency(&mut self, device: &str) {
        let series = fact("node_disk_read_time_seconds_total", "device", device);
        if self.younger_than(SETTLING_SECONDS) {
            return;
        }
        let mut slowest = None::<f64>;
        for (seconds, operations) in [
            ("node_disk_read_time_seconds_total", "node_disk_reads_completed_total"),
            ("node_disk_write_time_seconds_total", "node_disk_writes_completed_total"),
        ] {
            let value = |name| self.reading.get(name, &[("device", device)]);
            let (Some(time), Some(count)) = (value(seconds), value(operations)) else { continue };
            let rate = self.tracker.rates.entry(format!("{seconds} {device}")).or_default();
            if let Some((time, count, _)) = rate.add(self.now, time, count, MINUTE_MS)
                && count >= MIN_OPERATIONS
            {
                let latency = time / count;
                slowest = Some(slowest.map_or(latency, |slow| slow.max(latency)));
            }
        }
        let factor = if device.starts_with("mmcblk") { CARD_FACTOR } else { 1.0 };
        for condition in [C::LatencyHigh, C::LatencyExtreme] {
            let row = condition.row();
            let found = match slowest {
                Some(latency) => Found::value(condition, device, series.clone(), latency),
                None => Found::quiet(condition, device, series.clone()),
            };
            self.push(found.limits(row.raise * factor, row.clear * factor));
        }
    }

    fn queue(&mut self, device: &str) {
        let name = "node_disk_io_time_weighted_seconds_total";
        let Some(weighted) = self.reading.get(name, &[("device", device)]) else { return };
        let rate = self.tracker.rates.entry(format!("{name} {device}")).or_default();
        if let Some((weighted, _, seconds)) = rate.add(self.now, weighted, 0.0, MINUTE_MS) {
            self.push(Found::value(C::IoQueue, device, fact(name, "device", device), weighted / seconds));
        }
    }

    fn emmc(&mut self) {
        let life: Vec<(String, String, f64)> = self
            .reading
            .all("hostler_mmc_life_used_ratio")
            .filter_map(|(labels, used)| Some((labels.get("device")?.to_owned(), labels.get("type")?.to_owned(), used)))
            .collect();
        for (device, kind, used) in life {
            let series = format!("hostler_mmc_life_used_ratio{{device=\"{device}\",type=\"{kind}\"}}");
            let subject = format!("{device} {kind}");
            for condition in [C::EmmcWorn, C::EmmcWornOut] {
                self.push(Found::value(condition, &subject, series.clone(), used));
            }
        }
        for (device, reserve) in self.by_device("hostler_mmc_pre_eol") {
            for condition in [C::EmmcReserveLow, C::EmmcReserveOut] {
                self.push(Found::value(condition, &device, fact("hostler_mmc_pre_eol", "device", &device), reserve));
            }
        }
    }

    pub(super) fn nvme(&mut self) {
        let live = self.by_device("hostler_nvme_live");
        for (device, _) in &live {
            self.tracker.remembered.controllers.insert(device.clone(), self.now);
        }
        let known: Vec<String> = self.tracker.remembered.controllers.keys().cloned().collect();
        for device in known {
            let state = live.iter().find(|(name, _)| *name == device).map(|(_, live)| *live);
            let carried = self.carried(&device);
            // One that left and carried nothing that the machine misses was taken out, or was the volume of a pod.
            if state.is_none() && carried.is_none() {
                continue;
            }
            let root = self.reading.get("hostler_nvme_root", &[("device", &device)]).is_some();
            let required = root || carried == Some(true);
            let live = state.unwrap_or(0.0);
            for condition in [C::NvmeNotLive, C::NvmeGone] {
                let series = fact("hostler_nvme_live", "device", &device);
                self.push(Found::value(condition, &device, series, live).required(required));
            }
            if state == Some(1.0) {
                self.smart(&device, root);
            }
        }
        self.links();
    }

    pub(super) fn smart(&mut self, device: &str, required: bool) {
        let labels = [("device", device)];
        let get = |name: &str| self.reading.get(name, &labels);
        let warning = get("nvme_critical_warning").map(|word| word as u64);
        let (spare, threshold) = (get("nvme_available_spare_ratio"), get("nvme_available_spare_threshold_ratio"));
        let (used, media) = (get("nvme_percentage_used_ratio"), get("nvme_media_errors_total"));
        let celsius = get("nvme_temperature_celsius");
        let (warm, hot) = (get("hostler_nvme_warn_temp_celsius"), get("hostler_nvme_crit_temp_celsius"));
        // Bit 1 temperature; 4 and 5 backup and persistent memory; 0, 2 and 3 spare, reliability, read-only.
        let series = fact("hostler_nvme_critical_warning", "device", device);
        for (condition, mask) in
            [(C::NvmeWarnTemperature, 0b10), (C::NvmeWarnBackup, 0b11_0000), (C::NvmeWarnFatal, 0b1101)]
        {
            let value = warning.map(|word| f64::from(word & mask != 0));
            self.push(Found::maybe(condition, device, series.clone(), value).required(required));
        }
        let series = fact("nvme_available_spare_ratio", "device", device);
        // A threshold of 0 is none. With 0 of 0 the disk fills in neither, and with more than all of it nothing that
        // can be: only its warning bit can tell.
        let told = spare.is_none_or(|spare| spare <= 1.0 && (threshold != Some(0.0) || spare > 0.0));
        let (spare, required) = (spare.filter(|_| told), required && told);
        // A limit that a disk as good as new could not clear is none: some say 99 or 100 %.
        let meant = threshold.filter(|limit| *limit > 0.0 && limit + SPARE_CLEAR < 1.0);
        let limit = meant.unwrap_or_else(|| C::NvmeSpareOut.row().raise);
        let low = Found::maybe(C::NvmeSpareLow, device, series.clone(), spare);
        self.push(low.required(required).limits(limit + SPARE_LOW, limit + SPARE_CLEAR));
        let out = Found::maybe(C::NvmeSpareOut, device, series, spare);
        self.push(out.required(required).limits(limit, limit));
        let worn = used != Some(NO_COUNT);
        for condition in [C::NvmeWorn, C::NvmeWornOut].into_iter().filter(|_| worn) {
            let series = fact("nvme_percentage_used_ratio", "device", device);
            self.push(Found::maybe(condition, device, series, used));
        }
        let grown = media.map(|media| self.grown_in_life("media", device, media));
        let series = fact("nvme_media_errors_total", "device", device);
        let (week, day) = (grown.map(|grown| grown[0]), grown.map(|grown| grown[1]));
        self.push(Found::maybe(C::NvmeMediaError, device, series.clone(), week));
        self.push(Found::maybe(C::NvmeMediaErrorMany, device, series, day));
        let series = fact("nvme_temperature_celsius", "device", device);
        // Too hot is never below warm: a disk that names only when it is warm is taken at its word.
        let fallback = warm.map(|warm| (warm + 5.0).max(C::NvmeTooHot.row().raise));
        for (condition, limit) in [(C::NvmeHot, warm), (C::NvmeTooHot, hot.or(fallback))] {
            let found = Found::maybe(condition, device, series.clone(), celsius);
            self.push(limit.map_or(found.clone(), |limit| found.limits(limit, limit - 5.0)));
        }
    }

    /// A link that is slower or narrower than it once was. A Raspberry Pi is always below what the disk could do.
    fn links(&mut self) {
        let name = "node_pcidevice_current_link_transfers_per_second";
        let links: Vec<(String, f64)> = self
            .reading
            .all(name)
            .filter_map(|(labels, speed)| {
                let part = |label| labels.get(label);
                let (segment, bus, device, function) =
                    (part("segment")?, part("bus")?, part("device")?, part("function")?);
                let address = [("segment", segment), ("bus", bus), ("device", device), ("function", function)];
                let width = self.reading.get("node_pcidevice_current_link_width", &address)?;
                Some((format!("{segment}:{bus}:{device}.{function}"), speed * width))
            })
            .collect();
        for (address, rate) in links {
            let best = self.tracker.best.entry(format!("link {address}")).or_insert(rate);
            *best = best.max(rate);
            let share = rate / *best;
            self.push(Found::value(C::LinkBelowBaseline, &address, name.to_owned(), share));
        }
    }

    /// Device and value of every series of a name.
    pub(super) fn by_device(&self, name: &str) -> Vec<(String, f64)> {
        let series = self.reading.all(name);
        series.filter_map(|(labels, value)| Some((labels.get("device")?.to_owned(), value))).collect()
    }
}
