//! The coordinator's own certificate authority.
//!
//! It vouches for transport alone: no document that a node obeys depends on it. Its key and its certificate are made
//! at the first start; the pin that nodes and admins hold is the digest of its public key.

use std::{fmt, io, path::PathBuf, time::Duration};

use hostler_daemon::durable::{self, PRIVATE};
use hostler_plan::{
    id::{Digest, Fingerprint},
    timestamp::Timestamp,
};
use hostler_proto::tls::{COORDINATOR_NAME, NodeIdentity, ServerIdentity, TlsError, is_certificate, spki_digest};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::{
    certification_request::X509CertificationRequest,
    prelude::{FromDer as _, X509Certificate},
};

use crate::store::data_dir::DataDir;

/// How long a node's certificate lives: short enough that a lost one ends by itself (step-ca's default).
pub const NODE_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// A new certificate is asked for after 14 of these 24 parts of its life, leaving the node time for several tries.
const RENEW_AFTER_PARTS: (u32, u32) = (14, 24);
/// A certificate is valid from a little before it was made, for nodes whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(300);
/// The listener's certificate is made anew at every start, so this is the longest run without a restart.
const SERVER_LIFETIME: Duration = Duration::from_secs(5 * 365 * 24 * 3600);
/// The CA outlives the machine; it is replaced through the root's list of pins.
const CA_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// RFC 5280 allows 20 bytes; 16 random ones never meet.
const SERIAL_BYTES: usize = 16;
/// A certificate request of an Ed25519 or P-256 key has about 300 bytes.
const MAX_REQUEST_BYTES: usize = 8 << 10;

/// The authority with its private key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pin: Digest,
    node_lifetime: Duration,
}

/// Why the authority cannot work.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Its files cannot be read or written.
    #[error("cannot use the coordinator's CA file {}: {source}; restore it from a backup", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Its key or certificate is not what was written.
    #[error("the coordinator's CA file {} is damaged: {reason}; restore it from a backup", path.display())]
    Damaged { path: PathBuf, reason: String },
    /// Its key is not there, and with another one no node and no admin would speak to this coordinator.
    #[error(
        "the coordinator's CA key {} is missing, and this coordinator is not new; restore it from a backup, or give \
            the fleet a root with the CA of a new coordinator",
        path.display()
    )]
    Gone { path: PathBuf },
    /// A certificate could not be made.
    #[error("making a certificate failed: {0}")]
    Make(#[from] rcgen::Error),
    /// A fresh certificate cannot be read back.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// Why a certificate request is refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected a certificate request (PKCS#10) with an Ed25519 or P-256 key that signed it, found {found}; update \
        hostler-agent"
)]
pub struct BadRequest {
    found: String,
}

/// The public key out of a certificate request whose sender proved to hold the private one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedKey {
    algorithm: &'static SignatureAlgorithm,
    key: Vec<u8>,
    spki: Digest,
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.key
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl RequestedKey {
    /// Takes the key, and nothing else, from a DER request: names, extensions and attributes are not looked at.
    pub fn from_request(der: &[u8]) -> Result<Self, BadRequest> {
        let wrong = |found: &str| BadRequest { found: found.to_owned() };
        if der.len() > MAX_REQUEST_BYTES {
            return Err(wrong(&format!("{} bytes", der.len())));
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|e| wrong(&e.to_string()))?;
        if !rest.is_empty() {
            return Err(wrong("bytes behind its end"));
        }
        let info = &request.certification_request_info;
        let key = info.subject_pki.subject_public_key.as_ref();
        let (algorithm, verification): (_, &dyn ring::signature::VerificationAlgorithm) =
            match info.subject_pki.algorithm.algorithm.to_id_string().as_str() {
                "1.3.101.112" => (&rcgen::PKCS_ED25519, &ring::signature::ED25519),
                "1.2.840.10045.2.1" => (&rcgen::PKCS_ECDSA_P256_SHA256, &ring::signature::ECDSA_P256_SHA256_ASN1),
                other => return Err(wrong(&format!("a key of type {other}"))),
            };
        ring::signature::UnparsedPublicKey::new(verification, key)
            .verify(info.raw, &request.signature_value.data)
            .map_err(|_| wrong("a signature that does not verify"))?;
        let mut requested = Self { algorithm, key: key.to_vec(), spki: Digest::ZERO };
        requested.spki = Digest::of(&requested.subject_public_key_info());
        Ok(requested)
    }

    /// SHA-256 of its SubjectPublicKeyInfo, as an enrolment names it.
    pub fn spki_digest(&self) -> Digest {
        self.spki
    }
}

/// Who holds a node's certificate, as this authority wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub identity: NodeIdentity,
    /// The fingerprint of the node's own key.
    pub key: Fingerprint,
    /// From then on the certificate counts no more, however long its connection lasts.
    pub ends: Timestamp,
}

impl Holder {
    /// Reads the holder out of a certificate that the listener verified.
    pub fn from_certificate(der: &[u8]) -> Result<Self, TlsError> {
        let wrong =
            |found: String| TlsError::Certificate { expected: "a node's certificate of this coordinator", found };
        let identity = NodeIdentity::from_certificate(der)?;
        let (_, certificate) = X509Certificate::from_der(der).map_err(|e| wrong(e.to_string()))?;
        let name = certificate.subject().iter_common_name().next().and_then(|n| n.as_str().ok());
        let key = Fingerprint::new(name.unwrap_or_default()).map_err(|e| wrong(e.to_string()))?;
        let ends = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        Ok(Self { identity, key, ends: Timestamp::from_unix_seconds(ends) })
    }
}

impl Authority {
    /// Reads the authority from the data folder, or makes it there.
    pub fn open(data: &DataDir, now: Timestamp) -> Result<Self, CaError> {
        let (key_path, certificate_path) = (data.join("ca.key"), data.join("ca.crt"));
        let file = |path: &PathBuf| {
            let path = path.clone();
            move |source| CaError::File { path, source }
        };
        let key = match std::fs::read_to_string(&key_path) {
            Ok(pem) => KeyPair::from_pem(&pem)
                .map_err(|e| CaError::Damaged { path: key_path.clone(), reason: e.to_string() })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !data.is_new() => {
                return Err(CaError::Gone { path: key_path });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate()?;
                durable::replace(&key_path, key.serialize_pem().as_bytes(), PRIVATE).map_err(file(&key_path))?;
                key
            }
            Err(e) => return Err(file(&key_path)(e)),
        };
        let params = ca_params(now)?;
        let found = match std::fs::read(&certificate_path) {
            Ok(der) if is_whole(&der) => Some(CertificateDer::from(der)),
            Ok(_) => {
                tracing::warn!(file = %certificate_path.display(), "the CA's certificate is damaged and made anew");
                None
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(file(&certificate_path)(e)),
        };
        let certificate = match found {
            Some(certificate) => certificate,
            // Another one of the same key and name is as good: both are what is compared.
            None => {
                let made = params.self_signed(&key)?.der().clone();
                durable::replace(&certificate_path, &made, PRIVATE).map_err(file(&certificate_path))?;
                made
            }
        };
        let pin = spki_digest(&certificate)
            .map_err(|e| CaError::Damaged { path: certificate_path.clone(), reason: e.to_string() })?;
        if pin != Digest::of(&key.subject_public_key_info()) {
            let reason = "expected the certificate of the key in ca.key, found another".to_owned();
            return Err(CaError::Damaged { path: certificate_path, reason });
        }
        Ok(Self { issuer: Issuer::new(params, key), certificate, pin, node_lifetime: NODE_LIFETIME })
    }

    /// The same authority with another lifetime for nodes' certificates.
    pub fn with_node_lifetime(self, node_lifetime: Duration) -> Self {
        Self { node_lifetime, ..self }
    }

    /// When a node with a certificate made now should ask for the next one.
    pub fn renew_after(&self, now: Timestamp) -> Timestamp {
        let (part, of) = RENEW_AFTER_PARTS;
        now.plus(self.node_lifetime * part / of)
    }

    /// SPKI digest of the authority: what roots and join strings pin.
    pub fn pin(&self) -> Digest {
        self.pin
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A fresh key and certificate for the listeners, with the authority behind it.
    pub fn server_identity(&self, now: Timestamp) -> Result<ServerIdentity, CaError> {
        let key = KeyPair::generate()?;
        let mut params = leaf_params(now, SERVER_LIFETIME)?;
        params.subject_alt_names = vec![SanType::DnsName(COORDINATOR_NAME.try_into()?)];
        params.distinguished_name.push(DnType::CommonName, COORDINATOR_NAME);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(ServerIdentity { chain: vec![leaf, self.certificate.clone()], key })
    }

    /// A node's certificate, leaf first, made from nothing but its name and its keys. The common name is the
    /// fingerprint of the node's own key: a name that was given to another machine does not carry its old certificates
    /// along.
    pub fn node_chain(
        &self,
        node: &NodeIdentity,
        own_key: &Fingerprint,
        key: &RequestedKey,
        now: Timestamp,
    ) -> Result<Vec<CertificateDer<'static>>, CaError> {
        let mut params = leaf_params(now, self.node_lifetime)?;
        params.subject_alt_names = vec![SanType::URI(node.to_string().try_into()?)];
        params.distinguished_name.push(DnType::CommonName, own_key.as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(vec![params.signed_by(key, &self.issuer)?.der().clone(), self.certificate.clone()])
    }
}

/// Whether these bytes are a certificate that its own key signed, and nothing else.
fn is_whole(der: &[u8]) -> bool {
    let Ok((rest, certificate)) = X509Certificate::from_der(der) else { return false };
    let tbs = &certificate.tbs_certificate;
    let key = tbs.subject_pki.subject_public_key.as_ref();
    let verifier = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_ASN1, key);
    // What stands around the signed part is not signed.
    rest.is_empty() && is_certificate(der) && verifier.verify(tbs.as_ref(), &certificate.signature_value.data).is_ok()
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("pin", &self.pin).finish_non_exhaustive()
    }
}

fn params(not_before: Timestamp, not_after: Timestamp) -> Result<CertificateParams, CaError> {
    let mut serial = [0; SERIAL_BYTES];
    SystemRandom::new().fill(&mut serial).map_err(|_| CaError::Random)?;
    // A serial number is positive: the first bit is 0, and the first byte is not.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    // A wrong clock must not stop the coordinator: odd times end in odd certificates, not in a panic.
    let time = |t: Timestamp| {
        i64::try_from(t.unix_seconds()).ok().and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok())
    };
    params.not_before = time(not_before).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    params.not_after = time(not_after).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    Ok(params)
}

fn leaf_params(now: Timestamp, lifetime: Duration) -> Result<CertificateParams, CaError> {
    let from = Timestamp::from_unix_seconds(now.unix_seconds().saturating_sub(BACKDATED.as_secs()));
    let mut params = params(from, now.plus(lifetime))?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn ca_params(now: Timestamp) -> Result<CertificateParams, CaError> {
    // The first start of a machine without a clock must not make a CA that is not valid yet once it has one.
    let mut params = params(Timestamp::from_unix_seconds(0), now.plus(CA_LIFETIME))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "hostler coordinator CA");
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plan::id::{FleetId, NodeName};

    fn now() -> Timestamp {
        "2026-11-21T08:00:00Z".parse().unwrap()
    }

    fn authority(folder: &tempfile::TempDir) -> Authority {
        Authority::open(&DataDir::open(folder.path()).unwrap(), now()).unwrap()
    }

    fn own_key() -> Fingerprint {
        Fingerprint::new(format!("SHA256:{}", "k".repeat(43))).unwrap()
    }

    fn node() -> NodeIdentity {
        NodeIdentity { fleet: FleetId::new("a".repeat(32)).unwrap(), node: NodeName::new("w1").unwrap() }
    }

    #[test]
    fn the_pin_stays_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let (first, again) = (authority(&folder).pin(), authority(&folder).pin());
        assert_eq!(first, again);
        std::fs::remove_file(folder.path().join("ca.crt")).unwrap();
        assert_eq!(authority(&folder).pin(), first, "a certificate of the same key can be made again");
    }

    #[test]
    fn a_greedy_request_gets_a_plain_node_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(&folder);
        let key = KeyPair::generate().unwrap();
        let mut greedy = CertificateParams::new(vec![COORDINATOR_NAME.to_owned()]).unwrap();
        greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let request = greedy.serialize_request(&key).unwrap();
        let requested = RequestedKey::from_request(request.der()).unwrap();
        assert_eq!(requested.spki_digest(), Digest::of(&key.subject_public_key_info()));
        let chain = authority.node_chain(&node(), &own_key(), &requested, now()).unwrap();
        let holder = Holder::from_certificate(&chain[0]).unwrap();
        assert_eq!((holder.identity, holder.key), (node(), own_key()));
        assert_eq!(holder.ends.unix_seconds(), now().unix_seconds() + 24 * 3600);
        assert_eq!(chain.len(), 2);
        assert_eq!(spki_digest(&chain[1]).unwrap(), authority.pin());
        assert_eq!(NodeIdentity::from_certificate(&chain[0]).unwrap(), node());
        let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
        assert!(!leaf.is_ca());
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        assert_eq!(leaf.raw_serial().len(), SERIAL_BYTES);
        let valid = leaf.validity();
        assert_eq!(valid.not_before.timestamp() as u64, now().unix_seconds() - 300);
        assert_eq!(valid.not_after.timestamp() as u64, now().unix_seconds() + 24 * 3600);
    }

    #[test]
    fn a_request_without_proof_of_possession_is_refused() {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let der = request.der().to_vec();
        assert!(RequestedKey::from_request(&der).is_ok());
        for at in [der.len() - 1, der.len() / 2, 10] {
            let mut changed = der.clone();
            changed[at] ^= 1;
            assert!(RequestedKey::from_request(&changed).is_err(), "byte {at}");
        }
        assert!(RequestedKey::from_request(&[]).is_err());
        let mut longer = der.clone();
        longer.push(0);
        assert!(RequestedKey::from_request(&longer).is_err());
    }
}
