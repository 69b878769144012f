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
    doubles::{self, Double},
    state::{Membership, Token},
};

/// An enrolment as it was handed in.
#[derive(Debug)]
pub(crate) struct EnrolRequest {
    pub enrolment: Signed,
    /// SPKI digest of the key in the certificate request, whose possession was proved.
    pub tls_key: Digest,
    pub address: IpAddr,
}

/// How a key comes in.
enum Entrance {
    /// It was here before, or a signed roster lists it: under this name.
    Again(NodeName),
    New,
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
        let entrance = match self.check_enrolment(now, &token, &enrolment, request.address) {
            Ok(entrance) => entrance,
            Err(refused) => {
                self.alarm(now, &format!("enrolment of {node} with token {id}"), &refused);
                return Err(refused.into());
            }
        };
        let node = match entrance {
            Entrance::Again(listed) => listed,
            Entrance::New => {
                self.commit(now, vec![Proven::Enrolment(enrolment)])?;
                self.note_address(&node, request.address);
                tracing::info!(node = %node, key = %key, token = %id, address = %request.address, "node enrolled");
                node
            }
        };
        self.doubles.settled(&key, request.address);
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
        let Enrolment { node, created, .. } = enrolment.document();
        let (id, expires) = (&admission.document().token, admission.document().expires);
        // It would take no answer, and its own word that it came too late would stand against it once its clock is set.
        if *created >= expires {
            return Err(Refused::new(
                Refusal::Expired,
                format!(
                    "token {id} counts until {expires}, and {node} says that it is {created}; here it is {now}: one of \
                        the two clocks is off; compare `date` on both machines, and start a time service where it is \
                        wrong (chrony, systemd-timesyncd)"
                ),
            ));
        }
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

    /// Whether this key may come in, and as what. Refusals here mean that somebody tries who should not, or that two
    /// machines have one name, key or machine id.
    fn check_enrolment(
        &mut self,
        now: Timestamp,
        token: &Token,
        enrolment: &Verified<Enrolment>,
        address: IpAddr,
    ) -> Result<Entrance, Refused> {
        let wanted = enrolment.document();
        let (node, key, id) = (&wanted.node, wanted.key.fingerprint(), &wanted.token);
        if token.revoked {
            let reason = format!("token {id} was revoked, found {node} at {address} using it; make a new token");
            return Err(Refused::new(Refusal::Revoked, reason));
        }
        let listed = self.state.roster.as_ref().and_then(|r| r.document().with_key(&key));
        if let Some(retired) = listed.filter(|n| n.status == RosterStatus::Retired) {
            let reason =
                format!("node {} is retired, found its key {key} at {address}; enrol it with a new key", retired.name);
            return Err(Refused::new(Refusal::Revoked, reason));
        }
        if let Some((beside, what)) = doubles::beside(&self.state, wanted) {
            let before = self
                .address_of(&beside.node)
                .map_or_else(|| "an address not known any more".to_owned(), |a| a.to_string());
            let reason = format!(
                "{what} (enrolled from {before}), found {node} with key {key} at {address}; `hostler node list \
                    --pending` \
                    shows both: rename, replace or retire one, and give a copied disk a key of its own"
            );
            let (enrolment, admission) = (enrolment.clone(), token.admission.clone());
            self.doubles.add(Double { enrolment, admission, address, reason: what, beside, at: now });
            return Err(not_allowed(reason));
        }
        if let Some(listed) = doubles::listed(&self.state, &key) {
            if listed.seal_key != wanted.seal_key {
                return Err(other_seal_key(node, address));
            }
            // A person gave it this name, or put it in the place of another.
            let known = self.state.enrolled.get(node).is_some_and(|e| e.enrolment.document().key.fingerprint() == key);
            return Ok(if known || listed.name != *node {
                Entrance::Again(listed.name.clone())
            } else {
                Entrance::New
            });
        }
        match self.state.membership(node, &key) {
            Membership::Active | Membership::Pending => {
                let known = self.state.enrolled.get(node).map(|e| e.enrolment.document());
                let same = known.is_some_and(|k| k.key.fingerprint() == key && k.seal_key == wanted.seal_key);
                return if same { Ok(Entrance::Again(node.clone())) } else { Err(other_seal_key(node, address)) };
            }
            Membership::Retired | Membership::Unknown => {}
        }
        let roster = self.state.roster.as_ref().map(Verified::document);
        trust::check_token(token.admission.document(), roster, &key, &token.keys.keys().cloned().collect()).map_err(
            |refused| {
                let users: Vec<String> = token.keys.values().map(|node| self.with_address(node)).collect();
                let reason = format!("{node} at {address}: {}; used by {}", refused.reason, users.join(", "));
                Refused::new(refused.refusal, reason)
            },
        )?;
        Ok(Entrance::New)
    }

    /// A node's name and where it enrolled from, as far as that is known.
    fn with_address(&self, node: &NodeName) -> String {
        match self.address_of(node) {
            Some(address) => format!("{node} at {address}"),
            None => node.to_string(),
        }
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

fn other_seal_key(node: &NodeName, address: IpAddr) -> Refused {
    not_allowed(format!(
        "node {node} is enrolled with another seal key, found a new one at {address}; remove its state and enrol it \
            under \
            a new key"
    ))
}

fn not_allowed(reason: String) -> Refused {
    Refused::new(Refusal::NotAllowed, reason)
}
