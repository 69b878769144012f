//! Recovery keys: what snapshots are sealed to, and what brings a cluster back from them.

use std::{fmt, str::FromStr};

use bech32::{Bech32, Hrp};
use serde::{Deserialize, Serialize};

use crate::id::InvalidId;

/// A recovery key of the root: its public half, and who keeps the private one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryKey {
    /// For people: who holds the private half, or where it lies.
    pub name: String,
    pub key: Recipient,
}

/// An X25519 public key that files are sealed to, written as age writes its recipients (`age1…`,
/// <https://age-encryption.org/v1>).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Recipient([u8; 32]);

/// The human-readable part of age's recipients.
const PREFIX: Hrp = Hrp::parse_unchecked("age");

impl Recipient {
    /// The key as its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&bech32::encode::<Bech32>(PREFIX, &self.0).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Recipient {
    type Err = InvalidId;

    /// The one form in which it is written: lower case, with the checksum of BIP 173.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid =
            || InvalidId::new("recovery key", "a public key that begins with age1, as `age-keygen` writes", text);
        let bytes = bech32::decode(text).map_err(|_| invalid())?.1;
        let recipient = Self(bytes.try_into().map_err(|_| invalid())?);
        // Another checksum, prefix or case gives another text.
        if recipient.to_string() == text { Ok(recipient) } else { Err(invalid()) }
    }
}

impl TryFrom<String> for Recipient {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Recipient> for String {
    fn from(recipient: Recipient) -> String {
        recipient.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair that age's own documentation shows.
    const WRITTEN: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    #[test]
    fn a_recipient_is_written_as_it_was_read_and_in_one_form() {
        let read: Recipient = WRITTEN.parse().unwrap();
        assert_eq!(read.to_string(), WRITTEN);
        assert_eq!(serde_json::to_string(&read).unwrap(), format!("\"{WRITTEN}\""));
        let private = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
        for wrong in [&WRITTEN.to_uppercase(), &WRITTEN.replace("aqm", "aqn"), &WRITTEN[..40], "", private] {
            assert!(wrong.parse::<Recipient>().is_err(), "{wrong}");
        }
    }
}
