//! Files sealed to X25519 keys, in the form of age, version 1 (<https://age-encryption.org/v1>): `age --decrypt` opens
//! what is sealed here and the other way round. Any length passes through a buffer of 64 KiB.

mod bundle;
mod header;
mod identity;
mod letter;
mod payload;

pub use bundle::{Packed, pack, unpack};
pub use header::MAX_RECIPIENTS;
pub use identity::{Identity, InvalidIdentity};
pub use letter::{open_letter, open_note, seal_letter, seal_note};
pub use payload::{Opener, Sealer, hand_on};

use ring::hkdf::{HKDF_SHA256, Salt};

/// Why something could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Nobody could open it.
    #[error("expected 1 to {MAX_RECIPIENTS} keys to seal to, found {0}")]
    Recipients(usize),
    /// Not in the form of age.
    #[error("expected a file sealed in the form of age, version 1; {0}")]
    Form(&'static str),
    /// Sealed to others.
    #[error("it is sealed to other keys than this one; `hostler snapshot list` and the fleet's root name them")]
    OtherKey,
    /// Bytes of it changed, or its end is missing.
    #[error("it was changed or cut off since it was sealed; take another copy")]
    Damaged,
    /// The randomness or the arithmetic of this machine failed.
    #[error("sealing failed on this machine: {0}")]
    Machine(&'static str),
}

/// HKDF with SHA-256, 32 bytes of it.
fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Result<[u8; 32], SealError> {
    let mut key = [0; 32];
    let parts = [info];
    let expanded = Salt::new(HKDF_SHA256, salt).extract(secret);
    let filled = expanded.expand(&parts, HKDF_SHA256).and_then(|okm| okm.fill(&mut key));
    filled.map(|()| key).map_err(|_| SealError::Machine("a key could not be derived"))
}
