//! The simulation from seeds: the real sequencer and the real planner in a world that loses, delays and doubles
//! messages, crashes coordinators and machines, fails upgrades, makes machines ill and has third parties cordon nodes.
//! The invariants are checked after every event. One seed is one world, to the millisecond.
//!
//! What is simulated: machines, their cluster, the network, operators. What is real: `plan::sequencer`,
//! `plan::planner`, the fleet file, the documents. Receipts carry no signatures here, for speed; the scenarios of
//! `plan` put the same kinds of plans and receipts through `plan::trust`.

mod coordinator;
mod fleet;
mod health;
mod invariants;
mod machine;
mod network;
mod operators;
mod profile;
mod random;
mod run;
mod work;

pub use profile::Profile;
pub use random::Random;
pub use run::{Summary, run};

/// Milliseconds since the world began.
type Millis = u64;

/// An invariant that was broken, or a world that came to no end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, {at} ms: {what}\nHOSTLER_SEED={seed} runs it again")]
pub struct Violation {
    pub seed: u64,
    pub at: Millis,
    pub what: String,
}
