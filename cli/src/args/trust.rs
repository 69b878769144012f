use std::{path::PathBuf, time::Duration};

use clap::Subcommand;
use hostler_plan::id::Digest;

use super::value::{SignerArgument, duration};

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
    #[arg(long = "signer", value_name = "NAME=PUBKEYFILE:ROLE")]
    pub signers: Vec<SignerArgument>,
    /// How many different keys must sign a plan
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threshold_plan: u32,
    /// How long the root lives
    #[arg(long, value_name = "TIME", default_value = "365d", value_parser = duration)]
    pub lifetime: Duration,
}
