//! Faults of recorded machines, each a changed file, and the alert that must follow.

use std::{fs, path::Path};

/// A file of a recorded machine, healthy and broken, and the alert that must follow.
pub(crate) struct Fault {
    pub machine: &'static str,
    pub alert: &'static str,
    pub file: &'static str,
    pub healthy: Edit,
    pub broken: Edit,
}

pub(crate) enum Edit {
    Whole(&'static str),
    /// The line that begins so becomes this line.
    Line(&'static str, &'static str),
    Byte(usize, u8),
    Gone,
}

pub(crate) const FAULTS: [Fault; 7] = [
    Fault {
        machine: "pi5-fan-undervoltage",
        alert: "HostlerPiUnderVoltage",
        file: "sys/devices/platform/soc/soc:firmware/raspberrypi-hwmon/hwmon/hwmon1/in0_lcrit_alarm",
        healthy: Edit::Whole("0\n"),
        broken: Edit::Whole("1\n"),
    },
    Fault {
        machine: "pi5-nvme",
        alert: "HostlerPiThrottled",
        file: ".calls/vcio/get_throttled",
        healthy: Edit::Whole("throttled=0x0\n"),
        broken: Edit::Whole("throttled=0x40004\n"),
    },
    Fault {
        machine: "pi5-nvme",
        alert: "HostlerNvmeCritical",
        file: ".calls/nvme/nvme0.smart",
        healthy: Edit::Byte(0, 0),
        broken: Edit::Byte(0, 0x08),
    },
    Fault {
        machine: "intel-n100",
        alert: "HostlerDiskAlmostFull",
        file: ".calls/statvfs",
        healthy: Edit::Line("/ ", "/ 4096 122814362 98251489 92012000 31195136 30821991"),
        broken: Edit::Line("/ ", "/ 4096 122814362 9000000 9000000 31195136 30821991"),
    },
    Fault {
        machine: "cm5-emmc",
        alert: "HostlerMemoryHigh",
        file: "proc/meminfo",
        healthy: Edit::Line("MemAvailable:", "MemAvailable:    2600000 kB"),
        broken: Edit::Line("MemAvailable:", "MemAvailable:     200000 kB"),
    },
    Fault {
        machine: "cm5-emmc",
        alert: "HostlerRebootRequired",
        file: "run/reboot-required",
        healthy: Edit::Gone,
        broken: Edit::Whole("*** System restart required ***\n"),
    },
    Fault {
        machine: "vm-nothing",
        alert: "HostlerRootReadOnly",
        file: "proc/1/mountinfo",
        healthy: Edit::Line("25 1 ", "25 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw"),
        broken: Edit::Line("25 1 ", "25 1 254:1 / / ro,relatime - ext4 /dev/vda1 ro"),
    },
];

/// One recording has the same fault twice: the alarm of the supply, and the firmware's word.
pub(crate) const HEALED: (&str, &str, Edit) =
    ("pi5-fan-undervoltage", ".calls/vcio/get_throttled", Edit::Whole("throttled=0x0\n"));

impl Edit {
    pub(crate) fn apply(&self, file: &Path) {
        match self {
            Edit::Whole(text) => {
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            Edit::Line(begins, line) => {
                let text = fs::read_to_string(file).unwrap();
                assert!(text.lines().any(|l| l.starts_with(begins)), "{} has no line {begins:?}", file.display());
                let lines = text.lines().map(|l| if l.starts_with(begins) { line } else { l });
                fs::write(file, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
            }
            Edit::Byte(at, byte) => {
                let mut bytes = fs::read(file).unwrap();
                bytes[*at] = *byte;
                fs::write(file, bytes).unwrap();
            }
            Edit::Gone => drop(fs::remove_file(file)),
        }
    }
}
