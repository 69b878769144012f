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
mod tests {
    use super::*;

    fn machine() -> (tempfile::TempDir, Linux) {
        let root = tempfile::tempdir().unwrap();
        let linux = Linux::at(
            Root::at(root.path()).unwrap(),
            vec!["/etc/kubernetes/admin.conf".into()],
            vec!["/kubelet.conf".into()],
        );
        (root, linux)
    }

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_node_has_the_whole_name_of_its_host_and_what_is_no_name_is_said_once() {
        let (root, linux) = machine();
        let name = |host: &str| {
            put(root.path(), "proc/sys/kernel/hostname", host);
            crate::node::node_name(&crate::settings::Settings::default(), &linux)
        };
        assert_eq!(name("Node1.Example.org\n").unwrap().as_str(), "node1.example.org");
        assert_eq!(name("node1.site-b.example\n").unwrap().as_str(), "node1.site-b.example");
        let error: &dyn std::error::Error = &name("pi_worker_1\n").unwrap_err();
        assert_eq!(error.to_string().matches("node name expected").count(), 1, "{error}");
        assert!(error.source().is_none(), "whoever prints the chain says nothing twice");
    }

    #[test]
    fn a_machine_is_read_below_its_root() {
        let (root, linux) = machine();
        assert!(linux.host_name().is_err() && linux.boot_id().is_err() && linux.cluster().is_none());
        put(root.path(), "proc/sys/kernel/hostname", "Pi-1\n");
        put(root.path(), "proc/sys/kernel/random/boot_id", "6dc7e1bb-45a9-4b4a-9d0b-7b2b1e0f5a11\n");
        put(root.path(), "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0");
        put(root.path(), "proc/meminfo", "MemTotal:        8245412 kB\nMemFree: 1 kB\n");
        assert_eq!(linux.host_name().unwrap(), "Pi-1");
        assert!(linux.boot_id().is_ok());
        let of_init = "a8b7c1d2-45a9-4b4a-9d0b-7b2b1e0f5a12";
        put(root.path(), "proc/1/root/proc/sys/kernel/random/boot_id", of_init);
        assert_eq!(linux.boot_id().unwrap().as_str(), of_init);
        let hardware = linux.hardware().unwrap();
        assert_eq!(hardware.model, "Raspberry Pi 5 Model B Rev 1.0");
        assert_eq!((hardware.memory_bytes, hardware.serial.as_str()), (8_245_412 * 1024, "unknown"));
    }

    #[test]
    fn a_coordinator_is_seen_whoever_started_it() {
        let (root, linux) = machine();
        assert!(!linux.runs_coordinator(), "there is no /proc");
        put(root.path(), "proc/1/comm", "systemd\n");
        put(root.path(), "proc/self/comm", "hostler-coordin\n");
        put(root.path(), "proc/31/comm", "hostler-executo\n");
        assert!(!linux.runs_coordinator());
        put(root.path(), "proc/812/comm", "hostler-coordin\n");
        assert!(linux.runs_coordinator());
    }

    #[test]
    fn a_worker_reaches_its_own_node_with_its_kubelets_file_and_no_other() {
        let (root, linux) = machine();
        assert!(linux.own_cluster().is_none());
        put(root.path(), "kubelet.conf", "kubelet");
        assert!(linux.own_cluster().is_some() && linux.cluster().is_none(), "a worker tells nothing of the cluster");
        put(root.path(), "etc/kubernetes/admin.conf", "admin");
        assert!(linux.cluster().is_some());
    }

    #[test]
    fn a_reboot_that_ends_its_own_command_was_asked_for() {
        let ended = |signal| Err(HostError::Signalled { command: "systemctl".into(), signal });
        assert!(reboot_asked(Ok(String::new())).is_ok() && reboot_asked(ended(SIGTERM)).is_ok());
        assert!(reboot_asked(ended(9)).is_err());
        assert!(reboot_asked(run(&["ls", "/nowhere-at-all"], QUICK)).is_err());
    }

    /// `dummy` is a network interface that does nothing.
    #[test]
    #[ignore = "changes the kernel that it runs on: tests/vm/run has one of its own"]
    fn a_module_and_a_parameter_are_brought_into_a_real_kernel() {
        let linux = Linux::new(Vec::new(), Vec::new(), ClockSource::default());
        assert!(!linux.module_is_loaded("dummy").unwrap());
        linux.load_module("dummy").unwrap();
        assert!(linux.module_is_loaded("dummy").unwrap());
        linux.load_module("dummy").unwrap();
        let missing = linux.load_module("no_such_module");
        assert!(matches!(&missing, Err(HostError::Command { command, .. }) if command == "modprobe -- no_such_module"));
        let key = "net.ipv4.conf.lo.log_martians";
        assert_eq!(linux.read_sysctl(key).unwrap().as_deref(), Some("0"));
        linux.write_sysctl(key, "1").unwrap();
        assert_eq!(linux.read_sysctl(key).unwrap().as_deref(), Some("1"));
        assert!(matches!(linux.write_sysctl(key, "martian"), Err(HostError::File { .. })));
        assert!(matches!(linux.write_sysctl("net.none", "1"), Err(HostError::File { .. })));
    }

    #[test]
    fn kernel_parameters_and_modules_are_found_by_their_names() {
        let (root, linux) = machine();
        put(root.path(), "proc/sys/net/ipv4/conf/eth0.1/forwarding", "0\n");
        let key = "net.ipv4.conf.eth0/1.forwarding";
        assert_eq!(linux.read_sysctl(key).unwrap().as_deref(), Some("0"));
        linux.write_sysctl(key, "1").unwrap();
        assert_eq!(linux.read_sysctl(key).unwrap().as_deref(), Some("1"));
        assert_eq!(linux.read_sysctl("net.none").unwrap(), None);
        put(root.path(), "proc/sys/kernel/osrelease", "6.1.0\n");
        put(root.path(), "lib/modules/6.1.0/modules.builtin", "kernel/fs/ext4/ext4.ko\nkernel/x/a-b.ko\n");
        std::fs::create_dir_all(root.path().join("sys/module/br_netfilter")).unwrap();
        let loaded = |name: &str| linux.module_is_loaded(name).unwrap();
        assert!(loaded("br_netfilter") && loaded("br-netfilter") && loaded("a-b") && loaded("a_b"));
        assert!(!loaded("overlay"));
    }
}
