//! Any bytes in any pieces: a message, or an error that says why not, in bounded memory.

use std::io::{BufReader, Read};

use hostler_plan::{
    document::Signed,
    fact::{Reading, Series},
    id::{Digest, Nonce, TaskId},
    ledger::Head,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
};
use proptest::prelude::*;

use super::*;
use crate::protocol::{
    Fetch, FromExecutor, Grant, Progress, RefusedInput, Request, Status, ToExecutor,
    node::{Admitted, Answer, NodeError, Question, Report},
};

fn signed(text: &str) -> Signed {
    Signed { bytes: text.as_bytes().to_vec(), signatures: vec!["armour\n".into()] }
}

/// One of each that holds something.
pub(crate) fn to_executor() -> Vec<ToExecutor> {
    let digest = Digest::of(b"plan");
    let task = TaskId::new("w1.drain").unwrap();
    let head = Some(Head { next_index: 7, hash: digest });
    let requests = [
        Request::Trust { roots: vec![signed("root")], roster: Some(signed("roster\n")) },
        Request::Plan(signed("plan")),
        Request::Grant(Box::new(Grant {
            plan: digest,
            task,
            grant: 1,
            lease_seconds: 60,
            receipts: vec![signed("receipt")],
            head,
        })),
        Request::Welcome { own_receipts: vec![signed("receipt")], head },
        Request::LeaseRenewed { grant: 1, lease_seconds: 60 },
        Request::Stop { plan: digest, reason: "a line\nand \"another\"".into() },
        Request::ReceiptAcknowledged(digest),
        Request::Fetched { digest, result: Ok(()) },
        Request::Fetched { digest, result: Err("no".into()) },
    ];
    let admitted = Admitted { roots: vec![signed("root")], roster: None, admission: Some(signed("admission")) };
    let questions = [
        Question::Identity,
        Question::BootId,
        Question::Clock,
        Question::Facts,
        Question::Conditions { unlike: Some(digest) },
        Question::View { nodes: vec!["w1".parse().unwrap()], nonce: Nonce::from_bytes([7; 32]) },
        Question::Invitation,
        Question::Enrol { tls_key: digest },
        Question::Admit(admitted),
        Question::Renew { tls_key: digest, nonce: vec![0, 255] },
    ];
    let questions = questions.into_iter().zip(1..).map(|(question, number)| ToExecutor::Ask { number, question });
    let others = [ToExecutor::Watch, ToExecutor::Reports { every_ms: 10_000 }, ToExecutor::Idle];
    requests.into_iter().map(ToExecutor::Request).chain(questions).chain(others).collect()
}

fn from_executor() -> Vec<FromExecutor> {
    let (plan, task) = (Digest::of(b"plan"), TaskId::new("w1.drain").unwrap());
    let mut reading = Reading::new(1);
    for value in [0.1, 1.0 / 3.0, 123_456_789.123_456_79, f64::MAX, f64::MIN_POSITIVE, 9_007_199_254_740_991.0] {
        reading.set(Series::new("node_load1", &[("value", &value.to_string())]), value);
    }
    let progress = Progress { plan, task, step: 0, steps: 2, sentence: "drains w1".into() };
    let fetch = Fetch { digest: plan, size: 1, attempt: 1, afresh: false };
    let status = Status { progress: Some(progress), receipts: vec![plan], fetch: Some(fetch), ..Status::default() };
    let refused = Refused::new(Refusal::Replay, "older");
    vec![
        FromExecutor::Status(Box::new(status)),
        FromExecutor::Receipt(signed("receipt")),
        FromExecutor::Refused(RefusedInput { document: None, refused: refused.clone() }),
        FromExecutor::Answer { number: 7, answer: Box::new(Answer::Failed(NodeError::Refused(refused))) },
        FromExecutor::Report(Report { reading, now: Timestamp::from_unix_seconds(1), serves: true }),
    ]
}

/// Gives at most so many bytes at a time.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.1.min(self.0.len()).min(buffer.len());
        let (now, later) = self.0.split_at(length);
        buffer[..length].copy_from_slice(now);
        self.0 = later;
        Ok(length)
    }
}

fn read_all<T: DeserializeOwned>(bytes: &[u8], piece: usize) -> (Vec<T>, Option<LineError>) {
    let mut from = BufReader::with_capacity(64, Pieces(bytes, piece));
    let mut found = Vec::new();
    loop {
        match read(&mut from) {
            Ok(Some(message)) => found.push(message),
            Ok(None) => return (found, None),
            Err(error) => return (found, Some(error)),
        }
    }
}

#[test]
fn every_message_comes_back_as_it_was_however_it_is_cut() {
    let written: Vec<u8> = to_executor().iter().flat_map(|message| encode(message).unwrap()).collect();
    let answers: Vec<u8> = from_executor().iter().flat_map(|message| encode(message).unwrap()).collect();
    for piece in [1, 2, 63, 64, 65, 10_000] {
        let (found, error) = read_all::<ToExecutor>(&written, piece);
        assert!(found == to_executor() && error.is_none(), "{piece}: {error:?}");
        let (found, error) = read_all::<FromExecutor>(&answers, piece);
        assert!(found == from_executor() && error.is_none(), "{piece}: {error:?}");
    }
}

#[test]
fn what_is_unknown_doubled_or_behind_the_end_is_no_message() {
    for (line, why) in [
        (r#"{"ask":{"number":1,"question":"clock","more":1}}"#, "unknown field"),
        (r#"{"ask":{"number":1,"number":1,"question":"clock"}}"#, "duplicate field"),
        (r#"{"ask":{"number":1,"question":"sign"}}"#, "unknown variant"),
        (r#"{"ask":{"number":-1,"question":"clock"}}"#, "invalid value"),
        (r#"{"ask":{"number":1,"question":"clock"}} "watch""#, "trailing characters"),
        (r#"{"request":{"plan":{"digest":"x","bytes":"","signatures":[]}}}"#, "digest"),
        ("", "EOF"),
    ] {
        let error = decode::<ToExecutor>(line.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{line}: {error}");
    }
    let other = r#"{"request":{"plan":{"digest":"DIGEST","bytes":"YQ==","signatures":[]}}}"#;
    let wrong = other.replace("DIGEST", &Digest::of(b"b").to_string());
    assert!(decode::<ToExecutor>(wrong.as_bytes()).is_err(), "a document that is not what it is called");
    assert!(decode::<ToExecutor>(other.replace("DIGEST", &Digest::of(b"a").to_string()).as_bytes()).is_ok());
}

#[test]
fn a_line_without_an_end_is_dropped_at_the_limit_and_takes_no_more_memory() {
    let mut line = Line::default();
    let piece = [b'a'; 10_000];
    let mut given = 0;
    let error = loop {
        match line.take(&piece) {
            Ok((taken, whole)) => {
                assert!(whole.is_none());
                given += taken;
                assert!(line.0.capacity() <= MAX_LINE_BYTES, "{} bytes for {given}", line.0.capacity());
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LineError::TooLong) && given <= MAX_LINE_BYTES && given + piece.len() > MAX_LINE_BYTES);
    assert_eq!(line.0.capacity(), 0, "what came is given back");
    let nested = "[".repeat(100_000);
    assert!(matches!(decode::<ToExecutor>(nested.as_bytes()), Err(LineError::NoMessage(_))), "no stack is used up");
    let long = ToExecutor::Request(Request::Plan(signed(&"a".repeat(MAX_LINE_BYTES))));
    assert!(matches!(encode(&long), Err(LineError::TooLong)), "nobody sends what nobody takes");
}

#[test]
fn an_end_between_lines_is_an_end_and_one_within_a_line_is_a_cut() {
    let line = encode(&ToExecutor::Watch).unwrap();
    assert!(matches!(read_all::<ToExecutor>(&line, 3), (found, None) if found.len() == 1));
    let (found, error) = read_all::<ToExecutor>(&line[..line.len() - 1], 3);
    assert!(found.is_empty() && matches!(error, Some(LineError::Cut)));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), piece in 1_usize..100) {
        let (found, error) = read_all::<ToExecutor>(&bytes, piece);
        prop_assert!(found.is_empty() && (error.is_some() || bytes.is_empty()));
    }

    #[test]
    fn a_changed_message_is_refused_or_another_message(
        which in any::<proptest::sample::Index>(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        let messages = to_executor();
        let mut line = encode(&messages[which.index(messages.len())]).unwrap();
        for (at, to) in changes {
            let at = at.index(line.len());
            line[at] = to;
        }
        line.truncate(cut.index(line.len()).max(line.len() / 2));
        // What is read can be written, and is then the same.
        for message in read_all::<ToExecutor>(&line, 7).0 {
            let again = encode(&message).unwrap();
            prop_assert_eq!(read_all::<ToExecutor>(&again, 64).0, vec![message]);
        }
    }
}
