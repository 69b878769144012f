//! The streams of the nodes: what each was sent, and what it must still be told.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use hostler_plan::{
    document::{Plan, Receipt, Signed},
    entry::Entry,
    id::{BootId, Digest, Fingerprint, NodeName, TaskId},
    refusal::{Refusal, Refused},
    sequencer::{NodeEvent, OpenGrant, RolloutState},
    step::ClusterRole,
    timestamp::Timestamp,
    trust::Verified,
};

use super::{
    Closing, Control, ControlError, Effect, Proven, ToNode,
    effect::bytes_of,
    state::{Membership, State},
    twins::Boot,
};
use crate::limits::TRUST_BYTES;

/// Every node's open stream.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) by_node: BTreeMap<NodeName, Stream>,
    last: u64,
}

/// The coordinator's end of a node's stream.
#[derive(Debug)]
pub(super) struct Stream {
    number: u64,
    key: Fingerprint,
    pub(super) boot_id: BootId,
    sent: SentState,
}

/// What the node at the other end knows.
#[derive(Debug, Default)]
struct SentState {
    root: u64,
    roster: Option<Digest>,
    /// Those whose bytes it was sent on this stream.
    plans: BTreeSet<Digest>,
    grants: BTreeSet<u64>,
    /// The newest decision about it that it was sent on this stream.
    decision: Option<Digest>,
    /// Plans whose end it was told.
    stops: BTreeSet<Digest>,
    /// The plan and grant that the node said it was in the middle of.
    running: Option<(Digest, u64)>,
}

/// Which nodes may have to be told something: what changed since they were told tells whom to look at.
#[derive(Debug, Default)]
pub(super) struct Push {
    everybody: bool,
    nodes: BTreeSet<NodeName>,
}

impl Push {
    /// Notes a node that may have to be told something.
    pub(super) fn to(&mut self, node: &NodeName) {
        self.nodes.insert(node.clone());
    }

    /// Notes whom an entry may concern.
    pub(super) fn after(&mut self, entry: &Proven) {
        match entry {
            Proven::Root(_) | Proven::Enrolment(_) | Proven::Roster(_) | Proven::Plan(_) => self.everybody = true,
            // A decision may end a rollout.
            Proven::Signed(_) => self.everybody = true,
            Proven::Admission(_) | Proven::Receipt(_) | Proven::Holding(_) => {}
            Proven::Decision(Entry::Granted { node, .. }) => {
                self.nodes.insert(node.clone());
            }
            Proven::Decision(
                Entry::TokenRevoked { .. } | Entry::Halted { .. } | Entry::Finished { .. } | Entry::Document { .. },
            ) => self.everybody = true,
            Proven::Decision(
                Entry::LeaseExpired { .. }
                | Entry::LeaseReleased { .. }
                | Entry::Paused { .. }
                | Entry::Resumed { .. }
                | Entry::Recovered { .. }
                | Entry::Quarantined { .. }
                | Entry::QuarantineReleased { .. }
                | Entry::NodeRefused { .. }
                | Entry::Alarm { .. }
                | Entry::ClockSetBack { .. }
                | Entry::Restored { .. }
                | Entry::CaughtUp { .. },
            ) => {}
        }
    }
}

/// A stream that a node opens, with what the node says that it holds.
#[derive(Debug, Clone)]
pub(crate) struct Attach {
    pub node: NodeName,
    pub key: Fingerprint,
    pub boot_id: BootId,
    /// Where it comes from.
    pub address: IpAddr,
    pub root_version: u64,
    /// How many receipts it has signed.
    pub receipt_counter: u64,
    /// Those of them that it does not find any more.
    pub lost_receipts: Vec<Digest>,
    /// What it holds, signed by it.
    pub holding: Option<Signed>,
    pub running: Option<RunningTask>,
}

/// The task that a node is in the middle of.
#[derive(Debug, Clone)]
pub(crate) struct RunningTask {
    pub plan: Digest,
    /// None when it has no proper name.
    pub task: Option<TaskId>,
    pub grant: u64,
}

/// A stream that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attached {
    /// Which one of all since the start.
    pub stream: u64,
}

impl Control {
    /// Takes a node's stream in the place of its last one; what it does not know is told with the next
    /// [`schedule`](Self::schedule).
    pub(crate) fn attach(&mut self, now: Timestamp, attach: Attach) -> Result<Attached, ControlError> {
        let Attach { node, key, boot_id, address, root_version, receipt_counter, lost_receipts, holding, running } =
            attach;
        self.check_member(&node, &key)?;
        self.check_alone(now, &node, &key, Boot { id: boot_id.clone(), address, at: now })?;
        self.notice_old_image(now, &node, receipt_counter);
        if let Some(holding) = &holding
            && let Err(error) = self.holding(now, &node, holding)
        {
            tracing::warn!(node = %node, %error, "holding not taken");
        }
        let running_grant = running.as_ref().map(|r| (r.plan, r.grant));
        let sent = SentState { root: root_version, running: running_grant, ..SentState::default() };
        self.streams.last += 1;
        let number = self.streams.last;
        let stream = Stream { number, key, boot_id: boot_id.clone(), sent };
        if let Some(before) = self.streams.by_node.insert(node.clone(), stream) {
            self.effects.push(Effect::Close { stream: before.number, closing: Closing::Replaced });
        }
        let seconds = self.config.report_interval.as_secs();
        let report_interval_seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let own_receipts = self.state.receipts.for_their_node(&node, receipt_counter, &lost_receipts);
        let head = self.state.judge.head();
        self.send(&node, ToNode::Welcome { report_interval_seconds, own_receipts, head });
        self.push.to(&node);
        self.observe(now, NodeEvent::NodeConnected { node: node.clone(), boot_id: boot_id.clone() });
        if let Some(RunningTask { plan, task: Some(task), grant }) = running
            && self.holds_grant(&node, &plan, &task, grant).is_some()
        {
            self.observe(now, NodeEvent::LeaseRenewed { plan, task, grant, boot_id });
        }
        Ok(Attached { stream: number })
    }

    /// A stream ended; a later one of the same node stays. Says whether it was the node's present one.
    pub(crate) fn detach(&mut self, now: Timestamp, node: &NodeName, stream: u64) -> bool {
        let ours = self.streams.by_node.get(node).is_some_and(|s| s.number == stream);
        if ours {
            self.streams.by_node.remove(node);
            self.effects.push(Effect::Close { stream, closing: Closing::Detached });
            self.observe(now, NodeEvent::NodeDisconnected { node: node.clone() });
        }
        ours
    }

    /// Whether that key may hold that node's stream.
    pub(super) fn check_member(&self, node: &NodeName, key: &Fingerprint) -> Result<(), Refused> {
        match self.state.membership(node, key) {
            Membership::Active | Membership::Pending => Ok(()),
            Membership::Retired => Err(Refused::new(
                Refusal::Revoked,
                format!("node {node} is retired; enrol it with a new key to bring it back"),
            )),
            Membership::Unknown => Err(Refused::new(
                Refusal::Revoked,
                format!(
                    "expected the key of node {node}, found {key}, which no longer belongs to it; enrol again with a \
                        join string"
                ),
            )),
        }
    }

    /// Whether no other machine comes with that key; where one does, neither of the two holds its stream.
    fn check_alone(&mut self, now: Timestamp, node: &NodeName, key: &Fingerprint, boot: Boot) -> Result<(), Refused> {
        let open = self.streams.by_node.get(node).filter(|stream| stream.key == *key).map(|s| s.boot_id.clone());
        let Some(twin) = self.twins.came(node, key, boot, open.as_ref()) else { return Ok(()) };
        let reason = format!(
            "{}; switch the copy off and wait ten minutes, or `hostler node retire {node}` and enrol both anew \
                (docs/enrolment.md)",
            twin.reason()
        );
        let refused = Refused::new(Refusal::NotAllowed, reason);
        if let Some(stream) = self.streams.by_node.remove(node) {
            self.alarm(now, &format!("node {node}"), &refused);
            self.effects.push(Effect::Close { stream: stream.number, closing: Closing::Refused(refused.clone()) });
            self.observe(now, NodeEvent::NodeDisconnected { node: node.clone() });
        }
        Err(refused)
    }

    /// A node that signed fewer receipts than are here was set back to an older disk image, or its key lives twice.
    fn notice_old_image(&mut self, now: Timestamp, node: &NodeName, counter: u64) {
        let known = self.state.judge.last_receipt(node).map_or(0, |(number, _)| number);
        if counter < known {
            let reason = format!(
                "expected at least {known} signed receipts on {node}, found {counter}; an old image of its disk was \
                    restored, or two machines hold its key: re-enrol it under a new key"
            );
            self.alarm(now, &format!("node {node}"), &Refused::new(Refusal::Replay, reason));
        }
    }

    /// Tells every node for which something changed what it does not know.
    pub(super) fn push_due(&mut self, now: Timestamp) {
        let Push { everybody, nodes } = std::mem::take(&mut self.push);
        let nodes = match everybody {
            true => self.streams.by_node.keys().cloned().collect(),
            false => nodes,
        };
        for node in nodes {
            self.push(now, &node);
        }
    }

    /// Tells one node everything that it should know and was not told on this stream.
    fn push(&mut self, now: Timestamp, node: &NodeName) {
        let Some(stream) = self.streams.by_node.get(node) else { return };
        let (number, key) = (stream.number, stream.key.clone());
        if let Err(refused) = self.check_member(node, &key) {
            self.streams.by_node.remove(node);
            self.effects.push(Effect::Close { stream: number, closing: Closing::Refused(refused) });
            return self.observe(now, NodeEvent::NodeDisconnected { node: node.clone() });
        }
        self.push_trust(node);
        if self.state.membership(node, &key) == Membership::Active {
            self.push_plans(node);
            self.push_grants(node);
            self.push_stops(node);
            self.push_decisions(node);
        }
    }

    fn push_trust(&mut self, node: &NodeName) {
        let Some(sent) = self.streams.by_node.get(node).map(|s| &s.sent) else { return };
        let newest = self.state.root().map_or(0, |r| r.root().version);
        let roster = self.state.roster.as_ref().map(|r| r.digest());
        if sent.root >= newest && sent.roster == roster {
            return;
        }
        let (roots, roster_document) = self.trust_chain(sent.root);
        let mut parts = vec![Vec::new()];
        let mut bytes = 0;
        for root in roots {
            let size = bytes_of(&root);
            if bytes + size > TRUST_BYTES && bytes > 0 {
                parts.push(Vec::new());
                bytes = 0;
            }
            bytes += size;
            if let Some(part) = parts.last_mut() {
                part.push(root);
            }
        }
        let last = parts.len() - 1;
        for (i, roots) in parts.into_iter().enumerate() {
            let roster = roster_document.clone().filter(|_| i == last);
            self.send(node, ToNode::Trust { roots, roster });
        }
        if let Some(stream) = self.streams.by_node.get_mut(node) {
            stream.sent.root = newest.max(stream.sent.root);
            stream.sent.roster = roster;
        }
    }

    /// Every plan that decides what is void, to every node, target or not: those that are not over, and the newest of
    /// the epoch, also when it is over or a stop. In the order of their numbers, because a node refuses a lower one
    /// that no higher one keeps beside it. What a node proved to hold is not sent again.
    fn push_plans(&mut self, node: &NodeName) {
        let Some(stream) = self.streams.by_node.get_mut(node) else { return };
        let standing = self.state.standing_plans();
        stream.sent.plans.retain(|sent| standing.iter().any(|plan| plan.digest() == *sent));
        let known =
            |plan: &Verified<Plan>| stream.sent.plans.contains(&plan.digest()) || self.holdings.prove(node, plan);
        let due: Vec<_> = standing.into_iter().filter(|plan| !known(plan)).collect();
        due.into_iter().for_each(|plan| self.send_plan(node, plan));
    }

    fn send_plan(&mut self, node: &NodeName, plan: Arc<Verified<Plan>>) {
        let digest = plan.digest();
        self.send(node, ToNode::Plan(plan));
        if let Some(stream) = self.streams.by_node.get_mut(node) {
            stream.sent.plans.insert(digest);
        }
    }

    /// Sends a plan that the node was sent on this stream before, and then what is granted of it.
    pub(super) fn send_again(&mut self, node: &NodeName, plan: &Digest) {
        let grants = self.state.sequencer.open_grants(node).into_iter().filter(|g| g.plan == *plan);
        let grants: Vec<u64> = grants.map(|g| g.grant.number).collect();
        if let Some(stream) = self.streams.by_node.get_mut(node) {
            stream.sent.grants.retain(|grant| !grants.contains(grant));
        }
        if let Some(plan) = self.state.plans.get(plan).cloned() {
            self.send_plan(node, plan);
        }
        self.push.to(node);
    }

    fn push_grants(&mut self, node: &NodeName) {
        let Some(stream) = self.streams.by_node.get(node) else { return };
        let open = self.state.sequencer.open_grants(node);
        let due: Vec<OpenGrant> = open
            .into_iter()
            .filter(|g| !stream.sent.grants.contains(&g.grant.number))
            // What was granted and not begun when a rollout ended is not begun any more.
            .filter(|g| goes_on(&self.state, &g.plan) || stream.sent.running == Some((g.plan, g.grant.number)))
            .collect();
        for OpenGrant { plan, task, grant } in due {
            self.push_bytes(node, &plan);
            let receipts = self.receipts_before(&plan, &task);
            let (grant, lease_seconds, head) = (grant.number, grant.lease_seconds, self.state.judge.head());
            self.send(node, ToNode::Grant { plan, task, grant, lease_seconds, receipts, head });
            if let Some(stream) = self.streams.by_node.get_mut(node) {
                stream.sent.grants.insert(grant);
            }
        }
    }

    /// Sends a plan that is about to be granted, where it was not sent on this stream: a node may have proved that it
    /// knows of a plan without holding its bytes.
    fn push_bytes(&mut self, node: &NodeName, plan: &Digest) {
        let sent = self.streams.by_node.get(node).is_some_and(|s| s.sent.plans.contains(plan));
        // Of a plan that is void a node takes no bytes any more.
        if let Some(plan) = self.state.plans.get(plan).filter(|_| !sent && self.state.is_open(plan)).cloned() {
            self.send_plan(node, plan);
        }
    }

    /// The newest receipt of every task that a task comes after.
    fn receipts_before(&self, plan: &Digest, task: &TaskId) -> Vec<Arc<Verified<Receipt>>> {
        let Some(document) = self.state.plans.get(plan).map(|p| p.document()) else { return Vec::new() };
        let after = document.task(task).into_iter().flat_map(|t| &t.after);
        after.filter_map(|before| self.state.receipts.of_task(plan, before).last()).cloned().collect()
    }

    /// What people decided about a node, as far as it did not prove to know it: in the order of the numbers, because a
    /// node takes none that a later one overtook.
    fn push_decisions(&mut self, node: &NodeName) {
        let Some(decisions) = self.state.judge.decisions_about(node) else { return };
        let Some(stream) = self.streams.by_node.get(node) else { return };
        let newest = decisions.newest().map(|newest| newest.digest);
        let proved = self.holdings.decision_of(node, self.state.root().map(|root| root.root().epoch));
        if stream.sent.decision == newest || proved.map(|held| held.digest) == newest {
            return;
        }
        let due: Vec<Signed> = decisions.after(proved.map_or(0, |held| held.version)).cloned().collect();
        due.into_iter().for_each(|decision| self.send(node, ToNode::Decision(decision)));
        if let Some(stream) = self.streams.by_node.get_mut(node) {
            stream.sent.decision = newest;
        }
    }

    /// Tells at once, before anything signed arrives, who may be at work that it ended.
    fn push_stops(&mut self, node: &NodeName) {
        let Some(stream) = self.streams.by_node.get_mut(node) else { return };
        let (sent, state) = (&mut stream.sent, &self.state);
        sent.stops.retain(|plan| state.plans.contains_key(plan));
        // A server takes away what a plan that another one performed has left on nodes.
        let is_server = self.state.roster.as_ref().and_then(|roster| roster.document().active(node));
        let is_server = is_server.is_some_and(|node| node.role == ClusterRole::Server);
        let performs = |plan: &&Arc<Verified<Plan>>| {
            plan.document().target(node).is_some() || (is_server && plan.document().cordons().next().is_some())
        };
        let targeted = state.plans.values().filter(performs).map(|plan| plan.digest());
        let known = targeted.filter(|plan| sent.plans.contains(plan) || self.holdings.lists(node, plan));
        let over: BTreeSet<Digest> =
            known.chain(sent.running.map(|(plan, _)| plan)).filter(|plan| !goes_on(state, plan)).collect();
        for plan in over {
            match self.state.standing(&plan) {
                Some(state @ (RolloutState::Halted { .. } | RolloutState::Superseded { .. })) => {
                    let Some(stream) = self.streams.by_node.get_mut(node) else { return };
                    if stream.sent.stops.insert(plan) {
                        self.send(node, ToNode::Stop { plan, reason: state.to_string() });
                    }
                }
                Some(
                    RolloutState::Running
                    | RolloutState::Paused { .. }
                    | RolloutState::Preempted { .. }
                    | RolloutState::NeedsAttention { .. }
                    | RolloutState::Asks { .. }
                    | RolloutState::Finished,
                )
                | None => {}
            }
        }
    }

    /// Puts a message into a node's queue, if it holds a stream.
    pub(super) fn send(&mut self, node: &NodeName, message: ToNode) {
        if let Some(stream) = self.streams.by_node.get(node) {
            self.effects.push(Effect::Send { stream: stream.number, message });
        }
    }

    /// A node lets its queue fill up: its stream is cut off.
    pub(crate) fn queue_is_full(&mut self, now: Timestamp, stream: u64) {
        let slow = self.streams.by_node.iter().find(|(_, s)| s.number == stream).map(|(node, _)| node.clone());
        if let Some(node) = slow {
            self.detach(now, &node, stream);
        }
    }
}

/// Whether something of that plan may still begin by a grant: it is not over, or it has to finish what it left half
/// done.
fn goes_on(state: &State, plan: &Digest) -> bool {
    state.is_open(plan) || state.sequencer.has_to_finish(plan)
}
