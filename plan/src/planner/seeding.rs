//! What a cluster that is made anew begins with.

use crate::step::restore::{Forget, Seed};

/// What its first server begins with out of a snapshot.
#[derive(Debug)]
pub(super) struct Seeding {
    pub seed: Seed,
    /// The Nodes that the snapshot knows are of machines that are no more.
    pub forget: Forget,
}
