//! Receipts that were sent on a connection and are not acknowledged yet: after a while they are sent once more, because
//! the coordinator's disk may have been full.

use std::{collections::BTreeMap, time::Duration};

use hostler_plan::{document::Signed, id::Digest};
use tokio::time::Instant;

/// How long a receipt waits for its acknowledgement before it is sent once more.
const AGAIN: Duration = Duration::from_secs(5);

/// Which were sent, and when last.
#[derive(Debug, Default)]
pub(super) struct SentReceipts(BTreeMap<Digest, Instant>);

impl SentReceipts {
    /// Of all that wait for their acknowledgement, those to send now, and whether one of them is new.
    pub(super) fn next(&mut self, waiting: Vec<Signed>, now: Instant) -> (Vec<Signed>, bool) {
        let before = std::mem::take(&mut self.0);
        let (mut to_send, mut is_new) = (Vec::new(), false);
        for receipt in waiting {
            let digest = receipt.digest();
            let sent = before.get(&digest).copied();
            is_new |= sent.is_none();
            let sent = sent.filter(|sent| now.duration_since(*sent) < AGAIN);
            self.0.insert(digest, sent.unwrap_or(now));
            if sent.is_none() {
                to_send.push(receipt);
            }
        }
        (to_send, is_new)
    }

    /// When one is to be sent once more; never where none waits.
    pub(super) async fn due(&self) {
        match self.0.values().min() {
            Some(sent) => tokio::time::sleep_until(*sent + AGAIN).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_sent_once_and_again_while_nobody_acknowledges_it() {
        let receipt = |text: &str| Signed { bytes: text.into(), signatures: Vec::new() };
        let (one, two) = (receipt("one"), receipt("two"));
        let (mut sent, start) = (SentReceipts::default(), Instant::now());
        let mut at = |seconds, waiting: &[&Signed]| {
            let waiting = waiting.iter().map(|receipt| (*receipt).clone()).collect();
            sent.next(waiting, start + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, &[&one]), (vec![one.clone()], true));
        assert_eq!(at(1, &[&one, &two]), (vec![two.clone()], true));
        assert_eq!(at(4, &[&one, &two]), (vec![], false));
        assert_eq!(at(5, &[&one, &two]), (vec![one.clone()], false));
        assert_eq!(at(6, &[&one]), (vec![], false), "the other one was acknowledged");
        assert_eq!(at(10, &[&one]), (vec![one.clone()], false));
    }
}
