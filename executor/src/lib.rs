//! The root side of a node: judges every document itself from its exact bytes, keeps what it decided, and is the only
//! one who acts, through the [`host::Host`] it was given.

mod accept;
mod answers;
mod artifacts;
pub mod command;
mod conditions;
mod context;
mod control;
pub mod disk;
pub mod distribution;
mod documents;
mod drain_history;
mod enrolment;
mod error;
mod executor;
pub mod host;
mod inbox;
mod join_file;
mod journal;
mod keys;
mod node;
mod outbox;
pub mod protocol;
mod receipts;
mod seal;
mod self_cordon;
pub mod settings;
mod socket;
pub mod state_file;
mod status;
mod steps;
#[cfg(test)]
mod testing;
mod view;

use std::path::PathBuf;

use self::host::{ClockSource, Linux};

use self::executor::Executor;
pub use self::{
    disk::DiskError,
    error::ExecutorError,
    executor::Ended,
    node::{Stop, run},
    protocol::build_time,
    settings::{Settings, SettingsError},
    socket::SocketError,
};

/// This Linux machine, with the files of every distribution that we know.
pub fn this_machine(kubeconfigs: Vec<PathBuf>, clock: ClockSource) -> Linux {
    Linux::new(kubeconfigs, distribution::kubelet_kubeconfigs(), clock)
}
