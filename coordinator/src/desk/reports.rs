//! What nodes say about their work, and what is written of it.

use std::collections::BTreeMap;

use hostler_plan::{
    document::{DocumentKind, RosterStatus, Signed},
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

use super::{Desk, DeskError, at, document};
use crate::limits::SENTENCE_BYTES;

/// What a server read in its cluster's API.
#[derive(Debug, Clone)]
pub(super) struct ClusterReading {
    at: Timestamp,
    nodes: Vec<v1::NodeCondition>,
}

impl Desk {
    /// Takes a receipt of that node, durably, and acknowledges it. One that is here already is acknowledged again.
    pub fn receipt(&mut self, node: &NodeName, signed: &Signed) -> Result<(), DeskError> {
        let digest = signed.digest();
        if !self.state.receipts.contains(&digest) {
            self.take_receipt(node, signed)?;
        }
        self.send(node, Message::ReceiptAcknowledged(v1::ReceiptAcknowledged { digest: digest.to_string() }));
        Ok(())
    }

    fn take_receipt(&mut self, node: &NodeName, signed: &Signed) -> Result<(), DeskError> {
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
        self.commit(vec![document(DocumentKind::Receipt, signed)])?;
        self.progress.remove(&(receipt.plan, receipt.task.clone()));
        tracing::info!(
            node = %node, plan = %receipt.plan, task = %receipt.task, outcome = %receipt.outcome, receipt = %digest,
            "task ended"
        );
        Ok(())
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
