//! What a newer plan ends, and which bytes stay of what it ended.

use super::{AtWork, Held, NodeState, reference};
use crate::{
    document::PlanRef,
    id::{Digest, Seq},
    refusal::{Refusal, Refused},
    trust::{Identity, number::check_jump, shape::MAX_KEPT_VALID},
};

/// Void plans of which a node keeps the bytes: as many as can be open. Each began something here that may have to be
/// put back; a fleet that leaves more nodes half done has other troubles.
const MAX_ENDED: usize = MAX_KEPT_VALID + 1;

impl NodeState {
    /// Newer than all, but not by more than anybody's count; or exactly one of those that are open.
    pub(super) fn check_number(&self, offered: PlanRef) -> Result<(), Refused> {
        if self.open.contains(&offered) {
            return Ok(());
        }
        if offered.seq > self.seq {
            let roster = self.roster.as_ref().map(|roster| roster.document());
            return check_jump(self.epoch(), self.seq, roster, offered.seq);
        }
        let reason = match self.open.iter().find(|p| p.seq == offered.seq) {
            Some(held) => format!(
                "expected plan {} to stay {}, found {} under the same number; compare both and find out who signed \
                    the other",
                held.seq, held.digest, offered.digest
            ),
            None => format!(
                "expected a plan after {}, found plan {}, which is void here; make and sign a new plan",
                self.seq, offered.seq
            ),
        };
        Err(Refused::new(Refusal::Replay, reason))
    }

    /// A newer plan takes the first place. Of those that it lists only what was open here stays so: what was void stays
    /// void, and what never arrived was not handed over in the order of its number.
    pub(super) fn supersede(&mut self, newer: PlanRef, keeps_valid: &[PlanRef], me: &Identity) {
        let listed = keeps_valid.iter().take(MAX_KEPT_VALID).collect::<Vec<_>>();
        self.seq = newer.seq;
        self.open.retain(|open| listed.contains(&open));
        self.open.insert(0, newer);
        let (stays, ends) =
            std::mem::take(&mut self.plans).into_iter().partition(|held| self.open.contains(&reference(&held.plan)));
        self.plans = stays;
        self.end(ends, |held| held.has_to_finish(me));
    }

    /// A new epoch: nothing of before may begin, and its bytes prove nothing any more.
    pub(super) fn void_all(&mut self) {
        (self.seq, self.open, self.continued) = (Seq(0), Vec::new(), Vec::new());
        let ends = std::mem::take(&mut self.plans);
        self.end(ends, |_| false);
    }

    /// Which plan this node is in the middle of, so that its bytes stay until the task is over.
    pub fn set_at_work(&mut self, plan: Option<Digest>) {
        self.at_work = AtWork(plan);
    }

    /// Keeps of what ended only what is still needed, the newest first.
    fn end(&mut self, ends: Vec<Held>, needed: impl Fn(&Held) -> bool) {
        let at_work = self.at_work.0;
        let is_at_work = |held: &Held| at_work == Some(held.plan.digest());
        self.ended.extend(ends);
        self.ended.retain(|held| is_at_work(held) || needed(held));
        self.ended.sort_by_key(|held| (!is_at_work(held), std::cmp::Reverse(held.plan.document().seq)));
        self.ended.truncate(MAX_ENDED);
    }
}

impl Held {
    /// Whether this node has a task in it that puts something back.
    fn has_to_finish(&self, me: &Identity) -> bool {
        self.plan.document().tasks.iter().any(|task| task.finishes && task.node == me.node)
    }
}
