//! What the executor shows. Nothing in it grows without end, and showing something never waits for anybody.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use hostler_plan::{document::Signed, id::Digest, refusal::Refused, timestamp::Timestamp, trust::OpenPlans};

use crate::{
    host::{Noted, Waker},
    protocol::{Fetch, FromExecutor, Holding, Progress, RefusedInput, RunningTask, Status},
};

/// Refusals that wait for a connection. A flood of them says no more than the first few.
const MAX_REFUSALS: usize = 64;

/// As many plans as end while somebody looks at what they left behind.
const MAX_STOPPED: usize = 64;

/// The status, and who is told.
#[derive(Debug, Default)]
pub(crate) struct ExecutorStatus {
    content: Mutex<StatusContent>,
    watcher: Mutex<Option<Watcher>>,
}

/// What the status shows.
#[derive(Debug, Default)]
pub(crate) struct StatusContent {
    pub holding: Holding,
    /// The same signed, for people who do not believe the coordinator; none while the node belongs to no roster.
    pub holding_document: Option<Signed>,
    /// The plans that may still begin something, as this node knows it; none before it has looked.
    pub open: Option<OpenPlans>,
    /// Plans that the coordinator said are over, the newest last.
    pub stopped: VecDeque<Digest>,
    /// How often something that lets a node in was made, by this process.
    pub admissions: u64,
    /// Requests that were dropped because more waited than may.
    pub dropped: u64,
    /// Whether an API server can be asked on this machine.
    pub serves: bool,
    pub running: Option<RunningTask>,
    /// The newest, taken when it is told.
    pub progress: Option<Progress>,
    /// Not acknowledged, oldest first.
    pub receipts: Vec<Signed>,
    /// Taken when they are told.
    pub refusals: VecDeque<RefusedInput>,
    /// Wanted until it is here or nobody waits for it any more.
    pub fetch: Option<Fetch>,
}

/// The one who is told of changes.
#[derive(Debug)]
struct Watcher {
    ticket: u64,
    waker: Waker,
}

/// What a watcher was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    status: Option<Status>,
    receipts: BTreeSet<Digest>,
}

impl ExecutorStatus {
    /// Looks at the status, or takes from it.
    pub(crate) fn content(&self) -> MutexGuard<'_, StatusContent> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the status, and wakes who watches it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut StatusContent)) {
        change(&mut self.content());
        if let Some(watcher) = &*self.watcher() {
            watcher.waker.notify();
        }
    }

    /// The coordinator says that a plan is over.
    pub(crate) fn stopped(&self, plan: Digest) {
        let stopped = &mut self.content().stopped;
        if !stopped.contains(&plan) {
            if stopped.len() == MAX_STOPPED {
                stopped.pop_front();
            }
            stopped.push_back(plan);
        }
    }

    /// Something that lets a node in is about to be made: it ends with its plan.
    pub(crate) fn admits(&self) {
        self.content().admissions += 1;
    }

    /// Whether the plan that wrote a note on a node may begin nothing any more: a newer one ended it, or the
    /// coordinator said so, which may stop whatever it wants.
    pub(crate) fn is_over(&self, noted: &Noted, now: Timestamp) -> bool {
        let Noted { subject, epoch, plan } = noted;
        let content = self.content();
        let is_void = |open: &OpenPlans| open.have_ended(*epoch, *plan, subject, now);
        content.open.as_ref().is_some_and(is_void) || content.stopped.contains(&plan.digest)
    }

    /// Puts a refusal in the status, once.
    pub(crate) fn refuse(&self, document: Option<Digest>, refused: Refused) {
        self.change(|content| {
            let refusal = RefusedInput { document, refused };
            if content.refusals.back() != Some(&refusal) {
                if content.refusals.len() == MAX_REFUSALS {
                    content.refusals.pop_front();
                }
                content.refusals.push_back(refusal);
            }
        });
    }

    /// From now on this one is told, and nobody else.
    pub(crate) fn watch(&self, waker: Waker) -> u64 {
        let mut watcher = self.watcher();
        let ticket = watcher.as_ref().map_or(1, |w| w.ticket + 1);
        waker.notify();
        *watcher = Some(Watcher { ticket, waker });
        ticket
    }

    /// What the holder of this ticket was not told yet; nothing once there is another one.
    pub(crate) fn news(&self, ticket: u64, told: &mut Told) -> Vec<FromExecutor> {
        if self.watcher().as_ref().is_none_or(|w| w.ticket != ticket) {
            return Vec::new();
        }
        let mut content = self.content();
        let status = Status {
            holding: content.holding.clone(),
            holding_document: content.holding_document.clone(),
            dropped: content.dropped,
            serves: content.serves,
            running: content.running.clone(),
            progress: content.progress.take(),
            receipts: content.receipts.iter().map(Signed::digest).collect(),
            fetch: content.fetch.clone(),
        };
        told.receipts.retain(|digest| status.receipts.contains(digest));
        let mut news: Vec<FromExecutor> = content
            .receipts
            .iter()
            .filter(|receipt| told.receipts.insert(receipt.digest()))
            .map(|receipt| FromExecutor::Receipt(receipt.clone()))
            .collect();
        if told.status.as_ref() != Some(&status) {
            told.status = Some(Status { progress: None, ..status.clone() });
            news.push(FromExecutor::Status(Box::new(status)));
        }
        news.extend(content.refusals.drain(..).map(FromExecutor::Refused));
        news
    }

    fn watcher(&self) -> MutexGuard<'_, Option<Watcher>> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
