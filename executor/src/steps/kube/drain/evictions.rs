//! Evictions, several at a time, and what each answer means.

use std::time::Duration;

use hostler_plan::{
    cluster::{Budget, Pod, PodKey, Shared},
    document::{PodFate, PodReport},
    drain::Keeper,
};

use super::{
    state::{Drain, RETRY},
    turns::Turns,
};
use crate::{
    host::Eviction,
    steps::action::{StepContext, StepError},
};

/// Requests that are on their way at a time. An eviction takes the API server tens of milliseconds, and half a second
/// behind another one of its budget; more at once would wait for each other there.
pub(super) const AT_ONCE: usize = 8;

/// How often a budget is asked again whose status allows it.
const STALE_RETRY: Duration = Duration::from_secs(1);
/// How often what is likely to last is tried again.
const SLOW_RETRY: Duration = Duration::from_secs(10);
/// An accepted eviction whose deletion failed is forgotten by the server after 2 minutes; then it is asked again.
const LOST_EVICTION: Duration = Duration::from_secs(125);

impl Drain<'_> {
    /// Asks for the evictions of these together, and remembers the answers; takes them out of `pods`. How many of them
    /// do not go.
    pub(super) fn evict_all(
        &mut self,
        pods: &mut Vec<&Shared<Pod>>,
        turns: &mut Turns<'_>,
        context: &mut StepContext<'_>,
    ) -> Result<usize, StepError> {
        let keys: Vec<&PodKey> = pods.iter().map(|pod| &pod.key).collect();
        let answers = if keys.is_empty() { Vec::new() } else { context.cluster()?.evict_all(&keys) };
        let (mut refused, mut ends) = (0, None);
        for (pod, answer) in pods.drain(..).zip(answers) {
            tracing::debug!("evicting {}: {answer:?}", pod.key);
            match self.answered(pod, answer, turns, context) {
                Ok(true) => continue,
                Ok(false) => {}
                // What became of the others is remembered all the same.
                Err(error) => ends = ends.or(Some(error)),
            }
            turns.gave_back(pod);
            refused += 1;
        }
        ends.map_or(Ok(refused), Err)
    }

    /// Remembers the answer. True when the pod is going.
    fn answered(
        &mut self,
        pod: &Shared<Pod>,
        answer: Eviction,
        turns: &Turns<'_>,
        context: &StepContext<'_>,
    ) -> Result<bool, StepError> {
        let now = context.now();
        let retry = |drain: &mut Self, after: Duration| {
            drain.next_try.insert(pod.key.clone(), now.plus(after));
        };
        match answer {
            Eviction::Accepted => {
                let (fate, reason) = fate_of(pod, turns);
                self.news.push(PodReport { pod: pod.key.to_string(), fate, reason });
                self.held.remove(&pod.key);
                self.note_return(pod);
                self.begin_to_learn(pod, now);
                self.evicted.insert(pod.key.clone(), pod.clone());
                retry(self, LOST_EVICTION);
                return Ok(true);
            }
            // That it went may be told of later.
            Eviction::Gone | Eviction::NamespaceTerminating => {
                retry(self, RETRY);
                self.held.remove(&pod.key);
            }
            Eviction::Budget(text) => {
                let name = turns.budget_over(pod).map(Budget::full_name);
                self.hold(pod, name, text.trim_end_matches('.'));
                // It said no against its own status, which is seconds old; or the pod has to be repaired first, or is
                // asked for whatever its budget says.
                let is_stale = pod.ready && !Keeper::of(pod).is_some_and(Keeper::has_to_be_asked);
                retry(self, if is_stale { STALE_RETRY } else { RETRY });
            }
            Eviction::BudgetBehind(_) => {
                let name = turns.budget_over(pod).map(Budget::full_name);
                self.hold(pod, name, "its budget's status is behind; if that lasts, the controller manager is down");
                retry(self, SLOW_RETRY);
            }
            Eviction::Busy { retry_after } => retry(self, retry_after.unwrap_or(RETRY)),
            Eviction::Conflicts { retry_after } => retry(self, retry_after.unwrap_or(SLOW_RETRY)),
            Eviction::Webhook(text) => {
                let text = text.trim_end_matches('.');
                self.hold(pod, None, &format!("{text}. Repair that webhook, or remove its configuration"));
                retry(self, SLOW_RETRY);
            }
            Eviction::Denied(text) => {
                let text = text.trim_end_matches('.');
                self.hold(pod, None, &format!("{text}. Ask whoever runs that policy or webhook"));
                retry(self, SLOW_RETRY);
            }
            Eviction::Silent(text) => {
                tracing::warn!("the API server did not answer the eviction of {}: {text}", pod.key);
                retry(self, RETRY);
            }
            Eviction::Other { code, reason } => {
                self.hold(pod, None, &format!("the API server answered {code}: {reason}"));
                retry(self, SLOW_RETRY);
            }
            Eviction::SeveralBudgets(text) | Eviction::Forbidden(text) => {
                self.stuck(pod, &text, context)?;
                retry(self, SLOW_RETRY);
            }
        }
        Ok(false)
    }
}

/// What becomes of a pod that goes.
fn fate_of(pod: &Pod, turns: &Turns<'_>) -> (PodFate, String) {
    match turns.no_place(pod) {
        _ if pod.is_finished() => (PodFate::Ended, "it had finished".to_owned()),
        _ if pod.owner.is_none() => (PodFate::Ended, "nobody starts it again".to_owned()),
        Some(place) => (PodFate::Down, place.to_string()),
        None => (PodFate::Moved, String::new()),
    }
}
