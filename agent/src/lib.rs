//! hostler-agent: enrols a node, reports its facts and performs signed plans.
//!
//! The network side (the link) carries bytes; the executor verifies every document itself from its exact bytes and is
//! the only one who acts, through the [`host::Host`] it was given.

pub mod facts;
pub mod host;
