//! A copy of what the executor shows, for the link to look at and to take from.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use hostler_executor::protocol::{Fetch, Holding, Progress, RefusedInput, RunningTask, Status};
use hostler_plan::{document::Signed, id::Digest};
use tokio::sync::Notify;

/// Refusals that wait for a connection to the coordinator. A flood of them says no more than the first few.
const MAX_REFUSALS: usize = 64;

/// The copy.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    content: Mutex<Content>,
    /// Something changed.
    pub changed: Notify,
}

/// What the executor showed last.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub holding: Holding,
    /// The same signed; none while the node belongs to no roster.
    pub holding_document: Option<Signed>,
    /// Requests that the executor dropped because more waited than may.
    pub dropped: u64,
    /// Whether an API server can be asked on this machine.
    pub serves: bool,
    pub running: Option<RunningTask>,
    /// The newest, taken when it is sent.
    pub progress: Option<Progress>,
    /// Not acknowledged, oldest first.
    pub receipts: Vec<Signed>,
    /// Taken when they are sent.
    pub refusals: VecDeque<RefusedInput>,
    /// Taken when it is begun.
    pub fetch: Option<Fetch>,
    /// What is wanted, begun or not.
    pub wanted: Option<Fetch>,
    /// Receipts of which no status told yet.
    new: BTreeMap<Digest, Signed>,
}

impl Mirror {
    /// Looks at the copy, or takes from it.
    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection shows everything from the beginning. Refusals were told once and stay.
    pub(super) fn begin(&self) {
        let mut content = self.content();
        let refusals = std::mem::take(&mut content.refusals);
        *content = Content { refusals, ..Content::default() };
    }

    /// A receipt that the next status lists.
    pub(super) fn receipt(&self, receipt: Signed) {
        self.content().new.insert(receipt.digest(), receipt);
    }

    pub(super) fn status(&self, status: Status) {
        let mut content = self.content();
        let Status { holding, holding_document, dropped, serves, running, progress, receipts, fetch } = status;
        let mut held = std::mem::take(&mut content.new);
        held.extend(std::mem::take(&mut content.receipts).into_iter().map(|receipt| (receipt.digest(), receipt)));
        content.receipts = receipts.iter().filter_map(|digest| held.remove(digest)).collect();
        // A task that ended says nothing any more.
        content.progress = progress.or(content.progress.take()).filter(|_| running.is_some());
        (content.holding, content.holding_document) = (holding, holding_document);
        (content.dropped, content.serves, content.running) = (dropped, serves, running);
        if content.wanted != fetch {
            content.wanted = fetch.clone();
            content.fetch = fetch;
        }
        drop(content);
        self.changed.notify_one();
    }

    /// Something was refused.
    pub(crate) fn refused(&self, refusal: RefusedInput) {
        let mut content = self.content();
        if content.refusals.len() == MAX_REFUSALS {
            content.refusals.pop_front();
        }
        content.refusals.push_back(refusal);
        drop(content);
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use hostler_plan::{
        id::TaskId,
        refusal::{Refusal, Refused},
    };

    use super::*;

    fn receipt(text: &str) -> Signed {
        Signed { bytes: text.into(), signatures: Vec::new() }
    }

    fn fetch(attempt: u32) -> Option<Fetch> {
        Some(Fetch { digest: Digest::of(b"artifact"), size: 1, attempt, afresh: false })
    }

    #[test]
    fn receipts_are_held_until_a_status_names_them_no_more() {
        let mirror = Mirror::default();
        let (one, two) = (receipt("one"), receipt("two"));
        let lists = |receipts: &[&Signed]| {
            let receipts = receipts.iter().map(|r| r.digest()).collect();
            mirror.status(Status { receipts, ..Status::default() });
            mirror.content().receipts.clone()
        };
        mirror.receipt(one.clone());
        assert!(mirror.content().receipts.is_empty());
        assert_eq!(lists(&[&one]), std::slice::from_ref(&one));
        mirror.receipt(two.clone());
        assert_eq!(lists(&[&one, &two]), [one.clone(), two.clone()]);
        assert_eq!(lists(&[&two]), [two]);
    }

    #[test]
    fn a_fetch_is_begun_once_and_again_when_the_executor_wants_it_again() {
        let mirror = Mirror::default();
        let shows = |fetch| mirror.status(Status { fetch, ..Status::default() });
        shows(fetch(1));
        assert!(mirror.content().fetch.take().is_some());
        shows(fetch(1));
        assert_eq!(mirror.content().fetch, None, "it is begun");
        shows(fetch(2));
        assert_eq!(mirror.content().fetch.take(), fetch(2));
        mirror.begin();
        shows(fetch(2));
        assert_eq!(mirror.content().fetch, fetch(2), "an executor that came back may have nothing of it");
    }

    #[test]
    fn progress_stays_until_it_is_taken_and_ends_with_its_task() {
        let mirror = Mirror::default();
        let (plan, task) = (Digest::of(b"plan"), TaskId::new("w1.drain").unwrap());
        let running = Some(RunningTask { plan, task: task.clone(), grant: 1, lease_seconds: 60 });
        let progress = Some(Progress { plan, task, step: 0, steps: 1, sentence: "drains".into() });
        let tells = |progress: &Option<Progress>, running: &Option<RunningTask>| {
            mirror.status(Status { running: running.clone(), progress: progress.clone(), ..Status::default() });
            mirror.content().progress.clone()
        };
        assert_eq!(tells(&progress, &running), progress);
        assert_eq!(tells(&None, &running), progress, "nobody took it yet");
        assert_eq!(tells(&None, &None), None);
    }

    #[test]
    fn a_flood_of_refusals_keeps_the_newest_and_a_new_connection_loses_none() {
        let mirror = Mirror::default();
        let refused = |n: usize| RefusedInput { document: None, refused: Refused::new(Refusal::Replay, n.to_string()) };
        for n in 0..MAX_REFUSALS + 2 {
            mirror.refused(refused(n));
        }
        mirror.begin();
        let content = mirror.content();
        assert_eq!((content.refusals.len(), content.refusals.front()), (MAX_REFUSALS, Some(&refused(2))));
    }
}
