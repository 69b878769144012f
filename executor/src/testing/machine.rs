//! A machine in memory.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use hostler_plan::{
    document::{Hardware, Recipient, SealedSnapshot, SnapshotFile},
    fact::{Reading, Series},
    id::{Arch, BootId, Digest},
    step::UnitState,
    timestamp::Timestamp,
};

use hostler_seal::Identity;

use super::{Front, TestAdministrator, TestCluster, Watching};
use crate::{
    host::{
        Administrator, Cluster, ClusterError, Host, HostError, HostFile, MeasuredFile, Opened, Part, PartContent,
        RunEnd, Started, StartedState, UnitActivity, UnitRun, UnitStatus, Waker,
    },
    inbox::RequestSender,
};

/// The process of the one unit here that has one, and its program.
const PID: u32 = 731;
const RUNNING: &str = "/proc/731/exe";

/// How long the real client has to hear of a change while the machine's clock moves on.
const TELLING: Duration = Duration::from_millis(20);

/// What a program does to a machine when it is run with these arguments, and what it prints; none plays it no further.
#[derive(Clone)]
pub(crate) struct Play(pub Arc<Played>);

/// The machine and the arguments in, what it prints out.
pub(crate) type Played = dyn Fn(&mut Inner, &[&str]) -> Option<Result<String, HostError>> + Send + Sync;

impl std::fmt::Debug for Play {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Play")
    }
}

/// A machine in memory. Its clock moves only while somebody waits.
#[derive(Debug)]
pub(crate) struct Machine {
    inner: Mutex<Inner>,
    pub cluster: Option<Arc<TestCluster>>,
    pub administrator: Option<Arc<TestAdministrator>>,
    /// An API server through which the cluster is asked, by the real client.
    pub front: Option<Front>,
}

#[derive(Debug, Clone)]
pub(crate) struct Inner {
    pub now: Timestamp,
    /// How long somebody waited.
    pub waited: Duration,
    /// By how many milliseconds somebody sets the clock at the next wait.
    pub step_ms: i64,
    pub synchronised: bool,
    pub boot: u32,
    pub files: BTreeMap<PathBuf, HostFile>,
    pub modules: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    pub packages: BTreeMap<String, String>,
    pub units: BTreeMap<String, UnitStatus>,
    /// What the main process of a unit prints as its version: the content of its program when it was started.
    pub running: BTreeMap<String, String>,
    /// What a boot changes; it is given no arguments.
    pub at_boot: Option<Play>,
    /// Files that may still be written before the disk is full; none is any number.
    pub writes_left: Option<u32>,
    /// What programs do that are more than a version.
    pub play: Option<Play>,
    /// Programs that were started as units: each runs until it is looked at for the second time.
    pub started: BTreeMap<String, (Started, RunEnd)>,
    /// A restart brings the old program back.
    pub restart_fails: bool,
    /// The kernel takes no module and no value of a parameter.
    pub kernel_refuses: bool,
    /// A reboot gives it no new boot id, as in some containers.
    pub keeps_its_boot: bool,
    /// The process ends while the next package is being installed, and takes the installation along.
    pub ends_in_package: Option<RequestSender>,
    /// The share of the root file system that is in use; none is not known.
    pub disk_used: Option<f64>,
    /// Whether the disk with its data is on its bus.
    pub data_disk: bool,
    pub runs_coordinator: bool,
    /// The next reading of it panics.
    pub breaks: bool,
    /// What the clock shows once a file was written.
    pub at_write: Vec<(PathBuf, Timestamp)>,
    /// Every change, in order: what must not happen twice.
    pub acts: Vec<String>,
}

impl Machine {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            inner: Mutex::new(Inner {
                now,
                waited: Duration::ZERO,
                step_ms: 0,
                synchronised: true,
                boot: 1,
                files: BTreeMap::new(),
                modules: Vec::new(),
                sysctls: BTreeMap::new(),
                packages: BTreeMap::new(),
                units: BTreeMap::new(),
                running: BTreeMap::new(),
                at_boot: None,
                writes_left: None,
                play: None,
                started: BTreeMap::new(),
                restart_fails: false,
                kernel_refuses: false,
                keeps_its_boot: false,
                ends_in_package: None,
                disk_used: Some(0.5),
                data_disk: true,
                runs_coordinator: false,
                breaks: false,
                at_write: Vec::new(),
                acts: Vec::new(),
            }),
            cluster: None,
            administrator: None,
            front: None,
        }
    }

    /// The same machine at this moment, without its cluster.
    pub(crate) fn again(&self) -> Self {
        Self { inner: Mutex::new(self.inner().clone()), cluster: None, administrator: None, front: None }
    }

    pub(crate) fn with_cluster(mut self, cluster: TestCluster) -> Self {
        self.cluster = Some(Arc::new(cluster));
        self
    }

    /// Lets the real client ask for the cluster, through an API server.
    pub(crate) fn through_an_api_server(mut self, watching: Watching) -> Self {
        self.front = self.cluster.as_ref().map(|cluster| Front::of(cluster, watching));
        self
    }

    fn break_once(&self) {
        if std::mem::take(&mut self.inner().breaks) {
            // Unwinds without a message: a test wants it.
            std::panic::resume_unwind(Box::new("breaks"));
        }
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        // A test's "process" may have died with the lock in its hand.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    /// Puts a file of root's there, for what a test begins with.
    pub(crate) fn put(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), HostFile { content: content.into(), mode: 0o644, uid: 0, gid: 0 });
    }

    /// The text of a file, where there is one.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.files.get(Path::new(path)).map(|file| String::from_utf8_lossy(&file.content).into_owned())
    }

    /// Every program prints what its file holds, whatever it is asked; a running one what it held at its start.
    fn run(&mut self, arguments: &[&str]) -> Result<String, HostError> {
        if let Some(Play(play)) = self.play.clone()
            && let Some(played) = play(self, arguments)
        {
            return played;
        }
        let missing = HostError::Missing { what: format!("program {}", arguments[0]) };
        match arguments[0] {
            RUNNING => self.running.values().next().cloned().ok_or(missing),
            program => {
                let file = self.files.get(Path::new(program)).ok_or(missing)?;
                Ok(String::from_utf8(file.content.clone()).unwrap())
            }
        }
    }

    fn take_room(&mut self, path: &Path) -> Result<(), HostError> {
        let reason = "No space left on device (os error 28)".to_owned();
        match &mut self.writes_left {
            Some(0) => Err(HostError::File { action: "writing", path: path.to_owned(), reason }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn kernel(&self, command: &str) -> Result<(), HostError> {
        let (command, status, output) = (command.to_owned(), "exit status: 1".into(), "the kernel refuses".into());
        if self.kernel_refuses { Err(HostError::Command { command, status, output }) } else { Ok(()) }
    }

    /// Runs the program that the unit's file names, where it has one.
    fn start(&mut self, unit: &str) {
        let text = |path: &Path| self.files.get(path).map(|file| String::from_utf8_lossy(&file.content).into_owned());
        let file = text(&Path::new("/etc/systemd/system").join(unit)).unwrap_or_default();
        let program = file.lines().find_map(|line| line.strip_prefix("ExecStart=")?.split(' ').next());
        if let Some(content) = program.and_then(|program| text(Path::new(program))) {
            self.running.insert(unit.to_owned(), content);
        }
    }
}

impl Host for Machine {
    fn host_name(&self) -> Result<String, HostError> {
        Ok("w1".into())
    }
    fn hardware(&self) -> Result<Hardware, HostError> {
        Ok(Hardware { model: "double".into(), serial: "1".into(), machine_id: "1".repeat(32), memory_bytes: 1 })
    }
    fn arch(&self) -> Arch {
        Arch::X86_64
    }
    fn boot_id(&self) -> Result<BootId, HostError> {
        self.break_once();
        Ok(BootId::new(format!("b{}", self.inner().boot)).unwrap())
    }
    fn now(&self) -> Timestamp {
        self.inner().now
    }
    fn steady(&self) -> Duration {
        self.inner().waited
    }
    fn clock_is_synchronised(&self) -> bool {
        self.inner().synchronised
    }
    fn runs_coordinator(&self) -> bool {
        self.inner().runs_coordinator
    }
    fn wait(&self, waker: &Waker, at_most: Duration) {
        let mut inner = self.inner();
        let step = std::mem::take(&mut inner.step_ms);
        inner.now = inner.now.stepped(step).plus(at_most);
        inner.waited += at_most;
        let now = inner.now;
        drop(inner);
        if let Some(cluster) = &self.cluster {
            cluster.at(now);
        }
        if let Some(front) = &self.front {
            front.refresh();
            // What is told of comes over a connection.
            waker.wait(TELLING);
        }
    }
    fn read_facts(&self, now: Timestamp) -> Reading {
        self.break_once();
        let mut reading = Reading::new(now.unix_milliseconds());
        let disk = [("device", "/dev/sda1"), ("mountpoint", "/"), ("fstype", "ext4")];
        let disks = [("sda", "root", true), ("sdb", "data", self.inner().data_disk)];
        for (device, what, _) in disks.into_iter().filter(|(.., there)| *there) {
            reading.set(Series::new("hostler_disk_carries", &[("device", device), ("what", what)]), 1.0);
        }
        if let Some(used) = self.inner().disk_used {
            let size = 100e9;
            reading.set(Series::new("node_filesystem_readonly", &disk), 0.0);
            reading.set(Series::new("node_filesystem_size_bytes", &disk), size);
            reading.set(Series::new("node_filesystem_avail_bytes", &disk), size * (1.0 - used));
        }
        reading
    }
    fn read_file(&self, path: &Path) -> Result<Option<HostFile>, HostError> {
        Ok(self.inner().files.get(path).cloned())
    }
    fn write_file(&self, path: &Path, file: &HostFile) -> Result<(), HostError> {
        let mut inner = self.inner();
        inner.take_room(path)?;
        inner.acts.push(format!("write {}", path.display()));
        let at = inner.at_write.iter().find(|(at, _)| at == path).map(|(_, now)| *now);
        inner.now = at.unwrap_or(inner.now);
        inner.files.insert(path.to_owned(), file.clone());
        Ok(())
    }
    fn install_program(&self, artifact: &Path, program: &Path) -> Result<(), HostError> {
        let content = std::fs::read(artifact).unwrap();
        self.write_file(program, &HostFile { content, mode: 0o755, uid: 0, gid: 0 })
    }
    fn measure_file(&self, path: &Path) -> Result<Option<MeasuredFile>, HostError> {
        let measured =
            |file: &HostFile| MeasuredFile { digest: Digest::of(&file.content), mode: file.mode, uid: file.uid };
        Ok(self.inner().files.get(path).map(measured))
    }
    /// With the real sealing, in memory.
    fn seal(&self, to: &[Recipient], parts: &[Part<'_>], into: &Path) -> Result<SealedSnapshot, HostError> {
        let files = self.inner().files.clone();
        let mut contents: Vec<(&str, &[u8])> = Vec::new();
        for Part { name, content } in parts {
            contents.push(match content {
                PartContent::Bytes(bytes) => (*name, *bytes),
                PartContent::File(path) => (*name, files[*path].content.as_slice()),
            });
        }
        let packed = contents
            .iter_mut()
            .map(|(name, content)| Ok(hostler_seal::Packed { name, size: content.len() as u64, content }));
        let content = hostler_seal::pack(to, packed, Vec::new()).unwrap();
        let sealed = SealedSnapshot { digest: Digest::of(&content), size: content.len() as u64 };
        self.write_file(into, &HostFile { content, mode: 0o644, uid: 0, gid: 0 })?;
        Ok(sealed)
    }
    fn copy_file(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let file = self.inner().files[from].clone();
        self.write_file(to, &file)
    }
    fn open_sealed(&self, key: &Identity, from: &Path, part: &str, into: &Path) -> Result<Vec<Opened>, HostError> {
        let failed =
            |e: std::io::Error| HostError::File { action: "opening", path: from.to_owned(), reason: e.to_string() };
        let (mut opened, mut kept) = (Vec::new(), None);
        let sealed = std::fs::read(from).map_err(failed)?;
        let unpacked = hostler_seal::unpack(key, &sealed[..], |name, size, from| {
            let mut content = Vec::new();
            from.read_to_end(&mut content)?;
            let file = SnapshotFile { name: name.to_owned(), sha256: Digest::of(&content), size };
            let content = if name == part { kept.replace(content).filter(|_| false) } else { Some(content) };
            opened.push(Opened { file, content });
            Ok(())
        });
        unpacked.map_err(failed)?;
        if let Some(content) = kept {
            self.write_file(into, &HostFile { content, mode: 0o600, uid: 0, gid: 0 })?;
        }
        Ok(opened)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let mut inner = self.inner();
        inner.acts.push(format!("rename {} {}", from.display(), to.display()));
        let moved: Vec<PathBuf> = inner.files.keys().filter(|file| file.starts_with(from)).cloned().collect();
        assert!(!moved.is_empty() && !inner.files.keys().any(|file| file.starts_with(to)), "{from:?} to {to:?}");
        for path in moved {
            let file = inner.files.remove(&path).unwrap();
            let rest = path.strip_prefix(from).unwrap();
            let to = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            inner.files.insert(to, file);
        }
        Ok(())
    }
    fn list_folder(&self, path: &Path) -> Result<Vec<String>, HostError> {
        let inner = self.inner();
        let below = inner.files.keys().filter_map(|file| file.strip_prefix(path).ok()?.iter().next()?.to_str());
        let mut names: Vec<String> = below.map(str::to_owned).collect();
        names.dedup();
        Ok(names)
    }
    fn remove(&self, path: &Path) -> Result<(), HostError> {
        let mut inner = self.inner();
        inner.acts.push(format!("remove {}", path.display()));
        inner.files.retain(|file, _| !file.starts_with(path));
        Ok(())
    }
    fn run(&self, arguments: &[&str], _: Duration) -> Result<String, HostError> {
        self.inner().run(arguments)
    }
    fn start_unit(&self, run: &UnitRun<'_>) -> Result<(), HostError> {
        let mut inner = self.inner();
        assert!(!inner.started.contains_key(run.unit), "systemd has one unit of a name");
        inner.acts.push(format!("start {}", run.arguments.join(" ")));
        let end = match inner.run(run.arguments) {
            Ok(output) => RunEnd { code: Some(0), how: "exit code 0".into(), output },
            Err(HostError::Signalled { signal, .. }) => {
                RunEnd { code: None, how: format!("signal {signal}"), output: String::new() }
            }
            Err(HostError::Command { output, .. }) => RunEnd { code: Some(1), how: "exit code 1".into(), output },
            Err(error) => return Err(error),
        };
        let started = Started { purpose: run.purpose.to_owned(), state: StartedState::Running };
        inner.started.insert(run.unit.to_owned(), (started, end));
        Ok(())
    }
    fn started_unit(&self, unit: &str) -> Result<Option<Started>, HostError> {
        let mut inner = self.inner();
        let Some((started, end)) = inner.started.get_mut(unit) else { return Ok(None) };
        let seen = started.clone();
        started.state = StartedState::Ended(end.clone());
        Ok(Some(seen))
    }
    fn forget_unit(&self, unit: &str) -> Result<(), HostError> {
        self.inner().started.remove(unit);
        Ok(())
    }
    fn module_is_loaded(&self, module: &str) -> Result<bool, HostError> {
        Ok(self.inner().modules.iter().any(|m| m == module))
    }
    fn load_module(&self, module: &str) -> Result<(), HostError> {
        let mut inner = self.inner();
        inner.kernel("modprobe")?;
        inner.modules.push(module.to_owned());
        Ok(())
    }
    fn read_sysctl(&self, key: &str) -> Result<Option<String>, HostError> {
        Ok(self.inner().sysctls.get(key).cloned())
    }
    fn write_sysctl(&self, key: &str, value: &str) -> Result<(), HostError> {
        let mut inner = self.inner();
        inner.kernel("write")?;
        inner.sysctls.insert(key.to_owned(), value.to_owned());
        Ok(())
    }
    fn package_version(&self, package: &str) -> Result<Option<String>, HostError> {
        Ok(self.inner().packages.get(package).cloned())
    }
    fn install_package(&self, package: &str, version: &str) -> Result<(), HostError> {
        let mut inner = self.inner();
        if let Some(sender) = inner.ends_in_package.take() {
            drop(sender);
            return Err(HostError::Signalled { command: format!("apt-get install {package}"), signal: 15 });
        }
        inner.packages.insert(package.to_owned(), version.to_owned());
        Ok(())
    }
    fn unit(&self, unit: &str) -> Result<UnitStatus, HostError> {
        let missing = UnitStatus { exists: false, activity: UnitActivity::Inactive, enabled: false, main_pid: None };
        let mut inner = self.inner();
        let found = inner.units.get(unit).copied().unwrap_or(missing);
        // A unit that is starting has started when it is looked at again.
        if let Some(unit) = inner.units.get_mut(unit)
            && unit.activity == UnitActivity::Changing
        {
            unit.activity = UnitActivity::Active;
        }
        Ok(found)
    }
    fn set_unit(&self, unit: &str, state: UnitState, enabled: bool) -> Result<(), HostError> {
        let activity = match state {
            UnitState::Started => UnitActivity::Changing,
            UnitState::Stopped => UnitActivity::Inactive,
        };
        let mut inner = self.inner();
        inner.start(unit);
        let main_pid = inner.running.contains_key(unit).then_some(PID);
        inner.units.insert(unit.to_owned(), UnitStatus { exists: true, activity, enabled, main_pid });
        Ok(())
    }
    fn restart_unit(&self, unit: &str) -> Result<(), HostError> {
        let mut inner = self.inner();
        inner.acts.push(format!("restart {unit}"));
        if !inner.restart_fails {
            inner.start(unit);
        }
        Ok(())
    }
    fn reload_units(&self) -> Result<(), HostError> {
        Ok(())
    }
    fn reboot(&self) -> Result<(), HostError> {
        let mut inner = self.inner();
        inner.acts.push("reboot".into());
        if !inner.keeps_its_boot {
            inner.boot += 1;
        }
        if let Some(Play(at_boot)) = inner.at_boot.clone() {
            at_boot(&mut inner, &[]);
        }
        Ok(())
    }
    fn administrator(&self) -> Option<&dyn Administrator> {
        self.administrator.as_deref().map(|administrator| administrator as &dyn Administrator)
    }
    /// Certificates here are texts that say for whom they count.
    fn certificate_names(&self, path: &Path) -> Result<Option<Vec<String>>, HostError> {
        let text = self.inner().text(&path.to_string_lossy());
        let names = |text: String| text.trim_end().rsplit(" for ").next().map_or("", |names| names).to_owned();
        Ok(text.map(|text| names(text).split(',').map(str::to_owned).collect()))
    }
    fn is_ready_at(&self, _: &Path, server: &str, name: &str) -> Result<(), ClusterError> {
        let names = self.certificate_names(Path::new("/etc/kubernetes/pki/apiserver.crt")).unwrap().unwrap_or_default();
        match server.contains(".invalid") || !(name == "kubernetes" || names.iter().any(|known| known == name)) {
            true => Err(ClusterError::Silent(format!("{server} does not answer as {name}"))),
            false => Ok(()),
        }
    }
    fn cluster(&self) -> Option<&dyn Cluster> {
        match &self.front {
            Some(front) => Some(&*front.client),
            None => self.cluster.as_ref().map(|cluster| &**cluster as &dyn Cluster),
        }
    }
}
