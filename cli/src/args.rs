//! The command line: one definition for parsing, `--help`, man pages and completions.

mod artifact;
mod certificates;
mod cluster;
mod fleet;
mod import;
mod install;
mod leave;
mod ledger;
mod members;
mod node;
mod plan;
mod recovery;
mod rollout;
mod snapshot;
mod token;
mod trust;
mod update;
mod value;
mod which;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub use artifact::{ArtifactCommand, LockArgs};
pub use certificates::CertificatesCommand;
pub use cluster::{ClusterCommand, RestoreArgs};
pub use fleet::{DiffArgs, FleetCommand, RebuildArgs};
pub use import::{ImportArgs, ReadArgs};
pub use install::{ImageArgs, InstallArgs, Reach, RemoveAgentArgs};
pub use leave::{RemoveArgs, ReplaceArgs};
pub use ledger::LedgerCommand;
pub use members::{Listing, NamedKey, NodeArgument};
pub use node::NodeCommand;
pub use plan::{Compile, InspectArgs, Interactive, PlanCommand, PlanOptions, PlanRequest, SignArgs, SubmitArgs};
pub use recovery::{RecoveryCommand, RecoveryKeyCommand};
pub use rollout::{Control, Halt, QuarantineCommand, RolloutCommand, StopArgs, StopOptions};
pub use snapshot::{SnapshotCommand, SnapshotFetchArgs, SnapshotTakeArgs, SnapshotVerifyArgs};
pub use token::{Role, TokenCommand};
pub use trust::{AmendArgs, InitArgs, TrustCommand};
pub use update::{UpdateCommand, UpdateOsArgs};
pub use value::{End, KindThreshold, RecoveryKeyArgument, SignerArgument, duration, duration_text};
pub use which::ManyNodes;

/// Tend the hosts of a small Kubernetes fleet: plan, sign, submit and watch.
///
/// A node does only what an admin signed, in the order the admin signed. This command makes what is signed, and checks
/// what others signed, without believing the coordinator.
#[derive(Debug, Parser)]
#[command(name = "hostler", version, max_term_width = 120, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  hostler trust init --coordinator rack.lan:7445 --setup-code hostlersetup1.eyJ…
  hostler token create --uses 8 --ttl 1h
  hostler nodes --watch
  hostler upgrade --to v1.34.3+k3s1

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the watched rollout stopped, 4 not confirmed,
10 to 24 a refusal; docs/commands.md lists them.
Files: ~/.config/hostler/config.toml, and trust/ beside it.")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Directory of config.toml and the held trust [env: HOSTLER_HOME] [default: ~/.config/hostler]
    #[arg(long, global = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// The coordinator's listener for admins: host:port, or unix:///path for its socket on this machine
    /// [env: HOSTLER_COORDINATOR]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub coordinator: Option<String>,
    /// Private key file, or the .pub file of a key in ssh-agent [env: HOSTLER_KEY]
    #[arg(long, global = true, value_name = "PATH")]
    pub key: Option<PathBuf>,
    /// The fleet file [env: HOSTLER_FLEET]
    #[arg(long, global = true, value_name = "FILE")]
    pub fleet: Option<PathBuf>,
    /// Text for people, or JSON with stable keys for programs
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORM")]
    pub output: Output,
}

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs: the keys are listed in docs/commands.md.
    Json,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make, amend, take over or show the fleet's trust root
    #[command(
        subcommand,
        after_help = "Examples:
  hostler trust init --coordinator rack.lan:7445 --setup-code hostlersetup1.eyJ…
  hostler trust show
  hostler trust amend --revoke bert"
    )]
    Trust(TrustCommand),
    /// Take snapshots of etcd, list and fetch them, and prove that they are whole
    #[command(
        subcommand,
        after_help = "Examples:
  hostler snapshot take
  hostler snapshot list
  hostler snapshot verify s1-20261128T201500Z.age --recovery-key /media/stick/recovery.key"
    )]
    Snapshot(SnapshotCommand),
    /// Make the keys that bring a cluster back from its snapshots
    #[command(
        subcommand,
        after_help = "Examples:
  hostler recovery key new --out recovery.key"
    )]
    Recovery(RecoveryCommand),
    /// Make, list and revoke join tokens
    #[command(
        subcommand,
        after_help = "Examples:
  hostler token create --uses 8 --ttl 1h
  hostler token list"
    )]
    Token(TokenCommand),
    /// Check, show and compare the fleet file
    #[command(
        subcommand,
        after_help = "Examples:
  hostler fleet check fleet.toml
  hostler fleet diff"
    )]
    Fleet(FleetCommand),
    /// Write what nodes run into the lock beside the fleet file, by digest, and look whether it is here
    #[command(
        subcommand,
        after_help = "Examples:
  hostler artifact lock https://dl.k8s.io/release/v1.36.3/bin/linux/{arm64,amd64}/{kubeadm,kubelet,kubectl}
  hostler artifact verify"
    )]
    Artifact(ArtifactCommand),
    /// List the nodes: state, health and the facts that matter
    #[command(after_help = "Examples:
  hostler nodes
  hostler nodes --watch
  hostler nodes --output json | jq '.nodes[] | select(.health != \"ok\")'")]
    Nodes {
        /// Show the list again whenever it changes, until Ctrl-C
        #[arg(long)]
        watch: bool,
    },
    /// Show, list and approve nodes, and take them out
    #[command(
        subcommand,
        after_help = "Examples:
  hostler node show pi-3
  hostler node approve pi-9"
    )]
    Node(NodeCommand),
    /// Renew certificates of the cluster before they end
    #[command(
        subcommand,
        after_help = "Examples:
  hostler certificates renew --all"
    )]
    Certificates(CertificatesCommand),
    /// Compile a plan: a preview and a file to sign
    #[command(
        subcommand,
        after_help = "Examples:
  hostler plan upgrade --to v1.34.3+k3s1 --out upgrade.plan.json
  hostler sign upgrade.plan.json
  hostler submit upgrade.plan.json --watch"
    )]
    Plan(PlanCommand),
    /// Show what a plan, root, roster or token does and sign it
    #[command(after_help = "Examples:
  hostler sign 12-upgrade.plan.json
  hostler sign 12-upgrade.plan.json --key ~/.ssh/id_ed25519_sk.pub
  hostler sign root-3.json
  hostler sign roster-7.json
  ssh-keygen -Y check-novalidate -n hostler-plan -s 12-upgrade.plan.json.sig < 12-upgrade.plan.json")]
    Sign(SignArgs),
    /// Hand a signed plan, root, roster or token to the coordinator
    #[command(after_help = "Examples:
  hostler submit 12-upgrade.plan.json --watch
  hostler submit 12-upgrade.plan.json --artifacts ./k3s
  hostler submit root-3.json
  hostler submit token-3f1c9a0b7d2e4455.json")]
    Submit(SubmitArgs),
    /// Upgrade the fleet: plan, preview, confirm, sign, submit and watch in one go
    #[command(after_help = "Examples:
  hostler upgrade --to v1.34.3+k3s1
  hostler upgrade --to v1.34.3+k3s1 --nodes pi-2,pi-3 --yes")]
    Upgrade(Interactive<plan::UpgradeArgs>),
    /// Bring the packages of machines' systems up to date
    #[command(
        subcommand,
        after_help = "Examples:
  hostler update os --all
  hostler update os --security-only --nodes pi-3,pi-4"
    )]
    Update(UpdateCommand),
    /// Cordon a node and evict its pods, in one go
    #[command(after_help = "Examples:
  hostler drain pi-3
  hostler drain pi-3 --timeout 20m --yes
  hostler drain pi-3 --dead --power-off-proof 'plug pulled, PDU port 4 shows 0 W'
  hostler drain pi-3 --continue --delete-emptydir-data=memory --timeout 30m")]
    Drain(Interactive<plan::DrainArgs>),
    /// Let pods run on a node again, in one go
    #[command(after_help = "Examples:
  hostler uncordon pi-3")]
    Uncordon(Interactive<which::NodesArgs>),
    /// Drain, reboot and uncordon nodes one after another, in one go
    #[command(after_help = "Examples:
  hostler reboot pi-3
  hostler reboot pi-1 pi-2 pi-3 --yes
  hostler reboot --all")]
    Reboot(Interactive<plan::RebootArgs>),
    /// Stop a rollout or everything, with a signed stop that every node keeps
    #[command(after_help = "Examples:
  hostler stop 12
  hostler stop 12 --reason 'wrong version' --yes
  hostler stop --all

The coordinator stops at once, before anything is signed. Then you sign: one operator or admin suffices, a fleet file is
not needed, and an expired root is no hindrance. Each node that sees the stop begins nothing more of what it ends, also
where the coordinator is in the wrong hands. It says which nodes have signed that they hold it.")]
    Stop(StopArgs),
    /// List the rollouts, newest first
    #[command(after_help = "Examples:
  hostler rollouts
  hostler rollouts --output json")]
    Rollouts,
    /// Say why something waits and what holds it, the worst first
    #[command(after_help = "Examples:
  hostler why
  hostler why pi-3
  hostler why 12
  hostler why shop/db-0

Without a name: everything that waits. What the coordinator says is marked so; what a node signed is verified here.")]
    Why {
        /// A node, a rollout by its number or digest, or a pod as NAMESPACE/NAME
        #[arg(value_name = "NODE|ROLLOUT|POD")]
        what: Option<String>,
    },
    /// Show, watch, pause, resume or halt a rollout
    #[command(
        subcommand,
        after_help = "Examples:
  hostler rollout show 12
  hostler rollout halt 12 --reason 'wrong version'"
    )]
    Rollout(RolloutCommand),
    /// Release a node that came back on another version
    #[command(
        subcommand,
        after_help = "Examples:
  hostler quarantine release pi-3 v1.34.3+k3s1"
    )]
    Quarantine(QuarantineCommand),
    /// Bring the Kubernetes cluster back from a snapshot, and show what Hostler may do in it
    #[command(
        subcommand,
        after_help = "Examples:
  hostler cluster restore s1-20261128T201500Z --recovery-key /media/stick/recovery.key
  hostler cluster access | kubectl diff -f -"
    )]
    Cluster(ClusterCommand),
    /// Verify or export the coordinator's ledger
    #[command(
        subcommand,
        after_help = "Examples:
  hostler ledger export --to ledger.copy
  hostler ledger verify ledger.copy"
    )]
    Ledger(LedgerCommand),
    /// End the login that this profile keeps: the next command signs one anew
    #[command(after_help = "Examples:
  hostler logout

A login lasts 8 hours: your key signs a pass for a session key, which logs in for it and signs nothing else. Here the
session key is removed. A copy that somebody took is ended by a root that revokes your key, or by its time.")]
    Logout,
    /// Print a completion script
    #[command(after_help = "Examples:
  hostler completions bash > ~/.local/share/bash-completion/completions/hostler
  hostler completions zsh > ~/.zfunc/_hostler
  hostler completions fish > ~/.config/fish/completions/hostler.fish")]
    Completions {
        /// For which shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write the man pages into a directory
    #[command(after_help = "Examples:
  hostler man ./man && man ./man/hostler-plan-upgrade.1")]
    Man {
        /// Where to; it is made
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// The shells with a completion script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}
