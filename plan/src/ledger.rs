//! The ledger's file format: lines that name the one before them.
//!
//! A line is `HASH SP JSON LF`. JSON is a [`Record`]; HASH is the lower-case hexadecimal SHA-256 of the previous line's
//! hash (32 zero bytes for the first) followed by the JSON's bytes. A changed, lost, doubled or moved record breaks
//! every line after it, and the first broken line can be named. A last line without its LF was being written when the
//! power went: it was never acknowledged.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{entry::Entry, id::Digest, timestamp::Timestamp};

/// One line's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// 0 for the first, then one more each.
    pub index: u64,
    pub at: Timestamp,
    pub entry: Entry,
}

/// The longest line: the largest document in base64 with 16 signatures.
pub const MAX_LINE_BYTES: usize = 2 << 20;

/// Where the chain stands: the next index and the hash that the next line builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub next_index: u64,
    pub hash: Digest,
}

impl Head {
    /// Before the first record.
    pub const EMPTY: Head = Head { next_index: 0, hash: Digest::ZERO };
}

/// What is wrong with a ledger, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A record is not what was written.
    #[error(
        "ledger record {index} at byte {offset} is damaged: {what}; restore the ledger from a backup, or keep the \
            records before it with `hostler-coordinator recover`"
    )]
    Record { index: u64, offset: u64, what: String },
    /// The last line has no end; it was never acknowledged.
    #[error("ledger record {index} at byte {offset} was not completely written")]
    Torn { index: u64, offset: u64 },
}

/// The line for `entry` after `head`, and the head after it.
pub fn encode(head: Head, at: Timestamp, entry: Entry) -> (Vec<u8>, Record, Head) {
    let record = Record { index: head.next_index, at, entry };
    let json = serde_json::to_vec(&record).expect("records hold only texts, integers and lists");
    let hash = chain(head.hash, &json);
    let mut line = hash.hex().into_bytes();
    line.push(b' ');
    line.extend_from_slice(&json);
    line.push(b'\n');
    (line, record, Head { next_index: head.next_index + 1, hash })
}

/// Reads the first line of `bytes`, which stands at `offset` of the file. None at the end.
pub fn decode(head: Head, offset: u64, bytes: &[u8]) -> Result<Option<(Record, Head, usize)>, Damage> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let index = head.next_index;
    let damaged = |what: String| Damage::Record { index, offset, what };
    let Some(end) = bytes.iter().take(MAX_LINE_BYTES).position(|b| *b == b'\n') else {
        return Err(match bytes.len() >= MAX_LINE_BYTES {
            true => damaged(format!("expected a line of at most {MAX_LINE_BYTES} bytes, found no end of it")),
            false => Damage::Torn { index, offset },
        });
    };
    let line = &bytes[..end];
    let (hash, json) = line
        .split_at_checked(64)
        .and_then(|(hash, rest)| Some((std::str::from_utf8(hash).ok()?, rest.strip_prefix(b" ")?)))
        .ok_or_else(|| damaged("expected 64 hexadecimal digits, a space and the record".into()))?;
    let expected = chain(head.hash, json);
    if expected.hex() != hash {
        return Err(damaged(format!("expected hash {}, found {hash}", expected.hex())));
    }
    let record: Record = crate::json::parse_stored(json).map_err(|e| damaged(e.to_string()))?;
    if record.index != index {
        return Err(damaged(format!("expected index {index}, found {}", record.index)));
    }
    Ok(Some((record, Head { next_index: index + 1, hash: expected }, end + 1)))
}

/// Reads a whole ledger that is in memory.
pub fn verify(bytes: &[u8]) -> Result<(Vec<Record>, Head), Damage> {
    let (mut head, mut offset, mut records) = (Head::EMPTY, 0, Vec::new());
    while let Some((record, next, length)) = decode(head, offset as u64, &bytes[offset..])? {
        records.push(record);
        (head, offset) = (next, offset + length);
    }
    Ok((records, head))
}

fn chain(previous: Digest, json: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(previous.as_bytes());
    hasher.update(json);
    Digest::from_bytes(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three_records() -> Vec<u8> {
        let (mut head, mut bytes) = (Head::EMPTY, Vec::new());
        for by in ["a", "b", "c"] {
            let entry = Entry::Resumed { plan: Digest::of(by.as_bytes()), by: by.into() };
            let (line, _, next) = encode(head, Timestamp::from_unix_seconds(1), entry);
            bytes.extend(line);
            head = next;
        }
        bytes
    }

    #[test]
    fn every_flipped_bit_names_its_record() {
        let bytes = three_records();
        assert_eq!(verify(&bytes).expect("intact").0.len(), 3);
        let line = bytes.len() / 3;
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let found = match verify(&damaged).expect_err("damage is noticed") {
                Damage::Record { index, .. } | Damage::Torn { index, .. } => index,
            };
            assert_eq!(found as usize, at / line, "byte {at}");
        }
    }

    #[test]
    fn a_line_cut_short_is_torn_and_a_lost_line_is_damage() {
        let bytes = three_records();
        let line = bytes.len() / 3;
        assert!(matches!(verify(&bytes[..bytes.len() - 1]), Err(Damage::Torn { index: 2, .. })));
        let mut lost = bytes[..line].to_vec();
        lost.extend_from_slice(&bytes[2 * line..]);
        assert!(matches!(verify(&lost), Err(Damage::Record { index: 1, .. })));
    }
}
