//! `hostler-agent` as a process: arguments, messages, signals and systemd.

use std::{io, path::PathBuf};

use clap::{Parser, Subcommand};
use hostler_daemon::{
    log,
    process::{self, EndSignals},
};
use hostler_plan::text;

use crate::{
    AgentError, Settings, SettingsError,
    facts::{self, FactsError},
    health::{self, HealthError},
    run,
};

/// Threads for what blocks: files, and names that are looked up. Each costs a node memory.
pub const BLOCKING_THREADS: usize = 2;

/// Enrols this node in its fleet, reports its facts and carries signed plans to hostler-executor
#[derive(Debug, Parser)]
#[command(name = "hostler-agent", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// The settings file [default: /etc/hostler/agent.toml, where it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do; to run unless said otherwise.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent; the same as no command
    Run,
    /// Print one reading of the machine's facts
    Facts {
        /// Read a recorded machine instead of this one
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// text (Prometheus) or json
        #[arg(long, value_enum, default_value_t)]
        output: facts::Output,
    },
    /// Print how the machine is judged, as `hostler node show` does; as root more of it is known
    Health {
        /// Judge a recorded machine instead of this one
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// Also what is well
        #[arg(long)]
        all: bool,
    },
    /// Where it is looked for, and is not
    #[command(hide = true)]
    Id,
}

const EXAMPLES: &str = "Examples:
  hostler-agent                                  run with /etc/hostler/agent.toml
  hostler-agent --config ./agent.toml            run with another file
  hostler-agent facts --output json              one reading of this machine, without a coordinator
  hostler-agent facts --root FOLDER              one reading of a recorded machine
  sudo hostler-agent health                      how this machine is judged, without a coordinator

Settings: the file, then /etc/hostler/agent.toml.d/*.toml, then HOSTLER_AGENT_* (such as
HOSTLER_AGENT_STATE_DIR); the last one wins. What this node is and does, hostler-executor says.";

/// Why the process ends with an error. Each says its cause by itself.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Facts(#[from] FactsError),
    #[error(transparent)]
    Health(#[from] HealthError),
    /// The node's keys are none of the agent's.
    #[error("who this node is, its executor knows, which holds its keys: run `sudo hostler-executor id`")]
    Id,
    /// The operating system gives no event queue or no signals.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// Does what the arguments say, with the environment of this process.
pub fn main(arguments: &Arguments) -> Result<(), CommandError> {
    let settings = || Settings::load(arguments.config.as_deref(), std::env::vars_os());
    match &arguments.command {
        Some(Command::Run) | None => serve(settings()?),
        Some(Command::Facts { root, output }) => Ok(facts::command(root.as_deref(), *output)?),
        Some(Command::Health { root, all }) => Ok(health::command(root.as_deref(), *all)?),
        Some(Command::Id) => Err(CommandError::Id),
    }
}

/// Serves until SIGTERM or SIGINT: what the process does once it has its settings.
fn serve(settings: Settings) -> Result<(), CommandError> {
    log::start("hostler-agent", text::clean);
    process::run(BLOCKING_THREADS, async {
        let mut signals = EndSignals::listen().map_err(CommandError::Start)?;
        tokio::select! {
            result = run(settings, signals.wait()) => {
                process::stopping();
                Ok(result?)
            }
            () = process::keep_watchdog(|| std::future::ready(true)) => Ok(()),
        }
    })
    .map_err(CommandError::Start)?
}
