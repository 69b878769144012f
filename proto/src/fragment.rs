//! Long messages for an agent go in parts.
//!
//! Both ends of a stream keep a buffer for as long as the stream lives, and it grows to the longest message that ever
//! went through it. A roster of 400 nodes has 130 KiB, and a coordinator holds a stream for each of them.

use prost::Message as _;

use crate::{
    MAX_MESSAGE_BYTES,
    codec::BUFFER_BYTES,
    v1::{Fragment, ToAgent, to_agent::Message},
};

/// What a message may have in one piece, and each part of a longer one: with their framing they fit into the buffer
/// with which a stream begins.
pub const FRAGMENT_BYTES: usize = BUFFER_BYTES - 1024;

/// The message as it is, or its parts in their order.
pub fn split(message: ToAgent) -> Vec<ToAgent> {
    if message.encoded_len() <= FRAGMENT_BYTES {
        return vec![message];
    }
    let bytes = message.encode_to_vec();
    let last = (bytes.len() - 1) / FRAGMENT_BYTES;
    let parts = bytes.chunks(FRAGMENT_BYTES).enumerate();
    parts
        .map(|(n, data)| Fragment { data: data.to_vec(), is_last: n == last })
        .map(|fragment| ToAgent { message: Some(Message::Fragment(fragment)) })
        .collect()
}

/// Why parts make no message. Whoever sent them is no coordinator of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    #[error("expected parts of one message of at most {MAX_MESSAGE_BYTES} bytes, found {0}")]
    TooLong(usize),
    #[error("expected parts of one message, found something else: {0}")]
    Malformed(String),
}

/// Puts the parts of one message after the other together.
#[derive(Debug, Default)]
pub struct Joiner(Vec<u8>);

impl Joiner {
    /// Takes the next part; gives the message with its last one. It is never a part itself; none when it is of a later
    /// version and holds nothing that is known here.
    pub fn join(&mut self, Fragment { data, is_last }: Fragment) -> Result<Option<Message>, FragmentError> {
        let length = self.0.len() + data.len();
        if length > MAX_MESSAGE_BYTES {
            return Err(FragmentError::TooLong(length));
        }
        self.0.extend(data);
        if !is_last {
            return Ok(None);
        }
        let whole = std::mem::take(&mut self.0);
        let message = ToAgent::decode(whole.as_slice()).map_err(|e| FragmentError::Malformed(e.to_string()))?;
        match message.message {
            Some(Message::Fragment(_)) => Err(FragmentError::Malformed("a part of a part".to_owned())),
            other => Ok(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{SignedDocument, Stop};

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
        for length in [FRAGMENT_BYTES, 2 * FRAGMENT_BYTES - 12, 2 * FRAGMENT_BYTES, 1 << 20] {
            let message = plan(length);
            let parts = split(message.clone());
            assert_eq!(parts.len(), message.encoded_len().div_ceil(FRAGMENT_BYTES));
            assert!(parts.iter().all(|part| part.encoded_len() + 5 <= 8 << 10), "with the header of gRPC");
            let mut joiner = Joiner::default();
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
    fn parts_without_end_and_parts_of_parts_are_refused() {
        let mut joiner = Joiner::default();
        let full = (0..).map(|_| joiner.join(fragment(vec![0; 1 << 20], false))).find_map(Result::err);
        assert_eq!(full, Some(FragmentError::TooLong(3 << 20)));
        let inner = ToAgent { message: Some(Message::Fragment(fragment(vec![1], true))) }.encode_to_vec();
        assert!(matches!(Joiner::default().join(fragment(inner, true)), Err(FragmentError::Malformed(_))));
        assert!(matches!(Joiner::default().join(fragment(vec![255; 9], true)), Err(FragmentError::Malformed(_))));
    }
}
