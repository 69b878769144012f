//! What a sealed file holds, in chunks that each prove themselves, their order and the end.

use std::io::{self, BufRead, Read, Write};

use hostler_plan::document::Recipient;
use rand_core::{OsRng, RngCore as _};
use ring::aead::{Aad, LessSafeKey, Nonce};

use crate::{
    Identity, SealError, derive,
    header::{self, FileKey, cipher},
};

/// Hands a sealed file on to other keys: they open what `identity` opens, and what is in it is sealed as it was.
pub fn hand_on(identity: &Identity, to: &[Recipient], mut from: impl BufRead, into: &mut impl Write) -> io::Result<()> {
    let key = header::open(&mut from, identity)?;
    into.write_all(&header::hand(&key, to).map_err(io::Error::other)?)?;
    io::copy(&mut from, into)?;
    into.flush()
}

/// Bytes of content in a chunk; only the last one has fewer.
const CHUNK: usize = 64 << 10;
/// What sealing adds to a chunk.
const TAG: usize = 16;

/// Seals what is written to it. Without [`finish`](Self::finish) the file has no end and does not open.
#[derive(Debug)]
pub struct Sealer<W: Write> {
    into: W,
    chunks: Chunks,
    buffer: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    /// Writes the head of a file that each of these keys opens alone.
    pub fn new(to: &[Recipient], mut into: W) -> io::Result<Self> {
        let (key, head) = header::make(to).map_err(io::Error::other)?;
        let mut nonce = [0; 16];
        let random = OsRng.try_fill_bytes(&mut nonce);
        random.map_err(|_| io::Error::other(SealError::Machine("it gives no random bytes")))?;
        into.write_all(&head)?;
        into.write_all(&nonce)?;
        Ok(Self { into, chunks: Chunks::new(&key, &nonce)?, buffer: Vec::with_capacity(CHUNK + TAG) })
    }

    /// Seals the rest, and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_chunk(true)?;
        self.into.flush()?;
        Ok(self.into)
    }

    fn write_chunk(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = self.chunks.nonce(is_last)?;
        let sealed = self.chunks.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut self.buffer);
        sealed.map_err(|_| io::Error::other(SealError::Machine("a chunk could not be sealed")))?;
        self.into.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits for the byte behind it: the last one is sealed as such.
        if self.buffer.len() == CHUNK && !bytes.is_empty() {
            self.write_chunk(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

/// Reads what a sealed file holds. Every byte that it gives is proved; that the file is whole is proved at its end.
#[derive(Debug)]
pub struct Opener<R: BufRead> {
    from: R,
    chunks: Chunks,
    buffer: Vec<u8>,
    /// How much of the buffer was given.
    given: usize,
    ended: bool,
}

impl<R: BufRead> Opener<R> {
    /// Opens the head of a file with that key.
    pub fn new(identity: &Identity, mut from: R) -> io::Result<Self> {
        let key = header::open(&mut from, identity)?;
        let mut nonce = [0; 16];
        from.read_exact(&mut nonce).map_err(damaged_at_end)?;
        let chunks = Chunks::new(&key, &nonce)?;
        Ok(Self { from, chunks, buffer: Vec::with_capacity(CHUNK + TAG), given: 0, ended: false })
    }

    fn read_chunk(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.given = 0;
        (&mut self.from).take((CHUNK + TAG) as u64).read_to_end(&mut self.buffer)?;
        let is_last = self.buffer.len() < CHUNK + TAG || self.from.fill_buf()?.is_empty();
        let is_first = self.chunks.next == 0;
        let nonce = self.chunks.nonce(is_last)?;
        let opened = self.chunks.key.open_in_place(nonce, Aad::empty(), &mut self.buffer);
        let length = opened.map_err(|_| io::Error::other(SealError::Damaged))?.len();
        if length == 0 && !is_first {
            return Err(io::Error::other(SealError::Damaged));
        }
        self.buffer.truncate(length);
        self.ended = is_last;
        Ok(())
    }
}

impl<R: BufRead> Read for Opener<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.given == self.buffer.len() && !self.ended && !into.is_empty() {
            self.read_chunk()?;
        }
        let rest = &self.buffer[self.given..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}

/// The key of a file's chunks, and which one comes next.
#[derive(Debug)]
struct Chunks {
    key: LessSafeKey,
    next: u64,
}

impl Chunks {
    fn new(key: &FileKey, nonce: &[u8; 16]) -> io::Result<Self> {
        let key = derive(key, nonce, b"payload").and_then(|key| cipher(&key)).map_err(io::Error::other)?;
        Ok(Self { key, next: 0 })
    }

    /// The chunk's number in 11 bytes, and whether it is the last.
    fn nonce(&mut self, is_last: bool) -> io::Result<Nonce> {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.next.to_be_bytes());
        nonce[11] = u8::from(is_last);
        self.next = self.next.checked_add(1).ok_or_else(|| io::Error::other(SealError::Form("it is too long")))?;
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

fn damaged_at_end(error: io::Error) -> io::Error {
    match error.kind() == io::ErrorKind::UnexpectedEof {
        true => io::Error::other(SealError::Damaged),
        false => error,
    }
}
