//! Mounted file systems: options from `mountinfo`, space from `statvfs` on a helper thread.
//!
//! Only local types are asked: `statvfs` of a dead network mount never returns. A mount that hangs all the same is
//! reported with `node_filesystem_device_error` 1, and the others go on.

use super::calls::Space;
use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::worker::{Answer, Worker};
use super::{Input, Source, text};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);
const CADENCE: Duration = Duration::from_secs(60);
const LOCAL: [&str; 9] = ["ext2", "ext3", "ext4", "vfat", "xfs", "btrfs", "f2fs", "zfs", "bcachefs"];
/// Mounts of single pods and containers: hundreds, short-lived, and the same disk again.
const HIDDEN: [&str; 5] = [
    "/var/lib/kubelet/pods/",
    "/run/k3s/containerd/",
    "/run/containerd/",
    "/var/lib/docker/",
    "/var/lib/containers/storage/",
];
/// Mounts that are reported. More is a machine for which this is the wrong tool.
const MAX_MOUNTS: usize = 32;

/// One mount of a local file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) device: String,
    pub(super) mountpoint: String,
    pub(super) fstype: String,
    /// `259:2`
    pub(super) numbers: String,
    pub(super) readonly: bool,
}

/// Reads mounts every time and their space once a minute.
#[derive(Debug)]
pub(super) struct Filesystems {
    worker: Worker<String, Result<Space, Failure>>,
    round: Option<Duration>,
    spaces: Vec<(String, Result<Space, Failure>)>,
}

impl Default for Filesystems {
    fn default() -> Self {
        let call = |source: &Source, mountpoint: &String| source.calls.statvfs(mountpoint);
        Filesystems { worker: Worker::new(LIMIT, call), round: None, spaces: Vec::new() }
    }
}

impl Filesystems {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        // Of process 1, because the agent's own sandbox may show `/` read-only.
        let root = &input.source.root;
        if root.read_into("proc/1/mountinfo", &mut input.bytes).is_err() {
            root.read_into("proc/self/mountinfo", &mut input.bytes)?;
        }
        let mounts = mounts(&input.bytes);
        let now = input.now.elapsed;
        let answers = self.worker.poll(now, &input.source);
        self.take(answers);
        let unknown = mounts.iter().any(|mount| !self.spaces.iter().any(|(known, _)| *known == mount.mountpoint));
        let due = self.round.is_none_or(|last| now.saturating_sub(last) >= CADENCE);
        if due || (unknown && !self.worker.busy()) {
            self.round = Some(now);
            self.worker.start(now, &input.source, mounts.iter().map(|mount| mount.mountpoint.clone()));
            self.wait(now, super::GRACE);
        }
        self.spaces.retain(|(known, _)| mounts.iter().any(|mount| mount.mountpoint == *known));
        self.put(&mounts, out)
    }

    pub(super) fn pending(&self) -> bool {
        self.worker.pending()
    }

    pub(super) fn wait(&mut self, now: Duration, at_most: Duration) {
        let answers = self.worker.wait(now, at_most);
        self.take(answers);
    }

    fn take(&mut self, answers: Vec<(String, Answer<Result<Space, Failure>>)>) {
        for (mountpoint, answer) in answers {
            let space = super::worker::result(&mountpoint, LIMIT, answer);
            self.spaces.retain(|(known, _)| *known != mountpoint);
            self.spaces.push((mountpoint, space));
        }
    }

    fn put(&self, mounts: &[Mount], out: &mut Sample) -> Result<(), Failure> {
        let mut worst = Worst::default();
        for mount in mounts {
            let labels = [
                ("device", mount.device.as_str()),
                ("fstype", mount.fstype.as_str()),
                ("mountpoint", mount.mountpoint.as_str()),
            ];
            out.put("node_filesystem_readonly", &labels, f64::from(mount.readonly));
            let Some((_, space)) = self.spaces.iter().find(|(known, _)| *known == mount.mountpoint) else { continue };
            out.put("node_filesystem_device_error", &labels, f64::from(space.is_err()));
            let Some(space) = worst.note(space.clone()) else { continue };
            out.put("node_filesystem_size_bytes", &labels, space.size);
            out.put("node_filesystem_free_bytes", &labels, space.free);
            out.put("node_filesystem_avail_bytes", &labels, space.avail);
            // vfat and btrfs have no fixed number of inodes and say 0.
            if space.files > 0.0 {
                out.put("node_filesystem_files", &labels, space.files);
                out.put("node_filesystem_files_free", &labels, space.files_free);
            }
        }
        worst.finish()
    }
}

/// The local file systems of a mountinfo file, each device once: its first mount, which is not a bind mount.
pub(super) fn mounts(bytes: &[u8]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in text::lines(bytes) {
        let Some(mount) = mount(line) else { continue };
        let hidden = HIDDEN.iter().any(|prefix| mount.mountpoint.starts_with(prefix));
        let local = LOCAL.contains(&mount.fstype.as_str());
        if !local || hidden || mounts.len() == MAX_MOUNTS {
            continue;
        }
        match mounts.iter_mut().find(|known| known.mountpoint == mount.mountpoint || known.numbers == mount.numbers) {
            // A later mount on the same place hides the earlier one.
            Some(known) if known.mountpoint == mount.mountpoint => *known = mount,
            Some(_) => {}
            None => mounts.push(mount),
        }
    }
    mounts
}

/// `36 25 259:2 / / rw,noatime shared:1 - ext4 /dev/nvme0n1p2 rw`
fn mount(line: &[u8]) -> Option<Mount> {
    let line = std::str::from_utf8(line).ok()?;
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let mut right = right.split(' ');
    let (fstype, device, options) = (right.next()?, right.next()?, right.next().unwrap_or_default());
    let own = *left.get(5)?;
    let readonly = [own, options].iter().any(|list| list.split(',').any(|one| one == "ro" || one == "emergency_ro"));
    Some(Mount {
        device: unescape(device),
        mountpoint: unescape(left.get(4)?),
        fstype: fstype.to_owned(),
        numbers: (*left.get(2)?).to_owned(),
        readonly,
    })
}

/// Blanks, tabs, newlines and backslashes are written `\040` and so on.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        match rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"25 1 259:2 / / rw,noatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro\n\
        26 25 0:22 / /proc rw - proc proc rw\n\
        30 25 259:1 / /boot/firmware ro,relatime shared:2 - vfat /dev/nvme0n1p1 rw,fmask=0022\n\
        31 25 259:2 /data /srv/bind rw - ext4 /dev/nvme0n1p2 rw\n\
        32 25 0:50 / /mnt/nas rw - nfs4 nas:/volume rw,hard\n\
        33 25 8:1 / /mnt/my\\040disk rw - xfs /dev/sda1 ro\n\
        34 25 8:17 / /var/lib/kubelet/pods/abc/volumes/x rw - ext4 /dev/sdb1 rw\n\
        torn line";

    #[test]
    fn local_file_systems_once_each_and_read_only_from_either_side() {
        let found = mounts(TABLE);
        let short: Vec<(&str, bool)> = found.iter().map(|mount| (mount.mountpoint.as_str(), mount.readonly)).collect();
        assert_eq!(short, [("/", false), ("/boot/firmware", true), ("/mnt/my disk", true)]);
    }
}
