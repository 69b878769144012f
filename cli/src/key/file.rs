//! Private and public keys in OpenSSH files.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use hostler_plan::{signature::PublicKey, written};
use ssh_key::PrivateKey;

use super::KeyError;

/// An OpenSSH private key of ours has under 1 KiB; a larger file is something else.
const MAX_KEY_FILE_BYTES: u64 = 64 << 10;

/// How often a person may mistype before the command gives up, as ssh does.
const PASSPHRASE_TRIES: u32 = 3;

/// Where the passphrase of an encrypted key comes from.
#[derive(Debug, Clone)]
pub enum Passphrase {
    /// The person at the terminal is asked.
    Ask,
    /// The first line of this file.
    File(PathBuf),
}

impl Passphrase {
    /// From `HOSTLER_KEY_PASSPHRASE_FILE`, where it is set.
    pub fn from_setting(file: Option<&Path>) -> Self {
        file.map_or(Passphrase::Ask, |f| Passphrase::File(f.to_owned()))
    }
}

pub(super) enum KeyFile {
    Private(Box<PrivateKey>),
    Public(PublicKey),
}

/// Reads a private key file and decrypts it where it is encrypted.
pub fn read_private_key(path: &Path, passphrase: &Passphrase) -> Result<PrivateKey, KeyError> {
    match read(path)? {
        KeyFile::Private(key) => unlock(path, *key, passphrase),
        KeyFile::Public(_) => Err(KeyError::Form { path: path.to_owned(), found: "a public key".into() }),
    }
}

/// Reads a public key file (`.pub`), or the public half of a private key file.
pub fn read_public_key(path: &Path) -> Result<PublicKey, KeyError> {
    let key = public_half(path)?;
    if key.can_sign_documents() {
        return Ok(key);
    }
    Err(KeyError::Type { path: path.to_owned(), found: key.key_type() })
}

/// The public half, without asking for a passphrase.
pub(super) fn public_half(path: &Path) -> Result<PublicKey, KeyError> {
    Ok(match read(path)? {
        KeyFile::Private(key) => key.public_key().clone().into(),
        KeyFile::Public(key) => key,
    })
}

pub(super) fn read(path: &Path) -> Result<KeyFile, KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let form = |found: String| KeyError::Form { path: path.to_owned(), found };
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.len() > MAX_KEY_FILE_BYTES {
        return Err(form(format!("a file of {} bytes", metadata.len())));
    }
    let bytes = fs::read(path).map_err(failed)?;
    let text = written::read(&bytes).map_err(|e| form(e.to_string()))?;
    if text.contains("PRIVATE KEY-----") {
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::TooOpen { path: path.to_owned(), mode });
        }
        let key = PrivateKey::from_openssh(&text).map_err(|e| form(private_form(&text, &e)))?;
        return Ok(KeyFile::Private(Box::new(key)));
    }
    let key = PublicKey::from_openssh(&text).map_err(|e| form(format!("{:?}", e.found)))?;
    Ok(KeyFile::Public(key))
}

fn private_form(text: &str, error: &ssh_key::Error) -> String {
    let first = text.lines().next().unwrap_or_default();
    if first.contains("OPENSSH") { format!("a damaged one ({error})") } else { format!("a key in the form {first:?}") }
}

pub(super) fn unlock(path: &Path, key: PrivateKey, passphrase: &Passphrase) -> Result<PrivateKey, KeyError> {
    use ssh_key::Algorithm;
    let public = PublicKey::from(key.public_key().clone());
    if !public.can_sign_documents() {
        return Err(KeyError::Type { path: path.to_owned(), found: public.key_type() });
    }
    if matches!(key.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256) {
        return Err(KeyError::NeedsAgent { path: path.to_owned() });
    }
    if !key.is_encrypted() {
        return Ok(key);
    }
    let wrong = || KeyError::Passphrase { path: path.to_owned() };
    match passphrase {
        Passphrase::File(file) => {
            let bytes = fs::read(file).map_err(|source| KeyError::Read { path: file.to_owned(), source })?;
            // A passphrase in another encoding than UTF-8 is nothing that can be typed in either.
            let text = written::read(&bytes).map_err(|_| wrong())?;
            key.decrypt(text.lines().next().unwrap_or_default()).map_err(|_| wrong())
        }
        Passphrase::Ask => {
            for _ in 0..PASSPHRASE_TRIES {
                let typed = rpassword::prompt_password(format!("Passphrase for {}: ", path.display()))
                    .map_err(|e| KeyError::NoTerminal { path: path.to_owned(), reason: e.to_string() })?;
                if let Ok(key) = key.decrypt(typed) {
                    return Ok(key);
                }
            }
            Err(wrong())
        }
    }
}
