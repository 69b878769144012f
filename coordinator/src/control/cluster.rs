//! What servers read of their cluster, and how every node stands by it.

use std::{collections::BTreeMap, time::Duration};

use hostler_plan::{
    document::{Enrolment, RosterStatus},
    id::{Digest, NodeName},
    planner::Inventory,
    refusal::{Refusal, Refused},
    sequencer::{ClusterNode, Cordon, CordonOwner, NodeEvent, Standing},
    step::ClusterRole,
    timestamp::Timestamp,
    trust::Verified,
};

use super::{Control, ControlError, ToNode, ViewQuestion, doubles::is_machine_id, state::State};

/// The readings of all servers.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    readings: BTreeMap<NodeName, ClusterReading>,
    /// Of every node of the roster, the newest reading that names it and still counts.
    pub(super) shown: BTreeMap<NodeName, NodeReading>,
    /// When the first of the readings that count stops to count.
    pub(super) ages_at: Option<Timestamp>,
}

impl Cluster {
    /// The clock stepped by so many milliseconds: what was read is as old as it was.
    pub(super) fn clock_stepped(&mut self, by_ms: i64) {
        let readings = self.readings.values_mut().map(|reading| &mut reading.at);
        readings.chain(&mut self.ages_at).for_each(|at| *at = at.stepped(by_ms));
    }
}

/// What a server read in its cluster's API.
#[derive(Debug)]
struct ClusterReading {
    at: Timestamp,
    nodes: BTreeMap<NodeName, NodeReading>,
}

/// A node as a server reads it in its cluster's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeReading {
    pub is_ready: bool,
    /// Who made it unschedulable; none when it takes pods.
    pub cordoned_by: Option<CordonOwner>,
    /// As the cluster writes it.
    pub version: String,
    /// Of the machine that it runs on; empty where its kubelet said none.
    pub machine_id: String,
}

/// The newest reading of a node, and when it was made.
type Newest<'r> = (Timestamp, &'r NodeReading);
/// Of every Node object its newest reading.
type Read<'r> = BTreeMap<&'r NodeName, Newest<'r>>;

impl Control {
    /// The connected servers of the roster, those first that none of `nodes` is: what is about to be drained may be
    /// slow.
    pub(crate) fn servers(&self, nodes: &[NodeName]) -> Vec<NodeName> {
        let roster = self.state.roster.iter().flat_map(|roster| &roster.document().nodes);
        let active = roster.filter(|n| n.status == RosterStatus::Active && n.role == ClusterRole::Server);
        let connected = active.map(|n| n.name.clone()).filter(|name| self.is_connected(name));
        let (about, others): (Vec<_>, Vec<_>) = connected.partition(|name| nodes.contains(name));
        others.into_iter().chain(about).collect()
    }

    /// Passes a question on to a server, if it holds a stream.
    pub(crate) fn ask_view(&mut self, server: &NodeName, question: ViewQuestion) {
        self.send(server, ToNode::View(question));
    }

    /// Takes what a server reads about the nodes of its cluster, last proved by its API server so long ago. A server
    /// without a cluster says so with none.
    pub(crate) fn cluster_read(
        &mut self,
        now: Timestamp,
        server: &NodeName,
        nodes: BTreeMap<NodeName, NodeReading>,
        age: Duration,
    ) -> Result<(), ControlError> {
        // Who is in no roster yet tells this once; it counts from the roster that makes it a server.
        if self.role(server).is_some_and(|role| role != ClusterRole::Server) {
            let reason = format!(
                "expected the conditions of nodes from a server, found them from {server}; its role in the roster is \
                    another"
            );
            return Err(Refused::new(Refusal::NotAllowed, reason).into());
        }
        self.cluster.readings.insert(server.clone(), ClusterReading { at: now.minus(age), nodes });
        self.look_at_cluster(now);
        Ok(())
    }

    /// The fleet as plans are made of it. Whose name in the cluster is another is shown with its enrolment.
    pub(crate) fn inventory(&self, now: Timestamp) -> Inventory {
        let mut inventory = Inventory::of(&self.state.sequencer, now);
        if inventory.nodes.values().any(|node| node.condition.other_names.len() == 1) {
            for (name, enrolment) in enrolments(&self.state) {
                if let Some(node) = inventory.nodes.get_mut(name).filter(|node| node.condition.other_names.len() == 1) {
                    node.enrolment.clone_from(&enrolment.signed().bytes);
                }
            }
        }
        inventory
    }

    fn role(&self, node: &NodeName) -> Option<ClusterRole> {
        self.state.roster.as_ref().and_then(|r| r.document().active(node)).map(|n| n.role)
    }

    /// What that server read last still is so, as its API server proved so long ago.
    pub(crate) fn cluster_is_as_read(&mut self, now: Timestamp, server: &NodeName, age: Duration) {
        if let Some(reading) = self.cluster.readings.get_mut(server) {
            reading.at = now.minus(age).max(reading.at);
            self.look_at_cluster(now);
        }
    }

    /// Tells the sequencer how every node of the roster stands, by the newest reading that names it.
    pub(super) fn look_at_cluster(&mut self, now: Timestamp) {
        let fresh_for = self.config.conditions_fresh_for;
        let mut newest: Read<'_> = BTreeMap::new();
        let counts = |server: &NodeName| self.role(server) == Some(ClusterRole::Server);
        let readings = || self.cluster.readings.iter().filter(|(server, _)| counts(server)).map(|(_, reading)| reading);
        for reading in readings() {
            for (name, node) in &reading.nodes {
                let known = newest.entry(name).or_insert((reading.at, node));
                if known.0 < reading.at {
                    *known = (reading.at, node);
                }
            }
        }
        let is_fresh = |at: Timestamp| now.since(at) < fresh_for;
        let anybody = readings().any(|r| is_fresh(r.at));
        let roster = self.state.roster.as_ref().map(|r| r.document());
        let nodes = roster.into_iter().flat_map(|r| &r.nodes).filter(|n| n.status == RosterStatus::Active);
        let machines = Machines::of(&self.state);
        let mut events = Vec::new();
        let mut shown = BTreeMap::new();
        for node in nodes {
            if node.role == ClusterRole::Host {
                let condition = ClusterNode { standing: Standing::Outside, ..ClusterNode::UNKNOWN };
                events.push(NodeEvent::NodeCondition { node: node.name.clone(), condition });
                continue;
            }
            let condition = match machines.object(&node.name, &newest) {
                Object::One(name, (at, reading)) if is_fresh(*at) => {
                    shown.insert(node.name.clone(), (*reading).clone());
                    let other_names = Some(name).filter(|name| **name != node.name).cloned().into_iter().collect();
                    ClusterNode { other_names, ..condition(reading) }
                }
                Object::Several(other_names) if anybody => ClusterNode { other_names, ..ClusterNode::UNKNOWN },
                Object::None if anybody => ClusterNode { standing: Standing::Outside, ..ClusterNode::UNKNOWN },
                Object::One(..) | Object::Several(_) | Object::None => ClusterNode::UNKNOWN,
            };
            events.push(NodeEvent::NodeCondition { node: node.name.clone(), condition });
        }
        // The readings age by themselves; look again when the oldest that counts stops to count.
        self.cluster.ages_at = readings().filter(|r| is_fresh(r.at)).map(|r| r.at.plus(fresh_for)).min();
        self.cluster.shown = shown;
        for event in events {
            self.observe(now, event);
        }
    }
}

fn condition(reading: &NodeReading) -> ClusterNode {
    ClusterNode {
        standing: if reading.is_ready { Standing::Ready } else { Standing::NotReady },
        cordon: reading.cordoned_by.clone().map(|owner| Cordon { owner, reason: None }),
        version: reading.version.parse().ok(),
        other_names: Vec::new(),
    }
}

/// The Node object of a node.
enum Object<'a> {
    None,
    One(&'a NodeName, &'a Newest<'a>),
    /// Any of these, which is not known.
    Several(Vec<NodeName>),
}

/// Which machine enrolled as which active node of the roster.
struct Machines<'s> {
    of: BTreeMap<&'s NodeName, &'s str>,
    /// How many nodes have that id: a copied disk's is that of several.
    nodes: BTreeMap<&'s str, usize>,
}

impl<'s> Machines<'s> {
    fn of(state: &'s State) -> Self {
        let ids = enrolments(state).map(|(name, enrolment)| (name, enrolment.document().hardware.machine_id.as_str()));
        let mut machines = Self { of: ids.filter(|(_, id)| is_machine_id(id)).collect(), nodes: BTreeMap::new() };
        machines.of.values().for_each(|id| *machines.nodes.entry(id).or_default() += 1);
        machines
    }

    /// The Node object of that name, and where there is none or it is on another machine, the one on the machine that
    /// enrolled as that node. Names are compared whole.
    fn object<'a>(&self, node: &NodeName, read: &'a Read<'a>) -> Object<'a> {
        let own = || read.get_key_value(node).map_or(Object::None, |(name, newest)| Object::One(name, newest));
        let Some(id) = self.of.get(node) else { return own() };
        let is_on_it = |(_, reading): &Newest<'_>| reading.machine_id == **id || !is_machine_id(&reading.machine_id);
        if read.get(node).is_some_and(is_on_it) {
            return own();
        }
        // What has the name of another node with that id is that one's.
        let here = read.iter().filter(|(_, (_, reading))| reading.machine_id == **id);
        let here: Vec<_> = here.filter(|(name, _)| self.of.get(**name) != Some(id)).collect();
        match here.as_slice() {
            [] => own(),
            [(name, newest)] if self.nodes.get(id) == Some(&1) => Object::One(name, newest),
            several => Object::Several(several.iter().map(|(name, _)| (**name).clone()).collect()),
        }
    }
}

/// The enrolments by which the active nodes of the roster came in, under whichever name they came.
fn enrolments(state: &State) -> impl Iterator<Item = (&NodeName, &Verified<Enrolment>)> {
    let by_digest: BTreeMap<Digest, _> =
        state.enrolled.values().map(|e| (e.enrolment.digest(), &e.enrolment)).collect();
    let roster = state.roster.iter().flat_map(|roster| &roster.document().nodes);
    let active = roster.filter(|node| node.status == RosterStatus::Active);
    active.filter_map(move |node| Some((&node.name, *by_digest.get(&node.enrolled.enrolment)?)))
}
