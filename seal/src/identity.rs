//! The private half of a key: who opens.

use std::{fmt, str::FromStr};

use bech32::{Bech32, Hrp};
use hostler_plan::document::Recipient;
use rand_core::OsRng;
use x25519_dalek::{PublicKey, StaticSecret};

/// The human-readable part of age's private keys.
const PREFIX: Hrp = Hrp::parse_unchecked("age-secret-key-");

/// An X25519 private key. Wiped from memory when it is dropped.
#[derive(Clone)]
pub struct Identity(pub(crate) StaticSecret);

/// A text that is no private key. It is never repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a private key that begins with AGE-SECRET-KEY-1, as `hostler recovery key new` writes it")]
pub struct InvalidIdentity;

impl Identity {
    /// A new one.
    pub fn generate() -> Self {
        Self(StaticSecret::random_from_rng(OsRng))
    }

    /// The key of those 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(StaticSecret::from(bytes))
    }

    /// The public half.
    pub fn recipient(&self) -> Recipient {
        Recipient::from_bytes(PublicKey::from(&self.0).to_bytes())
    }

    /// The key as age writes it: for a file that nobody else reads.
    pub fn to_secret_text(&self) -> String {
        bech32::encode_upper::<Bech32>(PREFIX, self.0.as_bytes()).unwrap_or_default()
    }

    /// The first key in a file as `age-keygen` writes it: a line each, `#` begins a remark.
    pub fn from_file(text: &str) -> Result<Self, InvalidIdentity> {
        let written = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        written.ok_or(InvalidIdentity)?.parse()
    }
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let (_, bytes) = bech32::decode(text).map_err(|_| InvalidIdentity)?;
        let identity = Self::from_bytes(bytes.try_into().map_err(|_| InvalidIdentity)?);
        // Another checksum, prefix or case gives another text.
        if identity.to_secret_text() == text { Ok(identity) } else { Err(InvalidIdentity) }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity of {}", self.recipient())
    }
}
