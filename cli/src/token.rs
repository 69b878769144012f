//! Join tokens: key pairs that admit new nodes.

use std::{path::PathBuf, time::Duration};

use hostler_plan::{
    document::{Admission, AdmissionType, Approval, Decided, DocumentKind, Roster, Signed},
    id::{Digest, TokenId},
    json,
    refusal::Refused,
    step::ClusterRole,
    text::hex,
    timestamp::Timestamp,
    trust::{self, Draft, Purpose, Verified},
};
use hostler_proto::{join::JoinString, v1};
use rand_core::{OsRng, RngCore as _};
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use crate::{
    Admin, decision,
    error::Error,
    file::{read_limited, write_whole},
};

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
    /// As the coordinator says.
    pub revoked: bool,
    /// The held roster says it.
    pub revocation_signed: bool,
    /// The nodes that enrolled with it.
    pub nodes: Vec<String>,
}

/// Makes a token's key pair, signs and submits the admission with its public half, and gives the join string: the only
/// place where the private half exists from then on.
pub async fn create(admin: &mut Admin, request: &TokenRequest, now: Timestamp) -> Result<JoinString, Error> {
    let admission = draft(admin, request, now)?;
    let token = admission.document().token.clone();
    let signed = sign_alone(admin, admission, now).inspect_err(|_| forget(admin, &token))?;
    hand_in(admin, &signed, now).await?;
    join_string(admin, &token)
}

/// Makes a token's key pair, keeps the private half in the profile until the admission is accepted, and gives the
/// admission, which nobody has signed yet.
pub fn draft(admin: &Admin, request: &TokenRequest, now: Timestamp) -> Result<Draft<Admission>, Error> {
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)
        .map_err(|e| Error::Failed(format!("cannot make a token key: {e}; check the system's random source")))?;
    let mut id = [0; 8];
    OsRng.fill_bytes(&mut id);
    let token = TokenId::new(hex(&id)).expect("16 hexadecimal digits");
    let root = admin.trust_store().root();
    let most = root.policy.max_admission_lifetime_seconds;
    if request.lifetime.as_secs() > most {
        return Err(Error::Usage(format!(
            "--ttl: expected at most {most} s by the root's policy, found {} s",
            request.lifetime.as_secs()
        )));
    }
    let created = now.whole_seconds();
    let admission = Admission {
        document_type: AdmissionType::V1,
        fleet_id: root.fleet_id.clone(),
        epoch: root.epoch,
        root_version: root.version,
        root: admin.trust_store().trusted().digest(),
        token: token.clone(),
        token_key: key.public_key().clone().into(),
        uses: request.uses,
        created,
        expires: created.plus(request.lifetime),
        role: request.role,
        approval: request.approval,
    };
    let draft = Draft::admission(Signed { bytes: json::write(&admission), signatures: Vec::new() })?;
    let secret = key
        .to_openssh(LineEnding::LF)
        .map_err(|e| Error::Failed(format!("cannot write the token key: {e}; try again")))?;
    write_whole(&key_path(admin, &token), secret.as_bytes(), true)?;
    Ok(draft)
}

fn sign_alone(admin: &Admin, mut draft: Draft<Admission>, now: Timestamp) -> Result<Signed, Error> {
    draft.add(admin.signer().sign(DocumentKind::Admission, &draft.signed().bytes)?)?;
    trust::admission(admin.trust_store().trusted(), draft.signed(), Purpose::Submitting(now))?;
    Ok(draft.signed().clone())
}

/// Hands in an admission that is signed by enough keys. False when the coordinator had it before.
pub(crate) async fn hand_in(admin: &mut Admin, signed: &Signed, now: Timestamp) -> Result<bool, Error> {
    trust::admission(admin.trust_store().trusted(), signed, Purpose::Submitting(now))?;
    let message = admin.with_session(signed.clone().into());
    Ok(admin.client().submit_admission(message).await?.into_inner().is_new)
}

/// Where the private half of a token waits for its admission.
fn key_path(admin: &Admin, token: &TokenId) -> PathBuf {
    admin.trust_store().home().join("tokens").join(token.as_str())
}

/// Whether the private half of that token waits on this machine.
pub fn is_held(admin: &Admin, token: &TokenId) -> bool {
    key_path(admin, token).exists()
}

/// Removes the private half of a token whose admission nobody will accept.
pub fn forget(admin: &Admin, token: &TokenId) {
    // It admits nobody without its admission; what cannot be removed is found again under its token's name.
    let _ = std::fs::remove_file(key_path(admin, token));
}

/// The join string of a token whose admission the coordinator holds, for this one time: the private half, which waited
/// on this machine, is removed. The string pins the newest root that is held here.
pub fn join_string(admin: &Admin, token: &TokenId) -> Result<JoinString, Error> {
    let path = key_path(admin, token);
    if !path.exists() {
        return Err(Error::Usage(format!(
            "expected the private half of token {token} in {}, found none; it waits where the token was made, until \
             its join string was printed once",
            path.display()
        )));
    }
    let token_key = read_limited(&path, MAX_KEY_BYTES)?;
    let token_key = String::from_utf8(token_key).map_err(|_| {
        Error::Failed(format!("{}: expected a key, found binary data; make a new token", path.display()))
    })?;
    // The string is printed once, and the file goes: one with a broken key would admit nobody.
    PrivateKey::from_openssh(&token_key).map_err(|e| {
        Error::Failed(format!("{}: expected the key of a token, found what is {e}; make a new token", path.display()))
    })?;
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
    let join = JoinString {
        fleet_id: store.root().fleet_id.clone(),
        address: said.enrolment_address.clone(),
        ca_pin,
        root: store.trusted().digest(),
        token: token.clone(),
        token_key,
    };
    std::fs::remove_file(&path).map_err(|e| Error::file("remove", &path, e))?;
    Ok(join)
}

/// A token's key in OpenSSH's form has about 400 bytes.
const MAX_KEY_BYTES: usize = 4096;

/// Every token of the fleet, verified.
pub async fn list(admin: &mut Admin) -> Result<Vec<Token>, Error> {
    let request = admin.with_session(v1::Empty {});
    let reply = admin.client().list_tokens(request).await?.into_inner();
    let store = admin.trust_store();
    let token = |t: v1::Token| {
        let admission = trust::admission(store.trusted(), &t.admission.unwrap_or_default().into(), Purpose::Begun);
        let revoked_by = |r: &Verified<Roster>| {
            admission.as_ref().is_ok_and(|a| r.document().revoked_tokens.contains(&a.document().token))
        };
        let revocation_signed = store.roster().is_some_and(revoked_by);
        Token { admission, used: t.used, revoked: t.revoked, revocation_signed, nodes: t.nodes }
    };
    Ok(reply.tokens.into_iter().map(token).collect())
}

/// Ends a token at once, unsigned: the coordinator admits nobody with it any more. It is the coordinator's word until a
/// roster revokes it, see [`crate::roster::revoking`]. Nodes that are in stay in.
pub async fn revoke(admin: &mut Admin, token: &TokenId) -> Result<(), Error> {
    let request = admin.with_session(v1::RevokeTokenRequest { token: token.to_string() });
    admin.client().revoke_token(request).await?;
    decision::decide(admin, Decided::RevokeToken { token: token.clone() }).await.map(drop)
}
