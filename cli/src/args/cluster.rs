//! `hostler cluster …`.

use clap::Subcommand;

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
}
