//! What every daemon of Hostler needs and none should write again: settings from files and the environment, messages to
//! the journal, signals and systemd, durable files, a folder for one process, and a small HTTP server for `/metrics`.
//!
//! Nothing here knows what a fleet is.

/// The date of the source that this program was built from, Unix time: no true clock shows less.
pub fn built_at_seconds() -> u64 {
    env!("HOSTLER_BUILD_SECONDS").parse().unwrap_or(0)
}

pub mod durable;
pub mod http;
pub mod lock;
pub mod log;
pub mod memory;
pub mod process;
pub mod say_once;
pub mod settings;
