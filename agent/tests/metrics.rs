//! The agent's own `/metrics`, asked of the program itself.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use hostler_facts::{Facts, Now, Program, Source};
use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

const AGENT: &str = env!("CARGO_BIN_EXE_hostler-agent");

/// Ended by its id when the test is over.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An agent whose executor has no join string, and the first line of its messages that holds one of `words`.
fn start(folder: &Path, settings: &str, words: &[&str]) -> (Agent, String) {
    let config = folder.join("agent.toml");
    let (state, socket) = (folder.join("agent"), folder.join("socket"));
    executor(folder, socket.clone());
    std::fs::write(&config, format!("state_dir = {state:?}\nsocket = {socket:?}\n{settings}")).unwrap();
    let mut agent = Command::new(AGENT)
        .arg("--config")
        .arg(&config)
        // Nobody's settings, and messages to standard error.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(agent.stderr.take().unwrap()).lines().map_while(Result::ok);
    let agent = Agent(agent);
    let mut said = Vec::new();
    for line in lines {
        if words.iter().any(|word| line.contains(word)) {
            return (agent, line);
        }
        said.push(line);
    }
    panic!("the agent ended and said {said:#?}");
}

/// The executor of this very machine, on a thread of this process for as long as that lives.
fn executor(folder: &Path, socket: PathBuf) {
    let settings = hostler_executor::Settings {
        socket,
        state_dir: folder.join("executor"),
        downloads: folder.join("agent/downloads"),
        join_files: vec![folder.join("join")],
        node_name: Some("n1".parse().unwrap()),
        ..hostler_executor::Settings::default()
    };
    let host = Arc::new(hostler_executor::this_machine(Vec::new(), settings.clock));
    std::thread::spawn(move || hostler_executor::run(&settings, host, &hostler_executor::Stop::default()));
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Names and labels of the series, without their values.
fn series(text: &str) -> BTreeSet<&str> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect()
}

#[test]
fn a_node_that_is_in_no_fleet_yet_serves_the_facts_of_its_machine() {
    let folder = tempfile::tempdir().unwrap();
    let (_agent, line) = start(folder.path(), "metrics_listen = \"127.0.0.1:0\"\n", &["serving /metrics on "]);
    let address = line.rsplit(' ').next().unwrap();
    let answer = loop {
        // The agent serves before it has found its executor.
        match get(address, "/metrics") {
            answer if answer.starts_with("HTTP/1.1 503 ") => std::thread::sleep(Duration::from_millis(20)),
            answer => break answer,
        }
    };
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("text/plain; version=0.0.4"), "{head}");
    // What `hostler-agent facts` does, without its patience for apt.
    let mut facts = Facts::new(Source::real(Program::Executor));
    facts.tick(Now { elapsed: Duration::ZERO, unix_ms: 1 });
    let facts = facts.wait_for_helpers(Duration::from_secs(1)).exposition(&[]);
    let (scraped, printed) = (series(text), series(&facts));
    // Something slow may be in the one and not in the other, and something may come up or go in between.
    let both = scraped.intersection(&printed).count();
    assert!(both * 10 >= scraped.len() * 9, "{:#?}", scraped.difference(&printed));
    assert!(both * 10 >= printed.len() * 7, "{:#?}", printed.difference(&scraped));
    for program in ["agent", "executor"] {
        for name in ["cpu_seconds_total", "open_fds", "resident_memory_bytes", "start_time_seconds"] {
            assert!(text.contains(&format!("\nprocess_{name}{{program=\"{program}\"}} ")), "{program}: {name}");
        }
    }
    assert!(scraped.contains("node_load1") && !text.contains("instance="));
    assert!(get(address, "/").starts_with("HTTP/1.1 404 "));
}

#[test]
fn nothing_listens_unless_somebody_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, _) = start(folder.path(), "", &["waiting for a join string"]);
    let listening = sockets(agent.0.id());
    assert_eq!(listening, 0, "{listening} sockets are open");
}

#[test]
fn an_address_that_is_taken_does_not_keep_a_node_from_its_work() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = format!("metrics_listen = \"{}\"\n", taken.local_addr().unwrap());
    let (mut agent, line) = start(folder.path(), &settings, &["cannot serve /metrics"]);
    assert!(line.contains("in use") && line.contains("trying again"), "{line}");
    assert_eq!(agent.0.try_wait().unwrap(), None, "it goes on");
}

/// TCP sockets of a process that listen.
fn sockets(pid: u32) -> usize {
    let listening: BTreeSet<String> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|file| std::fs::read_to_string(format!("/proc/{pid}/net/{file}")).ok())
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            // 0A is LISTEN, and the tenth column is the inode.
            (words.get(3) == Some(&"0A")).then(|| format!("socket:[{}]", words[9]))
        })
        .collect();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| listening.contains(&target.display().to_string())).count()
}
