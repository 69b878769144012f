//! The node's own keys, made on the node and never leaving it.

use crypto_box::SecretKey;
use hostler_plan::{
    document::{DocumentKind, Signed},
    id::NodeName,
    refusal::Refused,
    signature::{self, PublicKey, SigningError},
    trust::NodeState,
};
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use crate::{
    disk::{Disk, DiskError},
    seal,
    state_file::damaged,
};

const SIGNING: &str = "node.key";
const SEALING: &str = "seal.key";
const MAX_KEY_BYTES: u64 = 16 << 10;

/// Every private key of this node.
pub(crate) struct Keys {
    signing: PrivateKey,
    sealing: SecretKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("signing", &self.public()).finish_non_exhaustive()
    }
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("making a key failed: {0}")]
    Make(String),
}

impl Keys {
    /// Reads the keys. Those that do not exist are made and stored, unless the node is `enrolled`: then a missing key
    /// is damage, because another one would be another node.
    pub(crate) fn load_or_make(disk: &Disk, enrolled: bool) -> Result<Self, KeysError> {
        let signing = text(disk, SIGNING, enrolled, || {
            let mut key = PrivateKey::random(&mut rand_core::OsRng, Algorithm::Ed25519).map_err(make)?;
            key.set_comment("hostler node");
            Ok(key.to_openssh(LineEnding::LF).map_err(make)?.to_string())
        })?;
        let sealing = text(disk, SEALING, enrolled, || {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            let key = SecretKey::generate(&mut rand_core::OsRng);
            Ok(STANDARD.encode(key.to_bytes()))
        })?;
        let sealing = {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            let bytes = STANDARD.decode(sealing.trim()).map_err(|e| broken(SEALING, &e))?;
            SecretKey::from_slice(&bytes).map_err(|e| broken(SEALING, &e))?
        };
        let signing = PrivateKey::from_openssh(&signing).map_err(|e| broken(SIGNING, &e))?;
        // Its two halves are not compared before it signs: one that cannot is found now, and not when a task has ended.
        signature::sign(&signing, DocumentKind::Login, b"").map_err(|e| broken(SIGNING, &e))?;
        Ok(Self { signing, sealing })
    }

    /// Compares the keys with the roster that is held, so that a damaged one is found before a secret is sealed to the
    /// other half of it. A roster may list another machine under this node's name; that proves nothing.
    pub(crate) fn check(&self, state: &NodeState, node: &NodeName) -> Result<(), Refused> {
        let (key, seal_key) = (self.public(), self.seal_key());
        let nodes = state.roster().map(|roster| roster.document().nodes.as_slice()).unwrap_or_default();
        for listed in nodes {
            let (same_key, same_seal) = (listed.key == key, listed.seal_key == seal_key);
            let other = match (same_key, same_seal && listed.name == *node) {
                (true, false) if !same_seal => SEALING,
                (false, true) => SIGNING,
                (true | false, _) => continue,
            };
            return Err(damaged(&format!("another {other} than the one that the roster lists for {}", listed.name)));
        }
        Ok(())
    }

    /// The public half of the signing key: who this node is.
    pub(crate) fn public(&self) -> PublicKey {
        self.signing.public_key().clone().into()
    }

    /// The public half of the sealing key, as documents write it.
    pub(crate) fn seal_key(&self) -> String {
        seal::public(&self.sealing)
    }

    /// The sealing key.
    pub(crate) fn sealing(&self) -> &SecretKey {
        &self.sealing
    }

    /// Signs what this side composed with the node's key; never bytes that it was handed.
    pub(crate) fn sign(&self, kind: DocumentKind, bytes: Vec<u8>) -> Result<Signed, SigningError> {
        let armour = signature::sign(&self.signing, kind, &bytes)?;
        Ok(Signed { bytes, signatures: vec![armour] })
    }
}

fn text(
    disk: &Disk,
    name: &str,
    enrolled: bool,
    new: impl FnOnce() -> Result<String, KeysError>,
) -> Result<String, KeysError> {
    if let Some(bytes) = disk.read(name, MAX_KEY_BYTES)? {
        return String::from_utf8(bytes).map_err(|e| broken(name, &e));
    }
    if enrolled {
        return Err(damaged(&format!("no {name}")).into());
    }
    let text = new()?;
    disk.replace(name, text.as_bytes())?;
    Ok(text)
}

fn make(error: impl std::fmt::Display) -> KeysError {
    KeysError::Make(error.to_string())
}

fn broken(name: &str, error: &dyn std::fmt::Display) -> KeysError {
    damaged(&format!("a broken {name} ({error})")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_their_loss_is_damage() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let first = Keys::load_or_make(&disk, false).unwrap();
        let again = Keys::load_or_make(&disk, true).unwrap();
        assert_eq!(first.public(), again.public());
        assert_eq!(first.seal_key(), again.seal_key());
        for name in [SIGNING, SEALING] {
            let kept = disk.read(name, MAX_KEY_BYTES).unwrap().unwrap();
            disk.remove(name).unwrap();
            assert!(matches!(Keys::load_or_make(&disk, true), Err(KeysError::Refused(_))), "{name}");
            disk.replace(name, &kept[..kept.len() / 2]).unwrap();
            assert!(matches!(Keys::load_or_make(&disk, true), Err(KeysError::Refused(_))), "{name}");
            disk.replace(name, &kept).unwrap();
        }
    }
}
