//! What `node remove`, `node replace` and their plans are told.

use std::time::Duration;

use clap::Args;
use hostler_plan::{form::Reason, id::NodeName};

use super::{
    value::duration,
    which::{Consent, NodesArgs},
};

/// Which nodes leave.
#[derive(Debug, Clone, Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    pub nodes: NodesArgs,
    /// How it was proved that the power is off, of nodes that are silent: nothing on their machines is emptied
    #[arg(long, value_name = "TEXT")]
    pub power_off_proof: Option<Reason>,
    /// How long pods may take to leave [default: the fleet file's]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub consent: Consent,
}

/// Which node is replaced.
#[derive(Debug, Clone, Args)]
pub struct ReplaceArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: NodeName,
    /// How it was proved that the power of the old machine is off
    #[arg(long, value_name = "TEXT")]
    pub power_off_proof: Option<Reason>,
}
