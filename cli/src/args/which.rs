//! Which nodes a plan is about, and what may be lost by it.

use clap::Args;
use hostler_plan::{form::PodName, id::NodeName, step::EmptyDirs};

/// Some nodes or all.
#[derive(Debug, Clone, Args)]
pub struct SomeNodes {
    /// Only these nodes
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    pub nodes: Vec<NodeName>,
}

/// At least one node.
#[derive(Debug, Clone, Args)]
pub struct NodesArgs {
    /// The nodes
    #[arg(value_name = "NODE", required = true)]
    pub nodes: Vec<NodeName>,
}

/// Some nodes by name, or all.
#[derive(Debug, Clone, Args)]
pub struct ManyNodes {
    /// The nodes
    #[arg(value_name = "NODE", required_unless_present = "all", conflicts_with = "all")]
    pub nodes: Vec<NodeName>,
    /// Every node for which it makes sense
    #[arg(long)]
    pub all: bool,
}

/// What may be lost with the pods that leave, and how much of them is shown.
#[derive(Debug, Clone, Default, Args)]
pub struct Consent {
    /// Let pods go whose emptyDir volumes go with them: those on disk, in memory, or all [default: the fleet file's]
    #[arg(long, value_name = "disk|memory", num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    pub delete_emptydir_data: Option<EmptyDirs>,
    /// Let pods go that no controller brings back
    #[arg(long)]
    pub force_unmanaged: bool,
    /// Let this pod go whatever is lost with it; no budget is passed over. May be repeated
    #[arg(long, value_name = "NAMESPACE/POD")]
    pub evict_anyway: Vec<PodName>,
    /// Show every pod of the nodes, where it can go, and why it cannot
    #[arg(long)]
    pub explain: bool,
}

/// Whether maintenance windows are waited for.
#[derive(Debug, Clone, Copy, Args)]
pub struct Begin {
    /// Begin at once, whatever the maintenance windows of the fleet file are; it stands in the signed plan
    #[arg(long)]
    pub now: bool,
}

/// Consent to an outage.
#[derive(Debug, Clone, Args)]
pub struct Outage {
    /// Accept that the cluster's API is down while this server is. May be repeated
    #[arg(long, value_name = "NODE")]
    pub accept_outage: Vec<NodeName>,
}
