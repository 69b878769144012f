//! `hostler fleet …`.

use std::path::PathBuf;

use clap::Subcommand;

/// `hostler fleet …`
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Check a fleet file without asking anybody
    #[command(after_help = "Examples:
  hostler fleet check fleet.toml
  hostler fleet check examples/pi-rack.toml --output json")]
    Check {
        /// The fleet file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show the fleet file that the coordinator has, as last submitted
    #[command(after_help = "Examples:
  hostler fleet show > fleet.toml")]
    Show,
    /// Compare your fleet file with what runs and with the coordinator's copy
    #[command(after_help = "Examples:
  hostler fleet diff
  hostler fleet diff --fleet fleet.toml")]
    Diff,
    /// Give the coordinator your fleet file, for other admins to compare with
    #[command(after_help = "Examples:
  hostler fleet put --fleet fleet.toml")]
    Put,
}
