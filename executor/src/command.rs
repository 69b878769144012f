//! `hostler-executor` as a process: arguments, messages, signals and systemd.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use clap::{Parser, Subcommand};
use hostler_daemon::{log, process};
use hostler_plan::text;
use nix::sys::signal::{SigSet, Signal};

use crate::{
    Ended, ExecutorError, Settings, SettingsError, Stop, accept,
    disk::{Disk, DiskError},
    enrolment::membership,
    host::Host,
    keys::Keys,
    node::node_name,
    run, this_machine,
};

/// How long a reboot that was asked for may take to end this process. Then systemd starts it again, and the task asks
/// for the reboot once more.
const REBOOT_LIMIT: Duration = Duration::from_secs(180);

/// Performs plans that an admin signed on this node, and reads its facts; it listens to hostler-agent alone
#[derive(Debug, Parser)]
#[command(name = "hostler-executor", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// The settings file [default: /etc/hostler/executor.toml, where it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do; to run unless said otherwise.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the executor; the same as no command
    Run,
    /// Print this node's name and key
    Id,
    /// Take a newer root, roster, plan, stop or decision from files, with the checks of what a coordinator sends
    Accept {
        /// The documents, older ones first; the signatures of each lie beside it as FILE.sig, FILE.sig.2…
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the time that is certainly past for this node
    Floor {
        /// Set it back to when this program was built, after a wrong clock has raised it; the executor must be stopped
        #[arg(long)]
        reset: bool,
    },
}

const EXAMPLES: &str = "Examples:
  hostler-executor                               run with /etc/hostler/executor.toml
  hostler-executor --config ./executor.toml      run with another file
  hostler-executor id                            this node's name and key, to compare before approving it
  hostler-executor accept ./stop.json            a signed stop, by hand, when the coordinator keeps it back
  hostler-executor floor --reset                 after a wrong clock has raised what is certainly past

Settings: the file, then /etc/hostler/executor.toml.d/*.toml, then HOSTLER_EXECUTOR_* (such as
HOSTLER_EXECUTOR_STATE_DIR); the last one wins. Messages go to the journal with the fields PLAN, TASK,
STEP and NODE, so that `journalctl TASK=w1.drain` shows one task.";

/// Why the process ends with an error. Each says its cause by itself.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The operating system gives no signals or no thread.
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
            CommandError::Executor(error) => error.refused().map_or(1, |refused| refused.refusal.exit_code()),
            CommandError::Settings(_) | CommandError::Start(_) | CommandError::Output(_) => 1,
        }
    }
}

/// Does what the arguments say, with the environment of this process.
pub fn main(arguments: &Arguments) -> Result<(), CommandError> {
    let settings = Settings::load(arguments.config.as_deref(), std::env::vars_os())?;
    let host: Arc<dyn Host> = Arc::new(this_machine(settings.kubeconfigs.clone(), settings.clock));
    let print = |text: String| io::stdout().write_all(text.as_bytes()).map_err(CommandError::Output);
    match &arguments.command {
        Some(Command::Run) | None => serve(&settings, host),
        Some(Command::Id) => print(identity(&settings, &*host)?),
        Some(Command::Accept { files }) => print(accept::accept(&settings, &*host, files)?),
        Some(Command::Floor { reset }) => print(accept::floor(&settings, &*host, *reset)?),
    }
}

/// The name and public key that this node has or would enrol with: what a person compares before approving.
fn identity(settings: &Settings, host: &dyn Host) -> Result<String, ExecutorError> {
    let (disk, running) = match Disk::open(&settings.state_dir) {
        Err(DiskError::InUse { path, .. }) => (Disk::beside(&path), true),
        other => (other?, false),
    };
    let member = membership(&disk)?;
    let key = Keys::load_or_make(&disk, running || member.is_some())?.public();
    let node = match member {
        Some(member) => member.node,
        None => node_name(settings, host)?,
    };
    Ok(format!("{node}\n{}\n{key}\n", key.fingerprint()))
}

/// Performs until SIGTERM, SIGINT or a reboot: what the process does once it has its settings.
fn serve(settings: &Settings, host: Arc<dyn Host>) -> Result<(), CommandError> {
    log::start("hostler-executor", text::clean);
    let stop = Stop::default();
    let stopping = stop_at_signals(&stop).map_err(CommandError::Start)?;
    let ended = run(settings, host, &stop)?;
    // Who says that it is stopping is sent no SIGTERM any more, and here that is what is waited for.
    if ended == Ended::Rebooting {
        process::status("waiting for the reboot");
        tracing::info!("waiting for the reboot");
        if stopping.recv_timeout(REBOOT_LIMIT).is_err() {
            tracing::warn!("the reboot did not come in {} s", REBOOT_LIMIT.as_secs());
        }
    }
    process::stopping();
    Ok(())
}

/// SIGTERM and SIGINT are waited for by a thread of their own and reach no other one; programs that are started get
/// them as usual.
fn stop_at_signals(stop: &Stop) -> io::Result<std::sync::mpsc::Receiver<()>> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block()?;
    let (came, coming) = std::sync::mpsc::channel();
    let stop = stop.clone();
    let wait = move || {
        while signals.wait().is_ok() {
            stop.stop();
            let _ = came.send(());
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(coming)
}
