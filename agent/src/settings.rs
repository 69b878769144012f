//! The agent's settings: the file, the drop-in directory, the environment, in this order; the last one wins.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use config::{Config, Environment, File, FileFormat, Source as _};
use hostler_plan::id::{InvalidId, NodeName};
use serde::Deserialize;

/// Where the settings lie when nobody says otherwise.
pub const DEFAULT_FILE: &str = "/etc/hostler/agent.toml";

/// What stands in front of every variable: `HOSTLER_AGENT_STATE_DIR`.
const PREFIX: &str = "HOSTLER_AGENT";

const KEYS: [&str; 6] = ["join_file", "state_dir", "node_name", "report_interval_seconds", "kubeconfig", "clock"];

/// The join string's places: the second is what a person can write to from the machine that made the SD card.
const JOIN_FILES: [&str; 2] = ["/etc/hostler/join", "/boot/firmware/hostler/join"];

/// kubeadm's and K3s's administrator files; who has neither is no server.
const KUBECONFIGS: [&str; 2] = ["/etc/kubernetes/admin.conf", "/etc/rancher/k3s/k3s.yaml"];

/// How an agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the join string is looked for, in this order.
    pub join_files: Vec<PathBuf>,
    /// Keys, state, journal and receipts; nobody else may write there.
    pub state_dir: PathBuf,
    /// The host's name unless set.
    pub node_name: Option<NodeName>,
    /// How often facts are read and sent, unless the coordinator asks for another pace.
    pub report_interval: Duration,
    /// Where credentials for the API server may lie, in this order.
    pub kubeconfigs: Vec<PathBuf>,
    pub clock: ClockSource,
}

/// When the machine's clock is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockSource {
    /// Once NTP or a clock with a battery set it: a Pi wakes up in the past.
    #[default]
    Synchronised,
    /// From the start, for example in a virtual machine whose host sets it and says nothing.
    Trusted,
}

/// Settings as files and variables write them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    join_file: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    node_name: Option<String>,
    report_interval_seconds: Option<u64>,
    kubeconfig: Option<PathBuf>,
    clock: Option<ClockSource>,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("reading the settings failed: {0}")]
    Read(#[from] config::ConfigError),
    #[error("{origin} has the unknown setting {key:?}; expected one of {}", KEYS.join(", "))]
    UnknownKey { origin: String, key: String },
    #[error("settings file expected at {0}, found none; name another one with --config")]
    NoFile(PathBuf),
    #[error(transparent)]
    NodeName(#[from] InvalidId),
    #[error("report_interval_seconds expected 1 to 3600, found {0}")]
    Interval(u64),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            join_files: JOIN_FILES.map(PathBuf::from).to_vec(),
            state_dir: "/var/lib/hostler/agent".into(),
            node_name: None,
            report_interval: Duration::from_secs(10),
            kubeconfigs: KUBECONFIGS.map(PathBuf::from).to_vec(),
            clock: ClockSource::default(),
        }
    }
}

impl Settings {
    /// Reads `file` (or [`DEFAULT_FILE`], which may be missing), every `*.toml` in the directory of the same name with
    /// `.d` behind it, and `environment`, which is the process's unless a test hands in another one.
    pub fn read(file: Option<&Path>, environment: Option<HashMap<String, String>>) -> Result<Self, SettingsError> {
        let main = file.unwrap_or(Path::new(DEFAULT_FILE));
        if file.is_some() && !main.exists() {
            return Err(SettingsError::NoFile(main.to_owned()));
        }
        let mut files = vec![main.to_owned()];
        files.extend(drop_ins(main));
        let mut all = Config::builder();
        for path in files.iter().filter(|p| p.exists()) {
            let source = File::from(path.as_path()).format(FileFormat::Toml);
            check_keys(&path.display().to_string(), source.collect()?.into_keys())?;
            all = all.add_source(source);
        }
        let variables = Environment::with_prefix(PREFIX).prefix_separator("_").source(environment).try_parsing(true);
        let origin = format!("the environment ({PREFIX}_…)");
        check_keys(&origin, variables.collect()?.into_keys())?;
        let written: Written = all.add_source(variables).build()?.try_deserialize()?;
        written.try_into()
    }
}

impl TryFrom<Written> for Settings {
    type Error = SettingsError;
    fn try_from(written: Written) -> Result<Self, SettingsError> {
        let default = Settings::default();
        let seconds = written.report_interval_seconds.unwrap_or(default.report_interval.as_secs());
        if !(1..=3600).contains(&seconds) {
            return Err(SettingsError::Interval(seconds));
        }
        Ok(Settings {
            join_files: written.join_file.map_or(default.join_files, |path| vec![path]),
            state_dir: written.state_dir.unwrap_or(default.state_dir),
            node_name: written.node_name.map(NodeName::new).transpose()?,
            report_interval: Duration::from_secs(seconds),
            kubeconfigs: written.kubeconfig.map_or(default.kubeconfigs, |path| vec![path]),
            clock: written.clock.unwrap_or_default(),
        })
    }
}

fn drop_ins(main: &Path) -> Vec<PathBuf> {
    let mut directory = main.as_os_str().to_owned();
    directory.push(".d");
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> =
        entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

fn check_keys(origin: &str, keys: impl Iterator<Item = String>) -> Result<(), SettingsError> {
    for key in keys {
        if !KEYS.contains(&key.as_str()) {
            return Err(SettingsError::UnknownKey { origin: origin.to_owned(), key });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(main: &str, drop_in: &str, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent.toml");
        std::fs::write(&file, main).unwrap();
        std::fs::create_dir(directory.path().join("agent.toml.d")).unwrap();
        std::fs::write(directory.path().join("agent.toml.d/10.toml"), drop_in).unwrap();
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::read(Some(&file), Some(variables))
    }

    #[test]
    fn the_last_source_wins() {
        let settings = read(
            "node_name = \"w1\"\nreport_interval_seconds = 20\nstate_dir = \"/a\"",
            "report_interval_seconds = 30\nstate_dir = \"/b\"",
            &[("HOSTLER_AGENT_STATE_DIR", "/c"), ("OTHER", "x")],
        )
        .unwrap();
        assert_eq!(settings.node_name, Some(NodeName::new("w1").unwrap()));
        assert_eq!(settings.report_interval, Duration::from_secs(30));
        assert_eq!(settings.state_dir, PathBuf::from("/c"));
        assert_eq!(settings.join_files, Settings::default().join_files);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place() {
        let text = read("nodename = \"w1\"", "", &[]).unwrap_err().to_string();
        assert!(text.contains("agent.toml has the unknown setting \"nodename\""), "{text}");
        let text = read("", "x = 1", &[]).unwrap_err().to_string();
        assert!(text.contains("10.toml has the unknown setting \"x\""), "{text}");
        let text = read("", "", &[("HOSTLER_AGENT_COLOUR", "blue")]).unwrap_err().to_string();
        assert!(text.contains("HOSTLER_AGENT_") && text.contains("\"colour\""), "{text}");
    }

    #[test]
    fn wrong_values_say_what_was_expected() {
        for (text, expected) in [
            ("report_interval_seconds = 0", "expected 1 to 3600"),
            ("node_name = \"W 1\"", "node name expected"),
            ("report_interval_seconds = \"soon\"", "report_interval_seconds"),
            ("state_dir = ", "agent.toml"),
            ("clock = \"ntp\"", "clock"),
        ] {
            let found = read(text, "", &[]).unwrap_err().to_string();
            assert!(found.contains(expected), "{text}: {found}");
        }
        assert!(matches!(Settings::read(Some(Path::new("/nowhere.toml")), None), Err(SettingsError::NoFile(_))));
    }
}
