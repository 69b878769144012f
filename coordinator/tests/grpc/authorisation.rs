//! Nodes at the agents' door. Every call by everybody is tried in tests/tests/doors.

use std::time::Duration;

use hostler_plan::{document::RosterStatus, step::ClusterRole};
use hostler_proto::v1;
use tokio_stream::{StreamExt as _, once};
use tonic::{Code, Streaming, transport::Channel};

use crate::fleet::{Fleet, Node, Running};

#[tokio::test]
async fn without_a_certificate_of_this_coordinator_nobody_comes_to_the_agents_door() {
    let fleet = Fleet::start().await;
    let address = fleet.at(fleet.coordinator().addresses.agents);
    // TLS 1.3 tells a client of a missing certificate with the first answer.
    if let Ok(channel) = hostler_proto::tls::connect(&address, None).await {
        let mut client = v1::agent_client::AgentClient::new(channel);
        assert!(client.renew_certificate(v1::RenewCertificateRequest::default()).await.is_err());
    }
    let other = Fleet::start().await;
    let token = other.token(1, ClusterRole::Worker).await;
    let node = Node::new("w1");
    let chain = other.enrol(&node, &token).await.unwrap().certificate_chain;
    let identity = hostler_proto::tls::ClientIdentity {
        chain: chain.into_iter().map(Into::into).collect(),
        key: rustls_pki_types::PrivateKeyDer::Pkcs8(node.tls.serialize_der().into()),
    };
    if let Ok(channel) = hostler_proto::tls::connect(&address, Some(identity)).await {
        let mut client = v1::agent_client::AgentClient::new(channel);
        assert!(client.renew_certificate(v1::RenewCertificateRequest::default()).await.is_err());
    }
}

#[tokio::test]
async fn a_certificate_that_runs_out_ends_an_open_connection_too() {
    let short = |settings: &mut hostler_coordinator::Settings| {
        settings.node_certificate_lifetime = Duration::from_secs(6);
    };
    let coordinator = Running::start_with(tempfile::tempdir().unwrap(), short).await;
    let fleet = Fleet::around(coordinator).await.with_root().await;
    let token = fleet.token(1, ClusterRole::Worker).await;
    let node = Node::new("w1");
    let chain = fleet.enrol(&node, &token).await.unwrap().certificate_chain;
    let mut agent = fleet.agent(&node, &chain).await;
    let mut stream = attach(&mut agent).await;
    let renewal = v1::RenewCertificateRequest { certificate_request: node.request() };
    agent.renew_certificate(renewal.clone()).await.unwrap();
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ends without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(status.message().contains("ran out"));
    assert_eq!(agent.renew_certificate(renewal).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_node_that_is_retired_loses_its_stream_at_once() {
    let mut fleet = Fleet::start().await;
    let token = fleet.token(1, ClusterRole::Worker).await;
    let node = Node::new("w1");
    let chain = fleet.enrol(&node, &token).await.unwrap().certificate_chain;
    let mut agent = fleet.agent(&node, &chain).await;
    let mut stream = attach(&mut agent).await;
    fleet.approve(&[(&node, ClusterRole::Worker, RosterStatus::Active)]).await;
    fleet.approve(&[(&node, ClusterRole::Worker, RosterStatus::Retired)]).await;
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ends without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let again = agent.attach(once(v1::FromAgent { message: None })).await;
    assert_eq!(again.err().unwrap().code(), Code::PermissionDenied);
}

/// A stream that said hello; its sending end stays open for as long as the connection.
async fn attach(agent: &mut v1::agent_client::AgentClient<Channel>) -> Streaming<v1::ToAgent> {
    let hello = v1::Hello { boot_id: "0-1".into(), ..v1::Hello::default() };
    let first = once(v1::FromAgent { message: Some(v1::from_agent::Message::Hello(hello)) });
    agent.attach(first.chain(tokio_stream::pending())).await.unwrap().into_inner()
}
