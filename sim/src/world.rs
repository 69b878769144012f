//! A whole fleet in one process: machines, their disks and power, and the cluster that runs on them.
//!
//! Everything here is simulated. Time is a parameter: nothing sleeps, [`World::advance`] brings the world to a time,
//! in milliseconds of its own since it began, and the same seed with the same calls at the same times gives the same
//! world. Durations are those of real Raspberry Pis; whoever hands in the time decides how fast they pass.

pub mod api;
pub mod budget;
pub mod cluster;
pub mod eviction;
pub mod fault;
pub mod hardware;
mod k3s;
pub mod kubeadm;
pub mod machine;
mod scheduler;
pub mod workload;

use std::collections::BTreeMap;

use hostler_plan::{id::NodeName, step::ClusterRole, version::Version};

pub use cluster::PodKey;
pub use k3s::{K3S_PID, K3sError, k3s_binary, version_of};

use cluster::{Cluster, PodState};
use fault::{Fault, Faults};
use hardware::Board;
use machine::{Machine, Power};

/// Milliseconds of the world's own time.
pub type Millis = u64;

/// The world moves in steps of this size, so that a long gap and many short ones come out the same.
const TICK: Millis = 250;

/// All machines and their cluster.
#[derive(Debug, Clone)]
pub struct World {
    now: Millis,
    random: Random,
    machines: BTreeMap<NodeName, Machine>,
    pub cluster: Cluster,
    pub faults: Faults,
    tokens: BTreeMap<String, k3s::Token>,
    pub kubeadm: kubeadm::Shared,
    /// What the clocks of the machines showed when the world began, in Unix milliseconds.
    pub began_unix_ms: u64,
}

/// Nobody simulated answers to that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the simulated world has no machine {0}; the fleet file names its machines")]
pub struct NoSuchMachine(pub NodeName);

impl World {
    /// Machines that are switched on and have nothing installed, in a world without a cluster.
    pub fn new(seed: u64, machines: impl IntoIterator<Item = (NodeName, hostler_plan::id::Arch)>) -> Self {
        let mut random = Random::new(seed);
        let machines = machines
            .into_iter()
            .map(|(name, arch)| {
                let board = Board::by_seed(arch, &mut random).of(seed, &name);
                (name.clone(), Machine::new(name, board, &mut random))
            })
            .collect();
        Self {
            now: 0,
            random,
            machines,
            cluster: Cluster::default(),
            faults: Faults::default(),
            tokens: BTreeMap::new(),
            kubeadm: kubeadm::Shared::default(),
            began_unix_ms: 0,
        }
    }

    /// The world's time.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// One machine.
    pub fn machine(&self, name: &NodeName) -> Result<&Machine, NoSuchMachine> {
        self.machines.get(name).ok_or_else(|| NoSuchMachine(name.clone()))
    }

    /// One machine, to change what is on it.
    pub fn machine_mut(&mut self, name: &NodeName) -> Result<&mut Machine, NoSuchMachine> {
        self.machines.get_mut(name).ok_or_else(|| NoSuchMachine(name.clone()))
    }

    /// Every machine, by name.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values()
    }

    /// Workloads for the cluster; they start as soon as it has nodes.
    pub fn deploy(&mut self, storage: bool) {
        (self.cluster.workloads, self.cluster.budgets) = workload::small_shop(storage);
        self.cluster.storage = storage;
    }

    /// Lets something go wrong.
    pub fn add_fault(&mut self, fault: Fault) {
        self.faults.add(fault);
    }

    /// Lets a budget that is held go at `until` at the latest.
    pub fn release_budget(&mut self, budget: &str, until: Millis) {
        self.faults.release_budget(budget, until);
    }

    /// Brings the world to `now`; a time that is past already changes nothing.
    pub fn advance(&mut self, now: Millis) {
        while self.now + TICK <= now {
            self.now += TICK;
            self.tick();
        }
    }

    /// Whether any API server answers.
    pub fn api_answers(&self) -> bool {
        let of_k3s = || {
            self.machines.values().any(|machine| {
                machine.is_up() && machine.k3s.role == Some(ClusterRole::Server) && machine.k3s.running().is_some()
            })
        };
        !self.faults.api_silent(self.now) && (of_k3s() || self.kubeadm_answers())
    }

    /// Reboots a machine. Its programs die now.
    pub fn reboot(&mut self, name: &NodeName) -> Result<(), NoSuchMachine> {
        let never = self.faults.take_no_boot(name);
        let now = self.now;
        self.machine_mut(name)?.reboot(now, never);
        Ok(())
    }

    /// Pods that should be there and are Ready, and how many should be there: what users of the cluster feel.
    pub fn pods_ready(&self) -> (usize, usize) {
        let wanted = self.cluster.pods.values().filter(|pod| !pod.is_terminating()).count();
        (self.cluster.pods.values().filter(|pod| pod.is_ready()).count(), wanted)
    }

    fn tick(&mut self) {
        let now = self.now;
        let api = self.api_answers();
        let network = self.has_network();
        for machine in self.machines.values_mut() {
            machine.tick(now, &mut self.random);
            kubelet(machine, &mut self.cluster, now, (api, network));
        }
        self.tick_kubeadm();
        self.go_on_with_runs();
        if api {
            self.cluster.reconcile(now);
        }
    }
}

/// What the kubelet of one machine does in one moment.
fn kubelet(machine: &Machine, cluster: &mut Cluster, now: Millis, (api, network): (bool, bool)) {
    // K3s brings a network of its own.
    let (process, network) = match machine.k3s.role {
        Some(_) => (machine.k3s.process, true),
        None => (machine.kubeadm.kubelet, network),
    };
    let machine::Process::Running { version, since } = process else { return };
    if !machine.is_up() {
        return;
    }
    let fresh_boot = since <= machine.booted_at + machine::K3S_START + 2 * TICK && machine.boots > 1;
    let settled = !fresh_boot || now >= since + cluster::NODE_READY_AFTER;
    if api && let Some(node) = cluster.nodes.get_mut(&machine.name) {
        report(node, machine, version, settled && network, now);
    }
    let lost_all = machine.boots > 1 && now <= since + 2 * TICK && fresh_boot;
    let mut gone = Vec::new();
    for (key, pod) in cluster.pods.iter_mut().filter(|(_, pod)| pod.node.as_ref() == Some(&machine.name)) {
        match pod.state {
            // The containers died with the boot before.
            PodState::Ready if lost_all => pod.state = PodState::Starting { until: now + cluster::POD_START },
            PodState::Lost if settled => pod.state = PodState::Starting { until: now + cluster::POD_START },
            PodState::Starting { until } if now >= until && settled => pod.state = PodState::Ready,
            PodState::Terminating { until } if api && (now >= until || until == Millis::MAX) => gone.push(key.clone()),
            PodState::Pending
            | PodState::Starting { .. }
            | PodState::Ready
            | PodState::Lost
            | PodState::Succeeded
            | PodState::Terminating { .. } => {}
        }
    }
    for key in gone {
        cluster.pods.remove(&key);
    }
}

/// One heartbeat: the kubelet says who it is and how it does.
fn report(node: &mut cluster::KubeNode, machine: &Machine, version: Version, settled: bool, now: Millis) {
    node.heartbeat = now;
    node.version = version;
    node.boot_id = machine.boot_id.to_string();
    if node.ready != settled {
        node.ready = settled;
        node.ready_changed = now;
    }
}

/// A small generator (SplitMix64) whose sequence is part of a seed's meaning: it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random(u64);

impl Random {
    /// The sequence of that seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 for no room.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }
}

/// Whether the machine is up, for people.
impl std::fmt::Display for Power {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Power::Up => "up",
            Power::Booting { .. } => "booting",
            Power::Dead => "did not come back from its reboot",
        })
    }
}
