//! `hostler ledger …`.

use std::path::PathBuf;

use clap::Subcommand;

/// `hostler ledger …`
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Verify a copy of the ledger: the chain, every signature and the order of receipts
    #[command(after_help = "Examples:
  hostler ledger verify ledger.copy
  hostler ledger verify /var/lib/hostler/coordinator/ledger --output json

Needs no coordinator. The first root must be the one held in this profile, where one is held.")]
    Verify {
        /// The copy
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Fetch the ledger's exact lines
    #[command(after_help = "Examples:
  hostler ledger export --to ledger.copy
  hostler ledger export --from 1200 > new-lines")]
    Export {
        /// Where to [default: standard output]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// The first record to fetch
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        from: u64,
    },
}
