//! One message, one line: JSON without a newline in it, of at most [`MAX_LINE_BYTES`].
//!
//! `socat - UNIX-CONNECT:/run/hostler-executor/socket` shows the conversation to a person. A line that is too long, is
//! no message, or is one with anything unknown in it ends the connection: both ends come out of one package.

use std::io::{self, BufRead};

use serde::{Serialize, de::DeserializeOwned};

/// The longest message from the wire has 2 MiB; in base64 that is 2.7 MiB. What the executor reads of its own is less.
pub const MAX_LINE_BYTES: usize = 4 << 20;

/// Most lines are shorter: a lease, a question.
const FIRST_BYTES: usize = 1 << 10;

/// Why there is no next message.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error("expected a line of at most {MAX_LINE_BYTES} bytes, found a longer one")]
    TooLong,
    #[error("expected a message, found something else: {0}")]
    NoMessage(serde_json::Error),
    #[error("the connection ended in the middle of a line")]
    Cut,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A line that comes in parts.
#[derive(Debug, Default)]
pub struct Line(Vec<u8>);

impl Line {
    /// Takes bytes up to the end of the line; says how many, and gives the line without its newline when it is whole.
    /// Never holds more than [`MAX_LINE_BYTES`].
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Vec<u8>>), LineError> {
        let end = bytes.iter().position(|b| *b == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let length = self.0.len() + part.len();
        if length > MAX_LINE_BYTES {
            self.0 = Vec::new();
            return Err(LineError::TooLong);
        }
        if length > self.0.capacity() {
            let wanted = length.max(2 * self.0.len()).clamp(FIRST_BYTES, MAX_LINE_BYTES);
            self.0.reserve_exact(wanted - self.0.len());
        }
        self.0.extend_from_slice(part);
        Ok(match end {
            Some(end) => (end + 1, Some(std::mem::take(&mut self.0))),
            None => (part.len(), None),
        })
    }

    /// Whether nothing of a next line is here.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The next message; none when the other end hung up between two of them.
pub fn read<T: DeserializeOwned>(from: &mut impl BufRead) -> Result<Option<T>, LineError> {
    let mut line = Line::default();
    loop {
        let (taken, whole) = match from.fill_buf() {
            Ok([]) if line.is_empty() => return Ok(None),
            Ok([]) => return Err(LineError::Cut),
            Ok(bytes) => line.take(bytes)?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        };
        from.consume(taken);
        if let Some(whole) = whole {
            return decode(&whole).map(Some);
        }
    }
}

/// The message of a line.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, LineError> {
    serde_json::from_slice(line).map_err(LineError::NoMessage)
}

/// A message as its line. One that is too long is an error here and not at the other end.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, LineError> {
    let mut line = serde_json::to_vec(message).map_err(LineError::NoMessage)?;
    if line.len() > MAX_LINE_BYTES {
        return Err(LineError::TooLong);
    }
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
pub(crate) mod tests;
