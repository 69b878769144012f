//! `hostler node …`.

use std::path::PathBuf;

use clap::Subcommand;
use hostler_plan::id::NodeName;

use super::members::NodeArgument;

/// `hostler node …`
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Show one node: facts, verdicts, history and refusals
    #[command(after_help = "Examples:
  hostler node show pi-3
  hostler node show pi-3 --output json | jq .verdicts")]
    Show {
        /// The node's name
        #[arg(value_name = "NAME")]
        name: NodeName,
    },
    /// List the nodes, or those that wait with their keys, origins and hardware
    #[command(after_help = "Examples:
  hostler node list
  hostler node list --pending
  hostler node list --pending --output json | jq '.pending[] | {name, key, address}'")]
    List {
        /// Only machines that enrolled and that no roster lists, and those that were turned away as doubles
        #[arg(long)]
        pending: bool,
    },
    /// Check enrolments and sign one roster with these nodes
    #[command(after_help = "Examples:
  hostler node approve pi-9
  hostler node approve pi-9 pi-10
  hostler node approve pi-9=SHA256:vU7mEjHlJQzk8Cl0M3N4aLBxHzXWJ4xQ0Yk1uJ6yGQ4 --yes

Shows each token, key, origin and hardware first, and asks once. With --yes only workers whose tokens are proved good
are listed, and those that are named with their keys.")]
    Approve {
        /// The nodes' names, perhaps each with the fingerprint of its key
        #[arg(value_name = "NAME[=FINGERPRINT]", required = true)]
        nodes: Vec<NodeArgument>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Where the roster is written, if others are to sign it too [default: roster-N.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Let a machine with a new key take the place of the one that has its name
    #[command(after_help = "Examples:
  hostler node replace pi-9
  hostler node replace pi-9=SHA256:vU7mEjHlJQzk8Cl0M3N4aLBxHzXWJ4xQ0Yk1uJ6yGQ4 --yes

The old key is retired and counts never again. For a machine that was made anew, or the right one of two with one name.
In the cluster the old node is still there: `kubectl delete node`, and for K3s its secret NAME.node-password.k3s.")]
    Replace {
        /// The name, perhaps with the fingerprint of the new key
        #[arg(value_name = "NAME[=FINGERPRINT]")]
        node: NodeArgument,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Where the roster is written, if others are to sign it too [default: roster-N.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List a machine that waits under another name than the one it came with
    #[command(after_help = "Examples:
  hostler node rename pi-9 pi-10
  hostler node rename pi-9=SHA256:vU7mEjHlJQzk8Cl0M3N4aLBxHzXWJ4xQ0Yk1uJ6yGQ4 pi-10 --yes

The machine takes the name from the signed roster at its next try. A node that belongs to the fleet keeps its name:
retire it and let it enrol anew.")]
    Rename {
        /// The name that it came with, perhaps with the fingerprint of its key
        #[arg(value_name = "NAME[=FINGERPRINT]")]
        node: NodeArgument,
        /// The name that it gets
        #[arg(value_name = "NEW")]
        new: NodeName,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Where the roster is written, if others are to sign it too [default: roster-N.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Sign the next roster with the same nodes, which closes a fork of rosters
    #[command(after_help = "Examples:
  hostler node renew

Names both rosters of a fork, so that nodes which hold either follow. Any other command that signs a roster does too.")]
    Renew {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Where the roster is written, if others are to sign it too [default: roster-N.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Take nodes out of the roster: their keys count no more
    #[command(after_help = "Examples:
  hostler node retire pi-9")]
    Retire {
        /// The node's name
        #[arg(value_name = "NAME")]
        name: NodeName,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Where the roster is written, if others are to sign it too [default: roster-N.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}
