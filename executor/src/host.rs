//! The world's edge: what the executor may ask of the machine it runs on, and of the cluster beside it.
//!
//! Two implementations exist: the real Linux machine and the simulated one of the crate `sim`. Every call is
//! synchronous and may block for as long as its documentation says; the executor runs on a thread of its own.

mod administrator;
mod cluster;
mod followed;
mod kube;
mod linux;
mod started;
mod waker;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hostler_plan::{
    document::{Hardware, Recipient, SealedSnapshot, SnapshotFile},
    fact::Reading,
    id::{Arch, BootId, Digest},
    step::UnitState,
    timestamp::Timestamp,
};
use hostler_seal::Identity;
use serde::Deserialize;

pub use administrator::{Administrator, Applying, merge_patch};
pub use cluster::{
    CORDON_ANNOTATION, Cluster, ClusterError, CordonAnswer, Eviction, FIELD_MANAGER, Following, Mark, PodScope,
    SELF_CORDON_ANNOTATION, SELF_CORDON_MANAGER, Watch,
};
pub(crate) use followed::cordon_stale_from;
pub use followed::{Common, Follow, Followed, FollowedNode, Noted};
pub use hostler_plan::cluster::{
    Adopted, Attachment, Awaited, Budget, BudgetCondition, BudgetLimit, Controller, CordonNote, Deletion,
    DrainCondition, Effect, EmptyDirMedia, EvictionRequest, Node, NodeReady, Operator, Owner, Phase, Placement, Pod,
    PodKey, PodTerm, PodVolume, Requirement, Scale, Selector, SelfCordon, Shared, Spread, Taint, Toleration,
    WAITING_TAINT, Waiting,
};
pub use linux::Linux;
pub use started::{Reach, RunEnd, Started, StartedState, UnitRun};
pub use waker::Waker;

/// A file as text; what is no UTF-8 in it does not matter to who asks. None where there is no file.
pub(crate) fn text(host: &dyn Host, path: impl AsRef<Path>) -> Result<Option<String>, HostError> {
    let file = host.read_file(path.as_ref())?;
    Ok(file.map(|file| String::from_utf8_lossy(&file.content).into_owned()))
}

/// The real client of an API server that a test plays.
#[cfg(test)]
pub(crate) fn cluster_of(kubeconfig: std::path::PathBuf) -> Box<dyn Cluster> {
    Box::new(kube::KubeCluster::new(kubeconfig, kube::Identity::OfTheFile).unwrap())
}

/// When the machine's clock is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockSource {
    /// Once NTP or a clock with a battery set it: a Pi wakes up in the past.
    #[default]
    Synchronised,
    /// From the start, for example in a virtual machine whose host sets it and says nothing.
    Trusted,
}

/// A machine.
pub trait Host: Send + Sync {
    /// The name the kernel has; the node's name unless the settings say another one.
    fn host_name(&self) -> Result<String, HostError>;

    /// What tells this board from another.
    fn hardware(&self) -> Result<Hardware, HostError>;

    /// The processor family.
    fn arch(&self) -> Arch;

    /// The kernel's boot id; another one proves a reboot.
    fn boot_id(&self) -> Result<BootId, HostError>;

    /// The clock as it stands, right or wrong.
    fn now(&self) -> Timestamp;

    /// A clock that nothing sets: how long something took is asked of it. Where it stands says nothing.
    fn steady(&self) -> Duration;

    /// Whether the clock was set from somewhere trustworthy since boot.
    fn clock_is_synchronised(&self) -> bool;

    /// Blocks for `at_most` of the host's own time, or until `waker` is notified. A simulated host may let its time run
    /// faster, or jump.
    fn wait(&self, waker: &Waker, at_most: Duration);

    /// Every fact that can be read now; what cannot be read is missing. Never hangs.
    fn read_facts(&self, now: Timestamp) -> Reading;

    /// Called when the node has had nothing to do for a while: what only its start or its last task needed may be given
    /// back to the machine.
    fn on_idle(&self) {}

    /// A regular file of at most 1 MiB; `None` when nothing is there. Anything else than a regular file is an error,
    /// and links are not followed.
    fn read_file(&self, path: &Path) -> Result<Option<HostFile>, HostError>;

    /// Puts a file in place at once and durably, with its owner and mode; missing directories are made.
    fn write_file(&self, path: &Path, file: &HostFile) -> Result<(), HostError>;

    /// Puts a staged artifact in place as a program, at once and durably; one that runs keeps the old file.
    fn install_program(&self, artifact: &Path, program: &Path) -> Result<(), HostError>;

    /// What a file of any size holds; `None` when nothing is there. Anything else than a regular file is an error, and
    /// links are not followed.
    fn measure_file(&self, path: &Path) -> Result<Option<MeasuredFile>, HostError>;

    /// Seals files together to those keys, as one file that everybody may read; takes the time of reading them.
    fn seal(&self, _to: &[Recipient], _parts: &[Part<'_>], _into: &Path) -> Result<SealedSnapshot, HostError> {
        Err(HostError::Missing { what: "way to seal files".into() })
    }

    /// Copies a file of any size, durably, into a folder that has to be there.
    fn copy_file(&self, _from: &Path, _to: &Path) -> Result<(), HostError> {
        Err(HostError::Missing { what: "way to copy files".into() })
    }

    /// Opens a sealed file. The part of that name goes to a file for root alone, which is there only where all of the
    /// sealed file was whole; every other is given with what it holds. Takes the time of reading it.
    fn open_sealed(&self, _key: &Identity, _from: &Path, _part: &str, _into: &Path) -> Result<Vec<Opened>, HostError> {
        Err(HostError::Missing { what: "way to open sealed files".into() })
    }

    /// Gives a file or folder another place on the same file system, at once and durably. What is at that place already
    /// is an error.
    fn rename(&self, _from: &Path, _to: &Path) -> Result<(), HostError> {
        Err(HostError::Missing { what: "way to rename files".into() })
    }

    /// The metrics that a program serves on this machine's loopback address; none where there are none.
    fn metrics(&self, _port: u16) -> Option<String> {
        None
    }

    /// The names in a folder, sorted; none where there is no such folder.
    fn list_folder(&self, path: &Path) -> Result<Vec<String>, HostError>;

    /// Removes a file, a link, or a folder with all that is in it; what is not there is as good as removed. Links are
    /// not followed.
    fn remove(&self, path: &Path) -> Result<(), HostError>;

    /// Runs a program by its argument list, never through a shell, and gives its standard output. Ends it when it takes
    /// longer than `limit`. A program that is not there is [`HostError::Missing`].
    fn run(&self, arguments: &[&str], limit: Duration) -> Result<String, HostError>;

    /// Whether the kernel has the module, loaded or built in.
    fn module_is_loaded(&self, module: &str) -> Result<bool, HostError>;

    /// Loads a module into the running kernel.
    fn load_module(&self, module: &str) -> Result<(), HostError>;

    /// The value of a kernel parameter such as `net.ipv4.ip_forward`, without its newline; `None` for an unknown one.
    fn read_sysctl(&self, key: &str) -> Result<Option<String>, HostError>;

    /// Sets a kernel parameter in the running kernel.
    fn write_sysctl(&self, key: &str, value: &str) -> Result<(), HostError>;

    /// The installed version of a package; `None` when it is not (fully) installed.
    fn package_version(&self, package: &str) -> Result<Option<String>, HostError>;

    /// Installs a package at exactly that version. Takes up to 10 minutes.
    fn install_package(&self, package: &str, version: &str) -> Result<(), HostError>;

    /// What systemd says about a unit.
    fn unit(&self, unit: &str) -> Result<UnitStatus, HostError>;

    /// Asks systemd to start or stop a unit and to enable or disable it. Does not wait for a slow start.
    fn set_unit(&self, unit: &str, state: UnitState, enabled: bool) -> Result<(), HostError>;

    /// Restarts a unit. Does not wait for a slow start.
    fn restart_unit(&self, unit: &str) -> Result<(), HostError>;

    /// Makes unit files known that were written since.
    fn reload_units(&self) -> Result<(), HostError>;

    /// Starts a program as a unit of its own, which goes on when this process ends. Returns once it runs. No unit of
    /// that name may be there: see [`started_unit`](Self::started_unit).
    fn start_unit(&self, run: &UnitRun<'_>) -> Result<(), HostError>;

    /// What became of a unit that was started so, by this process or an earlier one of this boot. None where there is
    /// no such unit.
    fn started_unit(&self, unit: &str) -> Result<Option<Started>, HostError>;

    /// The last lines that such a unit has printed so far; empty where nobody can tell.
    fn output_of_unit(&self, _: &str) -> Result<String, HostError> {
        Ok(String::new())
    }

    /// Forgets a unit that was started so; one that still runs is ended.
    fn forget_unit(&self, unit: &str) -> Result<(), HostError>;

    /// The names and addresses for which a certificate in PEM form counts; none where there is no such file.
    fn certificate_names(&self, path: &Path) -> Result<Option<Vec<String>>, HostError> {
        let Some(file) = self.read_file(path)? else { return Ok(None) };
        let names = hostler_facts::certificate_names(&file.content);
        names.map(Some).ok_or_else(|| HostError::Unexpected {
            what: "file",
            expected: "a certificate in PEM form",
            found: path.display().to_string(),
        })
    }

    /// Whether the API server at an address is ready, asked as whom a kubeconfig says. Its certificate has to be of
    /// that file's authority and to count for this name, whatever the address is called. Takes at most 40 seconds.
    fn is_ready_at(&self, _kubeconfig: &Path, _server: &str, _name: &str) -> Result<(), ClusterError> {
        Err(ClusterError::Silent("this machine cannot ask an API server".into()))
    }

    /// Whether a coordinator's process runs on this machine, as a unit, in a container or started by hand.
    fn runs_coordinator(&self) -> bool {
        false
    }

    /// Asks for a reboot and returns; the process is ended soon after. Nothing may be started afterwards.
    fn reboot(&self) -> Result<(), HostError>;

    /// The cluster, where this machine holds credentials for its API server.
    fn cluster(&self) -> Option<&dyn Cluster>;

    /// The cluster as the administrator whose credentials lie on this machine: on servers alone.
    fn administrator(&self) -> Option<&dyn Administrator> {
        None
    }

    /// The access with which this machine may change its own node: a server's as above, a worker's by its kubelet.
    fn own_cluster(&self) -> Option<&dyn Cluster> {
        self.cluster()
    }
}

/// A file's content and who may do what with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFile {
    pub content: Vec<u8>,
    /// Permission bits, such as `0o644`.
    pub mode: u32,
    /// Numeric owner and group; 0 is root.
    pub uid: u32,
    pub gid: u32,
}

/// A file on its way into a sealed one.
#[derive(Debug)]
pub struct Part<'a> {
    /// Its path there.
    pub name: &'a str,
    pub content: PartContent<'a>,
}

/// Where a part comes from.
pub enum PartContent<'a> {
    Bytes(&'a [u8]),
    File(&'a Path),
}

/// What of it may be shown: bytes may be keys.
impl std::fmt::Debug for PartContent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PartContent::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            PartContent::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A part of a sealed file.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its path there, its digest and its length.
    pub file: SnapshotFile,
    /// What it holds; none where it went to a file.
    pub content: Option<Vec<u8>>,
}

/// What of it may be shown: bytes may be keys.
impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.file)
    }
}

/// A file of any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasuredFile {
    /// The SHA-256 of all of it.
    pub digest: Digest,
    /// Permission bits, such as `0o755`.
    pub mode: u32,
    /// Numeric owner; 0 is root.
    pub uid: u32,
}

/// A systemd unit as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitStatus {
    /// Whether systemd knows the unit.
    pub exists: bool,
    pub activity: UnitActivity,
    pub enabled: bool,
    /// The main process, while there is one.
    pub main_pid: Option<u32>,
}

/// systemd's ActiveState, as far as a step cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitActivity {
    Active,
    /// Starting, stopping or reloading: wait.
    Changing,
    Inactive,
    Failed,
}

/// Why the machine did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A file operation failed.
    #[error("{action} {} failed: {reason}", path.display())]
    File { action: &'static str, path: PathBuf, reason: String },
    /// A program could not be started, or ended with an error.
    #[error("`{command}` failed ({status}): {output}")]
    Command { command: String, status: String, output: String },
    /// A program was ended by a signal from outside, as every process of a unit is when the unit stops.
    #[error("`{command}` was ended by signal {signal}")]
    Signalled { command: String, signal: i32 },
    /// A program was ended because it took too long.
    #[error("`{command}` did not end within {seconds} s")]
    TimedOut { command: String, seconds: u64 },
    /// The machine says something that is not understood.
    #[error("{what} expected {expected}, found {found:?}")]
    Unexpected { what: &'static str, expected: &'static str, found: String },
    /// This machine has no such thing.
    #[error("this machine has no {what}")]
    Missing { what: String },
}
