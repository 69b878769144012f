//! The vocabulary and the decisions of Hostler.
//!
//! Nothing in this crate reads a file, a clock, the environment or a random source: bytes and `now` come in,
//! values and deadlines go out. That is what lets thousands of nodes be simulated from one seed, and what lets
//! the same code judge a document in the coordinator, on a node and on an auditor's machine.

pub mod checked;
pub mod cluster;
pub mod distribution;
pub mod document;
pub mod drain;
pub mod entry;
pub mod etcd;
pub mod fact;
pub mod fleet;
pub mod form;
pub(crate) mod head;
pub mod health;
pub mod id;
pub mod import;
pub mod join;
pub mod json;
pub mod judge;
pub mod ledger;
pub mod network;
pub mod planner;
pub mod quorum;
pub mod refusal;
pub mod registry;
pub mod renewal;
pub mod sequencer;
pub mod show;
pub mod signature;
pub mod step;
pub mod text;
pub mod timestamp;
pub mod trust;
pub mod turns;
pub mod update;
pub mod version;
pub mod written;
pub mod yaml;
pub mod zone;
