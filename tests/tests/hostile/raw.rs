//! A coordinator that speaks HTTP/2 byte by byte, so that it can speak it wrongly (RFC 9113).

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// How it is spoken once the node has asked for its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raw {
    /// No word comes back.
    Mute,
    /// The answer's headers come a byte a second.
    Drip,
    /// Something else than HTTP/2.
    Noise,
    /// A frame that says it has 16 MiB, more than a frame may have.
    HugeFrame,
    /// A message that says it has 1 GiB.
    GiantMessage,
    /// Headers that are continued without end (section 6.10).
    Continuation,
    /// Frames of the stream that hold nothing.
    EmptyFrames,
    Pings,
    Settings,
    /// The stream is reset, and others that nobody opened, again and again.
    Resets,
    /// More room to send than a connection can have (section 6.9.1).
    Window,
    /// A stream that the node did not ask for (section 8.4).
    Push,
    /// The header table of the node, full of what it must keep (RFC 7541, section 4).
    HeaderTable,
    Farewells,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    ByNode,
    ByUs,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const FAREWELL: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// `:status: 200`, `content-type: application/grpc`.
const ANSWER: &[u8] = b"\x88\x0f\x10\x10application/grpc";

/// Frames of a flood: some seconds of one, and more than any queue holds.
const FLOOD: usize = 20_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Speaks to one node until one of the two ends it.
pub(crate) async fn play(raw: Raw, stream: impl AsyncRead + AsyncWrite + Send + 'static) -> End {
    let (mut from, mut to) = tokio::io::split(stream);
    let attach = match asked(&mut from).await {
        Ok(attach) => attach,
        Err(_) => return End::ByNode,
    };
    // Time that only passes here: on other machines it is the node's own.
    let waits = matches!(raw, Raw::Mute | Raw::Drip) && crate::machine::Programs::from_environment().is_none();
    if waits {
        tokio::time::pause();
    }
    // What the node sends is read, so that nothing but its own judgement stops it.
    let mut unread = Vec::new();
    let end = tokio::select! {
        _ = from.read_to_end(&mut unread) => End::ByNode,
        spoken = speak(raw, attach, &mut to) => match spoken {
            Ok(()) => End::ByUs,
            Err(_) => End::ByNode,
        },
    };
    if waits {
        tokio::time::resume();
    }
    end
}

/// Reads until the node has asked for its stream; gives the stream's number.
async fn asked(from: &mut (impl AsyncRead + Unpin)) -> io::Result<u32> {
    let mut preface = [0; 24];
    from.read_exact(&mut preface).await?;
    loop {
        let mut head = [0; 9];
        from.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        from.read_exact(&mut vec![0; length as usize]).await?;
        if head[3] == HEADERS {
            return Ok(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        }
    }
}

/// The nth thing that is said after the first.
type Again = Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>;

async fn speak(raw: Raw, stream: u32, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    if raw == Raw::Mute {
        return std::future::pending().await;
    }
    if raw != Raw::Noise {
        to.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    }
    let answer = frame(HEADERS, END_HEADERS, stream, ANSWER);
    let (first, again): (Vec<u8>, Again) = match raw {
        Raw::Mute | Raw::Drip => return drip(to, &answer).await,
        Raw::Noise => (Vec::new(), Box::new(|_| b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\n".to_vec())),
        Raw::HugeFrame => {
            (answer, Box::new(move |_| [&[0xff, 0xff, 0xff, DATA, 0], &stream.to_be_bytes()[..]].concat()))
        }
        Raw::GiantMessage => {
            let begin = frame(DATA, 0, stream, &[&[0], &(1_u32 << 30).to_be_bytes()[..]].concat());
            ([answer, begin].concat(), Box::new(move |_| frame(DATA, 0, stream, &[0; 16 << 10])))
        }
        Raw::Continuation => {
            // A literal header `a` with a value of 126 bytes, never indexed.
            let block = [&[0x10, 1, b'a', 126][..], &[b'x'; 126]].concat().repeat(100);
            (frame(HEADERS, 0, stream, ANSWER), Box::new(move |_| frame(CONTINUATION, 0, stream, &block)))
        }
        Raw::EmptyFrames => (answer, Box::new(move |_| frame(DATA, 0, stream, &[]))),
        Raw::Pings => (answer, Box::new(|n| frame(PING, 0, 0, &u64::from(n).to_be_bytes()))),
        // The size of a table, another one each time.
        Raw::Settings => (answer, Box::new(|n| frame(SETTINGS, 0, 0, &[&[0, 1], &n.to_be_bytes()[..]].concat()))),
        Raw::Resets => (answer, Box::new(move |n| frame(RESET, 0, stream + 2 * n, &[0, 0, 0, 8]))),
        Raw::Window => (answer, Box::new(|_| frame(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff]))),
        Raw::Push => (
            answer,
            Box::new(move |n| frame(PUSH, END_HEADERS, stream, &[&(2 + 2 * n).to_be_bytes()[..], &[0x82]].concat())),
        ),
        Raw::HeaderTable => {
            // Trailers of a call that nobody made: a header `a` with a value of 126 bytes, indexed.
            let block = [&[0x40, 1, b'a', 126][..], &[b'x'; 126]].concat().repeat(100);
            (answer, Box::new(move |n| frame(HEADERS, END_HEADERS, stream + 2 + 2 * n, &block)))
        }
        Raw::Farewells => (answer, Box::new(move |_| frame(FAREWELL, 0, 0, &[stream.to_be_bytes(), [0; 4]].concat()))),
    };
    to.write_all(&first).await?;
    for n in 0..FLOOD {
        to.write_all(&again(u32::try_from(n).unwrap())).await?;
    }
    to.flush().await?;
    to.shutdown().await
}

async fn drip(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    for byte in bytes.iter().cycle() {
        to.write_all(&[*byte]).await?;
        to.flush().await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
