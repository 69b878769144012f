//! A text for one reader: packed before it is sealed, because what carries it has little room.

use std::io::{self, BufRead, Read as _, Write as _};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use hostler_plan::document::Recipient;

use crate::{Identity, Opener, SealError, Sealer};

/// Seals a text to that key; what is inside has the form of RFC 1951.
pub fn seal_letter(to: Recipient, text: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = DeflateEncoder::new(Sealer::new(&[to], Vec::new())?, Compression::best());
    packed.write_all(text)?;
    packed.finish()?.finish()
}

/// Opens what [`seal_letter`] made for that key. One that has more than `most` bytes is refused.
pub fn open_letter(identity: &Identity, sealed: impl BufRead, most: usize) -> io::Result<Vec<u8>> {
    let mut opened = Vec::new();
    let mut opener = Opener::new(identity, sealed)?;
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    DeflateDecoder::new(&mut opener).take(limit).read_to_end(&mut opened)?;
    if opened.len() > most {
        return Err(io::Error::other(SealError::Form("what is in it is longer than it may be")));
    }
    // Only at its end is it known to be whole.
    io::copy(&mut opener, &mut io::sink())?;
    Ok(opened)
}

/// What a sealed note is filled up to a multiple of, so that its length tells nothing of it.
const STEP: usize = 4 << 10;

/// Seals a short text to that key, filled up with blanks.
pub fn seal_note(to: Recipient, text: &str) -> io::Result<Vec<u8>> {
    let mut filled = text.as_bytes().to_vec();
    filled.resize(text.len().next_multiple_of(STEP).max(STEP), b' ');
    let mut sealer = Sealer::new(&[to], Vec::new())?;
    sealer.write_all(&filled)?;
    sealer.finish()
}

/// Opens what [`seal_note`] made for that key. One that has more than `most` bytes is refused.
pub fn open_note(identity: &Identity, sealed: impl BufRead, most: usize) -> io::Result<String> {
    let mut opened = String::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    Opener::new(identity, sealed)?.take(limit).read_to_string(&mut opened)?;
    if opened.len() > most {
        return Err(io::Error::other(SealError::Form("what is in it is longer than it may be")));
    }
    Ok(opened.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_read_by_the_one_it_is_for_whole_or_not_at_all() {
        let (mine, other) = (Identity::generate(), Identity::generate());
        let text = b"a node, a node, a node, a node, a node, a node, a node, a node".repeat(200);
        let sealed = seal_letter(mine.recipient(), &text).unwrap();
        assert!(sealed.len() < 1000, "{}", sealed.len());
        assert_eq!(open_letter(&mine, &*sealed, text.len()).unwrap(), text);
        assert!(open_letter(&other, &*sealed, text.len()).is_err());
        assert!(open_letter(&mine, &*sealed, text.len() - 1).is_err());
        for cut in [0, 40, sealed.len() - 1] {
            assert!(open_letter(&mine, &sealed[..cut], text.len()).is_err(), "{cut}");
        }
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(open_letter(&mine, &*changed, text.len()).is_err());
    }

    #[test]
    fn a_note_is_as_long_as_any_other_and_only_its_reader_opens_it() {
        let (mine, other) = (Identity::generate(), Identity::generate());
        let seal = |text: &str| seal_note(mine.recipient(), text).unwrap();
        let sealed = seal("hunter2 “é”");
        assert_eq!(sealed.len(), seal(&"x".repeat(STEP)).len());
        assert!(sealed.len() < seal(&"x".repeat(STEP + 1)).len() && sealed != seal("hunter2 “é”"));
        assert_eq!(open_note(&mine, &*sealed, 2 * STEP).unwrap(), "hunter2 “é”");
        assert!(open_note(&other, &*sealed, 2 * STEP).is_err());
        assert!(open_note(&mine, &*sealed, 100).is_err());
        assert!(open_note(&mine, &sealed[..sealed.len() - 1], 2 * STEP).is_err());
    }
}
