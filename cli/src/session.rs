//! The profile's session key: an admin's key signs one pass for it, and for some hours it logs in and does no more.

use std::{fs, io, path::Path, time::Duration};

use hostler_plan::{
    document::{DocumentKind, Pass, PassType, Signed},
    id::Digest,
    json, signature,
    timestamp::Timestamp,
    trust::{self, MAX_PASS_LIFETIME},
};
use hostler_proto::{login::login_bytes, v1};
use rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use crate::{
    error::Error,
    file::{read_document, write_document, write_whole},
    key::{KeyError, Passphrase, SigningKey, read_private_key},
    output::note,
    trust_store::TrustStore,
};

/// In the profile: the session key (mode 0600) and its pass with the signature beside it.
const FOLDER: &str = "session";
const KEY_FILE: &str = "key";
const PASS_FILE: &str = "pass.json";

/// A pass that ends sooner is replaced before it is used: a command that begins now has the time that a coordinator
/// gives to a session.
const LEFT: Duration = Duration::from_secs(15 * 60);

/// A key that logs in, and the pass that lets it.
#[derive(Debug)]
pub(crate) struct SessionKey {
    key: PrivateKey,
    pass: Signed,
}

impl SessionKey {
    /// What the profile keeps, if it logs `signer` in to the coordinators of the root for a while. Whatever is wrong
    /// with it, it is replaced.
    pub(crate) fn held(store: &TrustStore, signer: &SigningKey, now: Timestamp) -> Option<Self> {
        let folder = store.home().join(FOLDER);
        // One under a passphrase is not ours: nobody is asked for it.
        let nobody = Passphrase::File("/dev/null".into());
        let key = read_private_key(&folder.join(KEY_FILE), &nobody).ok()?;
        let signed = read_document(DocumentKind::Pass, &folder.join(PASS_FILE)).ok()?;
        let coordinators = &store.root().coordinator_ca;
        let verified = trust::pass(store.trusted(), &signed, coordinators.first()?, now).ok()?;
        let pass = verified.document();
        let fits = pass.signer == signer.public_key().fingerprint()
            && pass.session_key == key.public_key().clone().into()
            && pass.coordinator_ca == *coordinators
            && pass.expires > now.plus(LEFT);
        fits.then_some(Self { key, pass: signed })
    }

    /// A new one, for which `signer` signs a pass: one touch of a hardware key. The profile keeps it.
    pub(crate) fn make(store: &TrustStore, signer: &SigningKey, now: Timestamp) -> Result<Self, Error> {
        let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)
            .map_err(|e| Error::Failed(format!("cannot make a session key: {e}; try again")))?;
        let created = now.whole_seconds();
        let bytes = json::write(&Pass {
            document_type: PassType::V1,
            fleet_id: store.root().fleet_id.clone(),
            signer: signer.public_key().fingerprint(),
            session_key: key.public_key().clone().into(),
            coordinator_ca: store.root().coordinator_ca.clone(),
            created,
            expires: created.plus(MAX_PASS_LIFETIME),
        });
        let signature = signer.sign(DocumentKind::Pass, &bytes)?;
        let made = Self { key, pass: Signed { bytes, signatures: vec![signature] } };
        // What lies in the place of a file or of the folder gives way.
        let kept = made.keep(store.home()).or_else(|_| end(store.home()).and_then(|_| made.keep(store.home())));
        if let Err(error) = kept {
            note(&format!("the login is not kept for the next command: {error}"));
        }
        Ok(made)
    }

    fn keep(&self, home: &Path) -> Result<(), Error> {
        let folder = home.join(FOLDER);
        let key = self.key.to_openssh(LineEnding::LF);
        let key = key.map_err(|e| Error::Failed(format!("cannot write the session key: {e}; try again")))?;
        write_whole(&folder.join(KEY_FILE), key.as_bytes(), true)?;
        write_document(&folder.join(PASS_FILE), &self.pass)
    }

    /// The answer to a challenge of a coordinator that showed this certificate.
    pub(crate) fn answer(&self, nonce: Vec<u8>, certificate: Digest) -> Result<v1::LoginRequest, Error> {
        let signature = signature::sign(&self.key, DocumentKind::Login, &login_bytes(&nonce, certificate));
        let signature = signature.map_err(KeyError::from)?;
        Ok(v1::LoginRequest { nonce, signature, pass: Some(self.pass.clone().into()) })
    }
}

/// Ends the login that a profile keeps. False when there was none.
pub(crate) fn end(home: &Path) -> Result<bool, Error> {
    let folder = home.join(FOLDER);
    let is_folder = folder.symlink_metadata().is_ok_and(|found| found.is_dir());
    match if is_folder { fs::remove_dir_all(&folder) } else { fs::remove_file(&folder) } {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::file("remove", &folder, e)),
    }
}
