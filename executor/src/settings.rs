//! The executor's settings: the file, the drop-in directory, the environment, in this order; the last one wins.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

pub use hostler_daemon::settings::SettingsError;
use hostler_daemon::settings::{Places, Written};
use hostler_plan::{id::NodeName, written};
use nix::unistd::{Uid, User, geteuid};
use serde::Deserialize;

use crate::{distribution::admin_kubeconfigs, host::ClockSource, protocol::SOCKET};

/// Where the settings stand: `HOSTLER_EXECUTOR_STATE_DIR` and its like win.
const PLACES: Places = Places {
    file: "/etc/hostler/executor.toml",
    prefix: "HOSTLER_EXECUTOR",
    text: |bytes| written::read(bytes).map_err(|e| e.to_string()),
};

/// The join string's places: the others are what a person can write to from the machine that made the SD card; images
/// before Debian 12 mount that partition at /boot.
const JOIN_FILES: [&str; 3] = ["/etc/hostler/join", "/boot/firmware/hostler/join", "/boot/hostler/join"];

/// What getty shows above its prompt (agetty(8)); util-linux reads the folder since 2.35.
const CONSOLE_FILE: &str = "/etc/issue.d/hostler.issue";

/// Whom the agent's unit runs it as.
const AGENT_USER: &str = "hostler";

/// How an executor runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the agent finds it.
    pub socket: PathBuf,
    /// Who is heard there beside the executor's own user.
    pub agent: Option<Uid>,
    /// Where the agent puts what it fetched.
    pub downloads: PathBuf,
    /// Where the join string is looked for, in this order.
    pub join_files: Vec<PathBuf>,
    /// Where a person at the node's screen reads what is wrong with the join string.
    pub console_file: Option<PathBuf>,
    /// Keys, state, journal and receipts; nobody else may write there.
    pub state_dir: PathBuf,
    /// The host's name unless set.
    pub node_name: Option<NodeName>,
    /// Where credentials for the API server may lie, in this order.
    pub kubeconfigs: Vec<PathBuf>,
    pub clock: ClockSource,
}

/// Settings as files and variables write them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    socket: Option<PathBuf>,
    agent_user: Option<String>,
    downloads: Option<PathBuf>,
    join_file: Option<PathBuf>,
    console_file: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    node_name: Option<String>,
    kubeconfig: Option<PathBuf>,
    clock: Option<ClockSource>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket: SOCKET.into(),
            agent: None,
            downloads: "/var/lib/hostler/agent/downloads".into(),
            join_files: JOIN_FILES.map(PathBuf::from).to_vec(),
            console_file: None,
            state_dir: "/var/lib/hostler/executor".into(),
            node_name: None,
            kubeconfigs: admin_kubeconfigs(),
            clock: ClockSource::default(),
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
    let named = |name: &String| {
        NodeName::new(name.as_str()).map_err(|_| {
            written.wrong(
                "node_name",
                "a name in small letters such as pi-1 or pi-1.example.org: at most 253 of a-z, 0-9, - and .",
                name,
            )
        })
    };
    Ok(Settings {
        socket: keys.socket.clone().unwrap_or(default.socket),
        agent: agent(keys.agent_user.as_deref(), &written)?,
        downloads: keys.downloads.clone().unwrap_or(default.downloads),
        join_files: keys.join_file.clone().map_or(default.join_files, |path| vec![path]),
        console_file: Some(keys.console_file.clone().unwrap_or_else(|| CONSOLE_FILE.into())),
        state_dir: keys.state_dir.clone().unwrap_or(default.state_dir),
        node_name: keys.node_name.as_ref().map(named).transpose()?,
        kubeconfigs: keys.kubeconfig.clone().map_or(default.kubeconfigs, |path| vec![path]),
        clock: keys.clock.unwrap_or_default(),
    })
}

/// The user of that name. Who runs an executor that is not root, to try it, runs the agent as the same user.
fn agent(name: Option<&str>, written: &Written<Keys>) -> Result<Option<Uid>, SettingsError> {
    let Some(name) = name.or(geteuid().is_root().then_some(AGENT_USER)) else { return Ok(None) };
    match User::from_name(name) {
        Ok(Some(user)) => Ok(Some(user.uid)),
        Ok(None) | Err(_) => Err(written.wrong("agent_user", "the user that hostler-agent runs as", name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("executor.toml");
        std::fs::write(&file, text).unwrap();
        Settings::load(Some(&file), environment.iter().copied())
    }

    #[test]
    fn values_are_taken_and_defaults_fill_the_rest() {
        let text =
            "node_name = \"w1\"\nstate_dir = \"/a\"\nclock = \"trusted\"\nagent_user = \"root\"\nsocket = \"/s\"";
        let settings = load(text, &[("HOSTLER_EXECUTOR_STATE_DIR", "/c")]).unwrap();
        let wanted = Settings {
            node_name: Some(NodeName::new("w1").unwrap()),
            state_dir: "/c".into(),
            clock: ClockSource::Trusted,
            agent: Some(Uid::from_raw(0)),
            socket: "/s".into(),
            console_file: Some(CONSOLE_FILE.into()),
            ..Settings::default()
        };
        assert_eq!(settings, wanted);
    }

    #[test]
    fn wrong_values_say_what_was_expected_and_where() {
        for (text, expected) in [
            ("agent_user = \"root\"\nnode_name = \"W 1\"", "expected a name in small letters such as pi-1"),
            ("clock = \"ntp\"", "clock"),
            ("agent_user = \"no such user\"", "expected the user that hostler-agent runs as"),
            ("nodename = \"w1\"", "nodename"),
        ] {
            let found = load(text, &[]).unwrap_err().to_string();
            assert!(found.contains(expected) && found.contains("executor.toml"), "{text}: {found}");
        }
    }
}
