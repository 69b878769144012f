//! Programs as transient units of systemd (systemd-run(1)).
//!
//! A unit that ended well would be forgotten at once, and nobody could tell that it ever ran: `RemainAfterExit` keeps
//! it, with its exit code, until somebody has read that. One that failed is kept by systemd itself.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use super::command::{PATH, run};
use crate::host::{HostError, Reach, RunEnd, Started, StartedState, UnitRun};

/// systemctl waits for systemd, which may be busy with a boot.
const LIMIT: Duration = Duration::from_secs(60);

/// How often the end of a program is asked for by whoever only waits for it.
const LOOK: Duration = Duration::from_millis(500);

/// Lines of a program's output that are read back; what a failure says stands at the end.
const LINES: &str = "--lines=300";

pub(super) fn start(started: &UnitRun<'_>) -> Result<(), HostError> {
    let whole = arguments(started);
    let whole: Vec<&str> = whole.iter().map(|argument| &**argument).collect();
    run(&whole, LIMIT).map(|_| ())
}

/// The argument list of systemd-run.
fn arguments<'a>(started: &UnitRun<'a>) -> Vec<Cow<'a, str>> {
    let mut options = vec![
        "systemd-run".into(),
        "--quiet".into(),
        "--service-type=exec".into(),
        format!("--unit={}", started.unit),
        format!("--description={}", started.purpose),
        "--property=RemainAfterExit=yes".into(),
        format!("--property=RuntimeMaxSec={}", started.limit.as_secs()),
        "--setenv=DEBIAN_FRONTEND=noninteractive".into(),
        // Whatever a package is installed for: nothing restarts services on its own, nothing shows a text to read, and
        // settings that somebody changed stay.
        "--setenv=NEEDRESTART_SUSPEND=1".into(),
        "--setenv=APT_LISTCHANGES_FRONTEND=none".into(),
        "--setenv=UCF_FORCE_CONFFOLD=1".into(),
        "--setenv=LC_ALL=C.UTF-8".into(),
        format!("--setenv=PATH={PATH}"),
    ];
    match started.reach {
        Reach::Everybody => {}
        Reach::Nobody => options.push("--property=IPAddressDeny=any".into()),
    }
    options.push("--".into());
    options.into_iter().map(Cow::Owned).chain(started.arguments.iter().copied().map(Cow::Borrowed)).collect()
}

pub(super) fn find(unit: &str) -> Result<Option<Started>, HostError> {
    let properties = "--property=LoadState,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,Description,\
                      InvocationID";
    let shown = run(&["systemctl", "show", properties, "--", unit], LIMIT)?;
    let Some((purpose, state)) = read(&shown) else { return Ok(None) };
    let state = match state {
        None => StartedState::Running,
        Some((code, how)) => {
            let output = if code == Some(0) { String::new() } else { output(unit, &shown)? };
            StartedState::Ended(RunEnd { code, how, output })
        }
    };
    Ok(Some(Started { purpose, state }))
}

type Ended = (Option<i32>, String);

/// The purpose of a unit, and how it ended if it did, of what `systemctl show` prints.
fn read(shown: &str) -> Option<(String, Option<Ended>)> {
    let is_there = value(shown, "LoadState") == "loaded" && !value(shown, "InvocationID").is_empty();
    let purpose = is_there.then(|| value(shown, "Description").to_owned())?;
    let is_over = match value(shown, "ActiveState") {
        "active" => value(shown, "SubState") == "exited",
        "failed" | "inactive" => true,
        _ => false,
    };
    let status: Option<i32> = value(shown, "ExecMainStatus").parse().ok();
    // As waitid(2) numbers them: 1 exited, 2 killed, 3 dumped.
    let ended = match (value(shown, "Result"), value(shown, "ExecMainCode"), status) {
        ("timeout", ..) => (None, "time limit".to_owned()),
        (_, "1", Some(code)) => (Some(code), format!("exit code {code}")),
        (_, "2" | "3", Some(signal)) => (None, format!("signal {signal}")),
        (result, ..) => (None, result.to_owned()),
    };
    Some((purpose, is_over.then_some(ended)))
}

/// What this run of the unit printed, out of the journal, which is told first to take in what lies in its queues.
fn output(unit: &str, shown: &str) -> Result<String, HostError> {
    // One that cannot do that has most of it all the same.
    let _ = run(&["journalctl", "--sync"], LIMIT);
    match printed(shown) {
        Ok(text) => Ok(text),
        Err(error @ (HostError::Command { .. } | HostError::Missing { .. })) => {
            Ok(format!("what {unit} printed is not known: {error}"))
        }
        Err(error) => Err(error),
    }
}

fn printed(shown: &str) -> Result<String, HostError> {
    let this = format!("_SYSTEMD_INVOCATION_ID={}", value(shown, "InvocationID"));
    run(&["journalctl", "--quiet", "--no-pager", "--output=cat", LINES, &this], LIMIT)
}

/// What a unit that is at work printed, as far as the journal has it.
pub(super) fn said_so_far(unit: &str) -> Result<String, HostError> {
    let shown = run(&["systemctl", "show", "--property=InvocationID", "--", unit], LIMIT)?;
    printed(&shown)
}

fn value<'a>(shown: &'a str, key: &str) -> &'a str {
    shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
}

/// One that ended well is stopped, one that failed is reset; each is no error for the other.
pub(super) fn forget(unit: &str) -> Result<(), HostError> {
    for verb in ["stop", "reset-failed"] {
        match run(&["systemctl", verb, "--", unit], LIMIT) {
            Ok(_) | Err(HostError::Command { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Runs a program to its end for a caller that has nothing else to do. One of that name that an earlier process of ours
/// began goes on without it and is waited for first.
pub(super) fn run_to_end(started: &UnitRun<'_>) -> Result<(), HostError> {
    await_end(started.unit, started.limit)?;
    start(started)?;
    let Some(end) = await_end(started.unit, started.limit)? else { return Ok(()) };
    if end.is_success() {
        return Ok(());
    }
    let output = format!("why is in the journal: journalctl -u {}", started.unit);
    Err(HostError::Command { command: started.arguments.join(" "), status: end.how, output })
}

/// Waits until a unit is not at work any more, and forgets it.
fn await_end(unit: &str, limit: Duration) -> Result<Option<RunEnd>, HostError> {
    let began = Instant::now();
    loop {
        match find(unit)? {
            None => return Ok(None),
            Some(Started { state: StartedState::Ended(end), .. }) => return forget(unit).map(|()| Some(end)),
            Some(Started { state: StartedState::Running, .. }) if began.elapsed() < limit + LIMIT => {
                std::thread::sleep(LOOK);
            }
            Some(Started { state: StartedState::Running, .. }) => {
                return Err(HostError::TimedOut { command: unit.to_owned(), seconds: limit.as_secs() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_as_a_unit_gets_its_arguments_untouched_and_ends_in_time() {
        let run = UnitRun {
            unit: "hostler-package.service",
            purpose: "installs curl",
            arguments: &["apt-get", "--", "$(id)"],
            limit: Duration::from_secs(600),
            reach: Reach::Everybody,
        };
        let open = arguments(&run);
        assert!(open.iter().any(|a| a == "--unit=hostler-package.service"), "{open:?}");
        assert!(open.iter().any(|a| a == "--property=RuntimeMaxSec=600"), "{open:?}");
        let own = open.iter().position(|a| a == "--").unwrap();
        assert_eq!(open[own + 1..], ["apt-get", "--", "$(id)"]);
        let closed = arguments(&UnitRun { reach: Reach::Nobody, ..run });
        let denies = |whole: &[Cow<'_, str>]| whole.iter().any(|a| a == "--property=IPAddressDeny=any");
        assert!(denies(&closed) && !denies(&open));
    }

    fn shown(active: &str, sub: &str, result: &str, code: &str, status: &str) -> String {
        format!(
            "LoadState=loaded\nActiveState={active}\nSubState={sub}\nResult={result}\nExecMainCode={code}\n\
             ExecMainStatus={status}\nDescription=kubeadm init for 12\nInvocationID=0c1\n"
        )
    }

    #[test]
    fn how_a_program_ended_is_read() {
        let purpose = || "kubeadm init for 12".to_owned();
        for (shown, ended) in [
            (shown("active", "running", "success", "0", "0"), None),
            (shown("activating", "start", "success", "0", "0"), None),
            (shown("deactivating", "stop-sigterm", "timeout", "0", "0"), None),
            (shown("active", "exited", "success", "1", "0"), Some((Some(0), "exit code 0".to_owned()))),
            (shown("failed", "failed", "exit-code", "1", "1"), Some((Some(1), "exit code 1".to_owned()))),
            (shown("failed", "failed", "signal", "2", "9"), Some((None, "signal 9".to_owned()))),
            (shown("failed", "failed", "timeout", "2", "15"), Some((None, "time limit".to_owned()))),
            (shown("failed", "failed", "resources", "0", "0"), Some((None, "resources".to_owned()))),
        ] {
            assert_eq!(read(&shown), Some((purpose(), ended)), "{shown}");
        }
        let none = "LoadState=not-found\nActiveState=inactive\nDescription=x.service\nInvocationID=\n";
        assert_eq!(read(none), None);
    }
}
