//! A machine of the simulated world, seen by the agent that runs on it.

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hostler_executor::{
    distribution::k3s,
    host::{Cluster, Host, HostError, HostFile, MeasuredFile, Started, UnitActivity, UnitRun, UnitStatus, Waker},
};
use hostler_facts::{Facts, Failure as FactsFailure, Now, Source};
use hostler_plan::{
    document::Hardware,
    fact::{Reading, Series},
    id::{Arch, BootId, Digest, NodeName},
    step::UnitState,
    timestamp::Timestamp,
};
use serde::de::DeserializeOwned;

use crate::{
    clock::SharedWorld,
    socket::Connection,
    wire::{Answer, Bytes, Failure, Identity, Request, UnitAnswer, WireFile},
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

/// A simulated machine behind the traits of a real one. Its clock goes as fast as the world's time, so what takes a
/// minute of the machine is over sooner.
#[derive(Debug)]
pub struct SimHost {
    machine: NodeName,
    access: Access,
    arch: Arch,
    recorded: Option<Mutex<Facts>>,
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
        let mut host = Self { machine, access, arch: Arch::Aarch64, recorded: None };
        host.arch = host.ask::<Identity>(Request::Identity).map_err(host_error)?.arch;
        Ok(host)
    }

    /// The same machine with the facts of a recorded one: its disks, volumes and sensors, read by the real readers. Who
    /// it is, its boot and its units stay those of the simulated world.
    pub fn with_facts_of(mut self, recorded: &Path) -> Result<Self, FactsFailure> {
        self.recorded = Some(Mutex::new(Facts::new(Source::recorded(recorded)?)));
        Ok(self)
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

/// What a real machine has and the simulated one has not.
fn not_simulated(what: &str) -> HostError {
    HostError::Missing { what: format!("{what}: it is a simulated one, which does not play that") }
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

    fn restart_unit(&self, unit: &str) -> Result<(), HostError> {
        self.order(Request::RestartUnit { unit: unit.into() })
    }

    fn reload_units(&self) -> Result<(), HostError> {
        self.order(Request::ReloadUnits)
    }

    fn install_program(&self, artifact: &Path, program: &Path) -> Result<(), HostError> {
        // The staged artifact lies on the real disk of the agent's process.
        let content = fs::read(artifact).map_err(|e| HostError::File {
            action: "reading",
            path: artifact.into(),
            reason: e.to_string(),
        })?;
        let path = program.to_string_lossy().into_owned();
        self.order(Request::InstallProgram { path, content: Bytes(content) })
    }

    fn run(&self, arguments: &[&str], _: Duration) -> Result<String, HostError> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self.ask(Request::Run { arguments }).map_err(host_error)
    }

    fn measure_file(&self, path: &Path) -> Result<Option<MeasuredFile>, HostError> {
        let measured =
            |file: HostFile| MeasuredFile { digest: Digest::of(&file.content), mode: file.mode, uid: file.uid };
        Ok(self.read_file(path)?.map(measured))
    }

    fn list_folder(&self, path: &Path) -> Result<Vec<String>, HostError> {
        Err(not_simulated(&format!("list of the folder {}", path.display())))
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        Err(not_simulated(&format!("removal of {}", path.display())))
    }

    fn start_unit(&self, run: &UnitRun<'_>) -> Result<(), HostError> {
        Err(not_simulated(&format!("{} as a unit", run.arguments.join(" "))))
    }

    fn started_unit(&self, _: &str) -> Result<Option<Started>, HostError> {
        Ok(None)
    }

    fn forget_unit(&self, _: &str) -> Result<(), HostError> {
        Ok(())
    }

    fn cluster(&self) -> Option<&dyn Cluster> {
        self.has_file(k3s::ADMIN_KUBECONFIG).then_some(self)
    }

    fn own_cluster(&self) -> Option<&dyn Cluster> {
        (self.has_file(k3s::ADMIN_KUBECONFIG) || self.has_file(k3s::KUBELET_KUBECONFIG)).then_some(self)
    }
}
