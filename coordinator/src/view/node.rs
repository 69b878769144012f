//! The nodes as people see them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hostler_plan::{
    document::{RosterStatus, Signed},
    health::{Level, Verdict, worst},
    id::{Arch, BootId, Fingerprint, NodeName},
    sequencer::{Reason, TaskState, Wait},
    step::ClusterRole,
    timestamp::Timestamp,
};

use crate::{
    clock::ClockReading,
    control::{Control, ControlError, Double, NodeReading},
    nodes::{reports::NodeReport, summary::Summary},
};

/// How a node stands to the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeStatus {
    Active,
    Retired,
    /// Enrolled, and in no roster yet.
    Pending,
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeView {
    pub name: NodeName,
    pub status: NodeStatus,
    pub role: Option<ClusterRole>,
    pub arch: Option<Arch>,
    pub key: Option<Fingerprint>,
    pub is_connected: bool,
    pub agent_version: String,
    pub boot_id: Option<BootId>,
    pub last_report: Option<Timestamp>,
    /// As a server of its cluster reads it.
    pub reading: Option<NodeReading>,
    pub health: Level,
    /// The worst verdict in a sentence; empty when all is well.
    pub health_reason: String,
    pub facts: Summary,
    /// What it does or waits for, in one sentence; empty when it is about nothing.
    pub activity: String,
    pub model: String,
}

/// An enrolment that no roster lists yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pending {
    pub enrolment: Signed,
    pub admission: Option<Signed>,
    pub address: Option<IpAddr>,
    pub at: Timestamp,
}

/// Every node of the roster and every one that waits for it, by name.
pub(crate) fn nodes(control: &Control, reports: &BTreeMap<NodeName, NodeReport>, now: ClockReading) -> Vec<NodeView> {
    let state = control.state();
    let listed = state.roster.iter().flat_map(|r| &r.document().nodes).map(|n| &n.name);
    let names: BTreeSet<&NodeName> = listed.chain(state.pending().map(|(node, _)| node)).collect();
    let activities = Activities::of(control, now.wall);
    names.into_iter().map(|name| view(control, name, reports.get(name), &activities, now)).collect()
}

/// One of them.
pub(crate) fn node(
    control: &Control,
    name: &str,
    report: Option<&NodeReport>,
    now: ClockReading,
) -> Result<NodeView, ControlError> {
    let missing =
        || ControlError::NotFound(format!("expected a node of this fleet, found {name:?}; see `hostler nodes`"));
    let name = NodeName::new(name).map_err(|_| missing())?;
    let state = control.state();
    let listed = state.roster.as_ref().is_some_and(|r| r.document().nodes.iter().any(|n| n.name == name));
    if !listed && !state.enrolled.contains_key(&name) {
        return Err(missing());
    }
    Ok(view(control, &name, report, &Activities::of(control, now.wall), now))
}

/// Enrolments that no roster lists yet, each with its admission.
pub(crate) fn pending(control: &Control) -> Vec<Pending> {
    let state = control.state();
    let pending = state.pending().map(|(node, enrolled)| Pending {
        enrolment: enrolled.enrolment.signed().clone(),
        admission: state.tokens.get(&enrolled.enrolment.document().token).map(|t| t.admission.signed().clone()),
        address: control.address_of(node),
        at: enrolled.at,
    });
    pending.collect()
}

/// A machine that was turned away, and the address of the one beside it.
pub(crate) fn doubles(control: &Control, now: Timestamp) -> Vec<(Double, Option<IpAddr>)> {
    control.doubles(now)
}

/// What the rollouts do with every node.
struct Activities {
    performing: BTreeMap<NodeName, String>,
    waits: Vec<Wait>,
}

impl Activities {
    fn of(control: &Control, now: Timestamp) -> Self {
        let sequencer = &control.state().sequencer;
        let mut performing = BTreeMap::new();
        for task in sequencer.rollouts().into_iter().flat_map(|r| r.tasks) {
            if matches!(task.state, TaskState::Granted { .. }) {
                performing.entry(task.node).or_insert_with(|| match task.progress {
                    Some(progress) => format!("{}: {progress}", task.task),
                    None => format!("performs {}", task.task),
                });
            }
        }
        Self { performing, waits: sequencer.waits(now) }
    }

    fn of_node(&self, node: &NodeName) -> String {
        let refuses = |w: &&Wait| matches!(&w.reason, Reason::Refused { node: by, .. } if by == node);
        if let Some(refused) = self.waits.iter().find(refuses) {
            return refused.reason.to_string();
        }
        if let Some(performing) = self.performing.get(node) {
            return performing.clone();
        }
        let wait = self.waits.iter().find(|w| w.node.as_ref() == Some(node));
        wait.map(|w| w.reason.to_string()).unwrap_or_default()
    }
}

fn view(
    control: &Control,
    name: &NodeName,
    report: Option<&NodeReport>,
    activities: &Activities,
    now: ClockReading,
) -> NodeView {
    let state = control.state();
    let listed = state.roster.as_ref().and_then(|r| r.document().nodes.iter().find(|n| n.name == *name));
    let enrolment = state.enrolled.get(name).map(|e| e.enrolment.document());
    let token = enrolment.and_then(|e| state.tokens.get(&e.token));
    let verdicts = report.map(|r| r.verdicts.as_slice()).unwrap_or_default();
    let speaks = verdicts.first().filter(|v| v.level != Level::Ok);
    NodeView {
        name: name.clone(),
        status: match listed.map(|l| l.status) {
            Some(RosterStatus::Active) => NodeStatus::Active,
            Some(RosterStatus::Retired) => NodeStatus::Retired,
            None => NodeStatus::Pending,
        },
        role: listed.map(|l| l.role).or_else(|| token.map(|t| t.admission.document().role)),
        arch: listed.map(|l| l.arch).or_else(|| enrolment.map(|e| e.arch)),
        key: listed.map(|l| l.key.fingerprint()).or_else(|| enrolment.map(|e| e.key.fingerprint())),
        is_connected: control.is_connected(name),
        agent_version: report.map(|r| r.agent_version.clone()).unwrap_or_default(),
        boot_id: report.and_then(|r| r.boot_id.clone()),
        last_report: report.and_then(|r| r.received).map(|at| now.wall_of(at)),
        reading: control.node_readings().get(name).cloned(),
        health: worst(verdicts),
        health_reason: speaks.map(Verdict::sentence).unwrap_or_default(),
        facts: report.and_then(|r| r.reading.as_deref()).map(Summary::of).unwrap_or_default(),
        activity: activities.of_node(name),
        model: enrolment.map(|e| e.hardware.model.clone()).unwrap_or_default(),
    }
}
