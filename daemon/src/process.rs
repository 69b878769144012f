//! A daemon as a process: the one thread of its tasks, the signals that end it, and what systemd is told.

use std::{io, time::Duration};

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long a blocked export or a half-finished read may hold up the end.
const BLOCKED_LIMIT: Duration = Duration::from_secs(1);
/// Beats in the time after which systemd takes a process for dead: two may come late.
const BEATS: u32 = 3;

/// Runs `work` to its end on this thread, with at most `blocking_threads` more for calls that block.
pub fn run<T>(blocking_threads: usize, work: impl Future<Output = T>) -> io::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(blocking_threads).build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(BLOCKED_LIMIT);
    Ok(result)
}

/// SIGTERM and SIGINT, listened to for as long as this lives: one that comes while nobody waits is not lost.
#[derive(Debug)]
pub struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// Begins to listen; to be called where tasks run.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Ready when systemd or a person wants this process to end.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tells systemd that the process does its work from now on.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// Tells systemd that the process is about to end.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

/// Tells systemd what `systemctl status` shows beside the unit.
pub fn status(text: &str) {
    notify(NotifyState::Status(text));
}

/// Tells systemd that the process lives, for as long as this is polled and `alive` answers with yes. Waits for ever
/// where no watchdog is set.
pub async fn keep_watchdog<A: Future<Output = bool>>(alive: impl Fn() -> A) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut beat = tokio::time::interval(limit / BEATS);
    loop {
        beat.tick().await;
        if alive().await {
            notify(NotifyState::Watchdog);
        }
    }
}

/// Says nothing where systemd does not listen.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd was not told");
    }
}
