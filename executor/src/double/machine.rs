use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use hostler_plan::{
    document::Hardware,
    fact::{Reading, Series},
    id::{Arch, BootId},
    step::{ClusterRole, UnitState},
    timestamp::Timestamp,
    version::Version,
};

use super::DoubleCluster;
use crate::{
    host::{Cluster, Host, HostError, HostFile, K3sInstall, K3sStatus, UnitActivity, UnitStatus, Wake},
    protocol::Door,
};

/// A machine in memory. Its clock moves only while somebody waits.
#[derive(Debug)]
pub struct Machine {
    inner: Mutex<Inner>,
    pub cluster: Option<DoubleCluster>,
}

#[derive(Debug)]
pub struct Inner {
    pub now: Timestamp,
    pub synchronised: bool,
    pub boot: u32,
    pub files: BTreeMap<PathBuf, HostFile>,
    pub modules: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    pub packages: BTreeMap<String, String>,
    pub units: BTreeMap<String, UnitStatus>,
    pub k3s: K3sStatus,
    /// An upgrade leaves the old version running.
    pub upgrade_fails: bool,
    pub joined_with: Option<String>,
    /// The process ends while the next package is being installed, and takes the installation along.
    pub ends_in_package: Option<Door>,
    /// The share of the root file system that is in use; none is not known.
    pub disk_used: Option<f64>,
    /// Every change, in order: what must not happen twice.
    pub acts: Vec<String>,
}

impl Machine {
    pub fn new(now: Timestamp) -> Self {
        Self {
            inner: Mutex::new(Inner {
                now,
                synchronised: true,
                boot: 1,
                files: BTreeMap::new(),
                modules: Vec::new(),
                sysctls: BTreeMap::new(),
                packages: BTreeMap::new(),
                units: BTreeMap::new(),
                k3s: K3sStatus::default(),
                upgrade_fails: false,
                joined_with: None,
                ends_in_package: None,
                disk_used: Some(0.5),
                acts: Vec::new(),
            }),
            cluster: None,
        }
    }

    pub fn with_cluster(mut self, cluster: DoubleCluster) -> Self {
        self.cluster = Some(cluster);
        self
    }

    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        // A test's "process" may have died with the lock in its hand.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Host for Machine {
    fn host_name(&self) -> Result<String, HostError> {
        Ok("w1".into())
    }
    fn hardware(&self) -> Result<Hardware, HostError> {
        Ok(Hardware { model: "double".into(), serial: "1".into(), machine_id: "1".into(), memory_bytes: 1 })
    }
    fn arch(&self) -> Arch {
        Arch::X86_64
    }
    fn boot_id(&self) -> Result<BootId, HostError> {
        Ok(BootId::new(format!("b{}", self.inner().boot)).unwrap())
    }
    fn now(&self) -> Timestamp {
        self.inner().now
    }
    fn clock_is_synchronised(&self) -> bool {
        self.inner().synchronised
    }
    fn wait(&self, _: &Wake, at_most: Duration) {
        let mut inner = self.inner();
        inner.now = inner.now.plus(at_most);
        let now = inner.now;
        drop(inner);
        if let Some(cluster) = &self.cluster {
            cluster.at(now);
        }
    }
    fn read_facts(&self, now: Timestamp) -> Reading {
        let mut reading = Reading::new(now.unix_milliseconds());
        let disk = [("device", "/dev/sda1"), ("mountpoint", "/"), ("fstype", "ext4")];
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
        inner.acts.push(format!("write {}", path.display()));
        inner.files.insert(path.to_owned(), file.clone());
        Ok(())
    }
    fn module_is_loaded(&self, module: &str) -> Result<bool, HostError> {
        Ok(self.inner().modules.iter().any(|m| m == module))
    }
    fn load_module(&self, module: &str) -> Result<(), HostError> {
        self.inner().modules.push(module.to_owned());
        Ok(())
    }
    fn read_sysctl(&self, key: &str) -> Result<Option<String>, HostError> {
        Ok(self.inner().sysctls.get(key).cloned())
    }
    fn write_sysctl(&self, key: &str, value: &str) -> Result<(), HostError> {
        self.inner().sysctls.insert(key.to_owned(), value.to_owned());
        Ok(())
    }
    fn package_version(&self, package: &str) -> Result<Option<String>, HostError> {
        Ok(self.inner().packages.get(package).cloned())
    }
    fn install_package(&self, package: &str, version: &str) -> Result<(), HostError> {
        let mut inner = self.inner();
        if let Some(door) = inner.ends_in_package.take() {
            drop(door);
            return Err(HostError::Signalled { command: format!("apt-get install {package}"), signal: 15 });
        }
        inner.packages.insert(package.to_owned(), version.to_owned());
        Ok(())
    }
    fn unit(&self, unit: &str) -> Result<UnitStatus, HostError> {
        let missing = UnitStatus { exists: false, activity: UnitActivity::Inactive, enabled: false };
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
        self.inner().units.insert(unit.to_owned(), UnitStatus { exists: true, activity, enabled });
        Ok(())
    }
    fn reboot(&self) -> Result<(), HostError> {
        let mut inner = self.inner();
        inner.acts.push("reboot".into());
        inner.boot += 1;
        Ok(())
    }
    fn k3s(&self) -> Result<K3sStatus, HostError> {
        Ok(self.inner().k3s)
    }
    fn install_k3s(&self, install: &K3sInstall<'_>) -> Result<(), HostError> {
        let mut inner = self.inner();
        inner.acts.push(format!("install k3s {}", install.version));
        inner.joined_with = install.join.map(|j| j.secret.to_owned());
        inner.k3s =
            K3sStatus { installed: Some(install.version), running: Some(install.version), role: Some(install.role) };
        Ok(())
    }
    fn upgrade_k3s(&self, _: &Path, version: Version) -> Result<(), HostError> {
        let mut inner = self.inner();
        inner.acts.push(format!("upgrade k3s {version}"));
        inner.k3s.installed = Some(version);
        if !inner.upgrade_fails {
            inner.k3s.running = Some(version);
        }
        Ok(())
    }
    fn make_join_secret(&self, _: ClusterRole, _: Duration) -> Result<String, HostError> {
        Ok("K10::join-secret".into())
    }
    fn cluster(&self) -> Option<&dyn Cluster> {
        self.cluster.as_ref().map(|c| c as &dyn Cluster)
    }
}
