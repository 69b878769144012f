//! `hostler-coordinator` as a process: arguments, messages, signals and systemd.

use std::{io::Write as _, path::PathBuf};

use clap::{Parser, Subcommand};
use hostler_daemon::{
    log,
    process::{self, EndSignals},
};
use hostler_plan::text;

use crate::{Listeners, RunError, Settings, SettingsError, recover, run};

/// Threads for calls that block, there only while they are used. Exports of the ledger wait for slow readers, and the
/// nodes' artifacts are read by the same threads: more than one address can hold with all its connections' exports.
const BLOCKING_THREADS: usize = 512;

/// Keeps the signed documents of a fleet, sequences work over its nodes, and always says why it waits.
#[derive(Debug, Parser)]
#[command(name = "hostler-coordinator", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// The settings file; its folder FILE.d/*.toml and HOSTLER_COORDINATOR_* of the environment win over it
    /// [default: /etc/hostler/coordinator.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Keep the good records of a damaged ledger and put everything behind them aside; the coordinator must be stopped
    Recover,
}

const EXAMPLES: &str = "Examples:
  hostler-coordinator                                    serve with /etc/hostler/coordinator.toml
  hostler-coordinator --config ./coordinator.toml        serve with another file
  HOSTLER_COORDINATOR_DATA_DIR=/srv/hostler hostler-coordinator
  RUST_LOG=debug hostler-coordinator                     say more
  hostler-coordinator recover                            after the ledger was found damaged

A new coordinator writes a set-up code to DATA_DIR/setup-code; give it to `hostler trust init`.";

/// Why the process ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Run(#[from] RunError),
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
}

/// Does what the arguments say, with the environment of this process.
pub fn main(arguments: &Arguments) -> Result<(), CommandError> {
    let settings = Settings::load(arguments.config.as_deref(), std::env::vars_os())?;
    match arguments.command {
        None => serve(settings),
        Some(Command::Recover) => {
            let recovered = recover(&settings)?;
            let text = match (recovered.damage, recovered.aside) {
                (Some(damage), Some(aside)) => format!(
                    "{damage}\nkept {} records; everything behind them is in {}\n",
                    recovered.kept_records,
                    aside.display()
                ),
                _ => format!("the ledger is in good order: {} records\n", recovered.kept_records),
            };
            std::io::stdout().write_all(text.as_bytes()).map_err(CommandError::Output)
        }
    }
}

/// Serves until SIGTERM or SIGINT: what the process does once it has its settings.
pub fn serve(settings: Settings) -> Result<(), CommandError> {
    log::start("hostler-coordinator", text::clean);
    let served = process::run(BLOCKING_THREADS, async {
        let mut signals = EndSignals::listen().map_err(RunError::Start)?;
        let listeners = Listeners::bind(&settings).await?;
        let addresses = listeners.addresses().clone();
        let line = format!(
            "listening: enrolment {}, agents {}, admins {}\n",
            addresses.enrolment, addresses.agents, addresses.admin
        );
        let _ = std::io::stdout().write_all(line.as_bytes());
        let result = run(settings, listeners, signals.wait()).await;
        process::stopping();
        result
    });
    Ok(served.map_err(RunError::Start)??)
}
