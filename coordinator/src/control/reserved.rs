//! Plans that some signed and that wait for others. Nothing rests on them here: they are a claim that every admin's
//! machine verifies, so that their numbers are left free and the next plan lists them.

use std::collections::BTreeMap;

use hostler_plan::{
    document::{Plan, PlanRef, Signed},
    id::Digest,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{Draft, Duty, MAX_KEPT_VALID, Verified, counted, may_be_ahead},
};

use super::{Control, ControlError, effect::bytes_of};
use crate::limits::RESERVED_BYTES;

/// By digest. In memory: whoever signed one offers it again.
#[derive(Debug, Default)]
pub(super) struct Reserved(BTreeMap<Digest, Draft<Plan>>);

impl Control {
    /// Keeps a plan that at least one key that counts has signed, in the place of the same one with fewer signatures.
    pub(crate) fn reserve_plan(&mut self, now: Timestamp, signed: &Signed) -> Result<(), ControlError> {
        let draft = Draft::plan(signed.clone())?;
        if !self.is_waited_for(now, &draft) {
            let reason = format!(
                "expected a plan of this epoch that is in time, above the newest or kept by it, and signed by a key \
                 that counts, found plan {}; make it anew",
                draft.document().seq
            );
            return Err(Refused::new(Refusal::NotAllowed, reason).into());
        }
        self.forget_settled(now);
        let (digest, others) = (signed.digest(), &self.reserved.0);
        let more = |known: &Draft<Plan>| known.signed_by().keys().len() >= draft.signed_by().keys().len();
        if others.get(&digest).is_some_and(more) {
            return Ok(());
        }
        let others = || others.iter().filter(|(known, _)| **known != digest).map(|(_, other)| bytes_of(other.signed()));
        if others().count() >= MAX_KEPT_VALID || others().sum::<usize>() + bytes_of(signed) > RESERVED_BYTES {
            let reason = "expected room for one more plan that waits for signatures, found none; let others sign \
                          those that wait, or give some up with `hostler plan give-up`";
            return Err(ControlError::Invalid(reason.to_owned()));
        }
        self.reserved.0.insert(digest, draft);
        Ok(())
    }

    /// Those that wait, with the signatures that they have.
    pub(crate) fn reserved_plans(&mut self, now: Timestamp) -> Vec<Signed> {
        self.forget_settled(now);
        self.reserved.0.values().map(|draft| draft.signed().clone()).collect()
    }

    /// Lets go of one.
    pub(crate) fn give_up_plan(&mut self, plan: &Digest) {
        self.reserved.0.remove(plan);
    }

    fn forget_settled(&mut self, now: Timestamp) {
        let mut all = std::mem::take(&mut self.reserved.0);
        all.retain(|_, draft| self.is_waited_for(now, draft));
        self.reserved.0 = all;
    }

    fn is_waited_for(&self, now: Timestamp, draft: &Draft<Plan>) -> bool {
        let Some(root) = self.state.root().map(|root| root.root()) else { return false };
        let (plan, digest, highest) = (draft.document(), draft.signed().digest(), self.state.highest_seq());
        let roster = self.state.roster.as_ref().map(Verified::document);
        let has_place = may_be_ahead(root.epoch, highest, roster, plan.seq)
            || self.state.chain.is_awaited(&PlanRef { seq: plan.seq, digest });
        (plan.epoch, &plan.fleet_id) == (root.epoch, &root.fleet_id)
            && now < plan.expires
            && has_place
            && !self.state.knows_plan(&digest)
            && !counted(root, Duty::Plan(plan.kind), draft.signed_by()).is_empty()
    }
}
