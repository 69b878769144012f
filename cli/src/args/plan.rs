use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use hostler_plan::{
    id::{NodeName, Seq},
    version::Version,
};

use super::value::duration;

/// `hostler plan …`
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Prove the way: a no-op task on every node
    #[command(after_help = "Examples:
  hostler plan check
  hostler plan check --nodes pi-1,pi-2 --out check.plan.json")]
    Check(Compile<SomeNodes>),
    /// Make the first server and join the rest, as the fleet file says
    #[command(after_help = "Examples:
  hostler plan bootstrap --fleet fleet.toml")]
    Bootstrap(Compile<Nothing>),
    /// Join nodes to the running cluster
    #[command(after_help = "Examples:
  hostler plan join pi-9
  hostler plan join pi-9 pi-10 --out join.plan.json")]
    Join(Compile<NodesArgs>),
    /// Upgrade servers one by one, then workers, a canary first
    #[command(after_help = "Examples:
  hostler plan upgrade --to v1.34.3+k3s1
  hostler plan upgrade --to v1.34.3+k3s1 --nodes pi-2,pi-3")]
    Upgrade(Compile<UpgradeArgs>),
    /// Cordon a node and evict its pods
    #[command(after_help = "Examples:
  hostler plan drain pi-3 --timeout 20m")]
    Drain(Compile<DrainArgs>),
    /// Let pods run on a node again
    #[command(after_help = "Examples:
  hostler plan uncordon pi-3")]
    Uncordon(Compile<NodeArgs>),
    /// Drain, reboot and uncordon nodes one after another
    #[command(after_help = "Examples:
  hostler plan reboot pi-3
  hostler plan reboot --all --out reboot.plan.json")]
    Reboot(Compile<RebootArgs>),
}

/// What a plan is made of, and where it goes.
#[derive(Debug, Clone, Args)]
pub struct Compile<T: Args> {
    #[command(flatten)]
    pub wanted: T,
    #[command(flatten)]
    pub terms: Terms,
    /// Where the plan is written [default: SEQ-KIND.plan.json]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The same in one go: plan, preview, confirm, sign, submit, watch.
#[derive(Debug, Clone, Args)]
pub struct OneGo<T: Args> {
    #[command(flatten)]
    pub wanted: T,
    #[command(flatten)]
    pub terms: Terms,
    /// Where plan and signatures are kept [default: HOME/plans/SEQ-KIND.plan.json]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Return as soon as the coordinator has it
    #[arg(long)]
    pub no_watch: bool,
    /// Directory with the artifacts that the fleet file names
    #[arg(long, value_name = "DIR")]
    pub artifacts: Option<PathBuf>,
}

/// How long a plan may be begun, and beside which others.
#[derive(Debug, Clone, Args)]
pub struct Terms {
    /// How long the plan may be begun; at most what the root's policy allows
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub lifetime: Duration,
    /// An open plan that stays valid beside this one; every other one is void. May be repeated
    #[arg(long, value_name = "SEQ", value_parser = seq)]
    pub beside: Vec<Seq>,
}

fn seq(text: &str) -> Result<Seq, String> {
    text.parse()
        .map(Seq)
        .map_err(|_| format!("expected a plan's number as `hostler rollouts` shows it, found {text:?}"))
}

/// What is wanted of the planner.
#[derive(Debug, Clone)]
pub enum Wanted {
    Check(SomeNodes),
    Bootstrap,
    Join(NodesArgs),
    Upgrade(UpgradeArgs),
    Drain(DrainArgs),
    Uncordon(NodeArgs),
    Reboot(RebootArgs),
}

/// No choices.
#[derive(Debug, Clone, Args)]
pub struct Nothing {}

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

/// One node.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: NodeName,
}

/// To which version, and where.
#[derive(Debug, Clone, Args)]
pub struct UpgradeArgs {
    /// The version, such as v1.34.3+k3s1
    #[arg(long, value_name = "VERSION")]
    pub to: Version,
    /// Only these nodes
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    pub nodes: Vec<NodeName>,
}

/// Which node, and how patiently.
#[derive(Debug, Clone, Args)]
pub struct DrainArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: NodeName,
    /// How long pods may take to leave [default: the fleet file's]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
}

/// Which nodes.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct RebootArgs {
    /// The nodes
    #[arg(value_name = "NODE")]
    pub nodes: Vec<NodeName>,
    /// Every node of the fleet file
    #[arg(long)]
    pub all: bool,
}

/// `hostler sign`
#[derive(Debug, Clone, Args)]
pub struct SignArgs {
    /// The plan; its signatures lie beside it as PLAN.sig, PLAN.sig.2…
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// `hostler submit`
#[derive(Debug, Clone, Args)]
pub struct SubmitArgs {
    /// The plan; its signatures lie beside it as PLAN.sig, PLAN.sig.2…
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Show the progress until the rollout ends
    #[arg(long)]
    pub watch: bool,
    /// Directory with the artifacts that the plan names
    #[arg(long, value_name = "DIR")]
    pub artifacts: Option<PathBuf>,
}
