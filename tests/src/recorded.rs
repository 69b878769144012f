//! A recorded machine behind the agent's trait: it can be read, and it refuses every change.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hostler_executor::host::{Cluster, Host, HostError, HostFile, MeasuredFile, Started, UnitRun, UnitStatus, Waker};
use hostler_facts::{Facts, Now, Source};
use hostler_plan::{
    document::Hardware,
    fact::Reading,
    id::{Arch, BootId},
    step::UnitState,
    timestamp::Timestamp,
};

/// The readers' time goes on by this much with each reading, so that every one of them is due each time and a change of
/// the recording shows at once.
const STEP: Duration = Duration::from_secs(900);
/// How long a reading waits for the readers' helper threads, which only read files here.
const SETTLE: Duration = Duration::from_secs(2);

/// A machine of `fixtures/machines`, or a copy that a test changes while an agent runs on it.
#[derive(Debug)]
pub struct Recorded {
    name: String,
    boot_id: BootId,
    facts: Mutex<(Facts, Duration)>,
}

impl Recorded {
    /// The machine in that folder.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let source = Source::recorded(folder)?;
        let name = source.calls.uname()?.nodename;
        // Some recordings are of containers, which do not show it.
        let boot_id = hostler_facts::boot_id(&source.root).unwrap_or_else(|_| "0-1".into());
        let boot_id = BootId::new(boot_id)?;
        Ok(Self { name, boot_id, facts: Mutex::new((Facts::new(source), Duration::ZERO)) })
    }
}

fn refused<T>() -> Result<T, HostError> {
    Err(HostError::Missing { what: "way to be changed or asked more: it is recorded".into() })
}

impl Host for Recorded {
    fn host_name(&self) -> Result<String, HostError> {
        Ok(self.name.clone())
    }

    fn hardware(&self) -> Result<Hardware, HostError> {
        Ok(Hardware {
            model: "recorded".into(),
            serial: self.name.clone(),
            machine_id: self.name.clone(),
            memory_bytes: 0,
        })
    }

    fn arch(&self) -> Arch {
        Arch::Aarch64
    }

    fn boot_id(&self) -> Result<BootId, HostError> {
        Ok(self.boot_id.clone())
    }

    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_unix_milliseconds(u64::try_from(since.as_millis()).unwrap_or(0))
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(self.now().unix_milliseconds())
    }

    fn clock_is_synchronised(&self) -> bool {
        true
    }

    fn wait(&self, waker: &Waker, at_most: Duration) {
        waker.wait(at_most);
    }

    fn read_facts(&self, now: Timestamp) -> Reading {
        let mut guard = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let (facts, elapsed) = &mut *guard;
        facts.tick(Now { elapsed: *elapsed, unix_ms: now.unix_milliseconds() });
        *elapsed += STEP;
        facts.wait_for_helpers(SETTLE).clone()
    }

    fn read_file(&self, _: &Path) -> Result<Option<HostFile>, HostError> {
        refused()
    }

    fn write_file(&self, _: &Path, _: &HostFile) -> Result<(), HostError> {
        refused()
    }

    fn measure_file(&self, _: &Path) -> Result<Option<MeasuredFile>, HostError> {
        refused()
    }

    fn list_folder(&self, _: &Path) -> Result<Vec<String>, HostError> {
        refused()
    }

    fn remove(&self, _: &Path) -> Result<(), HostError> {
        refused()
    }

    fn start_unit(&self, _: &UnitRun<'_>) -> Result<(), HostError> {
        refused()
    }

    fn started_unit(&self, _: &str) -> Result<Option<Started>, HostError> {
        refused()
    }

    fn forget_unit(&self, _: &str) -> Result<(), HostError> {
        refused()
    }

    fn module_is_loaded(&self, _: &str) -> Result<bool, HostError> {
        refused()
    }

    fn load_module(&self, _: &str) -> Result<(), HostError> {
        refused()
    }

    fn read_sysctl(&self, _: &str) -> Result<Option<String>, HostError> {
        refused()
    }

    fn write_sysctl(&self, _: &str, _: &str) -> Result<(), HostError> {
        refused()
    }

    fn package_version(&self, _: &str) -> Result<Option<String>, HostError> {
        refused()
    }

    fn install_package(&self, _: &str, _: &str) -> Result<(), HostError> {
        refused()
    }

    fn unit(&self, _: &str) -> Result<UnitStatus, HostError> {
        refused()
    }

    fn set_unit(&self, _: &str, _: UnitState, _: bool) -> Result<(), HostError> {
        refused()
    }

    fn reboot(&self) -> Result<(), HostError> {
        refused()
    }

    fn restart_unit(&self, _: &str) -> Result<(), HostError> {
        refused()
    }

    fn reload_units(&self) -> Result<(), HostError> {
        refused()
    }

    fn install_program(&self, _: &Path, _: &Path) -> Result<(), HostError> {
        refused()
    }

    fn run(&self, _: &[&str], _: Duration) -> Result<String, HostError> {
        refused()
    }

    fn cluster(&self) -> Option<&dyn Cluster> {
        None
    }
}
