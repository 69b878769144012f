//! `hostler rollout …` and `hostler quarantine …`.

use clap::{Args, Subcommand};
use hostler_plan::{
    id::{NodeName, TaskId},
    version::Version,
};

/// `hostler rollout …`
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Show a rollout: tasks, reasons for waiting, who signed
    #[command(after_help = "Examples:
  hostler rollout show 12
  hostler rollout show 3f1c9a --output json")]
    Show(Which),
    /// Show the progress until the rollout ends
    #[command(after_help = "Examples:
  hostler rollout watch 12")]
    Watch(Which),
    /// Grant nothing new; what runs finishes
    #[command(after_help = "Examples:
  hostler rollout pause 12 --reason 'backup is running'")]
    Pause(Control),
    /// End a pause
    #[command(after_help = "Examples:
  hostler rollout resume 12")]
    Resume(Control),
    /// Stop for good; to go on, sign a new plan
    #[command(after_help = "Examples:
  hostler rollout halt 12 --reason 'wrong version'")]
    Halt(Control),
    /// Let a task whose lease ran out be granted again
    #[command(after_help = "Examples:
  hostler rollout release 12 --task pi-3.upgrade

Look at the node first: an expired lease means that nobody knows how far it came.")]
    Release {
        #[command(flatten)]
        which: Which,
        /// The task, as `hostler rollout show` names it
        #[arg(long, value_name = "TASK")]
        task: TaskId,
        /// Why, for the ledger
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

/// Which rollout.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// The plan's number, its digest, or the beginning of the digest
    #[arg(value_name = "ID")]
    pub rollout: String,
}

/// Which rollout, and why.
#[derive(Debug, Clone, Args)]
pub struct Control {
    #[command(flatten)]
    pub which: Which,
    /// Why, for the ledger
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// `hostler quarantine …`
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// Let plans try that version on that node again
    #[command(after_help = "Examples:
  hostler quarantine release pi-3 v1.34.3+k3s1")]
    Release {
        /// The node
        #[arg(value_name = "NODE")]
        node: NodeName,
        /// The version that it did not come back on
        #[arg(value_name = "VERSION")]
        version: Version,
    },
}
