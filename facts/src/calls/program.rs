//! The three programs that are asked, each in a process group of its own and killed when it does not end in time.
//!
//! systemd is asked through `systemctl` and not through D-Bus: a D-Bus crate brings an async stack that alone is larger
//! than the agent's memory goal, and there is no file that says which units failed. It runs on a helper thread.

use super::Output;
use crate::failure::Failure;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The most bytes of output that are kept; a full upgrade of 2000 packages has 200 kB.
const MAX_OUTPUT_BYTES: usize = 4 << 20;
/// The units whose restarts count; those that do not exist are reported as such by systemd and left out.
const WATCHED: [&str; 5] =
    ["kubelet.service", "k3s.service", "k3s-agent.service", "containerd.service", "crio.service"];

pub(super) fn systemd() -> Result<Output, Failure> {
    if !Path::new("/run/systemd/system").exists() {
        return Err(Failure::Absent("systemd".to_owned()));
    }
    let limit = Duration::from_secs(10);
    let failed = run("systemctl", &["list-units", "--failed", "--plain", "--no-legend", "--no-pager"], limit)?;
    let mut arguments = vec!["show", "--property=Id,LoadState,ActiveState,NRestarts,UnitFileState", "--no-pager"];
    arguments.extend(WATCHED);
    let watched = run("systemctl", &arguments, limit)?;
    Ok(Output { code: failed.code, text: format!("{}\n\n{}", failed.text.trim_end(), watched.text) })
}

pub(super) fn apt() -> Result<Output, Failure> {
    // Even then apt keeps a log of what it would do.
    let options = ["-o", "Debug::NoLocking=1", "-o", "Dir::Log::Planner=/dev/null"];
    run("apt-get", &[&["-s"], &options[..], &["upgrade"]].concat(), Duration::from_secs(60))
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
        // A question writes nothing to a disk: apt unpacks its lists' heads into files without a name.
        .env("TMPDIR", "/dev/shm")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::from_io(program, &error))?;
    let deadline = Instant::now() + limit;
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let text = child.stdout.take().map(|stdout| read_until(stdout, deadline)).unwrap_or_default();
    // It closed its output, so it is about to end, or the limit is over.
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Output { code: status.code().unwrap_or(-1), text }),
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
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

/// What comes until the end of the output or the deadline, with one wait for each part that comes.
fn read_until(mut from: impl Read + AsFd, deadline: Instant) -> String {
    let mut bytes = Vec::new();
    let mut part = [0; 16 << 10];
    while bytes.len() < MAX_OUTPUT_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], left) {
            Err(Errno::EINTR) => continue,
            Ok(1) => {}
            Ok(_) | Err(_) => break,
        }
        match from.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => bytes.extend_from_slice(&part[..length]),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_read_to_its_end_and_killed_when_it_has_none() {
        let long = Duration::from_secs(60);
        let said = run("sh", &["-c", "echo one; echo two >&2; exit 3"], long).unwrap();
        assert_eq!(said, Output { code: 3, text: "one\n".into() });
        assert_eq!(run("sh", &["-c", "exec >&-; exec true"], long).unwrap().text, "");
        let large = run("head", &["-c", "300000", "/dev/zero"], long).unwrap();
        assert_eq!((large.code, large.text.len()), (0, 300_000));
        let late = run("sleep", &["1000"], Duration::from_millis(20));
        assert!(matches!(late, Err(Failure::Late { .. })), "{late:?}");
        let silent = run("sh", &["-c", "exec >&-; exec sleep 1000"], Duration::from_millis(20));
        assert!(matches!(silent, Err(Failure::Late { .. })), "{silent:?}");
        assert!(run("no-such-program", &[], long).is_err());
    }
}
