//! The facts of the machine the agent runs on: about forty small readers and one scheduler.
//!
//! A reader is a pure parser over bytes and the thinnest possible read. It reads below a [`Root`] and asks [`Calls`],
//! so a whole machine is a folder. What it cannot read is missing, and no reader can hang or fail another: whatever can
//! hang runs on a helper thread with a time limit. [`Facts::tick`] is called with the time and gives a
//! [`Reading`](hostler_plan::fact::Reading).

pub mod calls;
mod carries;
mod certificate;
mod cpu;
mod cpufreq;
mod diskstats;
mod failure;
mod filesystem;
mod hwmon;
mod identity;
mod interface;
mod kernel;
mod kmsg;
mod kubeconfig;
mod memory;
mod network;
mod nvme;
mod packages;
pub mod play;
mod pressure;
mod process;
mod reboot;
mod redundancy;
mod release;
mod root;
pub mod rpi;
mod sample;
mod sata;
mod schedule;
pub mod smart;
mod storage;
mod systemd;
mod text;
mod thermal;
mod topology;
mod volumes;
mod worker;
mod worth;

pub use calls::Calls;
pub use certificate::certificate_names;
pub use failure::Failure;
pub use identity::boot_id;
pub use process::Program;
pub use reboot::next_kernel;
pub use root::Root;
pub use schedule::{Facts, State};

use std::path::Path;
use std::time::Duration;

/// How long a round waits for helper threads that it has just started, in real time. A healthy disk or firmware
/// answers in 3 ms; one that does not is picked up in the next round.
const GRACE: Duration = Duration::from_millis(50);

/// The time of a round, handed in so that tests need no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic time since any fixed point.
    pub elapsed: Duration,
    /// Wall clock, Unix milliseconds. Only written into the reading, never used to decide.
    pub unix_ms: u64,
}

/// Where everything is read from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Files.
    pub root: Root,
    /// Calls and programs.
    pub calls: Calls,
    /// Who reads.
    pub program: Program,
}

impl Source {
    /// This machine, read by that program.
    pub fn real(program: Program) -> Self {
        Source { root: Root::real(), calls: Calls::Kernel, program }
    }

    /// A recorded machine: a folder with `proc`, `sys`, `etc` … and `.calls`.
    pub fn recorded(folder: &Path) -> Result<Self, Failure> {
        let (root, calls) = (Root::at(folder)?, Calls::Recorded(folder.join(".calls")));
        Ok(Source { root, calls, program: Program::Executor })
    }
}

/// What a reader gets: the source, the time, and buffers that all readers share.
#[derive(Debug)]
struct Input {
    source: Source,
    now: Now,
    /// False when the reader is only called to pick up answers of its helper threads.
    due: bool,
    /// The volumes of pods, as the mount table showed them last.
    volumes: volumes::Volumes,
    /// Whether that table had any mount of a pod; `None` when it could not be read.
    has_pods: Option<bool>,
    /// What the kernel's log says; whoever of a round asks first reads on.
    log: kmsg::KernelLog,
    bytes: Vec<u8>,
    text: String,
}

impl Input {
    fn new(source: Source, now: Now) -> Self {
        let (volumes, bytes, text) = (volumes::Volumes::default(), Vec::new(), String::new());
        Input { source, now, due: true, volumes, has_pods: None, log: kmsg::KernelLog::default(), bytes, text }
    }
}

/// Something that changes rarely: asked again when it is a minute old.
#[derive(Debug)]
struct Slow<T> {
    known: Option<(Duration, T)>,
}

impl<T> Default for Slow<T> {
    fn default() -> Self {
        Slow { known: None }
    }
}

impl<T> Slow<T> {
    const CADENCE: Duration = Duration::from_secs(60);

    fn get(&mut self, now: Now, read: impl FnOnce() -> Result<T, Failure>) -> Result<&T, Failure> {
        let fresh = self.known.as_ref().is_some_and(|(at, _)| now.elapsed.saturating_sub(*at) < Self::CADENCE);
        if !fresh {
            self.known = None;
        }
        match &mut self.known {
            Some((_, value)) => Ok(value),
            none => Ok(&none.insert((now.elapsed, read()?)).1),
        }
    }

    fn known(&self) -> Option<&T> {
        self.known.as_ref().map(|(_, value)| value)
    }

    fn forget(&mut self) {
        self.known = None;
    }
}
