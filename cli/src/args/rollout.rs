//! `hostler rollout …` and `hostler quarantine …`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use hostler_plan::{
    id::{NodeName, TaskId},
    version::Version,
};

use super::value::duration;

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
    /// Let the coordinator grant nothing new; what runs finishes. Binds only the coordinator, no node
    #[command(after_help = "Examples:
  hostler rollout pause 12 --reason 'backup is running'

A pause is no signed document: a coordinator in the wrong hands does not keep it. What every node keeps is a stop:
hostler stop 12")]
    Pause(Control),
    /// End a pause
    #[command(after_help = "Examples:
  hostler rollout resume 12")]
    Resume(Control),
    /// Stop for good: at once, and then with a signed stop that every node keeps; to go on, sign a new plan
    #[command(after_help = "Examples:
  hostler rollout halt 12 --reason 'wrong version'
  hostler rollout halt 12 --yes

The same as `hostler stop 12`. The coordinator stops before you are asked to sign.")]
    Halt(Halt),
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

/// Which rollout, why, and how its stop is signed.
#[derive(Debug, Clone, Args)]
pub struct Halt {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub stop: StopOptions,
}

/// How a stop is signed.
#[derive(Debug, Clone, Args)]
pub struct StopOptions {
    /// Why, for the ledger
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Do not ask before it is signed
    #[arg(long)]
    pub yes: bool,
    /// How long to wait for the nodes' signatures that they hold it; nobody is held up by an absent one
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub wait: Duration,
    /// How long the coordinator may take with each part of it before the stop is made without it
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub patience: Duration,
    /// Where the stop is written, to be carried to nodes by hand [default: plans/NUMBER-stop.plan.json of the profile]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `hostler stop`
#[derive(Debug, Clone, Args)]
pub struct StopArgs {
    /// The plan's number, its digest, or the beginning of the digest
    #[arg(value_name = "ROLLOUT", required_unless_present = "all", conflicts_with = "all")]
    pub rollout: Option<String>,
    /// End every plan of this epoch, also those that the coordinator does not show
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub options: StopOptions,
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
