//! Text that people write into files: an editor of another system may put a mark in front, use two bytes for each
//! character, end lines in its own way, or leave zeros behind. All of that is read as the text that the person sees.
//!
//! Never for what is signed: a document is its exact bytes. [`check_untouched`] says what such a program did to one.

use std::path::Path;

use crate::refusal::{Refusal, Refused};

/// Why bytes are no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected text in UTF-8, found {found}; save the file again as plain text in UTF-8")]
pub struct NoText {
    found: String,
}

/// The text with plain line ends, without a mark in front and without zeros behind. UTF-16 is read in either order of
/// its bytes, with its mark or without.
pub fn read(bytes: &[u8]) -> Result<String, NoText> {
    let wrong = |found: String| NoText { found };
    let text = match encoding(bytes) {
        Encoding::Utf32 => return Err(wrong("UTF-32".into())),
        Encoding::Utf16 { body, unit } => {
            // What a half character is followed by was cut; zeros at the end are none.
            let (pairs, rest) = body.as_chunks::<2>();
            if rest.iter().any(|byte| *byte != 0) {
                return Err(wrong(format!("UTF-16 of {} bytes, an odd number", body.len())));
            }
            let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
            String::from_utf16(&units).map_err(|_| wrong("UTF-16 with broken characters".into()))?
        }
        Encoding::Utf8(body) => std::str::from_utf8(body)
            .map_err(|e| wrong(format!("other bytes after byte {}", e.valid_up_to())))?
            .to_owned(),
    };
    // CP/M's end of a file, which some programs of Windows still write.
    let text = text.trim_end_matches(['\0', '\u{1a}']);
    if let Some(at) = text.find('\0') {
        return Err(wrong(format!("a zero byte after byte {at}")));
    }
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// Refuses a signed file, or a signature, in which it shows that a program changed it: no signature fits any more, and
/// "bad signature" alone helps nobody.
pub fn check_untouched(file: &Path, bytes: &[u8]) -> Result<(), Refused> {
    let Some(found) = rewritten(bytes) else { return Ok(()) };
    let reason = format!(
        "{}: expected exactly what was signed, found {found}: a program has rewritten it on its way; copy the original \
         file again, as it is (not by an editor, mail text or git's autocrlf)",
        file.display()
    );
    Err(Refused::new(Refusal::BadSignature, reason))
}

/// What a program did to a document that was once good, as the object of "found"; none where nothing shows. Hostler
/// writes neither a mark nor a carriage return.
fn rewritten(bytes: &[u8]) -> Option<&'static str> {
    match encoding(bytes) {
        Encoding::Utf32 => Some("UTF-32"),
        Encoding::Utf16 { .. } => Some("UTF-16"),
        Encoding::Utf8(body) if body.len() < bytes.len() => Some("a byte order mark in front"),
        Encoding::Utf8(body) if body.contains(&b'\r') => Some("carriage returns (CRLF line ends)"),
        Encoding::Utf8(_) => None,
    }
}

enum Encoding<'a> {
    Utf8(&'a [u8]),
    Utf16 {
        body: &'a [u8],
        unit: Unit,
    },
    /// Told apart from UTF-16 and not read: no editor that we know of writes it unasked.
    Utf32,
}

/// A character, or half of one, of two bytes in their order.
type Unit = fn([u8; 2]) -> u16;

fn encoding(bytes: &[u8]) -> Encoding<'_> {
    let (little, big): (Unit, Unit) = (u16::from_le_bytes, u16::from_be_bytes);
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Encoding::Utf32,
        [0xff, 0xfe, body @ ..] => Encoding::Utf16 { body, unit: little },
        [0xfe, 0xff, body @ ..] => Encoding::Utf16 { body, unit: big },
        [0xef, 0xbb, 0xbf, body @ ..] => Encoding::Utf8(body),
        // Without a mark: what is written here begins with a letter of ASCII.
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => Encoding::Utf16 { body: bytes, unit: little },
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => Encoding::Utf16 { body: bytes, unit: big },
        body => Encoding::Utf8(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the editors of other systems save a text.
    fn saved(text: &str) -> Vec<(&'static str, Vec<u8>)> {
        let utf16 = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let (little, big) = (utf16(u16::to_le_bytes), utf16(u16::to_be_bytes));
        vec![
            ("UTF-8", text.into()),
            ("UTF-8 with its mark", [b"\xef\xbb\xbf", text.as_bytes()].concat()),
            ("UTF-16 LE with its mark", [b"\xff\xfe".as_slice(), &little].concat()),
            ("UTF-16 BE with its mark", [b"\xfe\xff".as_slice(), &big].concat()),
            ("UTF-16 LE", little),
            ("UTF-16 BE", big),
        ]
    }

    #[test]
    fn every_editor_writes_the_same_text() {
        for (ends, written) in [
            ("plain", "name = \"pi\"\n# ü\n"),
            ("CRLF", "name = \"pi\"\r\n# ü\r\n"),
            ("CR", "name = \"pi\"\r# ü\r"),
            ("zeros behind", "name = \"pi\"\r\n# ü\n\0\0\0"),
            ("an end of file", "name = \"pi\"\n# ü\n\u{1a}"),
        ] {
            for (how, bytes) in saved(written) {
                assert_eq!(read(&bytes).as_deref(), Ok("name = \"pi\"\n# ü\n"), "{how}, {ends}");
            }
        }
        assert_eq!(read(b"").as_deref(), Ok(""));
        assert_eq!(read(b"\xef\xbb\xbf").as_deref(), Ok(""), "an empty file of Notepad");
    }

    #[test]
    fn what_is_no_text_is_named_with_a_way_out() {
        for (bytes, found) in [
            (b"name = \"\xfc\"".as_slice(), "other bytes after byte 8"),
            (b"\xff\xfe\0\0a\0\0\0", "UTF-32"),
            (b"\xff\xfea\0b", "odd number"),
            (b"\xff\xfe\0\xd8a\0", "broken characters"),
            (b"abc\0def", "a zero byte after byte 3"),
        ] {
            let said = read(bytes).unwrap_err().to_string();
            assert!(said.contains(found) && said.contains("save the file again as plain text"), "{said}");
        }
    }

    #[test]
    fn what_was_done_to_a_document_shows() {
        assert_eq!(rewritten(b"{\n}\n"), None);
        assert!(saved("{\n}\n").iter().skip(1).all(|(_, bytes)| rewritten(bytes).is_some()));
        assert!(rewritten(b"{\r\n}\r\n").unwrap().contains("CRLF"));
    }
}
