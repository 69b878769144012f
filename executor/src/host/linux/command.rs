//! Programs, run by their argument list.

use std::{
    io::{ErrorKind, Read},
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::host::HostError;

/// What is kept of a program's output; the end says what went wrong. What dpkg lists of 5,000 packages has 0.3 MiB.
const MAX_OUTPUT: usize = 1 << 20;

/// Where programs are looked for, whoever started this one.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Characters of output in an error.
const MAX_IN_ERROR: usize = 500;

/// Runs a program by its argument list, never through a shell, with an empty environment but for the path and the
/// language; gives its standard output. Ends it when it takes longer than `limit`.
pub(super) fn run(arguments: &[&str], limit: Duration) -> Result<String, HostError> {
    let command = arguments.join(" ");
    let failed = |status: String, output: String| HostError::Command { command: command.clone(), status, output };
    let (program, rest) = arguments.split_first().ok_or_else(|| failed("not started".into(), "no program".into()))?;
    tracing::debug!("running `{command}`");
    #[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is foreign and grows")]
    let mut child = Command::new(program)
        .args(rest)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| match e.kind() {
            ErrorKind::NotFound => HostError::Missing { what: format!("program {program}") },
            _ => failed("not started".into(), e.to_string()),
        })?;
    let out = child.stdout.take().map(collect);
    let err = child.stderr.take().map(collect);
    let began = Instant::now();
    let mut pause = Duration::from_millis(2);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if began.elapsed() < limit => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(HostError::TimedOut { command, seconds: limit.as_secs() });
            }
            Err(e) => return Err(failed("lost".into(), e.to_string())),
        }
    };
    let text = |handle: Option<JoinHandle<String>>| handle.and_then(|h| h.join().ok()).unwrap_or_default();
    let (out, err) = (text(out), text(err));
    if status.success() {
        return Ok(out);
    }
    if let Some(signal) = status.signal() {
        return Err(HostError::Signalled { command, signal });
    }
    let output = if err.trim().is_empty() { &out } else { &err };
    let output = output.trim();
    let start = output.char_indices().rev().nth(MAX_IN_ERROR - 1).map_or(0, |(at, _)| at);
    Err(failed(status.to_string(), output[start..].to_owned()))
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..read]);
            if kept.len() > 2 * MAX_OUTPUT {
                kept.drain(..kept.len() - MAX_OUTPUT);
            }
        }
        String::from_utf8_lossy(&kept).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_its_arguments_untouched() {
        let hostile = "$(id);`id`\n--flag";
        assert_eq!(run(&["printf", "%s", hostile], Duration::from_secs(5)).unwrap(), hostile);
    }

    #[test]
    fn failures_and_slow_programs_are_told_apart() {
        let limit = Duration::from_secs(5);
        match run(&["ls", "/nowhere-at-all"], limit) {
            Err(HostError::Command { output, .. }) => assert!(output.contains("/nowhere-at-all"), "{output}"),
            other => panic!("{other:?}"),
        }
        let missing = run(&["/no/such/program"], limit);
        assert!(
            matches!(&missing, Err(HostError::Missing { what }) if what == "program /no/such/program"),
            "{missing:?}"
        );
        let ended = run(&["sh", "-c", "kill -TERM $$"], limit);
        assert!(matches!(ended, Err(HostError::Signalled { signal: 15, .. })), "{ended:?}");
        let slow = run(&["sleep", "60"], Duration::from_millis(50));
        assert!(matches!(slow, Err(HostError::TimedOut { .. })), "{slow:?}");
    }
}
