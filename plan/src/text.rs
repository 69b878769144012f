//! Pieces of sentences and names that are made the same way everywhere.

use std::fmt::Write as _;

/// A number with its noun, as a person says it: "1 task", "2 tasks".
pub fn count(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// ` and 3 more`, or nothing.
pub fn and_more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" and {others} more") }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

/// The beginning of a text: at most `most` bytes, cut between characters.
pub fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

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
    fn a_text_is_cut_between_characters() {
        assert_eq!((cut("häuser", 2), cut("häuser", 3), cut("haus", 9)), ("h", "hä", "haus"));
    }
}
