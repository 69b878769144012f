//! `hostler cluster …`.

use clap::Subcommand;

/// `hostler cluster …`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Print Hostler's account in the cluster and all that it may do there, as YAML
    #[command(after_help = "Examples:
  hostler cluster access
  hostler cluster access | kubectl diff -f -
  hostler cluster access | kubectl apply -f -
  kubectl auth can-i --list --as system:serviceaccount:hostler-system:hostler

A server makes it itself where its administrator's file may. `kubectl diff` shows what is missing there. What is taken
from its roles is not given back: a drain then names what it misses before it touches anything.")]
    Access,
}
