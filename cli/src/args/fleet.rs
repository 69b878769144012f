//! `hostler fleet …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hostler_plan::id::NodeName;

use super::import::ImportArgs;
use super::plan::PlanOptions;

/// `hostler fleet …`
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Check a fleet file without asking anybody
    #[command(after_help = "Examples:
  hostler fleet check fleet.toml
  hostler fleet check examples/pi-rack.toml --output json")]
    Check {
        /// The fleet file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show the fleet file that the coordinator has, as last submitted
    #[command(after_help = "Examples:
  hostler fleet show > fleet.toml")]
    Show,
    /// Compare your fleet file with what runs and with the coordinator's copy
    #[command(after_help = "Examples:
  hostler fleet diff
  hostler fleet diff --fleet fleet.toml
  hostler fleet diff --machines pi-3
  hostler fleet diff --machines --all")]
    Diff(DiffArgs),
    /// Write a fleet file of a cluster that runs already
    #[command(after_help = "Examples:
  hostler fleet import --node cp-1
  hostler fleet import --node cp-1 --out lab.toml --yes
  hostler fleet import --inventory inventory/lab/hosts.yaml --out lab.toml

The server reads nodes, networks, versions and settings, and no secret: what may be one is named and left out.
It signs what it read, and seals it to this command. What the file has no word for is listed.")]
    Import(ImportArgs),
    /// Give the coordinator your fleet file, for other admins to compare with
    #[command(after_help = "Examples:
  hostler fleet put --fleet fleet.toml")]
    Put,
    /// Make the cluster of the fleet file anew on bare machines, from a snapshot where there is one
    #[command(after_help = "Examples:
  hostler fleet rebuild --snapshot s1-20261128T201500Z --recovery-key /media/stick/recovery.key --accept-unproved
  hostler fleet rebuild --snapshot ./s1-20261128T201500Z.age --recovery-key /media/stick/recovery.key --accept-unproved
  hostler fleet rebuild

Where machines were enrolled anew, the key that signed for the snapshot is retired: --accept-unproved takes it all the
same, and digest and signer are said before anything is signed.

Every machine of the fleet file is enrolled and approved before, under its name, and bare: where one carries anything of
a cluster nothing begins. Two plans, each shown before it is signed: the first server begins with the cluster's
certificate authorities and etcd's data of the snapshot, and every other Node of before is removed; then all others
join. Without a snapshot it is a new cluster: what the manifests of the fleet file and GitOps bring is in it.")]
    Rebuild(RebuildArgs),
}

/// From what a cluster is made anew.
#[derive(Debug, Clone, Args)]
pub struct RebuildArgs {
    /// A sealed snapshot: a file, or a name of `hostler snapshot list`
    #[arg(long, value_name = "SNAPSHOT", requires = "recovery_key")]
    pub snapshot: Option<String>,
    /// The private half of one of the recovery keys that it was sealed to
    #[arg(long, value_name = "FILE", requires = "snapshot")]
    pub recovery_key: Option<PathBuf>,
    /// Take a snapshot that no receipt by a server's key of today names: anybody can seal one to a recovery key
    #[arg(long, requires = "snapshot")]
    pub accept_unproved: bool,
    #[command(flatten)]
    pub options: PlanOptions,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Directory with the artifacts that the fleet file names
    #[arg(long, value_name = "DIR")]
    pub artifacts: Option<PathBuf>,
}

/// What is compared.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// Ask machines themselves in what they differ from `[machine]`: a plan that changes nothing, signed by an admin
    #[arg(long)]
    pub machines: bool,
    /// The machines that are asked
    #[arg(value_name = "NODE", requires = "machines", conflicts_with = "all")]
    pub nodes: Vec<NodeName>,
    /// All of them
    #[arg(long, requires = "machines")]
    pub all: bool,
    /// Do not ask before the plan is signed
    #[arg(long, requires = "machines")]
    pub yes: bool,
}
