//! Messages: with fields to the journal where standard error is the journal, as lines to standard error everywhere
//! else.
//!
//! Our own records are `tracing` events and go through `tracing-journald`, which keeps the fields of their spans;
//! records of libraries that write through `log` (sled, rustls) have no spans and go through `systemd-journal-logger`.
//! Whatever a record says, it is cleaned before it leaves: much of it was written by others.

mod clean;

use std::io::IsTerminal as _;

pub use clean::Cleaner;

use clean::{Clean, CleanJournal};
use systemd_journal_logger::{JournalLog, connected_to_journal};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, filter::LevelFilter, fmt, layer::SubscriberExt as _, registry::LookupSpan, util::SubscriberInitExt as _,
};

/// The filter when `RUST_LOG` says nothing. What the wire's crates say at `info` is for who debugs them.
const DEFAULT_FILTER: &str = "info,h2=warn,hyper=warn,tower=warn";

/// Starts the messages of this process under the name of its program. `RUST_LOG`, such as `debug` or `h2=trace`,
/// changes the default level by level; what is no filter changes nothing. Where somebody in this process listens
/// already, they stay the ones who do. `cleaner` makes text of others safe to show.
pub fn start(program: &str, cleaner: Cleaner) {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref());
    let level = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let registry = tracing_subscriber::registry().with(filter);
    if connected_to_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        let inner = journal.with_field_prefix(None).with_syslog_identifier(program.to_owned());
        // Not `try_init`, which would take the records of libraries as well and give them to `tracing`.
        let _ = tracing::subscriber::set_global_default(registry.with(Clean { inner, cleaner }));
        libraries_to_journal(program, level, cleaner);
    } else {
        let _ = registry.with(Clean { inner: lines(), cleaner }).try_init();
    }
}

/// One line for a message, with the records of libraries among them.
fn lines<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl tracing_subscriber::Layer<S> {
    let colours = std::io::stderr().is_terminal();
    fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(colours)
}

fn libraries_to_journal(program: &str, level: LevelFilter, cleaner: Cleaner) {
    let Ok(journal) = JournalLog::empty() else { return };
    let journal = journal.with_syslog_identifier(program.to_owned());
    if log::set_boxed_logger(Box::new(CleanJournal { journal, cleaner })).is_ok() {
        log::set_max_level(level.to_string().parse().unwrap_or(log::LevelFilter::Info));
    }
}

/// The default with what `RUST_LOG` says on top: a bare level replaces ours, a target's level is added.
fn filter(wanted: Option<&str>) -> EnvFilter {
    let ours = || EnvFilter::new(DEFAULT_FILTER);
    wanted
        .map_or_else(ours, |wanted| EnvFilter::try_new(format!("{DEFAULT_FILTER},{wanted}")).unwrap_or_else(|_| ours()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rust_log_says_is_laid_over_the_default() {
        let text = |wanted| {
            let text = filter(wanted).to_string();
            let mut parts: Vec<String> = text.split(',').map(str::to_owned).collect();
            parts.sort();
            parts.join(",")
        };
        assert_eq!(text(None), "h2=warn,hyper=warn,info,tower=warn");
        assert_eq!(text(Some("debug")), "debug,h2=warn,hyper=warn,tower=warn");
        assert_eq!(text(Some("h2=trace,sled=debug")), "h2=trace,hyper=warn,info,sled=debug,tower=warn");
        assert_eq!(text(Some("sled=loud")), text(None));
    }
}
