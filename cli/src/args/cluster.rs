//! `hostler cluster …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::plan::PlanOptions;

/// `hostler cluster …`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Print Hostler's account in the cluster and all that it may do there, as YAML
    #[command(after_help = "Examples:
  hostler cluster access
  hostler cluster access --check
  hostler cluster access | kubectl diff -f -
  hostler cluster access | kubectl apply -f -
  kubectl auth can-i --list --as system:serviceaccount:hostler-system:hostler

A server makes it itself where its administrator's file may. `kubectl diff` shows what is missing there. What is taken
from its roles is not given back: a drain then names what it misses before it touches anything.

With --check a server asks its API server now, and signs the answer: code 0 where the account may do what it needs and
no more, 5 where a right is missing, so that no drain begins, 1 where it may do more or nobody could be asked.")]
    Access {
        /// Say which of these rights the account lacks in the cluster, and what it may do beyond them
        #[arg(long)]
        check: bool,
    },
    /// Bring etcd back from a snapshot on the servers that have it, in one go: plan, preview, confirm, sign and watch
    #[command(after_help = "Examples:
  hostler cluster restore s1-20261128T201500Z --recovery-key /media/stick/recovery.key
  hostler cluster restore ./s1-20261128T201500Z.age --recovery-key /media/stick/recovery.key --yes

The snapshot is opened here and sealed to the servers' keys. Each server proves that it is whole, of its own cluster and
of a version that it can read, before anything stops; then etcd and the API server stop on all servers, etcd's data are
restored, and both start again. What etcd had before stays aside in /var/lib/etcd. Workers and running pods stay as
they are; whatever changed in the cluster after the snapshot was taken is lost.")]
    Restore(RestoreArgs),
}

/// Which snapshot, and with what it opens.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// A sealed snapshot: a file, or a name of `hostler snapshot list`
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: String,
    /// The private half of one of the recovery keys that it was sealed to
    #[arg(long, value_name = "FILE")]
    pub recovery_key: PathBuf,
    /// Take a snapshot that no receipt by a server's key of today names: anybody can seal one to a recovery key
    #[arg(long)]
    pub accept_unproved: bool,
    #[command(flatten)]
    pub options: PlanOptions,
    /// Where plan and signatures are kept [default: HOME/plans/SEQ-KIND.plan.json]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Return as soon as the coordinator has it
    #[arg(long)]
    pub no_watch: bool,
}
