//! Secrets for one node: an anonymous sealed box (X25519, XSalsa20-Poly1305), the form that libsodium calls
//! `crypto_box_seal`. The coordinator relays it and cannot open it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crypto_box::{PublicKey, SecretKey, aead::OsRng};

/// Why a secret could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    #[error("seal key expected 32 bytes in base64, found {0}")]
    Key(String),
    #[error("the sealed secret cannot be opened with this node's key; it was sealed for another node or changed")]
    Open,
    #[error("sealing failed")]
    Seal,
}

/// Seals `secret` to a node's public key (base64, as the roster lists it); gives base64.
pub(crate) fn seal(to: &str, secret: &[u8]) -> Result<String, SealError> {
    let bytes = STANDARD.decode(to).map_err(|e| SealError::Key(e.to_string()))?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|b: Vec<u8>| SealError::Key(format!("{} bytes", b.len())))?;
    let sealed = PublicKey::from(bytes).seal(&mut OsRng, secret).map_err(|_| SealError::Seal)?;
    Ok(STANDARD.encode(sealed))
}

/// Opens what [`seal`] made for this key.
pub(crate) fn open(key: &SecretKey, sealed: &str) -> Result<Vec<u8>, SealError> {
    let bytes = STANDARD.decode(sealed).map_err(|_| SealError::Open)?;
    key.unseal(&bytes).map_err(|_| SealError::Open)
}

/// The public half as documents write it.
pub(crate) fn public(key: &SecretKey) -> String {
    STANDARD.encode(key.public_key().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_meant_node_opens_a_secret() {
        let (mine, other) = (SecretKey::generate(&mut OsRng), SecretKey::generate(&mut OsRng));
        let sealed = seal(&public(&mine), b"token").unwrap();
        assert_eq!(open(&mine, &sealed).unwrap(), b"token");
        assert_eq!(open(&other, &sealed), Err(SealError::Open));
        assert!(!sealed.contains("token"));
        assert!(seal("AAAA", b"token").is_err());
    }
}
