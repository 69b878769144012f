//! The admin's signing key: an OpenSSH private key file, or a key that a running ssh-agent holds.
//!
//! Hardware-backed `sk-` keys work through the agent, which asks for the touch.

mod agent;
mod file;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use agent::{Agent, AgentError};
pub use file::{Passphrase, read_private_key, read_public_key};
use hostler_plan::{
    document::{Decision, DocumentKind, Pass, Plan},
    id::{Digest, Fingerprint},
    json,
    ledger::Head,
    signature::{self, KEY_TYPES, PublicKey, SigningError},
};

use crate::{
    head::{SeenHead, is_always_signed},
    output::note,
    person::Person,
};

/// Something that signs documents with one key.
#[derive(Debug)]
pub struct SigningKey {
    half: PrivateHalf,
    /// What the profile holds as proved: while it knows of two ledgers, most is not signed.
    held: Option<PathBuf>,
    person: Person,
}

/// Where the private half is.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a command has one")]
enum PrivateHalf {
    /// In this process, decrypted.
    File(Box<ssh_key::PrivateKey>),
    /// In the ssh-agent, where it stays.
    Agent { agent: Agent, key: PublicKey },
}

/// Why there is no key to sign with, or why it did not sign.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read key {path}: {source}; name another file with --key")]
    Read { path: PathBuf, source: io::Error },
    /// Not a key in OpenSSH's form.
    #[error(
        "{path}: expected an OpenSSH key, found {found}; make one with `ssh-keygen -t ed25519`, or convert it with \
         `ssh-keygen -p -f {path}`"
    )]
    Form { path: PathBuf, found: String },
    /// A private key that others may read is not private.
    #[error(
        "{path}: expected a private key that only its owner can read, found mode {mode:04o}; run `chmod 600 {path}`"
    )]
    TooOpen { path: PathBuf, mode: u32 },
    #[error(
        "{path}: expected a key of type {types}, found {found}; make one with `ssh-keygen -t ed25519`",
        types = KEY_TYPES.join(", ")
    )]
    Type { path: PathBuf, found: String },
    #[error("{path}: the passphrase is wrong or the file is damaged; try again")]
    Passphrase { path: PathBuf },
    #[error(
        "{path} is encrypted and there is no terminal to ask for its passphrase ({reason}); set \
         HOSTLER_KEY_PASSPHRASE_FILE, or load the key into ssh-agent with `ssh-add {path}`"
    )]
    NoTerminal { path: PathBuf, reason: String },
    /// A file that only refers to a hardware key.
    #[error(
        "{path} refers to a hardware key, which signs through ssh-agent; run `ssh-add {path}`, then name {path}.pub \
         with --key"
    )]
    NeedsAgent { path: PathBuf },
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("the ssh-agent holds no key {wanted}; load it with ssh-add (held: {held})")]
    NotInAgent { wanted: String, held: String },
    /// No `--key`, and nothing fits by itself.
    #[error(
        "no key to sign with: {found}; name one with --key PATH (a private key file, or a .pub file of a key in \
         ssh-agent)"
    )]
    None { found: String },
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The ledger that the coordinator shows does not go on from the one that was seen before.
    #[error(
        "{what} is not signed: this profile saw a ledger of {seen}, and the coordinator shows one of {shown}, which \
         does not \
         go on from it. Compare them with another admin's copy (`hostler ledger verify A B`) and find out why; then \
         `hostler ledger adopt`, or restore the other. Stops, drains and uncordons are signed all the same"
    )]
    TwoLedgers { what: &'static str, seen: Head, shown: Head },
    /// What the profile saw of the ledger cannot be read.
    #[error("{0}")]
    Seen(String),
}

/// Where to look for the key.
#[derive(Debug, Clone, Default)]
pub struct KeySource {
    /// `--key`: a private key, or a public key (`.pub`) whose private half the agent holds.
    pub path: Option<PathBuf>,
    /// `HOSTLER_KEY_PASSPHRASE_FILE`: its first line is the passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// `SSH_AUTH_SOCK`.
    pub agent_socket: Option<PathBuf>,
    /// The folder of what the profile holds as proved.
    pub held: Option<PathBuf>,
    /// Private keys that are tried when nothing is named, such as `~/.ssh/id_ed25519`.
    pub usual: Vec<PathBuf>,
    /// Who touches the key or types its passphrase.
    pub person: Person,
}

impl SigningKey {
    fn new(half: PrivateHalf, source: &KeySource) -> Self {
        Self { half, held: source.held.clone(), person: source.person.clone() }
    }

    /// Finds the key. Without a path, the first key in the agent or at a usual place whose fingerprint `counts` is
    /// taken; an empty list takes any.
    pub fn find(source: &KeySource, counts: &[Fingerprint]) -> Result<Self, KeyError> {
        if let Some(path) = &source.path {
            return Self::named(source, path);
        }
        let fits =
            |key: &PublicKey| key.can_sign_documents() && (counts.is_empty() || counts.contains(&key.fingerprint()));
        let mut seen = Vec::new();
        if let Some(socket) = &source.agent_socket {
            // A stale socket from an old login must not hide the key file.
            if let Ok(keys) = Agent::new(socket).identities() {
                let agent = Agent::new(socket);
                seen.extend(keys.iter().map(|k| format!("{} in ssh-agent", k.fingerprint())));
                if let Some(key) = keys.into_iter().find(fits) {
                    return Ok(Self::new(PrivateHalf::Agent { agent, key }, source));
                }
            }
        }
        for path in source.usual.iter().filter(|p| p.exists()) {
            let key = file::public_half(path)?;
            if fits(&key) {
                return Self::named(source, path);
            }
            seen.push(format!("{} at {}", key.fingerprint(), path.display()));
        }
        let found = match (seen.is_empty(), counts.is_empty()) {
            (true, _) => "ssh-agent holds none and there is none in ~/.ssh".to_owned(),
            (false, true) => format!("none of {} is of a type that counts", seen.join(", ")),
            (false, false) => format!("none of {} stands in the trust root", seen.join(", ")),
        };
        Err(KeyError::None { found })
    }

    fn named(source: &KeySource, path: &Path) -> Result<Self, KeyError> {
        match file::read(path)? {
            file::KeyFile::Public(key) => {
                let wanted = key.fingerprint();
                let socket = source.agent_socket.as_deref().ok_or(AgentError::NotRunning)?;
                let agent = Agent::new(socket);
                let held = agent.identities()?;
                if held.contains(&key) {
                    return Ok(Self::new(PrivateHalf::Agent { agent, key }, source));
                }
                let held: Vec<String> = held.iter().map(|k| k.fingerprint().to_string()).collect();
                let held = if held.is_empty() { "none".to_owned() } else { held.join(", ") };
                Err(KeyError::NotInAgent { wanted: wanted.to_string(), held })
            }
            file::KeyFile::Private(key) => {
                let passphrase = Passphrase::from_setting(source.passphrase_file.as_deref());
                let key = source.person.wait(|| file::unlock(path, *key, &passphrase))?;
                Ok(Self::new(PrivateHalf::File(Box::new(key)), source))
            }
        }
    }

    /// A key that is already in memory, such as a demo's throw-away key.
    pub fn from_private_key(key: ssh_key::PrivateKey) -> Self {
        Self { half: PrivateHalf::File(Box::new(key)), held: None, person: Person::default() }
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        match &self.half {
            PrivateHalf::File(key) => key.public_key().clone().into(),
            PrivateHalf::Agent { key, .. } => key.clone(),
        }
    }

    /// Signs `bytes` as a document of `kind` and gives the armour for a `.sig` file. Waits while a hardware key is
    /// to be touched, after saying for what. While the profile knows of two ledgers, or lost the one it saw, only
    /// what takes out of danger is signed.
    pub fn sign(&self, kind: DocumentKind, bytes: &[u8]) -> Result<String, KeyError> {
        if let Some(held) = &self.held
            && !is_always_signed(kind, bytes)
            && let Some(SeenHead { head, other: Some(shown), at: _ }) =
                SeenHead::load(held).map_err(|e| KeyError::Seen(e.to_string()))?
        {
            return Err(KeyError::TwoLedgers { what: kind.noun(), seen: head, shown });
        }
        match &self.half {
            PrivateHalf::File(key) => Ok(signature::sign(key, kind, bytes)?),
            PrivateHalf::Agent { agent, key } => {
                if key.key_type().starts_with("sk-") {
                    note(&format!("touch the key: it signs {}", names(kind, bytes)));
                }
                let signed = self.person.wait(|| agent.sign(key, &signature::signed_data(kind, bytes)))?;
                Ok(signature::assemble(key, kind, bytes, &signed)?)
            }
        }
    }
}

/// What a touch signs, as its prompt names it.
fn names(kind: DocumentKind, bytes: &[u8]) -> String {
    let digest = Digest::of(bytes).short();
    match kind {
        DocumentKind::Pass => match json::parse::<Pass>(bytes) {
            Ok(pass) => format!("a login of this profile until {} (pass {digest})", pass.expires),
            Err(_) => format!("pass {digest}"),
        },
        DocumentKind::Decision => match json::parse::<Decision>(bytes) {
            Ok(decision) => format!("a {} (decision {digest})", decision.decided.word()),
            Err(_) => format!("decision {digest}"),
        },
        DocumentKind::Plan => match json::parse::<Plan>(bytes) {
            Ok(plan) => format!("plan {} of kind {} ({digest})", plan.seq, plan.kind),
            Err(_) => format!("plan {digest}"),
        },
        DocumentKind::Root
        | DocumentKind::Admission
        | DocumentKind::Enrolment
        | DocumentKind::Roster
        | DocumentKind::Receipt
        | DocumentKind::Holding
        | DocumentKind::View
        | DocumentKind::Login => format!("{} {digest}", kind.noun()),
    }
}
