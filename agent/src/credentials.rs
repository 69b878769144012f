//! The node's certificate with its key, and where to use it.

use hostler_plan::{
    checked,
    id::{Digest, FleetId, NodeName},
    timestamp::Timestamp,
};
use hostler_proto::tls::{ClientIdentity, NodeIdentity, spki_digest};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::folder::{Folder, FolderError};

const FILE: &str = "credentials.json";
/// Those of an enrolment whose answer the executor judges.
const OFFERED: &str = "credentials.offered";
/// The key of an enrolment that was not answered yet: asking again is asking for the same.
const FIRST_KEY: &str = "tls.key";

/// Everything that a connection needs; replaced as a whole.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    pub fleet_id: FleetId,
    pub node: NodeName,
    /// `host:port` of the enrolment listener, for the day when the certificate has run out.
    pub enrolment_address: String,
    /// `host:port` of the agents' listener.
    pub agent_address: String,
    /// When to ask for the next one.
    pub renew_after: Timestamp,
    /// DER in base64, leaf first.
    chain: Vec<Bytes>,
    /// PKCS#8 DER in base64.
    key: Bytes,
}

/// Why credentials cannot be kept.
pub(crate) use crate::folder::FolderError as StoreError;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Bytes(Vec<u8>);

impl TryFrom<String> for Bytes {
    type Error = base64::DecodeError;
    fn try_from(text: String) -> Result<Self, base64::DecodeError> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        STANDARD.decode(text).map(Self)
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        STANDARD.encode(bytes.0)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("node", &self.node)
            .field("agent_address", &self.agent_address)
            .finish_non_exhaustive()
    }
}

/// Why a certificate is not for this node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error(transparent)]
    Tls(#[from] hostler_proto::tls::TlsError),
    #[error("the coordinator gave a certificate with {what} {found}, expected {expected}; it is not used")]
    Other { what: &'static str, expected: String, found: String },
}

impl Credentials {
    /// Takes what a coordinator answered, if it is for this node and this key.
    pub(crate) fn new(
        identity: &NodeIdentity,
        key: &rcgen::KeyPair,
        chain: Vec<Vec<u8>>,
        addresses: (String, String),
        renew_after: Timestamp,
    ) -> Result<Self, CertificateError> {
        let other = |what, expected: String, found: String| CertificateError::Other { what, expected, found };
        let leaf = chain.first().ok_or_else(|| other("length", "1 or more".into(), "0".into()))?;
        let found = NodeIdentity::from_certificate(leaf)?;
        if found != *identity {
            return Err(other("name", identity.to_string(), found.to_string()));
        }
        let (mine, theirs) = (tls_key_digest(key), spki_digest(leaf)?);
        if mine != theirs {
            return Err(other("key", mine.to_string(), theirs.to_string()));
        }
        let (enrolment_address, agent_address) = addresses;
        Ok(Self {
            fleet_id: identity.fleet.clone(),
            node: identity.node.clone(),
            enrolment_address,
            agent_address,
            renew_after,
            chain: chain.into_iter().map(Bytes).collect(),
            key: Bytes(key.serialize_der()),
        })
    }

    /// What is held, if it is this node's. What is broken is as good as nothing: the node's own key gets another one.
    pub(crate) fn load(folder: &Folder, identity: &NodeIdentity) -> Option<Self> {
        [FILE, OFFERED].into_iter().find_map(|file| {
            let text = match folder.read(file) {
                Ok(text) => text?,
                Err(error) => {
                    tracing::warn!("{error}; asking for new credentials");
                    return None;
                }
            };
            let read = checked::read(&text).map_err(str::to_owned);
            let found = match read.and_then(|json| serde_json::from_slice::<Self>(json).map_err(|e| e.to_string())) {
                Ok(found) if found.identity() == *identity => return Some(found),
                Ok(other) => format!("those of {}", other.identity()),
                Err(error) => format!("broken ones ({error})"),
            };
            tracing::warn!("expected credentials of {identity} in {file}, found {found}; asking for new ones");
            None
        })
    }

    /// None yet, but for where to ask.
    pub(crate) fn none(identity: &NodeIdentity, enrolment_address: String) -> Self {
        Self {
            fleet_id: identity.fleet.clone(),
            node: identity.node.clone(),
            enrolment_address,
            agent_address: String::new(),
            renew_after: Timestamp::from_unix_seconds(0),
            chain: Vec::new(),
            key: Bytes(Vec::new()),
        }
    }

    /// Stores them; durable when this returns.
    pub(crate) fn store(&self, folder: &Folder) -> Result<(), FolderError> {
        folder.replace(FILE, &self.to_bytes())
    }

    /// Stores what a coordinator offered, until the executor has judged its answer: a crash in between loses nothing.
    pub(crate) fn store_offered(&self, folder: &Folder) -> Result<(), FolderError> {
        folder.replace(OFFERED, &self.to_bytes())
    }

    /// A key, a certificate or an address that the disk changed would not be noticed before the certificate runs out.
    fn to_bytes(&self) -> Vec<u8> {
        checked::write(&serde_json::to_vec_pretty(self).expect("credentials hold only texts"))
    }

    /// The executor took the answer.
    pub(crate) fn take_offered(folder: &Folder) -> Result<(), FolderError> {
        folder.rename(OFFERED, FILE)
    }

    /// Who the certificate says this node is.
    pub(crate) fn identity(&self) -> NodeIdentity {
        NodeIdentity { fleet: self.fleet_id.clone(), node: self.node.clone() }
    }

    /// For a TLS connection.
    pub(crate) fn client_identity(&self) -> ClientIdentity {
        ClientIdentity {
            chain: self.chain.iter().map(|c| CertificateDer::from(c.0.clone())).collect(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.0.clone())),
        }
    }

    /// The key digest of the CA that signed the certificate; `None` when it cannot be read.
    pub(crate) fn issuer_pin(&self) -> Option<Digest> {
        spki_digest(&self.chain.get(1)?.0).ok()
    }

    /// When the certificate runs out; `None` when it cannot be read.
    pub(crate) fn expires(&self) -> Option<Timestamp> {
        self.validity().map(|(_, ends)| ends)
    }

    /// From when to when the certificate counts.
    pub(crate) fn validity(&self) -> Option<(Timestamp, Timestamp)> {
        let (_, leaf) = X509Certificate::from_der(&self.chain.first()?.0).ok()?;
        let at = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).ok();
        let (begins, ends) = (at(leaf.validity().not_before)?, at(leaf.validity().not_after)?);
        Some((Timestamp::from_unix_seconds(begins), Timestamp::from_unix_seconds(ends)))
    }
}

/// A new ECDSA P-256 key for TLS.
pub(crate) fn new_tls_key() -> Result<rcgen::KeyPair, rcgen::Error> {
    rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
}

/// The key to enrol with: the same one until the node has enrolled.
pub(crate) fn first_tls_key(folder: &Folder) -> Result<rcgen::KeyPair, FirstKeyError> {
    // Nothing but an enrolment that was not answered rests on it.
    let read = folder.read(FIRST_KEY).ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some(key) = read.and_then(|text| rcgen::KeyPair::from_pem(&text).ok()) {
        return Ok(key);
    }
    let key = new_tls_key()?;
    folder.replace(FIRST_KEY, key.serialize_pem().as_bytes())?;
    Ok(key)
}

/// Why there is no key to enrol with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FirstKeyError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("making a TLS key failed: {0}")]
    Make(#[from] rcgen::Error),
}

/// SHA-256 of a key's SubjectPublicKeyInfo.
pub(crate) fn tls_key_digest(key: &rcgen::KeyPair) -> Digest {
    use rcgen::PublicKeyData as _;
    Digest::of(&key.subject_public_key_info())
}

/// A request for a certificate; only its public key counts for the coordinator.
pub(crate) fn certificate_request(key: &rcgen::KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let request = rcgen::CertificateParams::new(Vec::new())?.serialize_request(key)?;
    Ok(request.der().to_vec())
}

#[cfg(test)]
mod tests;
