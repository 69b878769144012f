//! The forms of what a plan asks of a machine: paths, names of the system, sentences, numbers in their range. A
//! document that was parsed holds nothing else, so that a signed plan cannot ask for what no node should do.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{
    id::{InvalidId, text_id},
    text,
};

fn is_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

text_id! {
    /// A file that a plan may write. Hostler's own files are none: a plan that changed keys, state or settings of an
    /// agent would be the last one that could be judged. Nor is what only looks like a file.
    FilePath, "file path",
    "an absolute path without `.`, `..` and `//`, not below /proc, /sys or /dev, with no name that begins with hostler",
    |t| t.len() <= 1024 && t.strip_prefix('/').is_some_and(|names| names.split('/').all(path_name))
        && !["/proc", "/sys", "/dev"].iter().any(|top| is_below(t, top))
}

text_id! {
    /// A time zone of the IANA database.
    ZoneName, "time zone", "1 to 64 letters, digits, '/', '_', '+' and '-', beginning with a letter or digit",
    |t| named(t, 64, b"/_+-")
}

text_id! {
    /// A file's permissions; nothing that runs as somebody else.
    FileMode, "file mode", "four octal digits that begin with 0, such as 0644",
    |t| t.len() == 4 && t.starts_with('0') && t.bytes().all(|b| (b'0'..=b'7').contains(&b))
}

text_id! {
    /// A kernel module.
    ModuleName, "kernel module", "1 to 64 letters, digits, '_' and '-', beginning with a letter or digit",
    |t| named(t, 64, b"_-")
}

text_id! {
    /// A kernel parameter as `sysctl` names it.
    SysctlKey, "sysctl key",
    "at least two names of letters, digits, '_', '-' and '/' with dots between, such as vm.swappiness",
    |t| t.len() <= 128 && t.contains('.') && t.split('.').all(|name| named(name, 128, b"_-/"))
}

text_id! {
    /// What a kernel parameter is set to.
    SysctlValue, "sysctl value", "1 to 256 bytes that can be seen, in one line",
    |t| is_sentence(t, 256)
}

text_id! {
    /// An argument of the kernel's command line. None that decides from where the machine boots and what it starts
    /// first: those are the machine's own, and a wrong one is found out only by whoever stands in front of it.
    KernelArgument, "kernel argument",
    "1 to 256 letters, digits, '_', '-', '.', ',', ':', '=', '/', '+', '@' and '%', beginning with a letter, and none \
     of root, rootfstype, rootflags, init, rdinit and initrd",
    |t| named(t, 256, b"_-.,:=/+@%") && t.starts_with(|c: char| c.is_ascii_alphabetic())
        && !BOOTS.contains(&t.split('=').next().unwrap_or(t))
}

/// Kernel arguments that decide from where the machine boots and what it starts first.
const BOOTS: [&str; 6] = ["root", "rootfstype", "rootflags", "init", "rdinit", "initrd"];

impl KernelArgument {
    /// What stands in front of the `=`, or all of it.
    pub fn key(&self) -> &str {
        self.as_str().split('=').next().unwrap_or(self.as_str())
    }

    /// Whether the kernel takes every value of it, and not the last one alone.
    pub fn is_repeated(&self) -> bool {
        REPEATED_ARGUMENTS.contains(&self.key())
    }
}

/// Kernel arguments that count each time that they stand there; of all others the last one counts
/// (<https://docs.kernel.org/admin-guide/kernel-parameters.html>).
pub const REPEATED_ARGUMENTS: [&str; 7] =
    ["console", "cgroup_enable", "cgroup_disable", "earlycon", "memmap", "systemd.mask", "systemd.wants"];

text_id! {
    /// Names of block devices as multipath.conf(5) has them.
    DevicePattern, "device pattern",
    "1 to 128 letters, digits and \"^$.*+?[]()|_-!/\", such as ^sd[a-z0-9]+",
    |t| (1..=128).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"^$.*+?[]()|_-!/".contains(&b))
}

text_id! {
    /// A package of Debian; <https://www.debian.org/doc/debian-policy/ch-controlfields.html>.
    PackageName, "package name", "2 to 128 of a-z, 0-9, '+', '-' and '.', beginning with a letter or digit",
    |t| t.len() >= 2 && named(t, 128, b"+-.") && !t.bytes().any(|b| b.is_ascii_uppercase())
}

text_id! {
    /// A version of a package of Debian.
    PackageVersion, "package version", "1 to 128 letters, digits, '.', '+', '-', '~' and ':', beginning with a digit",
    |t| named(t, 128, b".+-~:") && t.starts_with(|c: char| c.is_ascii_digit())
}

text_id! {
    /// The architecture of a package of Debian, `all` among them.
    PackageArch, "package architecture", "2 to 32 of a-z, 0-9 and '-', beginning with a letter",
    |t| t.len() >= 2 && named(t, 32, b"-") && t.starts_with(|c: char| c.is_ascii_lowercase())
        && !t.bytes().any(|b| b.is_ascii_uppercase())
}

text_id! {
    /// A kernel's name as `uname -r` has it.
    KernelRelease, "kernel release", "1 to 64 letters, digits, '.', '+', '-', '~' and '_', beginning with a digit",
    |t| named(t, 64, b".+-~_") && t.starts_with(|c: char| c.is_ascii_digit())
}

text_id! {
    /// A unit of systemd that a plan may start or stop. Hostler's own are none.
    UnitName, "unit name",
    "a name with its kind such as ssh.service, of letters, digits, ':', '_', '-', '.', '@' and '\\', not hostler's own",
    |t| named(t, 255, b":_-.@\\") && !t.starts_with("hostler")
        && t.rsplit_once('.').is_some_and(|(name, kind)| !name.is_empty() && UNIT_KINDS.contains(&kind))
}

text_id! {
    /// A resource of the Kubernetes API at a version, as people and its metrics name it.
    ApiName, "API",
    "GROUP/VERSION/RESOURCE such as policy/v1beta1/podsecuritypolicies, or VERSION/RESOURCE of the core",
    |t| t.len() <= 512 && (2..=3).contains(&t.split('/').count())
        && t.split('/').all(|part| !part.is_empty() && dns(part, b"-."))
}

text_id! {
    /// A machine's name as others look it up: of DNS, and lower case.
    HostName, "host name", "1 to 253 of a-z, 0-9, '-' and '.', no part beginning or ending with '-'",
    |t| (1..=253).contains(&t.len()) && dns(t, b"-.")
}

text_id! {
    /// The configuration of a program, whole.
    Config, "configuration", "1 to 65536 bytes of text without characters that cannot be seen",
    |t| (1..=64 << 10).contains(&t.len()) && t.chars().all(|c| c == '\n' || text::is_visible(c))
}

impl Config {
    /// Bytes; more than 0.
    #[expect(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(&self) -> usize {
        self.as_str().len()
    }
}

text_id! {
    /// A snapshot: the server that took it, and when.
    SnapshotName, "snapshot name", "1 to 300 letters, digits, '-' and '.', beginning with a letter or digit",
    |t| named(t, 300, b"-.")
}

text_id! {
    /// A restore: when it was planned, and by which plan. It becomes part of names of files.
    RestoreName, "restore name", "1 to 64 letters, digits and '-', beginning with a letter or digit",
    |t| named(t, 64, b"-")
}

text_id! {
    /// Where the servers of a cluster are reached.
    ServerUrl, "server address", "https://HOST:PORT",
    |t| t.strip_prefix("https://").is_some_and(|address| host_and_port(address).is_some())
}

text_id! {
    /// A pod: `NAMESPACE/NAME`, a DNS label and a DNS subdomain as Kubernetes has them.
    PodName, "pod", "NAMESPACE/NAME as `kubectl get pods -A` shows them",
    |t| t.split_once('/').is_some_and(|(namespace, name)| {
        namespace.len() <= 63 && dns(namespace, b"-") && name.len() <= 253 && dns(name, b"-.")
    })
}

impl PodName {
    /// The part in front of the `/`.
    pub fn namespace(&self) -> &str {
        self.as_str().split_once('/').map_or("", |(namespace, _)| namespace)
    }
}

text_id! {
    /// A pod's UID: no other pod of the cluster ever has it.
    PodUid, "pod UID", "1 to 128 letters, digits, '-', '_' and '.', beginning with a letter or digit",
    |t| named(t, 128, b"-_.")
}

text_id! {
    /// A name or a word of the cluster's own, whatever form it has there.
    ClusterName, "name in the cluster", "1 to 320 bytes that can be seen, in one line",
    |t| is_sentence(t, MAX_CLUSTER_NAME_BYTES)
}

impl ClusterName {
    /// The name of that text, cleaned and cut to what a name holds.
    pub fn of(text: &str) -> Self {
        Self(one_line(text, MAX_CLUSTER_NAME_BYTES))
    }
}

text_id! {
    /// Why something is done, for people who see it later.
    Reason, "reason", "1 to 500 bytes that can be seen, in one line",
    |t| is_sentence(t, MAX_REASON_BYTES)
}

impl Reason {
    /// The reason of that text, cleaned and cut to what a reason holds.
    pub fn of(text: &str) -> Self {
        Self(one_line(text, MAX_REASON_BYTES))
    }
}

text_id! {
    /// A number that was measured. Documents hold no fractions, because they can be written in several ways: it is a
    /// text in the one form in which it is written.
    Measured, "measured number", "a number as short as it can be written, such as 0.93",
    |t| t.parse::<f64>().is_ok_and(|n| n.is_finite() && n.to_string() == t)
}

impl Measured {
    /// That number, if it is one.
    pub fn of(number: f64) -> Option<Self> {
        Self::new(number.to_string()).ok()
    }

    /// The number.
    pub fn get(&self) -> f64 {
        self.as_str().parse().unwrap_or(f64::NAN)
    }
}

/// Any text as a sentence of at most `most` bytes; `?` where nothing of it can be seen.
fn one_line(text: &str, most: usize) -> String {
    match text::clean_to(text.trim(), most).trim() {
        "" => "?".to_owned(),
        line => line.to_owned(),
    }
}

/// Lower-case letters, digits and `others`, which no part of it begins or ends with.
fn dns(text: &str, others: &[u8]) -> bool {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.bytes().all(|b| edge(&b) || others.contains(&b))
        && text
            .split('.')
            .all(|part| part.as_bytes().first().is_some_and(edge) && part.as_bytes().last().is_some_and(edge))
}

/// What systemd can start and stop.
const UNIT_KINDS: &[&str] = &["service", "socket", "timer", "path", "mount", "automount", "swap", "target", "slice"];

/// A title stands in tables and questions; five names of nodes fit into it.
const MAX_TITLE_BYTES: usize = 400;
/// A mount point may be long.
const MAX_SUBJECT_BYTES: usize = 400;
/// `NAMESPACE/NAME`, and Kubernetes' names have 253 bytes and its namespaces 63.
const MAX_CLUSTER_NAME_BYTES: usize = 320;
/// A reason is a sentence or two.
const MAX_REASON_BYTES: usize = 500;

/// From a day, because what ends today is too late, to the ten years of a certificate authority.
pub const WITHIN_DAYS: (u64, u64) = (1, 3650);

/// The limits of numbers in a document, least and most.
pub const MAX_UNAVAILABLE: (u64, u64) = (1, 1000);
/// A lease is renewed every third of it: below 10 s one lost message ends it, and a node that is cut off may begin
/// nothing new after an hour.
pub const LEASE_SECONDS: (u64, u64) = (10, 3600);
/// A day, for whatever somebody waits for.
pub const WAIT_SECONDS: (u64, u64) = (0, 86_400);
/// What has to end, and may take a day.
pub const TIMEOUT_SECONDS: (u64, u64) = (1, 86_400);
/// A wait for health takes its own time and the soak.
pub const READY_TIMEOUT_SECONDS: (u64, u64) = (1, 2 * 86_400);
/// How long documents may live by a root's policy: a minute to a year.
pub const LIFETIME_SECONDS: (u64, u64) = (60, 366 * 86_400);
/// What a task needs of a maintenance window, of which none is longer than a week unless several meet.
pub const WINDOW_SECONDS: (u64, u64) = (1, 7 * 86_400);
/// A snapshot has as many bytes as etcd's data, 2 GiB at most by default: a hundred of them fill a large disk.
pub const SNAPSHOTS_KEPT: (u64, u64) = (1, 100);
/// Ten years.
pub const SNAPSHOT_DAYS: (u64, u64) = (1, 3660);

fn path_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.starts_with("hostler") && name.chars().all(text::is_visible)
}

/// Letters, digits and what else is given, beginning with a letter or digit.
fn named(text: &str, most: usize, also: &[u8]) -> bool {
    (1..=most).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || also.contains(&b))
}

/// Whether it is one line of characters that can be seen, without blanks around it.
pub(crate) fn is_sentence(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.trim() == text && text.chars().all(text::is_visible)
}

/// The host, without brackets, and the port of an address.
pub(crate) fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|p| *p != 0 && port.bytes().all(|b| b.is_ascii_digit()))?;
    let fits = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) => return address.parse::<std::net::Ipv6Addr>().is_ok().then_some((address, port)),
        None => named(host, 253, b".-"),
    };
    fits.then_some((host, port))
}

/// Reads a title.
pub(crate) fn title<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    sentence(String::deserialize(deserializer)?, "title", MAX_TITLE_BYTES)
}

/// Reads the reason of a decision; a person may give none.
pub(crate) fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(text) } else { sentence(text, "reason", MAX_REASON_BYTES) }
}

/// Reads what a verdict is about; of some it is the node itself.
pub(crate) fn subject<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(text) } else { sentence(text, "subject", MAX_SUBJECT_BYTES) }
}

fn sentence<E: serde::de::Error>(text: String, what: &str, most: usize) -> Result<String, E> {
    if is_sentence(&text, most) {
        return Ok(text);
    }
    let found = text::clean_to(&text, 80);
    Err(E::custom(format!("{what} expected one line of 1 to {most} bytes that can be seen, found \"{found}\"")))
}

/// Reads a number in a range: one function a range, because that is how serde takes it.
macro_rules! ranges {
    ($($name:ident: $number:ty, $what:literal, $limits:ident;)*) => {
        $(pub(crate) fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$number, D::Error> {
            let found = <$number>::deserialize(deserializer)?;
            let (least, most) = $limits;
            if (least..=most).contains(&u64::from(found)) {
                return Ok(found);
            }
            Err(D::Error::custom(format!("{} expected {least} to {most}, found {found}", $what)))
        })*
    };
}

ranges! {
    max_unavailable: u32, "max_unavailable", MAX_UNAVAILABLE;
    lease_seconds: u64, "lease_seconds", LEASE_SECONDS;
    within_days: u64, "within_days", WITHIN_DAYS;
    wait_seconds: u64, "a time to wait", WAIT_SECONDS;
    timeout_seconds: u64, "a time limit", TIMEOUT_SECONDS;
    ready_timeout_seconds: u64, "timeout_seconds", READY_TIMEOUT_SECONDS;
    lifetime_seconds: u64, "a lifetime", LIFETIME_SECONDS;
    window_seconds: u64, "seconds of a window", WINDOW_SECONDS;
    snapshots_kept: u32, "snapshots that are kept", SNAPSHOTS_KEPT;
    snapshot_days: u32, "days that a snapshot is kept", SNAPSHOT_DAYS;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes<T: FromStr>(good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(text.parse::<T>().is_ok(), "{text:?} is taken");
        }
        for text in bad {
            assert!(text.parse::<T>().is_err(), "{text:?} is refused");
        }
        for unseen in ["a\0", "/a\x1b[2J", "a\nb.service", "/etc/\u{202e}x", "/a\u{200b}", "", " "] {
            assert!(unseen.parse::<T>().is_err(), "{unseen:?} is refused");
        }
    }

    #[test]
    fn a_path_is_absolute_and_normal_and_no_file_of_hostler() {
        takes::<FilePath>(
            &[
                "/etc/motd",
                "/etc/rancher/k3s/config.yaml.d/50-hostler.yaml",
                "/etc/ssh/sshd_config.d/a b.conf",
                "/devices",
            ],
            &[
                "etc/motd",
                "/",
                "/etc/",
                "/etc//motd",
                "/etc/./motd",
                "/etc/../var",
                "/..",
                "/etc/hostler/agent.toml",
                "/var/lib/hostler/agent/state.1",
                "/var/lib/hostler",
                "/var/run/hostler/executor.sock",
                "/proc/self/root/etc/x",
                "/sys/power/state",
                "/dev/sda",
                "/proc",
                "/usr/bin/hostler-agent",
                "/etc/systemd/system/hostler-agent.service.d/a.conf",
            ],
        );
    }

    #[test]
    fn a_mode_runs_nothing_as_somebody_else() {
        takes::<FileMode>(&["0644", "0600", "0755"], &["644", "4755", "2755", "1777", "0888", "00644", "-rw-"]);
    }

    #[test]
    fn names_of_the_system_are_no_options_and_no_paths() {
        takes::<ModuleName>(&["br_netfilter", "nvme-tcp"], &["-f", "../x", "a b", "a.ko"]);
        takes::<SysctlKey>(
            &["net.ipv4.ip_forward", "net.ipv4.conf.eth0/100.rp_filter"],
            &["k", "../x", "net..x", ".a", "a.", "/net.ipv4", "a./b", "a.-w", "a.b=c"],
        );
        takes::<PackageName>(
            &["curl", "g++", "libc6"],
            &["-oDPkg::Pre-Invoke::=id", "a", "Curl", "a/b", "a=1", "./x.deb"],
        );
        takes::<PackageVersion>(&["8.1-2", "1:2.3~rc1+deb12u1"], &["latest", "-1", "1 2", "1/2", "*"]);
        takes::<PackageArch>(&["amd64", "all", "kfreebsd-i386"], &["", "a", "AMD64", "../x", "any all"]);
        takes::<KernelRelease>(&["6.12.47+rpt-rpi-2712", "6.1.0-28-amd64"], &["", "-r", "6.1/x", "vmlinuz 6"]);
        takes::<UnitName>(
            &["ssh.service", "getty@tty1.service", "var-lib-x\\x2dy.mount"],
            &[
                "--root=/x",
                "ssh",
                "../x.service",
                "a/b.service",
                "hostler-agent.service",
                ".service",
                "a.scope",
                "a b.service",
            ],
        );
    }

    #[test]
    fn an_address_has_a_scheme_a_host_and_a_port() {
        takes::<ServerUrl>(
            &["https://api:6443", "https://10.0.0.1:6443", "https://[fd00::1]:6443"],
            &[
                "http://api:6443",
                "https://api",
                "https://api:0",
                "https://a:1/x",
                "https://u@a:1",
                "https://[x]:1",
                "https://a:+1",
            ],
        );
    }

    #[test]
    fn sentences_can_be_seen() {
        takes::<Reason>(
            &["drain, plan 7", "Wärme"],
            &["a\nb", " a", "a ", "a\u{202e}b", "a\u{2028}b", &"x".repeat(501)],
        );
        takes::<SysctlValue>(&["1", "4096 87380 6291456"], &["1\n2", &"1".repeat(257)]);
    }
}
