//! `hostler plan …`, the commands that plan, sign and submit in one go, `sign` and `submit`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use hostler_plan::{
    drain::Allowed,
    form::{self, ApiName, Reason},
    id::NodeName,
    planner::{Accepted, Continues, Intent, Quarantined, Selection},
    version::Version,
};

use super::{
    leave::{RemoveArgs, ReplaceArgs},
    members::Listing,
    value::duration,
    which::{Begin, Consent, ManyNodes, NodesArgs, Outage, SomeNodes},
};

/// `hostler plan …`
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Prove the way: a no-op task on every node
    #[command(after_help = "Examples:
  hostler plan check
  hostler plan check --nodes pi-1,pi-2 --out check.plan.json")]
    Check(Compile<SomeNodes>),
    /// Make the first server of the cluster
    #[command(after_help = "Examples:
  hostler plan bootstrap --fleet fleet.toml

Shows the machines that wait with their names, keys and origins, and asks before a roster with them is signed.")]
    Bootstrap(Compile<BootstrapArgs>),
    /// Join nodes to the running cluster
    #[command(after_help = "Examples:
  hostler plan join --all
  hostler plan join pi-9 pi-10 --out join.plan.json
  hostler plan join --all --yes --accept-server pi-2=SHA256:vU7mEjHlJQzk8Cl0M3N4aLBxHzXWJ4xQ0Yk1uJ6yGQ4

Shows the machines that wait with their names, keys and origins, and asks before a roster with them is signed.")]
    Join(Compile<JoinArgs>),
    /// Upgrade servers one by one, then workers, a canary first
    #[command(after_help = "Examples:
  hostler plan upgrade --to v1.34.3+k3s1
  hostler plan upgrade --to v1.34.3+k3s1 --nodes pi-2,pi-3")]
    Upgrade(Compile<UpgradeArgs>),
    /// Make machines ready as the fleet file says: kernel, swap, names, files, container runtime
    #[command(after_help = "Examples:
  hostler plan baseline --all
  hostler plan baseline pi-3 --out baseline.plan.json

Nothing is drained. What is as it should be already is left alone.")]
    Baseline(Compile<BaselineArgs>),
    /// Say in what machines differ from what a baseline would make of them, and change nothing
    #[command(after_help = "Examples:
  hostler plan inspect --all
  hostler plan inspect pi-3 --out inspect.plan.json")]
    Inspect(Compile<InspectArgs>),
    /// Cordon a node and evict its pods
    #[command(after_help = "Examples:
  hostler plan drain pi-3 --timeout 20m")]
    Drain(Compile<DrainArgs>),
    /// Let pods run on a node again
    #[command(after_help = "Examples:
  hostler plan uncordon pi-3")]
    Uncordon(Compile<NodesArgs>),
    /// Drain, reboot and uncordon nodes one after another
    #[command(after_help = "Examples:
  hostler plan reboot pi-3
  hostler plan reboot --all --out reboot.plan.json")]
    Reboot(Compile<RebootArgs>),
    /// Take nodes out of a kubeadm cluster for good: drain, remove the etcd member, empty the machine, forget the Node
    #[command(after_help = "Examples:
  hostler plan remove pi-9
  hostler plan remove pi-3 --power-off-proof 'plug pulled' --out remove.plan.json

`hostler node remove` does it in one go, and takes the node out of the roster.")]
    Remove(Compile<RemoveArgs>),
    /// Remove a dead node from a kubeadm cluster and let the machine in that the roster lists under its name
    #[command(after_help = "Examples:
  hostler plan replace pi-3 --power-off-proof 'board burnt, plug pulled'

First `hostler node replace` lists the new machine, and does the whole in one go.")]
    Replace(Compile<ReplaceArgs>),
    /// Renew the certificates of servers that kubeadm made, one server after the other
    #[command(after_help = "Examples:
  hostler plan renew-certificates --all
  hostler plan renew-certificates pi-1 --within 30d --out renew.plan.json")]
    RenewCertificates(Compile<RenewArgs>),
    /// Bring changed settings of the fleet file to a running kubeadm cluster, in the order of an upgrade
    #[command(after_help = "Examples:
  hostler plan configure --all
  hostler plan configure pi-1 pi-9 --drain --out configure.plan.json

Arguments of the control plane, settings of kubelets and of kube-proxy, names of the certificate, labels, taints, and
the endpoint (api). What is so already is left alone; `hostler fleet diff --machines` shows before what is not.")]
    Configure(Compile<ConfigureArgs>),
    /// Let go of the number of a plan that some signed here and that waits for others
    #[command(after_help = "Examples:
  hostler plan give-up 43

Later plans made on this machine list it in `beside` no more, and so it is void once one of them is submitted.")]
    GiveUp {
        /// The plan's number
        #[arg(value_name = "SEQ")]
        seq: u64,
    },
}

/// What a plan is made of, and where it goes.
#[derive(Debug, Clone, Args)]
pub struct Compile<T: Args> {
    #[command(flatten)]
    pub request: T,
    #[command(flatten)]
    pub options: PlanOptions,
    /// Where the plan is written [default: SEQ-KIND.plan.json]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The same interactively: plan, preview, confirm, sign, submit, watch.
#[derive(Debug, Clone, Args)]
pub struct Interactive<T: Args> {
    #[command(flatten)]
    pub request: T,
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
    /// Directory with the artifacts that the fleet file names
    #[arg(long, value_name = "DIR")]
    pub artifacts: Option<PathBuf>,
}

/// How long a plan may be begun.
#[derive(Debug, Clone, Args)]
pub struct PlanOptions {
    /// How long the plan may be begun; at most what the root's policy allows [default: the fleet file's]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub lifetime: Option<Duration>,
}

/// The first server is the fleet file's first.
#[derive(Debug, Clone, Args)]
pub struct BootstrapArgs {
    #[command(flatten)]
    pub listing: Listing,
}

/// Which nodes, and who may be listed for it.
#[derive(Debug, Clone, Args)]
pub struct JoinArgs {
    #[command(flatten)]
    pub nodes: ManyNodes,
    #[command(flatten)]
    pub listing: Listing,
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
    /// Leave out nodes that failed on this version before, instead of making no plan
    #[arg(long)]
    pub skip_quarantined: bool,
    /// What the version has no more and somebody still asks for, accepted by name: the upgrade of a kubeadm server to
    /// another minor stops otherwise
    #[arg(long, value_name = "GROUP/VERSION/RESOURCE")]
    pub accept_removed_api: Vec<ApiName>,
    #[command(flatten)]
    pub consent: Consent,
    #[command(flatten)]
    pub outage: Outage,
    #[command(flatten)]
    pub begin: Begin,
}

/// Which nodes, and how patiently.
#[derive(Debug, Clone, Args)]
pub struct DrainArgs {
    #[command(flatten)]
    pub nodes: NodesArgs,
    /// How long pods may take to leave [default: the fleet file's]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// How many nodes may be unavailable at a time, counting those that are so already [default: the fleet file's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_unavailable: Option<u32>,
    /// Go on with a drain of these nodes that is not done: that plan ends, its cordon passes on without being undone.
    /// Without it a drain goes on with one that is open; with a number or digest only with that plan
    #[arg(long = "continue", value_name = "PLAN", num_args = 0..=1, default_missing_value = "")]
    pub go_on: Option<String>,
    /// The nodes are dead: their pods are removed at once and start elsewhere, their volumes are detached. Only an
    /// admin signs this, and only for machines whose power is proved to be off
    #[arg(long, requires = "power_off_proof", conflicts_with_all = ["go_on", "timeout", "max_unavailable"])]
    pub dead: bool,
    /// How it was proved that the power is off, for everybody who reads the plan
    #[arg(long, value_name = "TEXT", requires = "dead")]
    pub power_off_proof: Option<Reason>,
    #[command(flatten)]
    pub consent: Consent,
    /// Of no use any more, and no error: a drain leaves the API server of its node running
    #[arg(long, value_name = "NODE", hide = true)]
    pub accept_outage: Vec<NodeName>,
}

/// Whose certificates, and which of them.
#[derive(Debug, Clone, Args)]
pub struct RenewArgs {
    #[command(flatten)]
    pub nodes: ManyNodes,
    /// Only where one ends within this time, such as 30d
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "90d")]
    pub within: Duration,
    #[command(flatten)]
    pub outage: Outage,
    #[command(flatten)]
    pub begin: Begin,
}

/// Which nodes are configured, and how.
#[derive(Debug, Clone, Args)]
pub struct ConfigureArgs {
    #[command(flatten)]
    pub nodes: ManyNodes,
    /// Drain each node before its kubelet changes; asked for by nodes where a setting would turn pods away
    #[arg(long)]
    pub drain: bool,
    #[command(flatten)]
    pub outage: Outage,
    #[command(flatten)]
    pub begin: Begin,
}

/// Whose cordons become Hostler's, and why.
#[derive(Debug, Clone, Args)]
pub struct AdoptCordonArgs {
    #[command(flatten)]
    pub nodes: NodesArgs,
    /// Why, for everybody who looks at the node
    #[arg(long, value_name = "TEXT")]
    pub reason: Reason,
}

/// Which of Hostler's cordons are given away, and why.
#[derive(Debug, Clone, Args)]
pub struct ReleaseCordonArgs {
    #[command(flatten)]
    pub nodes: NodesArgs,
    /// Why, for everybody who looks at the node
    #[arg(long, value_name = "TEXT")]
    pub reason: Reason,
}

/// Which machines.
#[derive(Debug, Clone, Args)]
pub struct BaselineArgs {
    #[command(flatten)]
    pub nodes: ManyNodes,
}

/// Which machines.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    pub nodes: ManyNodes,
}

/// Which nodes.
#[derive(Debug, Clone, Args)]
pub struct RebootArgs {
    #[command(flatten)]
    pub nodes: ManyNodes,
    #[command(flatten)]
    pub consent: Consent,
    #[command(flatten)]
    pub outage: Outage,
    #[command(flatten)]
    pub begin: Begin,
}

impl From<Consent> for Allowed {
    fn from(consent: Consent) -> Self {
        let Consent { delete_emptydir_data, force_unmanaged, evict_anyway, explain: _ } = consent;
        Self { delete_empty_dir_data: delete_emptydir_data, force_unmanaged, evict_anyway }
    }
}

/// What is wanted of the planner.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    pub intent: Intent,
    /// Whether it is made from a fleet file, or from what the roster lists.
    pub needs_file: bool,
    /// Replaces the fleet file's time for pods to leave.
    pub drain_timeout: Option<Duration>,
    /// What of the pods' data may be lost, beyond what the fleet file allows.
    pub consent: Consent,
    /// For a plan that brings nodes in, which of those that wait may be listed for it. No other plan lists anybody.
    pub listing: Option<Listing>,
    /// Begins at once, whatever the fleet file's maintenance windows are.
    pub at_once: bool,
}

impl From<Intent> for PlanRequest {
    fn from(intent: Intent) -> Self {
        Self {
            intent,
            needs_file: true,
            drain_timeout: None,
            consent: Consent::default(),
            listing: None,
            at_once: false,
        }
    }
}

fn selection(nodes: Vec<NodeName>) -> Selection {
    if nodes.is_empty() { Selection::All } else { Selection::Named(nodes) }
}

impl From<SomeNodes> for PlanRequest {
    fn from(args: SomeNodes) -> Self {
        Intent::Check { nodes: selection(args.nodes) }.into()
    }
}

impl From<UpgradeArgs> for PlanRequest {
    fn from(args: UpgradeArgs) -> Self {
        let quarantined = if args.skip_quarantined { Quarantined::Skip } else { Quarantined::Refuse };
        let accepted =
            Accepted { outage: args.outage.accept_outage, removed_apis: args.accept_removed_api.into_iter().collect() };
        let intent = Intent::Upgrade { to: args.to, nodes: selection(args.nodes), quarantined, accepted };
        Self { consent: args.consent, at_once: args.begin.now, ..intent.into() }
    }
}

impl From<DrainArgs> for PlanRequest {
    fn from(args: DrainArgs) -> Self {
        if let Some(power_off_proof) = args.power_off_proof {
            return Intent::Dead { nodes: args.nodes.nodes, power_off_proof }.into();
        }
        let intent = Intent::Drain {
            nodes: args.nodes.nodes,
            max_unavailable: args.max_unavailable,
            continues: match args.go_on {
                None => Continues::IfOpen,
                Some(which) if which.is_empty() => Continues::Open,
                Some(which) => Continues::Named(which),
            },
        };
        Self { drain_timeout: args.timeout, consent: args.consent, ..intent.into() }
    }
}

impl From<RemoveArgs> for PlanRequest {
    fn from(args: RemoveArgs) -> Self {
        let RemoveArgs { nodes, power_off_proof, timeout, consent } = args;
        let intent = Intent::Remove { nodes: nodes.nodes, power_off_proof };
        Self { drain_timeout: timeout, consent, ..intent.into() }
    }
}

impl From<RenewArgs> for PlanRequest {
    fn from(args: RenewArgs) -> Self {
        let (least, most) = form::WITHIN_DAYS;
        let within_days = args.within.as_secs().div_ceil(86_400).clamp(least, most);
        let (nodes, accept_outage) = (selection(args.nodes.nodes), args.outage.accept_outage);
        let intent = Intent::RenewCertificates { nodes, within_days, accept_outage };
        Self { at_once: args.begin.now, ..intent.into() }
    }
}

impl From<ConfigureArgs> for PlanRequest {
    fn from(args: ConfigureArgs) -> Self {
        let (nodes, accept_outage) = (selection(args.nodes.nodes), args.outage.accept_outage);
        let intent = Intent::Configure { nodes, drains: args.drain, accept_outage };
        Self { at_once: args.begin.now, ..intent.into() }
    }
}

impl From<ReplaceArgs> for PlanRequest {
    fn from(args: ReplaceArgs) -> Self {
        Intent::Replace { node: args.node, power_off_proof: args.power_off_proof }.into()
    }
}

impl From<NodesArgs> for PlanRequest {
    fn from(args: NodesArgs) -> Self {
        Intent::Uncordon { nodes: args.nodes }.into()
    }
}

impl From<AdoptCordonArgs> for PlanRequest {
    fn from(args: AdoptCordonArgs) -> Self {
        Intent::AdoptCordon { nodes: args.nodes.nodes, reason: args.reason }.into()
    }
}

impl From<ReleaseCordonArgs> for PlanRequest {
    fn from(args: ReleaseCordonArgs) -> Self {
        Intent::ReleaseCordon { nodes: args.nodes.nodes, reason: args.reason }.into()
    }
}

impl From<JoinArgs> for PlanRequest {
    fn from(args: JoinArgs) -> Self {
        let intent = Intent::Join { nodes: selection(args.nodes.nodes) };
        Self { listing: Some(args.listing), ..intent.into() }
    }
}

impl From<BaselineArgs> for PlanRequest {
    fn from(args: BaselineArgs) -> Self {
        Intent::Baseline { nodes: selection(args.nodes.nodes) }.into()
    }
}

impl From<InspectArgs> for PlanRequest {
    fn from(args: InspectArgs) -> Self {
        Intent::Inspect { nodes: selection(args.nodes.nodes) }.into()
    }
}

impl From<RebootArgs> for PlanRequest {
    fn from(args: RebootArgs) -> Self {
        let nodes = selection(args.nodes.nodes);
        let intent = Intent::Reboot { nodes, accept_outage: args.outage.accept_outage };
        Self { consent: args.consent, at_once: args.begin.now, ..intent.into() }
    }
}

impl From<BootstrapArgs> for PlanRequest {
    fn from(args: BootstrapArgs) -> Self {
        Self { listing: Some(args.listing), ..Intent::Bootstrap {}.into() }
    }
}

/// `hostler sign`
#[derive(Debug, Clone, Args)]
pub struct SignArgs {
    /// The plan, root, roster or token; its signatures lie beside it as FILE.sig, FILE.sig.2…
    #[arg(value_name = "FILE")]
    pub document: PathBuf,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// `hostler submit`
#[derive(Debug, Clone, Args)]
pub struct SubmitArgs {
    /// The plan, root, roster or token; its signatures lie beside it as FILE.sig, FILE.sig.2…
    #[arg(value_name = "FILE")]
    pub document: PathBuf,
    /// Show the progress until the rollout ends
    #[arg(long)]
    pub watch: bool,
    /// Directory with the artifacts that the plan names
    #[arg(long, value_name = "DIR")]
    pub artifacts: Option<PathBuf>,
    /// Do not ask before a roster that does not count under a new root is signed again
    #[arg(long)]
    pub yes: bool,
    /// How long to wait until every node signed that it holds it
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
}
