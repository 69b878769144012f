//! What a session key signs to log in.

use hostler_plan::{id::Digest, text::hex};

/// The bytes that are signed in namespace `hostler-login` in answer to a challenge: the nonce and the SHA-256 of the
/// certificate (DER) that the coordinator showed on this connection, so that nobody in between can pass the answer on.
pub fn login_bytes(nonce: &[u8], certificate: Digest) -> Vec<u8> {
    format!("hostler-admin-login/v1\n{certificate}\n{}\n", hex(nonce)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_names_nonce_and_certificate() {
        let bytes = login_bytes(&[0, 255], Digest::of(b"certificate"));
        let text = String::from_utf8(bytes).expect("text");
        assert!(text.ends_with("\n00ff\n"));
        assert_ne!(login_bytes(b"n", Digest::of(b"a")), login_bytes(b"n", Digest::of(b"b")));
        assert_ne!(login_bytes(b"n", Digest::of(b"a")), login_bytes(b"m", Digest::of(b"a")));
    }
}
