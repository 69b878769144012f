//! The conditions of all rules as data: which rule, which level, which side of which thresholds, for how long.
//!
//! A condition looks at one number. It becomes true when the number stands beyond `raise` for the time that `confirm`
//! asks, and false again when it stands beyond `clear`, which is another number, for `clear_seconds`. Sources of the
//! numbers: Netdata's and kube-prometheus' rules, kubelet's eviction limits, Raspberry Pi documentation, the NVMe
//! specification; docs/facts.md names them per rule and says which are this project's own choice.

use super::{Level, Rule};
use serde::{Deserialize, Serialize};

/// Which side of the threshold is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Bad at or above `raise`, good at or below `clear`.
    Above,
    /// Bad below `raise`, good above `clear`.
    Below,
}

/// How long a number must be bad before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// Without a break for this many seconds; 0 is at once.
    Seconds(u32),
    /// In so many of the last samples, whatever lies between; 64 are kept.
    Samples(u8, u8),
}

macro_rules! conditions {
    ($($name:ident = $rule:ident $level:ident $side:ident $raise:literal $clear:literal
        $confirm:expr, $clear_seconds:literal;)*) => {
        /// One number of one rule. The names are the keys for thresholds in the fleet file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[allow(missing_docs)]
        pub enum Condition { $($name,)* }

        impl Condition {
            /// Every condition.
            pub const ALL: &[Condition] = &[$(Condition::$name,)*];

            /// Its name as code writes it, such as `DiskSpaceLow`.
            pub fn name(self) -> &'static str {
                match self { $(Condition::$name => stringify!($name),)* }
            }

            /// Its row of the table.
            pub fn row(self) -> Row {
                match self {
                    $(Condition::$name => Row {
                        rule: Rule::$rule,
                        level: Level::$level,
                        side: Side::$side,
                        raise: $raise,
                        clear: $clear,
                        confirm: $confirm,
                        clear_seconds: $clear_seconds,
                    },)*
                }
            }
        }
    };
}

impl Condition {
    /// Whether it is what a disk says of itself that does not pass: it holds until the disk says otherwise, and not
    /// only while it answers.
    pub fn stays(self) -> bool {
        use Condition as C;
        [
            C::SmartFailed,
            C::PendingSectors,
            C::SectorsGrew,
            C::UncorrectedGrew,
            C::UncorrectedMany,
            C::NvmeMediaError,
            C::NvmeMediaErrorMany,
            C::NvmeWarnFatal,
            C::NvmeSpareLow,
            C::NvmeSpareOut,
            C::NvmeWorn,
            C::NvmeWornOut,
            C::EmmcWorn,
            C::EmmcWornOut,
            C::EmmcReserveLow,
            C::EmmcReserveOut,
            C::DiskWorn,
            C::UncorrectedKept,
            C::DiskWornOut,
        ]
        .contains(&self)
    }

    /// Whether it is that a disk is there no more.
    pub fn is_gone(self) -> bool {
        [Condition::DiskGone, Condition::MemberGone].contains(&self)
    }

    /// The unit of its number and of its thresholds.
    pub fn unit(self) -> &'static str {
        use Condition as C;
        match self {
            C::DiskUsed | C::DiskFull | C::InodesUsed | C::InodesFull | C::SwapUsed | C::SwapFull => "share used",
            C::DiskAvailable | C::MemoryAvailable | C::NvmeSpareLow | C::NvmeSpareOut => "share left",
            C::NvmeWorn | C::NvmeWornOut | C::EmmcWorn | C::EmmcWornOut | C::DiskWorn | C::DiskWornOut => {
                "share of life used"
            }
            C::PressureSome | C::PressureFull => "share of a minute",
            C::PacketErrors => "errors a packet",
            C::ConntrackHigh | C::ConntrackFull | C::FilesHigh | C::FilesFull => "share used",
            C::LinkBelowBaseline | C::LinkSlower => "share of its best",
            C::DiskFullInADay | C::DiskFullInHours => "hours until full",
            C::MemoryBytes | C::BrokenPages => "bytes",
            C::OomKill | C::OomKills => "kills in 30 minutes",
            C::MajorFaultRate => "faults a second",
            C::LoadPerCore => "load a core",
            C::LatencyHigh | C::LatencyExtreme => "seconds a request",
            C::IoQueue => "requests in flight",
            C::PiHot | C::PiTooHot | C::CpuHot | C::CpuTooHot => "°C",
            C::NvmeHot | C::NvmeTooHot | C::DiskHot | C::DiskTooHot => "°C",
            C::SupplyTooLow | C::InputLow | C::InputTooLow => "V",
            C::PackageThrottles => "events in 5 minutes",
            C::NewThrottleBits | C::Ext4Errors | C::NvmeMediaErrorMany | C::UncorrectedMany => "new in a day",
            C::NvmeMediaError | C::SectorsGrew | C::UncorrectedGrew => "new in a week",
            C::CorrectedErrors | C::LinkFlaps => "new in 10 minutes",
            C::MachineChecks => "new in an hour",
            C::UncorrectedErrors | C::UncorrectedKept | C::BtrfsErrors => "errors",
            C::PendingSectors => "sectors",
            C::MemberMissing => "members",
            C::Ext4ErrorsKept => "errors since the last fsck",
            C::ClockOffset | C::ClockFarOff => "seconds off",
            C::FailedUnits => "failed units",
            C::KubeUnitRestarts => "restarts in 5 minutes",
            C::CertificateSoon | C::CertificateNow => "seconds left",
            C::EmmcReserveLow | C::EmmcReserveOut => "(1 normal, 2 warning, 3 urgent)",
            C::ReadOnly
            | C::PiSlowed
            | C::PiThrottledLong
            | C::UnderVoltage
            | C::UnderVoltageOften
            | C::NvmeWarnTemperature
            | C::NvmeWarnBackup
            | C::NvmeWarnFatal
            | C::NvmeNotLive
            | C::NvmeGone
            | C::SmartFailed
            | C::DiskGone
            | C::MemberGone
            | C::ArrayFailed
            | C::Rebuilding
            | C::NewTaint
            | C::OopsAndHungTasks
            | C::ClockUnsynchronised
            | C::KubeUnitFailed
            | C::KubeUnitStuck
            | C::KubeUnitStopped
            | C::NoCarrier
            | C::NoMemoryCgroup => "",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The rule it belongs to.
    pub rule: Rule,
    /// What it makes of the rule.
    pub level: Level,
    /// Which side is bad.
    pub side: Side,
    /// Bad from here on, in base units.
    pub raise: f64,
    /// Good again from here on.
    pub clear: f64,
    /// How long it must be bad.
    pub confirm: Confirm,
    /// How long it must be good.
    pub clear_seconds: u32,
}

use Confirm::{Samples, Seconds};

// What never clears by itself clears at a value that does not occur.
conditions! {
    // share of the file system, its smaller sibling for small disks, and hours until it is full
    DiskUsed             = DiskSpace Degraded Above 0.90 0.80 Seconds(60), 900;
    DiskFull             = DiskSpace Critical Above 0.98 0.90 Seconds(60), 900;
    DiskAvailable        = DiskSpace Critical Below 0.05 0.10 Seconds(60), 900;
    DiskFullInADay       = DiskFilling Degraded Below 24.0 30.0 Seconds(3600), 900;
    DiskFullInHours      = DiskFilling Critical Below 4.0 6.0 Seconds(3600), 900;
    InodesUsed           = Inodes Degraded Above 0.90 0.80 Seconds(60), 900;
    InodesFull           = Inodes Critical Above 0.98 0.90 Seconds(60), 900;
    ReadOnly             = FilesystemErrors Critical Above 1.0 0.0 Seconds(0), 0;
    Ext4ErrorsKept       = FilesystemErrors Degraded Above 1.0 0.0 Seconds(0), 0;
    Ext4Errors           = FilesystemErrors Critical Above 1.0 0.0 Seconds(0), 0;
    // shares, bytes, events, pages a second, load a core
    MemoryAvailable      = Memory Degraded Below 0.10 0.15 Seconds(900), 300;
    MemoryBytes          = Memory Critical Below 104857600.0 104857600.0 Seconds(60), 300;
    PressureSome         = MemoryPressure Degraded Above 0.20 0.10 Seconds(300), 300;
    PressureFull         = MemoryPressure Critical Above 0.10 0.05 Seconds(300), 300;
    OomKill              = OomKill Degraded Above 1.0 0.0 Seconds(0), 0;
    OomKills             = OomKill Critical Above 3.0 0.0 Seconds(0), 0;
    MajorFaultRate       = MajorFaults Degraded Above 500.0 400.0 Seconds(900), 300;
    SwapUsed             = Swap Degraded Above 0.90 0.80 Seconds(300), 900;
    SwapFull             = Swap Critical Above 0.98 0.90 Seconds(300), 900;
    LoadPerCore          = CpuSaturated Degraded Above 2.0 1.5 Seconds(900), 300;
    // seconds a request, requests in flight
    LatencyHigh          = SlowIo Degraded Above 0.1 0.05 Seconds(120), 300;
    LatencyExtreme       = SlowIo Critical Above 0.5 0.1 Seconds(120), 300;
    IoQueue              = IoSaturation Degraded Above 10.0 8.0 Seconds(1800), 300;
    // degrees Celsius; 0 or 1; events; volts
    PiHot                = PiTemperature Degraded Above 80.0 75.0 Samples(3, 5), 300;
    PiTooHot             = PiTemperature Critical Above 85.0 80.0 Samples(3, 5), 300;
    CpuHot               = CpuTemperature Degraded Above 90.0 85.0 Samples(3, 5), 300;
    CpuTooHot            = CpuTemperature Critical Above 95.0 90.0 Samples(3, 5), 300;
    PackageThrottles     = CpuThrottling Degraded Above 1.0 0.0 Seconds(600), 900;
    PiSlowed             = PiThrottled Degraded Above 1.0 0.0 Samples(3, 5), 900;
    PiThrottledLong      = PiThrottled Critical Above 1.0 0.0 Seconds(600), 900;
    UnderVoltage         = PiUnderVoltage Degraded Above 1.0 0.0 Samples(2, 30), 900;
    UnderVoltageOften    = PiUnderVoltage Critical Above 1.0 0.0 Samples(10, 30), 900;
    SupplyTooLow         = PiUnderVoltage Critical Below 4.70 4.80 Samples(3, 5), 900;
    InputLow             = PiInputVoltage Degraded Below 4.80 4.85 Samples(3, 5), 900;
    InputTooLow          = PiInputVoltage Critical Below 4.70 4.80 Samples(3, 5), 900;
    NewThrottleBits      = PiThrottledSinceBoot Degraded Above 1.0 0.0 Seconds(0), 0;
    // bits, shares, events, degrees
    NvmeWarnTemperature  = NvmeWarning Degraded Above 1.0 0.0 Seconds(60), 300;
    NvmeWarnBackup       = NvmeWarning Degraded Above 1.0 0.0 Seconds(0), 300;
    NvmeWarnFatal        = NvmeWarning Critical Above 1.0 0.0 Seconds(0), 300;
    NvmeSpareLow         = NvmeSpare Degraded Below 0.20 0.25 Seconds(0), 0;
    NvmeSpareOut         = NvmeSpare Critical Below 0.10 0.10 Seconds(0), 0;
    NvmeWorn             = NvmeWear Degraded Above 0.90 -1.0 Seconds(0), 0;
    NvmeWornOut          = NvmeWear Critical Above 1.0 -1.0 Seconds(0), 0;
    NvmeMediaError       = NvmeMediaErrors Degraded Above 1.0 0.0 Seconds(0), 0;
    NvmeMediaErrorMany   = NvmeMediaErrors Critical Above 10.0 0.0 Seconds(0), 0;
    NvmeHot              = NvmeTemperature Degraded Above 70.0 65.0 Seconds(120), 300;
    NvmeTooHot           = NvmeTemperature Critical Above 80.0 75.0 Seconds(120), 300;
    NvmeNotLive          = NvmeState Degraded Below 1.0 0.999 Seconds(30), 900;
    NvmeGone             = NvmeState Critical Below 1.0 0.999 Seconds(60), 900;
    LinkBelowBaseline    = PcieLink Degraded Below 1.0 0.999 Seconds(0), 0;
    SectorsGrew          = DiskSmart Degraded Above 1.0 0.0 Seconds(0), 0;
    PendingSectors       = DiskSmart Degraded Above 1.0 0.0 Seconds(0), 0;
    UncorrectedGrew      = DiskSmart Degraded Above 1.0 0.0 Seconds(0), 0;
    UncorrectedMany      = DiskSmart Critical Above 10.0 0.0 Seconds(0), 0;
    SmartFailed          = DiskSmart Critical Below 1.0 0.999 Seconds(0), 0;
    DiskWorn             = DiskWear Degraded Above 0.90 -1.0 Seconds(0), 0;
    UncorrectedKept      = DiskWear Degraded Above 1.0 0.0 Seconds(0), 0;
    DiskWornOut          = DiskWear Critical Above 1.0 -1.0 Seconds(0), 0;
    DiskHot              = DiskTemperature Degraded Above 60.0 55.0 Seconds(120), 300;
    DiskTooHot           = DiskTemperature Critical Above 70.0 65.0 Seconds(120), 300;
    MemberGone           = DiskGone Degraded Below 1.0 0.999 Seconds(60), 0;
    DiskGone             = DiskGone Critical Below 1.0 0.999 Seconds(60), 0;
    // members, 0 or 1, errors
    MemberMissing        = Redundancy Degraded Above 1.0 0.0 Seconds(60), 60;
    Rebuilding           = Redundancy Degraded Above 1.0 0.0 Seconds(0), 0;
    BtrfsErrors          = Redundancy Degraded Above 1.0 0.0 Seconds(0), 0;
    ArrayFailed          = Redundancy Critical Above 1.0 0.0 Seconds(0), 0;
    EmmcWorn             = EmmcWear Degraded Above 0.90 -1.0 Seconds(0), 0;
    EmmcWornOut          = EmmcWear Critical Above 1.1 -1.0 Seconds(0), 0;
    EmmcReserveLow       = EmmcWear Degraded Above 2.0 0.0 Seconds(0), 0;
    EmmcReserveOut       = EmmcWear Critical Above 3.0 0.0 Seconds(0), 0;
    // events, bytes, bits
    CorrectedErrors      = MemoryErrors Degraded Above 1.0 0.0 Seconds(0), 3600;
    UncorrectedErrors    = MemoryErrors Critical Above 1.0 0.0 Seconds(0), 3600;
    BrokenPages          = MemoryErrors Critical Above 1.0 0.0 Seconds(0), 3600;
    MachineChecks        = MachineCheck Degraded Above 1.0 0.0 Seconds(0), 0;
    NewTaint             = Kernel Degraded Above 1.0 0.0 Seconds(0), 0;
    OopsAndHungTasks     = Kernel Critical Above 1.0 0.0 Seconds(0), 0;
    // 0 or 1, seconds
    ClockUnsynchronised  = Clock Degraded Below 1.0 0.999 Seconds(300), 300;
    ClockOffset          = Clock Degraded Above 0.05 0.02 Seconds(600), 300;
    ClockFarOff          = Clock Critical Above 30.0 1.0 Seconds(600), 300;
    // units, restarts, shares, changes
    FailedUnits          = Systemd Degraded Above 1.0 0.0 Seconds(300), 300;
    KubeUnitFailed       = Systemd Critical Above 1.0 0.0 Seconds(300), 300;
    KubeUnitStuck        = Systemd Critical Above 1.0 0.0 Seconds(600), 300;
    KubeUnitStopped      = Systemd Degraded Above 1.0 0.0 Seconds(300), 300;
    KubeUnitRestarts     = Systemd Critical Above 3.0 0.0 Seconds(900), 300;
    PacketErrors         = Network Degraded Above 0.01 0.005 Seconds(3600), 900;
    LinkFlaps            = Network Degraded Above 2.0 0.0 Seconds(0), 300;
    LinkSlower           = Network Degraded Below 1.0 0.999 Seconds(60), 300;
    NoCarrier            = Network Critical Below 1.0 0.999 Seconds(60), 60;
    ConntrackHigh        = Conntrack Degraded Above 0.75 0.70 Seconds(300), 300;
    ConntrackFull        = Conntrack Critical Above 0.95 0.90 Seconds(300), 300;
    FilesHigh            = FileDescriptors Degraded Above 0.70 0.65 Seconds(900), 300;
    FilesFull            = FileDescriptors Critical Above 0.90 0.85 Seconds(900), 300;
    // seconds left, 0 or 1
    CertificateSoon      = Certificate Degraded Below 1209600.0 1209600.0 Seconds(0), 0;
    CertificateNow       = Certificate Critical Below 604800.0 604800.0 Seconds(0), 0;
    NoMemoryCgroup       = MemoryCgroup Critical Below 1.0 0.999 Seconds(0), 0;
}
