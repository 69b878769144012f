//! What waits to be sent to a node, limited by count and by bytes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

use crate::{
    control::ToNode,
    limits::{STREAM_QUEUE, STREAM_QUEUE_BYTES},
};

/// The end that puts messages in.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    /// A queue keeps places for 32 messages also while it is empty, so a place has little more than an address.
    sender: mpsc::Sender<(Box<ToNode>, usize)>,
    bytes: Arc<AtomicUsize>,
}

/// The end that takes them out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    receiver: mpsc::Receiver<(Box<ToNode>, usize)>,
    bytes: Arc<AtomicUsize>,
}

/// The node does not read as fast as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// An empty one.
pub(crate) fn outbox() -> (Outbox, Outgoing) {
    let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
    let bytes = Arc::new(AtomicUsize::new(0));
    (Outbox { sender, bytes: bytes.clone() }, Outgoing { receiver, bytes })
}

impl Outbox {
    /// Puts a message in. Without a receiver it goes nowhere: the task that reads from the node notices and detaches.
    pub(crate) fn put(&self, message: ToNode) -> Result<(), Full> {
        let bytes = message.bytes();
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let room = before == 0 || before + bytes <= STREAM_QUEUE_BYTES;
        let put = match room {
            true => self.sender.try_send((Box::new(message), bytes)),
            false => Err(mpsc::error::TrySendError::Full((Box::new(message), bytes))),
        };
        match put {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                Err(Full)
            }
        }
    }

    /// Waits until nobody takes anything out any more.
    pub(crate) async fn closed(&self) {
        self.sender.closed().await;
    }
}

impl Outgoing {
    /// The next message; none when nobody can put any more in.
    pub(crate) async fn next(&mut self) -> Option<ToNode> {
        let (message, bytes) = self.receiver.recv().await?;
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(*message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plan::document::Signed;

    /// A message of that many bytes.
    fn trust(length: usize) -> ToNode {
        ToNode::Trust { roots: vec![Signed { bytes: vec![0; length - 256], signatures: Vec::new() }], roster: None }
    }

    #[tokio::test]
    async fn a_node_that_does_not_read_costs_no_more_than_its_bytes() {
        let (outbox, mut outgoing) = outbox();
        let taken = (0..STREAM_QUEUE).take_while(|_| outbox.put(trust(1 << 20)).is_ok()).count();
        assert_eq!(taken, STREAM_QUEUE_BYTES >> 20);
        assert_eq!(outbox.put(trust(1 << 20)), Err(Full), "what did not fit takes up nothing");
        outgoing.next().await.unwrap();
        assert_eq!(outbox.put(trust(1 << 20)), Ok(()));
        for _ in 0..taken {
            outgoing.next().await.unwrap();
        }
        assert_eq!(outbox.put(trust(STREAM_QUEUE_BYTES + 1)), Ok(()), "what is alone goes whatever it has");
    }
}
