//! `hostler token …`.

use std::{path::PathBuf, time::Duration};

use clap::{Subcommand, ValueEnum};
use hostler_plan::{id::TokenId, step::ClusterRole};

use super::value::duration;

/// `hostler token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print its join string, a secret
    #[command(after_help = "Examples:
  hostler token create
  hostler token create --uses 8 --ttl 24h --role worker > join && scp join pi-3:/etc/hostler/join
  hostler token create --manual

The join string is printed once and kept nowhere: it holds the only copy of the token's private key. Where several keys
must sign, the admission is written to a file for `hostler sign`; the private key waits in the profile until then.")]
    Create {
        /// How many different nodes it admits
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
        uses: u32,
        /// How long it admits nodes
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
        ttl: Duration,
        /// What the nodes become in the cluster
        #[arg(long, value_enum, default_value = "worker")]
        role: Role,
        /// Each node waits for `hostler node approve`
        #[arg(long)]
        manual: bool,
        /// Where the admission is written, if others are to sign it too [default: token-TOKEN.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the join string of a token that others signed too, once, where it was made
    #[command(after_help = "Examples:
  hostler token join-string 3f1c9a0b7d2e4455")]
    JoinString {
        /// As `hostler token list` shows it
        token: TokenId,
    },
    /// List the tokens, who used them and whether they still admit
    #[command(after_help = "Examples:
  hostler token list
  hostler token list --output json | jq '.tokens[].token'")]
    List,
    /// End a token: it admits nobody any more
    #[command(after_help = "Examples:
  hostler token revoke 3f1c9a0b7d2e4455

The coordinator ends it at once. A roster that says so is signed behind it: until then it is the coordinator's word.")]
    Revoke {
        /// As `hostler token list` shows it
        token: TokenId,
        /// Where the roster is written, if others are to sign it too [default: roster-N.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// What a node is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Runs the API server
    Server,
    /// Runs pods only
    Worker,
    /// Outside the cluster, such as a balancer
    Host,
}

impl From<Role> for ClusterRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Server => ClusterRole::Server,
            Role::Worker => ClusterRole::Worker,
            Role::Host => ClusterRole::Host,
        }
    }
}
