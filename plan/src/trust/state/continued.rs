//! Which plan goes on with what another one began: its cordons pass on, and are not undone.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::NodeState;
use crate::{
    document::{Plan, PlanKind, PlanRef},
    id::{Digest, Epoch, NodeName, Seq},
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

/// Which plans may still begin something, as one node knows it: for whoever finds the note of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPlans {
    epoch: Epoch,
    seq: Seq,
    open: Vec<PlanRef>,
    continued: Vec<Continued>,
}

impl OpenPlans {
    /// Whether a newer plan or epoch ended that plan, and nothing open goes on with what it did to a node. What was
    /// not seen yet has not ended.
    pub fn have_ended(&self, epoch: Epoch, plan: PlanRef, subject: &NodeName, now: Timestamp) -> bool {
        let is_void = match epoch.cmp(&self.epoch) {
            Ordering::Less => true,
            Ordering::Equal => plan.seq <= self.seq && !self.open.contains(&plan),
            Ordering::Greater => false,
        };
        is_void && goes_on(&self.continued, &plan.digest, subject, now).is_none()
    }
}

fn goes_on<'c>(continued: &'c [Continued], plan: &Digest, subject: &NodeName, now: Timestamp) -> Option<&'c Continued> {
    continued.iter().find(|c| c.plan == *plan && c.subjects.contains(subject) && now < c.expires)
}

impl NodeState {
    /// What is open here.
    pub fn open(&self) -> OpenPlans {
        OpenPlans { epoch: self.epoch(), seq: self.seq, open: self.open.clone(), continued: self.continued.clone() }
    }

    /// The plan that goes on with the cordon that a plan left on a node, if one does that may still begin.
    pub fn continued(&self, plan: &Digest, subject: &NodeName, now: Timestamp) -> Option<&Continued> {
        goes_on(&self.continued, plan, subject, now)
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
