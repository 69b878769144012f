//! K3s as its own installer would leave it: one binary, one unit, one configuration.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use hostler_daemon::durable;
use hostler_plan::{step::ClusterRole, version::Version};

use super::{
    command::run,
    files::{self, failed},
    systemd,
};
use crate::host::{HostError, HostFile, K3sInstall, K3sStatus};

const BINARY: &str = "usr/local/bin/k3s";
/// Sorted before what an admin may put there.
const CONFIG: &str = "etc/rancher/k3s/config.yaml.d/10-hostler.yaml";
const SERVER_UNIT: &str = "k3s.service";
const AGENT_UNIT: &str = "k3s-agent.service";
const QUICK: Duration = Duration::from_secs(60);

/// K3s opens its own unit's environment and says READY late; a start has no limit of its own because the datastore may
/// wait for its peers.
fn unit(role: ClusterRole) -> (&'static str, String) {
    let (name, word) = match role {
        ClusterRole::Server => (SERVER_UNIT, "server"),
        ClusterRole::Worker => (AGENT_UNIT, "agent"),
    };
    let text = format!(
        "[Unit]\nDescription=Lightweight Kubernetes ({word})\nWants=network-online.target\nAfter=network-online.target\n\n\
         [Service]\nType=notify\nKillMode=process\nDelegate=yes\nUser=root\nLimitNOFILE=1048576\n\
         LimitNPROC=infinity\nLimitCORE=infinity\nTasksMax=infinity\nTimeoutStartSec=0\nRestart=always\nRestartSec=5s\n\
         EnvironmentFile=-/etc/default/%N\nExecStartPre=-/sbin/modprobe br_netfilter\n\
         ExecStartPre=-/sbin/modprobe overlay\nExecStart=/usr/local/bin/k3s {word}\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    (name, text)
}

pub fn status(root: &Path) -> Result<K3sStatus, HostError> {
    let binary = root.join(BINARY);
    let has = |unit: &str| root.join("etc/systemd/system").join(unit).exists();
    let role = match (has(SERVER_UNIT), has(AGENT_UNIT)) {
        (true, _) => Some(ClusterRole::Server),
        (false, true) => Some(ClusterRole::Worker),
        (false, false) => None,
    };
    let installed = if binary.exists() { version_of(&binary)? } else { None };
    let running = match role {
        Some(role) => running(unit(role).0)?,
        None => None,
    };
    Ok(K3sStatus { installed, running, role })
}

/// The version of the process, not of the file: K3s runs from its own unpacked copy.
fn running(unit: &str) -> Result<Option<Version>, HostError> {
    if systemd::property(unit, "ActiveState")? != "active" {
        return Ok(None);
    }
    let pid = systemd::property(unit, "MainPID")?;
    if pid.is_empty() || pid == "0" {
        return Ok(None);
    }
    version_of(&PathBuf::from(format!("/proc/{pid}/exe")))
}

fn version_of(binary: &Path) -> Result<Option<Version>, HostError> {
    let text = run(&[&binary.display().to_string(), "--version"], QUICK)?;
    Ok(parse_version(&text))
}

/// `k3s version v1.33.6+k3s1 (b5847677)`
fn parse_version(text: &str) -> Option<Version> {
    text.lines().next()?.strip_prefix("k3s version ")?.split(' ').next()?.parse().ok()
}

pub fn install(root: &Path, install: &K3sInstall<'_>) -> Result<(), HostError> {
    place(root, install.binary)?;
    let config = match install.join {
        Some(join) => format!("server: {}\ntoken: {}\n", quoted(join.server_url), quoted(join.secret)),
        None => String::new(),
    };
    let secret = HostFile { content: config.into_bytes(), mode: 0o600, uid: 0, gid: 0 };
    files::write(&root.join(CONFIG), &secret)?;
    let (name, text) = unit(install.role);
    let file = HostFile { content: text.into_bytes(), mode: 0o644, uid: 0, gid: 0 };
    files::write(&root.join("etc/systemd/system").join(name), &file)?;
    systemd::reload()?;
    systemd::set(name, hostler_plan::step::UnitState::Started, true)
}

pub fn upgrade(root: &Path, binary: &Path, _version: Version) -> Result<(), HostError> {
    let role = status(root)?.role.ok_or_else(|| HostError::Missing { what: "K3s unit".into() })?;
    place(root, binary)?;
    systemd::restart(unit(role).0)
}

pub fn join_secret(root: &Path, role: ClusterRole, lifetime: Duration) -> Result<String, HostError> {
    match role {
        ClusterRole::Worker => {
            let binary = root.join(BINARY).display().to_string();
            let ttl = format!("{}s", lifetime.as_secs());
            let make = [&binary, "token", "create", "--ttl", &ttl, "--description", "made by hostler for one node"];
            Ok(run(&make, QUICK)?.trim().to_owned())
        }
        // K3s knows no token with an end for servers (k3s-io/k3s#6663).
        ClusterRole::Server => {
            let path = root.join("var/lib/rancher/k3s/server/token");
            let text = fs::read_to_string(&path).map_err(|e| failed("reading", &path, &e))?;
            Ok(text.trim().to_owned())
        }
    }
}

/// Puts the binary in its place; a running K3s keeps the old file.
fn place(root: &Path, binary: &Path) -> Result<(), HostError> {
    let path = root.join(BINARY);
    let new = root.join(format!("{BINARY}.hostler-new"));
    let wrong = |e: std::io::Error| failed("installing", &path, &e);
    fs::create_dir_all(path.parent().unwrap_or(root)).map_err(wrong)?;
    fs::copy(binary, &new).map_err(wrong)?;
    fs::set_permissions(&new, Permissions::from_mode(0o755)).map_err(wrong)?;
    durable::put_in_place(&new, &path).map_err(wrong)
}

/// A YAML text that means itself: JSON strings are YAML.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_line_is_read() {
        let text = "k3s version v1.33.6+k3s1 (b5847677)\ngo version go1.24.9\n";
        assert_eq!(parse_version(text).map(|v| v.to_string()).as_deref(), Some("v1.33.6+k3s1"));
        assert_eq!(parse_version("go version go1.24.9"), None);
    }

    #[test]
    fn a_secret_cannot_break_out_of_its_line() {
        assert_eq!(quoted("a\"\nserver: evil"), "\"a\\\"\\nserver: evil\"");
    }
}
