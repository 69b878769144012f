//! What nodes signed last about what they hold: it proves what was delivered, and shows a fork.

use std::collections::BTreeMap;

use hostler_plan::{
    document::{Holding, Plan, PlanRef, Signed},
    id::{Digest, NodeName},
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, Verified},
};

use super::{Control, ControlError, Effect};
use crate::{
    limits::{COUNTED_ADDRESSES, HOLDING_BURST, MILLISECONDS_PER_HOLDING},
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

impl Control {
    /// Takes what a node signed that it holds. It stays in memory and in the index: a ledger of it would grow with
    /// every restart of every node.
    pub(crate) fn holding(&mut self, now: Timestamp, node: &NodeName, signed: &Signed) -> Result<(), ControlError> {
        if !self.holdings.limit.take(node.clone(), now) {
            let reason = format!(
                "expected a holding of {node} when it changed, found more than {HOLDING_BURST} at once; look at the node"
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
        self.holdings.newest.insert(node.clone(), proven);
        self.push.to(node);
        self.changes += 1;
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

    /// What a node signed last.
    pub(crate) fn newest_holding(&self, node: &NodeName) -> Option<&Verified<Holding>> {
        self.holdings.newest.get(node)
    }
}
