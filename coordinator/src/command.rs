//! `hostler-coordinator` as a process: arguments, messages, signals and systemd.

use std::{io::Write as _, path::PathBuf};

use clap::{Parser, Subcommand};
use hostler_daemon::{
    log,
    process::{self, EndSignals},
};
use hostler_plan::text;

use crate::{Copied, Listeners, Recovered, RunError, Settings, SettingsError, backup, recover, restore, run};

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
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Keep the good records of a damaged ledger and put everything behind them aside; the coordinator must be stopped
    Recover,
    /// Copy the ledger to a file; the coordinator may be running
    Backup {
        /// Where to
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Put a copy of the ledger back; the coordinator must be stopped. Nothing is granted afterwards until it has
    /// caught up with what nodes hold, or an admin adopts it
    Restore {
        /// The copy
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

const EXAMPLES: &str = "Examples:
  hostler-coordinator                                    serve with /etc/hostler/coordinator.toml
  hostler-coordinator --config ./coordinator.toml        serve with another file
  HOSTLER_COORDINATOR_DATA_DIR=/srv/hostler hostler-coordinator
  RUST_LOG=debug hostler-coordinator                     say more
  hostler-coordinator recover                            after the ledger was found damaged
  hostler-coordinator backup /backup/ledger              a copy, at any time
  hostler-coordinator restore /backup/ledger             after the ledger was lost

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
    let text = match &arguments.command {
        None => return serve(settings),
        Some(Command::Recover) => recovered(&recover(&settings)?),
        Some(Command::Backup { file }) => {
            let Copied { head, .. } = backup(&settings, file)?;
            format!("copied {head} to {}\n", file.display())
        }
        Some(Command::Restore { file }) => {
            let Copied { head, aside } = restore(&settings, file)?;
            let aside = aside.map(|aside| format!("; what was there before is in {}", aside.display()));
            format!("put back {head}{}\n{UNTIL}\n", aside.unwrap_or_default())
        }
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(CommandError::Output)
}

/// What a ledger that lost a part waits for.
const UNTIL: &str = "nothing is granted until the coordinator has caught up with what nodes hold, or an admin \
adopts the \
                     ledger: hostler ledger adopt";

fn recovered(Recovered { kept_records, lost, damage, aside }: &Recovered) -> String {
    let kept = match (damage, aside) {
        (Some(damage), Some(aside)) => {
            format!("{damage}\nkept {kept_records} records; everything behind them is in {}\n", aside.display())
        }
        _ => format!("the ledger is in good order: {kept_records} records\n"),
    };
    match lost {
        Some(had) => format!("{kept}there had been {had}\n{UNTIL}\n"),
        None => kept,
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
