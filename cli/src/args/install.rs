//! `hostler node install`, `remove-agent` and `image`: machines that are no nodes yet.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use hostler_plan::id::NodeName;

use super::{token::Role, value::duration};
use crate::install::SshHost;

/// How machines are reached.
#[derive(Debug, Clone, Args)]
pub struct Reach {
    /// Where `ssh` goes, as many as are wanted
    #[arg(value_name = "USER@HOST", required = true)]
    pub hosts: Vec<SshHost>,
    /// How many at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub at_once: u32,
    /// How long each machine may take
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    pub timeout: Duration,
    /// The first line of standard input is the password for sudo, where nobody can be asked; needs --yes
    #[arg(long, requires = "yes")]
    pub sudo_password_stdin: bool,
    /// The program that is called as `ssh` is
    #[arg(long, value_name = "PROGRAM", default_value = "ssh")]
    pub ssh: PathBuf,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// `hostler node install USER@HOST…`
#[derive(Debug, Clone, Args)]
pub struct InstallArgs {
    #[command(flatten)]
    pub reach: Reach,
    /// Your own package of hostler-agent, or a folder that packaging/build filled. May be repeated
    #[arg(long, value_name = "FILE|FOLDER", required = true)]
    pub package: Vec<PathBuf>,
    /// What the nodes become in the cluster
    #[arg(long, value_enum, default_value = "worker")]
    pub role: Role,
    /// Where the roster is written, if others are to sign it too [default: roster-N.json]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `hostler node remove-agent USER@HOST…`
#[derive(Debug, Clone, Args)]
pub struct RemoveAgentArgs {
    #[command(flatten)]
    pub reach: Reach,
}

/// `hostler node image --for NAME…`
#[derive(Debug, Clone, Args)]
pub struct ImageArgs {
    /// The nodes, one image folder each
    #[arg(long = "for", value_name = "NAME", required = true, num_args = 1..)]
    pub nodes: Vec<NodeName>,
    /// Your own package of hostler-agent, or a folder that packaging/build filled. May be repeated
    #[arg(long, value_name = "FILE|FOLDER", required = true)]
    pub package: Vec<PathBuf>,
    /// What the nodes become in the cluster
    #[arg(long, value_enum, default_value = "worker")]
    pub role: Role,
    /// How long each join string admits its machine: a card may lie in a drawer
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = duration)]
    pub ttl: Duration,
    /// A user-data file of yours, such as Raspberry Pi Imager's, that is to count as well
    #[arg(long, value_name = "FILE")]
    pub user_data: Option<PathBuf>,
    /// The folder that is made; one of that name must not be there
    #[arg(long, value_name = "FOLDER", default_value = "hostler-image")]
    pub out: PathBuf,
}
