//! A real coordinator in its own process, with a first root and an admin who is logged in.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use hostler_cli::{
    Admin, Profile,
    admin::now,
    key::{KeySource, SigningKey},
    roster,
    token::{self, TokenRequest},
    trust,
};
use hostler_plan::{document::Approval, id::NodeName, step::ClusterRole};
use hostler_proto::join::{JoinString, SetupCode};

use crate::process::Process;

/// How long anything here may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The coordinator with its admin. Ends with this value.
#[derive(Debug)]
pub struct Stand {
    coordinator: Process,
    pub admin: Admin,
    /// Where agents reach the coordinator itself.
    pub agents: SocketAddr,
    /// Where they enrol.
    pub enrolment: SocketAddr,
    data: PathBuf,
}

/// What a stand is made of.
#[derive(Debug)]
pub struct Setup<'a> {
    /// hostler-bench, which is a coordinator when it is asked.
    pub program: &'a Path,
    /// Where agents are told to go, with the coordinator's own ports.
    pub advertised_host: Ipv4Addr,
    /// Further lines of the coordinator's settings.
    pub settings: &'a str,
}

impl Stand {
    /// Starts a coordinator process that keeps everything below `folder`, with a first root.
    pub async fn start(folder: &Path, setup: &Setup<'_>) -> anyhow::Result<Self> {
        let data = folder.join("coordinator");
        let config = folder.join("coordinator.toml");
        let listen =
            ["enrolment_listen", "agent_listen", "admin_listen"].map(|key| format!("{key} = \"127.0.0.1:0\"\n"));
        let Setup { program, advertised_host, settings } = setup;
        let text =
            format!("{}data_dir = {data:?}\nadvertised_host = \"{advertised_host}\"\n{settings}", listen.concat());
        std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let log = folder.join("coordinator.log");
        let mut command = Command::new(program);
        command.arg("coordinator").arg("--config").arg(&config).stdout(Stdio::piped());
        let mut coordinator = Process::start(&mut command, &log)?;
        let [enrolment, agents, admins] = addresses(&mut coordinator, &log)?;
        let profile = Profile {
            home: folder.join("admin"),
            coordinator: Some(admins.to_string()),
            fleet: None,
            key: KeySource { path: Some(make_key(folder)?), ..KeySource::default() },
        };
        let code = appears(&data.join("setup-code")).await?;
        let first = trust::FirstRoot {
            name: "bench".into(),
            signers: Vec::new(),
            threshold_plan: 1,
            lifetime: trust::DEFAULT_ROOT_LIFETIME,
            policy: trust::DEFAULT_POLICY,
        };
        let signer = SigningKey::find(&profile.key, &[])?;
        trust::init(&profile, &signer, &SetupCode::parse(&code)?, &first, now()).await?;
        let admin = Admin::connect(&profile, signer).await?;
        Ok(Self { coordinator, admin, agents, enrolment, data })
    }

    /// The coordinator's process.
    pub fn pid(&self) -> u32 {
        self.coordinator.pid()
    }

    /// Where the coordinator serves `/metrics`, once it does.
    pub async fn metrics(&self) -> anyhow::Result<SocketAddr> {
        let text = appears(&self.data.join("addresses.json")).await?;
        let addresses: serde_json::Value = serde_json::from_str(&text)?;
        let address = addresses["metrics"].as_str().context("the coordinator serves no metrics")?;
        Ok(address.parse()?)
    }

    /// A join string for so many nodes, which enrol beside the relay.
    pub async fn join_string(&mut self, uses: u32, role: ClusterRole) -> anyhow::Result<JoinString> {
        let request = TokenRequest { uses, lifetime: Duration::from_secs(3600), role, approval: Approval::Automatic };
        let mut join = token::create(&mut self.admin, &request, now()).await?;
        join.address = self.enrolment.to_string();
        Ok(join)
    }

    /// Waits until so many nodes enrolled, and lists them in the roster.
    pub async fn enrolled(&mut self, count: usize) -> anyhow::Result<Vec<NodeName>> {
        let wait = async {
            while roster::pending(&mut self.admin).await?.0.len() < count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.with_context(|| format!("{count} nodes did not enrol in {} s", PATIENCE.as_secs()))??;
        Ok(roster::list_automatic(&mut self.admin, now()).await?)
    }
}

/// Waits until `look` finds something.
///
/// # Panics
/// With `what` was waited for, when that takes longer than anything may.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"))
}

/// The one line that a coordinator writes: enrolment, agents, admins.
fn addresses(coordinator: &mut Process, log: &Path) -> anyhow::Result<[SocketAddr; 3]> {
    let stdout = coordinator.child.stdout.take().context("the coordinator has no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    parse_addresses(&line).with_context(|| {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        format!("the coordinator wrote {line:?}, expected where it listens\n{said}")
    })
}

fn parse_addresses(line: &str) -> Option<[SocketAddr; 3]> {
    let rest = line.trim_end().strip_prefix("listening: ")?;
    let found: Vec<SocketAddr> = rest
        .split(", ")
        .zip(["enrolment ", "agents ", "admins "])
        .filter_map(|(part, name)| part.strip_prefix(name)?.parse().ok())
        .collect();
    found.try_into().ok()
}

/// A throw-away key, made as an admin makes one.
fn make_key(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
    let made = made.context("cannot start ssh-keygen (apt-get install openssh-client)")?;
    anyhow::ensure!(made.success(), "ssh-keygen made no key: {made}");
    Ok(path)
}

async fn appears(path: &Path) -> anyhow::Result<String> {
    let wait = async {
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) if !text.is_empty() => return text,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.with_context(|| format!("{} did not appear", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coordinators_line_is_read_whole() {
        let line = "listening: enrolment 127.0.0.1:1, agents 127.0.0.1:2, admins [::1]:3\n";
        assert_eq!(parse_addresses(line).unwrap().map(|a| a.port()), [1, 2, 3]);
        for line in
            ["", "listening: enrolment 127.0.0.1:1, agents 127.0.0.1:2", "127.0.0.1:1, 127.0.0.1:2, 127.0.0.1:3"]
        {
            assert_eq!(parse_addresses(line), None, "{line}");
        }
    }
}
