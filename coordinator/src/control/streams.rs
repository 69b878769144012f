//! The streams of the nodes: what each was told, and what it must still be told.

use std::collections::BTreeSet;

use hostler_plan::{
    document::Signed,
    id::{BootId, Digest, Fingerprint, NodeName, TaskId},
    refusal::{Refusal, Refused},
    sequencer::{Observation, OpenGrant, RolloutState, RolloutView},
};
use hostler_proto::{
    MAX_MESSAGE_BYTES, status,
    v1::{self, Hello, ToAgent, to_agent::Message},
};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::{Desk, DeskError, at};
use crate::control::state::Membership;

/// Bytes of roots in one message: half of what a message may have, the rest is for the roster and the framing.
const TRUST_BYTES: usize = MAX_MESSAGE_BYTES / 2;

/// The coordinator's end of a node's stream.
#[derive(Debug)]
pub(super) struct Stream {
    number: u64,
    key: Fingerprint,
    boot_id: BootId,
    sender: mpsc::Sender<Result<ToAgent, Status>>,
    /// Dropped with the stream, which ends the task that reads from the node.
    _open: oneshot::Sender<()>,
    told: Told,
}

/// What the node at the other end knows.
#[derive(Debug, Default)]
struct Told {
    root: u64,
    roster: Option<Digest>,
    plans: BTreeSet<Digest>,
    grants: BTreeSet<u64>,
    stops: BTreeSet<Digest>,
    /// The plan and grant that the node said it was in the middle of.
    running: Option<(Digest, u64)>,
}

/// A stream that a node opened.
#[derive(Debug)]
pub struct Attaching {
    pub node: NodeName,
    pub key: Fingerprint,
    pub hello: Hello,
    pub sender: mpsc::Sender<Result<ToAgent, Status>>,
    pub open: oneshot::Sender<()>,
}

impl Desk {
    /// Takes a node's stream in the place of its last one, and tells it what it does not know. Gives the stream's
    /// number and the boot that the node is in.
    pub fn attach(&mut self, attaching: Attaching) -> Result<(u64, BootId), DeskError> {
        let Attaching { node, key, hello, sender, open } = attaching;
        let boot_id = BootId::new(hello.boot_id.as_str()).map_err(|e| DeskError::Invalid(e.to_string()))?;
        self.check_member(&node, &key)?;
        self.notice_old_image(&node, hello.receipt_counter);
        let running = hello.running.as_ref().and_then(|r| Some((r.plan.parse::<Digest>().ok()?, r)));
        let told = Told {
            root: hello.root_version,
            running: running.as_ref().map(|(plan, r)| (*plan, r.grant)),
            ..Told::default()
        };
        self.last_stream += 1;
        let number = self.last_stream;
        let welcome = v1::Welcome {
            report_interval_seconds: u32::try_from(self.place.report_interval.as_secs()).unwrap_or(u32::MAX),
        };
        let stream = Stream { number, key, boot_id: boot_id.clone(), sender, _open: open, told };
        self.streams.insert(node.clone(), stream);
        self.send(&node, Message::Welcome(welcome));
        self.observe(Observation::NodeConnected { node: node.clone(), boot_id: boot_id.clone() });
        if let Some((plan, r)) = running
            && let Ok(task) = TaskId::new(r.task.as_str())
        {
            self.observe(Observation::LeaseRenewed { plan, task, grant: r.grant, boot_id: boot_id.clone() });
        }
        Ok((number, boot_id))
    }

    /// A stream ended; a later one of the same node stays.
    pub fn detach(&mut self, node: &NodeName, number: u64) -> bool {
        let ours = self.streams.get(node).is_some_and(|s| s.number == number);
        if ours {
            self.streams.remove(node);
            self.observe(Observation::NodeDisconnected { node: node.clone() });
        }
        ours
    }

    /// Whether that key may hold that node's stream.
    fn check_member(&self, node: &NodeName, key: &Fingerprint) -> Result<(), Refused> {
        match self.state.membership(node, key) {
            Membership::Active | Membership::Pending => Ok(()),
            Membership::Retired => Err(Refused::new(
                Refusal::Revoked,
                format!("node {node} is retired; enrol it with a new key to bring it back"),
            )),
            Membership::Unknown => Err(Refused::new(
                Refusal::Revoked,
                format!(
                    "expected the key of node {node}, found {key}, which no longer belongs to it; enrol again with a join string"
                ),
            )),
        }
    }

    /// A node that signed fewer receipts than are here was set back to an older disk image, or its key lives twice.
    fn notice_old_image(&mut self, node: &NodeName, counter: u64) {
        let known = self.state.receipts.newest_counter(node);
        if counter < known {
            let reason = format!(
                "expected at least {known} signed receipts on {node}, found {counter}; an old image of its disk was restored, or two machines hold its key: re-enrol it under a new key"
            );
            self.alarm(&format!("node {node}"), &Refused::new(Refusal::Replay, reason));
        }
    }

    /// Tells every connected node what changed for it.
    pub(super) fn tell_all(&mut self) {
        let rollouts = self.state.sequencer.rollouts();
        let nodes: Vec<NodeName> = self.streams.keys().cloned().collect();
        for node in nodes {
            self.tell(&node, &rollouts);
        }
    }

    /// Tells one node everything that it should know and was not told on this stream.
    fn tell(&mut self, node: &NodeName, rollouts: &[RolloutView]) {
        let Some(key) = self.streams.get(node).map(|s| s.key.clone()) else { return };
        if let Err(refused) = self.check_member(node, &key) {
            return self.close(node, status::from_refused(&refused));
        }
        self.tell_trust(node);
        if self.state.membership(node, &key) == Membership::Active {
            self.tell_plans(node, rollouts);
            self.tell_grants(node, rollouts);
            self.tell_stops(node, rollouts);
        }
    }

    fn tell_trust(&mut self, node: &NodeName) {
        let Some(told) = self.streams.get(node).map(|s| &s.told) else { return };
        let newest = self.state.root().map_or(0, |r| r.root().version);
        let roster = self.state.roster.as_ref().map(|r| r.digest());
        if told.root >= newest && told.roster == roster {
            return;
        }
        let (roots, roster_document) = self.trust_chain(told.root);
        let mut parts = vec![Vec::new()];
        let mut bytes = 0;
        for root in roots {
            let size = size(&root);
            if bytes + size > TRUST_BYTES && bytes > 0 {
                parts.push(Vec::new());
                bytes = 0;
            }
            bytes += size;
            if let Some(part) = parts.last_mut() {
                part.push(root.into());
            }
        }
        let last = parts.len() - 1;
        for (i, roots) in parts.into_iter().enumerate() {
            let roster = roster_document.clone().filter(|_| i == last).map(Into::into);
            self.send(node, Message::Trust(v1::TrustChain { roots, roster }));
        }
        if let Some(stream) = self.streams.get_mut(node) {
            stream.told.root = newest.max(stream.told.root);
            stream.told.roster = roster;
        }
    }

    /// Plans in the order of their numbers, because a node refuses a lower one that no higher one keeps beside it.
    fn tell_plans(&mut self, node: &NodeName, rollouts: &[RolloutView]) {
        let Some(told) = self.streams.get(node).map(|s| &s.told.plans) else { return };
        let mut due: Vec<_> = rollouts
            .iter()
            .filter(|r| !r.state.is_over() && !told.contains(&r.plan))
            .filter_map(|r| self.state.plans.get(&r.plan))
            .filter(|p| p.document().target(node).is_some())
            .map(|p| ((p.document().epoch, p.document().seq), p.digest(), p.signed().clone()))
            .collect();
        due.sort_by_key(|(order, ..)| *order);
        for (_, digest, signed) in due {
            self.send(node, Message::Plan(signed.into()));
            if let Some(stream) = self.streams.get_mut(node) {
                stream.told.plans.insert(digest);
            }
        }
    }

    fn tell_grants(&mut self, node: &NodeName, rollouts: &[RolloutView]) {
        let Some(stream) = self.streams.get(node) else { return };
        let over = |plan: &Digest| rollouts.iter().any(|r| r.plan == *plan && r.state.is_over());
        let due: Vec<OpenGrant> = self
            .state
            .sequencer
            .open_grants(node)
            .into_iter()
            .filter(|g| !stream.told.grants.contains(&g.grant.number))
            // What was granted and not begun when a rollout ended is not begun any more.
            .filter(|g| !over(&g.plan) || stream.told.running == Some((g.plan, g.grant.number)))
            .collect();
        for OpenGrant { plan, task, grant } in due {
            let receipts = self.receipts_before(&plan, &task);
            let message = v1::Grant {
                plan: plan.to_string(),
                task: task.to_string(),
                grant: grant.number,
                lease_seconds: grant.lease_seconds,
                receipts,
            };
            self.send(node, Message::Grant(message));
            if let Some(stream) = self.streams.get_mut(node) {
                stream.told.grants.insert(grant.number);
            }
        }
    }

    /// The newest receipt of every task that a task comes after.
    fn receipts_before(&self, plan: &Digest, task: &TaskId) -> Vec<v1::SignedDocument> {
        let Some(document) = self.state.plans.get(plan).map(|p| p.document()) else { return Vec::new() };
        let after = document.task(task).into_iter().flat_map(|t| &t.after);
        after
            .filter_map(|before| self.state.receipts.of_task(plan, before).last())
            .map(|receipt| receipt.signed().clone().into())
            .collect()
    }

    fn tell_stops(&mut self, node: &NodeName, rollouts: &[RolloutView]) {
        let Some(told) = self.streams.get(node).map(|s| &s.told) else { return };
        let due: Vec<(Digest, String)> = rollouts
            .iter()
            .filter(|r| match r.state {
                RolloutState::Halted { .. } | RolloutState::Superseded { .. } => true,
                RolloutState::Running
                | RolloutState::Paused { .. }
                | RolloutState::Preempted { .. }
                | RolloutState::NeedsAttention { .. }
                | RolloutState::Finished => false,
            })
            .filter(|r| told.plans.contains(&r.plan) || told.running.is_some_and(|(plan, _)| plan == r.plan))
            .filter(|r| !told.stops.contains(&r.plan))
            .map(|r| (r.plan, r.state.to_string()))
            .collect();
        for (plan, reason) in due {
            self.send(node, Message::Stop(v1::Stop { plan: plan.to_string(), reason }));
            if let Some(stream) = self.streams.get_mut(node) {
                stream.told.stops.insert(plan);
            }
        }
    }

    /// Puts a message into a node's queue. A node that lets its queue fill up is cut off.
    pub(super) fn send(&mut self, node: &NodeName, message: Message) {
        let Some(stream) = self.streams.get(node) else { return };
        match stream.sender.try_send(Ok(ToAgent { message: Some(message) })) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                let reason = "expected the node to read its stream, found its queue full; connect again";
                self.close(node, Status::resource_exhausted(reason));
            }
            // The task that reads from the node notices too and detaches.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    fn close(&mut self, node: &NodeName, status: Status) {
        tracing::info!(node = %node, reason = status.message(), "stream closed");
        if let Some(stream) = self.streams.remove(node) {
            let _ = stream.sender.try_send(Err(status));
            self.observe(Observation::NodeDisconnected { node: node.clone() });
        }
    }

    /// Takes something that is only true right now into account, and lets the sequencer look again.
    pub(super) fn observe(&mut self, observation: Observation) {
        self.state.sequencer.observe(at(), observation);
        self.is_due = true;
        self.changed();
    }

    /// Takes a sign of life of a running task into account. It moves ends of leases and what is shown, and lets nothing
    /// begin: the sequencer need not look.
    pub(super) fn observe_task(&mut self, observation: Observation) {
        self.state.sequencer.observe(at(), observation);
        self.changed();
    }

    /// The boot of a node's present stream.
    pub(super) fn boot_of(&self, node: &NodeName) -> Option<BootId> {
        self.streams.get(node).map(|s| s.boot_id.clone())
    }
}

fn size(signed: &Signed) -> usize {
    signed.bytes.len() + signed.signatures.iter().map(String::len).sum::<usize>()
}
