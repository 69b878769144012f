//! The two lines that people copy: the join string for a node and the set-up code for the first admin.
//!
//! The join string is everything a new node needs, on one line.
//!
//! `hostler1.<base64url of JSON>`: the coordinator's enrolment address, the SPKI digest of its CA, the digest of the
//! trust root, the token's id and its private key. It is a secret: whoever holds it can enrol until it is used up.
//!
//! The set-up code (`hostlersetup1.<base64url of JSON>`) is what a coordinator without a trust root writes: how to
//! reach it, how to know it, and the word that lets the first root in. It is a secret until that root is installed.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    id::{Digest, FleetId, TokenId},
    json, written,
};

/// What stands in front of every join string of this form.
const PREFIX: &str = "hostler1.";

/// The longest join string that is read; real ones have about 700 characters.
const MAX_CHARACTERS: usize = 4096;

/// A decoded join string.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinString {
    pub fleet_id: FleetId,
    /// `host:port` of the enrolment listener.
    pub address: String,
    /// SHA-256 of the SubjectPublicKeyInfo of the coordinator's CA.
    pub ca_pin: Digest,
    /// Digest of the newest trust root when the string was made. The node's chain begins there: one that ends before is
    /// refused, one that goes on is followed.
    pub root: Digest,
    pub token: TokenId,
    /// The token's private key in OpenSSH's form.
    pub token_key: String,
}

/// Why a text is not a join string.
#[derive(Debug, thiserror::Error)]
#[error("join string expected {PREFIX}… as `hostler token create` prints it, found {found}; copy the whole line again")]
pub struct InvalidJoinString {
    found: String,
}

impl JoinString {
    /// Reads a join string; white space around it is ignored.
    pub fn parse(text: &str) -> Result<Self, InvalidJoinString> {
        let text = text.trim();
        let wrong = |found: String| InvalidJoinString { found };
        if text.len() > MAX_CHARACTERS {
            return Err(wrong(format!("{} characters", text.len())));
        }
        let Some(body) = text.strip_prefix(PREFIX) else {
            return Err(wrong(format!("{:?}", text.chars().take(9).collect::<String>())));
        };
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|e| wrong(format!("broken base64: {e}")))?;
        json::parse(&bytes).map_err(|e| wrong(e.to_string()))
    }

    /// What a person put into a file, with whatever program: also a line that was broken into several, between remarks
    /// that begin with `#`. None where the file holds no more than these.
    pub fn in_file(bytes: &[u8]) -> Result<Option<Self>, InvalidJoinString> {
        let wrong = |found: String| InvalidJoinString { found };
        let text = written::read(bytes).map_err(|e| wrong(e.to_string()))?;
        // A file system that lost power leaves zeros where the text was.
        if text.is_empty() && bytes.contains(&0) {
            return Err(wrong("zeros".into()));
        }
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let line: String = lines.flat_map(str::split_whitespace).collect();
        match line.matches(PREFIX).count() {
            0 if line.is_empty() => Ok(None),
            0 | 1 => Self::parse(&line).map(Some),
            more => Err(wrong(format!("{more} of them in one file"))),
        }
    }

    /// The one line that `hostler token create` prints.
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("a join string holds only texts");
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }
}

impl fmt::Debug for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinString").field("token", &self.token).field("address", &self.address).finish_non_exhaustive()
    }
}

/// What stands in front of every set-up code of this form.
const SETUP_PREFIX: &str = "hostlersetup1.";

/// A decoded set-up code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupCode {
    /// SHA-256 of the SubjectPublicKeyInfo of the coordinator's CA: goes into the first root.
    pub ca_pin: Digest,
    /// What `InstallRoot` must carry; random, made by the coordinator.
    pub code: String,
    /// `host:port` of the admins' listener as the coordinator knows it; the admin may know a better one.
    pub admin_address: String,
}

/// Why a text is not a set-up code.
#[derive(Debug, thiserror::Error)]
#[error(
    "set-up code expected {SETUP_PREFIX}… as a new coordinator prints it, found {found}; copy the whole line again"
)]
pub struct InvalidSetupCode {
    found: String,
}

impl SetupCode {
    /// Reads a set-up code; white space around it is ignored.
    pub fn parse(text: &str) -> Result<Self, InvalidSetupCode> {
        let text = text.trim();
        let wrong = |found: String| InvalidSetupCode { found };
        if text.len() > MAX_CHARACTERS {
            return Err(wrong(format!("{} characters", text.len())));
        }
        let Some(body) = text.strip_prefix(SETUP_PREFIX) else {
            return Err(wrong(format!("{:?}", text.chars().take(SETUP_PREFIX.len()).collect::<String>())));
        };
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|e| wrong(format!("broken base64: {e}")))?;
        json::parse(&bytes).map_err(|e| wrong(e.to_string()))
    }

    /// The one line that a coordinator prints.
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("a set-up code holds only texts");
        format!("{SETUP_PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }
}

impl fmt::Debug for SetupCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetupCode").field("admin_address", &self.admin_address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_code_reads_back_and_hides_its_secret() {
        let setup = SetupCode {
            ca_pin: Digest::of(b"ca"),
            code: "secret".into(),
            admin_address: "coordinator.example:7443".into(),
        };
        let text = setup.encode();
        assert_eq!(SetupCode::parse(&format!("{text}\n")).expect("valid"), setup);
        assert!(SetupCode::parse(&text[..text.len() - 4]).is_err());
        assert!(SetupCode::parse("hostler1.abc").is_err());
        assert!(!format!("{setup:?}").contains("secret"));
    }

    #[test]
    fn a_join_string_reads_back_and_hides_its_secret() {
        let join = JoinString {
            fleet_id: FleetId::new("0".repeat(32)).expect("valid"),
            address: "127.0.0.1:1".into(),
            ca_pin: Digest::of(b"ca"),
            root: Digest::of(b"root"),
            token: TokenId::new("abcdef12").expect("valid"),
            token_key: "secret".into(),
        };
        let text = join.encode();
        assert_eq!(JoinString::parse(&format!(" {text}\n")).expect("valid"), join);
        assert!(JoinString::parse(&text[..text.len() - 4]).is_err());
        assert!(JoinString::parse("hello").is_err());
        let (front, behind) = text.split_at(40);
        for (file, what) in [
            (format!("\u{feff}{text}\r\n"), "Notepad"),
            (format!("# for the first node\r\n\r\n  {front}\r\n{behind}  \r\n"), "broken by a mail program"),
            (format!("{text}\0\0\0"), "zeros behind"),
        ] {
            assert_eq!(JoinString::in_file(file.as_bytes()).expect(what), Some(join.clone()), "{what}");
        }
        assert_eq!(JoinString::in_file(b"\xef\xbb\xbf# nothing\r\n").expect("empty"), None);
        for wrong in [format!("{text}\n{text}"), "\0\0\0\0".into(), "{\\rtf1 hello".into(), format!("\"{text}\"")] {
            let said = JoinString::in_file(wrong.as_bytes()).expect_err(&wrong).to_string();
            assert!(said.contains("copy the whole line again"), "{said}");
        }
        assert!(!format!("{join:?}").contains("secret"));
    }
}
