//! What a drain does with the pods of a node, and what holds it: the one model that the run and its sentences ask.
//!
//! Nothing is asked of a cluster here; a [`Look`] at it comes in.

mod blockers;
pub mod budget;
mod look;
mod placement;
mod pods;
mod turn;
mod view;

pub use self::{
    blockers::blockers,
    look::Look,
    placement::{NoPlace, fits_nowhere},
    pods::{Consent, Fate, Options, Turn, budget_counts, evaluate, is_leaving},
    turn::{Strength, in_order},
    view::view_of,
};
