//! Messages: with fields to the journal under systemd, as lines to standard error everywhere else.
//!
//! `tracing-journald` and not `systemd-journal-logger`: the latter takes `log` records, in which the fields of spans
//! (`PLAN`, `TASK`, `STEP`, `NODE`) are lost; with the former `journalctl TASK=w1.drain` shows one task.

use tracing_subscriber::{EnvFilter, Layer as _, Registry, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Sets up the messages of this process; `RUST_LOG` changes the level.
pub fn start() {
    let filter = || {
        EnvFilter::builder()
            .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
            .from_env_lossy()
            .add_directive("h2=warn".parse().expect("a valid directive"))
            .add_directive("hyper=warn".parse().expect("a valid directive"))
            .add_directive("tower=warn".parse().expect("a valid directive"))
    };
    // systemd sets it where standard error is the journal.
    if std::env::var_os("JOURNAL_STREAM").is_some()
        && let Ok(journal) = tracing_journald::layer()
    {
        let journal = journal.with_field_prefix(None).with_syslog_identifier("hostler-agent".into());
        Registry::default().with(journal.with_filter(filter())).init();
        return;
    }
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal).with_target(false);
    Registry::default().with(lines.with_filter(filter())).init();
}
