//! What a command passes over so that somebody on call can always stop, drain and uncordon: what this machine's disk
//! did to the profile. Everything else ends there, with the way out.
//!
//! Passed over is only what nothing rests on, or what is proved anew: roots by their chain, the roster by its
//! signatures. Without the first root or a key nothing is done.

use std::sync::{Arc, Mutex, PoisonError};

use hostler_plan::{
    document::PlanKind,
    refusal::{Refusal, Refused},
};
use serde_json::{Value, json};

use crate::{error::Error, output::note};

/// Whether damage to the profile ends the command, and what was passed over.
#[derive(Debug, Clone, Default)]
pub struct Rescue(Option<Arc<Mutex<Vec<Passed>>>>);

/// A damage that was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Passed {
    word: &'static str,
    message: String,
}

impl Rescue {
    /// For what stops, drains or uncordons.
    pub fn begin() -> Self {
        Self(Some(Arc::default()))
    }

    /// For a plan of that kind.
    pub(crate) fn of(kind: PlanKind) -> Self {
        if kind.takes_out_of_danger() { Self::begin() } else { Self::default() }
    }

    /// The result; none where it is a damage that is passed over, which is said loudly, once.
    pub(crate) fn pass_over<T>(&self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        let (error, all) = match (result, &self.0) {
            (Ok(value), _) => return Ok(Some(value)),
            (Err(error), Some(all)) if is_damage(&error) => (error, all),
            (Err(error), _) => return Err(error),
        };
        let passed = Passed { word: error.word(), message: error.to_string() };
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains(&passed) {
            note(&format!(
                "WARNING: this profile is damaged or cannot be written, and what takes out of danger goes on: {error}"
            ));
            all.push(passed);
        }
        Ok(None)
    }

    /// What was passed over, for programs.
    pub fn as_json(&self) -> Value {
        let all = self.0.as_ref().map(|all| all.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let json = |passed: Passed| json!({ "error": passed.word, "message": passed.message });
        all.unwrap_or_default().into_iter().map(json).collect()
    }
}

/// Whether it tells of this machine's disk.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Refused(Refused { refusal, .. }) => *refusal == Refusal::DamagedState,
        Error::File { .. } => true,
        Error::Profile(e) => !e.is_usage(),
        Error::Usage(_)
        | Error::Overtaken { .. }
        | Error::Blocked(_)
        | Error::RolloutStopped { .. }
        | Error::Interrupted(_)
        | Error::NotConfirmed
        | Error::Key(_)
        | Error::Connect(_)
        | Error::Coordinator { .. }
        | Error::Failed(_) => false,
    }
}
