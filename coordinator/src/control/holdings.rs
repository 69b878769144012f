//! What nodes signed last about what they hold: it proves what was delivered, and shows a fork.

use std::collections::BTreeMap;

use hostler_plan::{
    document::{DocumentRef, Holding, Plan, PlanRef, RosterStatus, Signed},
    entry::Entry,
    id::{Digest, Epoch, NodeName, Seq},
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, Verified},
    turns::turns,
};

use super::{Control, ControlError, Effect, Proven, chain::Stranger, effect::bytes_of};
use crate::{
    limits::{COUNTED_ADDRESSES, FORK_BYTES, HOLDING_BURST, MILLISECONDS_PER_HOLDING},
    rate::RateLimit,
};

/// The newest of every node. Nothing rests on it that the node would not sign again.
#[derive(Debug)]
pub(super) struct Holdings {
    newest: BTreeMap<NodeName, Verified<Holding>>,
    limit: RateLimit<NodeName>,
}

impl Holdings {
    pub(super) fn new() -> Self {
        let limit = RateLimit::new(HOLDING_BURST, MILLISECONDS_PER_HOLDING, COUNTED_ADDRESSES);
        Self { newest: BTreeMap::new(), limit }
    }

    /// Whether a node proved that this plan need not be sent to it: it knows it, or a newer one that made it void.
    pub(super) fn prove(&self, node: &NodeName, plan: &Verified<Plan>) -> bool {
        let Some(holding) = self.newest.get(node).map(Verified::document) else { return false };
        let (document, this) = (plan.document(), PlanRef { seq: plan.document().seq, digest: plan.digest() });
        if holding.holds.epoch != document.epoch {
            return holding.holds.epoch > document.epoch;
        }
        holding.open.contains(&this) || holding.holds.plan.is_some_and(|newest| newest == this || newest.seq > this.seq)
    }
}

impl Holdings {
    /// Whether a node said last that this plan is not void on it.
    pub(super) fn lists(&self, node: &NodeName, plan: &Digest) -> bool {
        self.newest.get(node).is_some_and(|h| h.document().open.iter().any(|open| open.digest == *plan))
    }
}

impl Holdings {
    /// The newest decision about it that a node of that epoch said last that it was shown.
    pub(super) fn decision_of(&self, node: &NodeName, epoch: Option<Epoch>) -> Option<DocumentRef> {
        let holding = self.newest.get(node)?.document();
        holding.decision.filter(|_| Some(holding.holds.epoch) == epoch)
    }
}

impl Control {
    /// Takes what a node signed that it holds. It stays in memory and in the index: a ledger of it would grow with
    /// every restart of every node.
    pub(crate) fn holding(&mut self, now: Timestamp, node: &NodeName, signed: &Signed) -> Result<(), ControlError> {
        if !self.holdings.limit.take(node.clone(), now) {
            let reason = format!(
                "expected a holding of {node} when it changed, found more than {HOLDING_BURST} at once; look at the \
                 node"
            );
            return Err(ControlError::Invalid(reason));
        }
        let proven = trust::holding(self.state.require_roster()?, signed)?;
        if proven.document().node != *node {
            let reason = format!(
                "expected a holding of {node}, found one of {} on its stream; a node hands in only its own",
                proven.document().node
            );
            let refused = Refused::new(Refusal::NotAllowed, reason);
            self.alarm(now, &format!("node {node}"), &refused);
            return Err(refused.into());
        }
        self.effects.push(Effect::KeepHolding(node.clone(), signed.clone()));
        self.notice_strangers(now, node, &proven);
        self.compare(now, node, &proven);
        self.trust_taken(now, node, &proven.document().holds);
        self.holdings.newest.insert(node.clone(), proven);
        self.catch_up(now)?;
        self.push.to(node);
        self.changes += 1;
        Ok(())
    }

    /// Whether a node holds something newer than is here. It may lie: what counts are bytes that an admin signed.
    fn newer_on(&self, holding: &Holding) -> Option<String> {
        let holds = &holding.holds;
        let root = self.state.root()?.root();
        let roster = self.state.roster.as_ref().map_or(0, |r| r.document().version);
        let newest = self.state.highest_seq();
        if holds.epoch > root.epoch || holds.root.version > root.version {
            return Some(format!(
                "root {} ({}), and root {} is the newest here",
                holds.root.version, holds.root.digest, root.version
            ));
        }
        if holds.epoch < root.epoch {
            return None;
        }
        if let Some(held) = holds.roster.filter(|held| held.version > roster) {
            return Some(format!("roster {} ({}), and roster {roster} is the newest here", held.version, held.digest));
        }
        let held = holds.plan.filter(|held| held.seq > newest)?;
        Some(format!("plan {} ({}), and plan {newest} is the newest here", held.seq, held.digest))
    }

    /// Tells people of a node that holds what is not here: a part of this ledger was lost, or there is another one.
    fn compare(&mut self, now: Timestamp, node: &NodeName, holding: &Verified<Holding>) {
        let holding = holding.document();
        if let Some(newer) = self.newer_on(holding) {
            let reason = format!(
                "{node} signed that it holds {newer}: a part of the ledger was lost, or there is another \
                 coordinator; hand in \
                 the signed documents again (`hostler submit`), or let an admin adopt this ledger (`hostler ledger \
                 adopt`)"
            );
            self.alarm(now, &format!("what {node} holds"), &Refused::new(Refusal::Replay, reason));
        }
        if let Some(head) = holding.holds.head.filter(|head| !self.state.judge.contains(*head)) {
            let reason = format!(
                "{node} signed that it was shown a ledger of {head}, which this one does not go on from; compare \
                 the copies \
                 of all admins (`hostler ledger verify A B`)"
            );
            self.alarm(now, &format!("what {node} holds"), &Refused::new(Refusal::Replay, reason));
        }
        let epoch = self.state.root().map(|root| root.root().epoch);
        let here = |decision: &DocumentRef| self.state.judge.knows(&decision.digest);
        let is_this_epoch = Some(holding.holds.epoch) == epoch;
        if let Some(DocumentRef { version, digest }) = holding.decision.filter(|d| is_this_epoch && !here(d)) {
            let reason = format!(
                "{node} signed that it holds decision {version} about itself ({digest}), which this ledger does not \
                 have: a part of the ledger was lost, or somebody who may decide kept it from here; find out who \
                 signed it, and decide again (`hostler node accept`), which ends it"
            );
            self.alarm(now, &format!("what {node} holds"), &Refused::new(Refusal::Replay, reason));
        }
    }

    /// After a loss: once every active node has signed what it holds, and nothing of it is newer, work goes on.
    fn catch_up(&mut self, now: Timestamp) -> Result<(), ControlError> {
        if !self.state.judge.is_restored() {
            return Ok(());
        }
        let Some(roster) = &self.state.roster else { return Ok(()) };
        let mut active = roster.document().nodes.iter().filter(|n| n.status == RosterStatus::Active);
        let caught_up = active.all(|n| {
            let holding = self.holdings.newest.get(&n.name);
            holding.is_some_and(|holding| self.newer_on(holding.document()).is_none())
        });
        if caught_up {
            let generation = self.state.judge.generation();
            self.commit(now, vec![Proven::Decision(Entry::CaughtUp { generation })])?;
        }
        Ok(())
    }

    /// Takes holdings that were kept before this start; what does not count under the roster is passed over.
    pub(crate) fn restore_holdings(&mut self, kept: Vec<(NodeName, Signed)>) {
        let Some(roster) = &self.state.roster else { return };
        let proven = kept.iter().filter_map(|(node, signed)| {
            let holding = trust::holding(roster, signed).ok()?;
            (holding.document().node == *node).then(|| (node.clone(), holding))
        });
        self.holdings.newest.extend(proven);
    }

    /// Writes down, once, and sounds an alarm about each document that a node holds and that this ledger neither has
    /// nor names: two admins were shown different states, or this ledger was put back. It stays known after a restart,
    /// until a document names it. It never stops anything: a node's word is no admin's.
    fn notice_strangers(&mut self, now: Timestamp, node: &NodeName, holding: &Verified<Holding>) {
        let strangers = self.state.new_strangers(holding);
        if strangers.is_empty() || self.state.judge.knows(&holding.digest()) {
            return;
        }
        if let Err(error) = self.commit(now, vec![Proven::Holding(holding.clone())]) {
            tracing::error!(%error, "a fork could not be written down");
        }
        for Stranger { what, here, other } in strangers {
            let here = here.map_or_else(|| "nothing".to_owned(), |here| here.to_string());
            let reason = format!(
                "expected {node} to hold {what} as this ledger has it ({here}), found {other}; find out who signed the \
                    other, then sign a document that names both (docs/stop.md) or a new epoch"
            );
            self.alarm(now, &format!("{what} on node {node}"), &Refused::new(Refusal::Forked, reason));
        }
    }

    /// The forks that no document of the ledger closes, with who signed that it holds the other end.
    pub(crate) fn forks(&self) -> impl Iterator<Item = (&Stranger, &NodeName, &Verified<Holding>)> {
        self.state.forks()
    }

    /// Those that admins are told of: the nodes take turns, and what there is no room for is counted all the same. So
    /// many that lie leave room for who does not, and for the roots and the roster in the same message.
    pub(crate) fn told_forks(&self) -> Vec<(&Stranger, &NodeName, &Verified<Holding>)> {
        let mut bytes = 0;
        turns(self.forks().map(|fork| (fork.1, fork)))
            .take_while(|(_, _, holding)| {
                bytes += bytes_of(holding.signed());
                bytes <= FORK_BYTES
            })
            .collect()
    }

    /// The highest plan that a node signed that it holds where the ledger has none with so high a number: the next one
    /// must be above it, or that node refuses it.
    pub(crate) fn ahead(&self) -> Option<&Verified<Holding>> {
        let (epoch, highest) = (self.state.root()?.root().epoch, self.state.highest_seq());
        let roster = self.state.roster.as_ref()?;
        let seq = |holding: &Verified<Holding>| holding.document().holds.plan.map_or(Seq(0), |plan| plan.seq);
        let holdings = self.holdings.newest.values().filter(|holding| holding.document().holds.epoch == epoch);
        holdings
            .filter(|holding| trust::may_be_ahead(epoch, highest, Some(roster.document()), seq(holding)))
            // Who was in the roster when it came may have left.
            .filter(|holding| trust::holding(roster, holding.signed()).is_ok())
            .max_by_key(|holding| seq(holding))
    }

    /// What a node signed last.
    pub(crate) fn newest_holding(&self, node: &NodeName) -> Option<&Verified<Holding>> {
        self.holdings.newest.get(node)
    }
}
