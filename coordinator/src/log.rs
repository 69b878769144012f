//! Where log lines go: to the journal with their fields when systemd started us, else to standard error.

use std::io::IsTerminal as _;

use nix::sys::stat::fstat;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The filter when `RUST_LOG` says nothing. What the wire's crates say at `info` is for who debugs them.
const DEFAULT_FILTER: &str = "info,h2=warn,hyper=warn,tower=warn";

/// Starts logging for this process. `filter` is what `RUST_LOG` holds, such as `debug`; `journal_stream` is what
/// `JOURNAL_STREAM` holds. In the journal fields keep their names: `NODE`, `PLAN`, `TASK`, as the agent's do.
pub fn start(filter: Option<&str>, journal_stream: Option<&str>) {
    let filter = filter.and_then(|f| EnvFilter::try_new(f).ok()).unwrap_or_else(|| EnvFilter::new(DEFAULT_FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    if journal_stream.is_some_and(is_standard_error)
        && let Ok(journal) = tracing_journald::layer()
    {
        let journal = journal.with_field_prefix(None).with_syslog_identifier("hostler-coordinator".to_owned());
        // Somebody who starts us in-process may log already; theirs stays.
        let _ = registry.with(journal).try_init();
        return;
    }
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = registry.with(lines).try_init();
}

/// Whether `JOURNAL_STREAM` (device and inode) means our standard error (systemd.exec(5)). It is inherited by processes
/// whose standard error is somewhere else.
fn is_standard_error(journal_stream: &str) -> bool {
    fstat(std::io::stderr()).is_ok_and(|stat| format!("{}:{}", stat.st_dev, stat.st_ino) == journal_stream)
}
