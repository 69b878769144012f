//! The coordinator: mailbox and scheduler of a fleet. It holds no key that a node obeys.
//!
//! [`run`] is everything: give it [`Settings`], [`Listeners`] and something that ends when it should stop.
//! [`command::main`] is the same as a process, with signals, logs and systemd.

mod admin_socket;
mod clock;
pub mod command;
mod control;
mod control_loop;
mod grpc;
mod limits;
mod metrics;
mod nodes;
mod outbox;
mod pace;
mod rate;
mod run;
mod settings;
mod store;
mod view;

pub use grpc::ca;
pub use limits::Limits;
pub use run::{Addresses, Listeners, RunError, backup, recover, restore, run};
pub use settings::{DEFAULT_DATA_DIR, Settings, SettingsError};
pub use store::{
    copy::{Copied, CopyError},
    data_dir,
    ledger::LedgerError,
    recover::Recovered,
};
