//! Machines, what they remember, and what they do to the cluster.

use std::collections::{BTreeMap, BTreeSet};

use hostler_plan::{
    document::Outcome,
    health::{Level, Rule, Verdict, Vitals},
    id::{BootId, Digest, NodeName, Seq},
    sequencer::{ClusterNode, Cordon, CordonOwner, Standing},
    version::Version,
};

/// A task of a plan, by the plan's place in the ledger and the task's place in the plan.
pub(super) type TaskKey = (usize, usize);

/// A machine and its place in the cluster.
#[derive(Debug)]
pub(super) struct Machine {
    pub name: NodeName,
    pub is_server: bool,
    pub up: bool,
    pub boot: u64,
    /// The number of its stream to the coordinator.
    pub connection: Option<u64>,
    pub version: Version,
    pub cordon: Option<Owner>,
    /// Set while Kubernetes on it is stopped by a task.
    pub restarting: bool,
    /// An upgrade left it not Ready until a person repairs it.
    pub broken: bool,
    /// Since when it has been Ready without a break.
    pub ready_since: Option<u64>,
    /// Tasks that it performs now, and the grant under which.
    pub performing: BTreeMap<TaskKey, u64>,
    /// Survives power loss: how each task ended here, and whether the coordinator acknowledged.
    pub receipts: BTreeMap<TaskKey, Ended>,
    /// Survives power loss: a reboot that was begun, and in which boot.
    pub rebooting: BTreeMap<TaskKey, (u64, u64)>,
    /// Survives power loss: the highest plan and the ones that are open beside it.
    pub highest: Seq,
    pub open: BTreeSet<Digest>,
    pub counter: u64,
    /// What its hardware is like now, when it is not well.
    pub sick: Option<Verdict>,
    /// Errors that its disk counted; only a repair sets them back.
    pub disk_errors: u32,
    /// Until when its agent reports no facts.
    pub mute_until: u64,
}

/// Who made the node unschedulable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Hostler,
    ThirdParty,
}

#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub grant: u64,
    pub outcome: Outcome,
    /// Operations that were begun.
    pub begun: Vec<&'static str>,
    pub counter: u64,
    pub acknowledged: bool,
}

impl Machine {
    pub(super) fn new(name: NodeName, is_server: bool, version: Version) -> Self {
        Self {
            name,
            is_server,
            up: true,
            boot: 1,
            connection: None,
            version,
            cordon: None,
            restarting: false,
            broken: false,
            ready_since: Some(0),
            performing: BTreeMap::new(),
            receipts: BTreeMap::new(),
            rebooting: BTreeMap::new(),
            highest: Seq(0),
            open: BTreeSet::new(),
            counter: 0,
            sick: None,
            disk_errors: 0,
            mute_until: 0,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.up && !self.restarting && !self.broken
    }

    /// Out of service because of what a task did.
    pub(super) fn is_out_by_us(&self) -> bool {
        self.cordon == Some(Owner::Hostler) || self.is_away_by_us()
    }

    /// A server's etcd runs on while it is only drained.
    pub(super) fn is_away_by_us(&self) -> bool {
        self.restarting || self.broken
    }

    /// Out of service for whatever reason.
    pub(super) fn is_out(&self) -> bool {
        self.cordon.is_some() || !self.is_ready()
    }

    /// Why it is out of service, for a person who looks for a bug.
    pub(super) fn say_out(&self, since: Option<u64>) -> String {
        let (name, up, cordon, broken) = (&self.name, self.up, self.cordon, self.broken);
        format!("{name} (since {since:?}, up {up}, cordon {cordon:?}, broken {broken}, stream {:?})", self.connection)
    }

    pub(super) fn boot_id(&self) -> BootId {
        BootId::new(format!("{:x}", self.boot)).expect("hexadecimal digits")
    }

    pub(super) fn note_readiness(&mut self, now: u64) {
        if self.is_ready() {
            self.ready_since.get_or_insert(now);
        } else {
            self.ready_since = None;
        }
    }

    /// What a server reads about it.
    pub(super) fn condition(&self) -> ClusterNode {
        let owner = self.cordon.map(|owner| match owner {
            Owner::Hostler => CordonOwner::Hostler,
            Owner::ThirdParty => CordonOwner::Other("kubectl-cordon".to_owned()),
        });
        ClusterNode {
            standing: if self.is_ready() { Standing::Ready } else { Standing::NotReady },
            cordon: owner.map(|owner| Cordon { owner, reason: None }),
            version: Some(self.version),
            other_names: Vec::new(),
        }
    }

    /// What it reports about itself.
    pub(super) fn vitals(&self) -> Vitals {
        Vitals {
            boot_id: self.boot_id().to_string(),
            is_settling: false,
            verdicts: self.sick.iter().cloned().collect(),
            counters: [("nvme_media_errors_total{device=\"nvme0\"}".to_owned(), u64::from(self.disk_errors))].into(),
            ..Vitals::default()
        }
    }

    /// Something is wrong with it from now on.
    pub(super) fn fall_ill(&mut self, since_ms: u64, rule: Rule, level: Level) {
        self.sick = Some(Verdict {
            rule,
            subject: String::new(),
            level,
            required: true,
            condition: None,
            fact: format!("hostler_{}", rule.name()),
            value: None,
            threshold: None,
            since_ms,
            clear_seconds: None,
            damped: false,
            disk: None,
            numbers: std::collections::BTreeMap::new(),
            accepted: None,
            advice: rule.advice().into(),
        });
    }
}
