//! The small forms that /proc and /sys are made of.

/// Text without NUL, padding and newline, up to the first NUL. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn trimmed(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

/// A decimal number with optional sign and fraction, padding allowed. Nothing else: no exponent, hex, "nan" or unit.
pub(crate) fn number(bytes: &[u8]) -> Option<f64> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let bytes = bytes[..end].trim_ascii();
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let plain = digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    if !plain || digits.is_empty() {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// A number in hex with or without `0x`.
pub(crate) fn hex(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

/// Lines of a file as bytes, without the newline; the last one needs none.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Words of a line, any number of blanks between.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ' || *byte == b'\t').filter(|word| !word.is_empty())
}

/// A word as text; not UTF-8 counts as empty.
pub(crate) fn word(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// A big-endian 32-bit number as the device tree stores it.
pub(crate) fn big_endian(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4).and_then(|four| four.try_into().ok()).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_or_missing() {
        assert_eq!(number(b"54500\n"), Some(54500.0));
        assert_eq!(number(b"-44000"), Some(-44000.0));
        assert_eq!(number(b" 12 \0junk"), Some(12.0));
        assert_eq!(number(b"0.25"), Some(0.25));
        assert_eq!(number(b"18446744073709551616"), Some(18446744073709551616.0), "beyond 64 bits");
        for bad in [
            &b""[..],
            b"\n",
            b"\0",
            b"-",
            b"N/A",
            b"<unsupported>",
            b"0x10",
            b"nan",
            b"inf",
            b"1e3",
            b"1.2.3",
            b"12 kB",
        ] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn text_ends_at_nul_and_loses_padding() {
        assert_eq!(trimmed(b"Raspberry Pi 5 Model B Rev 1.0\0"), "Raspberry Pi 5 Model B Rev 1.0");
        assert_eq!(trimmed(b"Samsung SSD 970 PRO 512GB               \n"), "Samsung SSD 970 PRO 512GB");
        assert_eq!(trimmed(b""), "");
        assert_eq!(trimmed(&[0xff, b'a']), "\u{fffd}a");
    }

    #[test]
    fn hex_and_device_tree_numbers() {
        assert_eq!(hex("0x50005"), Some(0x50005));
        assert_eq!(hex("0b\n"), Some(11));
        assert_eq!(hex("+1"), None);
        assert_eq!(hex("0x1ffffffff"), None);
        assert_eq!(big_endian(&[0, 0xd0, 0x41, 0x70]), Some(0xd04170));
        assert_eq!(big_endian(&[0, 0xd0, 0x41]), None);
    }
}
