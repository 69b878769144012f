//! The connection to the executor's socket.

use std::{collections::BTreeMap, io, path::Path, path::PathBuf, sync::Arc, time::Duration};

use hostler_daemon::say_once::SayOnce;
use hostler_executor::protocol::{
    FromExecutor, ToExecutor,
    lines::{self, Line, LineError},
    node::{Answer, Report},
};
use nix::unistd::geteuid;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixStream, unix::OwnedReadHalf},
    sync::{mpsc, oneshot, watch},
};

use super::{Call, Mirror};

/// An executor that was restarted is found again within that time.
const AGAIN: Duration = Duration::from_millis(500);

/// Answers that are waited for at a time; questions beyond that are answered with nothing.
const MAX_WAITING: usize = 32;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("{}: {error}", path.display())]
    Connect { path: PathBuf, error: io::Error },
    #[error("{} expected to be served by root, found user {found}; it is not the executor", path.display())]
    Stranger { path: PathBuf, found: u32 },
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("it hung up")]
    Ended,
}

/// Holds a connection for ever; what goes wrong is said once and tried again.
pub(super) async fn keep(
    path: PathBuf,
    mut calls: mpsc::Receiver<Call>,
    mirror: Arc<Mirror>,
    connected: watch::Sender<Option<u64>>,
) {
    let mut said = SayOnce::default();
    for number in 1.. {
        let error = match connect(&path).await {
            Ok(stream) => {
                let told = || {
                    connected.send_replace(Some(number));
                };
                serve(stream, &mut calls, &mirror, told).await
            }
            Err(error) => error,
        };
        connected.send_replace(None);
        let text = format!("waiting for the executor: {error}");
        if said.is_news(&text) {
            tracing::info!("{text}");
        }
        // Whoever asks meanwhile hears that it is gone.
        let again = tokio::time::sleep(AGAIN);
        tokio::pin!(again);
        loop {
            tokio::select! {
                () = &mut again => break,
                call = calls.recv() => if call.is_none() { return },
            }
        }
    }
}

/// Only root, or this very user where both are tried by hand, is taken for the executor.
async fn connect(path: &Path) -> Result<UnixStream, ConnectionError> {
    let failed = |error| ConnectionError::Connect { path: path.to_owned(), error };
    let stream = UnixStream::connect(path).await.map_err(failed)?;
    let found = stream.peer_cred().map_err(failed)?.uid();
    if found != 0 && found != geteuid().as_raw() {
        return Err(ConnectionError::Stranger { path: path.to_owned(), found });
    }
    Ok(stream)
}

/// Carries calls one way and what the executor says the other, until it ends.
async fn serve(
    stream: UnixStream,
    calls: &mut mpsc::Receiver<Call>,
    mirror: &Mirror,
    connected: impl Fn(),
) -> ConnectionError {
    let (read, mut write) = stream.into_split();
    let (mut read, mut line) = (BufReader::new(read), Line::default());
    let mut heard = Heard { mirror, waiting: BTreeMap::new(), reports: None, asked: 0 };
    mirror.begin();
    let mut first = true;
    let mut unwritten = match lines::encode(&ToExecutor::Watch) {
        Ok(line) => line,
        Err(error) => return error.into(),
    };
    loop {
        tokio::select! {
            message = next(&mut read, &mut line) => match message {
                Ok(message) => {
                    let shown = matches!(message, FromExecutor::Status(_));
                    heard.take(message);
                    if shown && std::mem::take(&mut first) {
                        connected();
                    }
                }
                Err(error) => return error,
            },
            // What is read is answered while the executor has no room for more.
            written = write.write(&unwritten), if !unwritten.is_empty() => match written {
                Ok(written) => drop(unwritten.drain(..written)),
                Err(error) => return LineError::Io(error).into(),
            },
            call = calls.recv(), if unwritten.is_empty() => {
                // The agent ends.
                let Some(call) = call else { return ConnectionError::Ended };
                match heard.message(call).map(|message| lines::encode(&message)) {
                    Some(Ok(line)) => unwritten = line,
                    Some(Err(error)) => tracing::warn!("a message for the executor was dropped: {error}"),
                    None => {}
                }
            }
        }
    }
}

/// The next message. Nothing is lost when the caller stops waiting.
async fn next(read: &mut BufReader<OwnedReadHalf>, line: &mut Line) -> Result<FromExecutor, ConnectionError> {
    loop {
        let bytes = read.fill_buf().await.map_err(LineError::Io)?;
        if bytes.is_empty() {
            return Err(if line.is_empty() { ConnectionError::Ended } else { LineError::Cut.into() });
        }
        let (taken, whole) = line.take(bytes)?;
        read.consume(taken);
        if let Some(whole) = whole {
            return Ok(lines::decode(&whole)?);
        }
    }
}

/// Who waits for what on this connection.
struct Heard<'a> {
    mirror: &'a Mirror,
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    reports: Option<mpsc::Sender<Report>>,
    asked: u64,
}

impl Heard<'_> {
    fn take(&mut self, message: FromExecutor) {
        match message {
            FromExecutor::Status(status) => self.mirror.status(*status),
            FromExecutor::Receipt(receipt) => self.mirror.receipt(receipt),
            FromExecutor::Refused(refusal) => self.mirror.refused(refusal),
            FromExecutor::Answer { number, answer } => {
                if let Some(reply) = self.waiting.remove(&number) {
                    // Who asked may have gone since.
                    let _ = reply.send(*answer);
                }
            }
            FromExecutor::Report(report) => {
                // One that was not taken yet is as good as the next.
                let _ = self.reports.as_ref().map(|to| to.try_send(report));
            }
        }
    }

    /// The message of a call; none for one that cannot be told.
    fn message(&mut self, call: Call) -> Option<ToExecutor> {
        Some(match call {
            Call::Ask(question, reply) => {
                self.waiting.retain(|_, reply| !reply.is_closed());
                if self.waiting.len() == MAX_WAITING {
                    return None;
                }
                self.asked += 1;
                self.waiting.insert(self.asked, reply);
                ToExecutor::Ask { number: self.asked, question }
            }
            Call::Request(request) => ToExecutor::Request(request),
            Call::Reports(every, to) => {
                self.reports = Some(to);
                ToExecutor::Reports { every_ms: u64::try_from(every.as_millis()).unwrap_or(u64::MAX) }
            }
            Call::Idle => ToExecutor::Idle,
        })
    }
}

#[cfg(test)]
mod tests;
