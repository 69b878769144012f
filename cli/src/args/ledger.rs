//! `hostler ledger …`.

use std::path::PathBuf;

use clap::Subcommand;

/// `hostler ledger …`
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Verify a copy of the ledger: the chain, every signature, and each record by the rules that let it in
    #[command(after_help = "Examples:
  hostler ledger verify ledger.copy
  hostler ledger verify /var/lib/hostler/coordinator/ledger --output json

  hostler ledger verify annas.copy bens.copy

Needs no coordinator. The first root must be the one held in this profile, where one is held, and the copy must go on
from the head that this profile saw last, unless it is --older. Two copies must be one ledger: one goes on where the
other ends.")]
    Verify {
        /// The copy
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Another copy to compare it with
        #[arg(value_name = "OTHER")]
        other: Option<PathBuf>,
        /// The copy may end before what this profile saw last
        #[arg(long)]
        older: bool,
    },
    /// Go on with the coordinator's ledger although it does not go on from what this profile saw, or after it lost a
    /// part
    #[command(after_help = "Examples:
  hostler ledger adopt

Compare the ledger with other admins' copies first (`hostler ledger verify A B`): what the other one holds and this one
does not is lost. The decision is signed and holds for every admin who did not see more.")]
    Adopt {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Fetch the ledger's exact lines, or lay every document down as a file of its own
    #[command(after_help = "Examples:
  hostler ledger export --to ledger.copy
  hostler ledger export --out audit/
  hostler ledger export --from 1200 > new-lines

With --out, a new or empty folder gets the ledger, each document with its signatures as FILE.sig beside it, and the keys
of everybody who ever could sign: stock ssh-keygen checks them (docs/verify.md).")]
    Export {
        /// Where to [default: standard output, unless that is a terminal]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// Lay the ledger and each document of it down here
        #[arg(long, value_name = "FOLDER", conflicts_with_all = ["to", "from"])]
        out: Option<PathBuf>,
        /// The first record to fetch
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        from: u64,
    },
}
