//! K3s as its own installer would leave it: one binary, one unit, one configuration.

use std::{path::Path, time::Duration};

use hostler_plan::{
    step::{ClusterRole, UnitState},
    version::Version,
};

use super::{Distribution, Install, OneProgram, Status};
use crate::host::{Host, HostError, HostFile, UnitActivity};

/// The administrator's, which a server writes when it starts.
pub const ADMIN_KUBECONFIG: &str = "/etc/rancher/k3s/k3s.yaml";

/// The kubelet's own.
pub const KUBELET_KUBECONFIG: &str = "/var/lib/rancher/k3s/agent/kubelet.kubeconfig";

/// The one program.
pub const BINARY: &str = "/usr/local/bin/k3s";

/// Sorted before what an admin may put there.
pub const CONFIG: &str = "/etc/rancher/k3s/config.yaml.d/10-hostler.yaml";

/// What lets another server in. It has no end: K3s knows no token with one for servers (k3s-io/k3s#6663).
pub const SERVER_TOKEN: &str = "/var/lib/rancher/k3s/server/token";

pub const SERVER_UNIT: &str = "k3s.service";
pub const AGENT_UNIT: &str = "k3s-agent.service";
const UNITS: &str = "/etc/systemd/system";

/// `k3s --version` and `k3s token` answer at once; a Pi under load gets this long.
const QUICK: Duration = Duration::from_secs(60);

/// K3s on a machine.
#[derive(Debug, Clone, Copy)]
pub struct K3s;

impl Distribution for K3s {
    const NAME: &'static str = "K3s";
    const JOURNAL: &'static str = "-u k3s*";

    fn role(role: ClusterRole) -> &'static str {
        match role {
            ClusterRole::Server => "server",
            ClusterRole::Worker | ClusterRole::Host => "agent",
        }
    }

    fn status(host: &dyn Host) -> Result<Status, HostError> {
        for (role, name) in [(ClusterRole::Server, SERVER_UNIT), (ClusterRole::Worker, AGENT_UNIT)] {
            let unit = host.unit(name)?;
            if !unit.exists {
                continue;
            }
            let running = match unit.main_pid {
                // The version of the process, not of the file: K3s runs from its own unpacked copy.
                Some(pid) if unit.activity == UnitActivity::Active => running(host, pid)?,
                Some(_) | None => None,
            };
            return Ok(Status { running, role: Some(role) });
        }
        Ok(Status::default())
    }

    fn installed(host: &dyn Host) -> Result<Option<Version>, HostError> {
        match version(host, BINARY) {
            Err(HostError::Missing { .. }) => Ok(None),
            answer => answer,
        }
    }
}

impl OneProgram for K3s {
    fn install(host: &dyn Host, install: &Install<'_>) -> Result<(), HostError> {
        host.install_program(install.artifact, Path::new(BINARY))?;
        let config = match install.join {
            Some(join) => format!("server: {}\ntoken: {}\n", quoted(join.server_url), quoted(join.secret)),
            None => String::new(),
        };
        host.write_file(Path::new(CONFIG), &root_file(config, 0o600))?;
        let (name, text) = unit(install.role);
        host.write_file(&Path::new(UNITS).join(name), &root_file(text, 0o644))?;
        host.reload_units()?;
        host.set_unit(name, UnitState::Started, true)
    }

    fn upgrade(host: &dyn Host, artifact: &Path) -> Result<(), HostError> {
        let role = Self::status(host)?.role.ok_or_else(|| HostError::Missing { what: "K3s unit".into() })?;
        host.install_program(artifact, Path::new(BINARY))?;
        host.restart_unit(unit(role).0)
    }

    fn join_secret(host: &dyn Host, role: ClusterRole, lifetime: Duration) -> Result<String, HostError> {
        match role {
            ClusterRole::Worker | ClusterRole::Host => {
                let ttl = format!("{}s", lifetime.as_secs());
                let make = [BINARY, "token", "create", "--ttl", &ttl, "--description", "made by hostler for one node"];
                Ok(host.run(&make, QUICK)?.trim().to_owned())
            }
            ClusterRole::Server => {
                let file = host.read_file(Path::new(SERVER_TOKEN))?;
                let file = file.ok_or_else(|| HostError::Missing { what: format!("token in {SERVER_TOKEN}") })?;
                Ok(String::from_utf8_lossy(&file.content).trim().to_owned())
            }
        }
    }
}

/// K3s opens its own unit's environment and says READY late; a start has no limit of its own because the datastore may
/// wait for its peers.
fn unit(role: ClusterRole) -> (&'static str, String) {
    let (name, word) = match role {
        ClusterRole::Server => (SERVER_UNIT, "server"),
        ClusterRole::Worker | ClusterRole::Host => (AGENT_UNIT, "agent"),
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

fn root_file(text: String, mode: u32) -> HostFile {
    HostFile { content: text.into_bytes(), mode, uid: 0, gid: 0 }
}

/// The version of a process; none when it ended since systemd named it, as the old one does right after a restart.
fn running(host: &dyn Host, pid: u32) -> Result<Option<Version>, HostError> {
    match version(host, &format!("/proc/{pid}/exe")) {
        Err(HostError::Missing { .. }) => Ok(None),
        answer => answer,
    }
}

fn version(host: &dyn Host, program: &str) -> Result<Option<Version>, HostError> {
    Ok(parse_version(&host.run(&[program, "--version"], QUICK)?))
}

/// `k3s version v1.33.6+k3s1 (b5847677)`
fn parse_version(text: &str) -> Option<Version> {
    text.lines().next()?.strip_prefix("k3s version ")?.split(' ').next()?.parse().ok()
}

/// A YAML text that means itself: JSON strings are YAML.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::UnitStatus, testing::Machine};

    #[test]
    fn the_version_line_is_read() {
        let text = "k3s version v1.33.6+k3s1 (b5847677)\ngo version go1.24.9\n";
        assert_eq!(parse_version(text).map(|v| v.to_string()).as_deref(), Some("v1.33.6+k3s1"));
        assert_eq!(parse_version("go version go1.24.9"), None);
    }

    #[test]
    fn a_process_that_ends_while_it_is_asked_runs_no_version_and_fails_nothing() {
        let machine = Machine::new(crate::build_time());
        let unit = UnitStatus { exists: true, activity: UnitActivity::Active, enabled: true, main_pid: Some(731) };
        machine.inner().units.insert(SERVER_UNIT.into(), unit);
        let status = K3s::status(&machine);
        assert_eq!(status, Ok(Status { running: None, role: Some(ClusterRole::Server) }));
        machine.inner().running.insert(SERVER_UNIT.into(), "k3s version v1.33.6+k3s1 (b5847677)\n".into());
        assert_eq!(K3s::status(&machine).unwrap().running.map(|v| v.to_string()).as_deref(), Some("v1.33.6+k3s1"));
    }

    #[test]
    fn a_secret_cannot_break_out_of_its_line() {
        assert_eq!(quoted("a\"\nserver: evil"), "\"a\\\"\\nserver: evil\"");
    }
}
