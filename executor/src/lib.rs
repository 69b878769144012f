//! The root side of a node: judges every document itself from its exact bytes, keeps what it decided, and is the only
//! one who acts, through the [`host::Host`] it was given.

mod artifacts;
mod context;
mod control;
pub mod disk;
pub mod distribution;
mod error;
mod executor;
pub mod host;
mod journal;
pub mod keys;
mod memory;
pub mod protocol;
mod receipts;
pub mod reports;
mod seal;
mod self_cordon;
pub mod state_file;
mod steps;
#[cfg(test)]
mod testing;

use std::path::PathBuf;

use hostler_plan::timestamp::Timestamp;

use self::host::{ClockSource, Linux};

pub use self::{
    error::ExecutorError,
    executor::{Ended, Executor},
};

/// This Linux machine, with the files of every distribution that we know.
pub fn this_machine(kubeconfigs: Vec<PathBuf>, clock: ClockSource) -> Linux {
    Linux::new(kubeconfigs, distribution::kubelet_kubeconfigs(), clock)
}

/// When this program was built. A clock that shows less is wrong.
pub fn build_time() -> Timestamp {
    Timestamp::from_unix_seconds(env!("HOSTLER_BUILD_SECONDS").parse().unwrap_or(0))
}
