//! Enrolment: who is admitted with which token, once and again, and who is not.

use std::time::Duration;

use hostler_fixtures::name;
use hostler_plan::{
    document::{DocumentKind, Enrolment, RosterStatus, Signed},
    entry::Entry,
    id::{Digest, FleetId},
    json,
    planner::{Inventory, InventoryNode},
    refusal::Refusal,
    sequencer::Standing,
    signature::sign,
    step::ClusterRole,
};
use hostler_proto::{
    status::to_refused,
    tls::{Coordinator, NodeIdentity, connect},
    v1::{self, FromAgent, enrolment_client::EnrolmentClient, from_agent},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::fleet::{Fleet, Node, Token, now};

fn refusal(status: &Status) -> Refusal {
    to_refused(status).unwrap_or_else(|| panic!("expected a refusal, found {status:?}")).refusal
}

#[tokio::test]
async fn a_node_enrols_and_the_same_key_is_admitted_again() {
    let fleet = Fleet::start().await;
    let token = fleet.token(1, ClusterRole::Worker).await;
    let node = Node::new("w1");
    let first = fleet.enrol(&node, &token).await.unwrap();
    let identity = NodeIdentity::from_certificate(&first.certificate_chain[0]).unwrap();
    assert_eq!((identity.fleet, identity.node), (fleet.id.clone(), node.name.clone()));
    let trust = first.trust.unwrap();
    assert_eq!(Digest::of(&trust.roots[0].content), fleet.root().digest());
    assert!(trust.roster.is_none());
    assert_eq!(first.agent_address, fleet.coordinator().addresses.agents.to_string());
    assert!(first.renew_after > now().unix_seconds());
    let records = fleet.ledger().await.len();
    let again = fleet.enrol(&node, &token).await.unwrap();
    assert_eq!(again.certificate_chain.len(), 2);
    assert_eq!(fleet.ledger().await.len(), records, "the same key again is no new record");
    let mut admin = fleet.login(&fleet.viewer).await.unwrap();
    let request = admin.with_session(v1::Empty {});
    let pending = admin.client.list_enrolments(request).await.unwrap().into_inner().enrolments;
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].peer_address, "127.0.0.1");
}

#[tokio::test]
async fn of_many_keys_a_token_admits_as_many_as_it_says() {
    let fleet = Fleet::start().await;
    let token = fleet.token(2, ClusterRole::Worker).await;
    let nodes: Vec<Node> = (0..12).map(|i| Node::new(&format!("w{i}"))).collect();
    let answers = futures_util::future::join_all(nodes.iter().map(|n| fleet.enrol(n, &token))).await;
    assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 2);
    for refused in answers.iter().filter_map(|a| a.as_ref().err()) {
        assert_eq!(refusal(refused), Refusal::NotAllowed);
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("127.0.0.1"), "both addresses: {}", refused.message());
    }
    let alarms = fleet.ledger().await.into_iter().filter(|r| matches!(r.entry, Entry::Alarm { .. })).count();
    assert!(alarms >= 1);
}

#[tokio::test]
async fn tokens_that_do_not_count_admit_nobody() {
    let fleet = Fleet::start().await;
    let node = Node::new("w1");

    let unknown = fleet.new_token(1, ClusterRole::Worker);
    assert_eq!(refusal(&fleet.enrol(&node, &unknown).await.unwrap_err()), Refusal::NotAllowed);

    // A token that is used after it expired.
    let mut short = fleet.new_token(1, ClusterRole::Worker);
    short.admission.expires = now().plus(Duration::from_secs(3));
    fleet.submit(&short.admission).await.unwrap();
    while now() < short.admission.expires {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(refusal(&fleet.enrol(&node, &short).await.unwrap_err()), Refusal::Expired);

    let mut old = fleet.new_token(1, ClusterRole::Worker);
    old.admission.created = now().plus(Duration::ZERO);
    old.admission.expires = old.admission.created;
    assert!(fleet.submit(&old.admission).await.is_err(), "a dead token is not even taken");

    let mut other = fleet.new_token(1, ClusterRole::Worker);
    other.admission.fleet_id = FleetId::new("0".repeat(32)).unwrap();
    assert_eq!(refusal(&fleet.submit(&other.admission).await.unwrap_err()), Refusal::WrongFleet);

    let token = fleet.token(1, ClusterRole::Worker).await;
    let mut claimed = token.admission.clone();
    claimed.fleet_id = other.admission.fleet_id;
    let wrong_fleet = node.enrolment(&Token { key: token.key.clone(), admission: claimed });
    assert_eq!(refusal(&fleet.enrol_with(&node, wrong_fleet).await.unwrap_err()), Refusal::WrongFleet);

    let mut admin = fleet.login(&fleet.admin).await.unwrap();
    let request = admin.with_session(v1::RevokeTokenRequest { token: token.admission.token.to_string() });
    admin.client.revoke_token(request).await.unwrap();
    assert_eq!(refusal(&fleet.enrol(&node, &token).await.unwrap_err()), Refusal::Revoked);
    let enrolments = fleet
        .ledger()
        .await
        .into_iter()
        .filter(|r| matches!(r.entry, Entry::Document { kind: DocumentKind::Enrolment, .. }));
    assert_eq!(enrolments.count(), 0);
}

#[tokio::test]
async fn an_enrolment_must_be_whole() {
    let fleet = Fleet::start().await;
    let token = fleet.token(5, ClusterRole::Worker).await;
    let node = Node::new("w1");
    let good = node.enrolment(&token);

    let mut flipped = good.clone();
    flipped.bytes[40] ^= 1;
    assert_eq!(refusal(&fleet.enrol_with(&node, flipped).await.unwrap_err()), Refusal::Malformed);
    let mut changed = good.clone();
    changed.bytes =
        String::from_utf8(good.bytes.clone()).unwrap().replace("Raspberry Pi 5", "Raspberry Pi 4").into_bytes();
    assert_eq!(refusal(&fleet.enrol_with(&node, changed).await.unwrap_err()), Refusal::BadSignature);
    for one in 0..2 {
        let mut single = good.clone();
        single.signatures.remove(one);
        assert_eq!(refusal(&fleet.enrol_with(&node, single).await.unwrap_err()), Refusal::BadSignature);
    }
    // Somebody else's certificate request beside a good enrolment.
    let other = Node::new("w1");
    assert_eq!(refusal(&fleet.enrol_with(&other, good).await.unwrap_err()), Refusal::DigestMismatch);
}

#[tokio::test]
async fn a_name_belongs_to_one_key_and_a_key_to_one_name() {
    let mut fleet = Fleet::start().await;
    let token = fleet.token(5, ClusterRole::Worker).await;
    let node = Node::new("w1");
    fleet.enrol(&node, &token).await.unwrap();

    let twin = Node::new("w1");
    let refused = fleet.enrol(&twin, &token).await.unwrap_err();
    assert_eq!(refusal(&refused), Refusal::NotAllowed);
    assert!(refused.message().contains("w1"));

    let mut copy = Node::new("w2");
    (copy.key, copy.seal_key) = (node.key.clone(), node.seal_key.clone());
    assert_eq!(refusal(&fleet.enrol(&copy, &token).await.unwrap_err()), Refusal::NotAllowed);

    // Retired, the old key stays out and a new one may have the name.
    fleet.approve(&[(&node, ClusterRole::Worker, RosterStatus::Retired)]).await;
    assert_eq!(refusal(&fleet.enrol(&node, &token).await.unwrap_err()), Refusal::Revoked);
    fleet.enrol(&twin, &token).await.unwrap();
}

#[tokio::test]
async fn a_coordinator_with_another_key_hears_nothing() {
    let fleet = Fleet::start().await;
    let other = Coordinator { pins: vec![Digest::of(b"another")], ..fleet.at(fleet.coordinator().addresses.enrolment) };
    let error = connect(&other, None).await.unwrap_err().to_string();
    assert!(error.to_lowercase().contains("issuer"), "{error}");
}

#[tokio::test]
async fn a_node_that_was_off_renews_by_its_own_key() {
    let mut fleet = Fleet::start().await;
    let token = fleet.token(1, ClusterRole::Worker).await;
    let mut node = Node::new("w1");
    fleet.enrol(&node, &token).await.unwrap();
    fleet.approve(&[(&node, ClusterRole::Worker, RosterStatus::Active)]).await;
    node.tls = rcgen::KeyPair::generate().unwrap();

    let channel = connect(&fleet.at(fleet.coordinator().addresses.enrolment), None).await.unwrap();
    let mut client = EnrolmentClient::new(channel);
    let ask = |nonce: Vec<u8>, key: &ssh_key::PrivateKey, node: &Node| {
        let certificate_request = node.request();
        let tls_key = Digest::of(&rcgen::PublicKeyData::subject_public_key_info(&node.tls));
        let answer = hostler_plan::renewal::renewal_bytes(&node.name, &tls_key, &nonce);
        let signature = sign(key, DocumentKind::Login, &answer).unwrap();
        v1::RenewRequest { node: node.name.to_string(), nonce, certificate_request, signature }
    };
    let challenge = || v1::RenewalChallengeRequest { node: "w1".into() };
    let nonce = client.renewal_challenge(challenge()).await.unwrap().into_inner().nonce;
    let request = ask(nonce, &node.key, &node);
    let answer = client.renew(request.clone()).await.unwrap().into_inner();
    assert!(answer.trust.unwrap().roster.is_some());
    assert_eq!(client.renew(request).await.unwrap_err().code(), Code::Unauthenticated, "a nonce counts once");
    let mut agent = fleet.agent(&node, &answer.certificate_chain).await;
    let renewal = v1::RenewCertificateRequest { certificate_request: node.request() };
    agent.renew_certificate(renewal.clone()).await.unwrap();

    let stranger = hostler_fixtures::fresh_key();
    let nonce = client.renewal_challenge(challenge()).await.unwrap().into_inner().nonce;
    assert_eq!(refusal(&client.renew(ask(nonce, &stranger, &node)).await.unwrap_err()), Refusal::BadSignature);

    // Retired on an open connection: the very next call is refused.
    fleet.approve(&[(&node, ClusterRole::Worker, RosterStatus::Retired)]).await;
    assert_eq!(agent.renew_certificate(renewal).await.unwrap_err().code(), Code::PermissionDenied);
    let nonce = client.renewal_challenge(challenge()).await.unwrap().into_inner().nonce;
    assert_eq!(refusal(&client.renew(ask(nonce, &node.key, &node)).await.unwrap_err()), Refusal::Revoked);
}

#[tokio::test]
async fn one_address_cannot_knock_all_day() {
    let fleet = Fleet::start().await;
    let channel = connect(&fleet.at(fleet.coordinator().addresses.enrolment), None).await.unwrap();
    let mut client = EnrolmentClient::new(channel);
    let mut limited = 0;
    for _ in 0..200 {
        if let Err(status) = client.enrol(v1::EnrolRequest::default()).await {
            limited += usize::from(status.code() == Code::ResourceExhausted);
        }
    }
    assert!(limited >= 10, "{limited} of 200 were held back");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let mut fleet = Fleet::start().await;
    let token = fleet.token(1, ClusterRole::Worker).await;
    let node = Node::new("w1");
    fleet.enrol(&node, &token).await.unwrap();
    fleet.approve(&[(&node, ClusterRole::Worker, RosterStatus::Active)]).await;
    let before = fleet.ledger().await;
    fleet.restart(|_| {}).await;
    assert_eq!(fleet.ledger().await, before);
    fleet.enrol(&node, &token).await.unwrap();
    let late = Node::new("w2");
    assert_eq!(
        refusal(&fleet.enrol(&late, &token).await.unwrap_err()),
        Refusal::NotAllowed,
        "a spent token stays spent"
    );
}

#[tokio::test]
async fn revoking_a_token_frees_the_names_that_nobody_approved() {
    let mut fleet = Fleet::start().await;
    let stolen = fleet.token(2, ClusterRole::Worker).await;
    let (approved, squatter) = (Node::new("w1"), Node::new("w2"));
    let chain = fleet.enrol(&approved, &stolen).await.unwrap().certificate_chain;
    let squatting = fleet.enrol(&squatter, &stolen).await.unwrap().certificate_chain;
    fleet.approve(&[(&approved, ClusterRole::Worker, RosterStatus::Active)]).await;
    let mut admin = fleet.login(&fleet.admin).await.unwrap();
    let request = admin.with_session(v1::RevokeTokenRequest { token: stolen.admission.token.to_string() });
    admin.client.revoke_token(request).await.unwrap();

    let renewal = |node: &Node| v1::RenewCertificateRequest { certificate_request: node.request() };
    let mut stays = fleet.agent(&approved, &chain).await;
    stays.renew_certificate(renewal(&approved)).await.unwrap();
    let mut goes = fleet.agent(&squatter, &squatting).await;
    assert_eq!(goes.renew_certificate(renewal(&squatter)).await.unwrap_err().code(), Code::PermissionDenied);
    let token = fleet.token(1, ClusterRole::Worker).await;
    fleet.enrol(&Node::new("w2"), &token).await.unwrap();
}

/// The doubles that are shown, each with its name, key, address and the name of the one beside it.
async fn doubles(fleet: &Fleet) -> Vec<(String, String, String, String)> {
    let mut admin = fleet.login(&fleet.viewer).await.unwrap();
    let request = admin.with_session(v1::Empty {});
    let reply = admin.client.list_enrolments(request).await.unwrap().into_inner();
    let shown = reply.doubles.into_iter().map(|d| {
        let enrolment = d.enrolment.unwrap();
        let document: Enrolment = json::parse(&enrolment.enrolment.unwrap().content).unwrap();
        let address = format!("{} {}", enrolment.peer_address, d.beside_address);
        (document.node.to_string(), document.key.fingerprint().to_string(), address, d.beside_name)
    });
    shown.collect()
}

/// An enrolment on a board with this machine id.
fn on_machine(node: &Node, token: &Token, machine_id: &str) -> Signed {
    let mut enrolment: Enrolment = json::parse(&node.enrolment(token).bytes).unwrap();
    enrolment.hardware.machine_id = machine_id.repeat(32);
    hostler_fixtures::signed(DocumentKind::Enrolment, &enrolment, &[&token.key, &node.key])
}

#[tokio::test]
async fn a_double_is_shown_with_both_addresses_until_a_roster_says_which_is_which() {
    let mut fleet = Fleet::start().await;
    let token = fleet.token(5, ClusterRole::Worker).await;
    let (first, second, third) = (Node::new("w1"), Node::new("w1"), Node::new("w1"));
    fleet.enrol(&first, &token).await.unwrap();
    for twin in [&second, &third] {
        assert_eq!(refusal(&fleet.enrol(twin, &token).await.unwrap_err()), Refusal::NotAllowed);
    }
    let key = |node: &Node| hostler_fixtures::public(&node.key).fingerprint().to_string();
    let mut shown: Vec<String> = doubles(&fleet).await.into_iter().map(|(_, key, ..)| key).collect();
    let mut twins = vec![key(&second), key(&third)];
    shown.sort();
    twins.sort();
    assert_eq!(shown, twins);
    // Renamed by the roster, the second comes in under its new name at its next try.
    let mut renamed = Node::new("w2");
    (renamed.key, renamed.seal_key) = (second.key.clone(), second.seal_key.clone());
    fleet
        .approve(&[
            (&first, ClusterRole::Worker, RosterStatus::Active),
            (&renamed, ClusterRole::Worker, RosterStatus::Active),
        ])
        .await;
    let answer = fleet.enrol(&second, &token).await.unwrap();
    let named = NodeIdentity::from_certificate(&answer.certificate_chain[0]).unwrap();
    assert_eq!(named.node.as_str(), "w2");
    // Replaced by the roster, the third takes the name, and the first is out.
    fleet
        .approve(&[
            (&third, ClusterRole::Worker, RosterStatus::Active),
            (&first, ClusterRole::Worker, RosterStatus::Retired),
            (&renamed, ClusterRole::Worker, RosterStatus::Active),
        ])
        .await;
    fleet.enrol(&third, &token).await.unwrap();
    assert_eq!(refusal(&fleet.enrol(&first, &token).await.unwrap_err()), Refusal::Revoked);
}

#[tokio::test]
async fn a_copied_disk_is_a_double_by_its_key_and_by_its_machine_id() {
    let fleet = Fleet::start().await;
    let token = fleet.token(5, ClusterRole::Worker).await;
    let first = Node::new("w1");
    fleet.enrol_with(&first, on_machine(&first, &token, "a")).await.unwrap();
    fleet.enrol_with(&first, on_machine(&first, &token, "a")).await.expect("the same machine again");
    // The same key and name from another machine.
    let refused = fleet.enrol_with(&first, on_machine(&first, &token, "b")).await.unwrap_err();
    assert_eq!(refusal(&refused), Refusal::NotAllowed);
    assert!(refused.message().contains("came from another machine"), "{}", refused.message());
    // Another key and name from the same machine.
    let second = Node::new("w2");
    let refused = fleet.enrol_with(&second, on_machine(&second, &token, "a")).await.unwrap_err();
    assert_eq!(refusal(&refused), Refusal::NotAllowed);
    assert!(refused.message().contains("machine id") && refused.message().contains("w1"), "{}", refused.message());
    let shown = doubles(&fleet).await;
    let names: Vec<(&str, &str)> = shown.iter().map(|(name, _, _, beside)| (name.as_str(), beside.as_str())).collect();
    assert!(names.contains(&("w1", "w1")) && names.contains(&("w2", "w1")), "{shown:?}");
    assert!(shown.iter().all(|(_, _, address, _)| address == "127.0.0.1 127.0.0.1"), "{shown:?}");
    // An id of its own, and it comes in.
    fleet.enrol_with(&second, on_machine(&second, &token, "c")).await.unwrap();
    assert_eq!(doubles(&fleet).await.len(), 1);
}

/// How the cluster stands by `b` once the server `a` said which Node objects there are, with their machines.
async fn seen_as(fleet: &Fleet, to: &mpsc::Sender<FromAgent>, objects: &[(&str, &str)]) -> InventoryNode {
    let object = |(node, id): &(&str, &str)| v1::NodeCondition {
        node: (*node).into(),
        ready: true,
        machine_id: id.repeat(32),
        // Tells this reading from the ones before.
        version: format!("v1.34.{}", objects.len()),
        ..v1::NodeCondition::default()
    };
    let nodes = objects.iter().map(object).collect();
    to.send(FromAgent { message: Some(from_agent::Message::Conditions(v1::NodeConditions { nodes, age_seconds: 0 })) })
        .await
        .unwrap();
    let mut admin = fleet.login(&fleet.viewer).await.unwrap();
    let wanted = format!("v1.34.{}", objects.len()).parse().ok();
    for _ in 0..500 {
        let request = admin.with_session(v1::Empty {});
        let reply = admin.client.get_inventory(request).await.unwrap().into_inner();
        let mut nodes = Inventory::try_from(reply).unwrap().nodes;
        if nodes[&name("a")].condition.version == wanted {
            return nodes.remove(&name("b")).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("expected the reading of {objects:?} in the inventory");
}

#[tokio::test]
async fn a_member_under_another_name_is_known_by_its_machine_and_a_copied_id_says_nothing() {
    let mut fleet = Fleet::start().await;
    let token = fleet.token(2, ClusterRole::Worker).await;
    let long = format!("b.{}", ["x".repeat(62).as_str(); 4].join(".").split_at(251).0);
    let (a, b) = (Node::new("a"), Node::new("b"));
    let chain = fleet.enrol_with(&a, on_machine(&a, &token, "a")).await.unwrap().certificate_chain;
    let of_b = on_machine(&b, &token, "b");
    fleet.enrol_with(&b, of_b.clone()).await.unwrap();
    let active = RosterStatus::Active;
    fleet.approve(&[(&a, ClusterRole::Server, active), (&b, ClusterRole::Worker, active)]).await;
    let mut agent = fleet.agent(&a, &chain).await;
    let (to, receiver) = mpsc::channel(8);
    let hello = v1::Hello { boot_id: "0-1".into(), agent_version: "0.1.0".into(), ..v1::Hello::default() };
    to.send(FromAgent { message: Some(from_agent::Message::Hello(hello)) }).await.unwrap();
    let _stream = agent.attach(ReceiverStream::new(receiver)).await.unwrap();

    let alone = seen_as(&fleet, &to, &[("a", "a")]).await;
    assert_eq!((alone.condition.standing, alone.condition.other_names), (Standing::Outside, vec![]));
    let other = seen_as(&fleet, &to, &[("a", "a"), (&long, "b")]).await;
    assert_eq!((other.condition.standing, other.condition.other_names), (Standing::Ready, vec![name(&long)]));
    // What proves which machine that is: the enrolment that the roster names.
    assert_eq!(Digest::of(&other.enrolment), of_b.digest());
    // Two objects with one id, a copied disk: it may be either. A shortened name is no match.
    let copied = seen_as(&fleet, &to, &[("a", "a"), (&long, "b"), ("b.example.org", "b")]).await;
    let either = vec![name("b.example.org"), name(&long)];
    assert_eq!((copied.condition.standing, copied.condition.other_names), (Standing::Unknown, either));
    assert!(copied.enrolment.is_empty());
    let whole = seen_as(&fleet, &to, &[("a", "a"), (&long, "b"), ("c", "b"), ("b", "b")]).await;
    assert_eq!((whole.condition.standing, whole.condition.other_names), (Standing::Ready, vec![]));
    // Another machine has its name: the machine counts, where the cluster has it.
    let taken = [("a", "a"), ("b", "c"), ("d", "d"), ("e", "e"), (&*long, "b")];
    let taken = seen_as(&fleet, &to, &taken).await.condition;
    assert_eq!((taken.standing, taken.other_names), (Standing::Ready, vec![name(&long)]));
}
