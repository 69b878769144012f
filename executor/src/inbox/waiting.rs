//! Requests that wait, and how many bytes all of them may have together.
//!
//! A coordinator can send for as long as a drain takes. What waits is counted from the moment it is handed over until
//! it is taken up, wherever it lies meanwhile.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hostler_plan::{
    document::{DocumentKind, Signed},
    refusal::{Refusal, Refused},
    text,
    trust::check_size,
};

use crate::protocol::Request;

/// Bytes of all requests that wait: the longest root chain, the largest roster and half a dozen of the largest plans;
/// a coordinator that sends more while a task runs is not ours. The unit has 256 MiB.
pub(crate) const MAX_WAITING_BYTES: usize = 8 << 20;
/// What a request takes beside its documents.
const OWN_BYTES: usize = 256;
/// Receipts with one grant: of every task that comes before, in a fleet of 1,000 nodes.
const MAX_RECEIPTS: usize = 4096;
/// A sentence of the coordinator is cut to this.
const MAX_SENTENCE_BYTES: usize = 512;

impl Request {
    /// Refuses what no node takes, before any of it is kept, and cuts sentences.
    pub(crate) fn limited(mut self) -> Result<Self, Refused> {
        match &mut self {
            Self::Trust { roots, roster } => {
                roots.iter().try_for_each(|root| check_size(DocumentKind::Root, root))?;
                roster.iter().try_for_each(|roster| check_size(DocumentKind::Roster, roster))?;
            }
            Self::Plan(plan) => check_size(DocumentKind::Plan, plan)?,
            Self::Decision(decision) => check_size(DocumentKind::Decision, decision)?,
            Self::Grant(grant) => check_receipts(&grant.receipts)?,
            Self::Welcome { own_receipts, .. } => check_receipts(own_receipts)?,
            Self::Stop { reason, .. } | Self::Fetched { result: Err(reason), .. } => {
                *reason = text::clean_to(reason, MAX_SENTENCE_BYTES).into_owned();
            }
            Self::LeaseRenewed { .. } | Self::ReceiptAcknowledged(_) | Self::Fetched { result: Ok(()), .. } => {}
        }
        Ok(self)
    }

    fn bytes(&self) -> usize {
        OWN_BYTES
            + match self {
                Self::Trust { roots, roster } => roots.iter().chain(roster).map(bytes).sum(),
                Self::Plan(signed) | Self::Decision(signed) => bytes(signed),
                Self::Grant(grant) => grant.receipts.iter().map(bytes).sum(),
                Self::Welcome { own_receipts, .. } => own_receipts.iter().map(bytes).sum(),
                Self::Stop { reason, .. } => reason.len(),
                Self::LeaseRenewed { .. } | Self::ReceiptAcknowledged(_) | Self::Fetched { .. } => 0,
            }
    }

    /// Whether it brings documents. What brings none is always let through: a stop must not wait behind a flood.
    fn brings_documents(&self) -> bool {
        match self {
            Self::Trust { .. } | Self::Plan(_) | Self::Decision(_) | Self::Grant(_) | Self::Welcome { .. } => true,
            Self::LeaseRenewed { .. } | Self::Stop { .. } | Self::ReceiptAcknowledged(_) | Self::Fetched { .. } => {
                false
            }
        }
    }
}

fn check_receipts(receipts: &[Signed]) -> Result<(), Refused> {
    if receipts.len() > MAX_RECEIPTS {
        let reason = format!("expected at most {MAX_RECEIPTS} receipts in one message, found {}", receipts.len());
        return Err(Refused::new(Refusal::Malformed, reason));
    }
    receipts.iter().try_for_each(|receipt| check_size(DocumentKind::Receipt, receipt))
}

fn bytes(signed: &Signed) -> usize {
    OWN_BYTES + signed.bytes.len() + signed.signatures.iter().map(String::len).sum::<usize>()
}

/// What all waiting requests have together.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// A request that waits; its bytes are free again when it is taken up.
#[derive(Debug)]
pub(crate) struct Waiting {
    request: Request,
    budget: Budget,
    bytes: usize,
}

impl Waiting {
    /// Gives the request back when there is no room for it.
    pub(super) fn hold(budget: &Budget, request: Request) -> Result<Self, Request> {
        let bytes = request.bytes();
        let before = budget.0.fetch_add(bytes, Ordering::Relaxed);
        let waiting = Self { request, budget: budget.clone(), bytes };
        if before + bytes > MAX_WAITING_BYTES && waiting.request.brings_documents() {
            return Err(waiting.take());
        }
        Ok(waiting)
    }

    /// What waits.
    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    /// Takes it up.
    pub(crate) fn take(mut self) -> Request {
        std::mem::replace(&mut self.request, Request::LeaseRenewed { grant: 0, lease_seconds: 0 })
    }

    /// Lets newer trust wait in the place of older: all roots in their order, and only the newest roster.
    pub(crate) fn replace_trust(&mut self, mut newer: Self) -> Result<(), Self> {
        let (Request::Trust { roots, roster }, Request::Trust { roots: more, roster: newest }) =
            (&mut self.request, &mut newer.request)
        else {
            return Err(newer);
        };
        roots.append(more);
        *roster = newest.take().or(roster.take());
        let bytes = self.request.bytes();
        self.budget.0.fetch_add(bytes, Ordering::Relaxed);
        self.budget.0.fetch_sub(std::mem::replace(&mut self.bytes, bytes), Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        inbox::{RequestReceiver, queue},
        protocol::Grant,
    };

    fn document(length: usize) -> Signed {
        Signed { bytes: vec![7; length], signatures: Vec::new() }
    }

    fn trust(root: usize, roster: usize) -> Request {
        Request::Trust { roots: vec![document(root)], roster: Some(document(roster)) }
    }

    fn waiting(receiver: &RequestReceiver) -> usize {
        let mut bytes = 0;
        while let Ok(waiting) = receiver.requests.try_recv() {
            bytes += waiting.bytes;
        }
        bytes
    }

    #[test]
    fn a_flood_ends_at_its_bytes_and_a_stop_comes_through_behind_it() {
        let (sender, receiver) = queue();
        let taken = (0..280).take_while(|_| sender.offer(Request::Plan(document(256 << 10))).is_ok()).count();
        assert_eq!(taken, 31);
        let stop = || Request::Stop { plan: document(1).digest(), reason: "halted".into() };
        sender.offer(stop()).unwrap();
        assert!(waiting(&receiver) <= MAX_WAITING_BYTES);
        sender.offer(Request::Plan(document(256 << 10))).unwrap();
        assert!(sender.offer(trust(1, MAX_WAITING_BYTES)).is_err(), "what was given back takes up nothing");
        sender.offer(trust(1, MAX_WAITING_BYTES / 2)).unwrap();
    }

    #[test]
    fn only_the_newest_roster_waits_and_every_root() {
        let (budget, size) = (Budget::default(), 1 << 20);
        let mut first = Waiting::hold(&budget, trust(10, size)).unwrap();
        for _ in 0..50 {
            first.replace_trust(Waiting::hold(&budget, trust(10, size)).unwrap()).unwrap();
        }
        assert!(budget.0.load(Ordering::Relaxed) < size + 51 * 1024);
        let Request::Trust { roots, roster } = first.take() else { panic!("expected trust") };
        assert_eq!((roots.len(), roster.map(|r| r.bytes.len())), (51, Some(size)));
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_kept() {
        let long = [
            Request::Plan(document((1 << 20) + 1)),
            trust(1, (1 << 20) + 1),
            trust((1 << 20) + 1, 1),
            Request::Grant(Box::new(Grant {
                plan: document(1).digest(),
                task: hostler_plan::id::TaskId::new("w1.t").unwrap(),
                grant: 1,
                lease_seconds: 1,
                receipts: vec![document((64 << 10) + 1)],
                head: None,
            })),
        ];
        for request in long {
            assert_eq!(request.limited().unwrap_err().refusal, Refusal::Malformed);
        }
        let stop = Request::Stop { plan: document(1).digest(), reason: "é".repeat(1 << 20) }.limited().unwrap();
        assert!(
            matches!(stop, Request::Stop { reason, .. } if reason.len() <= MAX_SENTENCE_BYTES && reason.ends_with("é…"))
        );
    }
}
