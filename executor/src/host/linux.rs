//! The real machine.

mod command;
mod files;
mod metrics;
mod seal;
mod systemd;
mod transient;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hostler_daemon::memory;
use hostler_facts::{Calls, Facts, Now, Program, Root, Source};
use hostler_plan::{
    document::{Hardware, Recipient, SealedSnapshot},
    fact::Reading,
    id::{Arch, BootId},
    step::UnitState,
    timestamp::Timestamp,
};

use self::command::run;
use super::{
    Administrator, ClockSource, Cluster, ClusterError, Host, HostError, HostFile, MeasuredFile, Opened, Part, Reach,
    Started, UnitRun, UnitStatus, Waker,
    kube::{Identity, KubeAdministrator, KubeCluster},
};

/// A module or a parameter is a matter of milliseconds; a Pi under load gets this long.
const QUICK: Duration = Duration::from_secs(30);

/// apt on a slow mirror and an SD card.
const PACKAGE_LIMIT: Duration = Duration::from_secs(600);

/// What apt fetches and what packages run while they are installed is not of this process, which has no network but the
/// API server's and may end meanwhile.
const PACKAGE_UNIT: &str = "hostler-package.service";

/// How the kernel names the coordinator's process: it keeps 15 bytes of a program's name (proc_pid_comm(5)).
const COORDINATOR: &str = "hostler-coordin";

/// What systemd sends to every process of a unit that stops (signal(7)).
const SIGTERM: i32 = 15;

/// This Linux machine.
#[derive(Debug)]
pub struct Linux {
    /// `/`, or a folder in tests.
    root: Root,
    started: Instant,
    facts: Mutex<Facts>,
    clock: ClockSource,
    kubeconfigs: Vec<PathBuf>,
    kubelet_kubeconfigs: Vec<PathBuf>,
    cluster: OnceLock<KubeCluster>,
    administrator: OnceLock<KubeAdministrator>,
    /// Through the kubelet's credentials, which may change their own node alone.
    kubelet: OnceLock<KubeCluster>,
}

impl Linux {
    /// This machine; the cluster is reached with the first of `kubeconfigs` that exists, once it does, and its own node
    /// with one of `kubelet_kubeconfigs`.
    pub fn new(kubeconfigs: Vec<PathBuf>, kubelet_kubeconfigs: Vec<PathBuf>, clock: ClockSource) -> Self {
        Self { clock, ..Self::at(Root::real(), kubeconfigs, kubelet_kubeconfigs) }
    }

    fn at(root: Root, kubeconfigs: Vec<PathBuf>, kubelet_kubeconfigs: Vec<PathBuf>) -> Self {
        Self {
            root,
            started: Instant::now(),
            facts: Mutex::new(Facts::new(Source::real(Program::Executor))),
            clock: ClockSource::default(),
            kubeconfigs,
            kubelet_kubeconfigs,
            cluster: OnceLock::new(),
            administrator: OnceLock::new(),
            kubelet: OnceLock::new(),
        }
    }

    /// A path of this machine below its root.
    fn path(&self, absolute: &Path) -> PathBuf {
        self.root.path(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// The text of a small file of the kernel, without the NULs and white space at its end.
    fn text(&self, absolute: &str) -> Option<String> {
        let bytes = std::fs::read(self.path(Path::new(absolute))).ok()?;
        let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\0', '\n', ' ']).to_owned();
        (!text.is_empty()).then_some(text)
    }
}

impl Host for Linux {
    fn host_name(&self) -> Result<String, HostError> {
        self.text("/proc/sys/kernel/hostname").ok_or_else(|| HostError::Missing { what: "host name".into() })
    }

    fn hardware(&self) -> Result<Hardware, HostError> {
        let first = |paths: &[&str]| paths.iter().find_map(|p| self.text(p)).unwrap_or_else(|| "unknown".into());
        let memory = self.text("/proc/meminfo").and_then(|text| {
            let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:").map(str::to_owned))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        });
        Ok(Hardware {
            model: first(&["/proc/device-tree/model", "/sys/class/dmi/id/product_name"]),
            serial: first(&["/proc/device-tree/serial-number", "/sys/class/dmi/id/product_serial"]),
            machine_id: first(&["/etc/machine-id"]),
            memory_bytes: memory.unwrap_or(0) * 1024,
        })
    }

    fn arch(&self) -> Arch {
        if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 }
    }

    fn boot_id(&self) -> Result<BootId, HostError> {
        let text = hostler_facts::boot_id(&self.root).unwrap_or_default();
        BootId::new(text.clone()).map_err(|_| HostError::Unexpected {
            what: "boot id",
            expected: "a UUID",
            found: text,
        })
    }

    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_unix_milliseconds(u64::try_from(since.as_millis()).unwrap_or(0))
    }

    fn steady(&self) -> Duration {
        self.started.elapsed()
    }

    /// Set by NTP, or by somebody else: a container shares the clock of its machine and cannot set it, and a clock with
    /// a battery ran on while the machine was off.
    fn clock_is_synchronised(&self) -> bool {
        let kernel = Calls::Kernel.adjtimex().is_ok_and(|clock| clock.is_synchronised());
        self.clock == ClockSource::Trusted
            || kernel
            || self.path(Path::new("/run/systemd/container")).exists()
            || self.text("/sys/class/rtc/rtc0/hctosys").as_deref() == Some("1")
    }

    fn runs_coordinator(&self) -> bool {
        let Ok(processes) = std::fs::read_dir(self.path(Path::new("/proc"))) else { return false };
        let is_process = |name: &str| name.bytes().all(|c| c.is_ascii_digit());
        let names = processes.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut processes = names.filter(|name| is_process(name));
        processes.any(|id| self.text(&format!("/proc/{id}/comm")).is_some_and(|name| name == COORDINATOR))
    }

    fn wait(&self, waker: &Waker, at_most: Duration) {
        waker.wait(at_most);
    }

    fn read_facts(&self, now: Timestamp) -> Reading {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Now { elapsed: self.started.elapsed(), unix_ms: now.unix_milliseconds() };
        facts.tick(now).clone()
    }

    fn on_idle(&self) {
        memory::release();
    }

    fn read_file(&self, path: &Path) -> Result<Option<HostFile>, HostError> {
        files::read(&self.path(path))
    }

    fn write_file(&self, path: &Path, file: &HostFile) -> Result<(), HostError> {
        files::write(&self.path(path), file)
    }

    fn install_program(&self, artifact: &Path, program: &Path) -> Result<(), HostError> {
        files::install(artifact, &self.path(program))
    }

    fn measure_file(&self, path: &Path) -> Result<Option<MeasuredFile>, HostError> {
        files::measure(&self.path(path))
    }

    fn seal(&self, to: &[Recipient], parts: &[Part<'_>], into: &Path) -> Result<SealedSnapshot, HostError> {
        seal::seal(|path| self.path(path), to, parts, &self.path(into))
    }

    fn copy_file(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        seal::copy(&self.path(from), &self.path(to))
    }

    fn open_sealed(
        &self,
        key: &hostler_seal::Identity,
        from: &Path,
        part: &str,
        into: &Path,
    ) -> Result<Vec<Opened>, HostError> {
        // An artifact lies in the executor's own folder, wherever that is.
        seal::open(key, from, part, &self.path(into))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        files::rename(&self.path(from), &self.path(to))
    }

    fn metrics(&self, port: u16) -> Option<String> {
        metrics::read(port)
    }

    fn list_folder(&self, path: &Path) -> Result<Vec<String>, HostError> {
        files::list(&self.path(path))
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        files::remove(&self.path(path))
    }

    fn run(&self, arguments: &[&str], limit: Duration) -> Result<String, HostError> {
        run(arguments, limit)
    }

    fn module_is_loaded(&self, module: &str) -> Result<bool, HostError> {
        let name = module.replace('-', "_");
        if self.path(Path::new("/sys/module")).join(&name).exists() {
            return Ok(true);
        }
        // Modules that are built in and have no parameters have no folder.
        let release = self.text("/proc/sys/kernel/osrelease").unwrap_or_default();
        let built_in = self.text(&format!("/lib/modules/{release}/modules.builtin")).unwrap_or_default();
        let file = |line: &str| line.rsplit('/').next().unwrap_or_default().replace('-', "_");
        Ok(built_in.lines().any(|line| file(line) == format!("{name}.ko")))
    }

    fn load_module(&self, module: &str) -> Result<(), HostError> {
        run(&["modprobe", "--", module], QUICK).map(|_| ())
    }

    fn read_sysctl(&self, key: &str) -> Result<Option<String>, HostError> {
        match std::fs::read_to_string(self.sysctl_path(key)) {
            Ok(text) => Ok(Some(text.trim_end().to_owned())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(files::failed("reading", &self.sysctl_path(key), &e)),
        }
    }

    fn write_sysctl(&self, key: &str, value: &str) -> Result<(), HostError> {
        let path = self.sysctl_path(key);
        std::fs::write(&path, value).map_err(|e| files::failed("writing", &path, &e))
    }

    fn package_version(&self, package: &str) -> Result<Option<String>, HostError> {
        let query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}\\t${Version}", package];
        match run(&query, QUICK) {
            Ok(text) => Ok(text.trim().strip_prefix("installed\t").map(str::to_owned)),
            Err(HostError::Command { .. } | HostError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn install_package(&self, package: &str, version: &str) -> Result<(), HostError> {
        // An installation that was cut off, by a power failure say, is finished first; apt refuses to go on before.
        let pending = ["dpkg", "--force-confold", "--configure", "--pending"];
        let as_unit = |arguments: &[&str]| {
            let (unit, purpose, limit, reach) =
                (PACKAGE_UNIT, "a package that a plan names", PACKAGE_LIMIT, Reach::Everybody);
            transient::run_to_end(&UnitRun { unit, purpose, arguments, limit, reach })
        };
        as_unit(&pending)?;
        let wanted = format!("{package}={version}");
        let install = [
            "apt-get",
            "install",
            "--yes",
            "--no-install-recommends",
            "--option=DPkg::Lock::Timeout=120",
            "--option=Dpkg::Options::=--force-confold",
            "--",
            &wanted,
        ];
        as_unit(&install)
    }

    fn unit(&self, unit: &str) -> Result<UnitStatus, HostError> {
        systemd::status(unit)
    }

    fn set_unit(&self, unit: &str, state: UnitState, enabled: bool) -> Result<(), HostError> {
        systemd::set(unit, state, enabled)
    }

    fn restart_unit(&self, unit: &str) -> Result<(), HostError> {
        systemd::restart(unit)
    }

    fn reload_units(&self) -> Result<(), HostError> {
        systemd::reload()
    }

    fn start_unit(&self, run: &UnitRun<'_>) -> Result<(), HostError> {
        transient::start(run)
    }

    fn started_unit(&self, unit: &str) -> Result<Option<Started>, HostError> {
        transient::find(unit)
    }

    fn output_of_unit(&self, unit: &str) -> Result<String, HostError> {
        transient::said_so_far(unit)
    }

    fn forget_unit(&self, unit: &str) -> Result<(), HostError> {
        transient::forget(unit)
    }

    fn reboot(&self) -> Result<(), HostError> {
        reboot_asked(run(&["systemctl", "--no-block", "reboot"], QUICK))
    }

    fn is_ready_at(&self, kubeconfig: &Path, server: &str, name: &str) -> Result<(), ClusterError> {
        KubeAdministrator::new(self.path(kubeconfig))?.is_ready_at(server, name)
    }

    fn cluster(&self) -> Option<&dyn Cluster> {
        self.reach(&self.cluster, &self.kubeconfigs, Identity::OwnAccount)
    }

    fn administrator(&self) -> Option<&dyn Administrator> {
        let kubeconfig = self.kubeconfigs.iter().map(|path| self.path(path)).find(|path| path.exists())?;
        let made = |kubeconfig| KubeAdministrator::new(kubeconfig).inspect_err(|e| tracing::warn!("{e}")).ok();
        if self.administrator.get().is_none() {
            // Somebody else may have been faster; theirs is as good.
            let _ = self.administrator.set(made(kubeconfig)?);
        }
        self.administrator.get().map(|administrator| administrator as &dyn Administrator)
    }

    fn own_cluster(&self) -> Option<&dyn Cluster> {
        self.cluster().or_else(|| self.reach(&self.kubelet, &self.kubelet_kubeconfigs, Identity::OfTheFile))
    }
}

impl Linux {
    /// The cluster behind the first of these files that exists, once one does.
    fn reach<'a>(
        &self,
        cluster: &'a OnceLock<KubeCluster>,
        kubeconfigs: &[PathBuf],
        identity: Identity,
    ) -> Option<&'a dyn Cluster> {
        if cluster.get().is_none() {
            let path = kubeconfigs.iter().find(|p| self.path(p).exists())?;
            match KubeCluster::new(self.path(path), identity) {
                Ok(new) => {
                    // Somebody else may have been faster; theirs is as good.
                    let _ = cluster.set(new);
                }
                Err(error) => {
                    tracing::warn!("{error}");
                    return None;
                }
            }
        }
        cluster.get().map(|cluster| cluster as &dyn Cluster)
    }

    /// `net.ipv4.conf.eth0/1.forwarding` is `/proc/sys/net/ipv4/conf/eth0.1/forwarding`.
    fn sysctl_path(&self, key: &str) -> PathBuf {
        let relative: String = key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect();
        self.path(Path::new("/proc/sys")).join(relative)
    }
}

/// A reboot that was asked for stops this unit, and with it the command that asked, often before it could say so. A
/// signal from anywhere else does no harm: the step asks again when the process does.
fn reboot_asked(answer: Result<String, HostError>) -> Result<(), HostError> {
    match answer {
        Ok(_) | Err(HostError::Signalled { signal: SIGTERM, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
