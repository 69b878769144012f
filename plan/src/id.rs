//! Names and digests that cannot be mixed up.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::text::{self, clean_to};

mod task;

pub use task::TaskId;

/// What is said of a text that is no identifier.
const MAX_FOUND_BYTES: usize = 80;

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} expected {expected}, found \"{found}\"")]
pub struct InvalidId {
    /// Which identifier was read.
    pub what: &'static str,
    /// Its form in words.
    pub expected: &'static str,
    /// The text that was found, cleaned and cut to 80 bytes.
    pub found: String,
}

impl InvalidId {
    pub(crate) fn new(what: &'static str, expected: &'static str, found: &str) -> Self {
        Self { what, expected, found: clean_to(found, MAX_FOUND_BYTES).into_owned() }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the form and keeps the text.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) { Ok(Self(text)) } else { Err(InvalidId::new($what, $expected, &text)) }
            }

            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

pub(crate) use text_id;

text_id! {
    /// The fleet, for ever: 32 lower-case hexadecimal digits drawn when its first root is made.
    FleetId, "fleet id", "32 lower-case hexadecimal digits",
    |t| t.len() == 32 && lower_hex(t)
}

text_id! {
    /// A node's name: an RFC 1123 subdomain of at most 253 bytes, because it is also its Kubernetes node name.
    NodeName, "node name",
    "1 to 253 of a-z, 0-9, '-' and '.', with a letter or digit on both sides of a '.' and at both ends",
    |t| (1..=253).contains(&t.len()) && t.split('.').all(dns_part)
}

/// The longest name of a file on every file system that Hostler meets.
const MAX_FILE_BYTES: usize = 255;

impl NodeName {
    /// The name of a file of this node: `start`, the name, `end`. Where that is more than a file's name can hold, a
    /// digest of the whole name stands for its tail, behind a `~` that no name has: no two nodes meet.
    pub fn file_name(&self, start: &str, end: &str) -> String {
        let room = MAX_FILE_BYTES.saturating_sub(start.len() + end.len());
        if self.0.len() <= room {
            return format!("{start}{self}{end}");
        }
        let digest = Digest::of(self.0.as_bytes()).hex();
        let kept = self.0.get(..room.saturating_sub(digest.len() + 1)).unwrap_or_default();
        format!("{start}{kept}~{digest}{end}")
    }
}

text_id! {
    /// A join token's public name.
    TokenId, "token id", "8 to 32 lower-case hexadecimal digits",
    |t| (8..=32).contains(&t.len()) && lower_hex(t)
}

text_id! {
    /// An artifact's name inside its plan, such as `NAME-aarch64`.
    ArtifactName, "artifact name", "1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
    |t| (1..=64).contains(&t.len()) && t.starts_with(|c: char| c.is_ascii_alphanumeric())
        && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
}

text_id! {
    /// The kernel's boot id (`/proc/sys/kernel/random/boot_id`): another one proves a reboot.
    BootId, "boot id", "1 to 64 of 0-9, a-f and '-'",
    |t| (1..=64).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-')
}

text_id! {
    /// What tells a machine's system from every other one (`/etc/machine-id`, `status.nodeInfo.machineID`). Zeros only
    /// are none: systemd takes them for one that was never made.
    MachineId, "machine id", "32 lower-case hexadecimal digits, not all of them 0",
    |t| t.len() == 32 && lower_hex(t) && t.bytes().any(|b| b != b'0')
}

text_id! {
    /// The fingerprint of an SSH public key as `ssh-keygen -l` prints it: `SHA256:` and 43 characters of base64.
    Fingerprint, "key fingerprint", "SHA256: and 43 characters of base64",
    |t| t.strip_prefix("SHA256:").is_some_and(|b| b.len() == 43
        && b.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/'))
}

text_id! {
    /// What somebody drew who asks: an answer that holds it was made after the question.
    Nonce, "nonce", "64 lower-case hexadecimal digits",
    |t| t.len() == 64 && lower_hex(t)
}

impl Nonce {
    /// The nonce of 32 bytes that nobody can guess.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(text::hex(&bytes))
    }
}

fn lower_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A part of a name between dots. As in Kubernetes, one part may be as long as all.
fn dns_part(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A SHA-256 digest, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// 32 zero bytes: what stands before the first link of a chain.
    pub const ZERO: Self = Self([0; 32]);

    /// The digest of `bytes`. A document's identity is the digest of its exact bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest that was computed elsewhere, for example while a stream was written.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits without the `sha256:` in front: a file name.
    pub fn hex(&self) -> String {
        text::hex(&self.0)
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = || InvalidId::new("digest", "sha256: and 64 lower-case hexadecimal digits", text);
        let hex = text.strip_prefix("sha256:").filter(|h| h.len() == 64 && lower_hex(h)).ok_or_else(wrong)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// The fleet's era: raised by a new root, it voids every plan of the era before, whatever its [`Seq`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// A plan's number within its [`Epoch`]; a node never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The processor family a node runs on and an artifact is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// 64-bit ARM, Debian's `arm64`.
    Aarch64,
    /// 64-bit x86, Debian's `amd64`.
    X86_64,
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arch::Aarch64 => "aarch64",
            Arch::X86_64 => "x86_64",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_what_it_writes() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        assert!("sha256:BA7816".parse::<Digest>().is_err());
        assert!("".parse::<Digest>().is_err());
    }

    #[test]
    fn names_are_subdomains() {
        for good in
            ["pi-1", "node1.example.org", "10.0.0.7", "ip-10-0-0-7.eu-west-1.compute.internal", &"a".repeat(253)]
        {
            assert!(NodeName::new(good).is_ok(), "{good:?}");
        }
        for bad in ["", "-a", "a-", "A", "a..b", ".a", "a.", "a.-b", "a-.b", "pi_1", "a/../b", "a\0", &"a".repeat(254)]
        {
            assert!(NodeName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn files_of_two_nodes_never_meet_however_long_their_names_are() {
        let name = |text: String| NodeName::new(text).unwrap();
        assert_eq!(name("w1.example.org".into()).file_name("receipts/", ".json"), "receipts/w1.example.org.json");
        let long = [name(format!("{}.a", "w".repeat(251))), name(format!("{}.b", "w".repeat(251)))];
        let [one, other] = long.each_ref().map(|name| name.file_name("", "-0001.json"));
        assert!(one != other && one.len() == 255 && other.len() == 255, "{one} {other}");
        assert_eq!(long[0].file_name("", "").len(), 253, "what fits stands whole");
    }
}
