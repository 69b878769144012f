//! Which plan goes on with what another one began: its cordons pass on, and are not undone.

use serde::{Deserialize, Serialize};

use super::NodeState;
use crate::{
    document::{Plan, PlanKind, PlanRef},
    id::{Digest, NodeName},
    timestamp::Timestamp,
};

/// As many as a responder signs while one node still finishes what it began.
const MAX_CONTINUED: usize = 16;

/// A plan that another one continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Continued {
    /// The earlier one.
    pub plan: Digest,
    /// The one that goes on, not void here.
    pub by: PlanRef,
    /// When that one may begin nothing any more.
    pub expires: Timestamp,
    /// The nodes whose cordons pass on.
    pub subjects: Vec<NodeName>,
}

impl NodeState {
    /// The plan that goes on with the cordon that a plan left on a node, if one does that may still begin.
    pub fn continued(&self, plan: &Digest, subject: &NodeName, now: Timestamp) -> Option<&Continued> {
        let goes_on = |c: &&Continued| c.plan == *plan && c.subjects.contains(subject) && now < c.expires;
        self.continued.iter().find(goes_on)
    }

    /// Notes what a newer plan, none where it cannot be read, goes on with. What the plan before it was to go on with
    /// passes to it too: that one may have begun nothing.
    pub(super) fn note_continued(&mut self, newer: PlanRef, plan: Option<&Plan>) {
        let continues = plan.filter(|plan| plan.kind == PlanKind::Drain);
        if let Some((plan, before)) = continues.and_then(|plan| Some((plan, plan.continues?))) {
            let subjects: Vec<NodeName> = plan.cordons().cloned().collect();
            let expires = plan.expires;
            for earlier in self.continued.iter_mut().filter(|earlier| earlier.by.digest == before) {
                (earlier.by, earlier.expires) = (newer, expires);
                earlier.subjects.retain(|subject| subjects.contains(subject));
            }
            self.continued.push(Continued { plan: before, by: newer, expires, subjects });
        }
        self.continued.retain(|continued| self.open.contains(&continued.by));
        let too_many = self.continued.len().saturating_sub(MAX_CONTINUED);
        self.continued.drain(..too_many);
    }
}
