//! What a node reports, as it crosses the wire; and reports that are none.

use std::time::Duration;

use hostler_plan::{document::RosterStatus, step::ClusterRole};
use hostler_proto::{
    fragment,
    v1::{self, FromAgent, ToAgent, from_agent::Message},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::fleet::{Fleet, Node};

/// Opens the node's stream and sends the whole first report: a counter, a half and a series without a good base.
async fn open(fleet: &Fleet, node: &Node, chain: &[Vec<u8>]) -> (mpsc::Sender<FromAgent>, Streaming<ToAgent>) {
    let mut agent = fleet.agent(node, chain).await;
    let (to, receiver) = mpsc::channel(8);
    let hello = v1::Hello { boot_id: "0-1".into(), agent_version: "0.1.0".into(), ..v1::Hello::default() };
    to.send(FromAgent { message: Some(Message::Hello(hello)) }).await.unwrap();
    let series =
        |id, name: &str, value| v1::NewSeries { id, name: name.into(), labels: Vec::new(), value: Some(value) };
    let added = vec![series(0, "node_intr_total", 7.0), series(1, "node_load1", 0.5), series(2, "third", 1.0 / 3.0)];
    send(&to, v1::FactsDelta { taken_at: 1, added, ..v1::FactsDelta::default() }).await;
    let from = agent.attach(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    (to, from)
}

async fn send(to: &mpsc::Sender<FromAgent>, report: v1::FactsDelta) {
    // As an agent does it: a long one in parts.
    for part in fragment::split(FromAgent { message: Some(Message::Facts(report)) }) {
        to.send(part).await.unwrap();
    }
}

fn grown(places: u32, gaps: &[u32], units: &[i64]) -> v1::FactsDelta {
    let grown = vec![v1::Growth { places, gaps: gaps.to_vec(), units: units.to_vec() }];
    v1::FactsDelta { taken_at: 3, grown, ..v1::FactsDelta::default() }
}

fn set(gaps: &[u32], values: &[f64]) -> v1::FactsDelta {
    let set = Some(v1::ChangedValues { gaps: gaps.to_vec(), values: values.to_vec() });
    v1::FactsDelta { taken_at: 3, set, ..v1::FactsDelta::default() }
}

/// Waits until the stream is ended for that reason.
async fn refused(from: &mut Streaming<ToAgent>, sentence: &str) {
    let status = loop {
        match tokio::time::timeout(Duration::from_secs(20), from.message()).await.unwrap() {
            Ok(message) => assert!(message.is_some(), "the stream ended without a word, expected {sentence}"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains(sentence), "expected {sentence}, found {}", status.message());
}

/// A fleet of one node, with the node's certificate.
async fn of_one() -> (Fleet, Node, Vec<Vec<u8>>) {
    let mut fleet = Fleet::start().await;
    let token = fleet.token(1, ClusterRole::Worker).await;
    let node = Node::new("a");
    let chain = fleet.enrol(&node, &token).await.unwrap().certificate_chain;
    fleet.approve(&[(&node, ClusterRole::Worker, RosterStatus::Active)]).await;
    (fleet, node, chain)
}

/// The values that people see, once the report of that time is there.
async fn seen(fleet: &Fleet, taken_at: u64) -> Vec<f64> {
    let mut admin = fleet.login(&fleet.viewer).await.unwrap();
    for _ in 0..500 {
        let request = admin.with_session(v1::GetNodeRequest { name: "a".into() });
        let node = admin.client.get_node(request).await.unwrap().into_inner();
        if node.facts_taken_at == taken_at {
            return node.facts.iter().map(|f| f.value()).collect();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the report of {taken_at} never arrived");
}

#[tokio::test]
async fn a_report_that_breaks_a_rule_ends_the_stream_and_changes_nothing() {
    let (fleet, node, chain) = of_one().await;
    let many: Vec<u32> = vec![1; 4097];
    let both = v1::FactsDelta { set: set(&[0], &[2.0]).set, ..grown(0, &[0], &[1]) };
    let fresh = v1::NewSeries { id: 3, name: "fresh".into(), labels: Vec::new(), value: Some(1.0) };
    let empty = v1::FactsDelta {
        added: vec![v1::NewSeries { value: None, ..fresh.clone() }],
        taken_at: 3,
        ..v1::FactsDelta::default()
    };
    for (wrong, sentence) in [
        (empty, "new series fresh without a value"),
        (grown(0, &[9], &[1]), "unknown series number 9"),
        (set(&[9], &[1.0]), "unknown series number 9"),
        (v1::FactsDelta { added: vec![fresh], ..grown(0, &[3], &[1]) }, "unknown series number 3"),
        (v1::FactsDelta { removed: vec![1], ..grown(0, &[1], &[1]) }, "unknown series number 1"),
        (grown(0, &[0, 1], &[1]), "2 changed series, expected as many values, found 1"),
        (set(&[0], &[1.0, 2.0]), "1 changed series, expected as many values, found 2"),
        (grown(0, &[0, 0], &[1, 1]), "out of order or above 4096"),
        (grown(0, &many, &vec![1; many.len()]), "out of order or above 4096"),
        (set(&[1, u32::MAX], &[1.0, 1.0]), "out of order or above 4096"),
        (both, "series number 0 twice"),
        (grown(10, &[0], &[1]), "10 decimal places"),
        (grown(0, &[1], &[1]), "series number 1 by a step"),
        (grown(9, &[2], &[1]), "series number 2 by a step"),
        (grown(0, &[0], &[i64::MAX]), "series number 0 by a step"),
        (set(&[0], &[f64::NAN]), "not finite for series number 0"),
    ] {
        let (to, mut from) = open(&fleet, &node, &chain).await;
        let good = v1::FactsDelta { taken_at: 2, set: set(&[2], &[-0.0]).set, ..grown(1, &[1], &[-1]) };
        send(&to, good).await;
        send(&to, wrong).await;
        refused(&mut from, sentence).await;
        let values = seen(&fleet, 2).await;
        assert_eq!(values, [7.0, 0.4, 0.0], "after: {sentence}");
        assert!(values[2].is_sign_negative(), "the exact bits");
    }
}

#[tokio::test]
async fn parts_that_make_no_message_end_the_stream() {
    let (fleet, node, chain) = of_one().await;
    let part = |data, is_last| FromAgent { message: Some(Message::Fragment(v1::Fragment { data, is_last })) };
    // A message with a part, field 9, of one byte, and that it is the last.
    let of_a_part = part(vec![9 << 3 | 2, 5, 1 << 3 | 2, 1, 0, 2 << 3, 1], true);
    let without_end = std::iter::repeat_n(part(vec![0; 1 << 20], false), 3).collect();
    for (wrong, sentence) in [
        (vec![part(vec![0xff; 9], false), part(vec![0xff; 9], true)], "expected parts of one message"),
        (vec![of_a_part], "a part of a part"),
        (without_end, "at most 2097152 bytes"),
    ] {
        let (to, mut from) = open(&fleet, &node, &chain).await;
        for message in wrong {
            to.send(message).await.unwrap();
        }
        refused(&mut from, sentence).await;
        assert_eq!(seen(&fleet, 1).await.len(), 3);
    }
}
