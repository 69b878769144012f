//! Who belongs: roots, tokens and the nodes that they let in.

use std::collections::BTreeMap;

use super::{Judge, check_place, expect};
use crate::{
    document::{Admission, DocumentKind, Enrolment, Roster, Signed},
    id::{Fingerprint, NodeName, Seq, TokenId},
    json,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, Purpose, TrustedRoot, Verified},
};

/// An admission and whom it let in.
#[derive(Debug)]
pub(super) struct Token {
    admission: Verified<Admission>,
    pub keys: BTreeMap<Fingerprint, NodeName>,
    pub is_revoked: bool,
}

impl Token {
    pub(super) fn new(admission: Verified<Admission>) -> Self {
        Self { admission, keys: BTreeMap::new(), is_revoked: false }
    }
}

impl Judge {
    /// Verifies an enrolment under the admission that it names.
    pub(super) fn enrolment(&self, signed: &Signed) -> Result<Verified<Enrolment>, Refused> {
        trust::check_size(DocumentKind::Enrolment, signed)?;
        let said: Enrolment = json::parse(&signed.bytes)
            .map_err(|e| Refused::new(Refusal::Malformed, format!("the enrolment is {e}; update hostler-agent")))?;
        trust::enrolment(&self.token(&said.token)?.admission, signed, Purpose::Begun)
    }

    fn token(&self, id: &TokenId) -> Result<&Token, Refused> {
        let reason = || format!("expected an admission of token {id} before it, found none");
        self.tokens.get(id).ok_or_else(|| Refused::new(Refusal::NotAllowed, reason()))
    }

    /// A token admits as many keys as it says, while it lives.
    pub(super) fn check_enrolment(&self, at: Timestamp, enrolment: &Enrolment) -> Result<(), Refused> {
        let token = self.token(&enrolment.token)?;
        let (id, admission) = (&enrolment.token, token.admission.document());
        expect(!token.is_revoked, || format!("no enrolment with the revoked token {id}, found one"))?;
        expect(at < admission.expires, || {
            format!("an enrolment with token {id} before {}, found one of {at}", admission.expires)
        })?;
        let (key, used) = (enrolment.key.fingerprint(), token.keys.len() as u64);
        let fits = token.keys.contains_key(&key) || used < u64::from(admission.uses);
        expect(fits, || format!("at most {} keys with token {id}, found one more", admission.uses))
    }

    pub(super) fn apply_enrolment(&mut self, enrolment: &Enrolment) {
        if let Some(token) = self.tokens.get_mut(&enrolment.token) {
            token.keys.insert(enrolment.key.fingerprint(), enrolment.node.clone());
        }
    }

    pub(super) fn check_revocation(&self, id: &TokenId) -> Result<(), Refused> {
        let token = self.token(id)?;
        expect(!token.is_revoked, || format!("token {id} to admit nodes before it is revoked, found it revoked"))
    }

    /// Each root follows the one before it.
    pub(super) fn check_root(&self, next: &TrustedRoot) -> Result<(), Refused> {
        let (follows, version) = (self.root.as_ref().is_none_or(|held| held.is_followed_by(next)), next.root().version);
        let held = || self.root.as_ref().map_or(0, |held| held.root().version);
        expect(follows, || format!("a root that follows root {}, found root {version}, which does not", held()))
    }

    /// Of one epoch each roster follows the one before it.
    pub(super) fn check_roster(&self, roster: &Roster) -> Result<(), Refused> {
        let held = self.roster.as_ref().filter(|held| held.document().epoch == roster.epoch);
        check_place(&format!("roster {}", roster.version), held.map(Verified::digest), roster.prev, &roster.also)
    }

    pub(super) fn apply_root(&mut self, next: &TrustedRoot) {
        if self.root.as_ref().is_some_and(|held| held.root().epoch < next.root().epoch) {
            // Rosters, plan numbers and plans of an epoch that ended are no floor for the next.
            self.roster = None;
            (self.highest_seq, self.newest_plan) = (Seq(0), None);
            self.awaited.clear();
            self.void_all();
        }
        if let Some(held) = &self.root {
            self.decisions.values_mut().for_each(|row| row.decisions = row.decisions.under(held, next));
        }
        self.root = Some(next.clone());
    }
}
