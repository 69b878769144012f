//! `hostler update …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hostler_plan::id::NodeName;

use super::{
    plan::PlanOptions,
    which::{Begin, Consent, Outage},
};

/// `hostler update …`
#[derive(Debug, Subcommand)]
pub enum UpdateCommand {
    /// Bring the packages of machines' systems up to date: what waits is shown first, then a canary, then lanes
    #[command(after_help = "Examples:
  hostler update os --all
  hostler update os --security-only --nodes pi-3,pi-4
  hostler update os --all --packages /srv/debs

Two plans, each shown and signed: the machines read what waits on them and sign it, and then exactly that is installed.
Drained and rebooted is only what has to be. Nothing is removed, and what an admin holds stays; docs/update.md.")]
    Os(UpdateOsArgs),
}

/// Which machines, and what of what waits on them.
#[derive(Debug, Clone, Args)]
pub struct UpdateOsArgs {
    /// Only these nodes
    #[arg(long, value_name = "NODE,…", value_delimiter = ',', required_unless_present = "all", conflicts_with = "all")]
    pub nodes: Vec<NodeName>,
    /// Every node of the fleet file that is connected
    #[arg(long)]
    pub all: bool,
    /// Only updates for security, and what they need
    #[arg(long)]
    pub security_only: bool,
    /// A folder with packages that cannot be downloaded from here; what is in it counts by digest alone
    #[arg(long, value_name = "DIR")]
    pub packages: Option<PathBuf>,
    #[command(flatten)]
    pub consent: Consent,
    #[command(flatten)]
    pub outage: Outage,
    #[command(flatten)]
    pub begin: Begin,
    #[command(flatten)]
    pub options: PlanOptions,
    /// Do not ask before a plan is signed
    #[arg(long)]
    pub yes: bool,
    /// Return as soon as the coordinator has the plan that installs
    #[arg(long)]
    pub no_watch: bool,
}
