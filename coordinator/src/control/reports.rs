//! What nodes say about their work: renewals, progress, refusals and health.

use hostler_plan::{
    document::Holds,
    entry::Entry,
    health::{Level, Rule, Vitals},
    id::{Digest, NodeName, TaskId},
    refusal::Refusal,
    sequencer::{NodeEvent, OpenGrant},
    text::clean_to,
    timestamp::Timestamp,
};

use super::{AppendError, Control, Proven, ToNode};
use crate::limits::SENTENCE_BYTES;

/// A node asks to keep the lease of a task that it performs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Renewal {
    pub plan: Digest,
    pub task: TaskId,
    pub grant: u64,
}

/// What a task is doing right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    pub plan: Digest,
    pub task: TaskId,
    /// Which step, from 0, of how many.
    pub step: u32,
    pub steps: u32,
    pub sentence: String,
}

impl Control {
    /// Renews a lease, if the node still holds it.
    pub(crate) fn renew_lease(&mut self, now: Timestamp, node: &NodeName, renewal: Renewal) {
        let Renewal { plan, task, grant } = renewal;
        let Some(boot_id) = self.boot_of(node) else { return };
        let Some(held) = self.holds_grant(node, &plan, &task, grant) else { return };
        self.observe_task(now, NodeEvent::LeaseRenewed { plan, task, grant, boot_id });
        self.send(node, ToNode::LeaseRenewed { grant, lease_seconds: held.grant.lease_seconds });
    }

    /// That grant, if it is open and the node's own: what a node says of the work of others counts for nothing.
    pub(super) fn holds_grant(&self, node: &NodeName, plan: &Digest, task: &TaskId, grant: u64) -> Option<OpenGrant> {
        let held = self.state.sequencer.open_grants(node).into_iter().find(|g| g.grant.number == grant);
        held.filter(|g| g.plan == *plan && g.task == *task)
    }

    /// Remembers what a task is doing. Only the node that holds its grant is believed.
    pub(crate) fn progress(&mut self, now: Timestamp, node: &NodeName, progress: Progress) {
        let Progress { plan, task, step, steps, sentence } = progress;
        if !self.state.sequencer.open_grants(node).iter().any(|g| g.plan == plan && g.task == task) {
            return;
        }
        let sentence = clean_to(&sentence, SENTENCE_BYTES).into_owned();
        self.progress.insert((plan, task.clone()), (step, steps));
        self.observe_task(now, NodeEvent::Progress { plan, task, sentence });
    }

    /// Writes down that a node refused something. A node that refuses without end is written down now and then.
    pub(crate) fn refusal(
        &mut self,
        now: Timestamp,
        node: &NodeName,
        refusal: Refusal,
        reason: &str,
        document: Option<Digest>,
    ) -> Result<(), AppendError> {
        let reason = clean_to(reason, SENTENCE_BYTES).into_owned();
        let about = document.map(|d| d.to_string());
        *self.refusals_seen.entry((node.clone(), refusal)).or_default() += 1;
        if let Some((document, what)) = document.and_then(|document| Some((document, self.newest_trust(&document)?))) {
            self.trust_refused(now, node, document, format!("it refused {what}: {reason} ({refusal})"));
        }
        if let Some(plan) = document.filter(|plan| self.state.is_open(plan)) {
            // A plan that was made with a root or a roster that the node refused is refused because of that.
            let follows = matches!(refusal, Refusal::RootChain | Refusal::DigestMismatch);
            let of_trust = self.trust_refused.get(node).filter(|_| follows);
            let of_trust = of_trust.filter(|(document, _)| self.newest_trust(document).is_some());
            let why = of_trust.map_or_else(|| format!("{reason} ({refusal})"), |(_, why)| why.clone());
            self.observe(now, NodeEvent::PlanRefused { node: node.clone(), plan, reason: why });
            let lease = self.state.plans.get(&plan).map_or(0, |plan| plan.document().strategy.lease_seconds);
            self.offers.refused(now, node, plan, lease);
        }
        if !self.refusals.take(node.clone(), now) {
            tracing::debug!(node = %node, refusal = refusal.word(), reason, document = about, "node refused");
            return Ok(());
        }
        tracing::warn!(node = %node, refusal = refusal.word(), reason, document = about, "node refused");
        let entry = Entry::NodeRefused { node: node.clone(), document, refusal, reason };
        self.commit(now, vec![Proven::Decision(entry)])
    }

    /// Such as `root 3`, where that is the newest root or roster.
    fn newest_trust(&self, document: &Digest) -> Option<String> {
        let root = self.state.root().filter(|root| root.digest() == *document);
        let roster = self.state.roster.as_ref().filter(|roster| roster.digest() == *document);
        root.map(|root| format!("root {}", root.root().version))
            .or(roster.map(|roster| format!("roster {}", roster.document().version)))
    }

    /// A node stays behind the newest root or roster: whatever it has not begun waits for that.
    fn trust_refused(&mut self, now: Timestamp, node: &NodeName, document: Digest, why: String) {
        self.trust_refused.insert(node.clone(), (document, why.clone()));
        // Of a task that it is at all the same its next word tells.
        for plan in self.state.open_plans().map(|plan| plan.digest()).collect::<Vec<_>>() {
            self.observe(now, NodeEvent::PlanRefused { node: node.clone(), plan, reason: why.clone() });
        }
    }

    /// A node signed what it holds: where it took what it had refused, that is no reason any more.
    pub(super) fn trust_taken(&mut self, now: Timestamp, node: &NodeName, holds: &Holds) {
        let held = [Some(holds.root.digest), holds.roster.map(|roster| roster.digest)];
        if self.trust_refused.get(node).is_none_or(|(document, _)| !held.contains(&Some(*document))) {
            return;
        }
        self.trust_refused.remove(node);
        for plan in self.state.open_plans().map(|plan| plan.digest()).collect::<Vec<_>>() {
            self.observe(now, NodeEvent::PlanOffered { node: node.clone(), plan });
        }
    }

    /// A node reported its facts. Every report counts for the sequencer, because silence does; it has to look again
    /// only when a verdict changed or when it waits for this node's reports.
    pub(crate) fn health(&mut self, now: Timestamp, node: NodeName, vitals: Vitals) {
        let before = self.standings(now, &node);
        self.state.sequencer.observe(now, NodeEvent::NodeHealth { node: node.clone(), vitals });
        let after = self.standings(now, &node);
        if before != after {
            let worst = after.first().map(|(rule, subject, level)| format!("{rule} {subject} is {level}"));
            tracing::info!(node = %node, worst, others = after.len().saturating_sub(1), "health changed");
        }
        if before != after || self.state.sequencer.awaits_reports(&node) {
            self.is_due = true;
            self.changes += 1;
        }
    }

    /// Every rule of a node that is not ok, the worst first.
    fn standings(&self, now: Timestamp, node: &NodeName) -> Vec<(Rule, String, Level)> {
        let verdicts = self.state.sequencer.verdicts(node, now);
        verdicts.into_iter().map(|v| (v.rule, v.subject, v.level)).collect()
    }
}
