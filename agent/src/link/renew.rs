//! A new certificate before the old one runs out.

use hostler_plan::{document::Signed, timestamp::Timestamp};
use hostler_proto::{
    MAX_MESSAGE_BYTES,
    tls::connect,
    v1::{
        EnrolResponse, RenewCertificateRequest, RenewRequest, RenewalChallengeRequest, agent_client::AgentClient,
        enrolment_client::EnrolmentClient,
    },
};
use tonic::transport::Channel;

use super::{ANSWER_LIMIT, Link, LinkError};
use crate::credentials::{Credentials, certificate_request, new_tls_key, tls_key_digest};
use hostler_executor::protocol::Request;

/// A new certificate over a connection that still has one.
pub(super) async fn in_time(
    link: &Link,
    credentials: &Credentials,
    client: &mut AgentClient<Channel>,
) -> Result<Credentials, LinkError> {
    let key = new_tls_key().map_err(|e| LinkError::Renewal(e.to_string()))?;
    let certificate_request = certificate_request(&key).map_err(|e| LinkError::Renewal(e.to_string()))?;
    let answer = client.renew_certificate(RenewCertificateRequest { certificate_request });
    let answer = tokio::time::timeout(ANSWER_LIMIT, answer).await;
    let answer = answer.map_err(|_| LinkError::Renewal("no answer".into()))?;
    let answer = answer.map_err(|status| LinkError::Renewal(status.message().to_owned()))?;
    take(link, credentials, &key, answer.into_inner())
}

/// A new certificate for a node that was off until the old one had run out: the roster knows its key.
pub(super) async fn with_node_key(link: &Link, credentials: &Credentials) -> Result<Credentials, LinkError> {
    let failed = |e: &dyn std::fmt::Display| LinkError::Renewal(e.to_string());
    let channel = connect(&link.coordinator(&credentials.enrolment_address, credentials), None).await?;
    let mut client = EnrolmentClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let node = credentials.node.to_string();
    let exchange = async {
        let challenge = client.renewal_challenge(RenewalChallengeRequest { node: node.clone() }).await?;
        let nonce = challenge.into_inner().nonce;
        Ok::<_, tonic::Status>((nonce, client))
    };
    let answer = tokio::time::timeout(ANSWER_LIMIT, exchange).await.map_err(|_| failed(&"no answer"))?;
    let (nonce, mut client) = answer.map_err(|status| failed(&status.message()))?;
    let key = new_tls_key().map_err(|e| failed(&e))?;
    let certificate_request = certificate_request(&key).map_err(|e| failed(&e))?;
    let signature = link.executor.renew(tls_key_digest(&key), nonce.clone()).await?;
    let answer = client.renew(RenewRequest { node, nonce, certificate_request, signature });
    let answer = tokio::time::timeout(ANSWER_LIMIT, answer).await.map_err(|_| failed(&"no answer"))?;
    take(link, credentials, &key, answer.map_err(|status| failed(&status.message()))?.into_inner())
}

/// The old credentials stay until the new ones are checked and durable.
fn take(link: &Link, old: &Credentials, key: &rcgen::KeyPair, answer: EnrolResponse) -> Result<Credentials, LinkError> {
    let agent_address = if answer.agent_address.is_empty() { old.agent_address.clone() } else { answer.agent_address };
    let new = Credentials::new(
        &old.identity(),
        key,
        answer.certificate_chain,
        (old.enrolment_address.clone(), agent_address),
        Timestamp::from_unix_seconds(answer.renew_after),
    )?;
    new.store(&link.folder)?;
    if let Some(trust) = answer.trust {
        let request = Request::Trust {
            roots: trust.roots.into_iter().map(Signed::from).collect(),
            roster: trust.roster.map(Signed::from),
        };
        // A full queue loses nothing: the coordinator offers its roots on every connection.
        let _ = link.executor.offer(request);
    }
    tracing::info!("got a new certificate, valid until {}", new.expires().map_or_else(String::new, |e| e.to_string()));
    Ok(new)
}
