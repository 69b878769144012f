//! A machine of the simulated world, seen by the agent that runs on it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hostler_executor::{
    distribution::{admin_kubeconfigs, k3s, kubelet_kubeconfigs},
    host::{
        Administrator, Cluster, ClusterError, Host, HostError, HostFile, MeasuredFile, Opened, Part, RunEnd, Started,
        StartedState, UnitActivity, UnitRun, UnitStatus, Waker,
    },
};
use hostler_facts::{Facts, Failure as FactsFailure, Now, Source};
use hostler_plan::{
    document::{Hardware, Recipient, SealedSnapshot},
    fact::{Reading, Series},
    id::{Arch, BootId, Digest, NodeName},
    step::UnitState,
    timestamp::Timestamp,
};
use serde::de::DeserializeOwned;

use crate::{
    clock::SharedWorld,
    sealing,
    socket::Connection,
    wire::{Answer, Bytes, Failure, Identity, Request, RunAnswer, RunEnded, UnitAnswer, WireFile},
    world::kubeadm::configure::certificate_names,
};

/// A machine that has this file runs the coordinator.
pub const COORDINATOR: &str = "/etc/hostler/coordinator.toml";

/// Facts of a recorded machine that are the simulated world's all the same: who it is, its boot, its units.
const OF_THE_WORLD: [&str; 6] = [
    "hostler_node_info",
    "node_uname_info",
    "node_boot_time_seconds",
    "node_time_seconds",
    "node_systemd_unit_state",
    "node_systemd_units",
];
/// How long a reading waits for the helper threads of a recorded machine, which only read files, in real time.
const RECORDED_PATIENCE: Duration = Duration::from_secs(2);

/// Where time passes in steps: what the real time of one is.
const ANSWERING: Duration = Duration::from_micros(300);

/// A simulated machine behind the traits of a real one. Its clock goes as fast as the world's time, so what takes a
/// minute of the machine is over sooner.
#[derive(Debug)]
pub struct SimHost {
    machine: NodeName,
    access: Access,
    arch: Arch,
    recorded: Option<Mutex<Facts>>,
    sealed: Option<PathBuf>,
}

#[derive(Debug)]
enum Access {
    /// The world is in this process.
    Here(SharedWorld),
    /// The world is behind a socket.
    There(Connection),
}

impl SimHost {
    /// A machine of a world in this process.
    pub fn here(world: SharedWorld, machine: NodeName) -> Result<Self, HostError> {
        Self::new(machine, Access::Here(world))
    }

    /// A machine of the world behind a socket.
    pub fn there(socket: &Path, machine: NodeName) -> Result<Self, HostError> {
        let connection = Connection::open(socket, &machine).map_err(|e| HostError::File {
            action: "connecting to the simulated world at",
            path: socket.into(),
            reason: e.to_string(),
        })?;
        Self::new(machine, Access::There(connection))
    }

    fn new(machine: NodeName, access: Access) -> Result<Self, HostError> {
        let mut host = Self { machine, access, arch: Arch::Aarch64, recorded: None, sealed: None };
        host.arch = host.ask::<Identity>(Request::Identity).map_err(host_error)?.arch;
        Ok(host)
    }

    /// The same machine with the facts of a recorded one: its disks, volumes and sensors, read by the real readers. Who
    /// it is, its boot and its units stay those of the simulated world.
    pub fn with_facts_of(mut self, recorded: &Path) -> Result<Self, FactsFailure> {
        self.recorded = Some(Mutex::new(Facts::new(Source::recorded(recorded)?)));
        Ok(self)
    }

    /// The same machine, whose sealed files its agent finds in that folder of the real disk too.
    #[must_use]
    pub fn with_sealed_in(mut self, folder: PathBuf) -> Self {
        self.sealed = Some(folder);
        self
    }

    /// For the agent, which reads the real disk.
    fn hand_over(&self, name: &Path, content: &[u8]) -> Result<(), HostError> {
        let (Some(folder), Some(name)) = (&self.sealed, name.file_name()) else { return Ok(()) };
        let path = folder.join(name);
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, content));
        written.map_err(|e| HostError::File { action: "writing", path, reason: e.to_string() })
    }

    /// What a file of the machine holds, which is there.
    fn content(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        let file = self.read_file(path)?;
        file.map(|file| file.content).ok_or_else(|| HostError::Missing { what: path.display().to_string() })
    }

    fn speed(&self) -> f64 {
        match &self.access {
            Access::Here(world) => world.speed(),
            Access::There(connection) => connection.speed(),
        }
    }

    /// Asks the world and reads the answer as the type that the request names.
    pub(crate) fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Failure> {
        let answer: Answer = match &self.access {
            Access::Here(world) => world.ask(&self.machine, request),
            Access::There(connection) => connection.ask(&request),
        };
        serde_json::from_value(answer?).map_err(|e| Failure::Protocol { reason: e.to_string() })
    }

    fn identity(&self) -> Result<Identity, HostError> {
        self.ask(Request::Identity).map_err(host_error)
    }

    fn has_file(&self, path: &str) -> bool {
        self.ask(Request::HasFile { path: path.into() }).unwrap_or(false)
    }

    fn has_any(&self, files: &[PathBuf]) -> bool {
        files.iter().any(|path| self.has_file(&path.to_string_lossy()))
    }

    fn order(&self, request: Request) -> Result<(), HostError> {
        self.ask(request).map_err(host_error)
    }
}

fn host_error(failure: Failure) -> HostError {
    match failure {
        Failure::Missing { what } => HostError::Missing { what },
        Failure::Program { reason } => {
            HostError::Command { command: "k3s (simulated)".into(), status: "exit status 1".into(), output: reason }
        }
        Failure::Off { .. } | Failure::Silent { .. } | Failure::Protocol { .. } => HostError::Command {
            command: "simulated host".into(),
            status: "no answer".into(),
            output: failure.to_string(),
        },
    }
}

/// The same of a program that was run.
fn run_error(command: String, failure: Failure) -> HostError {
    match failure {
        Failure::Program { reason } => HostError::Command { command, status: "exit status 1".into(), output: reason },
        other @ (Failure::Missing { .. } | Failure::Off { .. } | Failure::Silent { .. } | Failure::Protocol { .. }) => {
            host_error(other)
        }
    }
}

/// A file of the executor's own, on the real disk.
fn real_file(path: &str) -> Result<Bytes, HostError> {
    let read = fs::read(path);
    read.map(Bytes).map_err(|e| HostError::File { action: "reading", path: path.into(), reason: e.to_string() })
}

fn owned(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|argument| (*argument).to_owned()).collect()
}

impl Host for SimHost {
    fn host_name(&self) -> Result<String, HostError> {
        Ok(self.machine.to_string())
    }

    fn hardware(&self) -> Result<Hardware, HostError> {
        self.identity().map(|identity| identity.hardware)
    }

    fn arch(&self) -> Arch {
        self.arch
    }

    fn boot_id(&self) -> Result<BootId, HostError> {
        self.identity().map(|identity| identity.boot_id)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_unix_milliseconds(match &self.access {
            Access::Here(world) => world.machines_clock_ms(),
            Access::There(connection) => connection.machines_clock_ms(),
        })
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(Host::now(self).unix_milliseconds())
    }

    fn clock_is_synchronised(&self) -> bool {
        true
    }

    fn runs_coordinator(&self) -> bool {
        matches!(self.read_file(Path::new(COORDINATOR)), Ok(Some(_)))
    }

    fn wait(&self, waker: &Waker, at_most: Duration) {
        if let Access::Here(world) = &self.access
            && world.pass(at_most)
        {
            // Whoever answers this program does it in real time.
            waker.wait(ANSWERING);
            return;
        }
        // At least a millisecond, so that a poll never turns into a spin.
        waker.wait(at_most.div_f64(self.speed().max(1.0)).max(Duration::from_millis(1)));
    }

    fn read_facts(&self, now: Timestamp) -> Reading {
        let at_ms = now.unix_milliseconds();
        let simulated: Reading = self.ask(Request::Facts { at_ms }).unwrap_or_else(|_| Reading::new(at_ms));
        let Some(recorded) = &self.recorded else { return simulated };
        let mut facts = recorded.lock().unwrap_or_else(PoisonError::into_inner);
        facts.tick(Now { elapsed: self.steady(), unix_ms: at_ms });
        let read = facts.wait_for_helpers(RECORDED_PATIENCE);
        let of_the_world = |series: &Series| OF_THE_WORLD.contains(&series.name());
        let told = read.series().filter(|(series, _)| !of_the_world(series));
        let mut reading = Reading::new(at_ms);
        for (series, value) in told.chain(simulated.series().filter(|(series, _)| of_the_world(series))) {
            reading.set(series.clone(), value);
        }
        reading
    }

    fn read_file(&self, path: &Path) -> Result<Option<HostFile>, HostError> {
        let path = path.to_string_lossy().into_owned();
        let file: Option<WireFile> = self.ask(Request::ReadFile { path }).map_err(host_error)?;
        Ok(file.map(|file| HostFile { content: file.content.0, mode: file.mode, uid: 0, gid: 0 }))
    }

    fn write_file(&self, path: &Path, file: &HostFile) -> Result<(), HostError> {
        let path = path.to_string_lossy().into_owned();
        self.order(Request::WriteFile {
            path,
            file: WireFile { content: Bytes(file.content.clone()), mode: file.mode },
        })
    }

    fn module_is_loaded(&self, module: &str) -> Result<bool, HostError> {
        self.ask(Request::ModuleIsLoaded { module: module.into() }).map_err(host_error)
    }

    fn load_module(&self, module: &str) -> Result<(), HostError> {
        self.order(Request::LoadModule { module: module.into() })
    }

    fn read_sysctl(&self, key: &str) -> Result<Option<String>, HostError> {
        self.ask(Request::ReadSysctl { key: key.into() }).map_err(host_error)
    }

    fn write_sysctl(&self, key: &str, value: &str) -> Result<(), HostError> {
        self.order(Request::WriteSysctl { key: key.into(), value: value.into() })
    }

    fn package_version(&self, package: &str) -> Result<Option<String>, HostError> {
        self.ask(Request::PackageVersion { package: package.into() }).map_err(host_error)
    }

    fn install_package(&self, package: &str, version: &str) -> Result<(), HostError> {
        self.order(Request::InstallPackage { package: package.into(), version: version.into() })
    }

    fn unit(&self, unit: &str) -> Result<UnitStatus, HostError> {
        let answer: UnitAnswer = self.ask(Request::Unit { unit: unit.into() }).map_err(host_error)?;
        let activity = match answer.unit {
            _ if answer.changing => UnitActivity::Changing,
            Some(unit) if unit.active => UnitActivity::Active,
            Some(_) | None => UnitActivity::Inactive,
        };
        Ok(UnitStatus {
            exists: answer.unit.is_some(),
            activity,
            enabled: answer.unit.is_some_and(|unit| unit.enabled),
            main_pid: answer.main_pid,
        })
    }

    fn set_unit(&self, unit: &str, state: UnitState, enabled: bool) -> Result<(), HostError> {
        self.order(Request::SetUnit { unit: unit.into(), state, enabled })
    }

    fn reboot(&self) -> Result<(), HostError> {
        self.order(Request::Reboot)
    }

    fn certificate_names(&self, path: &Path) -> Result<Option<Vec<String>>, HostError> {
        let file = self.read_file(path)?;
        Ok(file.map(|file| certificate_names(&String::from_utf8_lossy(&file.content))))
    }

    fn is_ready_at(&self, _: &Path, server: &str, name: &str) -> Result<(), ClusterError> {
        self.ready_at(server, name)
    }

    fn restart_unit(&self, unit: &str) -> Result<(), HostError> {
        self.order(Request::RestartUnit { unit: unit.into() })
    }

    fn reload_units(&self) -> Result<(), HostError> {
        self.order(Request::ReloadUnits)
    }

    fn install_program(&self, artifact: &Path, program: &Path) -> Result<(), HostError> {
        let content = real_file(&artifact.to_string_lossy())?;
        let path = program.to_string_lossy().into_owned();
        self.order(Request::InstallProgram { path, content })
    }

    fn run(&self, arguments: &[&str], _: Duration) -> Result<String, HostError> {
        let command = || arguments.join(" ");
        // Artifacts lie on the real disk of the executor's process.
        let request = match arguments {
            ["ctr", "--namespace", "k8s.io", "images", "import", archive] => {
                self.ask::<()>(Request::ImportImages { content: real_file(archive)? })
                    .map_err(|e| run_error(command(), e))?;
                return Ok(String::new());
            }
            ["dpkg-deb", "--show", .., package] => Request::DescribePackage { content: real_file(package)? },
            _ => Request::Run { arguments: owned(arguments) },
        };
        self.ask(request).map_err(|e| run_error(command(), e))
    }

    fn measure_file(&self, path: &Path) -> Result<Option<MeasuredFile>, HostError> {
        let measured =
            |file: HostFile| MeasuredFile { digest: Digest::of(&file.content), mode: file.mode, uid: file.uid };
        Ok(self.read_file(path)?.map(measured))
    }

    fn seal(&self, to: &[Recipient], parts: &[Part<'_>], into: &Path) -> Result<SealedSnapshot, HostError> {
        let content = sealing::seal(to, parts, into, |path| self.content(path))?;
        self.hand_over(into, &content)?;
        let sealed = SealedSnapshot { digest: Digest::of(&content), size: content.len() as u64 };
        self.write_file(into, &HostFile { content, mode: 0o644, uid: 0, gid: 0 })?;
        Ok(sealed)
    }

    fn copy_file(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let content = self.content(from)?;
        self.write_file(to, &HostFile { content, mode: 0o600, uid: 0, gid: 0 })
    }

    fn open_sealed(
        &self,
        key: &hostler_seal::Identity,
        from: &Path,
        part: &str,
        into: &Path,
    ) -> Result<Vec<Opened>, HostError> {
        // Artifacts lie on the real disk of the executor's process.
        let sealed = real_file(&from.to_string_lossy())?;
        let (opened, apart) = sealing::open(key, &sealed.0, from, part)?;
        if let Some(content) = apart {
            self.write_file(into, &HostFile { content, mode: 0o600, uid: 0, gid: 0 })?;
        }
        Ok(opened)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let [from, to] = [from, to].map(|path| path.to_string_lossy().into_owned());
        self.order(Request::Rename { from, to })
    }

    fn list_folder(&self, path: &Path) -> Result<Vec<String>, HostError> {
        self.ask(Request::ListFolder { path: path.to_string_lossy().into_owned() }).map_err(host_error)
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        self.order(Request::Remove { path: path.to_string_lossy().into_owned() })
    }

    fn start_unit(&self, run: &UnitRun<'_>) -> Result<(), HostError> {
        let (unit, purpose) = (run.unit.to_owned(), run.purpose.to_owned());
        let request = Request::StartRun { unit, purpose, arguments: owned(run.arguments) };
        self.ask(request).map_err(|e| run_error(run.arguments.join(" "), e))
    }

    fn started_unit(&self, unit: &str) -> Result<Option<Started>, HostError> {
        let run: Option<RunAnswer> = self.ask(Request::Started { unit: unit.into() }).map_err(host_error)?;
        Ok(run.map(|run| Started {
            purpose: run.purpose,
            state: match run.ended {
                None => StartedState::Running,
                Some(RunEnded { code, output }) => StartedState::Ended(RunEnd {
                    code,
                    how: code.map_or_else(|| "signal 9".to_owned(), |code| format!("exit code {code}")),
                    output,
                }),
            },
        }))
    }

    fn forget_unit(&self, unit: &str) -> Result<(), HostError> {
        self.order(Request::ForgetRun { unit: unit.into() })
    }

    fn cluster(&self) -> Option<&dyn Cluster> {
        self.has_any(&admin_kubeconfigs()).then_some(self)
    }

    fn administrator(&self) -> Option<&dyn Administrator> {
        let of_k3s = Path::new(k3s::ADMIN_KUBECONFIG);
        let others: Vec<PathBuf> = admin_kubeconfigs().into_iter().filter(|path| path != of_k3s).collect();
        self.has_any(&others).then_some(self)
    }

    fn own_cluster(&self) -> Option<&dyn Cluster> {
        (self.has_any(&admin_kubeconfigs()) || self.has_any(&kubelet_kubeconfigs())).then_some(self)
    }
}
