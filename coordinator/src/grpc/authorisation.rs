//! Who calls, and what that one may do. Asked on every call, never only when a connection opens.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hostler_plan::{
    document::{DocumentKind, Signer, SignerRole},
    id::{Digest, Fingerprint, NodeName},
    refusal::Refused,
    signature,
    timestamp::Timestamp,
    trust,
};
use hostler_proto::{
    SESSION_METADATA,
    login::login_bytes,
    status::from_refused,
    tls::{Connection, PeerInfo, Rank},
    v1,
};
use tonic::{Request, Status};

use super::{
    Shared,
    ca::Holder,
    convert::required,
    peer,
    session::{Challenges, Sessions},
};
use crate::{
    clock::now,
    control::{ClockBehind, Members, Membership},
};

/// The challenges and sessions of the admins' listener.
#[derive(Debug)]
pub(crate) struct AdminAuth {
    /// SHA-256 of the certificate that the listener shows: what an answer is bound to.
    certificate: Digest,
    challenges: Mutex<Challenges<()>>,
    sessions: Mutex<Sessions>,
}

/// An admin with a session.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub name: String,
    pub key: Fingerprint,
    pub role: SignerRole,
    /// When its session ends.
    pub ends: Timestamp,
    session: CallSession,
}

/// What a call shows to be let in: the name of a session, and the connection that it came over.
#[derive(Debug, Clone)]
struct CallSession {
    name: String,
    connection: Connection,
}

impl AdminAuth {
    /// Nobody is logged in yet.
    pub(crate) fn new(certificate: Digest, session: Duration) -> Self {
        let (challenges, sessions) = (Mutex::new(Challenges::new()), Mutex::new(Sessions::new(session)));
        Self { certificate, challenges, sessions }
    }

    /// Random bytes for this connection to sign.
    pub(super) fn challenge(&self, peer: &PeerInfo) -> Result<Vec<u8>, Status> {
        let mut challenges = self.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(challenges.open(&peer.connection, (), now())?)
    }

    /// Opens a session for whoever answered a challenge of this connection with the session key of a pass that a key of
    /// the root signed.
    /// `clock` is why this machine's clock cannot be right, where that is known: by a wrong clock no pass counts.
    pub(super) fn login(
        &self,
        shared: &Shared,
        peer: &PeerInfo,
        request: &v1::LoginRequest,
        clock: Option<ClockBehind>,
    ) -> Result<v1::LoginResponse, Status> {
        let open = {
            let mut challenges = self.challenges.lock().unwrap_or_else(PoisonError::into_inner);
            challenges.take(&request.nonce, &peer.connection, &(), now())
        };
        if !open {
            return Err(Status::unauthenticated(
                "expected the answer to a challenge of this connection within 15 seconds, found none open; log in \
                    again",
            ));
        }
        let now = now();
        let members = shared.control.members();
        let root = members.root.as_ref().ok_or_else(|| {
            Status::unauthenticated("this coordinator knows nobody yet; give it a root by `hostler trust init`")
        })?;
        let pass = required(request.pass.clone(), "a pass")?;
        let pass = trust::pass(root, &pass, &shared.authority.pin(), now).map_err(|refused| {
            tracing::warn!(address = %peer.address, %refused, "login with a pass that does not count");
            from_refused(&match clock {
                Some(behind) => Refused::new(refused.refusal, behind.to_string()),
                None => refused,
            })
        })?;
        let pass = pass.document();
        let key =
            signature::verify(DocumentKind::Login, &login_bytes(&request.nonce, self.certificate), &request.signature)
                .map_err(|e| Status::unauthenticated(format!("the answer to the challenge does not count: {e}")))?;
        if key != pass.session_key {
            return Err(Status::unauthenticated(format!(
                "expected an answer by the session key of the pass, found one by {}; log in again",
                key.fingerprint()
            )));
        }
        let signer = signer_of(&members, &pass.signer)?;
        let (session, ends) = {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.open(&peer.connection, pass.signer.clone(), rank(signer.role), pass.expires, now)?
        };
        tracing::info!(signer = signer.name, role = %signer.role, address = %peer.address, "login");
        Ok(v1::LoginResponse {
            session,
            signer: signer.name.clone(),
            role: v1::SignerRole::from(signer.role).into(),
            expires: ends.unix_seconds(),
        })
    }

    /// The caller, if its session is good on this connection and its role in the present root is at least `least`.
    pub(super) fn caller<T>(&self, shared: &Shared, request: &Request<T>, least: SignerRole) -> Result<Caller, Status> {
        let connection = peer(request)?.connection;
        let name = request.metadata().get(SESSION_METADATA).and_then(|v| v.to_str().ok()).unwrap_or_default();
        self.judge(shared, CallSession { name: name.to_owned(), connection }, least)
    }

    /// The same for a caller who was let in and is still being answered.
    pub(super) fn still(&self, shared: &Shared, caller: &Caller, least: SignerRole) -> Result<Caller, Status> {
        self.judge(shared, caller.session.clone(), least)
    }

    fn judge(&self, shared: &Shared, session: CallSession, least: SignerRole) -> Result<Caller, Status> {
        let open = {
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.get(&session.name, &session.connection, now()).map(|s| (s.key.clone(), s.ends))
        };
        let Some((key, ends)) = open else {
            return Err(Status::unauthenticated(
                "expected a session of this connection, found none that is not over; log in",
            ));
        };
        let members = shared.control.members();
        let signer = signer_of(&members, &key)?;
        if signer.role < least {
            return Err(Status::permission_denied(format!(
                "expected the role {} for this call, found {} with the role {}; ask somebody who has it",
                role_word(least),
                signer.name,
                role_word(signer.role)
            )));
        }
        Ok(Caller { name: signer.name.clone(), key, role: signer.role, ends, session })
    }
}

/// The signer of the newest root with that key.
fn signer_of<'a>(members: &'a Members, key: &Fingerprint) -> Result<&'a Signer, Status> {
    members
        .signer(key)
        .ok_or_else(|| Status::unauthenticated(format!("key {key} no longer stands in the root; log in with another")))
}

/// Whose places a role takes: one that only looks never takes those of people who act.
fn rank(role: SignerRole) -> Rank {
    match role {
        SignerRole::Viewer => Rank::Known,
        SignerRole::Operator | SignerRole::Admin => Rank::Trusted,
    }
}

/// The node that calls: from its certificate alone, which must not have run out, and which must be that of a node that
/// belongs to the fleet under the very same key.
pub(super) fn node<T>(shared: &Shared, request: &Request<T>) -> Result<(Holder, Membership), Status> {
    let certificate = peer(request)?
        .certificate
        .ok_or_else(|| Status::unauthenticated("expected a node's certificate, found none"))?;
    let holder = Holder::from_certificate(&certificate).map_err(|e| Status::unauthenticated(e.to_string()))?;
    let membership = still_member(shared, &holder)?;
    Ok((holder, membership))
}

/// Whether the holder of a certificate still belongs to the fleet, now.
pub(super) fn still_member(shared: &Shared, holder: &Holder) -> Result<Membership, Status> {
    let node: &NodeName = &holder.identity.node;
    if now() >= holder.ends {
        return Err(Status::unauthenticated(format!(
            "the certificate of {node} ran out at {}; renew it with the node's own key",
            holder.ends
        )));
    }
    let members = shared.control.members();
    if members.root.as_ref().map(|r| &r.root().fleet_id) != Some(&holder.identity.fleet) {
        return Err(Status::unauthenticated(format!(
            "node {node} belongs to fleet {}, which is not this one",
            holder.identity.fleet
        )));
    }
    match members.membership(node, &holder.key) {
        membership @ (Membership::Active | Membership::Pending) => Ok(membership),
        Membership::Retired => {
            Err(Status::permission_denied(format!("node {node} is retired; enrol it with a new key to bring it back")))
        }
        Membership::Unknown => Err(Status::permission_denied(format!(
            "expected the key of node {node}, found {}, which no longer belongs to it; enrol again with a join string",
            holder.key
        ))),
    }
}

/// The same where only a node of the roster will do. Says until when that is so if nobody changes it.
pub(super) fn still_active(shared: &Shared, holder: &Holder) -> Result<Timestamp, Status> {
    match still_member(shared, holder)? {
        Membership::Active => Ok(holder.ends),
        Membership::Pending | Membership::Retired | Membership::Unknown => {
            Err(Status::permission_denied("expected a node of the roster, found one that waits for approval"))
        }
    }
}

/// The word for people.
pub(super) fn role_word(role: SignerRole) -> &'static str {
    match role {
        SignerRole::Viewer => "viewer",
        SignerRole::Operator => "operator",
        SignerRole::Admin => "admin",
    }
}
