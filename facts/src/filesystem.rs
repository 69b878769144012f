//! Mounted file systems: options from `mountinfo`, space from `statvfs` on a helper thread.
//!
//! Only local types are asked: `statvfs` of a dead network mount never returns. A mount that hangs all the same is
//! reported with `node_filesystem_device_error` 1, and the others go on.

use super::calls::Space;
use super::failure::{Failure, Worst};
use super::kmsg::KernelLog;
use super::sample::Sample;
use super::worker::{Answer, Worker};
use super::{Input, Root, Source, text};
use hostler_plan::health::REQUIRED_MOUNTS;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);
const CADENCE: Duration = Duration::from_secs(60);
const LOCAL: [&str; 9] = ["ext2", "ext3", "ext4", "vfat", "xfs", "btrfs", "f2fs", "zfs", "bcachefs"];
/// Mounts of containers: hundreds, short-lived, and the same disk again. Those of pods lie below a kubelet's folder.
const HIDDEN: [&str; 4] =
    ["/run/k3s/containerd/", "/run/containerd/", "/var/lib/docker/", "/var/lib/containers/storage/"];
/// A part of every path below which containerd keeps layers and mounts, wherever its folder is.
const CONTAINERD: &str = "/io.containerd.";
/// Where kubelet keeps the volumes of pods unless it is told otherwise.
const KUBELET: &str = "/var/lib/kubelet";
/// Mounts that are reported: two for each of 60 disks. Those that Kubernetes cannot do without come first, then one for
/// each disk or pool; more are data sets of one pool.
const MAX_MOUNTS: usize = 128;
/// Mounts of the machine that are remembered while a table is read. Of those for pods only the devices are.
const MAX_CANDIDATES: usize = 8192;
/// Devices of pods that are remembered, in a dozen bytes each; a node has some hundred pods.
const MAX_PODS: usize = 16_384;

/// One mount of a local file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Another one where it was mounted anew.
    pub(super) id: u32,
    pub(super) device: String,
    pub(super) mountpoint: String,
    pub(super) fstype: String,
    /// `259:2`
    pub(super) numbers: String,
    pub(super) readonly: bool,
    /// The kernel itself forbids writing, because of an error.
    pub(super) emergency: bool,
}

/// What a mount table says.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The file systems of the machine.
    pub(super) mounts: Vec<Mount>,
    /// Numbers of the devices that are mounted for pods.
    pub(super) pods: BTreeSet<String>,
    /// Whether anything is mounted for pods, if only a token.
    pub(super) has_pods: bool,
    /// Mounts for which there was no room.
    left_out: usize,
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
        input.has_pods = None;
        let Table { mut mounts, pods, has_pods, left_out } = table(&input.source.root)?;
        // Whatever carries one of them is the machine's own, reported or not.
        input.volumes.look(&input.source.root, &mounts, &pods);
        out.leave_out(left_out + shorten(&mut mounts));
        mark(&input.source.root, &mut input.log, &mut mounts);
        input.has_pods = Some(has_pods);
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
            if mount.emergency {
                out.put("hostler_filesystem_emergency_readonly", &[("mountpoint", &mount.mountpoint)], 1.0);
            }
            // Only the kernel's log says that an XFS is shut down, and only until it is mounted anew.
            if mount.fstype == "xfs" {
                out.put("hostler_filesystem_mount_id", &[("mountpoint", &mount.mountpoint)], f64::from(mount.id));
            }
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

/// An XFS that the kernel shut down cannot be written, whatever the mount table says.
fn mark(root: &Root, log: &mut KernelLog, mounts: &mut [Mount]) {
    for device in log.shut_down(root) {
        let Ok(numbers) = root.text(&format!("sys/class/block/{device}/dev")) else { continue };
        for mount in mounts.iter_mut().filter(|mount| mount.fstype == "xfs" && mount.numbers == numbers) {
            (mount.readonly, mount.emergency) = (true, true);
        }
    }
}

/// The mount table of process 1, because the agent's own sandbox may show `/` read-only.
pub(super) fn table(root: &Root) -> Result<Table, Failure> {
    let read = |file: &str| {
        let mut lines = Lines::default();
        root.each_line(file, |line| lines.take(line)).map(|()| lines.table())
    };
    read("proc/1/mountinfo").or_else(|_| read("proc/self/mountinfo"))
}

/// The local file systems of a mountinfo file, each device once: its first mount, which is not a bind mount.
#[cfg(test)]
fn mounts(bytes: &[u8]) -> Vec<Mount> {
    let mut lines = Lines::default();
    text::lines(bytes).for_each(|line| lines.take(line));
    lines.table().mounts
}

/// What a mount is of: the pool of a data set, else its device. Mounts of the same source stand on the same disks.
pub(super) fn source(mount: &Mount) -> &str {
    match mount.fstype.as_str() {
        "zfs" => mount.device.split('/').next().unwrap_or_default(),
        "btrfs" => &mount.device,
        _ => &mount.numbers,
    }
}

/// Keeps what decides where there is not room for all, and gives how many are left out.
fn shorten(mounts: &mut Vec<Mount>) -> usize {
    let left_out = mounts.len().saturating_sub(MAX_MOUNTS);
    if left_out > 0 {
        let mut sources = BTreeSet::new();
        let is_another: Vec<bool> = mounts.iter().map(|mount| !sources.insert(source(mount).to_owned())).collect();
        let mut ranked: Vec<(bool, bool, Mount)> =
            mounts.drain(..).zip(is_another).map(|(m, another)| (!is_required(&m.mountpoint), another, m)).collect();
        ranked.sort_by_key(|(optional, another, _)| (*optional, *another));
        mounts.extend(ranked.into_iter().take(MAX_MOUNTS).map(|(_, _, mount)| mount));
    }
    left_out
}

/// A mount table as it comes.
#[derive(Debug)]
struct Lines {
    mounts: Vec<Mount>,
    /// Folders of kubelets.
    kubelets: BTreeSet<String>,
    /// Numbers of devices that are mounted below them.
    pods: BTreeSet<String>,
    has_pods: bool,
    left_out: usize,
}

impl Default for Lines {
    fn default() -> Self {
        let kubelets = BTreeSet::from([KUBELET.to_owned()]);
        Lines { mounts: Vec::new(), kubelets, pods: BTreeSet::new(), has_pods: false, left_out: 0 }
    }
}

impl Lines {
    fn take(&mut self, line: &[u8]) {
        let Some((mountpoint, fstype)) = place(line) else { return };
        let is_known = |kubelets: &BTreeSet<String>| kubelets.iter().any(|kubelet| is_below(mountpoint, kubelet));
        let kubelet = kubelet(mountpoint);
        self.has_pods |= kubelet.is_some();
        let of_pod = is_known(&self.kubelets) || kubelet.is_some();
        if !is_known(&self.kubelets) {
            self.kubelets.extend(kubelet.map(str::to_owned));
        }
        let hidden = HIDDEN.iter().any(|prefix| mountpoint.starts_with(prefix)) || mountpoint.contains(CONTAINERD);
        // Without its space a place of Kubernetes cannot be judged, whatever it is made of: an overlay, memory, NFS.
        let wanted = LOCAL.contains(&fstype) || is_required(mountpoint);
        if !wanted || hidden {
            return;
        }
        if of_pod {
            self.add_pod(line.splitn(4, |byte| *byte == b' ').nth(2).map(text::word).unwrap_or_default());
        } else if self.mounts.len() < MAX_CANDIDATES || is_required(mountpoint) {
            self.mounts.extend(mount(line));
        } else {
            self.left_out += 1;
        }
    }

    fn add_pod(&mut self, numbers: &str) {
        if self.pods.contains(numbers) {
        } else if self.pods.len() < MAX_PODS {
            self.pods.insert(numbers.to_owned());
        } else {
            self.left_out += 1;
        }
    }

    fn table(mut self) -> Table {
        let mut mounts: Vec<Mount> = Vec::new();
        // By mount point; by numbers, whether all of them are read-only.
        let (mut places, mut devices): (BTreeMap<String, usize>, BTreeMap<String, bool>) = Default::default();
        for mount in std::mem::take(&mut self.mounts) {
            // The folder may have shown to be a kubelet's after this line.
            if self.kubelets.iter().any(|kubelet| is_below(&mount.mountpoint, kubelet)) {
                self.add_pod(&mount.numbers);
                continue;
            }
            // A later mount on the same place hides the earlier one.
            if let Some(known) = places.get(&mount.mountpoint) {
                devices.remove(&mounts[*known].numbers);
                devices.insert(mount.numbers.clone(), mount.readonly);
                mounts[*known] = mount;
                continue;
            }
            // The same disk again, unless it is here that it is written to: a root that only updates change.
            let readonly = devices.get(&mount.numbers).copied();
            if readonly.is_none_or(|readonly| readonly && !mount.readonly) {
                devices.insert(mount.numbers.clone(), mount.readonly);
                places.insert(mount.mountpoint.clone(), mounts.len());
                mounts.push(mount);
            }
        }
        Table { mounts, pods: self.pods, has_pods: self.has_pods, left_out: self.left_out }
    }
}

fn is_required(mountpoint: &str) -> bool {
    REQUIRED_MOUNTS.contains(&mountpoint)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The folder of the kubelet that made this mount: `/data/kubelet` of
/// `/data/kubelet/pods/UID/volumes/kubernetes.io~csi/NAME/mount` and of `/data/kubelet/plugins/kubernetes.io/…`.
fn kubelet(mountpoint: &str) -> Option<&str> {
    let of_pod = || {
        let (folder, rest) = mountpoint.split_once("/pods/")?;
        let (_, rest) = rest.split_once('/')?;
        let plugin = rest.strip_prefix("volumes/")?.split('/').next()?;
        plugin.contains('~').then_some(folder)
    };
    let of_plugin = || {
        let (folder, plugin) = mountpoint.split_once("/plugins/kubernetes.io")?;
        plugin.starts_with(['/', '~']).then_some(folder)
    };
    of_pod().or_else(of_plugin).filter(|folder| !folder.is_empty())
}

/// Mount point, as it is written, and type.
fn place(line: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    let (left, right) = line.split_once(" - ")?;
    Some((left.split(' ').nth(4)?, right.split(' ').next()?))
}

/// `36 25 259:2 / / rw,noatime shared:1 - ext4 /dev/nvme0n1p2 rw`
fn mount(line: &[u8]) -> Option<Mount> {
    let line = std::str::from_utf8(line).ok()?;
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let mut right = right.split(' ');
    let (fstype, device, options) = (right.next()?, right.next()?, right.next().unwrap_or_default());
    let own = *left.get(5)?;
    let is_set = |wanted: &str| [own, options].iter().any(|list| list.split(',').any(|one| one == wanted));
    let emergency = is_set("emergency_ro");
    Some(Mount {
        id: left.first()?.parse().ok()?,
        device: unescape(device),
        mountpoint: unescape(left.get(4)?),
        fstype: fstype.to_owned(),
        numbers: (*left.get(2)?).to_owned(),
        readonly: emergency || is_set("ro"),
        emergency,
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
        35 25 8:33 / /data/kubelet/plugins/example.org/x rw - ext4 /dev/sdc1 rw\n\
        36 25 8:34 / /data/kubelet rw - ext4 /dev/sdc2 emergency_ro\n\
        37 25 0:61 / /data/kubelet/pods/5b2/volumes/kubernetes.io~projected/t rw - tmpfs tmpfs rw\n\
        38 25 8:35 / /mnt/pods/5b2/volumes/mine rw - ext4 /dev/sdc3 rw\n\
        39 25 0:62 / /srv/cd/io.containerd.snapshotter.v1.zfs/1 rw - zfs tank/1 rw\n\
        40 25 0:63 / /var rw - overlay overlay rw\n\
        torn line";

    #[test]
    fn local_file_systems_once_each_and_read_only_from_either_side() {
        let found = mounts(TABLE);
        let short: Vec<(&str, bool)> = found.iter().map(|mount| (mount.mountpoint.as_str(), mount.readonly)).collect();
        let wanted = [
            ("/", false),
            ("/boot/firmware", true),
            ("/mnt/my disk", true),
            ("/data/kubelet", true),
            ("/mnt/pods/5b2/volumes/mine", false),
            ("/var", false),
        ];
        assert_eq!(short, wanted);
        assert_eq!(found.iter().filter(|mount| mount.emergency).count(), 1);
    }

    #[test]
    fn a_disk_whose_root_is_read_only_is_known_where_it_is_written_to() {
        let table = b"25 1 0:25 /@/.snapshots/1 / ro - btrfs /dev/sda2 rw\n\
            26 25 0:25 /@/.snapshots /.snapshots ro - btrfs /dev/sda2 rw\n\
            27 25 0:25 /@/var /var rw - btrfs /dev/sda2 rw\n28 25 0:25 /@/home /home rw - btrfs /dev/sda2 rw\n";
        let found: Vec<String> = mounts(table).into_iter().map(|mount| mount.mountpoint).collect();
        assert_eq!(found, ["/", "/var"]);
    }

    #[test]
    fn of_very_many_data_sets_the_places_of_kubernetes_are_kept() {
        let sets = (0..500).map(|n| format!("{n} 1 0:{} / /tank/{n} rw - zfs tank/{n} rw\n", n + 100));
        let table = sets.collect::<String>() + "900 1 0:90 / /var/lib/kubelet rw - zfs tank/kubelet rw\n";
        let mut found = mounts((table + "901 1 8:1 / /srv rw - ext4 /dev/sda1 rw\n").as_bytes());
        assert_eq!(found.len(), 502, "all of them say which disks are the machine's own");
        assert_eq!(shorten(&mut found), 502 - MAX_MOUNTS, "those that are left out are counted");
        assert_eq!(found.len(), MAX_MOUNTS);
        for place in ["/var/lib/kubelet", "/srv", "/tank/0"] {
            assert!(found.iter().any(|mount| mount.mountpoint == place), "{place}");
        }
        let volumes = (0..5000).map(|n| {
            let place = format!("/var/lib/kubelet/pods/5b2/volume-subpaths/data/x/{n}");
            format!("{n} 1 8:1 /{n} {place} rw - ext4 /dev/sda1 rw\n")
        });
        let found =
            mounts((volumes.collect::<String>() + "9 1 8:3 / /var/lib/rancher rw - ext4 /dev/sdb rw\n").as_bytes());
        assert!(found.iter().any(|mount| mount.mountpoint == "/var/lib/rancher"));
    }

    #[test]
    fn no_device_of_a_pod_is_lost_however_many_mounts_there_are() {
        let mut lines = Lines::default();
        for n in 0..12_000 {
            let (volume, numbers) = (n % 6000, format!("{}:{}", 1000 + n % 6000 / 256, n % 256));
            let place = format!("/data/kubelet/pods/{n}/volumes/kubernetes.io~csi/{volume}/mount");
            lines.take(format!("{n} 1 {numbers} / {place} rw - ext4 /dev/sd rw").as_bytes());
        }
        lines.take(b"9 1 8:3 / /data/kubelet/other rw - ext4 /dev/sdc rw");
        lines.take(b"9 1 8:1 / / rw - ext4 /dev/sda rw");
        let table = lines.table();
        let places: Vec<&str> = table.mounts.iter().map(|mount| mount.mountpoint.as_str()).collect();
        assert_eq!(places, ["/"]);
        assert!(table.pods.len() > 4096 && table.pods.contains("8:3"), "{} devices", table.pods.len());
        assert_eq!(table.left_out, 0);
    }
}
