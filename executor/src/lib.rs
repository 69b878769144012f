//! The root side of a node: judges every document itself from its exact bytes, keeps what it decided, and is the only
//! one who acts, through the [`host::Host`] it was given.

pub mod answers;
mod artifacts;
mod context;
mod control;
pub mod disk;
pub mod distribution;
mod documents;
mod error;
mod executor;
pub mod host;
mod journal;
pub mod keys;
mod memory;
pub mod protocol;
mod receipts;
mod seal;
mod self_cordon;
pub mod state_file;
mod steps;
#[cfg(test)]
mod testing;

use std::path::PathBuf;

use self::host::{ClockSource, Linux};

pub use self::{
    error::ExecutorError,
    executor::{Ended, Executor},
    protocol::build_time,
};

/// This Linux machine, with the files of every distribution that we know.
pub fn this_machine(kubeconfigs: Vec<PathBuf>, clock: ClockSource) -> Linux {
    Linux::new(kubeconfigs, distribution::kubelet_kubeconfigs(), clock)
}
