//! `hostler node …`.

use clap::Subcommand;
use hostler_plan::id::NodeName;

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
    /// Check a node's enrolment and sign a roster with it
    #[command(after_help = "Examples:
  hostler node approve pi-9
  hostler node approve pi-9 --yes

Shows the token that invited it, its key and its hardware first. Nodes with automatic admission are listed in the
same roster.")]
    Approve {
        /// The node's name
        #[arg(value_name = "NAME")]
        name: NodeName,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Take a node out of the roster: its key counts no more
    #[command(after_help = "Examples:
  hostler node retire pi-9")]
    Retire {
        /// The node's name
        #[arg(value_name = "NAME")]
        name: NodeName,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}
