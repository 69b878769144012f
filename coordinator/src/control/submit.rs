//! Documents that admins hand in.

use hostler_plan::{
    document::{Plan, PlanRef, Signed, SignerRole},
    entry::Entry,
    id::{Digest, TokenId},
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, Draft, Purpose, TrustedRoot, Verified},
};

use super::{Control, ControlError, Proven, schedule::log};

/// What became of a document that an admin handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submitted {
    pub digest: Digest,
    /// False when the very same document was here before.
    pub is_new: bool,
    /// The document that took its place first. Then nothing was taken.
    pub overtaken_by: Option<Signed>,
}

impl Submitted {
    pub(super) fn taken(digest: Digest) -> Self {
        Self { digest, is_new: true, overtaken_by: None }
    }

    pub(super) fn known(digest: Digest) -> Self {
        Self { digest, is_new: false, overtaken_by: None }
    }

    fn overtaken(digest: Digest, by: &Signed) -> Self {
        Self { digest, is_new: false, overtaken_by: Some(by.clone()) }
    }
}

impl Control {
    /// Takes a root: the first one, whose giver proved to hold the set-up code, or the next of the chain. One that
    /// follows a root that was amended meanwhile is overtaken; two admins at once are no alarm. `ca_pin` must
    /// be among the CAs that it names, because otherwise nobody could connect here any more.
    pub(crate) fn install_root(
        &mut self,
        now: Timestamp,
        signed: &Signed,
        ca_pin: Digest,
    ) -> Result<Submitted, ControlError> {
        let digest = signed.digest();
        if self.state.roots.iter().any(|r| r.digest() == digest) {
            return Ok(Submitted::known(digest));
        }
        let next = match self.state.root() {
            None => {
                let first = TrustedRoot::first(signed, &digest)?;
                if first.root().version != 1 {
                    let reason = format!(
                        "expected root 1 for a coordinator without a root, found root {}; install the roots one after \
                            another",
                        first.root().version
                    );
                    return Err(Refused::new(Refusal::RootChain, reason).into());
                }
                first
            }
            Some(root) => {
                let draft = Draft::root(signed.clone())?;
                if let Some(winner) = draft.overtaken_by(self.state.roots.iter()) {
                    tracing::info!(root = %digest, version = winner.root().version, "root overtaken");
                    return Ok(Submitted::overtaken(digest, winner.signed()));
                }
                draft.follow(root)?
            }
        };
        next.check_expiry(now)?;
        if !next.root().coordinator_ca.contains(&ca_pin) {
            let reason = format!(
                "expected this coordinator's CA {ca_pin} in the root, found it is not; add it, or nobody can connect"
            );
            return Err(Refused::new(Refusal::RootChain, reason).into());
        }
        let halts = self.halts_under(&next);
        halts.iter().for_each(log);
        let version = next.root().version;
        let mut entries = vec![Proven::Root(next)];
        entries.extend(halts.into_iter().map(Proven::Decision));
        self.commit(now, entries)?;
        tracing::info!(version, digest = %digest, "root installed");
        Ok(Submitted::taken(digest))
    }

    /// Halts for the rollouts whose plans do not count under a root that follows: no node would take their tasks, and
    /// each would wait for a lease to run out. A new epoch ends the rollouts before it by itself.
    fn halts_under(&self, next: &TrustedRoot) -> Vec<Entry> {
        let Some(roster) = &self.state.roster else { return Vec::new() };
        let of_epoch = self.state.open_plans().filter(|plan| plan.document().epoch == next.root().epoch);
        of_epoch
            .filter_map(|plan| {
                let refused = trust::plan(next, roster, plan.signed(), Purpose::Begun).err()?;
                let by = format!("root {}", next.root().version);
                Some(Entry::Halted { plan: plan.digest(), by, reason: refused.reason })
            })
            .collect()
    }

    /// Takes an admission: from now on its token admits nodes.
    pub(crate) fn submit_admission(&mut self, now: Timestamp, signed: &Signed) -> Result<Submitted, ControlError> {
        let admission = trust::admission(self.state.require_root()?, signed, Purpose::Submitting(now))?;
        let (digest, token) = (signed.digest(), admission.document().token.clone());
        if let Some(held) = self.state.tokens.get(&token) {
            if held.admission.digest() == digest {
                return Ok(Submitted::known(digest));
            }
            let reason = format!(
                "expected token {token} to stay {}, found {digest}; make a token with another name",
                held.admission.digest()
            );
            return Err(Refused::new(Refusal::Replay, reason).into());
        }
        self.commit(now, vec![Proven::Admission(admission)])?;
        tracing::info!(token = %token, "token admitted");
        Ok(Submitted::taken(digest))
    }

    /// Lets a token admit nobody any more. Nodes that it admitted stay.
    pub(crate) fn revoke_token(&mut self, now: Timestamp, token: &TokenId, by: &str) -> Result<(), ControlError> {
        let Some(held) = self.state.tokens.get(token) else {
            return Err(ControlError::NotFound(format!(
                "expected a token of this fleet, found {token}; see `hostler token list`"
            )));
        };
        if !held.revoked {
            self.commit(now, vec![Proven::Decision(Entry::TokenRevoked { token: token.clone(), by: by.to_owned() })])?;
            tracing::info!(token = %token, by, "token revoked");
        }
        Ok(())
    }

    /// Takes the next roster.
    pub(crate) fn submit_roster(&mut self, now: Timestamp, signed: &Signed) -> Result<Submitted, ControlError> {
        let digest = signed.digest();
        let held = self.state.roster.as_ref();
        if let Some(held) = held.filter(|held| held.digest() != digest) {
            // Without the one that is held: whether it follows that one is the question.
            let next = trust::roster(self.state.require_root()?, None, signed, Purpose::Submitting(now))?;
            let (document, head) = (next.document(), held.digest());
            let follows = document.prev == Some(head) || document.also.contains(&head);
            if document.epoch == held.document().epoch && !follows {
                tracing::info!(roster = %digest, version = next.document().version, "roster overtaken");
                return Ok(Submitted::overtaken(digest, held.signed()));
            }
        }
        let roster = trust::roster(self.state.require_root()?, held, signed, Purpose::Submitting(now))?;
        let is_first = held.is_none_or(|held| held.document().epoch < roster.document().epoch);
        if is_first && roster.document().prev.is_some() {
            let reason = format!(
                "expected the first roster of epoch {}, found roster {} behind another one; hand that one in first, or \
                    compare this coordinator's ledger with a copy",
                roster.document().epoch,
                roster.document().version
            );
            return Err(Refused::new(Refusal::Replay, reason).into());
        }
        if held.is_some_and(|h| h.digest() == digest) {
            return Ok(Submitted::known(digest));
        }
        let (version, nodes) = (roster.document().version, roster.document().nodes.len());
        self.commit(now, vec![Proven::Roster(roster)])?;
        tracing::info!(version, nodes, "roster accepted");
        Ok(Submitted::taken(digest))
    }

    /// Takes a plan, verified as a node would, with a number higher than every one before it in this epoch. Who hands
    /// it in with an operator's session may hand in only kinds that operators may sign.
    pub(crate) fn submit_plan(
        &mut self,
        now: Timestamp,
        signed: &Signed,
        role: SignerRole,
        has_artifact: impl Fn(&Digest, u64) -> bool,
    ) -> Result<Submitted, ControlError> {
        let digest = signed.digest();
        if self.state.knows_plan(&digest) {
            return Ok(Submitted::known(digest));
        }
        let (root, roster) = (self.state.require_root()?, self.state.require_roster()?);
        let proven = trust::plan(root, roster, signed, Purpose::Submitting(now))?;
        let plan = proven.document();
        if role < SignerRole::Admin && !plan.kind.needs_only_operator() {
            let reason = format!(
                "expected an admin's session for a plan of kind {}, found an operator's; let an admin submit it",
                plan.kind
            );
            return Err(Refused::new(Refusal::NotAllowed, reason).into());
        }
        if let Some(winner) = self.check_place(plan, digest)? {
            tracing::info!(plan = %digest, seq = %plan.seq, prev = ?plan.prev, "plan overtaken");
            return Ok(Submitted::overtaken(digest, &winner));
        }
        if let Some(missing) = plan.artifacts.iter().find(|a| !has_artifact(&a.sha256, a.size)) {
            let reason = format!(
                "expected artifact {} ({}, {} bytes) to be uploaded before its plan, found it is not; submit again \
                    with --artifacts and the folder of its file",
                missing.name, missing.sha256, missing.size
            );
            return Err(Refused::new(Refusal::DigestMismatch, reason).into());
        }
        let (seq, kind, title) = (plan.seq, plan.kind, plan.title.clone());
        self.commit(now, vec![Proven::Plan(proven)])?;
        tracing::info!(plan = %digest, seq = %seq, kind = %kind, title = %title, "plan accepted");
        // The nodes verify it and make it durable while the first grants are being written.
        self.push_due(now);
        Ok(Submitted::taken(digest))
    }

    /// Whether a plan that counts follows the newest one of its epoch, or is one whose number was kept for it: every
    /// plan since lists it. Gives the newest one where it was made without knowing that; two admins at once are no
    /// alarm.
    fn check_place(&self, plan: &Plan, digest: Digest) -> Result<Option<Signed>, ControlError> {
        if self.state.chain.is_awaited(&PlanRef { seq: plan.seq, digest }) {
            return Ok(None);
        }
        let highest = self.state.highest_seq();
        let head = self.state.newest_plan();
        let closes = head.is_some_and(|head| plan.also.contains(&head.digest()));
        if plan.prev != head.map(|head| head.digest()) && !closes {
            return match head {
                Some(head) => Ok(Some(head.signed().clone())),
                None => {
                    let reason = format!(
                        "expected the first plan of epoch {}, found plan {} behind another one; this coordinator's \
                            ledger lost it, or it is another coordinator",
                        plan.epoch, plan.seq
                    );
                    Err(Refused::new(Refusal::Replay, reason).into())
                }
            };
        }
        if plan.seq <= highest {
            let reason = format!("expected a plan number above {highest}, found {}; make the plan again", plan.seq);
            return Err(Refused::new(Refusal::Replay, reason).into());
        }
        let roster = self.state.roster.as_ref().map(Verified::document);
        Ok(trust::check_jump(plan.epoch, highest, roster, plan.seq).map(|()| None)?)
    }
}
