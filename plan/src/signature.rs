//! SSH keys and SSH signatures (SSHSIG), in the one form that every verifier reads alike.
//!
//! SSHSIG parsers disagree on CRLF line ends, text around the armour, version 0 and the reserved field. Here exactly
//! one armour exists for a key, a namespace and a raw signature; [`verify`] builds it again from what it read and
//! refuses every other one. What is accepted here, stock `ssh-keygen -Y verify` accepts too.

mod allowed_signers;
mod key;
mod sshsig;

pub use allowed_signers::{node_lines, signer_lines};
pub use key::{KEY_TYPES, PublicKey};
pub use sshsig::{SignatureError, SigningError, assemble, sign, signed_data, verify};
