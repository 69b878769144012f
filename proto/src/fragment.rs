//! Long messages between an agent and the coordinator go in parts.
//!
//! Both ends of a stream keep a buffer for as long as the stream lives, and it grows to the longest message that ever
//! went through it. A roster of 400 nodes has 130 KiB, a node's first report 16, and a coordinator holds a stream for
//! each node.

use std::marker::PhantomData;

use crate::{
    MAX_MESSAGE_BYTES,
    codec::{BATCH_BYTES, BUFFER_BYTES},
    v1::{Fragment, FromAgent, ToAgent, from_agent, to_agent},
};

/// The header of gRPC, and the fields around the bytes of a part, with room.
const FRAMING_BYTES: usize = 32;

/// A message of the stream between an agent and the coordinator.
pub trait Whole: prost::Message + Default {
    /// What it may hold.
    type Content;

    /// What it may have in one piece, and each part of a longer one: the buffers of the coordinator's end stay as long
    /// as they began.
    const PART_BYTES: usize;

    /// With a part of a longer message in it.
    fn of(fragment: Fragment) -> Self;

    /// What it holds: none when it is of a later version, and an error when it is a part.
    fn content(self) -> Result<Option<Self::Content>, Fragment>;
}

impl Whole for ToAgent {
    type Content = to_agent::Message;
    // What is sent together with a part goes into the same buffer.
    const PART_BYTES: usize = BUFFER_BYTES - BATCH_BYTES - FRAMING_BYTES;

    fn of(fragment: Fragment) -> Self {
        Self { message: Some(to_agent::Message::Fragment(fragment)) }
    }

    fn content(self) -> Result<Option<Self::Content>, Fragment> {
        match self.message {
            Some(to_agent::Message::Fragment(fragment)) => Err(fragment),
            other => Ok(other),
        }
    }
}

impl Whole for FromAgent {
    type Content = from_agent::Message;
    // The decoder makes room for a whole part behind the one that is there.
    const PART_BYTES: usize = (BUFFER_BYTES - BATCH_BYTES) / 2 - FRAMING_BYTES;

    fn of(fragment: Fragment) -> Self {
        Self { message: Some(from_agent::Message::Fragment(fragment)) }
    }

    fn content(self) -> Result<Option<Self::Content>, Fragment> {
        match self.message {
            Some(from_agent::Message::Fragment(fragment)) => Err(fragment),
            other => Ok(other),
        }
    }
}

/// The message as it is, or its parts in their order.
pub fn split<M: Whole>(message: M) -> Vec<M> {
    if message.encoded_len() <= M::PART_BYTES {
        return vec![message];
    }
    let bytes = message.encode_to_vec();
    let last = (bytes.len() - 1) / M::PART_BYTES;
    let parts = bytes.chunks(M::PART_BYTES).enumerate();
    parts.map(|(n, data)| M::of(Fragment { data: data.to_vec(), is_last: n == last })).collect()
}

/// Why parts make no message. Whoever sent them is no program of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    #[error("expected parts of one message of at most {MAX_MESSAGE_BYTES} bytes, found {0}")]
    TooLong(usize),
    #[error("expected parts of one message, found something else: {0}")]
    Malformed(String),
}

/// Puts the parts of one message after the other together.
#[derive(Debug)]
pub struct Joiner<M> {
    parts: Vec<u8>,
    whole: PhantomData<M>,
}

impl<M> Default for Joiner<M> {
    fn default() -> Self {
        Self { parts: Vec::new(), whole: PhantomData }
    }
}

impl<M: Whole> Joiner<M> {
    /// What a message holds or, when it is the last part of a longer one, what that holds.
    pub fn take(&mut self, message: M) -> Result<Option<M::Content>, FragmentError> {
        message.content().or_else(|part| self.join(part))
    }

    /// Takes the next part; gives the message with its last one. It is never a part itself; none when it is of a later
    /// version and holds nothing that is known here.
    pub fn join(&mut self, Fragment { data, is_last }: Fragment) -> Result<Option<M::Content>, FragmentError> {
        let length = self.parts.len() + data.len();
        if length > MAX_MESSAGE_BYTES {
            return Err(FragmentError::TooLong(length));
        }
        self.parts.extend(data);
        if !is_last {
            return Ok(None);
        }
        let whole = std::mem::take(&mut self.parts);
        let message = M::decode(whole.as_slice()).map_err(|e| FragmentError::Malformed(e.to_string()))?;
        message.content().map_err(|_| FragmentError::Malformed("a part of a part".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::v1::{FactsDelta, SignedDocument, Stop, to_agent::Message};

    const PART: usize = ToAgent::PART_BYTES;

    fn plan(length: usize) -> ToAgent {
        let content = (0..length).map(|n| n as u8).collect();
        ToAgent { message: Some(Message::Plan(SignedDocument { content, signatures: vec!["s".to_owned()] })) }
    }

    fn fragment(data: Vec<u8>, is_last: bool) -> Fragment {
        Fragment { data, is_last }
    }

    #[test]
    fn a_long_message_comes_together_again_and_a_short_one_goes_as_it_is() {
        let stop = ToAgent { message: Some(Message::Stop(Stop { plan: "p".to_owned(), reason: "r".to_owned() })) };
        assert_eq!(split(stop.clone()), [stop]);
        for length in [PART, 2 * PART - 12, 2 * PART, 1 << 20] {
            let message = plan(length);
            let parts = split(message.clone());
            assert_eq!(parts.len(), message.encoded_len().div_ceil(PART));
            assert!(parts.iter().all(|part| part.encoded_len() + 5 + BATCH_BYTES <= BUFFER_BYTES));
            let mut joiner = Joiner::<ToAgent>::default();
            let joined: Vec<Message> = parts
                .into_iter()
                .filter_map(|part| match part.message {
                    Some(Message::Fragment(fragment)) => joiner.join(fragment).unwrap(),
                    other => panic!("expected a part, found {other:?}"),
                })
                .collect();
            assert_eq!(joined, [message.message.unwrap()]);
        }
    }

    #[test]
    fn a_long_report_of_a_node_comes_together_again() {
        let report = FactsDelta { removed: (0..9999).collect(), ..FactsDelta::default() };
        let report = from_agent::Message::Facts(report);
        let mut joiner = Joiner::<FromAgent>::default();
        let mut joined = Vec::new();
        for part in split(FromAgent { message: Some(report.clone()) }) {
            assert!(2 * (part.encoded_len() + 5) + BATCH_BYTES <= BUFFER_BYTES, "with the headers of gRPC");
            joined.extend(joiner.take(part).unwrap());
        }
        assert_eq!(joined, [report]);
        assert!(joiner.parts.capacity() == 0, "nothing is kept between two messages");
    }

    #[test]
    fn parts_without_end_and_parts_of_parts_are_refused() {
        let mut joiner = Joiner::<ToAgent>::default();
        let full = (0..).map(|_| joiner.join(fragment(vec![0; 1 << 20], false))).find_map(Result::err);
        assert_eq!(full, Some(FragmentError::TooLong(3 << 20)));
        let inner = ToAgent { message: Some(Message::Fragment(fragment(vec![1], true))) }.encode_to_vec();
        assert!(matches!(Joiner::<ToAgent>::default().join(fragment(inner, true)), Err(FragmentError::Malformed(_))));
        assert!(matches!(
            Joiner::<ToAgent>::default().join(fragment(vec![255; 9], true)),
            Err(FragmentError::Malformed(_))
        ));
    }
}
