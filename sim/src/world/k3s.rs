//! The simulated K3s: what its units do when they are started, and what its program prints.

use std::collections::BTreeMap;

use hostler_executor::distribution::k3s;
use hostler_plan::{id::NodeName, step::ClusterRole, version::Version};

use super::{
    Millis, NoSuchMachine, World,
    cluster::KubeNode,
    machine::{File, Machine},
};

/// What a system keeps of the memory: pods get the rest.
const RESERVED_BYTES: u64 = 1 << 30;

/// Why K3s did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum K3sError {
    #[error(transparent)]
    Machine(#[from] NoSuchMachine),
    /// The installed file is no simulated K3s.
    #[error("/usr/local/bin/k3s expected a simulated K3s of `hostler-demo`, found {found}")]
    NotABinary { found: String },
    /// The text of the real one.
    #[error("failed to validate token: expected a join token that this cluster made and that has not expired")]
    Token,
    /// The API server is needed and does not answer.
    #[error("no API server answers; the server node may be starting")]
    Silent,
    /// A machine has one role for life.
    #[error("the node is {found:?} already, expected none or {expected:?}")]
    OtherRole { expected: ClusterRole, found: ClusterRole },
    /// Two first servers would be two clusters.
    #[error("a cluster exists already, with {0} as a server; join it instead")]
    ClusterExists(NodeName),
    /// Nothing of that name is there.
    #[error("this machine has no {what}")]
    Missing { what: String },
    /// A program ended with an error and said this.
    #[error("{said}")]
    Failed { said: String },
    /// It is not simulated.
    #[error("the simulated K3s knows `--version` and `token create --ttl SECONDSs`, found {found}")]
    Usage { found: String },
}

/// A join token that a server made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    role: ClusterRole,
    expires: Millis,
}

/// The process id of K3s on every machine, and its running program.
pub const K3S_PID: u32 = 731;
const RUNNING: &str = "/proc/731/exe";

/// What stands in the first line of a simulated K3s binary, before its version.
const MARK: &str = "simulated k3s ";

/// The content of a simulated K3s binary: it names itself a simulation, its version and its processor.
pub fn k3s_binary(version: Version, arch: hostler_plan::id::Arch) -> Vec<u8> {
    let mut text = format!("{MARK}{version} {arch}\nNot a program: hostler-demo's stand-in for K3s.\n").into_bytes();
    // Long enough to be fetched in more than one piece.
    text.resize(160 << 10, b'.');
    text
}

/// The version that a simulated K3s binary says it is.
pub fn version_of(binary: &[u8]) -> Option<Version> {
    let line = std::str::from_utf8(binary.split(|b| *b == b'\n').next()?).ok()?;
    line.strip_prefix(MARK)?.split(' ').next()?.parse().ok()
}

impl World {
    /// Brings a unit of a machine into a state. K3s sets the machine up by its configuration when it is first started.
    pub fn set_unit(&mut self, name: &NodeName, unit: &str, active: bool, enabled: bool) -> Result<(), K3sError> {
        let now = self.now;
        let machine = self.machine_mut(name)?;
        if !machine.units.contains_key(unit) {
            return Err(K3sError::Missing { what: format!("unit {unit}") });
        }
        let role = [ClusterRole::Server, ClusterRole::Worker].into_iter().find(|role| Machine::k3s_unit(*role) == unit);
        match role {
            Some(role) if active && machine.k3s.role != Some(role) => match join_token(machine) {
                None => self.k3s_bootstrap(name),
                Some(secret) => self.k3s_join(name, role, &secret),
            },
            Some(_) | None => {
                machine.set_unit(unit, active, enabled, now);
                Ok(())
            }
        }
    }

    /// Restarts a unit of a machine.
    pub fn restart_unit(&mut self, name: &NodeName, unit: &str) -> Result<(), K3sError> {
        let now = self.now;
        match self.machine(name)?.process_of(unit) {
            Some(_) if self.machine(name)?.k3s.role.is_none() => {
                self.machine_mut(name)?.start_kubelet(now);
                Ok(())
            }
            Some(_) => self.k3s_restart(name),
            None => {
                self.set_unit(name, unit, true, true)?;
                self.machine_mut(name)?.kubeadm.started.insert(unit.to_owned(), now);
                Ok(())
            }
        }
    }

    /// Runs a program on a machine; gives what it prints.
    pub fn run(&mut self, name: &NodeName, arguments: &[&str]) -> Result<String, K3sError> {
        if let Some(printed) = self.run_program(name, arguments) {
            return printed;
        }
        let machine = self.machine(name)?;
        let program = arguments.first().copied().unwrap_or_default();
        let missing = || K3sError::Missing { what: format!("program {program}") };
        let version = match program {
            RUNNING => machine.k3s.running().ok_or_else(missing)?,
            k3s::BINARY if machine.files.contains_key(k3s::BINARY) => installed(machine)?,
            _ => return Err(missing()),
        };
        match arguments {
            [_, "--version"] => Ok(format!("k3s version {version} (simulated)\n")),
            [k3s::BINARY, "token", "create", "--ttl", ttl, ..] => {
                let seconds = ttl.strip_suffix('s').and_then(|seconds| seconds.parse::<Millis>().ok());
                let seconds = seconds.ok_or_else(|| K3sError::Usage { found: arguments.join(" ") })?;
                self.k3s_token(name, ClusterRole::Worker, seconds.saturating_mul(1000))
            }
            _ => Err(K3sError::Usage { found: arguments.join(" ") }),
        }
    }

    /// Sets a machine up as the first server of a new cluster.
    pub fn k3s_bootstrap(&mut self, name: &NodeName) -> Result<(), K3sError> {
        if let Some(server) =
            self.machines.values().find(|m| m.k3s.role == Some(ClusterRole::Server) && m.name != *name)
        {
            return Err(K3sError::ClusterExists(server.name.clone()));
        }
        self.set_up(name, ClusterRole::Server)
    }

    /// On a server: makes a join token for one node.
    pub fn k3s_token(&mut self, server: &NodeName, role: ClusterRole, lifetime: Millis) -> Result<String, K3sError> {
        let machine = self.machine(server)?;
        if machine.k3s.role != Some(ClusterRole::Server) || machine.k3s.running().is_none() || !machine.is_up() {
            return Err(K3sError::Silent);
        }
        let secret = format!("{:06x}.{:016x}", self.random.next() & 0xff_ffff, self.random.next());
        self.tokens.insert(secret.clone(), Token { role, expires: self.now.saturating_add(lifetime) });
        Ok(secret)
    }

    /// Joins a machine with a token; the same machine may do it again.
    pub fn k3s_join(&mut self, name: &NodeName, role: ClusterRole, secret: &str) -> Result<(), K3sError> {
        if !self.api_answers() {
            return Err(K3sError::Silent);
        }
        let known = self.tokens.get(secret).is_some_and(|token| token.role == role && self.now < token.expires);
        if !known {
            return Err(K3sError::Token);
        }
        self.set_up(name, role)
    }

    fn set_up(&mut self, name: &NodeName, role: ClusterRole) -> Result<(), K3sError> {
        let now = self.now;
        let machine = self.machine_mut(name)?;
        if let Some(found) = machine.k3s.role.filter(|found| *found != role) {
            return Err(K3sError::OtherRole { expected: role, found });
        }
        let version = installed(machine)?;
        machine.k3s.role = Some(role);
        machine.k3s.binary = Some(version);
        machine.k3s.unpacked = Some(version);
        machine.set_unit(Machine::k3s_unit(role), true, true, now);
        machine.files.insert(kubeconfig(role).to_owned(), File { mode: 0o600, content: b"simulated".to_vec() });
        if role == ClusterRole::Server {
            // As long as the cluster lives: whoever has it may be a server.
            let token = format!("server:{}", machine.boot_id);
            machine
                .files
                .insert(k3s::SERVER_TOKEN.to_owned(), File { mode: 0o600, content: token.clone().into_bytes() });
            self.tokens.insert(token, Token { role, expires: Millis::MAX });
        }
        let machine = self.machine(name)?;
        let allocatable = machine.board.memory_bytes.saturating_sub(RESERVED_BYTES);
        let boot_id = machine.boot_id.to_string();
        self.cluster.nodes.entry(name.clone()).or_insert_with(|| KubeNode {
            role,
            version,
            boot_id,
            ready: false,
            ready_changed: now,
            heartbeat: now,
            unschedulable: false,
            unschedulable_by: None,
            annotations: BTreeMap::new(),
            resource_version: 1,
            allocatable,
            out_of_service: false,
        });
        Ok(())
    }

    /// Restarts K3s after its binary was replaced: the new one unpacks itself and runs, unless it goes wrong.
    pub fn k3s_restart(&mut self, name: &NodeName) -> Result<(), K3sError> {
        let now = self.now;
        let version = installed(self.machine(name)?)?;
        let goes_wrong = self.machine(name)?.k3s.unpacked != Some(version) && self.faults.take_old_version(name);
        let machine = self.machine_mut(name)?;
        machine.k3s.binary = Some(version);
        if !goes_wrong {
            machine.k3s.unpacked = Some(version);
        }
        machine.start_k3s(now);
        Ok(())
    }
}

/// The credentials that K3s writes for a machine of that role.
fn kubeconfig(role: ClusterRole) -> &'static str {
    match role {
        ClusterRole::Server => k3s::ADMIN_KUBECONFIG,
        ClusterRole::Worker | ClusterRole::Host => k3s::KUBELET_KUBECONFIG,
    }
}

/// The token in K3s's configuration; none for a first server.
fn join_token(machine: &Machine) -> Option<String> {
    let config = std::str::from_utf8(&machine.files.get(k3s::CONFIG)?.content).ok()?;
    let token = config.lines().find_map(|line| line.strip_prefix("token: "))?;
    serde_json::from_str(token).ok()
}

fn installed(machine: &Machine) -> Result<Version, K3sError> {
    let file = machine.files.get(k3s::BINARY);
    file.and_then(|file| version_of(&file.content)).ok_or_else(|| K3sError::NotABinary {
        found: match file {
            None => "no file".into(),
            Some(file) => format!("{} bytes of something else", file.content.len()),
        },
    })
}
