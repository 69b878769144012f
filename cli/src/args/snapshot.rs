//! `hostler snapshot …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hostler_plan::{
    id::NodeName,
    planner::{Intent, Selection},
};

use super::{Interactive, PlanRequest};

/// `hostler snapshot …`
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Take a snapshot of etcd on a server, in one go: plan, preview, confirm, sign, submit and watch
    #[command(after_help = "Examples:
  hostler snapshot take
  hostler snapshot take s2 --yes

It is verified on the server, sealed there with the cluster's certificate authorities to the recovery keys of the root,
and copied to where [snapshots] of the fleet file says. Without a recovery key it stays on the server.")]
    Take(Interactive<SnapshotTakeArgs>),
    /// List the snapshots that receipts name, the newest first, and where they are
    #[command(after_help = "Examples:
  hostler snapshot list
  hostler snapshot list --output json | jq '.snapshots[0].snapshot'")]
    List,
    /// Fetch a sealed snapshot from the coordinator; an admin may
    #[command(after_help = "Examples:
  hostler snapshot fetch s1-20261128T201500Z
  hostler snapshot fetch s1-20261128T201500Z --out /media/stick/snapshot.age

What was cut off goes on where it ended. The file is what the server's receipt names, or it is removed.")]
    Fetch(SnapshotFetchArgs),
    /// Open a sealed snapshot and prove that all of it is there and as it was taken
    #[command(after_help = "Examples:
  hostler snapshot verify s1-20261128T201500Z.age --recovery-key /media/stick/recovery.key

Every file in it is compared with its digest. Where etcdutl is in the path it looks into etcd's data as well.")]
    Verify(SnapshotVerifyArgs),
}

/// Which server.
#[derive(Debug, Clone, Args)]
pub struct SnapshotTakeArgs {
    /// A server [default: one that is in service]
    #[arg(value_name = "NODE")]
    pub node: Option<NodeName>,
}

impl From<SnapshotTakeArgs> for PlanRequest {
    fn from(args: SnapshotTakeArgs) -> Self {
        let nodes = args.node.map_or(Selection::All, |node| Selection::Named(vec![node]));
        Intent::Snapshot { nodes }.into()
    }
}

/// Which one, and where it goes.
#[derive(Debug, Clone, Args)]
pub struct SnapshotFetchArgs {
    /// As `hostler snapshot list` shows it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where it goes [default: NAME.age]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Which file, and with what it opens.
#[derive(Debug, Clone, Args)]
pub struct SnapshotVerifyArgs {
    /// The sealed snapshot
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The private half of one of the recovery keys that it was sealed to
    #[arg(long, value_name = "FILE")]
    pub recovery_key: PathBuf,
}
