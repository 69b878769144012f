//! The world behind a Unix socket: in the demo every agent is a process of its own, and killing it must not kill the
//! machine that it runs on.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hostler_plan::id::NodeName;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    clock::SharedWorld,
    wire::{Answer, Failure, MAX_LINE_BYTES, Opened, Opening, Request},
};

/// More agents than a demo has; one more is turned away.
const MAX_CONNECTIONS: usize = 256;

/// The world answers in microseconds; a process that waits this long waits for a world that is gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the world on a socket file until the process ends. One thread takes connections, one more serves each.
pub fn serve(world: SharedWorld, path: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    let open = std::sync::Arc::new(());
    std::thread::Builder::new().name("world".into()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            if std::sync::Arc::strong_count(&open) > MAX_CONNECTIONS {
                continue;
            }
            let (world, held) = (world.clone(), open.clone());
            // A thread that cannot be started drops the connection, and the agent connects again.
            let _ = std::thread::Builder::new().name("world-agent".into()).spawn(move || {
                let _held = held;
                // A connection that ends in an error is an agent that ended.
                let _ = serve_one(&world, stream);
            });
        }
    })?;
    Ok(())
}

fn serve_one(world: &SharedWorld, stream: UnixStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let Some(opening) = read_line::<Opening>(&mut lines)? else { return Ok(()) };
    let machine = NodeName::new(opening.machine).map_err(io::Error::other)?;
    write_line(&mut stream, &Opened { speed: world.speed(), clock_ms: world.machines_clock_ms() })?;
    while let Some(request) = read_line::<Request>(&mut lines)? {
        write_line(&mut stream, &world.ask(&machine, request))?;
    }
    Ok(())
}

/// The connection of one agent to the world.
#[derive(Debug)]
pub struct Connection {
    stream: Mutex<BufReader<UnixStream>>,
    opened: Opened,
    at: Instant,
}

impl Connection {
    /// Opens a connection for the program on `machine`.
    pub fn open(path: &Path, machine: &NodeName) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut stream = BufReader::new(stream);
        write_line(stream.get_mut(), &Opening { machine: machine.to_string() })?;
        let opened: Opened = read_line(&mut stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Self { stream: Mutex::new(stream), opened, at: Instant::now() })
    }

    /// Seconds of the world per second.
    pub fn speed(&self) -> f64 {
        self.opened.speed
    }

    /// What the machine's clock shows, in Unix milliseconds.
    pub fn machines_clock_ms(&self) -> u64 {
        self.opened.clock_ms + (self.at.elapsed().as_secs_f64() * 1000.0 * self.opened.speed) as u64
    }

    /// Asks and waits for the answer.
    pub fn ask(&self, request: &Request) -> Answer {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let exchange = |stream: &mut BufReader<UnixStream>| -> io::Result<Answer> {
            write_line(stream.get_mut(), request)?;
            read_line(stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        exchange(&mut stream)
            .unwrap_or_else(|e| Err(Failure::Protocol { reason: format!("the simulated world does not answer: {e}") }))
    }
}

/// One JSON value on one line of at most [`MAX_LINE_BYTES`]; none at the end.
fn read_line<T: DeserializeOwned>(lines: &mut BufReader<UnixStream>) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    lines.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => serde_json::from_slice(&line).map(Some).map_err(io::Error::other),
        Some(_) => Err(io::Error::other(format!("expected a line of at most {MAX_LINE_BYTES} bytes, found no end"))),
    }
}

fn write_line<T: Serialize>(stream: &mut UnixStream, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}
