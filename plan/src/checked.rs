//! Content behind its own digest: what a disk changed is never taken for what was written.

use crate::id::Digest;

/// The content with its digest before it: 64 hexadecimal digits and a space.
pub fn write(content: &[u8]) -> Vec<u8> {
    [Digest::of(content).hex().as_bytes(), b" ", content].concat()
}

/// The content that [`write`] was given; why not, where it is another one.
pub fn read(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let at = bytes.iter().position(|b| *b == b' ').map_or(bytes.len(), |at| at + 1);
    let content = &bytes[at..];
    if write(content) == bytes { Ok(content) } else { Err("other content than was written") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_reads_back_and_nothing_else() {
        let written = write(b"a b");
        assert_eq!(read(&written), Ok(&b"a b"[..]));
        for at in 0..written.len() {
            let mut flipped = written.clone();
            flipped[at] ^= 1;
            assert!(read(&flipped).is_err() && read(&written[..at]).is_err(), "byte {at}");
        }
        assert!(read(&[&written[..], b"\n"].concat()).is_err());
    }
}
