//! What a drain would do with the pods of node `s1`, by a look at a cluster that is written down here.

// clippy.toml lets tests unwrap; the helpers beside them are tests too.
#![allow(clippy::unwrap_used)]

mod big;
mod budgets;
mod consents;
mod going;
mod made;
mod places;
mod previews;
mod shop;
mod strength;
mod summaries;
mod times;
