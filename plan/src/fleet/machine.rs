//! What every machine of a fleet is made ready with, before the cluster comes: `[machine]` of the fleet file, and
//! `[groups.NAME.machine]` over it.

mod settings;

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;

use crate::{
    form::{FileMode, FilePath, HostName, KernelArgument, ModuleName, SysctlKey, SysctlValue, UnitName},
    registry::RegistryName,
};

use super::{
    args::{Args, args},
    problem::{At, Found, Location},
    registry::{self, Registry, RegistryFragment},
};
use settings::{JournalFragment, SshdFragment};

pub use settings::{Journal, JournalStorage, Settings, StorageClient, UpdatedBy};

/// What a machine is made ready with. What is `None` stands nowhere in the file: the distribution's own need counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Machine {
    /// Kernel modules that are loaded now and at every boot.
    pub modules: Option<Vec<ModuleName>>,
    /// Kernel parameters.
    pub sysctl: Option<BTreeMap<SysctlKey, SysctlValue>>,
    pub swap: Option<Swap>,
    /// Arguments that the kernel is started with.
    pub kernel_arguments: Option<Vec<KernelArgument>>,
    /// Whether its kernel has the memory control group, without which no container's memory is limited.
    pub memory_cgroup: Option<bool>,
    /// Names that stand in `/etc/hosts`, with their addresses.
    pub hosts: BTreeMap<HostName, IpAddr>,
    /// The unit that keeps the clock right.
    pub time_sync: Option<UnitName>,
    /// Files that hold exactly that.
    pub files: BTreeMap<FilePath, MachineFile>,
    pub container_runtime: ContainerRuntime,
    /// Its own services.
    pub settings: Settings,
    /// Arguments that the kubelet of every machine gets.
    pub kubelet_args: Args,
}

/// Whether a machine may move memory to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// It has none, now and at every boot.
    Off,
    /// It may have some, and the kubelet is told so.
    Allowed,
}

/// A file of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFile {
    pub mode: FileMode,
    pub content: String,
}

/// How containers are run and where their images come from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContainerRuntime {
    /// The image that holds a pod's namespaces; it is never thrown away.
    pub sandbox_image: Option<String>,
    /// By the name that stands in an image's, such as `docker.io`.
    pub registries: BTreeMap<RegistryName, Registry>,
    /// Over what Hostler writes, in the runtime's own words.
    pub config: toml::Table,
}

impl Machine {
    /// This one with what a group says over it: single values are replaced, tables are put together.
    pub(super) fn with(&self, over: &Machine) -> Machine {
        let mut with = self.clone();
        let Machine {
            modules,
            sysctl,
            swap,
            kernel_arguments,
            memory_cgroup,
            hosts,
            time_sync,
            files,
            container_runtime,
            settings,
            kubelet_args,
        } = over.clone();
        with.settings = with.settings.with(settings);
        with.kernel_arguments = kernel_arguments.or(with.kernel_arguments);
        with.memory_cgroup = memory_cgroup.or(with.memory_cgroup);
        with.modules = modules.or(with.modules);
        with.sysctl = sysctl.or(with.sysctl);
        with.swap = swap.or(with.swap);
        with.time_sync = time_sync.or(with.time_sync);
        with.hosts.extend(hosts);
        with.files.extend(files);
        with.kubelet_args = args_over(&with.kubelet_args, kubelet_args);
        let runtime = &mut with.container_runtime;
        runtime.sandbox_image = container_runtime.sandbox_image.or(runtime.sandbox_image.take());
        runtime.registries.extend(container_runtime.registries);
        put_over(&mut runtime.config, &container_runtime.config);
        with
    }
}

/// Why a machine cannot be all that is said of it: what stands in different tables may contradict itself.
pub(super) fn contradiction(machine: &Machine) -> Option<String> {
    let disables = |argument: &&KernelArgument| {
        argument.as_str().strip_prefix("cgroup_disable=").is_some_and(|what| what.split(',').any(|w| w == "memory"))
    };
    let argument = machine.kernel_arguments.iter().flatten().find(disables)?;
    (machine.memory_cgroup == Some(true))
        .then(|| format!("memory_cgroup is true and kernel_arguments have {argument}; remove one of them"))
}

/// Arguments with others over them: one that stands in both has the other's values.
pub(crate) fn args_over(args: &Args, over: Args) -> Args {
    let kept = args.iter().filter(|(name, _)| !over.iter().any(|(other, _)| other == name));
    let mut all: Args = kept.cloned().collect();
    all.extend(over);
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

/// Every entry of `over`, over what is there: tables in tables are put together, everything else is replaced.
pub(crate) fn put_over(table: &mut toml::Table, over: &toml::Table) {
    for (key, value) in over {
        match (table.get_mut(key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => put_over(old, new),
            (_, value) => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
}

/// `[machine]` as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MachineFragment {
    modules: Option<Vec<String>>,
    sysctl: Option<BTreeMap<String, toml::Value>>,
    swap: Option<String>,
    kernel_arguments: Option<Vec<String>>,
    memory_cgroup: Option<bool>,
    cloud_init: Option<String>,
    journal: Option<JournalFragment>,
    updates: Option<String>,
    storage_clients: Option<Vec<String>>,
    multipath_exclude: Option<Vec<String>>,
    sshd: Option<SshdFragment>,
    #[serde(default)]
    hosts: BTreeMap<String, Vec<String>>,
    time_sync: Option<toml::Value>,
    #[serde(default)]
    files: BTreeMap<String, FileFragment>,
    #[serde(default)]
    container_runtime: RuntimeFragment,
    #[serde(default)]
    kubelet_args: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileFragment {
    mode: Option<String>,
    content: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuntimeFragment {
    sandbox_image: Option<String>,
    #[serde(default)]
    registries: BTreeMap<String, RegistryFragment>,
    #[serde(default)]
    config: toml::Table,
}

/// The machine that the table `of` describes.
pub(super) fn machine(found: &mut Found, of: &str, written: &At<MachineFragment>) -> Machine {
    let At { value, location } = written;
    registry::no_secrets(found, of, location, &value.container_runtime.config);
    let mut table = Table { found, of, location };
    Machine {
        modules: value
            .modules
            .as_ref()
            .map(|names| names.iter().filter_map(|name| table.form(ModuleName::new(name.as_str()))).collect()),
        sysctl: value.sysctl.as_ref().map(|keys| table.sysctl(keys)),
        swap: value.swap.as_deref().and_then(|word| table.swap(word)),
        kernel_arguments: value.kernel_arguments.as_ref().map(|written| table.kernel_arguments(written)),
        memory_cgroup: value.memory_cgroup,
        hosts: table.hosts(&value.hosts),
        time_sync: value.time_sync.as_ref().and_then(|unit| table.time_sync(unit)),
        files: table.files(&value.files),
        container_runtime: ContainerRuntime {
            sandbox_image: value.container_runtime.sandbox_image.clone(),
            registries: registry::registries(table.found, of, location, &value.container_runtime.registries),
            config: value.container_runtime.config.clone(),
        },
        settings: Settings {
            cloud_init: value.cloud_init.as_deref().and_then(|word| table.cloud_init(word)),
            journal: value.journal.as_ref().and_then(|written| table.journal(written)),
            updates: value.updates.as_deref().and_then(|word| table.updates(word)),
            storage_clients: value.storage_clients.as_ref().map(|written| table.storage_clients(written)),
            multipath_exclude: value.multipath_exclude.as_ref().map(|written| table.multipath_exclude(written)),
            sshd: value.sshd.as_ref().and_then(|written| table.sshd(written)),
        },
        kubelet_args: args(table.found, &format!("{of} kubelet_args"), location, &value.kubelet_args),
    }
}

/// The unit of Debian's own client.
const TIMESYNCD: &str = "systemd-timesyncd.service";

/// A table that is read, and where it stands.
struct Table<'a> {
    found: &'a mut Found,
    of: &'a str,
    location: &'a Location,
}

impl Table<'_> {
    fn error(&mut self, message: &str) {
        self.found.error(self.location, format!("{} {message}", self.of));
    }

    fn form<T>(&mut self, read: Result<T, crate::id::InvalidId>) -> Option<T> {
        if let Err(wrong) = &read {
            self.error(&format!("{wrong}; change it"));
        }
        read.ok()
    }

    fn sysctl(&mut self, written: &BTreeMap<String, toml::Value>) -> BTreeMap<SysctlKey, SysctlValue> {
        let mut parameters = BTreeMap::new();
        for (key, value) in written {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let read = self.form(SysctlKey::new(key.as_str())).zip(self.form(SysctlValue::new(value)));
            parameters.extend(read);
        }
        parameters
    }

    fn kernel_arguments(&mut self, written: &[String]) -> Vec<KernelArgument> {
        let mut arguments: Vec<KernelArgument> = Vec::new();
        for text in written {
            let Some(argument) = self.form(KernelArgument::new(text.as_str())) else { continue };
            let same = |other: &&KernelArgument| other.key() == argument.key() && !argument.is_repeated();
            match arguments.iter().find(|other| **other == argument || same(other)) {
                Some(other) => self.error(&format!("kernel_arguments: {other} and {argument}; keep one of them")),
                None => arguments.push(argument),
            }
        }
        arguments
    }

    fn swap(&mut self, word: &str) -> Option<Swap> {
        match word {
            "off" => Some(Swap::Off),
            "allowed" => Some(Swap::Allowed),
            other => {
                self.error(&format!("swap: expected \"off\" or \"allowed\", found {other:?}; write one of them"));
                None
            }
        }
    }

    fn time_sync(&mut self, written: &toml::Value) -> Option<UnitName> {
        match (written.as_bool(), written.as_str()) {
            (Some(true), _) => UnitName::new(TIMESYNCD).ok(),
            (Some(false), _) => None,
            (None, Some(unit)) => self.form(UnitName::new(unit)),
            (None, None) => {
                let what = format!("true or a unit such as \"chrony.service\", found {written}");
                self.error(&format!("time_sync: expected {what}; write one of them"));
                None
            }
        }
    }

    /// As `/etc/hosts` has them: an address and its names.
    fn hosts(&mut self, written: &BTreeMap<String, Vec<String>>) -> BTreeMap<HostName, IpAddr> {
        let mut hosts = BTreeMap::new();
        for (address, names) in written {
            let Ok(ip) = address.parse::<IpAddr>() else {
                let what = "an address and its names such as \"10.0.0.10\" = [\"k8s.lab\"]";
                self.error(&format!("hosts: expected {what}, found {address:?}; change it"));
                continue;
            };
            for name in names {
                let Some(name) = self.form(HostName::new(name.as_str())) else { continue };
                if let Some(other) = hosts.insert(name.clone(), ip).filter(|other| *other != ip) {
                    self.error(&format!("hosts: {name} is {other} and {ip}; keep one of them"));
                }
            }
        }
        hosts
    }

    fn files(&mut self, written: &BTreeMap<String, FileFragment>) -> BTreeMap<FilePath, MachineFile> {
        let mut files = BTreeMap::new();
        for (path, FileFragment { mode, content }) in written {
            let mode = mode.clone().unwrap_or_else(|| "0644".to_owned());
            let read = self.form(FilePath::new(path.as_str())).zip(self.form(FileMode::new(mode)));
            files.extend(read.map(|(path, mode)| (path, MachineFile { mode, content: content.clone() })));
        }
        files
    }
}
