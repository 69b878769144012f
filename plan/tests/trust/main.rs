//! Who may say what: every rule of `hostler_plan::trust` and `hostler_plan::signature`, broken once each.

// clippy.toml lets tests unwrap; the helpers beside them are tests too.
#![allow(clippy::unwrap_used)]

mod amend;
mod decisions;
mod documents;
mod ends;
mod fleet;
mod gate;
mod hardware_keys;
mod holdings;
mod members;
mod passes;
mod plans;
mod rotation;
mod signatures;
mod state;
mod stock_ssh;
mod views;
