//! Pieces of sentences and names that are made the same way everywhere, and the one way in which text of others is
//! shown.

use std::{borrow::Cow, fmt::Write as _};

/// A number with its noun, as a person says it: "1 task", "2 tasks".
pub fn count(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// ` and 3 more`, or nothing.
pub fn and_more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" and {others} more") }
}

/// Seconds as people say them: whole days or hours where they are whole.
pub fn span(seconds: u64) -> String {
    match seconds {
        s if s > 0 && s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s > 0 && s % 3600 == 0 => format!("{} h", s / 3600),
        s => format!("{s} s"),
    }
}

/// A time that passed, as people say it: its largest unit alone.
pub fn age(seconds: u64) -> String {
    match seconds {
        s if s >= 2 * 86_400 => format!("{} d", s / 86_400),
        s if s >= 2 * 3600 => format!("{} h", s / 3600),
        s if s >= 120 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// A time that is ahead, as people say it: in minutes where it is near, in tens of them and in hours where it is not,
/// so that it is not another text every minute.
pub fn until(seconds: u64) -> String {
    let minutes = seconds.div_ceil(60);
    match minutes {
        0 => "1 min".to_owned(),
        m if m <= 60 => format!("{m} min"),
        m if m <= 24 * 60 => {
            let m = m.next_multiple_of(10);
            let (hours, rest) = (m / 60, m % 60);
            if rest == 0 { format!("{hours} h") } else { format!("{hours} h {rest} min") }
        }
        m => {
            let h = m.div_ceil(60);
            let (days, rest) = (h / 24, h % 24);
            if rest == 0 { format!("{days} d") } else { format!("{days} d {rest} h") }
        }
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| char::from(DIGITS[usize::from(four)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// What is shown of one text of others: a long error of a program, and no more than a screen.
pub const MAX_SHOWN_BYTES: usize = 2000;

/// What stands where a text was cut.
const CUT: &str = "…";

/// Text of others in one line: whatever is no visible character stands as its escape (`\n`, `\u{1b}`), and what is
/// longer than [`MAX_SHOWN_BYTES`] is cut with a mark. Cleaning it again changes nothing.
pub fn clean(text: &str) -> Cow<'_, str> {
    clean_to(text, MAX_SHOWN_BYTES)
}

/// The same, cut to at most `most` bytes with the mark.
pub fn clean_to(text: &str, most: usize) -> Cow<'_, str> {
    // No escape is shorter than what it stands for: what lies behind is not looked at, however long it is.
    let head = &text[..text.floor_char_boundary(most)];
    let escaped = escape(head, is_visible);
    if head.len() == text.len() && escaped.len() <= most {
        return escaped;
    }
    let kept = escaped.floor_char_boundary(most.saturating_sub(CUT.len()));
    Cow::Owned(format!("{}{}", &escaped[..kept], if most < CUT.len() { "" } else { CUT }))
}

/// Everything that leaves for a terminal, a log or a page at once: as [`clean`], but whole, and its lines stay lines.
pub fn clean_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c == '\n' || is_visible(c))
}

/// JSON for a terminal: the same value, with `\u` escapes where a character would not be visible.
pub fn clean_json(json: &str) -> Cow<'_, str> {
    let escaped = |c: char| c != '\n' && !is_visible(c);
    if !json.contains(escaped) {
        return Cow::Borrowed(json);
    }
    Cow::Owned(json.chars().fold(String::with_capacity(json.len() + 16), |mut text, c| {
        match escaped(c) {
            true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                write!(text, "\\u{unit:04x}").expect("writing to a String cannot fail");
            }),
            false => text.push(c),
        }
        text
    }))
}

fn escape(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&stays) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::with_capacity(text.len() + 16), |mut escaped, c| {
        match c {
            c if stays(c) => escaped.push(c),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            other => escaped.extend(other.escape_unicode()),
        }
        escaped
    }))
}

/// Whether a character shows as itself, takes a place of its own and leaves the others where they are: no control, no
/// space but the plain one, nothing that turns the direction of text, nothing private or not assigned, nothing that is
/// drawn as nothing.
pub fn is_visible(c: char) -> bool {
    if c.is_ascii() {
        return c == ' ' || c.is_ascii_graphic();
    }
    if DRAWN_AS_NOTHING.iter().any(|(first, last)| (*first..=*last).contains(&c)) {
        return false;
    }
    // The standard library's table: all but the general categories C and Z. Behind a letter, because it escapes a
    // combining mark only where it stands alone.
    let mut letter_and = [b'a', 0, 0, 0, 0];
    let length = 1 + c.encode_utf8(&mut letter_and[1..]).len();
    std::str::from_utf8(&letter_and[..length]).is_ok_and(|text| text.escape_debug().nth(1) == Some(c))
}

/// What Unicode counts among letters, marks and symbols and fonts draw as nothing: fillers, joiners and selectors
/// (`Default_Ignorable_Code_Point` outside of the categories C and Z), and the empty Braille cell.
const DRAWN_AS_NOTHING: &[(char, char)] = &[
    ('\u{34f}', '\u{34f}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{e0100}', '\u{e01ef}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_as_a_person_says_them() {
        assert_eq!(
            (count(0, "pod"), count(1, "pod"), count(2, "pod")),
            ("0 pods".into(), "1 pod".into(), "2 pods".into())
        );
        assert_eq!((and_more(0), and_more(3)), (String::new(), " and 3 more".into()));
    }

    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }

    #[test]
    fn what_is_cut_off_is_not_looked_at_and_changes_nothing() {
        for sign in ["x", "é", "…", "𝄞", "\u{1b}", "\u{202e}"] {
            for (many, most) in [(3, 7), (8, 7), (8, 8), (9, 8), (70, 64), (700, 64)] {
                let text = sign.repeat(many);
                let whole = escape(&text, is_visible);
                let expected = match whole.len() <= most {
                    true => whole.into_owned(),
                    false => format!("{}{CUT}", &whole[..whole.floor_char_boundary(most - CUT.len())]),
                };
                assert_eq!(clean_to(&text, most), expected, "{sign:?} {many} times, at most {most} bytes");
            }
        }
    }

    /// One of each kind that moves a cursor, turns text round, hides or pretends.
    const UNSEEN: &[char] = &[
        '\0',
        '\x07',
        '\x08',
        '\t',
        '\n',
        '\r',
        '\x1b',
        '\x7f',
        '\u{80}',
        '\u{85}',
        '\u{9b}',
        '\u{9d}', // controls
        '\u{a0}',
        '\u{2003}',
        '\u{3000}',
        '\u{2028}',
        '\u{2029}', // spaces and separators
        '\u{61c}',
        '\u{200e}',
        '\u{200f}',
        '\u{202a}',
        '\u{202b}',
        '\u{202c}',
        '\u{202d}',
        '\u{202e}',
        '\u{2066}',
        '\u{2067}',
        '\u{2068}',
        '\u{2069}', // directions
        '\u{ad}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{2060}',
        '\u{2064}',
        '\u{feff}',
        '\u{34f}',
        '\u{3164}',
        '\u{fe0f}',
        '\u{e0100}', // no width
        '\u{e0001}',
        '\u{e0041}',
        '\u{e007f}', // tags
        '\u{e000}',
        '\u{f0000}',
        '\u{378}',
        '\u{ffff}',
        '\u{1ffff}',
        '\u{fff9}', // private, not assigned, annotations
    ];

    #[test]
    fn what_cannot_be_seen_is_written_as_its_escape() {
        for c in UNSEEN {
            let text = format!("a{c}b");
            let cleaned = clean(&text);
            assert!(cleaned.starts_with("a\\") && cleaned.is_ascii(), "{c:?} became {cleaned:?}");
            assert_eq!(clean(&cleaned), cleaned, "cleaning again changes nothing");
            assert!(clean_lines(&text).chars().all(|c| c == '\n' || is_visible(c)), "{c:?}");
            let json = serde_json::to_string(&text).expect("a text is JSON");
            let cleaned = clean_json(&json);
            assert!(cleaned.is_ascii(), "{c:?} became {cleaned}");
            assert_eq!(serde_json::from_str::<String>(&cleaned).expect("still JSON"), text);
        }
        assert_eq!(clean("a\x1b[2J\nplan 12 is in the ledger"), "a\\u{1b}[2J\\nplan 12 is in the ledger");
        assert_eq!(clean_lines("a\x1b\nb"), "a\\u{1b}\nb");
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        for text in ["Häuser", "e\u{301}", "наряд", "दिल्ली", "節点", "→ 54°C … █▁", "C:\\x \"quoted\"", ""]
        {
            assert!(matches!(clean(text), Cow::Borrowed(t) if t == text), "{text}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters_with_a_mark_and_stays_so() {
        assert_eq!((&*clean_to("häuser", 6), &*clean_to("haus", 9)), ("hä…", "haus"));
        for most in 0..40 {
            let cut = clean_to("hä\u{1b}user and whoever lives in them", most).into_owned();
            assert!(cut.len() <= most, "{most}: {cut}");
            assert_eq!(clean_to(&cut, most), cut);
        }
        assert_eq!(clean(&"x".repeat(5000)).len(), MAX_SHOWN_BYTES);
    }
}
