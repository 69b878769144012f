//! A demo that is running, read line by line.

#![allow(clippy::unwrap_used, dead_code, reason = "each test takes what it needs")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Condvar, Mutex},
};

use serde_json::Value;

/// One server and four workers: the same story in half the time.
pub(crate) const SMALL_FLEET: &str = r#"
name = "small"
distribution = "k3s"
version = "v1.34.3+k3s1"
api = "s1.local:6443"

[policy]
max_unavailable = 1
canary = "w1"
soak_seconds = 30

[groups.pi5]

[[nodes]]
name = "s1"
role = "server"
arch = "aarch64"

[[nodes]]
name = "w1"
role = "worker"
arch = "aarch64"

[[nodes]]
name = "w2"
role = "worker"
arch = "x86_64"

[[nodes]]
name = "w3"
role = "worker"
arch = "aarch64"

[[nodes]]
name = "w4"
role = "worker"
arch = "aarch64"
group = "pi5"
"#;

/// Writes the small fleet's file.
pub(crate) fn small_fleet(folder: &Path) -> PathBuf {
    let file = folder.join("fleet.toml");
    fs::write(&file, SMALL_FLEET).unwrap();
    file
}

/// Demos at once: the time of their machines passes 240 times faster than their processes run, and what they wait for
/// ends by it.
static ROOM: (Mutex<usize>, Condvar) = (Mutex::new(2), Condvar::new());

/// The place of one of them.
struct Place;

impl Place {
    fn take() -> Self {
        let mut room = ROOM.1.wait_while(ROOM.0.lock().unwrap(), |room| *room == 0).unwrap();
        *room -= 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *ROOM.0.lock().unwrap() += 1;
        ROOM.1.notify_one();
    }
}

/// A running demo.
pub(crate) struct Player {
    child: Child,
    /// Given back after the process has ended.
    _place: Place,
    lines: Lines<BufReader<ChildStdout>>,
    temp: tempfile::TempDir,
    /// The newest process of each name.
    pub pids: BTreeMap<String, i32>,
}

impl Player {
    /// Starts it with `--json --fast` and these arguments. Its folder of the run is made in a folder of the test's own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let place = Place::take();
        let temp = tempfile::Builder::new().prefix("hd-").tempdir_in("/tmp").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_hostler-demo"))
            .args(["--json", "--fast"])
            .args(arguments)
            .env("TMPDIR", temp.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(temp.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, _place: place, lines, temp, pids: BTreeMap::new() }
    }

    /// The next event; none at the end.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let event: Value = serde_json::from_str(&self.lines.next()?.unwrap()).unwrap();
        if event["event"] == "process_started" {
            let pid = event["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap();
            self.pids.insert(event["name"].as_str().unwrap().to_owned(), pid);
        }
        Some(event)
    }

    /// Every event that is left. Panics with what the demo says where it does not end well.
    pub(crate) fn play_to_the_end(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.next() {
            events.push(event);
        }
        let status = self.child.wait().unwrap();
        let said = fs::read_to_string(self.temp.path().join("stderr")).unwrap();
        if !status.success() {
            let seen: Vec<String> = events.iter().rev().take(12).rev().map(Value::to_string).collect();
            let kept = std::mem::replace(&mut self.temp, tempfile::tempdir().unwrap()).keep();
            panic!("{status}: {said}\nafter {}\n{}", seen.join("\n"), kept.display());
        }
        events
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        while self.lines.next().is_some() {}
        assert!(!self.child.wait().unwrap().success());
    }

    /// Whether a folder of the run is still there.
    pub(crate) fn left_behind(&self) -> bool {
        fs::read_dir(self.temp.path())
            .unwrap()
            .any(|e| e.unwrap().file_name().to_str().unwrap().starts_with("hostler-demo-"))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Its own processes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The events of one kind.
pub(crate) fn of_kind<'a>(events: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> + Clone {
    events.iter().filter(move |event| event["event"] == kind)
}
