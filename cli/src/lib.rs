//! hostler: the admin's command, as operations that a program can call and a thin binary around them.
//!
//! The command is a verifier: it keeps the chain of roots, checks rosters, plans, tokens and receipts with
//! `hostler_plan::trust`, and never takes the coordinator's word where a signed document exists.

pub mod acceptance;
pub mod admin;
pub mod args;
pub mod artifact;
pub mod ask;
pub mod command;
pub mod credentials;
pub mod decision;
pub mod delivery;
pub mod error;
pub mod file;
pub mod fleet;
mod floor;
pub mod fork;
mod hand_in;
pub mod head;
pub mod import;
pub mod install;
pub mod key;
pub mod ledger;
pub mod membership;
pub mod node;
pub mod output;
pub mod person;
mod place;
pub mod plan;
pub mod profile;
pub mod rescue;
pub mod rollout;
pub mod root;
pub mod roster;
mod session;
pub mod snapshot;
pub mod stop;
pub mod token;
pub mod trust;
pub mod trust_store;
pub mod update;
pub mod why;

pub use admin::Admin;
pub use error::Error;
pub use profile::Profile;
