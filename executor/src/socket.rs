//! The Unix socket: who may speak to the executor, and the threads that listen to it and write to it.
//!
//! A connection has one thread that reads and one that writes. Neither does anything to the machine: requests go into
//! the executor's queue and questions to the thread that answers them. Whoever sends what is no message is hung up on.

use std::{
    io::{self, BufReader, ErrorKind},
    net::Shutdown,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::PermissionsExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use hostler_plan::refusal::{Refusal, Refused};
use nix::{
    sys::socket::{self, sockopt},
    unistd::{Uid, geteuid},
};

use crate::{
    answers::{Asked, Questions},
    inbox::{MAX_WAITING_BYTES, RequestSender},
    outbox::{Outbox, Reply},
    protocol::{Request, SHORTEST_REPORT_INTERVAL_MS, ToExecutor, lines},
    status::{ExecutorStatus, Told},
};

/// The agent has one; a person may ask for the node's key beside it, and one may be ending.
const MAX_CONNECTIONS: usize = 4;

/// How long a request waits for a place in the executor's queue. The executor takes what is there between two of its
/// acts.
const STUCK: Duration = Duration::from_secs(30);

/// How long the other end may leave a line unread.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// What every connection reaches.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub requests: RequestSender,
    pub status: Arc<ExecutorStatus>,
    pub questions: Questions,
}

/// Why nobody can be listened to.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{action} {} failed: {reason}; another folder can be set as socket", path.display())]
    Io { action: &'static str, path: PathBuf, reason: io::Error },
    #[error("expected {} to be free, found another executor that listens there; stop it first", path.display())]
    InUse { path: PathBuf },
}

/// Listens until it is dropped; then every connection has ended too.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    listener: UnixListener,
    connections: Connections,
}

type Connections = Arc<Mutex<Vec<Arc<UnixStream>>>>;

/// Begins to listen. Besides the executor's own user only `agent` is heard.
pub(crate) fn listen(path: &Path, agent: Option<Uid>, entrance: Entrance) -> Result<Socket, SocketError> {
    let failed = |action| move |reason| SocketError::Io { action, path: path.to_owned(), reason };
    if UnixStream::connect(path).is_ok() {
        return Err(SocketError::InUse { path: path.to_owned() });
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed("removing the old")(e)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed("listening on"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed("protecting"))?;
    if let Some(agent) = agent {
        std::os::unix::fs::chown(path, Some(agent.as_raw()), None).map_err(failed("handing over"))?;
    }
    let connections = Connections::default();
    let socket =
        Socket { path: path.to_owned(), listener: listener.try_clone().map_err(failed("keeping"))?, connections };
    let kept = socket.connections.clone();
    let accept = move || accept(&listener, agent, &kept, &entrance);
    thread::Builder::new().name("socket".into()).spawn(accept).map_err(failed("serving"))?;
    Ok(socket)
}

impl Drop for Socket {
    fn drop(&mut self) {
        // `accept` fails from now on, and its thread ends.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        let _ = std::fs::remove_file(&self.path);
        for stream in self.connections.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &UnixListener, agent: Option<Uid>, connections: &Connections, entrance: &Entrance) {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => continue,
            // Too many files are open, say; those who are connected are served.
            Err(e) if e.raw_os_error() != Some(libc::EINVAL) => {
                tracing::warn!("taking a connection failed: {e}; trying again");
                thread::sleep(Duration::from_secs(1));
                continue;
            }
            Err(_) => return,
        };
        if let Err(reason) = serve(stream, agent, connections, entrance) {
            tracing::warn!("a connection was refused: {reason}");
        }
    }
}

/// Starts the threads of one connection.
fn serve(stream: UnixStream, agent: Option<Uid>, connections: &Connections, entrance: &Entrance) -> Result<(), String> {
    let failed = |e: io::Error| e.to_string();
    let peer = socket::getsockopt(&stream, sockopt::PeerCredentials).map_err(|e| e.to_string())?;
    let peer = Uid::from_raw(peer.uid());
    if peer != geteuid() && Some(peer) != agent {
        let expected = agent.map_or_else(String::new, |agent| format!(" or {agent}"));
        return Err(format!("expected user {}{expected}, found {peer}; set agent_user if it is the agent", geteuid()));
    }
    stream.set_write_timeout(Some(WRITE_LIMIT)).map_err(failed)?;
    let stream = Arc::new(stream);
    let mut held = connections.lock().unwrap_or_else(PoisonError::into_inner);
    if held.len() == MAX_CONNECTIONS {
        return Err(format!("expected at most {MAX_CONNECTIONS} at a time, found one more"));
    }
    held.push(stream.clone());
    drop(held);
    let outbox = Arc::new(Outbox::new(stream.clone()));
    let (ticket_of_writer, ticket) = std::sync::mpsc::channel();
    let (written, unwritten, status) = (stream.clone(), outbox.clone(), entrance.status.clone());
    let writing = thread::Builder::new().name("writer".into()).spawn(move || {
        write(&unwritten, &status, &ticket);
        let _ = written.shutdown(Shutdown::Both);
    });
    let (read, entrance, kept) = (stream.clone(), entrance.clone(), connections.clone());
    let end = outbox.clone();
    let reading = thread::Builder::new().name("reader".into()).spawn(move || {
        if let Err(error) = listen_to(&read, &entrance, &end, &ticket_of_writer) {
            tracing::warn!("hung up on the network side: {error}");
        }
        end.close();
        let _ = read.shutdown(Shutdown::Both);
        kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, &read));
    });
    if writing.is_err() || reading.is_err() {
        outbox.close();
        connections.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, &stream));
        return Err("no thread can be started for it".into());
    }
    Ok(())
}

/// Takes every message to where it belongs, until the other end hangs up or says something that is none.
fn listen_to(
    stream: &UnixStream,
    entrance: &Entrance,
    outbox: &Arc<Outbox>,
    tickets: &std::sync::mpsc::Sender<u64>,
) -> Result<(), lines::LineError> {
    let mut from = BufReader::new(stream);
    let mut overfull = false;
    while let Some(message) = lines::read::<ToExecutor>(&mut from)? {
        match message {
            ToExecutor::Watch => {
                let _ = tickets.send(entrance.status.watch(outbox.waker.clone()));
                outbox.waker.notify();
            }
            ToExecutor::Request(request) => match request.limited() {
                Ok(request) => hand_over(entrance, request, outbox, &mut overfull),
                Err(refused) => {
                    tracing::warn!("{refused}");
                    entrance.status.refuse(None, refused);
                }
            },
            ToExecutor::Ask { number, question } => {
                entrance.questions.ask(Asked::Question(question, Reply { number, to: outbox.clone() }));
            }
            ToExecutor::Reports { every_ms } => {
                let every = Duration::from_millis(every_ms.max(SHORTEST_REPORT_INTERVAL_MS));
                entrance.questions.ask(Asked::Reports { every, to: outbox.clone() });
            }
            ToExecutor::Idle => entrance.questions.ask(Asked::Idle),
        }
    }
    Ok(())
}

/// To the executor, whose queue may be full while it works. What has no room in it for long is dropped, said once, and
/// asked for again when the task has ended; what comes behind it does not wait any more.
fn hand_over(entrance: &Entrance, mut request: Request, outbox: &Outbox, overfull: &mut bool) {
    let began = Instant::now();
    *overfull &= entrance.status.content().running.is_some();
    while let Err(back) = entrance.requests.offer(request) {
        if *overfull || outbox.is_closed() {
            entrance.status.change(|content| content.dropped += 1);
            return;
        }
        if began.elapsed() > STUCK {
            *overfull = true;
            let reason = format!(
                "expected at most {MAX_WAITING_BYTES} bytes of documents to wait for a task's end, found more; \
                    they were dropped and are asked for again once it ended"
            );
            let refused = Refused::new(Refusal::NotAllowed, reason);
            tracing::warn!("{refused}");
            entrance.status.refuse(None, refused);
        }
        request = back;
        thread::sleep(Duration::from_millis(50));
    }
}

/// Writes answers as they come, and the status when it changed to one who watches it, until the outbox is closed.
fn write(outbox: &Outbox, status: &ExecutorStatus, tickets: &std::sync::mpsc::Receiver<u64>) {
    let mut watching: Option<(u64, Told)> = None;
    while let Some(mut messages) = outbox.take() {
        if let Some(ticket) = tickets.try_iter().last() {
            watching = Some((ticket, Told::default()));
        }
        if let Some((ticket, told)) = &mut watching {
            messages.extend(status.news(*ticket, told));
        }
        outbox.write(&messages);
        outbox.waker.wait(Duration::MAX);
    }
}

#[cfg(test)]
mod tests;
