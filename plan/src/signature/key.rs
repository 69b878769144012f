//! Public keys of people and nodes, in the form of OpenSSH.

use std::{fmt, sync::OnceLock};

use serde::{Deserialize, Serialize};

use crate::id::{Fingerprint, InvalidId};

/// The key types whose signatures count. RSA is left out because its keys are long and old ones are weak, NIST curves
/// above P-256 because few use them; certificates because they would hide which key signs.
pub const KEY_TYPES: [&str; 4] =
    ["ssh-ed25519", "sk-ssh-ed25519@openssh.com", "ecdsa-sha2-nistp256", "sk-ecdsa-sha2-nistp256@openssh.com"];

/// An SSH public key as `authorized_keys` writes it, without a comment: `ssh-ed25519 AAAA…`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey {
    key: ssh_key::PublicKey,
    /// Found when it is first asked for; a roster's keys are asked again and again.
    fingerprint: OnceLock<Fingerprint>,
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for PublicKey {}

impl PublicKey {
    /// Reads `ssh-ed25519 AAAA… [comment]`; the comment is dropped.
    pub fn from_openssh(text: &str) -> Result<Self, InvalidId> {
        let key = ssh_key::PublicKey::from_openssh(text.trim_end())
            .map_err(|_| InvalidId::new("SSH public key", "one line such as ssh-ed25519 AAAA…", text))?;
        Ok(key.into())
    }

    /// The fingerprint that `ssh-keygen -l` prints: how keys are told apart and counted.
    pub fn fingerprint(&self) -> Fingerprint {
        let found = || {
            Fingerprint::new(self.key.fingerprint(ssh_key::HashAlg::Sha256).to_string())
                .expect("ssh-key writes SHA-256 fingerprints in this form")
        };
        self.fingerprint.get_or_init(found).clone()
    }

    /// The key as RFC 4253 writes it: what stands in base64 behind the type.
    pub fn to_wire(&self) -> Vec<u8> {
        self.key.to_bytes().expect("a key that was read can be written")
    }

    /// The key's type as SSH names it, such as `ssh-ed25519`.
    pub fn key_type(&self) -> String {
        self.key.algorithm().to_string()
    }

    /// Whether signatures by this key can count: only types in [`KEY_TYPES`].
    pub fn can_sign_documents(&self) -> bool {
        KEY_TYPES.contains(&self.key_type().as_str())
    }

    /// The key for the ssh-key crate.
    pub fn as_ssh(&self) -> &ssh_key::PublicKey {
        &self.key
    }
}

impl From<ssh_key::PublicKey> for PublicKey {
    fn from(mut key: ssh_key::PublicKey) -> Self {
        key.set_comment("");
        Self { key, fingerprint: OnceLock::new() }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key.to_openssh().map_err(|_| fmt::Error)?)
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
            Err(InvalidId::new("SSH public key", "exactly `type base64` without a comment", &text))
        }
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}
