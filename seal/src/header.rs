//! The head of a sealed file: the file's key, once for each key that opens it.

use std::io::{self, BufRead, Read as _};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use hostler_plan::document::Recipient;
use rand_core::{OsRng, RngCore as _};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hmac,
};
use x25519_dalek::{EphemeralSecret, PublicKey};

use crate::{Identity, SealError, derive};

/// Keys that one file is sealed to at most: as many as the fleet's root may list.
pub const MAX_RECIPIENTS: usize = 16;

/// A file's own key.
pub(crate) type FileKey = [u8; 16];

const FIRST_LINE: &str = "age-encryption.org/v1\n";
const X25519_INFO: &[u8] = b"age-encryption.org/v1/X25519";
/// A head with a hundred of age's longest recipients is shorter.
const MAX_BYTES: u64 = 64 << 10;

/// Base 64 without padding, in its one canonical form.
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, NO_PAD);

/// A new file key, and the head that hands it to those keys.
pub(crate) fn make(to: &[Recipient]) -> Result<(FileKey, Vec<u8>), SealError> {
    let mut key = FileKey::default();
    OsRng.try_fill_bytes(&mut key).map_err(|_| SealError::Machine("it gives no random bytes"))?;
    Ok((key, hand(&key, to)?))
}

/// The head that hands a file key to those keys.
pub(crate) fn hand(key: &FileKey, to: &[Recipient]) -> Result<Vec<u8>, SealError> {
    if !(1..=MAX_RECIPIENTS).contains(&to.len()) {
        return Err(SealError::Recipients(to.len()));
    }
    let mut text = FIRST_LINE.to_owned();
    for recipient in to {
        let ephemeral = EphemeralSecret::random_from_rng(OsRng);
        let share = PublicKey::from(&ephemeral).to_bytes();
        let shared = ephemeral.diffie_hellman(&PublicKey::from(*recipient.bytes()));
        let mut wrapped = key.to_vec();
        let wrapping = wrapping_key(shared.as_bytes(), &share, recipient)?;
        let sealed =
            wrapping.seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut wrapped);
        sealed.map_err(|_| SealError::Machine("the file's key could not be sealed"))?;
        text.push_str(&format!("-> X25519 {}\n{}\n", BASE64.encode(share), BASE64.encode(wrapped)));
    }
    text.push_str("---");
    let mac = hmac::sign(&mac_key(key)?, text.as_bytes());
    text.push_str(&format!(" {}\n", BASE64.encode(mac)));
    Ok(text.into_bytes())
}

/// The file key of the head that a file begins with, and nothing of what follows is read.
pub(crate) fn open(file: &mut impl BufRead, identity: &Identity) -> io::Result<FileKey> {
    let (text, stanzas, mac) = read(file)?;
    let other = || io::Error::other(SealError::OtherKey);
    for (share, wrapped) in stanzas {
        let shared = identity.0.diffie_hellman(&PublicKey::from(share));
        if !shared.was_contributory() {
            return Err(form("a key in it is none"));
        }
        let wrapping = wrapping_key(shared.as_bytes(), &share, &identity.recipient()).map_err(io::Error::other)?;
        let mut opened = wrapped;
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let Ok(key) = wrapping.open_in_place(nonce, Aad::empty(), &mut opened) else { continue };
        let key = FileKey::try_from(&*key).map_err(|_| form("the key in it has another length"))?;
        let mac_key = mac_key(&key).map_err(io::Error::other)?;
        return match hmac::verify(&mac_key, &text, &mac) {
            Ok(()) => Ok(key),
            Err(_) => Err(io::Error::other(SealError::Damaged)),
        };
    }
    Err(other())
}

type Stanza = ([u8; 32], [u8; 32]);

/// The head up to its `---`, what of it is for X25519 keys, and its code.
fn read(file: &mut impl BufRead) -> io::Result<(Vec<u8>, Vec<Stanza>, Vec<u8>)> {
    let mut limited = file.take(MAX_BYTES);
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| {
        line.clear();
        limited.read_until(b'\n', line)?;
        if line.pop() == Some(b'\n') { Ok(()) } else { Err(form("its head has no end")) }
    };
    next(&mut line)?;
    if line != FIRST_LINE.trim_end().as_bytes() {
        return Err(form("it begins otherwise"));
    }
    let (mut text, mut stanzas) = (FIRST_LINE.as_bytes().to_vec(), Vec::new());
    next(&mut line)?;
    loop {
        if let Some(mac) = line.strip_prefix(b"--- ") {
            let mac = BASE64.decode(mac).map_err(|_| form("its head has no code"))?;
            text.extend_from_slice(b"---");
            return Ok((text, stanzas, mac));
        }
        let share = line.strip_prefix(b"-> X25519 ").map(<[u8]>::to_vec);
        if !line.starts_with(b"-> ") {
            return Err(form("a line of its head cannot be read"));
        }
        let mut body = Vec::new();
        loop {
            text.extend_from_slice(&line);
            text.push(b'\n');
            next(&mut line)?;
            if line.starts_with(b"-") {
                break;
            }
            body.extend_from_slice(&line);
        }
        if let Some(share) = share {
            let decode = |text: &[u8]| BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
            let stanza = decode(&share).zip(decode(&body));
            stanzas.push(stanza.ok_or_else(|| form("a key of its head cannot be read"))?);
        }
    }
}

fn wrapping_key(shared: &[u8], share: &[u8; 32], recipient: &Recipient) -> Result<LessSafeKey, SealError> {
    let salt = [&share[..], recipient.bytes()].concat();
    cipher(&derive(shared, &salt, X25519_INFO)?)
}

/// ChaCha20-Poly1305 with that key.
pub(crate) fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, SealError> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).map_err(|_| SealError::Machine("a key has another length"))?;
    Ok(LessSafeKey::new(key))
}

fn mac_key(key: &FileKey) -> Result<hmac::Key, SealError> {
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &derive(key, &[], b"header")?))
}

fn form(what: &'static str) -> io::Error {
    io::Error::other(SealError::Form(what))
}
