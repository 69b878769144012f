//! What a verdict says of its number, in words and units of people. The series that it comes from stands beside it, for
//! programs and for whoever looks further.

use super::condition::{Condition as C, Side};
use super::{Rule, Verdict, plain};
use crate::text::age;

/// How a number is said.
enum Said {
    /// A share, in percent.
    Share(&'static str),
    /// What it counts or measures, and its unit.
    Number(&'static str, &'static str),
    /// Bytes.
    Bytes(&'static str),
    /// Seconds, often parts of one.
    Seconds(&'static str),
    /// Seconds until something ends.
    Left(&'static str),
    /// True or not, and then a limit says nothing: what it is about, how it is when it is bad, and when it is not.
    State(&'static str, &'static str, &'static str),
    /// What an eMMC says of its reserved blocks: 1, 2 or 3.
    Reserve,
}

use Said::{Bytes, Left, Number, Reserve, Seconds, Share, State};

fn of(condition: C) -> Said {
    match condition {
        C::DiskUsed | C::DiskFull => Share("used space"),
        C::DiskAvailable => Share("free space"),
        C::DiskFullInADay | C::DiskFullInHours => Number("time until it is full", " h"),
        C::InodesUsed | C::InodesFull => Share("share of its inodes in use"),
        C::ReadOnly => State("whether it can be written", "an error made it read-only", "it can be written"),
        C::Ext4ErrorsKept => Number("number of errors since the last fsck", ""),
        C::Ext4Errors => Number("number of new errors in a day", ""),
        C::MemoryAvailable => Share("available memory"),
        C::MemoryBytes => Bytes("available memory"),
        C::PressureSome => Share("time in which some process waits for memory"),
        C::PressureFull => Share("time in which all processes wait for memory"),
        C::OomKill | C::OomKills => Number("number of processes killed for want of memory in 30 minutes", ""),
        C::MajorFaultRate => Number("rate of pages that are read from the disk again", " a second"),
        C::SwapUsed | C::SwapFull => Share("used swap"),
        C::LoadPerCore => Number("load", " a core"),
        C::LatencyHigh | C::LatencyExtreme => Seconds("time that a request takes"),
        C::IoQueue => Number("number of requests in flight", ""),
        C::PiHot | C::PiTooHot | C::CpuHot | C::CpuTooHot => Number("temperature", " °C"),
        C::NvmeHot | C::NvmeTooHot | C::DiskHot | C::DiskTooHot => Number("temperature", " °C"),
        C::PackageThrottles => Number("number of times it was slowed down for heat in 5 minutes", ""),
        C::PiSlowed => State(
            "whether the firmware slows the processor down",
            "the firmware slows the processor down",
            "nothing slows the processor down",
        ),
        C::PiThrottledLong => State(
            "whether the firmware slows the processor down",
            "the firmware keeps the processor slow",
            "nothing slows the processor down",
        ),
        C::UnderVoltage => {
            State("whether the supply voltage holds", "the supply voltage drops too low", "the supply voltage holds")
        }
        C::UnderVoltageOften => State(
            "whether the supply voltage holds",
            "the supply voltage drops too low again and again",
            "the supply voltage holds",
        ),
        C::SupplyTooLow | C::InputLow | C::InputTooLow => Number("input voltage", " V"),
        C::NewThrottleBits => Number("number of new kinds of heat or voltage trouble in a day", ""),
        C::NvmeWarnTemperature => State(
            "whether the disk warns of something",
            "the disk warns that it is too hot or cold",
            "the disk does not warn",
        ),
        C::NvmeWarnBackup => State(
            "whether the disk warns of something",
            "the disk warns that its cache is not backed up",
            "the disk does not warn",
        ),
        C::NvmeWarnFatal => {
            State("whether the disk warns of something", "the disk warns that it fails", "the disk does not warn")
        }
        C::NvmeSpareLow | C::NvmeSpareOut => Share("rest of its spare blocks"),
        C::NvmeWorn | C::NvmeWornOut | C::EmmcWorn | C::EmmcWornOut | C::DiskWorn | C::DiskWornOut => {
            Share("used life")
        }
        C::NvmeMediaError => Number("number of new media errors in a week", ""),
        C::NvmeMediaErrorMany => Number("number of new media errors in a day", ""),
        C::NvmeNotLive | C::NvmeGone => {
            State("whether its controller answers", "its controller does not answer", "its controller answers")
        }
        C::LinkBelowBaseline | C::LinkSlower => Share("share of the link's best speed"),
        C::SectorsGrew => Number("number of sectors that went bad in a week", ""),
        C::PendingSectors => Number("number of sectors that cannot be read", ""),
        C::UncorrectedGrew => Number("number of new uncorrected errors in a week", ""),
        C::UncorrectedMany => Number("number of new uncorrected errors in a day", ""),
        C::UncorrectedKept => Number("number of uncorrected errors in its life", ""),
        C::SmartFailed => {
            State("what the disk says of itself", "the disk says that it fails", "the disk says that it is well")
        }
        C::MemberGone | C::DiskGone => {
            State("whether the disk is there", "the disk is there no more", "the disk is there")
        }
        C::MemberMissing => Number("number of missing members", ""),
        C::Rebuilding => State("whether it is being rebuilt", "it is being rebuilt", "it is not being rebuilt"),
        C::BtrfsErrors => Number("number of errors since they were reset", ""),
        C::ArrayFailed => State("whether it serves", "it cannot serve any more", "it serves"),
        C::EmmcReserveLow | C::EmmcReserveOut => Reserve,
        C::CorrectedErrors => Number("number of corrected memory errors in 10 minutes", ""),
        C::UncorrectedErrors => Number("number of uncorrected memory errors", ""),
        C::BrokenPages => Bytes("memory that is broken and put aside"),
        C::MachineChecks => Number("number of machine checks in an hour", ""),
        C::NewTaint => State(
            "what the kernel tells of its bugs",
            "the kernel tells of a bug or a lockup",
            "the kernel tells of no bug",
        ),
        C::OopsAndHungTasks => State(
            "what the kernel tells of its bugs",
            "the kernel had a bug, and tasks hang",
            "no tasks hang after a bug of the kernel",
        ),
        C::ClockUnsynchronised => {
            State("whether the clock is kept right", "nothing keeps the clock right", "the clock is kept right")
        }
        C::ClockOffset | C::ClockFarOff => Seconds("error of the clock"),
        C::FailedUnits => Number("number of failed units", ""),
        C::KubeUnitFailed => State("state of the unit", "it has failed", "it has not failed"),
        C::KubeUnitStuck => State("state of the unit", "it does not become active", "it is not on its way"),
        C::KubeUnitStopped => State("state of the unit", "it should run and is stopped", "it is not stopped"),
        C::KubeUnitRestarts => Number("number of restarts in 5 minutes", ""),
        C::PacketErrors => Share("share of broken packets"),
        C::LinkFlaps => Number("number of times the link came or went in 10 minutes", ""),
        C::NoCarrier => State("whether it has a link", "it has no link", "it has a link"),
        C::ConntrackHigh | C::ConntrackFull => Share("use of the table of connections"),
        C::FilesHigh | C::FilesFull => Share("use of the table of open files"),
        C::CertificateSoon | C::CertificateNow => Left("it expires"),
        C::NoMemoryCgroup => State(
            "whether the kernel limits the memory of pods",
            "the kernel does not limit the memory of pods",
            "the kernel limits memory of pods",
        ),
    }
}

/// What its number is, with the limit where it has one.
pub(super) fn said(verdict: &Verdict) -> String {
    match (verdict.condition, verdict.value) {
        (Some(condition), Some(value)) => number(condition, value, verdict.threshold),
        (Some(condition), None) => format!("{} is not known", subject(condition)),
        (None, value) => note(verdict, value),
    }
}

fn number(condition: C, value: f64, limit: Option<f64>) -> String {
    let with = |what: &str, text: &dyn Fn(f64) -> String| {
        let limit = limit.map_or_else(String::new, |limit| format!(", limit {}", text(limit)));
        format!("{what} is {}{limit}", text(value))
    };
    match of(condition) {
        Share(what) => with(what, &|share| format!("{} %", tenths(share * 100.0))),
        // A limit of one says that any is too many.
        Number(what, "") if limit == Some(1.0) => format!("{what} is {}", rounded(value, 100.0)),
        Number(what, unit) => with(what, &|value| format!("{}{unit}", rounded(value, 100.0))),
        Bytes(what) if limit == Some(1.0) => format!("{what} is {}", bytes(value)),
        Bytes(what) => with(what, &bytes),
        Seconds(what) => with(what, &seconds),
        Left(what) => left(what, value, limit),
        State(_, bad, good) => {
            let row = condition.row();
            let is_bad = match row.side {
                Side::Above => value >= row.raise,
                Side::Below => value < row.raise,
            };
            (if is_bad { bad } else { good }).to_owned()
        }
        Reserve => match value {
            value if value >= 3.0 => "90 % of its reserved blocks are used up".to_owned(),
            value if value >= 2.0 => "80 % of its reserved blocks are used up".to_owned(),
            _ => "its reserved blocks are there".to_owned(),
        },
    }
}

/// What is not known.
fn subject(condition: C) -> &'static str {
    match of(condition) {
        Share(what) | Number(what, _) | Bytes(what) | Seconds(what) | State(what, ..) => what,
        Left(_) => "when it expires",
        Reserve => "rest of its reserved blocks",
    }
}

/// What is worth showing and never bad.
fn note(verdict: &Verdict, value: Option<f64>) -> String {
    let value = match (verdict.rule, value) {
        (Rule::Report, Some(seconds)) => return format!("no report came from it for {}", age(seconds as u64)),
        (Rule::Report, None) => return "no report comes from it".to_owned(),
        (_, Some(value)) => value,
        (_, None) => return "what it measures is not known".to_owned(),
    };
    let wants = value != 0.0;
    let said = match (verdict.rule, verdict.subject.as_str()) {
        (Rule::DiskGone, _) if wants => "the disk is there",
        (Rule::DiskGone, _) => "the disk is there no more",
        (Rule::Maintenance, "reboot") if wants => "it has to be rebooted before all updates count",
        (Rule::Maintenance, "reboot") => "nothing waits for a reboot",
        (Rule::Maintenance, "boot loader") if wants => "a newer boot loader is there",
        (Rule::Maintenance, "boot loader") => "the boot loader is the newest",
        (Rule::Maintenance, _) => return format!("number of updates that can be installed is {}", plain(value)),
        (Rule::Facts, _) => return format!("number of series that were left out is {}", plain(value)),
        // No other rule has a note.
        (rule, _) => return format!("{rule} is {}", plain(value)),
    };
    said.to_owned()
}

/// A counter of errors in words, with what it counts of: `number of media errors of nvme0`.
pub(super) fn counter(series: &str) -> String {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let what = match name {
        "hostler_node_oom_kills_total" => "number of processes killed for want of memory",
        "node_edac_correctable_errors_total" => "number of corrected memory errors",
        "node_edac_uncorrectable_errors_total" => "number of uncorrected memory errors",
        "hostler_machine_check_exceptions_total" => "number of machine checks",
        "node_kernel_hung_tasks_total" => "number of tasks that hung",
        "node_cpu_package_throttles_total" => "number of times that the processor was slowed down for heat",
        "nvme_media_errors_total" => "number of media errors",
        "hostler_ext4_errors_total" => "number of ext4 errors",
        "hostler_btrfs_errors_total" => "number of btrfs errors",
        "smartctl_read_total_uncorrected_errors" => "number of uncorrected read errors",
        other => other,
    };
    let of: Vec<&str> = labels.split('"').skip(1).step_by(2).collect();
    if of.is_empty() { what.to_owned() } else { format!("{what} of {}", of.join(" ")) }
}

/// In parts of one, without zeros at the end.
fn rounded(value: f64, parts: f64) -> String {
    plain((value * parts).round() / parts)
}

fn tenths(value: f64) -> String {
    rounded(value, 10.0)
}

fn bytes(value: f64) -> String {
    let units = [("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1024.0)];
    let fits = units.into_iter().find(|(_, size)| value.abs() >= *size);
    fits.map_or_else(|| format!("{} bytes", plain(value)), |(unit, size)| format!("{} {unit}", tenths(value / size)))
}

fn seconds(value: f64) -> String {
    if value.abs() < 1.0 { format!("{} ms", tenths(value * 1000.0)) } else { format!("{} s", tenths(value)) }
}

/// `expires in 6 d, limit 7 d`, or that it did.
fn left(what: &str, value: f64, limit: Option<f64>) -> String {
    let whole = |seconds: f64| age(seconds.abs() as u64);
    let limit = limit.map_or_else(String::new, |limit| format!(", limit {}", whole(limit)));
    if value < 0.0 { format!("it expired {} ago", whole(value)) } else { format!("{what} in {}{limit}", whole(value)) }
}
