//! The coordinator: mailbox and scheduler of a fleet. It holds no key that a node obeys.
//!
//! [`run`] is everything: give it [`Settings`], [`Listeners`] and something that ends when it should stop.
//! [`command::main`] is the same as a process, with signals, logs and systemd.

mod artifact;
pub mod ca;
mod clock;
pub mod command;
pub mod data_dir;
mod desk;
mod history;
mod index;
mod judge;
mod ledger;
mod limits;
mod live;
mod log;
mod metrics;
mod rate;
mod run;
mod service;
mod session;
mod settings;
mod state;
mod summary;

pub use ledger::{LedgerError, Recovered};
pub use run::{Addresses, Listeners, RunError, recover, run};
pub use settings::{DEFAULT_DATA_DIR, Settings, SettingsError};
