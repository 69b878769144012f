//! The real executor of one node, on a thread, and what an agent says to it over its socket.

use std::{
    io::{BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hostler_executor::{
    Ended, ExecutorError, Settings, Stop,
    protocol::{
        FromExecutor, Request, ToExecutor, lines,
        node::{Answer, Question},
    },
};
use hostler_plan::id::NodeName;

use crate::mortal::{Killed, Mortal};

/// How long anything here may take in real time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The executor's thread; the host looks for its name.
pub(crate) const THREAD: &str = "executor";

pub(crate) struct Process {
    pub host: Arc<Mortal>,
    socket: PathBuf,
    stop: Stop,
    thread: Option<JoinHandle<Result<Ended, ExecutorError>>>,
    stream: Option<BufReader<UnixStream>>,
}

impl Process {
    pub(crate) fn start(folder: &Path, name: &NodeName, host: Arc<Mortal>) -> Self {
        let settings = Settings {
            socket: folder.join("socket"),
            downloads: folder.join("downloads"),
            join_files: vec![folder.join("join")],
            state_dir: folder.join("executor"),
            node_name: Some(name.clone()),
            ..Settings::default()
        };
        let (socket, stop) = (settings.socket.clone(), Stop::default());
        let (stopped, machine) = (stop.clone(), host.clone());
        let run = move || hostler_executor::run(&settings, machine, &stopped);
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(run).unwrap();
        Self { host, socket, stop, thread: Some(thread), stream: None }
    }

    /// Whether its thread is at work.
    pub(crate) fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Its end: none when it was killed.
    pub(crate) fn end(&mut self) -> Option<Ended> {
        self.stop.stop();
        self.stream = None;
        match self.thread.take()?.join() {
            Ok(ended) => Some(ended.unwrap()),
            Err(panic) if panic.is::<Killed>() => None,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A connection as an agent has it; false when the executor ends before there is one.
    pub(crate) fn connect(&mut self) -> bool {
        let began = Instant::now();
        while self.stream.is_none() {
            if let Ok(stream) = UnixStream::connect(&self.socket) {
                stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                self.host.connected(stream.try_clone().unwrap());
                self.stream = Some(BufReader::new(stream));
                return self.send(&ToExecutor::Watch);
            }
            if !self.is_alive() {
                return false;
            }
            assert!(began.elapsed() < PATIENCE, "the executor opens its socket");
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// False when nobody hears it any more.
    pub(crate) fn send(&mut self, message: &ToExecutor) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        stream.get_mut().write_all(&lines::encode(message).unwrap()).is_ok()
    }

    pub(crate) fn request(&mut self, request: Request) -> bool {
        self.send(&ToExecutor::Request(request))
    }

    /// The next message, or none within 20 ms; an error where the connection is gone.
    pub(crate) fn read(&mut self) -> Result<Option<FromExecutor>, ()> {
        let Some(stream) = &mut self.stream else { return Err(()) };
        let read = lines::read(stream);
        match read {
            Ok(Some(message)) => Ok(Some(message)),
            Err(lines::LineError::Io(error))
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                Ok(None)
            }
            Ok(None) | Err(_) => {
                self.stream = None;
                Err(())
            }
        }
    }

    /// Asks and waits for the answer.
    pub(crate) fn ask(&mut self, question: Question) -> Answer {
        assert!(self.connect() && self.send(&ToExecutor::Ask { number: 1, question }));
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "the executor answers");
            if let FromExecutor::Answer { answer, .. } = match self.read().expect("the executor is there") {
                Some(message) => message,
                None => continue,
            } {
                return *answer;
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop.stop();
        self.stream = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
