//! What a simulated host asks of the world: a small typed protocol, the same in one process and over a Unix socket.
//!
//! Over a socket it is JSON lines: first the name of the machine that asks, then one [`Request`] and one answer each.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hostler_plan::{
    document::Hardware,
    id::{Arch, BootId},
    step::UnitState,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use crate::world::{
    budget::{Allowance, Budget},
    cluster::{KubeNode, Pod},
    machine::{Power, Unit},
};

/// The longest line: a file of 1 MiB in base64 and room around it.
pub const MAX_LINE_BYTES: usize = 2 << 20;

/// One question or order of the program that runs on a machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Answer: [`Identity`].
    Identity,
    /// Answer: [`hostler_plan::fact::Reading`]. `at_ms` is the asker's clock.
    Facts {
        at_ms: u64,
    },
    /// Answer: `Option<WireFile>`.
    ReadFile {
        path: String,
    },
    /// Answer: nothing.
    WriteFile {
        path: String,
        file: WireFile,
    },
    /// Answer: whether the kernel has it.
    ModuleIsLoaded {
        module: String,
    },
    LoadModule {
        module: String,
    },
    /// Answer: `Option<String>`.
    ReadSysctl {
        key: String,
    },
    WriteSysctl {
        key: String,
        value: String,
    },
    /// Answer: `Option<String>`.
    PackageVersion {
        package: String,
    },
    InstallPackage {
        package: String,
        version: String,
    },
    /// Answer: [`UnitAnswer`].
    Unit {
        unit: String,
    },
    SetUnit {
        unit: String,
        state: UnitState,
        enabled: bool,
    },
    RestartUnit {
        unit: String,
    },
    /// Makes the units known whose files were written since.
    ReloadUnits,
    Reboot,
    /// Answer: whether a file is there.
    HasFile {
        path: String,
    },
    /// Puts a program in place.
    InstallProgram {
        path: String,
        content: Bytes,
    },
    /// Answer: what the program prints.
    Run {
        arguments: Vec<String>,
    },
    /// Answer: `Vec<String>`, the names in a folder.
    ListFolder {
        path: String,
    },
    /// Gives a file, or a folder with all that is in it, another place, which is free.
    Rename {
        from: String,
        to: String,
    },
    /// Removes a file, or a folder with all that is in it.
    Remove {
        path: String,
    },
    /// Starts a program as a unit of its own.
    StartRun {
        unit: String,
        purpose: String,
        arguments: Vec<String>,
    },
    /// Answer: `Option<RunAnswer>`.
    Started {
        unit: String,
    },
    ForgetRun {
        unit: String,
    },
    /// Puts the images of an archive into containerd.
    ImportImages {
        content: Bytes,
    },
    /// Answer: name and version of a package, as `dpkg-deb --show` prints them.
    DescribePackage {
        content: Bytes,
    },
    /// Answer: `Option<String>`, what the API server at that address answers, or any where none is named.
    KubeGet {
        server: Option<String>,
        path: String,
    },
    /// Whether the API server at that address is ready, by a certificate with that name.
    KubeReady {
        server: String,
        name: String,
    },
    /// Answer: `Option<Value>`, the object of that kind and name.
    KubeFind {
        object: Value,
    },
    /// Answer: the object as it is then.
    KubeApply {
        object: Value,
        really: bool,
    },
    KubeDelete {
        path: String,
    },
    /// Answer: `Vec<(String, KubeNode)>`, each with how long its kubelet is silent.
    Nodes,
    /// Answer: `Option<NodeAnswer>`, the same for one.
    Node {
        node: String,
    },
    /// Answer: `Vec<PodAnswer>`.
    Pods {
        on_node: Option<String>,
        in_namespace: Option<String>,
    },
    /// Answer: `Vec<BudgetAnswer>`.
    Budgets,
    /// Answer: `Option<u32>`.
    Scale {
        namespace: String,
        kind: String,
        name: String,
    },
    /// Answer: [`crate::world::eviction::EvictionAnswer`].
    Evict {
        namespace: String,
        name: String,
        uid: String,
    },
    /// Sets `unschedulable` and one annotation (removed where it has no note). Answer: [`WriteAnswer`].
    SetSchedulable {
        node: String,
        resource_version: u64,
        unschedulable: bool,
        annotation: String,
        note: Option<String>,
        manager: String,
    },
    /// Puts the taint of a node out of service on it, or takes it off. Answer: [`WriteAnswer`].
    GiveUp {
        node: String,
        resource_version: u64,
        dead: bool,
    },
    /// Answer: `Vec<(String, String)>`, nodes and the volumes that are attached to them.
    Attachments,
}

/// Who a machine is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    pub hardware: Hardware,
    pub arch: Arch,
    pub boot_id: BootId,
}

/// A file on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WireFile {
    pub content: Bytes,
    pub mode: u32,
}

/// A unit as it is; none for one that systemd does not know.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct UnitAnswer {
    pub unit: Option<Unit>,
    /// Its program is still on its way up.
    pub changing: bool,
    pub main_pid: Option<u32>,
}

/// A program that runs as a unit of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunAnswer {
    pub purpose: String,
    /// None while it runs.
    pub ended: Option<RunEnded>,
}

/// How it ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunEnded {
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub output: String,
}

/// A node and how long its kubelet has been silent, in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeAnswer {
    pub name: String,
    pub node: KubeNode,
    pub silent_ms: u64,
}

/// A pod, and for one that is going how long it still has, in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PodAnswer {
    pub namespace: String,
    pub name: String,
    pub pod: Pod,
    pub going_for_ms: Option<u64>,
}

/// A budget with its status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BudgetAnswer {
    pub budget: Budget,
    pub status: Allowance,
}

/// What became of a change that names the version it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteAnswer {
    Done,
    Changed,
    Gone,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "failure", rename_all = "snake_case")]
pub enum Failure {
    /// The machine that asks does not run: its program should not either.
    #[error("the simulated machine is not up: it {power}")]
    Off { power: Power },
    #[error("{reason}")]
    Silent { reason: String },
    #[error("this machine has no {what}")]
    Missing { what: String },
    #[error("{reason}")]
    Program { reason: String },
    #[error("{reason}")]
    Protocol { reason: String },
}

/// Bytes, in base64 on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map(Bytes).map_err(D::Error::custom)
    }
}

/// The first line of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The machine that the program runs on.
    pub machine: String,
}

/// The answer to [`Opening`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// How much faster than real time the world's time passes, and with it the clocks of its machines.
    pub speed: f64,
    /// What those clocks show now, in Unix milliseconds.
    pub clock_ms: u64,
}

/// An answer as it travels: the JSON of the type that the request names, or why there is none.
pub type Answer = Result<serde_json::Value, Failure>;
