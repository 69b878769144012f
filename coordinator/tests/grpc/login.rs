//! Logins by an answered challenge, which counts once, with a pass that counts for a while.

use std::time::Duration;

use hostler_fixtures::{fresh_key, public, signed, signer};
use hostler_plan::{
    document::{DocumentKind, Pass, Root, Signed, SignerRole},
    id::{Digest, FleetId},
    refusal::Refusal,
    step::ClusterRole,
    timestamp::Timestamp,
};
use hostler_proto::{status::to_refused, v1};
use ssh_key::PrivateKey;
use tonic::Code;

use crate::fleet::{Admin, Fleet, answer, now, pass, with_session};

#[tokio::test]
async fn the_root_says_who_somebody_is() {
    let fleet = Fleet::start().await;
    use v1::SignerRole::{Admin, Operator, Viewer};
    for (key, name, role) in
        [(&fleet.admin, "ada", Admin), (&fleet.operator, "otto", Operator), (&fleet.viewer, "vera", Viewer)]
    {
        let admin = fleet.login(key).await.unwrap();
        assert_eq!((admin.login.signer.as_str(), admin.login.role()), (name, role));
    }
    assert_eq!(fleet.login(&fresh_key()).await.err().unwrap().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn an_answer_counts_once_on_its_connection_for_its_certificate_by_its_session_key() {
    let fleet = Fleet::start().await;
    let channel = fleet.admin_channel().await;
    let certificate = channel.certificate().unwrap();
    let session = fresh_key();
    let pass = signed(DocumentKind::Pass, &pass(fleet.pin, &fleet.admin, &session), &[&fleet.admin]);
    let answer = |key: &PrivateKey, nonce: &[u8], certificate| answer(key, pass.clone(), nonce, certificate);
    let mut client = v1::admin_client::AdminClient::new(channel.channel.clone());
    let nonce = client.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner().nonce;
    let good = answer(&session, &nonce, certificate);
    client.login(good.clone()).await.unwrap();
    assert_eq!(client.login(good).await.unwrap_err().code(), Code::Unauthenticated, "a nonce counts once");

    let nonce = client.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner().nonce;
    let mut elsewhere = fleet.admin_client().await;
    let carried = answer(&session, &nonce, certificate);
    assert_eq!(elsewhere.login(carried).await.unwrap_err().code(), Code::Unauthenticated, "another connection");

    let nonce = client.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner().nonce;
    let relayed = answer(&session, &nonce, Digest::of(b"another coordinator"));
    assert_eq!(client.login(relayed).await.unwrap_err().code(), Code::Unauthenticated, "another certificate");

    // Who kept a pass that was shown to it does not have its session key; the key of the root itself is not that one.
    for other in [&fresh_key(), &fleet.admin] {
        let nonce = client.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner().nonce;
        let status = client.login(answer(other, &nonce, certificate)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "another key");
    }

    let nonce = client.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner().nonce;
    let without = v1::LoginRequest { pass: None, ..answer(&session, &nonce, certificate) };
    assert_eq!(client.login(without).await.unwrap_err().code(), Code::InvalidArgument, "no pass");

    let made_up = answer(&session, &[7; 32], certificate);
    assert_eq!(client.login(made_up).await.unwrap_err().code(), Code::Unauthenticated, "a nonce of one's own");
}

/// Why a pass lets nobody in.
async fn refusal(fleet: &Fleet, session: &PrivateKey, pass: Signed) -> Refusal {
    let status = Admin::login_by(fleet.admin_channel().await, session, pass).await.err().expect("refused");
    to_refused(&status).unwrap_or_else(|| panic!("{status:?}")).refusal
}

#[tokio::test]
async fn a_pass_that_does_not_count_lets_nobody_in() {
    let fleet = Fleet::start().await;
    let session = fresh_key();
    let good = || pass(fleet.pin, &fleet.admin, &session);
    let (now, hours) = (now(), |n: u64| Duration::from_secs(n * 3600));
    let ago = |by: Duration| Timestamp::from_unix_seconds(now.unix_seconds() - by.as_secs());
    let cases = [
        ("expired", Pass { created: ago(hours(2)), expires: ago(hours(1)), ..good() }, Refusal::Expired),
        ("too long", Pass { expires: now.plus(hours(9)), ..good() }, Refusal::Expired),
        ("future", Pass { created: now.plus(hours(1)), expires: now.plus(hours(2)), ..good() }, Refusal::Expired),
        ("fleet", Pass { fleet_id: FleetId::new("0bad".repeat(8)).unwrap(), ..good() }, Refusal::WrongFleet),
        ("coordinator", Pass { coordinator_ca: vec![Digest::of(b"another")], ..good() }, Refusal::WrongFleet),
        ("signer", Pass { signer: public(&fleet.viewer).fingerprint(), ..good() }, Refusal::BadSignature),
    ];
    for (what, broken, expected) in cases {
        let signed = signed(DocumentKind::Pass, &broken, &[&fleet.admin]);
        assert_eq!(refusal(&fleet, &session, signed).await, expected, "{what}");
    }
    let by_viewer = signed(DocumentKind::Pass, &good(), &[&fleet.viewer]);
    assert_eq!(refusal(&fleet, &session, by_viewer).await, Refusal::BadSignature, "a viewer for an admin");
    for kind in [DocumentKind::Login, DocumentKind::Decision] {
        let mixed = signed(kind, &good(), &[&fleet.admin]);
        assert_eq!(refusal(&fleet, &session, mixed).await, Refusal::BadSignature, "in the namespace of a {kind:?}");
    }
    let short = Pass { expires: now.plus(Duration::from_secs(60)), ..good() };
    let signed = signed(DocumentKind::Pass, &short, &[&fleet.admin]);
    let admin = Admin::login_by(fleet.admin_channel().await, &session, signed).await.unwrap();
    assert_eq!(admin.login.expires, short.expires.unix_seconds(), "a session ends with its pass");
}

#[tokio::test]
async fn a_session_key_may_what_its_signer_may_and_signs_no_document() {
    let fleet = Fleet::start().await;
    let session = fresh_key();
    let login = async |key| {
        let pass = signed(DocumentKind::Pass, &pass(fleet.pin, key, &session), &[key]);
        Admin::login_by(fleet.admin_channel().await, &session, pass).await.unwrap()
    };
    let token = fleet.new_token(1, ClusterRole::Worker).admission;
    let by_admin = signed(DocumentKind::Admission, &token, &[&fleet.admin]);
    // The same session key, by a pass of each.
    let mut viewer = login(&fleet.viewer).await;
    let request = viewer.with_session(by_admin.clone().into());
    let status = viewer.client.submit_admission(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "a viewer hands nothing in");
    let mut admin = login(&fleet.admin).await;
    let by_session = signed(DocumentKind::Admission, &token, &[&session]);
    let request = admin.with_session(by_session.into());
    let status = admin.client.submit_admission(request).await.unwrap_err();
    assert_eq!(to_refused(&status).unwrap().refusal, Refusal::BadSignature, "what the session key signs");
    let request = admin.with_session(by_admin.into());
    admin.client.submit_admission(request).await.unwrap();
}

#[tokio::test]
async fn a_revoked_key_ends_what_its_session_key_has_open_and_lets_it_in_no_more() {
    let fleet = Fleet::start().await;
    let (eve, session) = (fresh_key(), fresh_key());
    let mut admin = fleet.login(&fleet.admin).await.unwrap();
    let mut root = Root { version: 2, ..fleet.unsigned_root() };
    root.signers.push(signer("eve", public(&eve), SignerRole::Admin));
    let install = |root: &Root| v1::InstallRootRequest {
        root: Some(signed(DocumentKind::Root, root, &[&fleet.admin]).into()),
        setup_code: String::new(),
    };
    admin.client.install_root(admin.with_session(install(&root))).await.unwrap();
    let pass = signed(DocumentKind::Pass, &pass(fleet.pin, &eve, &session), &[&eve]);
    let mut open = Admin::login_by(fleet.admin_channel().await, &session, pass.clone()).await.unwrap();
    let look = open.with_session(v1::Empty {});
    open.client.list_tokens(look).await.unwrap();
    let mut less = Root { version: 3, ..root };
    less.signers[3].role = SignerRole::Viewer;
    admin.client.install_root(admin.with_session(install(&less))).await.unwrap();
    let put = open.with_session(v1::FleetFile::default());
    assert_eq!(open.client.put_fleet_file(put).await.unwrap_err().code(), Code::PermissionDenied, "a viewer now");
    let gone = Root { version: 4, revoked: vec![public(&eve).fingerprint()], ..less };
    admin.client.install_root(admin.with_session(install(&gone))).await.unwrap();
    let look = open.with_session(v1::Empty {});
    assert_eq!(open.client.list_tokens(look).await.unwrap_err().code(), Code::Unauthenticated, "it was open");
    assert_eq!(refusal(&fleet, &session, pass).await, Refusal::Revoked, "and comes back no more");
}

#[tokio::test]
async fn a_session_is_good_on_its_connection_only() {
    let fleet = Fleet::start().await;
    let mut admin = fleet.login(&fleet.admin).await.unwrap();
    let request = admin.with_session(v1::Empty {});
    admin.client.list_tokens(request).await.unwrap();
    let mut other = fleet.admin_client().await;
    let status = other.list_tokens(with_session(v1::Empty {}, &admin.session)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let status = other.list_tokens(v1::Empty {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn the_first_root_needs_the_set_up_code_and_the_second_a_session() {
    let fleet = Fleet::without_root().await;
    let code = fleet.coordinator().setup_code();
    assert_eq!(code.ca_pin, fleet.pin);
    let install = |code: &str| v1::InstallRootRequest { root: Some(fleet.root().into()), setup_code: code.into() };
    let mut client = fleet.admin_client().await;
    for wrong in ["", "0", &code.code[1..]] {
        assert_eq!(client.install_root(install(wrong)).await.unwrap_err().code(), Code::Unauthenticated);
    }
    assert!(Admin::login(fleet.admin_channel().await, fleet.pin, &fleet.admin).await.is_err(), "nobody is known yet");
    client.install_root(install(&code.code)).await.unwrap();
    assert!(!fleet.coordinator().folder.path().join("setup-code").exists());
    assert_eq!(client.install_root(install(&code.code)).await.unwrap_err().code(), Code::Unauthenticated, "used up");
    let mut admin = fleet.login(&fleet.admin).await.unwrap();
    let request = admin.with_session(install(""));
    assert!(!admin.client.install_root(request).await.unwrap().into_inner().is_new);
}

#[tokio::test]
async fn a_root_that_locks_this_coordinator_out_is_refused() {
    let mut fleet = Fleet::without_root().await;
    let code = fleet.coordinator().setup_code().code;
    let good = fleet.pin;
    fleet.pin = Digest::of(b"another CA");
    let root = fleet.root();
    fleet.pin = good;
    let mut client = fleet.admin_client().await;
    let status =
        client.install_root(v1::InstallRootRequest { root: Some(root.into()), setup_code: code }).await.unwrap_err();
    assert!(status.message().contains("CA"), "{status:?}");
    assert!(fleet.coordinator().folder.path().join("setup-code").exists(), "the code is still good");
}
