//! Every call of every service, by everybody, against a table. A call without a row fails.

use std::{collections::BTreeMap, time::Duration};

use hostler_plan::{document::RosterStatus, step::ClusterRole};
use hostler_proto::v1::{self, Empty};
use tokio_stream::{StreamExt as _, once};
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::fleet::{Admin, Fleet, Node, Running};

const PROTOS: [(&str, &str); 3] = [
    ("Admin", include_str!("../../../proto/hostler/v1/admin.proto")),
    ("Agent", include_str!("../../../proto/hostler/v1/agent.proto")),
    ("Enrolment", include_str!("../../../proto/hostler/v1/enrolment.proto")),
];

/// Call, and the least that one must be: `anybody`, `viewer`, `operator`, `admin`, `node` or `pending`.
const TABLE: &str = include_str!("authorisation.table");

/// Whether a call came past the door: whatever it says then, it is not that the caller may not call.
#[expect(clippy::wildcard_enum_match_arm, reason = "tonic::Code is foreign; the door answers with two of them")]
fn came_in<T>(result: Result<T, Status>) -> bool {
    match result {
        Ok(_) => true,
        // Refusals of documents are PERMISSION_DENIED with a refusal in the metadata; the door's have none.
        Err(status) => match status.code() {
            Code::Unauthenticated => false,
            Code::PermissionDenied => hostler_proto::status::to_refused(&status).is_some(),
            _ => true,
        },
    }
}

fn table() -> BTreeMap<&'static str, &'static str> {
    TABLE
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty())
        .map(|l| l.split_once(' ').unwrap())
        .map(|(c, w)| (c, w.trim()))
        .collect()
}

#[test]
fn every_call_has_a_row_and_every_row_a_call() {
    let calls: Vec<String> = PROTOS
        .iter()
        .flat_map(|(service, text)| {
            text.lines()
                .filter_map(|l| l.trim().strip_prefix("rpc "))
                .map(move |l| format!("{service}.{}", l.split('(').next().unwrap()))
        })
        .collect();
    let rows = table();
    assert!(calls.len() >= 28);
    for call in &calls {
        assert!(rows.contains_key(call.as_str()), "{call} has no row in authorisation.table");
    }
    assert_eq!(rows.len(), calls.len(), "a row without a call");
}

/// Makes one admin call. Every message is empty: the door comes before the content.
async fn admin_call(call: &str, admin: &mut Admin) -> bool {
    macro_rules! call {
        ($method:ident, $message:expr) => {{
            let request = admin.with_session($message);
            came_in(admin.client.$method(request).await)
        }};
    }
    match call {
        "Challenge" => call!(challenge, v1::ChallengeRequest::default()),
        // Without an answer nobody comes in, whoever it is: login.rs tests it.
        "Login" => true,
        "InstallRoot" => call!(install_root, v1::InstallRootRequest::default()),
        "GetTrust" => call!(get_trust, v1::GetTrustRequest::default()),
        "SubmitAdmission" => call!(submit_admission, v1::SignedDocument::default()),
        "RevokeToken" => call!(revoke_token, v1::RevokeTokenRequest::default()),
        "ListTokens" => call!(list_tokens, Empty {}),
        "ListEnrolments" => call!(list_enrolments, Empty {}),
        "SubmitRoster" => call!(submit_roster, v1::SignedDocument::default()),
        "ListNodes" => call!(list_nodes, Empty {}),
        "GetNode" => call!(get_node, v1::GetNodeRequest::default()),
        "GetInventory" => call!(get_inventory, Empty {}),
        "UploadArtifact" => call!(upload_artifact, once(v1::UploadArtifactRequest::default())),
        "SubmitPlan" => call!(submit_plan, v1::SignedDocument::default()),
        "ListRollouts" => call!(list_rollouts, Empty {}),
        "GetRollout" => call!(get_rollout, v1::GetRolloutRequest::default()),
        "WatchRollout" => call!(watch_rollout, v1::GetRolloutRequest::default()),
        "ControlRollout" => call!(control_rollout, v1::ControlRolloutRequest::default()),
        "ReleaseQuarantine" => call!(release_quarantine, v1::ReleaseQuarantineRequest::default()),
        "PutFleetFile" => call!(put_fleet_file, v1::FleetFile::default()),
        "GetFleetFile" => call!(get_fleet_file, Empty {}),
        "ExportLedger" => call!(export_ledger, v1::ExportLedgerRequest::default()),
        other => panic!("call {other} is not tried here"),
    }
}

#[tokio::test]
async fn admins_may_do_what_their_role_says() {
    let fleet = Fleet::start().await;
    let nobody =
        Admin { client: fleet.admin_client().await, session: "0".repeat(64), login: v1::LoginResponse::default() };
    let mut callers = [
        ("nobody", nobody),
        ("viewer", fleet.login(&fleet.viewer).await.unwrap()),
        ("operator", fleet.login(&fleet.operator).await.unwrap()),
        ("admin", fleet.login(&fleet.admin).await.unwrap()),
    ];
    let rank = |who: &str| ["anybody", "viewer", "operator", "admin"].iter().position(|w| *w == who);
    for (call, least) in table() {
        let Some(call) = call.strip_prefix("Admin.") else { continue };
        for (who, admin) in &mut callers {
            let expected = rank(who).unwrap_or(0) >= rank(least).unwrap();
            assert_eq!(admin_call(call, admin).await, expected, "{call} by {who}");
        }
    }
}

#[tokio::test]
async fn nodes_are_who_their_certificate_says() {
    let mut fleet = Fleet::start().await;
    let token = fleet.token(9, ClusterRole::Worker).await;
    let (active, pending, retired) = (Node::new("a"), Node::new("p"), Node::new("r"));
    let mut chains = Vec::new();
    for node in [&active, &pending, &retired] {
        chains.push(fleet.enrol(node, &token).await.unwrap().certificate_chain);
    }
    // Another machine took the name `x`, and the first one still holds a certificate for it.
    let replaced = Node::new("x");
    let replaced_chain = fleet.enrol(&replaced, &token).await.unwrap().certificate_chain;
    let successor = Node::new("x");
    let listed = [
        (&active, ClusterRole::Worker, RosterStatus::Active),
        (&retired, ClusterRole::Worker, RosterStatus::Retired),
        (&successor, ClusterRole::Worker, RosterStatus::Active),
    ];
    fleet.approve(&listed).await;
    let rows = table();
    for (who, node, chain) in [
        ("node", &active, &chains[0]),
        ("pending", &pending, &chains[1]),
        ("retired", &retired, &chains[2]),
        ("replaced", &replaced, &replaced_chain),
    ] {
        for call in ["Attach", "FetchArtifact", "RenewCertificate"] {
            let least = rows[format!("Agent.{call}").as_str()];
            let expected = match who {
                "node" => true,
                "pending" => least == "pending",
                _ => false,
            };
            let mut agent = fleet.agent(node, chain).await;
            let found = match call {
                "Attach" => came_in(agent.attach(once(v1::FromAgent { message: None })).await),
                "FetchArtifact" => came_in(agent.fetch_artifact(v1::FetchArtifactRequest::default()).await),
                _ => came_in(agent.renew_certificate(v1::RenewCertificateRequest::default()).await),
            };
            assert_eq!(found, expected, "{call} by {who}");
        }
    }
}

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
