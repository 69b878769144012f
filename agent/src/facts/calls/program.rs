//! The three programs that are asked, each in a process group of its own and killed when it does not end in time.
//!
//! systemd is asked through `systemctl` and not through D-Bus: a D-Bus crate brings an async stack that alone is larger
//! than the agent's memory goal, and there is no file that says which units failed. It runs on a helper thread.

use super::Output;
use crate::facts::failure::Failure;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The most bytes of output that are kept; a full upgrade of 2000 packages has 200 kB.
const MAX_OUTPUT_BYTES: u64 = 4 << 20;
/// The units whose restarts count; those that do not exist are reported as such by systemd and left out.
const WATCHED: [&str; 5] =
    ["kubelet.service", "k3s.service", "k3s-agent.service", "containerd.service", "crio.service"];

pub(super) fn systemd() -> Result<Output, Failure> {
    if !Path::new("/run/systemd/system").exists() {
        return Err(Failure::Absent("systemd".to_owned()));
    }
    let limit = Duration::from_secs(10);
    let failed = run("systemctl", &["list-units", "--failed", "--plain", "--no-legend", "--no-pager"], limit)?;
    let mut arguments = vec!["show", "--property=Id,LoadState,ActiveState,NRestarts", "--no-pager"];
    arguments.extend(WATCHED);
    let watched = run("systemctl", &arguments, limit)?;
    Ok(Output { code: failed.code, text: format!("{}\n\n{}", failed.text.trim_end(), watched.text) })
}

pub(super) fn apt() -> Result<Output, Failure> {
    run("apt-get", &["-s", "-o", "Debug::NoLocking=1", "upgrade"], Duration::from_secs(60))
}

pub(super) fn smartctl(device: &str) -> Result<Output, Failure> {
    // `-n standby`: a disk that sleeps is not woken, smartctl then ends with exit bit 1.
    let path = format!("/dev/{device}");
    run("smartctl", &["--json=c", "-n", "standby", "-a", &path], Duration::from_secs(30))
}

fn run(program: &str, arguments: &[&str], limit: Duration) -> Result<Output, Failure> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::from_io(program, &error))?;
    let started = Instant::now();
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let reader = child.stdout.take().map(|stdout| {
        std::thread::spawn(move || {
            let mut text = String::new();
            let mut bytes = Vec::new();
            if stdout.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes).is_ok() {
                text = String::from_utf8_lossy(&bytes).into_owned();
            }
            text
        })
    });
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                let text = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
                return Ok(Output { code: status.code().unwrap_or(-1), text });
            }
            Ok(None) if started.elapsed() < limit => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                // The whole group, because smartctl and apt-get start children of their own.
                let _ = killpg(group, Signal::SIGKILL);
                let _ = child.wait();
                return Err(Failure::Late { path: program.to_owned(), seconds: limit.as_secs() });
            }
            Err(error) => return Err(Failure::from_io(program, &error)),
        }
    }
}
