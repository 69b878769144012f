//! What nodes say about their work, and what is written of it.

use std::{collections::BTreeMap, sync::mpsc};

use hostler_plan::{
    document::{DocumentKind, Receipt, RosterStatus, Signed},
    entry::Entry,
    health::{Level, Rule, Vitals},
    id::{Digest, NodeName, TaskId},
    refusal::{Refusal, Refused},
    sequencer::{Condition, Cordon, CordonOwner, Observation, Standing},
    step::ClusterRole,
    timestamp::Timestamp,
    trust,
};
use hostler_proto::v1::{self, to_agent::Message};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Desk, DeskError, Job, at, document};
use crate::limits::SENTENCE_BYTES;

/// Receipts of one append. A crowd of more is a fleet that reconnects, and others want to be heard in between.
const MAX_CROWD: usize = 64;

/// What a server read in its cluster's API.
#[derive(Debug, Clone)]
pub(super) struct ClusterReading {
    at: Timestamp,
    nodes: Vec<v1::NodeCondition>,
}

/// A receipt that a node handed in on its stream.
pub(super) struct HandedIn {
    pub node: NodeName,
    pub signed: Signed,
    pub reply: oneshot::Sender<Result<(), DeskError>>,
    pub _permit: OwnedSemaphorePermit,
}

impl HandedIn {
    fn answer(self, result: Result<(), DeskError>) {
        // Whoever asked may have gone; what was done stays done.
        let _ = self.reply.send(result);
    }
}

/// The receipts that lie on the desk one behind the other, and what lies behind them. At most one of each node, so that
/// every one can be judged by what is in the ledger already.
pub(super) fn crowd(first: HandedIn, inbox: &mpsc::Receiver<Job>) -> (Vec<HandedIn>, Option<Job>) {
    let mut receipts = vec![first];
    while receipts.len() < MAX_CROWD {
        match inbox.try_recv() {
            Ok(Job::Receipt(next)) if receipts.iter().all(|r| r.node != next.node) => receipts.push(next),
            Ok(other) => return (receipts, Some(other)),
            Err(_) => break,
        }
    }
    (receipts, None)
}

impl Desk {
    /// Takes receipts, all of those that count in one durable append, and acknowledges them after it; when it fails none
    /// is. One that is here already is acknowledged again.
    pub(super) fn receipts(&mut self, handed_in: Vec<HandedIn>) {
        let (mut entries, mut taken) = (Vec::new(), Vec::new());
        for handed_in in handed_in {
            let digest = handed_in.signed.digest();
            if self.state.receipts.contains(&digest) {
                self.acknowledge(handed_in, digest);
                continue;
            }
            match self.judge_receipt(&handed_in.node, &handed_in.signed) {
                Ok(receipt) => {
                    entries.push(document(DocumentKind::Receipt, &handed_in.signed));
                    taken.push((handed_in, receipt, digest));
                }
                Err(error) => handed_in.answer(Err(error)),
            }
        }
        if entries.is_empty() {
            return;
        }
        let committed = self.commit(entries);
        for (handed_in, receipt, digest) in taken {
            if let Err(error) = &committed {
                handed_in.answer(Err(error.clone().into()));
                continue;
            }
            self.progress.remove(&(receipt.plan, receipt.task.clone()));
            tracing::info!(
                node = %receipt.node, plan = %receipt.plan, task = %receipt.task, outcome = %receipt.outcome,
                receipt = %digest, "task ended"
            );
            self.acknowledge(handed_in, digest);
        }
        if committed.is_ok() {
            self.endings.send_modify(|count| *count += 1);
        }
    }

    fn acknowledge(&mut self, handed_in: HandedIn, digest: Digest) {
        let message = v1::ReceiptAcknowledged { digest: digest.to_string() };
        self.send(&handed_in.node, Message::ReceiptAcknowledged(message));
        handed_in.answer(Ok(()));
    }

    /// Whether a receipt counts, beside those that are in the ledger.
    fn judge_receipt(&mut self, node: &NodeName, signed: &Signed) -> Result<Receipt, DeskError> {
        let receipt = trust::receipt(self.state.require_roster()?, signed)?;
        let (receipt, digest) = (receipt.document().clone(), receipt.digest());
        if receipt.node != *node {
            let reason = format!(
                "expected a receipt of {node}, found one of {} on its stream; a node hands in only its own",
                receipt.node
            );
            let refused = Refused::new(Refusal::NotAllowed, reason);
            self.alarm(&format!("node {node}"), &refused);
            return Err(refused.into());
        }
        if let Some(other) = self.state.receipts.numbered(node, receipt.counter) {
            let reason = format!(
                "expected receipt {} of {node} to be {other}, found {digest} under the same number; two machines hold the key of {node}: quarantine both",
                receipt.counter
            );
            let refused = Refused::new(Refusal::Replay, reason);
            self.alarm(&format!("node {node}"), &refused);
            return Err(refused.into());
        }
        let known = self.state.receipts.newest_counter(node);
        if receipt.counter != known + 1 {
            // The ledger was restored from a backup, or receipts come late: each is good by itself.
            tracing::warn!(node = %node, expected = known + 1, found = receipt.counter, "receipt out of order");
        }
        Ok(receipt)
    }

    /// Renews a lease, if the node still holds it.
    pub fn renew_lease(&mut self, node: &NodeName, renewal: &v1::LeaseRenewal) {
        let (Ok(plan), Ok(task), Some(boot_id)) =
            (renewal.plan.parse::<Digest>(), TaskId::new(renewal.task.as_str()), self.boot_of(node))
        else {
            return;
        };
        let held = self.state.sequencer.open_grants(node).into_iter().find(|g| g.grant.number == renewal.grant);
        let Some(held) = held.filter(|g| g.plan == plan && g.task == task) else { return };
        self.observe_task(Observation::LeaseRenewed { plan, task, grant: renewal.grant, boot_id });
        let renewed = v1::LeaseRenewed { grant: renewal.grant, lease_seconds: held.grant.lease_seconds };
        self.send(node, Message::LeaseRenewed(renewed));
    }

    /// Remembers what a task is doing. Only the node that holds its grant is believed.
    pub fn progress(&mut self, node: &NodeName, progress: &v1::Progress) {
        let (Ok(plan), Ok(task)) = (progress.plan.parse::<Digest>(), TaskId::new(progress.task.as_str())) else {
            return;
        };
        if !self.state.sequencer.open_grants(node).iter().any(|g| g.plan == plan && g.task == task) {
            return;
        }
        let sentence = cut(&progress.sentence);
        self.progress.insert((plan, task.clone()), (progress.step, progress.steps));
        self.observe_task(Observation::Progress { plan, task, sentence });
    }

    /// Writes down that a node refused something. A node that refuses without end is written down now and then.
    pub fn refusal(&mut self, node: &NodeName, report: &v1::RefusalReport) -> Result<(), DeskError> {
        let refusal = Refusal::ALL.into_iter().find(|r| r.word() == report.refusal).ok_or_else(|| {
            DeskError::Invalid(format!(
                "expected the word of a refusal, found {:?}; update the coordinator",
                cut(&report.refusal)
            ))
        })?;
        let reason = cut(&report.reason);
        tracing::warn!(node = %node, refusal = refusal.word(), reason, document = report.document, "node refused");
        *self.refusals_seen.entry((node.clone(), refusal)).or_default() += 1;
        if !self.refusals.take(node.clone(), at()) {
            return Ok(());
        }
        let document = report.document.parse().ok();
        self.commit(vec![Entry::NodeRefused { node: node.clone(), document, refusal, reason }])?;
        Ok(())
    }

    /// Takes what a server reads about the nodes of its cluster. A server without a cluster says so with an empty list.
    pub fn conditions(&mut self, server: &NodeName, conditions: v1::NodeConditions) -> Result<(), DeskError> {
        let role = self.state.roster.as_ref().and_then(|r| r.document().active(server)).map(|n| n.role);
        if role != Some(ClusterRole::Server) {
            let reason = format!(
                "expected the conditions of nodes from a server, found them from {server}; its role in the roster is another"
            );
            return Err(Refused::new(Refusal::NotAllowed, reason).into());
        }
        self.cluster.insert(server.clone(), ClusterReading { at: at(), nodes: conditions.nodes });
        self.look_at_conditions();
        Ok(())
    }

    /// A node reported its facts. Every report counts for the sequencer, because silence does; it has to look again only
    /// when a verdict changed or when it waits for this node's reports.
    pub fn health(&mut self, node: NodeName, vitals: Vitals) {
        let before = self.standings(&node);
        self.state.sequencer.observe(at(), Observation::NodeHealth { node: node.clone(), vitals });
        let after = self.standings(&node);
        if before != after {
            let worst = after.first().map(|(rule, subject, level)| format!("{rule} {subject} is {level}"));
            tracing::info!(node = %node, worst, others = after.len().saturating_sub(1), "health changed");
        }
        if before != after || self.state.sequencer.awaits_reports(&node) {
            self.is_due = true;
            self.changed();
        }
    }

    /// Every rule of a node that is not ok, the worst first.
    fn standings(&self, node: &NodeName) -> Vec<(Rule, String, Level)> {
        let verdicts = self.state.sequencer.verdicts(node, at());
        verdicts.into_iter().map(|v| (v.rule, v.subject, v.level)).collect()
    }

    /// Tells the sequencer how every node of the roster stands, by the newest reading that names it.
    pub(super) fn look_at_conditions(&mut self) {
        let (now, fresh_for) = (at(), self.place.conditions_fresh_for);
        let mut newest: BTreeMap<&str, (Timestamp, &v1::NodeCondition)> = BTreeMap::new();
        for reading in self.cluster.values() {
            for node in &reading.nodes {
                let known = newest.entry(&node.node).or_insert((reading.at, node));
                if known.0 < reading.at {
                    *known = (reading.at, node);
                }
            }
        }
        let anybody = self.cluster.values().any(|r| now.since(r.at) < fresh_for);
        let roster = self.state.roster.as_ref().map(|r| r.document());
        let nodes = roster.into_iter().flat_map(|r| &r.nodes).filter(|n| n.status == RosterStatus::Active);
        let mut observations = Vec::new();
        let mut shown = BTreeMap::new();
        for node in nodes {
            let condition = match newest.get(node.name.as_str()) {
                Some((at, said)) if now.since(*at) < fresh_for => {
                    shown.insert(node.name.clone(), (*said).clone());
                    condition(said)
                }
                None if anybody => Condition { standing: Standing::Outside, ..Condition::UNKNOWN },
                Some(_) | None => Condition::UNKNOWN,
            };
            observations.push(Observation::NodeCondition { node: node.name.clone(), condition });
        }
        self.shown_conditions = shown;
        // The readings age by themselves; look again when the oldest that counts stops to count.
        self.conditions_age_at =
            self.cluster.values().filter(|r| now.since(r.at) < fresh_for).map(|r| r.at.plus(fresh_for)).min();
        for observation in observations {
            self.observe(observation);
        }
    }
}

fn condition(said: &v1::NodeCondition) -> Condition {
    let owner = || match said.cordoned_by.as_str() {
        "hostler" => CordonOwner::Hostler,
        "" => CordonOwner::Other("somebody".to_owned()),
        other => CordonOwner::Other(cut(other)),
    };
    Condition {
        standing: if said.ready { Standing::Ready } else { Standing::NotReady },
        cordon: said.unschedulable.then(|| Cordon { owner: owner(), reason: None }),
        version: said.version.parse().ok(),
    }
}

/// At most [`SENTENCE_BYTES`] of a text, cut between characters.
fn cut(text: &str) -> String {
    let mut end = text.len().min(SENTENCE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn a_crowd_is_the_receipts_in_front_one_of_each_node() {
        let permits = Arc::new(Semaphore::new(99));
        let receipt = |node: &str| HandedIn {
            node: NodeName::new(node).unwrap(),
            signed: Signed { bytes: Vec::new(), signatures: Vec::new() },
            reply: oneshot::channel().0,
            _permit: permits.clone().try_acquire_owned().unwrap(),
        };
        let (desk, inbox) = mpsc::channel();
        for node in ["b", "c", "b", "d"] {
            desk.send(Job::Receipt(receipt(node))).unwrap();
        }
        desk.send(Job::Work(Box::new(|_| {}))).unwrap();
        desk.send(Job::Receipt(receipt("e"))).unwrap();
        let mut crowds = Vec::new();
        let mut next = Some(Job::Receipt(receipt("a")));
        while let Some(job) = next.take().or_else(|| inbox.try_recv().ok()) {
            let Job::Receipt(first) = job else {
                crowds.push("work".to_owned());
                continue;
            };
            let (receipts, behind) = crowd(first, &inbox);
            crowds.push(receipts.iter().map(|r| r.node.as_str()).collect());
            next = behind;
        }
        assert_eq!(crowds, ["abc", "bd", "work", "e"], "in their order, and nothing is lost");
    }

    #[test]
    fn a_crowd_ends_somewhere() {
        let permits = Arc::new(Semaphore::new(MAX_CROWD + 9));
        let receipt = |n: usize| HandedIn {
            node: NodeName::new(format!("n{n}")).unwrap(),
            signed: Signed { bytes: Vec::new(), signatures: Vec::new() },
            reply: oneshot::channel().0,
            _permit: permits.clone().try_acquire_owned().unwrap(),
        };
        let (desk, inbox) = mpsc::channel();
        for n in 1..MAX_CROWD + 9 {
            desk.send(Job::Receipt(receipt(n))).unwrap();
        }
        let (receipts, behind) = crowd(receipt(0), &inbox);
        assert_eq!((receipts.len(), behind.is_none()), (MAX_CROWD, true));
    }
}
