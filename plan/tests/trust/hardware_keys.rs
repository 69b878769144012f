//! Hardware keys (`sk-…`), played in software: the same bytes that a token makes, with and without a touch.

use ed25519_dalek::{Signer as _, SigningKey};
use hostler_plan::{
    document::DocumentKind,
    signature::{PublicKey, SignatureError, SigningError, assemble, signed_data, verify},
};
use sha2::{Digest as _, Sha256};
use ssh_key::Algorithm;

use crate::signatures::{BYTES, armour, disarm, string};

const APPLICATION: &[u8] = b"ssh:";

/// The FIDO flag for "a person touched it", and others that do not say that.
const TOUCHED: u8 = 0x01;
const VERIFIED_ONLY: u8 = 0x04;

/// What the token signs: RP id hash, flags, counter, hash of the message (PROTOCOL.u2f).
fn challenge(flags: u8, bytes: &[u8]) -> Vec<u8> {
    let message = signed_data(DocumentKind::Plan, bytes);
    [&Sha256::digest(APPLICATION)[..], &[flags], &7_u32.to_be_bytes(), &Sha256::digest(message)].concat()
}

fn with_trailer(mut raw: Vec<u8>, flags: u8) -> Vec<u8> {
    raw.push(flags);
    raw.extend(7_u32.to_be_bytes());
    raw
}

pub(crate) fn ed25519(flags: u8, bytes: &[u8]) -> (PublicKey, ssh_key::Signature) {
    let secret = SigningKey::from_bytes(&[70; 32]);
    let wire = [string(b"sk-ssh-ed25519@openssh.com"), string(secret.verifying_key().as_bytes()), string(APPLICATION)];
    let raw = secret.sign(&challenge(flags, bytes)).to_bytes().to_vec();
    let signature = ssh_key::Signature::new(Algorithm::SkEd25519, with_trailer(raw, flags)).unwrap();
    (ssh_key::PublicKey::from_bytes(&wire.concat()).unwrap().into(), signature)
}

pub(crate) fn ecdsa(flags: u8, bytes: &[u8]) -> (PublicKey, ssh_key::Signature) {
    let secret = p256::ecdsa::SigningKey::from_slice(&[71; 32]).unwrap();
    let wire = [
        string(b"sk-ecdsa-sha2-nistp256@openssh.com"),
        string(b"nistp256"),
        string(secret.verifying_key().to_encoded_point(false).as_bytes()),
        string(APPLICATION),
    ];
    let signature: p256::ecdsa::Signature = secret.sign(&challenge(flags, bytes));
    let (r, s) = signature.split_bytes();
    let raw = [&r[..], &s[..]].map(|n| string(&shortest(n))).concat();
    let signature = ssh_key::Signature::new(Algorithm::SkEcdsaSha2NistP256, with_trailer(raw, flags)).unwrap();
    (ssh_key::PublicKey::from_bytes(&wire.concat()).unwrap().into(), signature)
}

/// A positive number as an SSH mpint.
pub(crate) fn shortest(number: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = number.iter().copied().skip_while(|b| *b == 0).collect();
    if digits.first().is_some_and(|b| *b >= 0x80) { [&[0], &digits[..]].concat() } else { digits }
}

#[test]
fn a_touched_hardware_key_counts() {
    for (key, signature) in [ed25519(TOUCHED, BYTES), ecdsa(TOUCHED, BYTES), ed25519(TOUCHED | VERIFIED_ONLY, BYTES)] {
        let armour = assemble(&key, DocumentKind::Plan, BYTES, &signature).unwrap();
        assert_eq!(verify(DocumentKind::Plan, BYTES, &armour), Ok(key.clone()));
        assert!(key.can_sign_documents());
        let changed = verify(DocumentKind::Plan, b"other", &armour);
        assert_eq!(changed, Err(SignatureError::DoesNotVerify { key: key.fingerprint() }));
    }
}

#[test]
fn a_hardware_key_that_nobody_touched_does_not_count() {
    for flags in [0, VERIFIED_ONLY, 0x80] {
        for (key, signature) in [ed25519(flags, BYTES), ecdsa(flags, BYTES)] {
            let refused = assemble(&key, DocumentKind::Plan, BYTES, &signature);
            let expected = SignatureError::UserPresence { key: key.fingerprint(), flags };
            assert_eq!(refused, Err(SigningError::Unusable(expected)));
        }
    }
}

#[test]
fn the_touch_cannot_be_added_afterwards() {
    for (key, signature) in [ed25519(0, BYTES), ecdsa(0, BYTES)] {
        let algorithm = signature.algorithm();
        let mut data = signature.as_bytes().to_vec();
        let flags = data.len() - 5;
        data[flags] = TOUCHED;
        let forged = ssh_key::Signature::new(algorithm, data).unwrap();
        let refused = assemble(&key, DocumentKind::Plan, BYTES, &forged);
        let expected = SignatureError::DoesNotVerify { key: key.fingerprint() };
        assert_eq!(refused, Err(SigningError::Unusable(expected)));
    }
}

#[test]
fn a_hardware_signature_has_flags_and_counter_and_no_more() {
    for (key, signature) in [ed25519(TOUCHED, BYTES), ecdsa(TOUCHED, BYTES)] {
        let good = assemble(&key, DocumentKind::Plan, BYTES, &signature).unwrap();
        let blob = disarm(&good);
        // The last string holds the signature: shorten and lengthen it, and its length with it.
        let inner = string(key.key_type().as_bytes()).len() + 4 + signature.as_bytes().len();
        let (front, last) = blob.split_at(blob.len() - inner - 4);
        assert_eq!(string(&last[4..]), last);
        for changed in [&last[4..last.len() - 1], &last[4..last.len() - 5], &[&last[4..], &[0]].concat()[..]] {
            let refused = verify(DocumentKind::Plan, BYTES, &armour(&[front, &string(changed)].concat()));
            assert!(matches!(refused, Err(SignatureError::NotCanonical { .. })), "{refused:?}");
        }
    }
}
