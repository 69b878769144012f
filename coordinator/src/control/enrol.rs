//! Nodes that come in: enrolment under a token, and renewal by their own key.

use std::net::IpAddr;

use hostler_plan::{
    document::{Enrolment, RosterStatus, Signed},
    id::{Digest, Fingerprint, FleetId, NodeName},
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, Purpose, Verified},
};

use super::{
    Control, ControlError, Proven,
    state::{Membership, State, Token},
};

/// An enrolment as it was handed in.
#[derive(Debug)]
pub(crate) struct EnrolRequest {
    pub enrolment: Signed,
    /// SPKI digest of the key in the certificate request, whose possession was proved.
    pub tls_key: Digest,
    pub address: IpAddr,
}

/// A node that may have a certificate.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub fleet: FleetId,
    pub node: NodeName,
    /// The node's own key: what the certificate is bound to.
    pub key: Fingerprint,
    pub admission: Signed,
    pub roots: Vec<Signed>,
    pub roster: Option<Signed>,
}

impl Control {
    /// Admits a key under a token, or says why not. The same key again is admitted again; who comes with a used-up
    /// token or another node's name raises an alarm.
    pub(crate) fn enrol(&mut self, now: Timestamp, request: &EnrolRequest) -> Result<Admitted, ControlError> {
        let (token, enrolment) = self.verify_enrolment(now, request)?;
        let Enrolment { node, key, token: id, fleet_id, .. } = enrolment.document().clone();
        let key = key.fingerprint();
        let is_new = match self.check_enrolment(&token, &enrolment, request.address) {
            Ok(is_new) => is_new,
            Err(refused) => {
                self.alarm(now, &format!("enrolment of {node} with token {id}"), &refused);
                return Err(refused.into());
            }
        };
        if is_new {
            self.commit(now, vec![Proven::Enrolment(enrolment)])?;
            self.note_address(&node, request.address);
            tracing::info!(node = %node, key = %key, token = %id, address = %request.address, "node enrolled");
        }
        // A new node begins at the root that its join string names, which is this one or a later one.
        let (roots, roster) = self.trust_chain(token.admission.document().root_version.saturating_sub(1));
        Ok(Admitted { fleet: fleet_id, node, key, admission: token.admission.signed().clone(), roots, roster })
    }

    /// Signatures, times and the proof that the certificate is for the node that enrols.
    fn verify_enrolment(
        &self,
        now: Timestamp,
        request: &EnrolRequest,
    ) -> Result<(Token, Verified<Enrolment>), Refused> {
        let root = self.state.require_root()?;
        let token = self.state.token(&self.state.token_of(&request.enrolment)?)?.clone();
        let admission = trust::admission(root, token.admission.signed(), Purpose::Submitting(now))?;
        let enrolment = trust::enrolment(&admission, &request.enrolment, Purpose::Starting(now))?;
        let named = enrolment.document().tls_key;
        if named != request.tls_key {
            return Err(Refused::new(
                Refusal::DigestMismatch,
                format!(
                    "expected a certificate request for the TLS key {named} that the enrolment names, found one for \
                        {}; enrol again",
                    request.tls_key
                ),
            ));
        }
        Ok((token, enrolment))
    }

    /// Whether this key may come in, and whether it is a new one. Refusals here mean that somebody tries who should
    /// not.
    fn check_enrolment(
        &self,
        token: &Token,
        enrolment: &Verified<Enrolment>,
        address: IpAddr,
    ) -> Result<bool, Refused> {
        let wanted = enrolment.document();
        let (node, key, id) = (&wanted.node, wanted.key.fingerprint(), &wanted.token);
        if token.revoked {
            let reason = format!("token {id} was revoked, found {node} at {address} using it; make a new token");
            return Err(Refused::new(Refusal::Revoked, reason));
        }
        if let Some((other, _)) =
            self.state.enrolled.iter().find(|(n, e)| *n != node && e.enrolment.document().key.fingerprint() == key)
        {
            return Err(not_allowed(format!(
                "key {key} is enrolled as {other}, found it at {address} under the name {node}; a copied disk needs a \
                    key of its own: remove its state and enrol again"
            )));
        }
        match self.state.membership(node, &key) {
            Membership::Active | Membership::Pending => {
                let known = self.state.enrolled.get(node).map(|e| e.enrolment.document());
                let same = known.is_some_and(|k| k.key.fingerprint() == key && k.seal_key == wanted.seal_key);
                return match same {
                    true => Ok(false),
                    false => Err(not_allowed(format!(
                        "node {node} is enrolled with another seal key, found a new one at {address}; remove its \
                            state and enrol it under a new key"
                    ))),
                };
            }
            Membership::Retired => {
                let reason =
                    format!("node {node} is retired, found its key {key} at {address}; enrol it with a new key");
                return Err(Refused::new(Refusal::Revoked, reason));
            }
            Membership::Unknown => {}
        }
        if let Some(taken) = self.taken_by(node) {
            let before =
                self.address_of(node).map_or_else(|| "an address not known any more".to_owned(), |a| a.to_string());
            return Err(not_allowed(format!(
                "the name {node} belongs to key {taken} (enrolled from {before}), found key {key} at {address}; give \
                    one of them another name, or replace the old one in the roster"
            )));
        }
        let roster = self.state.roster.as_ref().map(Verified::document);
        trust::check_token(token.admission.document(), roster, &key, &token.keys.keys().cloned().collect()).map_err(
            |refused| {
                let users: Vec<String> = token.keys.values().map(|node| self.with_address(node)).collect();
                let reason = format!("{node} at {address}: {}; used by {}", refused.reason, users.join(", "));
                Refused::new(refused.refusal, reason)
            },
        )?;
        Ok(true)
    }

    /// A node's name and where it enrolled from, as far as that is known.
    fn with_address(&self, node: &NodeName) -> String {
        match self.address_of(node) {
            Some(address) => format!("{node} at {address}"),
            None => node.to_string(),
        }
    }

    /// The key that holds this name: an active node's, or that of one that waits for approval.
    fn taken_by(&self, node: &NodeName) -> Option<Fingerprint> {
        listed_active(&self.state, node).or_else(|| {
            let enrolled = self.state.enrolled.get(node)?.enrolment.document().key.fingerprint();
            (self.state.membership(node, &enrolled) == Membership::Pending).then_some(enrolled)
        })
    }

    /// Whether a node may have a new certificate by its own key, although its last one ran out.
    pub(crate) fn renewable(&self, node: &NodeName, key: &Fingerprint) -> Result<FleetId, Refused> {
        match self.state.membership(node, key) {
            Membership::Active | Membership::Pending => Ok(self.state.require_root()?.root().fleet_id.clone()),
            Membership::Retired => Err(Refused::new(
                Refusal::Revoked,
                format!("node {node} is retired; enrol it with a new key to bring it back"),
            )),
            Membership::Unknown => Err(Refused::new(
                Refusal::BadSignature,
                format!(
                    "expected an answer signed by the key of {node} in the roster, found {key}; enrol the node again \
                        with a join string"
                ),
            )),
        }
    }
}

/// Whether a roster lists that name for somebody who still belongs to the fleet.
fn listed_active(state: &State, node: &NodeName) -> Option<Fingerprint> {
    let roster = state.roster.as_ref()?.document();
    let listed = roster.nodes.iter().find(|n| n.name == *node && n.status == RosterStatus::Active)?;
    Some(listed.key.fingerprint())
}

fn not_allowed(reason: String) -> Refused {
    Refused::new(Refusal::NotAllowed, reason)
}
