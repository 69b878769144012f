//! The agent's settings: the file, the drop-in directory, the environment, in this order; the last one wins.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use hostler_daemon::settings::SettingsError;
use hostler_daemon::settings::{Places, Written};
use hostler_executor::protocol::SOCKET;
use hostler_plan::{
    health::{DEFAULT_REPORT_INTERVAL, REPORT_INTERVAL_SECONDS},
    written,
};
use serde::Deserialize;

/// Where the settings stand: `HOSTLER_AGENT_STATE_DIR` and its like win.
const PLACES: Places = Places {
    file: "/etc/hostler/agent.toml",
    prefix: "HOSTLER_AGENT",
    text: |bytes| written::read(bytes).map_err(|e| e.to_string()),
};

/// How an agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the executor listens.
    pub socket: PathBuf,
    /// The certificate with its key, and what is being fetched; nobody else may write there.
    pub state_dir: PathBuf,
    /// Where the executor puts sealed snapshots.
    pub sealed: PathBuf,
    /// How often facts are read and sent, unless the coordinator asks for another pace.
    pub report_interval: Duration,
    /// Where the agent serves `/metrics` itself, without TLS; nowhere unless set.
    pub metrics_listen: Option<SocketAddr>,
}

/// Settings as files and variables write them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    socket: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    sealed: Option<PathBuf>,
    report_interval_seconds: Option<u64>,
    metrics_listen: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket: SOCKET.into(),
            state_dir: "/var/lib/hostler/agent".into(),
            sealed: "/var/lib/hostler/sealed".into(),
            report_interval: DEFAULT_REPORT_INTERVAL,
            metrics_listen: None,
        }
    }
}

impl Settings {
    /// Reads `file`, or the usual one where it exists, its drop-in folder, and `environment`.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Result<Self, SettingsError> {
        PLACES.read(file, environment).and_then(validate)
    }
}

fn validate(written: Written<Keys>) -> Result<Settings, SettingsError> {
    let (keys, default) = (&written.values, Settings::default());
    let report_interval = written.seconds(
        "report_interval_seconds",
        keys.report_interval_seconds,
        REPORT_INTERVAL_SECONDS,
        DEFAULT_REPORT_INTERVAL,
    )?;
    let address = |text: &String| {
        text.parse().map_err(|_| written.wrong("metrics_listen", "an address and port such as 127.0.0.1:7447", text))
    };
    Ok(Settings {
        socket: keys.socket.clone().unwrap_or(default.socket),
        state_dir: keys.state_dir.clone().unwrap_or(default.state_dir),
        sealed: keys.sealed.clone().unwrap_or(default.sealed),
        report_interval,
        metrics_listen: keys.metrics_listen.as_ref().map(address).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        std::fs::write(&file, text).unwrap();
        Settings::load(Some(&file), environment.iter().copied())
    }

    #[test]
    fn values_are_taken_and_defaults_fill_the_rest() {
        let text = "socket = \"/s\"\nreport_interval_seconds = 30\nstate_dir = \"/a\"\nsealed = \"/sealed\"\n\
                    metrics_listen = \"[::1]:7447\"";
        let settings = load(text, &[("HOSTLER_AGENT_STATE_DIR", "/c")]).unwrap();
        let wanted = Settings {
            socket: "/s".into(),
            report_interval: Duration::from_secs(30),
            state_dir: "/c".into(),
            sealed: "/sealed".into(),
            metrics_listen: Some("[::1]:7447".parse().unwrap()),
        };
        assert_eq!(settings, wanted);
    }

    #[test]
    fn wrong_values_say_what_was_expected_and_where() {
        for (text, expected) in [
            ("report_interval_seconds = 0", "expected 1 to 30 seconds"),
            ("report_interval_seconds = 31", "expected 1 to 30 seconds"),
            ("report_interval_seconds = \"soon\"", "report_interval_seconds"),
            ("metrics_listen = \"7447\"", "such as 127.0.0.1:7447"),
            ("nodename = \"w1\"", "nodename"),
        ] {
            let found = load(text, &[]).unwrap_err().to_string();
            assert!(found.contains(expected) && found.contains("agent.toml"), "{text}: {found}");
        }
    }
}
