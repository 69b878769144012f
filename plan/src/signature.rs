//! SSH keys and SSH signatures (SSHSIG), in the one form that every verifier reads alike.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Fingerprint, InvalidId};

/// An SSH public key as `authorized_keys` writes it, without a comment: `ssh-ed25519 AAAA…`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(ssh_key::PublicKey);

impl PublicKey {
    /// Reads `ssh-ed25519 AAAA… [comment]`; the comment is dropped.
    pub fn from_openssh(text: &str) -> Result<Self, InvalidId> {
        let mut key = ssh_key::PublicKey::from_openssh(text.trim_end()).map_err(|_| InvalidId {
            what: "SSH public key",
            expected: "one line such as ssh-ed25519 AAAA…",
            found: text.chars().take(80).collect(),
        })?;
        key.set_comment("");
        Ok(Self(key))
    }

    /// The fingerprint that `ssh-keygen -l` prints: how keys are told apart and counted.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new(self.0.fingerprint(ssh_key::HashAlg::Sha256).to_string())
            .expect("ssh-key writes SHA-256 fingerprints in this form")
    }

    /// The key for the ssh-key crate.
    pub fn as_ssh(&self) -> &ssh_key::PublicKey {
        &self.0
    }
}

impl From<ssh_key::PublicKey> for PublicKey {
    fn from(mut key: ssh_key::PublicKey) -> Self {
        key.set_comment("");
        Self(key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_openssh().map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

impl TryFrom<String> for PublicKey {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        let key = Self::from_openssh(&text)?;
        if key.to_string() == text {
            Ok(key)
        } else {
            Err(InvalidId {
                what: "SSH public key",
                expected: "exactly `type base64` without a comment",
                found: text.chars().take(80).collect(),
            })
        }
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}
