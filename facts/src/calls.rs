//! Facts that are calls and not files: statvfs, adjtimex, uname, the way out, NVMe and firmware ioctls, and three
//! programs.
//!
//! [`Calls::Recorded`] reads what the call gave from a folder of a recorded machine, `.calls/`; a file that begins with
//! `!` stands for a failure (`!EIO`, `!ENOTTY`) or, as `!hang`, for a call that never returns.

mod kernel;
mod program;
mod route;

use super::failure::Failure;
use super::root::recorded_error;
use super::text;
use hostler_plan::fact::clock_is_synchronised;
use std::fs;
use std::path::{Path, PathBuf};

/// Who answers the calls.
#[derive(Debug, Clone)]
pub enum Calls {
    /// This machine's kernel and programs.
    Kernel,
    /// The folder with the recorded answers.
    Recorded(PathBuf),
}

/// What `uname(2)` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uname {
    /// `Linux`
    pub sysname: String,
    /// Host name.
    pub nodename: String,
    /// `6.12.47+rpt-rpi-2712`
    pub release: String,
    /// `#1 SMP PREEMPT Debian …`
    pub version: String,
    /// `aarch64`
    pub machine: String,
    /// NIS domain, mostly `(none)`.
    pub domainname: String,
}

/// What `statvfs(3)` says, in bytes and inodes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Space {
    /// Size in bytes.
    pub size: f64,
    /// Free bytes, with those kept for root.
    pub free: f64,
    /// Free bytes for everybody else.
    pub avail: f64,
    /// Inodes; 0 where the file system does not count them (vfat, btrfs).
    pub files: f64,
    /// Free inodes.
    pub files_free: f64,
}

/// What `adjtimex(2)` says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Clock {
    /// Return value; 5 is TIME_ERROR, not synchronised.
    pub state: i32,
    /// Status bits; 0x2000 (STA_NANO) makes `offset` nanoseconds instead of microseconds.
    pub status: i64,
    /// Offset, see `status`.
    pub offset: i64,
    /// Frequency adjustment, parts per million times 65536.
    pub frequency: i64,
    /// Largest error, microseconds.
    pub maxerror: i64,
    /// Estimated error, microseconds.
    pub esterror: i64,
    /// International atomic time minus UTC, seconds.
    pub tai: i64,
}

/// TIME_ERROR.
const TIME_ERROR: i32 = 5;

impl Clock {
    /// Whether somebody from outside keeps it right: the one measure of the whole project.
    pub fn is_synchronised(&self) -> bool {
        clock_is_synchronised(self.maxerror as f64 / 1e6)
    }

    /// What the kernel's flag says, as node_exporter shows it. chrony without `rtcsync` keeps a clock right and leaves
    /// the flag, which only makes the kernel write the clock to the battery's.
    pub fn is_flagged_synchronised(&self) -> bool {
        self.state != TIME_ERROR
    }
}

/// What a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub text: String,
}

impl Calls {
    /// Kernel, host name and architecture.
    pub fn uname(&self) -> Result<Uname, Failure> {
        match self {
            Calls::Kernel => Ok(kernel::uname()),
            Calls::Recorded(folder) => {
                let read = recorded_text(folder, "uname")?;
                let mut lines = read.lines().map(str::to_owned);
                let mut next = || lines.next().unwrap_or_default();
                let (sysname, nodename, release) = (next(), next(), next());
                Ok(Uname { sysname, nodename, release, version: next(), machine: next(), domainname: next() })
            }
        }
    }

    /// The number of the interface through which the machine's own packets go to the world over IPv4, whatever table of
    /// routes and whatever rule leads there; none where no way does. `/proc/net/route` knows the main table alone.
    pub fn way_out(&self) -> Result<Option<u32>, Failure> {
        match self {
            Calls::Kernel => route::way_out(),
            Calls::Recorded(folder) => match recorded(folder, "way_out") {
                Ok(read) => Ok(text::number(&read).map(|number| number as u32)),
                Err(failure) if failure.is_absent() => Ok(None),
                Err(failure) => Err(failure),
            },
        }
    }

    /// Bytes of a memory page: 16384 on the default kernel of a Raspberry Pi 5.
    pub fn page_size(&self) -> Option<f64> {
        match self {
            Calls::Kernel => kernel::page_size(),
            Calls::Recorded(folder) => text::number(&recorded(folder, "page_size").ok()?),
        }
    }

    /// Space of the file system mounted there. Can hang.
    pub fn statvfs(&self, mountpoint: &str) -> Result<Space, Failure> {
        match self {
            Calls::Kernel => kernel::statvfs(mountpoint),
            Calls::Recorded(folder) => {
                let read = recorded_text(folder, "statvfs")?;
                let written = mountpoint.replace(' ', "\\040");
                let line = read.lines().find_map(|line| line.strip_prefix(&written)?.strip_prefix(' '));
                let rest = line.ok_or_else(|| Failure::Absent(mountpoint.to_owned()))?.trim();
                fails(mountpoint, rest.as_bytes())?;
                let numbers: Vec<f64> = rest.split(' ').filter_map(|word| text::number(word.as_bytes())).collect();
                let [fragment, blocks, free, avail, files, files_free] = numbers[..] else {
                    return Err(Failure::malformed(
                        mountpoint,
                        "frsize blocks bfree bavail files ffree",
                        rest.as_bytes(),
                    ));
                };
                let space = [blocks, free, avail].map(|count| count * fragment);
                Ok(Space { size: space[0], free: space[1], avail: space[2], files, files_free })
            }
        }
    }

    /// State of the clock.
    pub fn adjtimex(&self) -> Result<Clock, Failure> {
        match self {
            Calls::Kernel => kernel::adjtimex(),
            Calls::Recorded(folder) => {
                let read = recorded_text(folder, "adjtimex")?;
                let value = |name: &str| -> i64 {
                    let found = read.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
                    found.and_then(|number| number.parse().ok()).unwrap_or_default()
                };
                Ok(Clock {
                    state: i32::try_from(value("state")).unwrap_or_default(),
                    status: value("status"),
                    offset: value("offset"),
                    frequency: value("frequency"),
                    maxerror: value("maxerror"),
                    esterror: value("esterror"),
                    tai: value("tai"),
                })
            }
        }
    }

    /// SMART / health log of an NVMe controller (`nvme0`), 512 bytes. Can hang. Needs CAP_SYS_ADMIN.
    pub fn nvme_smart(&self, device: &str) -> Result<Box<[u8; 512]>, Failure> {
        match self {
            Calls::Kernel => kernel::nvme_smart(device),
            Calls::Recorded(folder) => recorded_page(folder, &format!("nvme/{device}.smart")),
        }
    }

    /// Identify Controller of an NVMe controller, 4096 bytes. Can hang. Needs CAP_SYS_ADMIN.
    pub fn nvme_identify(&self, device: &str) -> Result<Box<[u8; 4096]>, Failure> {
        match self {
            Calls::Kernel => kernel::nvme_identify(device),
            Calls::Recorded(folder) => recorded_page(folder, &format!("nvme/{device}.identify")),
        }
    }

    /// Answer of the Raspberry Pi's firmware to a command (`get_throttled`, `pmic_read_adc EXT5V_V`). Takes
    /// milliseconds, can hang.
    pub fn firmware(&self, command: &str) -> Result<String, Failure> {
        match self {
            Calls::Kernel => kernel::firmware(command),
            Calls::Recorded(folder) => recorded_text(folder, &format!("vcio/{}", command.replace(' ', "_"))),
        }
    }

    /// Failed units, and state and restarts of the units that Kubernetes needs. Can hang.
    pub fn systemd(&self) -> Result<Output, Failure> {
        match self {
            Calls::Kernel => program::systemd(),
            Calls::Recorded(folder) => recorded_output(folder, "systemctl"),
        }
    }

    /// A simulated `apt-get upgrade`: about a second of processor time. Can hang.
    pub fn apt(&self) -> Result<Output, Failure> {
        match self {
            Calls::Kernel => program::apt(),
            Calls::Recorded(folder) => recorded_output(folder, "apt"),
        }
    }

    /// `smartctl --json` of a SATA or USB disk. Can hang.
    pub fn smartctl(&self, device: &str) -> Result<Output, Failure> {
        match self {
            Calls::Kernel => program::smartctl(device),
            Calls::Recorded(folder) => recorded_output(folder, &format!("smartctl/{device}")),
        }
    }

    /// When a file was changed last, Unix seconds. A call because a recorded tree does not keep times.
    pub fn modified(&self, root: &super::Root, relative: &str) -> Option<f64> {
        match self {
            Calls::Kernel => kernel::modified(&root.path(relative)),
            Calls::Recorded(folder) => {
                let read = recorded_text(folder, "modified").ok()?;
                let line = read.lines().find_map(|line| line.strip_prefix(relative)?.strip_prefix(' '));
                text::number(line?.as_bytes())
            }
        }
    }
}

fn recorded(folder: &Path, name: &str) -> Result<Vec<u8>, Failure> {
    let bytes = fs::read(folder.join(name)).map_err(|error| Failure::from_io(name, &error))?;
    fails(name, &bytes)?;
    Ok(bytes)
}

fn recorded_text(folder: &Path, name: &str) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(&recorded(folder, name)?).into_owned())
}

fn recorded_page<const SIZE: usize>(folder: &Path, name: &str) -> Result<Box<[u8; SIZE]>, Failure> {
    let bytes = recorded(folder, name)?;
    bytes.into_boxed_slice().try_into().map_err(|bytes: Box<[u8]>| Failure::malformed(name, "a whole page", &bytes))
}

/// First line `exit N`, then the output.
fn recorded_output(folder: &Path, name: &str) -> Result<Output, Failure> {
    let read = recorded_text(folder, name)?;
    let (first, rest) = read.split_once('\n').unwrap_or((&read, ""));
    let code = first.strip_prefix("exit ").and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| Failure::malformed(name, "exit CODE", first.as_bytes()))?;
    Ok(Output { code, text: rest.to_owned() })
}

fn fails(name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let Some(error) = bytes.strip_prefix(b"!") else { return Ok(()) };
    let error = text::trimmed(error);
    if error == "hang" {
        loop {
            std::thread::park();
        }
    }
    Err(recorded_error(name, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_synchronised_while_its_error_is_small_whatever_the_flag_says() {
        let clock = |state, maxerror| Clock { state, maxerror, ..Clock::default() };
        assert!(clock(0, 12_000).is_synchronised());
        assert!(clock(5, 15_999_999).is_synchronised(), "chrony without rtcsync");
        assert!(!clock(0, 16_000_000).is_synchronised());
        assert!(!clock(5, 16_000_000).is_synchronised(), "as the kernel starts");
    }
}
