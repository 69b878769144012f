//! What the coordinator serves at `/metrics`.

use std::time::Duration;

use hostler_plan::{document::RosterStatus, step::ClusterRole};
use hostler_proto::v1::{self, FromAgent, from_agent::Message};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::fleet::{Fleet, Node, now};

async fn get(fleet: &Fleet, target: &str) -> String {
    let mut stream = TcpStream::connect(fleet.coordinator().addresses.metrics.unwrap()).await.unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// Asks again until the text holds `wanted`.
async fn wait_for(fleet: &Fleet, wanted: &str) -> String {
    for _ in 0..500 {
        let text = get(fleet, "/metrics").await;
        if text.contains(wanted) {
            return text;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{wanted} never shows in:\n{}", get(fleet, "/metrics").await);
}

fn facts(load: f64, many: u32) -> FromAgent {
    let label = |name: &str, value: String| v1::Label { name: name.into(), value };
    let mut added = vec![v1::NewSeries { id: 0, name: "node_load1".into(), labels: Vec::new(), value: Some(load) }];
    added.extend((1..=many).map(|id| v1::NewSeries {
        id,
        name: "node_cpu_seconds_total".into(),
        labels: vec![label("cpu", id.to_string())],
        value: Some(1.0),
    }));
    added.push(v1::NewSeries { id: many + 1, name: "hostler_node_up".into(), labels: Vec::new(), value: Some(7.0) });
    let delta = v1::FactsDelta { taken_at: now().unix_milliseconds(), added, ..v1::FactsDelta::default() };
    FromAgent { message: Some(Message::Facts(delta)) }
}

#[tokio::test]
async fn every_node_is_an_instance_and_a_silent_one_disappears() {
    let mut fleet = Fleet::start().await;
    let token = fleet.token(2, ClusterRole::Worker).await;
    let (a, b) = (Node::new("a"), Node::new("b"));
    let chain = fleet.enrol(&a, &token).await.unwrap().certificate_chain;
    fleet.enrol(&b, &token).await.unwrap();
    let active = RosterStatus::Active;
    fleet.approve(&[(&a, ClusterRole::Server, active), (&b, ClusterRole::Worker, active)]).await;

    let mut agent = fleet.agent(&a, &chain).await;
    let (to, receiver) = mpsc::channel(8);
    let hello = v1::Hello { boot_id: "0-1".into(), agent_version: "0.1.0".into(), ..v1::Hello::default() };
    to.send(FromAgent { message: Some(Message::Hello(hello)) }).await.unwrap();
    let condition = |node: &str, owner: Option<v1::CordonOwner>| v1::NodeCondition {
        node: node.into(),
        ready: true,
        cordon: owner.map(|owner| v1::Cordon { owner: owner.into(), ..v1::Cordon::default() }),
        version: "v1.34.3+k3s1".into(),
        machine_id: String::new(),
    };
    let nodes = vec![condition("a", None), condition("b", Some(v1::CordonOwner::Node))];
    to.send(FromAgent { message: Some(Message::Conditions(v1::NodeConditions { nodes, age_seconds: 0 })) })
        .await
        .unwrap();
    to.send(facts(1.5, 500)).await.unwrap();
    let stream = agent.attach(ReceiverStream::new(receiver)).await.unwrap();

    wait_for(&fleet, "node_load1{instance=\"a\"} 1.5").await;
    // What a node says of the cluster takes another way than its facts.
    let text = wait_for(&fleet, "hostler_node_cordoned{instance=\"b\",by=\"hostler-health\"} 1\n").await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("version=0.0.4"));
    assert!(text.contains("hostler_node_up{instance=\"a\"} 1\n"));
    assert!(text.contains("hostler_node_up{instance=\"b\"} 0\n"));
    assert!(!text.contains("hostler_node_cordoned{instance=\"a\""));
    assert!(!text.contains("node_cpu_seconds_total{"), "the family that does not fit is left out");
    assert!(text.contains("hostler_coordinator_node_series_dropped_total{instance=\"a\"} 501\n"));
    assert!(text.contains("hostler_refusals_total{refusal=\"replay\"} 0\n"), "counters begin at zero");
    let families: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
    let mut once = families.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), families.len(), "each family has one head");
    assert!(get(&fleet, "/").await.starts_with("HTTP/1.1 404"));

    drop((stream, to));
    let text = wait_for(&fleet, "hostler_node_up{instance=\"a\"} 0\n").await;
    assert!(text.contains("hostler_node_last_report_timestamp_seconds{instance=\"a\"} "));

    // What was heard outlives a restart, for people; a metric of the past it is not.
    fleet.restart(|_| {}).await;
    let text = wait_for(&fleet, "hostler_node_up{instance=\"a\"} 0\n").await;
    assert!(!text.contains("node_load1"));
    let history = node(&fleet).await;
    assert!(history.history.iter().any(|h| h.name == "load1" && h.points[0].value == 1.5), "{history:?}");
    assert!(history.facts.iter().any(|f| f.name == "node_load1"));

    // Without its index the coordinator starts as well.
    fleet.restart(|folder| std::fs::remove_dir_all(folder.join("index")).unwrap()).await;
    assert!(node(&fleet).await.history.is_empty());
    fleet
        .restart(|folder| {
            std::fs::remove_file(folder.join("index/db")).unwrap();
            std::fs::create_dir(folder.join("index/db")).unwrap();
        })
        .await;
    assert!(node(&fleet).await.history.is_empty());
    assert!(fleet.coordinator().folder.path().join("index.damaged-0").exists());
}

async fn node(fleet: &Fleet) -> v1::NodeDetail {
    let mut admin = fleet.login(&fleet.viewer).await.unwrap();
    let request = admin.with_session(v1::GetNodeRequest { name: "a".into() });
    admin.client.get_node(request).await.unwrap().into_inner()
}
