//! What a drain does with the pods of a node, and what holds it: one model for the preview, the run and its sentences.
//!
//! Nothing is asked of a cluster here; a [`Look`] at it comes in. [`view_of`] says what a drain would do with every
//! pod, [`blockers`] which of that a plan does not allow or nothing ever will.

mod blockers;
mod budget;
mod consent;
mod given_up;
mod going;
mod look;
mod past;
mod placement;
mod pods;
mod preview;
mod room;
mod selectors;
mod shortage;
mod summary;
mod time;
mod turn;
mod view;

pub use self::{
    blockers::blockers,
    budget::{Budgets, budget_needs},
    consent::{Allowed, Carried, ConsentError},
    going::stopping,
    look::{Asks, Look},
    past::{MAX_WORKLOADS, Past, Took, Workload},
    placement::{NoPlace, fits_nowhere, may_come_back},
    pods::{Fate, Keeper, Options, budget_counts, evaluate, is_leaving, needs_consent},
    preview::{CarriedOver, NotShown, PodsPreview, outlook},
    room::takers,
    summary::{DrainSummary, Service, summaries},
    turn::{MAX_GOING, Pace, Strength, in_order, pace},
    view::{still_attached, view_of},
};
