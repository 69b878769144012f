//! `hostler-agent` as a process: arguments, messages, signals and systemd.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use hostler_daemon::{
    log,
    process::{self, EndSignals},
};
use hostler_executor::host::Host;
use hostler_plan::text;

use crate::{
    AgentError, Exit, Settings, SettingsError,
    facts::{self, FactsError},
    identity, run,
};

/// How long a reboot that was asked for may take to end this process. Then systemd starts it again, and the task asks
/// for the reboot once more.
const REBOOT_LIMIT: Duration = Duration::from_secs(180);

/// Threads for the reading of facts and for calls to the API server; the executor has its own. Each costs a node
/// memory.
pub const BLOCKING_THREADS: usize = 4;

/// Enrols this node in its fleet, reports its facts and performs plans that an admin signed
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
    /// Print this node's name and key
    Id,
}

const EXAMPLES: &str = "Examples:
  hostler-agent                                  run with /etc/hostler/agent.toml
  hostler-agent --config ./agent.toml            run with another file
  hostler-agent facts --output json              one reading of this machine, without a coordinator
  hostler-agent facts --root FOLDER              one reading of a recorded machine
  hostler-agent id                               this node's name and key, to compare before approving it

Settings: the file, then /etc/hostler/agent.toml.d/*.toml, then HOSTLER_AGENT_* (such as
HOSTLER_AGENT_STATE_DIR); the last one wins. Messages go to the journal with the fields PLAN, TASK,
STEP and NODE, so that `journalctl TASK=w1.drain` shows one task.";

/// Why the process ends with an error. Each says its cause by itself.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The operating system gives no event queue or no signals.
    #[error("cannot start: {0}")]
    Start(io::Error),
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

impl CommandError {
    /// What the process ends with: a refusal's own code, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            CommandError::Agent(error) => error.refused().map_or(1, |refused| refused.refusal.exit_code()),
            CommandError::Settings(_) | CommandError::Facts(_) | CommandError::Start(_) | CommandError::Output(_) => 1,
        }
    }
}

/// Does what the arguments say, with the environment of this process.
pub fn main(arguments: &Arguments) -> Result<(), CommandError> {
    let settings = || Settings::load(arguments.config.as_deref(), std::env::vars_os());
    match &arguments.command {
        Some(Command::Run) | None => serve(settings()?),
        Some(Command::Facts { root, output }) => Ok(facts::command(root.as_deref(), *output)?),
        Some(Command::Id) => {
            let settings = settings()?;
            let (node, key) = identity(&settings, &*linux(&settings))?;
            let text = format!("{node}\n{}\n{key}\n", key.fingerprint());
            io::stdout().write_all(text.as_bytes()).map_err(CommandError::Output)
        }
    }
}

/// Serves until SIGTERM, SIGINT or a reboot: what the process does once it has its settings.
fn serve(settings: Settings) -> Result<(), CommandError> {
    log::start("hostler-agent", text::clean);
    process::run(BLOCKING_THREADS, async {
        let mut signals = EndSignals::listen().map_err(CommandError::Start)?;
        let host = linux(&settings);
        tokio::select! {
            result = until_end(settings, host, &mut signals) => result,
            () = process::keep_watchdog(|| std::future::ready(true)) => Ok(()),
        }
    })
    .map_err(CommandError::Start)?
}

async fn until_end(settings: Settings, host: Arc<dyn Host>, signals: &mut EndSignals) -> Result<(), CommandError> {
    let exit = run(settings, host, signals.wait()).await;
    process::stopping();
    if let Ok(Exit::Rebooting) = exit {
        tracing::info!("waiting for the reboot");
        let began = Instant::now();
        let _ = tokio::time::timeout(REBOOT_LIMIT, signals.wait()).await;
        if began.elapsed() >= REBOOT_LIMIT {
            tracing::warn!("the reboot did not come in {} s", REBOOT_LIMIT.as_secs());
        }
    }
    exit?;
    Ok(())
}

fn linux(settings: &Settings) -> Arc<dyn Host> {
    Arc::new(hostler_executor::this_machine(settings.kubeconfigs.clone(), settings.clock))
}
