//! Join tokens: key pairs that admit new nodes.

use std::time::Duration;

use hostler_plan::{
    document::{Admission, AdmissionType, Approval, Decided, DocumentKind, Signed},
    id::{Digest, TokenId},
    json,
    refusal::Refused,
    step::ClusterRole,
    text::hex,
    timestamp::Timestamp,
    trust::{self, Purpose, Verified},
};
use hostler_proto::{join::JoinString, v1};
use rand_core::{OsRng, RngCore as _};
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use crate::{Admin, decision, error::Error};

/// What a new token admits.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// Different nodes that it admits.
    pub uses: u32,
    pub lifetime: Duration,
    pub role: ClusterRole,
    pub approval: Approval,
}

/// A token with what became of it.
#[derive(Debug)]
pub struct Token {
    /// Verified under the held root; or why it does not count.
    pub admission: Result<Verified<Admission>, Refused>,
    pub used: u32,
    pub revoked: bool,
    /// The nodes that enrolled with it.
    pub nodes: Vec<String>,
}

/// Makes a token's key pair, signs and submits the admission with its public half, and gives the join string: the only
/// place where the private half exists.
pub async fn create(admin: &mut Admin, request: &TokenRequest, now: Timestamp) -> Result<JoinString, Error> {
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)
        .map_err(|e| Error::Failed(format!("cannot make a token key: {e}; check the system's random source")))?;
    let mut id = [0; 8];
    OsRng.fill_bytes(&mut id);
    let token = TokenId::new(hex(&id)).expect("16 hexadecimal digits");
    let join = join_string(admin, token.clone(), &key)?;
    let root = admin.trust_store().root();
    let created = now.whole_seconds();
    let admission = Admission {
        document_type: AdmissionType::V1,
        fleet_id: root.fleet_id.clone(),
        epoch: root.epoch,
        root_version: root.version,
        root: admin.trust_store().trusted().digest(),
        token,
        token_key: key.public_key().clone().into(),
        uses: request.uses,
        created,
        expires: created.plus(request.lifetime),
        role: request.role,
        approval: request.approval,
    };
    let bytes = json::write(&admission);
    let signature = admin.signer().sign(DocumentKind::Admission, &bytes)?;
    let signed = Signed { bytes, signatures: vec![signature] };
    trust::admission(admin.trust_store().trusted(), &signed, Purpose::Submitting(now))?;
    let message = admin.with_session(signed.into());
    admin.client().submit_admission(message).await?;
    Ok(join)
}

fn join_string(admin: &Admin, token: TokenId, key: &PrivateKey) -> Result<JoinString, Error> {
    let (store, said) = (admin.trust_store(), admin.coordinator());
    // The coordinator says which of its CAs it uses now; the root says which count.
    let pin: Option<Digest> = said.ca_pin.parse().ok();
    let ca_pin = pin.filter(|p| store.root().coordinator_ca.contains(p)).ok_or_else(|| {
        Error::Failed(format!(
            "the coordinator names the CA {:?}, which is not in root {}; nodes would refuse it: sign a root with this \
             CA, or ask who changed the coordinator",
            said.ca_pin,
            store.root().version
        ))
    })?;
    let token_key = key
        .to_openssh(LineEnding::LF)
        .map_err(|e| Error::Failed(format!("cannot write the token key: {e}; try again")))?;
    Ok(JoinString {
        fleet_id: store.root().fleet_id.clone(),
        address: said.enrolment_address.clone(),
        ca_pin,
        root: store.trusted().digest(),
        token,
        token_key: token_key.to_string(),
    })
}

/// Every token of the fleet, verified.
pub async fn list(admin: &mut Admin) -> Result<Vec<Token>, Error> {
    let request = admin.with_session(v1::Empty {});
    let reply = admin.client().list_tokens(request).await?.into_inner();
    let root = admin.trust_store().trusted();
    Ok(reply
        .tokens
        .into_iter()
        .map(|t| Token {
            admission: trust::admission(root, &Signed::from(t.admission.unwrap_or_default()), Purpose::Begun),
            used: t.used,
            revoked: t.revoked,
            nodes: t.nodes,
        })
        .collect())
}

/// Ends a token: it admits nobody any more. Nodes that are in stay in.
pub async fn revoke(admin: &mut Admin, token: &TokenId) -> Result<(), Error> {
    let request = admin.with_session(v1::RevokeTokenRequest { token: token.to_string() });
    admin.client().revoke_token(request).await?;
    decision::decide(admin, Decided::RevokeToken { token: token.clone() }).await
}
