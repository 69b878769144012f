//! SSHSIG: making a signature, and accepting the one canonical form of it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha512};
use ssh_key::{Algorithm, HashAlg, SshSig};

use super::{KEY_TYPES, PublicKey};
use crate::text::clean_to;
use crate::{
    document::{DocumentKind, MAX_SIGNATURE_BYTES},
    id::Fingerprint,
};

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "-----END SSH SIGNATURE-----\n";
/// Characters of base64 on a line, as ssh-keygen wraps them (sshbuf_dtob64).
const LINE: usize = 70;
/// The first bytes of the blob and of what is signed (PROTOCOL.sshsig).
const MAGIC: &[u8; 6] = b"SSHSIG";
/// The only version of PROTOCOL.sshsig.
const VERSION: u32 = 1;
/// What ssh-keygen uses when nobody asks for another; allowing one keeps one signature per document.
const HASH: &str = "sha512";
/// Bytes behind a hardware key's signature: one of flags, four of counter.
const HARDWARE_TRAILER: usize = 5;
/// The flag a hardware key sets when a person touched it (FIDO "user presence").
const USER_PRESENT: u8 = 0x01;

/// Why an armour is no signature over the bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Longer than any signature can be; nothing of it was read.
    #[error("expected a signature of at most {MAX_SIGNATURE_BYTES} bytes, found {found}")]
    TooLong { found: usize },
    /// Not byte for byte what `ssh-keygen -Y sign` writes.
    #[error("expected a signature exactly as `ssh-keygen -Y sign` writes it, found {found}; sign again")]
    NotCanonical { found: String },
    /// Another version of the format.
    #[error("expected SSH signature version {VERSION}, found {found}; sign with `hostler sign` or ssh-keygen")]
    Version { found: u32 },
    /// Made for another purpose.
    #[error(
        "expected a signature in namespace {expected}, found {found:?}; this signature was made for something else"
    )]
    Namespace { expected: &'static str, found: String },
    /// Bytes in the field that is reserved for later versions.
    #[error("expected an empty reserved field, found {found} bytes; sign again")]
    Reserved { found: usize },
    /// Another hash than sha512.
    #[error("expected hash {HASH}, found {found:?}; sign again without the option hashalg")]
    Hash { found: String },
    /// A key type that does not count.
    #[error("expected a key of type {}, found {found:?}; sign with another key", KEY_TYPES.join(", "))]
    KeyType { found: String },
    /// The signature's own type is not that of its key.
    #[error("expected a signature of type {expected}, found {found:?}; sign again")]
    SignatureType { expected: String, found: String },
    /// A hardware key that signed without being touched.
    #[error("expected the user-presence flag of hardware key {key}, found flags {flags:#04x}; touch the key to sign")]
    UserPresence { key: Fingerprint, flags: u8 },
    /// In good form, but not over these bytes.
    #[error(
        "expected a signature by {key} over these bytes, found one that does not verify; the document or the \
            signature was changed"
    )]
    DoesNotVerify { key: Fingerprint },
}

/// Why a document could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The private key is still under its passphrase.
    #[error("expected a private key that is decrypted, found one under a passphrase; decrypt it first")]
    Encrypted,
    /// The key cannot make this signature.
    #[error("signing with a key of type {key_type} failed: {reason}; use an ed25519 or ecdsa-p256 key, or ssh-agent")]
    Key { key_type: String, reason: String },
    /// What came out does not verify; a signer such as ssh-agent gave something else than was asked for.
    #[error("the new signature does not verify: {0}")]
    Unusable(#[from] SignatureError),
}

/// Verifies that `armour` is a signature over `bytes` for documents of `kind`, and says by which key. Whether that
/// key counts is not decided here.
pub fn verify(kind: DocumentKind, bytes: &[u8], armour: &str) -> Result<PublicKey, SignatureError> {
    if armour.len() > MAX_SIGNATURE_BYTES {
        return Err(SignatureError::TooLong { found: armour.len() });
    }
    let blob = disarm(armour)?;
    let signature = Parsed::read(&blob, kind)?;
    // Whatever the reader above let pass, there is one way to write it.
    let again = armour_of(
        &signature.key,
        kind,
        &signature.algorithm,
        &signature.raw,
        signature.trailer.as_ref().map(|t| t.as_slice()),
    );
    if again != armour {
        return Err(not_canonical("an encoding that differs from the one it decodes to"));
    }
    let fingerprint = signature.key.fingerprint();
    if let Some([flags, ..]) = signature.trailer
        && flags & USER_PRESENT == 0
    {
        return Err(SignatureError::UserPresence { key: fingerprint, flags });
    }
    let wrong = || SignatureError::DoesNotVerify { key: fingerprint.clone() };
    let mut data = signature.raw;
    data.extend(signature.trailer.iter().flatten());
    let parsed = ssh_key::Signature::new(signature.key.as_ssh().algorithm(), data).map_err(|_| wrong())?;
    let key_data = signature.key.as_ssh().key_data().clone();
    let sig = SshSig::new(key_data, kind.namespace(), HashAlg::Sha512, parsed).map_err(|_| wrong())?;
    signature.key.as_ssh().verify(kind.namespace(), bytes, &sig).map_err(|_| wrong())?;
    Ok(signature.key)
}

/// Signs `bytes` as a document of `kind` with an ed25519 or ecdsa-p256 key and gives the armour for a `.sig` file.
pub fn sign(key: &ssh_key::PrivateKey, kind: DocumentKind, bytes: &[u8]) -> Result<String, SigningError> {
    if key.is_encrypted() {
        return Err(SigningError::Encrypted);
    }
    let failed = |e: ssh_key::Error| SigningError::Key { key_type: key.algorithm().to_string(), reason: e.to_string() };
    let signed = key.sign(kind.namespace(), HashAlg::Sha512, bytes).map_err(failed)?;
    assemble(&key.public_key().clone().into(), kind, bytes, signed.signature())
}

/// The bytes that a key signs for `bytes` as a document of `kind`: what is handed to an ssh-agent.
pub fn signed_data(kind: DocumentKind, bytes: &[u8]) -> Vec<u8> {
    let mut data = MAGIC.to_vec();
    put(&mut data, kind.namespace().as_bytes());
    put(&mut data, b"");
    put(&mut data, HASH.as_bytes());
    put(&mut data, &Sha512::digest(bytes));
    data
}

/// The armour from what an ssh-agent answered to [`signed_data`]. It is verified before it is handed out.
pub fn assemble(
    key: &PublicKey,
    kind: DocumentKind,
    bytes: &[u8],
    signature: &ssh_key::Signature,
) -> Result<String, SigningError> {
    let algorithm = signature.algorithm();
    let data = signature.as_bytes();
    #[expect(clippy::wildcard_enum_match_arm, reason = "ssh_key::Algorithm is foreign and grows")]
    let (raw, trailer) = match algorithm {
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => data
            .split_last_chunk::<HARDWARE_TRAILER>()
            .map(|(raw, trailer)| (raw, Some(trailer.as_slice())))
            .ok_or_else(|| not_canonical("a hardware key's signature without flags and counter"))?,
        _ => (data, None),
    };
    let armour = armour_of(key, kind, algorithm.as_str(), raw, trailer);
    verify(kind, bytes, &armour)?;
    Ok(armour)
}

fn armour_of(key: &PublicKey, kind: DocumentKind, algorithm: &str, raw: &[u8], trailer: Option<&[u8]>) -> String {
    let mut signature = Vec::new();
    put(&mut signature, algorithm.as_bytes());
    put(&mut signature, raw);
    signature.extend(trailer.into_iter().flatten());

    let mut blob = MAGIC.to_vec();
    blob.extend(VERSION.to_be_bytes());
    put(&mut blob, &key.to_wire());
    put(&mut blob, kind.namespace().as_bytes());
    put(&mut blob, b"");
    put(&mut blob, HASH.as_bytes());
    put(&mut blob, &signature);

    let base64 = STANDARD.encode(blob);
    let mut armour = String::with_capacity(BEGIN.len() + base64.len() + base64.len() / LINE + 1 + END.len());
    armour.push_str(BEGIN);
    for (i, character) in base64.chars().enumerate() {
        if i > 0 && i % LINE == 0 {
            armour.push('\n');
        }
        armour.push(character);
    }
    armour.push('\n');
    armour.push_str(END);
    armour
}

/// An SSH string: its length in four bytes, then its bytes.
fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("keys, names and digests are far below 4 GiB");
    to.extend(length.to_be_bytes());
    to.extend(bytes);
}

fn not_canonical(found: impl Into<String>) -> SignatureError {
    SignatureError::NotCanonical { found: found.into() }
}

/// The blob between the armour's lines.
fn disarm(armour: &str) -> Result<Vec<u8>, SignatureError> {
    if armour.contains('\r') {
        return Err(not_canonical("carriage returns (CRLF line ends)"));
    }
    let body = armour.strip_prefix(BEGIN).ok_or_else(|| not_canonical("something before the first armour line"))?;
    let body = body.strip_suffix(END).ok_or_else(|| not_canonical("something behind the last armour line"))?;
    let base64: String = body.lines().collect();
    STANDARD.decode(base64).map_err(|e| not_canonical(format!("no base64 ({e})")))
}

struct Parsed {
    key: PublicKey,
    algorithm: String,
    raw: Vec<u8>,
    /// Flags and counter of a hardware key.
    trailer: Option<[u8; HARDWARE_TRAILER]>,
}

impl Parsed {
    fn read(blob: &[u8], kind: DocumentKind) -> Result<Self, SignatureError> {
        let mut rest = Rest(blob);
        if rest.take(MAGIC.len())? != MAGIC {
            return Err(not_canonical("other first bytes than SSHSIG"));
        }
        let version = rest.number()?;
        if version != VERSION {
            return Err(SignatureError::Version { found: version });
        }
        let key = read_key(rest.string()?)?;
        let namespace = rest.string()?;
        if namespace != kind.namespace().as_bytes() {
            return Err(SignatureError::Namespace { expected: kind.namespace(), found: text(namespace) });
        }
        let reserved = rest.string()?;
        if !reserved.is_empty() {
            return Err(SignatureError::Reserved { found: reserved.len() });
        }
        let hash = rest.string()?;
        if hash != HASH.as_bytes() {
            return Err(SignatureError::Hash { found: text(hash) });
        }
        let mut signature = Rest(rest.string()?);
        rest.end()?;

        let algorithm = signature.string()?;
        let expected = key.key_type();
        if algorithm != expected.as_bytes() {
            return Err(SignatureError::SignatureType { expected, found: text(algorithm) });
        }
        let raw = signature.string()?.to_vec();
        #[expect(clippy::wildcard_enum_match_arm, reason = "ssh_key::Algorithm is foreign and grows")]
        let trailer = match key.as_ssh().algorithm() {
            Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => Some(
                signature.take(HARDWARE_TRAILER)?.try_into().expect("take gives as many bytes as it was asked for"),
            ),
            _ => None,
        };
        signature.end()?;
        if matches!(key.as_ssh().algorithm(), Algorithm::Ecdsa { .. } | Algorithm::SkEcdsaSha2NistP256) {
            check_ecdsa(&raw)?;
        }
        Ok(Self { key, algorithm: expected, raw, trailer })
    }
}

fn read_key(wire: &[u8]) -> Result<PublicKey, SignatureError> {
    let name = Rest(wire).string()?;
    if !KEY_TYPES.iter().any(|t| t.as_bytes() == name) {
        return Err(SignatureError::KeyType { found: text(name) });
    }
    ssh_key::PublicKey::from_bytes(wire)
        .map(PublicKey::from)
        .map_err(|e| not_canonical(format!("a public key that cannot be read ({e})")))
}

/// Two positive numbers of at most 32 bytes, each without leading zeros that it does not need.
fn check_ecdsa(raw: &[u8]) -> Result<(), SignatureError> {
    let mut rest = Rest(raw);
    for _ in 0..2 {
        let minimal = match rest.string()? {
            [] => false,
            [0, next, more @ ..] => *next >= 0x80 && more.len() < 32,
            number @ [first, ..] => *first < 0x80 && *first != 0 && number.len() <= 32,
        };
        if !minimal {
            return Err(not_canonical("an ECDSA number that is not in its shortest form"));
        }
    }
    rest.end()
}

fn text(bytes: &[u8]) -> String {
    clean_to(&String::from_utf8_lossy(bytes), 80).into_owned()
}

/// What is left to read of a blob.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], SignatureError> {
        let (taken, left) =
            self.0.split_at_checked(count).ok_or_else(|| not_canonical("a blob that ends too early"))?;
        self.0 = left;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, SignatureError> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().expect("four bytes were taken")))
    }

    fn string(&mut self) -> Result<&'a [u8], SignatureError> {
        let length = usize::try_from(self.number()?).map_err(|_| not_canonical("a length beyond all memory"))?;
        self.take(length)
    }

    fn end(&self) -> Result<(), SignatureError> {
        match self.0.len() {
            0 => Ok(()),
            more => Err(not_canonical(format!("{more} bytes behind its end"))),
        }
    }
}
