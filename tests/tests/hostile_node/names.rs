//! Modes with names: certificates, enrolments, artifacts and calls that are not the thief's.

use hostler_fixtures::{fresh_key, signed};
use hostler_plan::{
    document::{DocumentKind, SignerRole},
    id::Digest,
    renewal::renewal_bytes,
    signature::sign,
    step::ClusterRole,
};
use hostler_proto::{
    tls::{NodeIdentity, connect},
    v1::{self, enrolment_client::EnrolmentClient},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, PublicKeyData as _, SanType};
use tonic::Status;

use crate::{
    fleet::{Admin, Node, pass},
    scene::{Mode, Scene, THIEF, mode, noted},
};

pub(crate) fn modes() -> Vec<Mode> {
    [certificates(), enrolments(), calls()].into_iter().flatten().collect()
}

/// Asks for a certificate with a request that says more than its key.
async fn certificate(scene: &Scene, params: CertificateParams) -> Result<Vec<u8>, Status> {
    let (node, chain) = &scene.ready.nodes[THIEF];
    let request = params.serialize_request(&node.tls).unwrap().der().to_vec();
    let mut agent = scene.ready.fleet.agent(node, chain).await;
    let answer = agent.renew_certificate(v1::RenewCertificateRequest { certificate_request: request }).await?;
    Ok(answer.into_inner().certificate_chain.swap_remove(0))
}

fn is_refused(answer: Result<impl std::fmt::Debug, Status>) -> Result<String, String> {
    match answer {
        Err(status) => Ok(format!("{:?}: {}", status.code(), status.message())),
        Ok(answer) => Err(format!("expected a refusal, found {answer:?}")),
    }
}

fn certificates() -> Vec<Mode> {
    vec![
        mode("a certificate in another node's name", "only the key of a request is taken", |s| {
            Box::pin(async move {
                let fleet = s.ready.fleet.id.clone();
                let other = NodeIdentity { fleet, node: "b".parse().unwrap() };
                let uri = SanType::URI(other.to_string().try_into().unwrap());
                let mut params = CertificateParams::default();
                params.subject_alt_names = vec![uri];
                let leaf = certificate(s, params).await.map_err(|status| status.to_string())?;
                let identity = NodeIdentity::from_certificate(&leaf).unwrap();
                match identity.node.as_str() {
                    "a" => Ok(format!("issued to {identity}")),
                    _ => Err(format!("issued to {identity}")),
                }
            })
        }),
        mode("a certificate that issues others", "only the key of a request is taken", |s| {
            Box::pin(async move {
                let mut params = CertificateParams::default();
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                match certificate(s, params).await {
                    // The extension: basicConstraints with cA TRUE.
                    Ok(leaf) if leaf.windows(7).any(|w| w == [0x04, 0x05, 0x30, 0x03, 0x01, 0x01, 0xff]) => {
                        Err("it may issue others".to_owned())
                    }
                    Ok(_) => Ok("issued as a leaf".to_owned()),
                    Err(status) => Ok(status.message().to_owned()),
                }
            })
        }),
        mode("noise instead of a certificate request", "types", |s| {
            Box::pin(async move {
                let (node, chain) = &s.ready.nodes[THIEF];
                let mut agent = s.ready.fleet.agent(node, chain).await;
                let request = v1::RenewCertificateRequest { certificate_request: vec![0x30; 4096] };
                is_refused(agent.renew_certificate(request).await)
            })
        }),
        mode("another node's certificate by its own key", "a renewal is by the roster's key", |s| {
            Box::pin(async move { renewal(s, "b", &s.thief().key, false).await })
        }),
        mode("a certificate of a node that is not there", "a renewal is by the roster's key", |s| {
            Box::pin(async move { renewal(s, "nobody", &s.thief().key, false).await })
        }),
        mode("an answer to a challenge about itself for another", "a challenge has its subject", |s| {
            Box::pin(async move { renewal(s, "b", s.honest_key(), true).await })
        }),
    ]
}

/// Asks for a certificate of a node with the answer of a key; with a challenge about the thief or about that node.
async fn renewal(s: &Scene, node: &str, key: &ssh_key::PrivateKey, about_thief: bool) -> Result<String, String> {
    let at = s.ready.fleet.at(s.ready.fleet.coordinator().addresses.enrolment);
    let mut client = EnrolmentClient::new(connect(&at, None).await.unwrap());
    let asked = if about_thief { "a" } else { node };
    let challenge = client.renewal_challenge(v1::RenewalChallengeRequest { node: asked.into() }).await;
    let nonce = match challenge {
        Ok(challenge) => challenge.into_inner().nonce,
        Err(status) => return Ok(status.message().to_owned()),
    };
    let tls = &s.thief().tls;
    let bytes = renewal_bytes(&node.parse().unwrap(), &Digest::of(&tls.subject_public_key_info()), &nonce);
    let signature = sign(key, DocumentKind::Login, &bytes).unwrap();
    let request = v1::RenewRequest { node: node.into(), nonce, certificate_request: s.thief().request(), signature };
    match client.renew(request).await {
        Ok(_) => Err("a certificate was issued".to_owned()),
        Err(status) => Ok(status.message().to_owned()),
    }
}

fn enrolments() -> Vec<Mode> {
    vec![
        noted(
            2,
            mode("another node's name with a token that never was", "tokens are signed", |s| {
                Box::pin(async move {
                    let token = s.ready.fleet.new_token(9, ClusterRole::Worker);
                    let impostor = Node::new("b");
                    is_refused(s.ready.fleet.enrol(&impostor, &token).await.map(|_| ()))
                })
            }),
        ),
        noted(
            6,
            mode("10 enrolments with a token that never was", "tokens are signed", |s| {
                Box::pin(async move {
                    let token = s.ready.fleet.new_token(9, ClusterRole::Server);
                    let mut last = Err("none".to_owned());
                    for n in 0..10 {
                        let node = Node::new(&format!("x{n}"));
                        last = is_refused(s.ready.fleet.enrol(&node, &token).await.map(|_| ()));
                    }
                    last
                })
            }),
        ),
        mode("a login with the key of a node", "people log in with keys of the root", |s| {
            Box::pin(async move { is_refused(s.ready.fleet.login(&s.thief().key).await.map(|_| ())) })
        }),
        mode("100 logins with keys of nobody", "a flood of logins leaves nothing behind", |s| {
            Box::pin(async move {
                let mut last = Ok(String::new());
                for _ in 0..100 {
                    last = is_refused(s.ready.fleet.login(&fresh_key()).await.map(|_| ()));
                    if last.is_err() {
                        break;
                    }
                }
                last
            })
        }),
        mode("a pass in the name of an admin", "a pass is signed by its signer", |s| {
            Box::pin(async move {
                let (fleet, own) = (&s.ready.fleet, &s.thief().key);
                let forged = signed(DocumentKind::Pass, &pass(fleet.pin, &fleet.admin, own), &[own]);
                is_refused(Admin::login_by(fleet.admin_channel().await, own, forged).await.map(|_| ()))
            })
        }),
        mode("the pass of an admin without its session key", "the key of a pass answers", |s| {
            Box::pin(async move {
                let (fleet, own) = (&s.ready.fleet, &s.thief().key);
                let heard = signed(DocumentKind::Pass, &pass(fleet.pin, &fleet.admin, &fresh_key()), &[&fleet.admin]);
                is_refused(Admin::login_by(fleet.admin_channel().await, own, heard).await.map(|_| ()))
            })
        }),
    ]
}

fn calls() -> Vec<Mode> {
    vec![
        mode("an artifact that no plan of its names", "artifacts of its own plans", |s| {
            Box::pin(async move { artifact(s, &Digest::of(b"a secret of others").to_string(), 0).await })
        }),
        mode("a path for a digest", "ids are typed", |s| Box::pin(async move { artifact(s, "../../ledger", 0).await })),
        mode("a place behind every end", "an offset lies inside", |s| {
            Box::pin(async move { artifact(s, &Digest::of(b"none").to_string(), u64::MAX).await })
        }),
        mode("calls of an admin with a node's certificate", "a listener has its own callers", |s| {
            Box::pin(async move {
                let admin = s.ready.fleet.login(&s.ready.fleet.viewer).await.unwrap();
                assert_eq!(admin.login.role(), v1::SignerRole::from(SignerRole::Viewer));
                let (node, chain) = &s.ready.nodes[THIEF];
                let identity = crate::fleet::identity(node, chain);
                let at = s.ready.fleet.at(s.ready.fleet.coordinator().addresses.admin);
                let channel = connect(&at, Some(identity)).await.map_err(|e| e.to_string())?;
                let mut client = v1::admin_client::AdminClient::new(channel);
                // A session of somebody else, on a connection that it does not belong to.
                is_refused(client.list_nodes(admin.with_session(v1::Empty {})).await)
            })
        }),
        mode("an admin's session on another connection", "a session is one connection's", |s| {
            Box::pin(async move {
                let admin = s.ready.fleet.login(&s.ready.fleet.admin).await.unwrap();
                let mut other: Admin = s.ready.fleet.login(&s.ready.fleet.viewer).await.unwrap();
                is_refused(other.client.list_nodes(admin.with_session(v1::Empty {})).await)
            })
        }),
    ]
}

async fn artifact(scene: &Scene, digest: &str, offset: u64) -> Result<String, String> {
    let (node, chain) = &scene.ready.nodes[THIEF];
    let mut agent = scene.ready.fleet.agent(node, chain).await;
    let request = v1::FetchArtifactRequest { digest: digest.to_owned(), offset };
    is_refused(agent.fetch_artifact(request).await.map(|_| ()))
}
