//! What a node's key signs for a new certificate, when the old one has run out.

use crate::{
    id::{Digest, NodeName},
    text::hex,
};

/// The longest nonce that is signed; the coordinator's have 32 bytes.
pub const MAX_NONCE_BYTES: usize = 64;

/// The bytes that are signed in namespace `hostler-login` in answer to a challenge: who asks, for which TLS key
/// (SHA-256 of its SubjectPublicKeyInfo), and the nonce. Both sides compose them; nobody signs bytes that were handed
/// to them.
pub fn renewal_bytes(node: &NodeName, tls_key: &Digest, nonce: &[u8]) -> Vec<u8> {
    format!("hostler-node-renewal/v1\n{node}\n{tls_key}\n{}\n", hex(nonce)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_names_node_key_and_nonce() {
        let (w1, w2) = (NodeName::new("w1").expect("valid"), NodeName::new("w2").expect("valid"));
        let (key, other) = (Digest::of(b"key"), Digest::of(b"other"));
        let bytes = renewal_bytes(&w1, &key, &[0, 255]);
        assert_eq!(String::from_utf8(bytes.clone()), Ok(format!("hostler-node-renewal/v1\nw1\n{key}\n00ff\n")));
        for different in
            [renewal_bytes(&w2, &key, &[0, 255]), renewal_bytes(&w1, &other, &[0, 255]), renewal_bytes(&w1, &key, &[0])]
        {
            assert_ne!(bytes, different);
        }
    }
}
