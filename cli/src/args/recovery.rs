//! `hostler recovery …`.

use std::path::PathBuf;

use clap::Subcommand;

/// `hostler recovery …`
#[derive(Debug, Subcommand)]
pub enum RecoveryCommand {
    /// The keys that snapshots are sealed to
    #[command(
        subcommand,
        after_help = "Examples:
  hostler recovery key new --out recovery.key"
    )]
    Key(RecoveryKeyCommand),
}

/// `hostler recovery key …`
#[derive(Debug, Subcommand)]
pub enum RecoveryKeyCommand {
    /// Make a key: the private half goes into a file that you alone read, and nowhere else
    #[command(after_help = "Examples:
  hostler recovery key new --out /media/stick/recovery.key
  hostler trust amend --add-recovery-key safe=age1…

Whoever has this file and a snapshot has every Secret of the cluster; whoever loses it has no way back. Keep it off the
machines of the fleet. It has the form of age: `age-keygen` makes such files too, `age --decrypt` opens snapshots.")]
    New {
        /// Where the private half goes; a file that is there already stays
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}
