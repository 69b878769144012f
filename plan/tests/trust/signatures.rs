//! The one canonical form of a signature, and every other one that some parser would take.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey};
use hostler_plan::{
    document::{DocumentKind, MAX_SIGNATURE_BYTES, PlanKind, RosterStatus},
    signature::{
        PublicKey, SignatureError, SigningError, assemble, node_lines, sign, signed_data, signer_lines, verify,
    },
};
use sha2::{Digest as _, Sha256, Sha512};
use ssh_key::{Algorithm, PrivateKey, private::EcdsaKeypair};

use crate::fleet::{ADA, OLGA, W1, key, public, root, roster};

pub(crate) const BYTES: &[u8] = b"{\"any\": \"bytes\"}\n";

/// An SSH string.
pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

/// An armour around any blob, wrapped as ssh-keygen wraps it.
pub(crate) fn armour(blob: &[u8]) -> String {
    let base64 = STANDARD.encode(blob);
    let lines: Vec<&str> = base64.as_bytes().chunks(70).map(|l| std::str::from_utf8(l).unwrap()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

pub(crate) fn disarm(armour: &str) -> Vec<u8> {
    let lines: String = armour.lines().filter(|l| !l.starts_with('-')).collect();
    STANDARD.decode(lines).unwrap()
}

/// An ed25519 signature of which every field can be another one; what is signed follows the fields.
#[derive(Clone)]
pub(crate) struct Crafted {
    pub version: u32,
    pub namespace: Vec<u8>,
    /// In the blob.
    pub reserved: Vec<u8>,
    /// In what is signed.
    pub signed_reserved: Vec<u8>,
    pub hash: &'static str,
    pub algorithm: &'static str,
    pub behind_signature: Vec<u8>,
    pub behind_blob: Vec<u8>,
}

impl Default for Crafted {
    fn default() -> Self {
        Self {
            version: 1,
            namespace: b"hostler-plan".to_vec(),
            reserved: Vec::new(),
            signed_reserved: Vec::new(),
            hash: "sha512",
            algorithm: "ssh-ed25519",
            behind_signature: Vec::new(),
            behind_blob: Vec::new(),
        }
    }
}

impl Crafted {
    pub(crate) fn armour(&self, seed: u8, bytes: &[u8]) -> String {
        let digest = match self.hash {
            "sha256" => Sha256::digest(bytes).to_vec(),
            _ => Sha512::digest(bytes).to_vec(),
        };
        let mut data = b"SSHSIG".to_vec();
        for field in [&self.namespace[..], &self.signed_reserved, self.hash.as_bytes(), &digest] {
            data.extend(string(field));
        }
        let raw = SigningKey::from_bytes(&[seed; 32]).sign(&data).to_bytes();
        let mut signature = string(self.algorithm.as_bytes());
        signature.extend(string(&raw));
        signature.extend(&self.behind_signature);

        let mut blob = b"SSHSIG".to_vec();
        blob.extend(self.version.to_be_bytes());
        for field in [&public(seed).to_wire()[..], &self.namespace, &self.reserved, self.hash.as_bytes(), &signature] {
            blob.extend(string(field));
        }
        blob.extend(&self.behind_blob);
        armour(&blob)
    }
}

/// An ECDSA P-256 key that grows from `seed`.
pub(crate) fn ecdsa_key(seed: u8) -> PrivateKey {
    let secret = p256::SecretKey::from_slice(&[seed; 32]).unwrap();
    let public = p256::ecdsa::SigningKey::from(&secret).verifying_key().to_encoded_point(false);
    let pair = EcdsaKeypair::NistP256 { public, private: secret.into() };
    PrivateKey::new(pair.into(), "").unwrap()
}

fn plan_error(armour: &str) -> SignatureError {
    verify(DocumentKind::Plan, BYTES, armour).expect_err("should have been refused")
}

#[test]
fn signatures_verify_for_their_kind_and_bytes_only() {
    for key in [key(ADA), ecdsa_key(ADA)] {
        let armour = sign(&key, DocumentKind::Plan, BYTES).unwrap();
        let signer = verify(DocumentKind::Plan, BYTES, &armour).unwrap();
        assert_eq!(signer, PublicKey::from(key.public_key().clone()));
        let changed = verify(DocumentKind::Plan, b"{\"any\": \"bytez\"}\n", &armour);
        assert_eq!(changed, Err(SignatureError::DoesNotVerify { key: signer.fingerprint() }));
        let elsewhere = verify(DocumentKind::Receipt, BYTES, &armour);
        let found = "hostler-plan".to_owned();
        assert_eq!(elsewhere, Err(SignatureError::Namespace { expected: "hostler-receipt", found }));
    }
}

#[test]
fn what_ssh_keygen_wrote_is_accepted_and_is_what_we_write() {
    let document = include_bytes!("../vectors/document.json");
    for (public, armour) in [
        (include_str!("../vectors/ed25519.pub"), include_str!("../vectors/ed25519.sig")),
        (include_str!("../vectors/ecdsa.pub"), include_str!("../vectors/ecdsa.sig")),
    ] {
        let signer = verify(DocumentKind::Plan, document, armour).unwrap();
        assert_eq!(signer.to_string(), public.trim_end());
    }
    assert_eq!(Crafted::default().armour(ADA, BYTES), sign(&key(ADA), DocumentKind::Plan, BYTES).unwrap());
}

#[test]
fn another_armour_around_the_same_signature_is_refused() {
    let good = sign(&key(ADA), DocumentKind::Plan, BYTES).unwrap();
    let (first, rest) = good.split_once('\n').unwrap();
    let one_line = STANDARD.encode(disarm(&good));
    let variants = [
        (good.replace('\n', "\r\n"), "CRLF"),
        (format!("text\n{good}"), "before the first"),
        (format!(" {good}"), "before the first"),
        (format!("\u{feff}{good}"), "before the first"),
        (format!("{good}text\n"), "behind the last"),
        (format!("{good}\n"), "behind the last"),
        (good.trim_end().to_owned(), "behind the last"),
        (format!("{good}{good}"), "no base64"),
        (format!("{first}\n\n{rest}"), "differs from"),
        (format!("{first}\n{one_line}\n-----END SSH SIGNATURE-----\n"), "differs from"),
        (good.replacen("U1NI", "U1NI\n", 1), "differs from"),
        (good.replacen("U1NI", "U1 NI", 1), "no base64"),
        (good.replacen("U1NI", "U1N*", 1), "no base64"),
        (good.replace("SSH SIGNATURE", "PGP SIGNATURE"), "before the first"),
        (String::new(), "before the first"),
        ("-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n".to_owned(), "too early"),
    ];
    for (variant, word) in variants {
        let error = plan_error(&variant);
        assert!(matches!(error, SignatureError::NotCanonical { .. }), "{error:?}");
        assert!(error.to_string().contains(word), "expected {word:?} in: {error}");
        assert!(
            error.to_string().starts_with("expected a signature exactly as `ssh-keygen -Y sign` writes it, found ")
        );
    }
    let long = format!("{good}{}", "x".repeat(MAX_SIGNATURE_BYTES));
    assert_eq!(plan_error(&long), SignatureError::TooLong { found: long.len() });
}

#[test]
fn another_blob_is_refused_even_when_its_signature_would_verify() {
    let error = |crafted: Crafted| plan_error(&crafted.armour(ADA, BYTES));
    let good = Crafted::default;
    assert_eq!(error(Crafted { version: 0, ..good() }), SignatureError::Version { found: 0 });
    assert_eq!(error(Crafted { version: 2, ..good() }), SignatureError::Version { found: 2 });
    assert_eq!(error(Crafted { reserved: vec![7; 3], ..good() }), SignatureError::Reserved { found: 3 });
    let reserved = Crafted { reserved: vec![7; 3], signed_reserved: vec![7; 3], ..good() };
    assert_eq!(error(reserved), SignatureError::Reserved { found: 3 });
    assert_eq!(error(Crafted { hash: "sha256", ..good() }), SignatureError::Hash { found: "sha256".to_owned() });
    for namespace in [&b"git"[..], b"", b"hostler-plan\0", b"hostler-pla", b"\xff"] {
        let refused = error(Crafted { namespace: namespace.to_vec(), ..good() });
        assert!(matches!(refused, SignatureError::Namespace { expected: "hostler-plan", .. }), "{refused:?}");
    }
    let other = error(Crafted { algorithm: "ecdsa-sha2-nistp256", ..good() });
    assert!(matches!(other, SignatureError::SignatureType { .. }), "{other:?}");
    for longer in [
        Crafted { behind_blob: vec![0], ..good() },
        Crafted { behind_signature: vec![0], ..good() },
        Crafted { behind_signature: vec![1, 0, 0, 0, 0], ..good() },
    ] {
        let refused = error(longer);
        assert!(refused.to_string().contains("behind its end"), "{refused}");
    }
    let blob = disarm(&good().armour(ADA, BYTES));
    for length in 0..blob.len() {
        assert!(matches!(plan_error(&armour(&blob[..length])), SignatureError::NotCanonical { .. }), "{length}");
    }
}

#[test]
fn key_types_that_do_not_count_are_named() {
    for name in ["ssh-rsa", "ssh-dss", "ecdsa-sha2-nistp384", "ssh-ed25519-cert-v01@openssh.com", "", "none"] {
        let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
        let mut wire = string(name.as_bytes());
        wire.extend(string(&[0; 32]));
        blob.extend(string(&wire));
        assert_eq!(plan_error(&armour(&blob)), SignatureError::KeyType { found: name.to_owned() });
    }
}

#[test]
fn an_ecdsa_number_has_one_form() {
    let good = sign(&ecdsa_key(ADA), DocumentKind::Plan, BYTES).unwrap();
    let blob = disarm(&good);
    let public = PublicKey::from(ecdsa_key(ADA).public_key().clone());
    // Magic and version, then the strings key, namespace, reserved and hash; the last string is the signature.
    let front = 6 + 4 + string(&public.to_wire()).len() + string(b"hostler-plan").len() + 4 + string(b"sha512").len();
    let (front, signature) = blob.split_at(front);
    let raw = &signature[4 + string(b"ecdsa-sha2-nistp256").len() + 4..];
    let again = |numbers: &[u8]| {
        let mut inner = string(b"ecdsa-sha2-nistp256");
        inner.extend(string(numbers));
        let mut blob = front.to_vec();
        blob.extend(string(&inner));
        armour(&blob)
    };
    assert_eq!(again(raw), good);
    let r_length = 4 + usize::try_from(u32::from_be_bytes(raw[..4].try_into().unwrap())).unwrap();
    let (r, s) = (&raw[4..r_length], &raw[r_length + 4..]);
    let padded = |n: &[u8]| string(&[&[0], n].concat());
    for numbers in [
        [padded(r), string(s)].concat(),
        [string(r), padded(s)].concat(),
        [string(r), string(&[])].concat(),
        [string(&[0]), string(s)].concat(),
        [string(&[0x80; 32]), string(s)].concat(),
        [string(&[1; 40]), string(s)].concat(),
    ] {
        assert!(plan_error(&again(&numbers)).to_string().contains("shortest form"));
    }
    assert!(plan_error(&again(&[string(r), string(s), string(s)].concat())).to_string().contains("behind its end"));
    let swapped = plan_error(&again(&[string(s), string(r)].concat()));
    assert_eq!(swapped, SignatureError::DoesNotVerify { key: public.fingerprint() });
}

#[test]
fn an_agent_gets_the_bytes_to_sign_and_its_answer_is_checked() {
    let data = signed_data(DocumentKind::Plan, BYTES);
    let raw = SigningKey::from_bytes(&[ADA; 32]).sign(&data).to_bytes();
    let answer = ssh_key::Signature::new(Algorithm::Ed25519, raw.to_vec()).unwrap();
    let armour = assemble(&public(ADA), DocumentKind::Plan, BYTES, &answer).unwrap();
    assert_eq!(armour, sign(&key(ADA), DocumentKind::Plan, BYTES).unwrap());

    let for_other_bytes = assemble(&public(ADA), DocumentKind::Plan, b"other", &answer);
    let key = public(ADA).fingerprint();
    assert_eq!(for_other_bytes, Err(SigningError::Unusable(SignatureError::DoesNotVerify { key })));
    assert!(assemble(&public(OLGA), DocumentKind::Plan, BYTES, &answer).is_err());
    assert!(assemble(&public(ADA), DocumentKind::Roster, BYTES, &answer).is_err());
}

#[test]
fn a_key_under_a_passphrase_does_not_sign() {
    let locked = include_bytes!("../vectors/locked_key");
    let locked = PrivateKey::from_openssh(locked).unwrap();
    assert_eq!(sign(&locked, DocumentKind::Plan, BYTES), Err(SigningError::Encrypted));
    let open = locked.decrypt("correct horse").unwrap();
    assert!(sign(&open, DocumentKind::Plan, BYTES).is_ok());
}

#[test]
fn allowed_signers_lists_who_may_and_for_what() {
    let mut root = root();
    root.signers[0].name = "Ada *, \"admin\" !x #y".to_owned();
    root.signers[1].plan_kinds = vec![PlanKind::Upgrade];
    root.revoked = vec![public(2).fingerprint()];
    let expected = format!(
        "Ada_____admin___x__y namespaces=\"hostler-root,hostler-admission,hostler-roster,hostler-plan,\
         hostler-decision,hostler-pass\" {}\n\
         olga namespaces=\"hostler-plan,hostler-decision,hostler-pass\" {}\n\
         vic namespaces=\"hostler-pass\" {}\n",
        public(ADA),
        public(OLGA),
        public(4),
    );
    assert_eq!(signer_lines(&root), expected);

    let mut roster = roster();
    roster.nodes.truncate(2);
    roster.nodes[0].status = RosterStatus::Retired;
    let expected = format!("w1 namespaces=\"hostler-receipt,hostler-holding,hostler-enrolment\" {}\n", public(W1));
    assert_eq!(node_lines(&roster), expected);
}
