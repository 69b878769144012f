//! `hostler fleet import …`.

use std::path::PathBuf;

use clap::Args;
use hostler_plan::{document::Recipient, id::NodeName, planner::Intent};

use super::PlanRequest;

/// What the fleet file is written from.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// A server of the cluster: it reads how that is made, by a plan that changes nothing and that an admin signs
    #[arg(long, value_name = "SERVER", required_unless_present = "inventory", conflicts_with = "inventory")]
    pub node: Option<NodeName>,
    /// An Ansible inventory of kubespray or k3s-ansible, a file or its folder, instead of a cluster
    #[arg(long, value_name = "PATH")]
    pub inventory: Option<PathBuf>,
    /// The file that is written; one that is there already stays [default: fleet.toml]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Do not ask before the plan is signed
    #[arg(long, conflicts_with = "inventory")]
    pub yes: bool,
}

/// Who reads, and for whom.
#[derive(Debug, Clone, Args)]
pub struct ReadArgs {
    pub server: NodeName,
    pub to: Recipient,
}

impl From<ReadArgs> for PlanRequest {
    fn from(args: ReadArgs) -> Self {
        Self { needs_file: false, ..Intent::Read { server: args.server, to: args.to }.into() }
    }
}
