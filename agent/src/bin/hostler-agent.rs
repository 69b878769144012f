//! `hostler-agent`: parses, logs, builds and waits.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use hostler_agent::{AgentError, Exit, facts, log, memory, settings::Settings};
use hostler_executor::host::{Host, Linux};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long a reboot that was asked for may take to end this process. Then systemd starts it again, and the task asks for
/// the reboot once more.
const REBOOT_LIMIT: Duration = Duration::from_secs(180);

#[derive(Debug, Parser)]
#[command(
    name = "hostler-agent",
    version,
    about = "Enrols this node in its fleet, reports its facts and performs plans that an admin signed",
    after_help = "Examples:\n  \
        hostler-agent                                  run with /etc/hostler/agent.toml\n  \
        hostler-agent --config ./agent.toml            run with another file\n  \
        hostler-agent facts --output json              one reading of this machine, without a coordinator\n  \
        hostler-agent facts --root tests/fixtures/pi5  one reading of a recorded machine\n  \
        hostler-agent id                               this node's name and key, to compare before approving it\n\n\
        Settings: the file, then /etc/hostler/agent.toml.d/*.toml, then HOSTLER_AGENT_* (such as\n\
        HOSTLER_AGENT_STATE_DIR); the last one wins. Messages go to the journal with the fields PLAN, TASK,\n\
        STEP and NODE, so that `journalctl TASK=w1.drain` shows one task."
)]
struct Arguments {
    /// The settings file [default: /etc/hostler/agent.toml, where it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
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

fn main() -> ExitCode {
    memory::share_one_heap();
    let arguments = Arguments::parse();
    match perform(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.downcast_ref::<AgentError>().and_then(AgentError::refused).map(|r| r.refusal.exit_code());
            // The one place that prints an error's chain.
            eprintln!("hostler-agent: {error:#}");
            ExitCode::from(code.unwrap_or(1))
        }
    }
}

fn perform(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Some(Command::Facts { root, output }) => facts::command(root.as_deref(), output),
        Some(Command::Id) => {
            let settings = Settings::load(arguments.config.as_deref(), std::env::vars_os())?;
            let host = Linux::new(settings.kubeconfigs.clone(), settings.clock);
            let (node, key) = hostler_agent::identity(&settings, &host)?;
            println!("{node}\n{}\n{key}", key.fingerprint());
            Ok(())
        }
        Some(Command::Run) | None => {
            let settings = Settings::load(arguments.config.as_deref(), std::env::vars_os())?;
            log::start();
            // One thread for the network side; the executor has its own, and so has the reading of facts.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(4)
                .build()
                .context("starting the runtime failed")?;
            let result = runtime.block_on(run(settings));
            runtime.shutdown_timeout(Duration::from_secs(1));
            result
        }
    }
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let host: Arc<dyn Host> = Arc::new(Linux::new(settings.kubeconfigs.clone(), settings.clock));
    let watchdog = tokio::spawn(watchdog());
    let mut signals = Signals::listen().context("listening for signals failed")?;
    let exit = hostler_agent::run(settings, host, signals.end()).await;
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    if let Ok(Exit::Rebooting) = exit {
        tracing::info!("waiting for the reboot");
        let began = Instant::now();
        let _ = tokio::time::timeout(REBOOT_LIMIT, signals.end()).await;
        if began.elapsed() >= REBOOT_LIMIT {
            tracing::warn!("the reboot did not come in {} s", REBOOT_LIMIT.as_secs());
        }
    }
    watchdog.abort();
    exit?;
    Ok(())
}

/// Listened to from the start to the end: a signal that comes while nobody waits is not lost.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Ready when systemd or a person wants this process to end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tells systemd twice per interval that this process still turns round.
async fn watchdog() {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    loop {
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        tokio::time::sleep(interval / 2).await;
    }
}
