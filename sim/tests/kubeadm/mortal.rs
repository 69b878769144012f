//! A simulated machine whose programs are killed at a chosen point. A point is every act on the machine, before and
//! after it, and every moment at which the executor looks at the machine with another journal, or with a kubeadm that
//! came further, than at the look before.

use std::{
    collections::BTreeSet,
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hostler_executor::host::{
    Administrator, Applying, Cluster, ClusterError, Host, HostError, HostFile, MeasuredFile, Opened, Part, Started,
    UnitRun, UnitStatus, Waker,
};
use hostler_plan::{
    document::{Hardware, Recipient, SealedSnapshot},
    fact::Reading,
    id::{Arch, BootId, NodeName},
    step::UnitState,
    timestamp::Timestamp,
};
use hostler_seal::Identity;
use hostler_sim::{clock::SharedWorld, host::SimHost};
use serde_json::Value;

use crate::process::THREAD;

const KUBEADM_UNIT: &str = "hostler-kubeadm.service";

/// How an executor's thread ends that was killed.
pub(crate) struct Killed;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    Executor,
    Agent,
    Kubeadm,
    Power,
}

impl Kill {
    pub(crate) const ALL: [Kill; 4] = [Kill::Executor, Kill::Agent, Kill::Kubeadm, Kill::Power];
}

/// The points of one play, shared by all its machines.
#[derive(Debug, Default)]
pub(crate) struct Points {
    /// What each point met so far was.
    pub met: Vec<String>,
    /// At which of them what is killed.
    pub kill: Option<(usize, Kill)>,
    /// Whose time stands still.
    pub held: BTreeSet<NodeName>,
    /// Whether it was.
    pub killed: Option<String>,
}

pub(crate) struct Mortal {
    inner: SimHost,
    name: NodeName,
    world: SharedWorld,
    /// The executor's folder.
    folder: PathBuf,
    points: Arc<Mutex<Points>>,
    own: Mutex<Own>,
}

#[derive(Default)]
struct Own {
    dead: bool,
    agent: Option<UnixStream>,
    seen: String,
}

impl Mortal {
    pub(crate) fn new(world: &SharedWorld, name: &NodeName, folder: &Path, points: &Arc<Mutex<Points>>) -> Arc<Self> {
        let inner = SimHost::here(world.clone(), name.clone()).unwrap();
        let (world, name, folder) = (world.clone(), name.clone(), folder.join("executor"));
        Arc::new(Self { inner, name, world, folder, points: points.clone(), own: Mutex::default() })
    }

    /// The connection of the agent that may be killed.
    pub(crate) fn connected(&self, stream: UnixStream) {
        self.own().agent = Some(stream);
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is seen from outside of how far everything is.
    fn state(&self) -> String {
        let journal = std::fs::read(self.folder.join("journal/current")).unwrap_or_default();
        let lines = journal.iter().filter(|byte| **byte == b'\n').count();
        let world = self.world.now();
        let run = world.machine(&self.name).ok().and_then(|machine| machine.kubeadm.runs.get(KUBEADM_UNIT));
        let phase = run.map(|run| format!("{:?}", run.phase())).unwrap_or_default();
        format!("journal {lines} {phase}")
    }

    fn look(&self) {
        self.point(None);
    }

    fn act<T>(&self, what: &str, act: impl FnOnce() -> T) -> T {
        self.point(Some(format!("before {what}")));
        let done = act();
        self.point(Some(format!("after {what}")));
        done
    }

    fn point(&self, act: Option<String>) {
        if std::thread::current().name() != Some(THREAD) {
            return;
        }
        if self.own().dead {
            std::panic::resume_unwind(Box::new(Killed));
        }
        let state = self.state();
        if act.is_none() && self.own().seen == state {
            return;
        }
        let what = format!("{}: {state} {}", self.name, act.unwrap_or_default());
        self.own().seen = state;
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        let at = points.met.len();
        points.met.push(what.clone());
        let Some((_, kill)) = points.kill.filter(|(wanted, _)| *wanted == at) else { return };
        points.killed = Some(what);
        drop(points);
        match kill {
            Kill::Agent => {
                if let Some(agent) = self.own().agent.take() {
                    let _ = agent.shutdown(Shutdown::Both);
                }
            }
            Kill::Kubeadm => {
                self.world.now().kill_run(&self.name, KUBEADM_UNIT).unwrap();
            }
            Kill::Power => {
                self.world.now().power_loss(&self.name).unwrap();
                self.die();
            }
            Kill::Executor => self.die(),
        }
    }

    fn die(&self) {
        self.own().dead = true;
        std::panic::resume_unwind(Box::new(Killed));
    }
}

impl Host for Mortal {
    fn host_name(&self) -> Result<String, HostError> {
        self.inner.host_name()
    }
    fn hardware(&self) -> Result<Hardware, HostError> {
        self.inner.hardware()
    }
    fn arch(&self) -> Arch {
        self.inner.arch()
    }
    fn boot_id(&self) -> Result<BootId, HostError> {
        self.inner.boot_id()
    }
    fn now(&self) -> Timestamp {
        self.inner.now()
    }
    fn steady(&self) -> Duration {
        self.inner.steady()
    }
    fn clock_is_synchronised(&self) -> bool {
        true
    }
    fn wait(&self, waker: &Waker, at_most: Duration) {
        self.look();
        while self.points.lock().unwrap_or_else(PoisonError::into_inner).held.contains(&self.name) {
            std::thread::yield_now();
        }
        self.inner.wait(waker, at_most);
        self.look();
    }
    fn read_facts(&self, now: Timestamp) -> Reading {
        self.inner.read_facts(now)
    }
    fn read_file(&self, path: &Path) -> Result<Option<HostFile>, HostError> {
        self.look();
        self.inner.read_file(path)
    }
    fn write_file(&self, path: &Path, file: &HostFile) -> Result<(), HostError> {
        self.act(&format!("write {}", path.display()), || self.inner.write_file(path, file))
    }
    fn install_program(&self, artifact: &Path, program: &Path) -> Result<(), HostError> {
        self.act(&format!("install {}", program.display()), || self.inner.install_program(artifact, program))
    }
    fn measure_file(&self, path: &Path) -> Result<Option<MeasuredFile>, HostError> {
        self.look();
        self.inner.measure_file(path)
    }
    fn list_folder(&self, path: &Path) -> Result<Vec<String>, HostError> {
        self.look();
        self.inner.list_folder(path)
    }
    fn seal(&self, to: &[Recipient], parts: &[Part<'_>], into: &Path) -> Result<SealedSnapshot, HostError> {
        self.act(&format!("seal {}", into.display()), || self.inner.seal(to, parts, into))
    }
    fn copy_file(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        self.act(&format!("copy to {}", to.display()), || self.inner.copy_file(from, to))
    }
    fn open_sealed(&self, key: &Identity, from: &Path, part: &str, into: &Path) -> Result<Vec<Opened>, HostError> {
        self.act(&format!("open into {}", into.display()), || self.inner.open_sealed(key, from, part, into))
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        self.act(&format!("rename {}", from.display()), || self.inner.rename(from, to))
    }
    fn remove(&self, path: &Path) -> Result<(), HostError> {
        self.act(&format!("remove {}", path.display()), || self.inner.remove(path))
    }
    fn run(&self, arguments: &[&str], limit: Duration) -> Result<String, HostError> {
        self.act(&format!("run {}", arguments.join(" ")), || self.inner.run(arguments, limit))
    }
    fn module_is_loaded(&self, module: &str) -> Result<bool, HostError> {
        self.inner.module_is_loaded(module)
    }
    fn load_module(&self, module: &str) -> Result<(), HostError> {
        self.act(&format!("load {module}"), || self.inner.load_module(module))
    }
    fn read_sysctl(&self, key: &str) -> Result<Option<String>, HostError> {
        self.inner.read_sysctl(key)
    }
    fn write_sysctl(&self, key: &str, value: &str) -> Result<(), HostError> {
        self.act(&format!("sysctl {key}"), || self.inner.write_sysctl(key, value))
    }
    fn package_version(&self, package: &str) -> Result<Option<String>, HostError> {
        self.inner.package_version(package)
    }
    fn install_package(&self, package: &str, version: &str) -> Result<(), HostError> {
        self.act(&format!("package {package}"), || self.inner.install_package(package, version))
    }
    fn unit(&self, unit: &str) -> Result<UnitStatus, HostError> {
        self.look();
        self.inner.unit(unit)
    }
    fn set_unit(&self, unit: &str, state: UnitState, enabled: bool) -> Result<(), HostError> {
        self.act(&format!("set {unit}"), || self.inner.set_unit(unit, state, enabled))
    }
    fn certificate_names(&self, path: &Path) -> Result<Option<Vec<String>>, HostError> {
        self.inner.certificate_names(path)
    }
    fn is_ready_at(&self, kubeconfig: &Path, server: &str, name: &str) -> Result<(), ClusterError> {
        self.look();
        self.inner.is_ready_at(kubeconfig, server, name)
    }
    fn restart_unit(&self, unit: &str) -> Result<(), HostError> {
        self.act(&format!("restart {unit}"), || self.inner.restart_unit(unit))
    }
    fn reload_units(&self) -> Result<(), HostError> {
        self.act("reload units", || self.inner.reload_units())
    }
    fn start_unit(&self, run: &UnitRun<'_>) -> Result<(), HostError> {
        self.act(&format!("start {}", run.arguments.join(" ")), || self.inner.start_unit(run))
    }
    fn started_unit(&self, unit: &str) -> Result<Option<Started>, HostError> {
        self.look();
        self.inner.started_unit(unit)
    }
    fn forget_unit(&self, unit: &str) -> Result<(), HostError> {
        self.act(&format!("forget {unit}"), || self.inner.forget_unit(unit))
    }
    fn reboot(&self) -> Result<(), HostError> {
        self.inner.reboot()
    }
    fn cluster(&self) -> Option<&dyn Cluster> {
        self.look();
        self.inner.cluster()
    }
    fn administrator(&self) -> Option<&dyn Administrator> {
        self.inner.administrator().map(|_| self as &dyn Administrator)
    }
    fn own_cluster(&self) -> Option<&dyn Cluster> {
        self.inner.own_cluster()
    }
}

impl Administrator for Mortal {
    fn get(&self, path: &str) -> Result<Option<String>, ClusterError> {
        self.look();
        self.inner.get(path)
    }
    fn get_from(&self, server: &str, path: &str) -> Result<Option<String>, ClusterError> {
        self.look();
        self.inner.get_from(server, path)
    }
    fn find(&self, object: &Value) -> Result<Option<Value>, ClusterError> {
        self.inner.find(object)
    }
    fn apply(&self, object: &Value, how: Applying) -> Result<Option<Value>, ClusterError> {
        self.act(&format!("apply {}", object["kind"]), || self.inner.apply(object, how))
    }
    fn patch(&self, path: &str, patch: &serde_json::Value) -> Result<(), ClusterError> {
        self.act(&format!("patch {path}"), || self.inner.patch(path, patch))
    }
    fn delete(&self, path: &str) -> Result<(), ClusterError> {
        self.act(&format!("delete {path}"), || self.inner.delete(path))
    }
}
