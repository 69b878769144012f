//! The ledger's file format: lines that name the one before them.
//!
//! A line is `HASH SP JSON LF`. JSON is a [`Record`]; HASH is the SHA-256 of the text `PREVIOUS SP CONTENT LF`, where
//! PREVIOUS is the hash of the line before (64 zeros for the first) and CONTENT the SHA-256 of the JSON, all in
//! lower-case hexadecimal, so that `sha256sum` alone can follow it. A changed, lost, doubled or moved record breaks
//! every line after it, and the first broken line can be named. A last line without its LF was being written when the
//! power went: it was never acknowledged.
//!
//! Because a line is bound to the digest of its content, 32 bytes a record prove that a ledger only grew: see [`grow`].

use serde::{Deserialize, Serialize};

pub use crate::head::Head;
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
    let hash = chain(head.hash, Digest::of(&json));
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
    let expected = chain(head.hash, Digest::of(json));
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

/// The head after records with these contents: proof that a ledger with the later head goes on from `head`.
pub fn grow(head: Head, contents: impl IntoIterator<Item = Digest>) -> Head {
    contents.into_iter().fold(head, |Head { next_index, hash }, content| Head {
        next_index: next_index.saturating_add(1),
        hash: chain(hash, content),
    })
}

/// The digest of a line's content, without asking whether the line is whole.
pub fn content_of(line: &[u8]) -> Digest {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    Digest::of(line.get(65..).unwrap_or_default())
}

fn chain(previous: Digest, content: Digest) -> Digest {
    Digest::of(format!("{} {}\n", previous.hex(), content.hex()).as_bytes())
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
    fn the_contents_between_prove_that_a_ledger_grew() {
        let bytes = three_records();
        let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
        let head_after = |n: usize| verify(&lines[..n].concat()).expect("whole").1;
        let contents = || lines.iter().map(|line| content_of(line));
        assert_eq!(grow(Head::EMPTY, contents()), head_after(3));
        assert_eq!(grow(head_after(1), contents().skip(1)), head_after(3));
        assert_ne!(grow(head_after(1), contents().skip(1).take(1)), head_after(3), "one withheld");
        assert_ne!(grow(head_after(1), [content_of(lines[2]), content_of(lines[1])]), head_after(3), "moved");
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
