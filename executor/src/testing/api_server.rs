//! Plays an API server on a port of this machine: what it answers is made up by a test, how it is asked and understood
//! is the real client's doing.

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

/// How long a test waits for something that comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// One request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
    pub authorization: String,
    pub body: String,
}

/// What is answered.
pub(crate) enum Answer {
    /// A code and a body.
    Body(u16, String),
    /// Lines of a watch, for as long as the other end is kept.
    Lines(mpsc::Receiver<String>),
    /// Nothing, for as long as the caller waits.
    Never,
    /// The connection ends.
    HangUp,
}

type Answering = dyn Fn(&Asked) -> Answer + Send + Sync;

/// The server; it goes on until the test's process ends.
pub(crate) struct ApiServer {
    pub address: SocketAddr,
    asked: Arc<Mutex<VecDeque<Asked>>>,
    folder: tempfile::TempDir,
}

impl ApiServer {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answer) = (Arc::new(Mutex::default()), Arc::new(answer));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                thread::spawn(move || serve(&stream, &log, &*answer));
            }
        });
        Self { address, asked, folder: tempfile::tempdir().unwrap() }
    }

    /// A kubeconfig that leads here.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        let path = self.folder.path().join("admin.conf");
        let text = format!(
            r#"
apiVersion: v1
kind: Config
current-context: c
clusters: [{{ name: c, cluster: {{ server: "http://{}" }} }}]
contexts: [{{ name: c, context: {{ cluster: c, user: admin }} }}]
users: [{{ name: admin, user: {{ token: admins-own }} }}]
"#,
            self.address
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        lock(&self.asked).iter().cloned().collect()
    }

    /// How often something was asked whose method and path contain this.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        lock(&self.asked).iter().filter(|asked| asked.method == method && asked.path.contains(path)).count()
    }
}

fn lock(asked: &Mutex<VecDeque<Asked>>) -> MutexGuard<'_, VecDeque<Asked>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection, request by request.
fn serve(stream: &TcpStream, log: &Mutex<VecDeque<Asked>>, answer: &Answering) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        lock(log).push_back(asked.clone());
        let mut out = stream;
        let written = match answer(&asked) {
            Answer::Body(code, body) => write!(
                out,
                "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
            Answer::Lines(lines) => {
                let head = "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
                let told = write!(out, "{head}").and_then(|()| {
                    lines.iter().try_for_each(|line| write!(out, "{:x}\r\n{line}\n\r\n", line.len() + 1))
                });
                told.and_then(|()| write!(out, "0\r\n\r\n"))
            }
            Answer::HangUp => return,
            Answer::Never => {
                thread::sleep(PATIENCE);
                return;
            }
        };
        if written.is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Asked> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => value.clone_into(&mut authorization),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, path, authorization, body: String::from_utf8(body).ok()? })
}
