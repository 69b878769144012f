//! What every command says about two documents in one place: an alarm, and an exit code of its own.

use hostler_plan::refusal::{Refusal, Refused};
use serde_json::{Value, json};

use crate::{Admin, error::Error, fork::Fork, output::note};

/// Says every fork that a node's signature proves.
pub(super) fn say(admin: &Admin) {
    admin.forks().iter().for_each(|fork| note(&fork.sentence()));
}

/// Ends a command that did its work with the exit code of a fork, where there is one.
pub(super) fn fail(admin: &Admin) -> Result<(), Error> {
    match admin.forks().first() {
        None => Ok(()),
        Some(fork) => Err(Refused::new(Refusal::Forked, fork.sentence()).into()),
    }
}

/// For programs.
pub(super) fn as_json(admin: &Admin) -> Value {
    let fork = |fork: Fork| json!({ "what": fork.what(), "here": fork.here, "other": fork.other, "node": fork.node });
    admin.forks().into_iter().map(fork).collect()
}
