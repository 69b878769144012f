//! What the command signs, holds as proved and believes: plans, roots, rosters and ledgers, and everything that is
//! none.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

mod fleet;

mod ledger;
mod members;
mod sign;
mod store;
