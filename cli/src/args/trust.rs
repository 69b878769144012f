//! `hostler trust …`.

use std::{path::PathBuf, time::Duration};

use clap::{Subcommand, ValueEnum};
use hostler_plan::{document::Recipient, id::Digest};

use super::value::{KindThreshold, RecoveryKeyArgument, SignerArgument, duration};

/// `hostler trust …`
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Make the fleet's first root and install it in a new coordinator
    #[command(after_help = "Examples:
  hostler trust init --coordinator rack.lan:7445 --setup-code hostlersetup1.eyJ… --fleet fleet.toml
  hostler trust init --setup-code hostlersetup1.eyJ… --signer anna=anna.pub:admin --threshold-plan 2
  hostler trust init --setup-code ./setup-code --key ~/.ssh/id_ed25519_sk.pub

A new coordinator writes its set-up code to setup-code in its data directory (/var/lib/hostler/coordinator). The code
carries the pin of its CA, so nothing is trusted on first use; it opens the coordinator once.")]
    Init(InitArgs),
    /// Make the next root: signers, thresholds, limits, expiry, epoch
    #[command(after_help = "Examples:
  hostler trust amend --add-signer bert=bert.pub:admin --threshold-root 2 --threshold-plan 2
  hostler trust amend --threshold-kind drain=1,upgrade=2
  hostler trust amend --add-signer otto=otto.pub:operator/drain,uncordon
  hostler trust amend --revoke bert --raise-epoch
  hostler trust amend --lifetime 365d --yes
  hostler trust amend --cordon-when-critical on --out root-3.json
  hostler trust amend --add-recovery-key safe=age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p

Shows first what changes and what that means. Where your key alone suffices, it asks, signs and submits in one go.
Where several must sign, by the thresholds of the root that holds and of the new one, it writes the file for
`hostler sign FILE` and `hostler submit FILE`. Nodes follow a new root by themselves.")]
    Amend(AmendArgs),
    /// Show who may sign what, and until when
    #[command(after_help = "Examples:
  hostler trust show
  hostler trust show --allowed-signers > allowed_signers")]
    Show {
        /// Print an allowed_signers file for `ssh-keygen -Y verify` instead
        #[arg(long)]
        allowed_signers: bool,
    },
    /// Take over a fleet's first root on another admin's machine
    #[command(after_help = "Examples:
  hostler trust import root-1.json --digest sha256:3f1c… --coordinator rack.lan:7445

The digest comes from `hostler trust show` of an admin you trust, by another way than the file. The signatures lie
beside the file (root-1.json.sig). Newer roots follow by chain at the next connection.")]
    Import {
        /// The first root; its signatures lie beside it as FILE.sig
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// What its digest must be
        #[arg(long, value_name = "DIGEST")]
        digest: Digest,
    },
}

/// What the first root says.
#[derive(Debug, Clone, clap::Args)]
pub struct InitArgs {
    /// What the new coordinator wrote, or a file with it (`-` for standard input)
    #[arg(long, value_name = "CODE|FILE")]
    pub setup_code: String,
    /// Your name beside your key [default: the user name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A further signer: NAME=PUBKEYFILE:ROLE, role viewer, operator or admin; may be repeated
    #[arg(long = "signer", value_name = "NAME=PUBKEYFILE:ROLE[/KIND,…]")]
    pub signers: Vec<SignerArgument>,
    /// How many different keys must sign a plan
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threshold_plan: u32,
    /// How many for single kinds of plans instead; a drain and an uncordon need one unless named here, a stop always
    #[arg(long, value_name = "KIND=N,…", value_delimiter = ',')]
    pub threshold_kind: Vec<KindThreshold>,
    /// How long the root lives
    #[arg(long, value_name = "TIME", default_value = "365d", value_parser = duration)]
    pub lifetime: Duration,
}

/// What the next root says otherwise. What is not named stays.
#[derive(Debug, Clone, clap::Args)]
pub struct AmendArgs {
    /// A further signer: role viewer, operator or admin, perhaps with the only plan kinds; may be repeated
    #[arg(long = "add-signer", value_name = "NAME=PUBKEYFILE:ROLE[/KIND,…]")]
    pub add_signers: Vec<SignerArgument>,
    /// A signer who goes, and may come back; may be repeated
    #[arg(long = "remove-signer", value_name = "NAME|FINGERPRINT")]
    pub remove_signers: Vec<String>,
    /// A key that never counts again, for example a stolen one; may be repeated
    #[arg(long, value_name = "NAME|FINGERPRINT")]
    pub revoke: Vec<String>,
    /// How many different keys must sign a root
    #[arg(long, value_name = "N")]
    pub threshold_root: Option<u32>,
    /// How many different keys must sign a token's admission
    #[arg(long, value_name = "N")]
    pub threshold_admission: Option<u32>,
    /// How many different keys must sign a roster
    #[arg(long, value_name = "N")]
    pub threshold_roster: Option<u32>,
    /// How many different keys must sign a plan
    #[arg(long, value_name = "N")]
    pub threshold_plan: Option<u32>,
    /// How many for single kinds of plans instead; a drain and an uncordon need one unless named here, a stop always
    #[arg(long, value_name = "KIND=N,…", value_delimiter = ',')]
    pub threshold_kind: Vec<KindThreshold>,
    /// How long a plan may live at most
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub max_plan_lifetime: Option<Duration>,
    /// How long a token may live at most
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub max_token_lifetime: Option<Duration>,
    /// Whether a node whose required rule is critical cordons itself until that is over
    #[arg(long, value_enum, value_name = "on|off")]
    pub cordon_when_critical: Option<Switch>,
    /// A coordinator's CA that is believed too; may be repeated
    #[arg(long, value_name = "DIGEST")]
    pub add_ca: Vec<Digest>,
    /// A coordinator's CA that is believed no more; may be repeated
    #[arg(long, value_name = "DIGEST")]
    pub remove_ca: Vec<Digest>,
    /// A key that snapshots are sealed to, as `hostler recovery key new` prints it; may be repeated
    #[arg(long = "add-recovery-key", value_name = "NAME=age1…")]
    pub add_recovery_keys: Vec<RecoveryKeyArgument>,
    /// A recovery key that no later snapshot is sealed to; may be repeated
    #[arg(long = "remove-recovery-key", value_name = "age1…")]
    pub remove_recovery_keys: Vec<Recipient>,
    /// How long the new root lives from now on [default: until the old one would have expired]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub lifetime: Option<Duration>,
    /// Void every plan, roster and token that was signed before
    #[arg(long)]
    pub raise_epoch: bool,
    /// How long to wait until every node signed that it holds it
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Only write it, unsigned, to this file
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

impl Switch {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Switch::On
    }
}
