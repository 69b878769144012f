//! The two questions we have for an ssh-agent (draft-ietf-sshm-ssh-agent): which keys, and sign this.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use hostler_plan::signature::PublicKey;

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// OpenSSH's own limit for an agent message (AGENT_MAX_LEN).
const MAX_MESSAGE_BYTES: u32 = 256 << 10;

/// A person has to find and touch a hardware key, or to confirm in a window.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// A running ssh-agent.
#[derive(Debug, Clone)]
pub struct Agent {
    socket: PathBuf,
}

/// Why the agent did not help.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("no ssh-agent: SSH_AUTH_SOCK is not set; start one with `eval $(ssh-agent)` and load the key with ssh-add")]
    NotRunning,
    #[error("cannot talk to the ssh-agent at {socket}: {source}; start one with `eval $(ssh-agent)`")]
    Socket { socket: PathBuf, source: io::Error },
    #[error(
        "the ssh-agent refused to sign; confirm or touch the key when it asks, or unlock the agent with `ssh-add -X`"
    )]
    Refused,
    #[error("the ssh-agent's answer was expected to be {expected}, found {found}; use another agent or a key file")]
    Answer { expected: &'static str, found: String },
}

impl Agent {
    /// The agent behind this socket; nothing is opened yet.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Its keys, those of unknown kinds left out.
    pub fn identities(&self) -> Result<Vec<PublicKey>, AgentError> {
        let answer = self.ask(&[REQUEST_IDENTITIES], IDENTITIES_ANSWER, "a list of keys")?;
        let mut rest = Rest(&answer);
        let count = rest.number()?;
        let mut keys = Vec::new();
        for _ in 0..count {
            let blob = rest.string()?;
            rest.string()?; // the comment
            keys.extend(ssh_key::PublicKey::from_bytes(blob).map(PublicKey::from));
        }
        Ok(keys)
    }

    /// Lets `key` sign `data`.
    pub fn sign(&self, key: &PublicKey, data: &[u8]) -> Result<ssh_key::Signature, AgentError> {
        let mut request = vec![SIGN_REQUEST];
        put(&mut request, &key.to_wire());
        put(&mut request, data);
        request.extend(0u32.to_be_bytes());
        let answer = self.ask(&request, SIGN_RESPONSE, "a signature")?;
        let blob = Rest(&answer).string()?;
        ssh_key::Signature::try_from(blob)
            .map_err(|e| AgentError::Answer { expected: "a signature", found: e.to_string() })
    }

    fn ask(&self, request: &[u8], expected: u8, what: &'static str) -> Result<Vec<u8>, AgentError> {
        let failed = |source| AgentError::Socket { socket: self.socket.clone(), source };
        let answer = self.exchange(request).map_err(failed)?;
        match answer.split_first() {
            Some((kind, body)) if *kind == expected => Ok(body.to_vec()),
            // SSH_AGENT_FAILURE: for a list it is an agent without keys that is locked, for a signature a refusal.
            Some((5, _)) if expected == SIGN_RESPONSE => Err(AgentError::Refused),
            Some((kind, _)) => Err(AgentError::Answer { expected: what, found: format!("message {kind}") }),
            None => Err(AgentError::Answer { expected: what, found: "an empty message".into() }),
        }
    }

    fn exchange(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut framed = Vec::with_capacity(request.len() + 4);
        put(&mut framed, request);
        stream.write_all(&framed)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > MAX_MESSAGE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length as usize];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

/// An SSH string: its length in four bytes, then its bytes.
fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("requests are far below 4 GiB");
    to.extend(length.to_be_bytes());
    to.extend(bytes);
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], AgentError> {
        let (taken, left) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| AgentError::Answer { expected: "complete", found: "one that ends too early".into() })?;
        self.0 = left;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, AgentError> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().expect("four bytes were taken")))
    }

    fn string(&mut self) -> Result<&'a [u8], AgentError> {
        let length = self.number()? as usize;
        self.take(length)
    }
}
