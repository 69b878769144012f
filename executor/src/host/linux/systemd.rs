//! systemd, asked through systemctl.

use std::time::Duration;

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
