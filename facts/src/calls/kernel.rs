//! The calls to this machine's kernel. The three ioctls are the only unsafe code of the facts.
#![allow(unsafe_code)]

use super::{Clock, Space, Uname};
use crate::failure::Failure;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// `_IOWR('N', 0x41, 72)` of linux/nvme_ioctl.h.
const NVME_IOCTL_ADMIN_CMD: u64 = 0xC048_4E41;
/// Get Log Page, page 02h, 512 bytes, with RAE: a pending event stays for whoever waits for it.
const SMART_LOG_CDW10: u32 = 0x007F_8002;
/// Long enough for a disk that wakes from its deepest sleep state, short enough for one round a minute. The kernel
/// resets the controller after this time, so it is not shorter.
const NVME_TIMEOUT_MS: u32 = 5000;

/// `struct nvme_passthru_cmd`, 72 bytes.
#[repr(C)]
#[derive(Debug, Default)]
struct AdminCommand {
    opcode: u8,
    flags: u8,
    rsvd1: u16,
    nsid: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    addr: u64,
    metadata_len: u32,
    data_len: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    timeout_ms: u32,
    result: u32,
}

const _: () = assert!(size_of::<AdminCommand>() == 72);

pub(super) fn nvme_smart(device: &str) -> Result<Box<[u8; 512]>, Failure> {
    let mut page = Box::new([0; 512]);
    let command = AdminCommand { opcode: 0x02, nsid: u32::MAX, cdw10: SMART_LOG_CDW10, ..AdminCommand::default() };
    admin(device, command, page.as_mut_slice())?;
    Ok(page)
}

pub(super) fn nvme_identify(device: &str) -> Result<Box<[u8; 4096]>, Failure> {
    let mut page = Box::new([0; 4096]);
    let command = AdminCommand { opcode: 0x06, cdw10: 1, ..AdminCommand::default() };
    admin(device, command, page.as_mut_slice())?;
    Ok(page)
}

fn admin(device: &str, mut command: AdminCommand, page: &mut [u8]) -> Result<(), Failure> {
    let path = format!("/dev/{device}");
    let file = File::open(&path).map_err(|error| Failure::from_io(&path, &error))?;
    command.addr = page.as_mut_ptr() as u64;
    command.data_len = u32::try_from(page.len()).expect("pages have at most 4096 bytes");
    command.timeout_ms = NVME_TIMEOUT_MS;
    // SAFETY: the request number belongs to a 72-byte structure, which `command` is; `addr` and `data_len` name a
    // buffer that lives until the call returns, and the kernel writes no further than `data_len`.
    let status = unsafe { libc::ioctl(file.as_raw_fd(), NVME_IOCTL_ADMIN_CMD as _, &raw mut command) };
    match status {
        0 => Ok(()),
        -1 => Err(Failure::from_io(&path, &io::Error::last_os_error())),
        status => Err(Failure::Refused { path, reason: format!("the disk answered with NVMe status {status:#x}") }),
    }
}

/// `_IOWR(100, 0, char *)` of the vcio driver: the size is that of a pointer.
#[cfg(target_pointer_width = "64")]
const VCIO_PROPERTY: u64 = 0xC008_6400;
#[cfg(target_pointer_width = "32")]
const VCIO_PROPERTY: u64 = 0xC004_6400;
/// GET_GENCMD_RESULT: a text command and its text answer.
const TAG_GENCMD: u32 = 0x0003_0080;
/// GET_THROTTLED.
const TAG_THROTTLED: u32 = 0x0003_0046;
/// Room for the longest answer; 26 rails of the power management chip need 900 bytes.
const GENCMD_BYTES: usize = 4096;

/// Words of a request: size, code, tag, value size, value length, return code, text, end.
const GENCMD_WORDS: usize = 5 + 1 + GENCMD_BYTES / 4 + 1;

#[repr(C, align(16))]
struct Mailbox([u32; GENCMD_WORDS]);

pub(super) fn firmware(command: &str) -> Result<String, Failure> {
    // Newest kernels give `vcio_gencmd` for text commands alone; older ones only `vcio`.
    match gencmd("/dev/vcio_gencmd", command) {
        Err(Failure::Absent(_)) => {}
        answer => return answer,
    }
    match gencmd("/dev/vcio", command) {
        // Firmware without text commands still has the property.
        Err(Failure::Refused { .. }) if command == "get_throttled" => {
            property("/dev/vcio", TAG_THROTTLED, &mut [0]).map(|value| format!("throttled={:#x}", value[0]))
        }
        answer => answer,
    }
}

fn gencmd(path: &str, command: &str) -> Result<String, Failure> {
    let mut value = [0_u32; 1 + GENCMD_BYTES / 4];
    for (index, byte) in command.bytes().take(GENCMD_BYTES - 1).enumerate() {
        value[1 + index / 4] |= u32::from(byte) << (8 * (index % 4));
    }
    let answer = property(path, TAG_GENCMD, &mut value)?;
    let bytes: Vec<u8> = answer[1..].iter().flat_map(|word| word.to_le_bytes()).collect();
    Ok(crate::text::trimmed(&bytes))
}

/// One property call. `value` is the request and gets the answer.
fn property<'value>(path: &str, tag: u32, value: &'value mut [u32]) -> Result<&'value [u32], Failure> {
    let file = File::open(path).map_err(|error| Failure::from_io(path, &error))?;
    let mut mailbox = Box::new(Mailbox([0; GENCMD_WORDS]));
    let words = 5 + value.len() + 1;
    let bytes_of = |count: usize| u32::try_from(count * 4).expect("a request is at most 5 KiB");
    mailbox.0[0] = bytes_of(words);
    mailbox.0[2] = tag;
    mailbox.0[3] = bytes_of(value.len());
    mailbox.0[5..5 + value.len()].copy_from_slice(value);
    // SAFETY: the driver reads and writes as many bytes as word 0 says, which is at most the size of `Mailbox`; it is
    // aligned to 16 bytes as the firmware wants it and lives until the call returns.
    let status = unsafe { libc::ioctl(file.as_raw_fd(), VCIO_PROPERTY as _, mailbox.0.as_mut_ptr()) };
    if status < 0 {
        return Err(Failure::from_io(path, &io::Error::last_os_error()));
    }
    // 0x80000000 is success; 0x80000001 is an error and whatever stands in the value then is no value.
    if mailbox.0[1] != 0x8000_0000 || mailbox.0[4] & 0x8000_0000 == 0 {
        let reason = format!("the firmware refused tag {tag:#x} with {:#x}", mailbox.0[1]);
        return Err(Failure::Refused { path: path.to_owned(), reason });
    }
    value.copy_from_slice(&mailbox.0[5..5 + value.len()]);
    Ok(value)
}

pub(super) fn uname() -> Uname {
    let known = nix::sys::utsname::uname().ok();
    let text = |pick: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        known.as_ref().map(|known| pick(known).to_string_lossy().into_owned()).unwrap_or_default()
    };
    Uname {
        sysname: text(|known| known.sysname()),
        nodename: sysinfo::System::host_name().unwrap_or_default(),
        release: sysinfo::System::kernel_version().unwrap_or_default(),
        version: text(|known| known.version()),
        machine: sysinfo::System::cpu_arch(),
        domainname: text(|known| known.domainname()),
    }
}

pub(super) fn page_size() -> Option<f64> {
    let bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(bytes as f64)
}

pub(super) fn statvfs(mountpoint: &str) -> Result<Space, Failure> {
    let found = nix::sys::statvfs::statvfs(mountpoint)
        .map_err(|errno| Failure::from_io(mountpoint, &io::Error::from_raw_os_error(errno as i32)))?;
    let fragment = found.fragment_size() as f64;
    Ok(Space {
        size: found.blocks() as f64 * fragment,
        free: found.blocks_free() as f64 * fragment,
        avail: found.blocks_available() as f64 * fragment,
        files: found.files() as f64,
        files_free: found.files_free() as f64,
    })
}

pub(super) fn adjtimex() -> Result<Clock, Failure> {
    // SAFETY: all-zero is a valid `timex` (integers only), and `modes` 0 makes the call read-only.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `timex` that lives until the call returns.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(Failure::from_io("adjtimex", &io::Error::last_os_error()));
    }
    // The fields are `c_long`, 32 bits wide on armhf.
    #[allow(clippy::useless_conversion)]
    let clock = Clock {
        state,
        status: i64::from(timex.status),
        offset: i64::from(timex.offset),
        frequency: i64::from(timex.freq),
        maxerror: i64::from(timex.maxerror),
        esterror: i64::from(timex.esterror),
        tai: i64::from(timex.tai),
    };
    Ok(clock)
}

pub(super) fn modified(path: &Path) -> Option<f64> {
    let changed = path.metadata().ok()?.modified().ok()?;
    Some(changed.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs() as f64)
}
