//! The first minute of a machine: the agent's package and a join string of its own, over the admin's stock `ssh`.
//!
//! Nothing here speaks the ssh protocol. A script of this folder goes to `sh` on the machine over standard input, and
//! says what it found or did in lines that begin with a word of ours; whatever else the machine says is noise. What
//! decides who is listed is the key that the machine itself showed over ssh, never what a coordinator tells.

mod facts;
pub mod image;
mod package;
mod script;
mod ssh;

use std::{str::FromStr, sync::Arc, time::Duration};

pub use facts::{Found, Rights, doubles};
use hostler_plan::id::{Fingerprint, NodeName};
pub use package::{DebArch, Package, Packages};
pub use script::Limits;
use script::Script;
pub use ssh::Ssh;

/// Where `ssh` goes: `USER@HOST`, a name of the admin's `~/.ssh/config`, or `ssh://USER@HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SshHost(String);

impl SshHost {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SshHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Neither an option of ssh nor something that a log would take for two words.
        let plain = |c: char| c.is_ascii_graphic() && !"'\"`$\\;|&<>(){}*?!".contains(c);
        match !text.is_empty() && text.len() <= 512 && !text.starts_with('-') && text.chars().all(plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("expected USER@HOST as ssh takes it, found {text:?}")),
        }
    }
}

impl std::fmt::Display for SshHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A machine as `hostler-executor id` names it, read over ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeId {
    pub name: NodeName,
    pub key: Fingerprint,
}

/// What an agent that is there already belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody's: it never enrolled.
    Free,
    /// A node of that fleet, with its name and key where its programs say them.
    Member { fleet: String, id: Option<NodeId> },
}

/// What became of an agent that was taken away.
#[derive(Debug, Clone, Default)]
pub struct Removed {
    /// Who it was, where its programs said so.
    pub id: Option<NodeId>,
    /// There was none.
    pub nothing: bool,
    /// What stays on the machine.
    pub left: Vec<String>,
}

/// What goes to one machine to make it a node.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub package: Arc<Package>,
    /// A secret: it stands in no argument and no variable of the environment.
    pub join: String,
    /// For sudo, where it asks.
    pub password: Option<Arc<String>>,
}

/// One line of a machine while it is worked on: a word of ours and what follows.
pub type Heard<'a> = &'a mut (dyn FnMut(&str, &str) + Send);

/// What a machine is. Waits for a first boot that is still under way; changes nothing.
pub async fn probe(ssh: &Ssh, host: &SshHost, limits: Limits, heard: Heard<'_>) -> Result<Found, String> {
    let said = ssh.run(host, Script::probe(limits), limits.whole, heard).await?;
    Found::read(host.clone(), &said)
}

/// Whose the agent is that was found there.
pub async fn look(ssh: &Ssh, host: &SshHost, password: Option<&str>, limits: Limits) -> Result<Standing, String> {
    let said = ssh.run(host, Script::look(password), limits.whole, &mut |_, _| {}).await?;
    match said.first("fleet") {
        None => Ok(Standing::Free),
        Some(fleet) => Ok(Standing::Member { fleet: fleet.to_owned(), id: said.id().ok() }),
    }
}

/// Installs the agent there and waits until it is enrolled. Gives who it is, as the machine itself says.
pub async fn install(
    ssh: &Ssh,
    host: &SshHost,
    delivery: &Delivery,
    limits: Limits,
    heard: Heard<'_>,
) -> Result<NodeId, String> {
    let said = ssh.run(host, Script::install(delivery, limits), limits.whole, heard).await?;
    said.first("enrolled").ok_or("it ended without a word; run it again, which takes back what it left")?;
    said.id()
}

/// Takes the agent away again with everything of its own.
pub async fn remove(ssh: &Ssh, host: &SshHost, password: Option<&str>, limits: Limits) -> Result<Removed, String> {
    let said = ssh.run(host, Script::remove(password, limits), limits.whole, &mut |_, _| {}).await?;
    let left = said.all("left").map(str::to_owned).collect();
    Ok(Removed { id: said.id().ok(), nothing: said.first("nothing").is_some(), left })
}

/// How long a connection may take to come about, and how long one may say nothing (ssh asks three times).
pub(crate) const CONNECT: Duration = Duration::from_secs(15);
pub(crate) const ALIVE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_no_option_and_no_shell_text() {
        for good in ["pi@pi-4", "pi-4", "ssh://pi@10.0.0.4:2222", "root@[fd00::4]", "a@b.lan"] {
            assert_eq!(good.parse::<SshHost>().map(|h| h.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "-oProxyCommand=x", "pi@a b", "pi@a;b", "pi@$(x)", "pi@a\n"] {
            assert!(bad.parse::<SshHost>().is_err(), "{bad:?}");
        }
    }
}
