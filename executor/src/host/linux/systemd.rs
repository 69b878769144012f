//! systemd, asked through systemctl.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use hostler_plan::step::UnitState;

use super::command::run;
use crate::host::{HostError, UnitActivity, UnitStatus};

/// systemctl waits for systemd, which may be busy with a boot.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn status(unit: &str) -> Result<UnitStatus, HostError> {
    let show = ["systemctl", "show", "--property=LoadState,ActiveState,UnitFileState,MainPID", "--", unit];
    Ok(read(&run(&show, LIMIT)?))
}

pub(super) fn set(unit: &str, state: UnitState, enabled: bool) -> Result<(), HostError> {
    let (verb, action) = match state {
        UnitState::Started => ("enable", "start"),
        UnitState::Stopped => ("enable", "stop"),
    };
    let verb = if enabled { verb } else { "disable" };
    run(&["systemctl", verb, "--", unit], LIMIT)?;
    run(&["systemctl", "--no-block", action, "--", unit], LIMIT).map(|_| ())
}

pub(super) fn reload() -> Result<(), HostError> {
    run(&["systemctl", "daemon-reload"], LIMIT).map(|_| ())
}

pub(super) fn restart(unit: &str) -> Result<(), HostError> {
    run(&["systemctl", "--no-block", "restart", "--", unit], LIMIT).map(|_| ())
}

/// Waits until a unit is not at work any more.
pub(super) fn await_end(unit: &str, limit: Duration) -> Result<(), HostError> {
    let began = Instant::now();
    loop {
        match status(unit)?.activity {
            UnitActivity::Inactive | UnitActivity::Failed => return Ok(()),
            UnitActivity::Active | UnitActivity::Changing if began.elapsed() < limit => {
                std::thread::sleep(Duration::from_secs(1));
            }
            UnitActivity::Active | UnitActivity::Changing => {
                return Err(HostError::TimedOut { command: unit.to_owned(), seconds: limit.as_secs() });
            }
        }
    }
}

/// Runs a program to its end as a unit of its own, whose messages are in the journal. It goes on when this process
/// ends.
pub(super) fn run_as_unit(unit: &str, arguments: &[&str], limit: Duration) -> Result<(), HostError> {
    let whole = as_unit(unit, arguments, limit);
    let whole: Vec<&str> = whole.iter().map(|argument| &**argument).collect();
    match run(&whole, limit + LIMIT) {
        Ok(_) => Ok(()),
        Err(HostError::Command { status, .. }) => Err(HostError::Command {
            command: arguments.join(" "),
            status,
            output: format!("why is in the journal: journalctl -u {unit}"),
        }),
        Err(error) => Err(error),
    }
}

/// The argument list of systemd-run. What failed is forgotten, so that the next one may have its name.
fn as_unit<'a>(unit: &str, arguments: &[&'a str], limit: Duration) -> Vec<Cow<'a, str>> {
    let options = [
        "systemd-run".into(),
        "--quiet".into(),
        "--wait".into(),
        "--collect".into(),
        "--service-type=exec".into(),
        format!("--unit={unit}"),
        format!("--property=RuntimeMaxSec={}", limit.as_secs()),
        "--setenv=DEBIAN_FRONTEND=noninteractive".into(),
        "--setenv=LC_ALL=C.UTF-8".into(),
        "--".into(),
    ];
    options.into_iter().map(Cow::Owned).chain(arguments.iter().copied().map(Cow::Borrowed)).collect()
}

fn read(text: &str) -> UnitStatus {
    let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    UnitStatus {
        exists: value("LoadState") == "loaded",
        activity: match value("ActiveState") {
            "active" => UnitActivity::Active,
            "activating" | "deactivating" | "reloading" | "refreshing" | "maintenance" => UnitActivity::Changing,
            "failed" => UnitActivity::Failed,
            _ => UnitActivity::Inactive,
        },
        enabled: matches!(value("UnitFileState"), "enabled" | "enabled-runtime" | "static" | "alias"),
        main_pid: value("MainPID").parse().ok().filter(|pid| *pid != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_as_a_unit_gets_its_arguments_untouched_and_ends_in_time() {
        let whole = as_unit("hostler-package.service", &["apt-get", "--", "$(id)"], Duration::from_secs(600));
        assert!(whole.iter().any(|a| a == "--unit=hostler-package.service"), "{whole:?}");
        assert!(whole.iter().any(|a| a == "--property=RuntimeMaxSec=600"), "{whole:?}");
        let own = whole.iter().position(|a| a == "--").unwrap();
        assert_eq!(whole[own + 1..], ["apt-get", "--", "$(id)"]);
    }

    #[test]
    fn systemctl_show_is_read() {
        let found = read("LoadState=loaded\nActiveState=activating\nUnitFileState=enabled\nMainPID=731\n");
        assert_eq!(
            found,
            UnitStatus { exists: true, activity: UnitActivity::Changing, enabled: true, main_pid: Some(731) }
        );
        let found = read("LoadState=not-found\nActiveState=inactive\nUnitFileState=\nMainPID=0\n");
        assert_eq!(
            found,
            UnitStatus { exists: false, activity: UnitActivity::Inactive, enabled: false, main_pid: None }
        );
    }
}
