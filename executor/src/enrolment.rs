//! The root side of an enrolment: it reads the join string, composes and signs what the node says of itself, and
//! believes nothing of the answer that the join string does not prove.
//!
//! The root is believed because its digest stands in the join string, which names the newest one of its day: the chain
//! that is served must hold it and may go on.
//!
//! The network side carries both. It learns whom to ask and never the token's key. What the node needs is stored in
//! this order: keys, state, membership; only then is the join string removed. A crash anywhere in between repeats the
//! enrolment with the same keys, which the coordinator answers the same.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};

use hostler_plan::{
    checked,
    document::{DocumentKind, Enrolment, EnrolmentType, MAX_ROOT_HOPS, Signed},
    id::{Digest, Fingerprint, NodeName, Seq},
    join::JoinString,
    json,
    refusal::{Refusal, Refused},
    renewal::{MAX_NONCE_BYTES, renewal_bytes},
    signature::{self, PublicKey},
    trust::{self, Clock, NodeState, Purpose, TrustedRoot, Verified},
};
use ssh_key::PrivateKey;

use crate::{
    disk::{Disk, DiskError},
    host::Host,
    join_file::{JoinFiles, JoinFound},
    keys::Keys,
    protocol::{
        build_time,
        node::{Admitted, Identity, Invitation, Membership, NoInvitation, NodeError},
    },
    state_file::{StateFile, StateFileError, StoredState, damaged},
};

/// Written last. Where it is, a missing state is damage and never a first run.
const MEMBERSHIP: &str = "enrolled";

/// A membership has less than 1 KiB.
const MAX_BYTES: u64 = 4096;

/// What enrols this node, and answers for its key afterwards.
pub(crate) struct Enroller {
    /// The folder is its executor's, which may have ended.
    pub disk: Weak<Disk>,
    pub keys: Arc<Keys>,
    pub host: Arc<dyn Host>,
    pub join_files: JoinFiles,
    /// The name to enrol under.
    pub name: NodeName,
    pub member: Option<Membership>,
}

/// Whether this node is enrolled, and as whom. Where its state tells of work and nothing says so, that is damage.
pub(crate) fn membership(disk: &Disk) -> Result<Option<Membership>, StateFileError> {
    let Some(bytes) = disk.read(MEMBERSHIP, MAX_BYTES)? else {
        // A crash in the middle of an enrolment leaves a state of which nothing came yet.
        let worked = |held: &StoredState| held.state.next_receipt().0 > 1 || held.state.seq() > Seq(0);
        return match StateFile::open(disk)?.1.filter(worked) {
            Some(_) => Err(damaged(&format!("no {MEMBERSHIP} beside the state of a node that had plans")).into()),
            None => Ok(None),
        };
    };
    // A name or an address that the disk changed is not the node's.
    let json = checked::read(&bytes).map_err(str::to_owned);
    let member = json.and_then(|json| json::parse(json).map_err(|e| e.to_string()));
    Ok(Some(member.map_err(|e| damaged(&format!("a broken {MEMBERSHIP} ({e})")))?))
}

impl Enroller {
    /// Who this node is, or would be.
    pub(crate) fn identity(&self) -> Identity {
        let node = self.member.as_ref().map_or(&self.name, |member| &member.node);
        Identity { node: node.clone(), key: self.keys.public(), member: self.member.clone() }
    }

    /// Removes a join string of this node's own fleet that lies here still: it has served, and the machine went down
    /// before it was removed. It is a secret, and good for nothing here.
    pub(crate) fn forget_served(&mut self) {
        let Some(member) = &self.member else { return };
        self.join_files.all_is_well(&*self.host);
        // One that cannot be read is nothing to be removed without a person.
        if let Ok(Some(found)) = self.join_files.read()
            && found.join.fleet_id == member.fleet_id
        {
            found.forget();
        }
    }

    /// Whom to ask.
    pub(crate) fn invitation(&mut self) -> Result<Result<Invitation, NoInvitation>, NodeError> {
        let found = self.join_files.read();
        match &found {
            // Nobody sees the messages of a node that is not enrolled, but whoever has a screen at it sees its console.
            Err(wrong) => self.join_files.say(&*self.host, &self.name, &wrong.to_string()),
            Ok(_) => self.join_files.all_is_well(&*self.host),
        }
        let Some(JoinFound { join, .. }) = found.map_err(NodeError::failed)? else {
            return Ok(Err(NoInvitation { places: self.join_files.places() }));
        };
        let JoinString { fleet_id, address, ca_pin, .. } = join;
        Ok(Ok(Invitation { fleet_id, node: self.name.clone(), address, ca_pin }))
    }

    /// What the node says of itself with the token, for a certificate of this TLS key.
    pub(crate) fn enrol(&self, tls_key: Digest) -> Result<Signed, NodeError> {
        let join = self.wanted_join()?.join;
        let token_key = PrivateKey::from_openssh(&join.token_key).map_err(NodeError::failed)?;
        let enrolment = Enrolment {
            document_type: EnrolmentType::V1,
            fleet_id: join.fleet_id,
            token: join.token,
            node: self.name.clone(),
            key: self.keys.public(),
            seal_key: self.keys.seal_key(),
            tls_key,
            arch: self.host.arch(),
            hardware: self.host.hardware().map_err(NodeError::failed)?,
            created: self.host.now().max(build_time()).whole_seconds(),
        };
        let signed = self.keys.sign(DocumentKind::Enrolment, json::write(&enrolment)).map_err(NodeError::failed)?;
        let by_token = signature::sign(&token_key, DocumentKind::Enrolment, &signed.bytes);
        let signatures = [signed.signatures, vec![by_token.map_err(NodeError::failed)?]].concat();
        Ok(Signed { signatures, ..signed })
    }

    /// Takes the coordinator's answer, if the join string proves it: from then on this node is enrolled.
    pub(crate) fn admit(&mut self, admitted: &Admitted) -> Result<Membership, NodeError> {
        let found = self.wanted_join()?;
        let join = &found.join;
        let clock = Clock { now: self.host.now(), synchronised: self.host.clock_is_synchronised() };
        let state = verify(join, &self.keys.public().fingerprint(), clock, admitted)?;
        let JoinString { fleet_id, address: enrolment_address, .. } = join.clone();
        // A person may have given this machine another name than it came with: the signed roster says which.
        let own = self.keys.public().fingerprint();
        let listed = state.roster().and_then(|r| r.document().with_key(&own)).map(|listed| listed.name.clone());
        let node = listed.unwrap_or_else(|| self.name.clone());
        let member = Membership { fleet_id, node, enrolment_address };
        self.keep(&state, &member)?;
        found.forget();
        self.member = Some(member.clone());
        Ok(member)
    }

    /// The answer to a coordinator's challenge, in this node's name.
    pub(crate) fn renew(&self, tls_key: &Digest, nonce: &[u8]) -> Result<String, NodeError> {
        let Some(member) = &self.member else {
            return Err(NodeError::failed(
                "expected a node that enrolled, found one that did not; it has no certificate",
            ));
        };
        if nonce.len() > MAX_NONCE_BYTES {
            let found = nonce.len();
            return Err(NodeError::failed(format!("nonce expected at most {MAX_NONCE_BYTES} bytes, found {found}")));
        }
        let bytes = renewal_bytes(&member.node, tls_key, nonce);
        let signed = self.keys.sign(DocumentKind::Login, bytes).map_err(NodeError::failed)?;
        Ok(signed.signatures.concat())
    }

    fn wanted_join(&self) -> Result<JoinFound, NodeError> {
        if let Some(member) = &self.member {
            let Membership { node, fleet_id, .. } = member;
            return Err(NodeError::failed(format!("{node} is enrolled in fleet {fleet_id} already")));
        }
        let found = self.join_files.read().map_err(NodeError::failed)?;
        found.ok_or_else(|| NodeError::failed("expected a join string, found none any more"))
    }

    fn keep(&self, state: &NodeState, member: &Membership) -> Result<(), NodeError> {
        let disk = self.disk.upgrade().ok_or_else(|| NodeError::failed("the executor is ending"))?;
        let (mut state_file, _) = StateFile::open(&disk).map_err(NodeError::failed)?;
        state_file.store(&disk, state, None).map_err(NodeError::failed)?;
        keep_membership(&disk, member).map_err(NodeError::failed)
    }
}

/// From then on the node is enrolled.
pub(crate) fn keep_membership(disk: &Disk, member: &Membership) -> Result<(), DiskError> {
    disk.replace(MEMBERSHIP, &checked::write(&json::write(member)))
}

/// Believes nothing of the answer that the join string does not prove.
fn verify(join: &JoinString, own: &Fingerprint, clock: Clock, admitted: &Admitted) -> Result<NodeState, NodeError> {
    let Admitted { roots, roster, admission } = admitted;
    let refused = |refusal, reason: String| Err(NodeError::Refused(Refused::new(refusal, reason)));
    if roots.len() > MAX_ROOT_HOPS {
        let (most, found) = (MAX_ROOT_HOPS, roots.len());
        let reason = format!("expected at most {most} roots in one answer, found {found}; ask another coordinator");
        return refused(Refusal::Malformed, reason);
    }
    let (first, later) = TrustedRoot::begin(roots, &join.root)?;
    let mut state = NodeState::new(first, build_time());
    for root in later {
        state = state.accept_root(clock, root)?;
    }
    let root = state.root().root();
    if root.fleet_id != join.fleet_id {
        let reason = format!("expected fleet {}, found a root of {}; make a new token", join.fleet_id, root.fleet_id);
        return refused(Refusal::WrongFleet, reason);
    }
    if !root.coordinator_ca.contains(&join.ca_pin) {
        let reason = format!("expected the root to name the coordinator's CA {}, found it does not", join.ca_pin);
        return refused(Refusal::RootChain, reason);
    }
    let Some(admission) = admission else {
        let reason = "expected the admission of the token in the answer, found none";
        return refused(Refusal::Malformed, reason.into());
    };
    let admission = trust::admission(state.root(), admission, Purpose::Starting(state.time(clock)))?;
    let token_key = PrivateKey::from_openssh(&join.token_key).map_err(NodeError::failed)?;
    let token_key: PublicKey = token_key.public_key().clone().into();
    if admission.document().token != join.token || admission.document().token_key != token_key {
        let reason = format!("expected the admission of token {}, found that of another one", join.token);
        return refused(Refusal::NotAllowed, reason);
    }
    if let Some(roster) = roster {
        state = state.accept_roster(clock, roster)?.0;
    }
    trust::check_token(admission.document(), state.roster().map(Verified::document), own, &BTreeSet::new())?;
    Ok(state)
}

#[cfg(test)]
mod tests;
