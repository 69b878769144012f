//! Logins by an answered challenge, which counts once.

use hostler_fixtures::{fresh_key, public};
use hostler_plan::id::Digest;
use hostler_proto::v1;
use tonic::Code;

use crate::fleet::{Admin, Fleet, answer, with_session};

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
async fn an_answer_counts_once_on_its_connection_for_its_certificate() {
    let fleet = Fleet::start().await;
    let channel = fleet.admin_channel().await;
    let certificate = channel.certificate().unwrap();
    let mut client = v1::admin_client::AdminClient::new(channel.channel.clone());
    let nonce = client.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner().nonce;
    let good = answer(&fleet.admin, &nonce, certificate);
    client.login(good.clone()).await.unwrap();
    assert_eq!(client.login(good).await.unwrap_err().code(), Code::Unauthenticated, "a nonce counts once");

    let nonce = client.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner().nonce;
    let mut elsewhere = fleet.admin_client().await;
    let carried = answer(&fleet.admin, &nonce, certificate);
    assert_eq!(elsewhere.login(carried).await.unwrap_err().code(), Code::Unauthenticated, "another connection");

    let nonce = client.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner().nonce;
    let relayed = answer(&fleet.admin, &nonce, Digest::of(b"another coordinator"));
    assert_eq!(client.login(relayed).await.unwrap_err().code(), Code::Unauthenticated, "another certificate");

    let nonce = client.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner().nonce;
    let mut borrowed = answer(&fresh_key(), &nonce, certificate);
    borrowed.public_key = public(&fleet.admin).to_string();
    assert_eq!(client.login(borrowed).await.unwrap_err().code(), Code::Unauthenticated, "another key");

    let made_up = answer(&fleet.admin, &[7; 32], certificate);
    assert_eq!(client.login(made_up).await.unwrap_err().code(), Code::Unauthenticated, "a nonce of one's own");
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
    assert!(Admin::login(fleet.admin_channel().await, &fleet.admin).await.is_err(), "nobody is known yet");
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
