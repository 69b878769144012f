//! The listener for nodes without a certificate.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use hostler_plan::{document::DocumentKind, id::NodeName, renewal::renewal_bytes, signature};
use hostler_proto::{
    tls::{Origin, PeerInfo, Rank},
    v1::{
        EnrolRequest, EnrolResponse, RenewRequest, RenewalChallengeRequest, RenewalChallengeResponse,
        enrolment_server::Enrolment,
    },
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{
    SharedRef, address,
    ca::RequestedKey,
    convert::{required, trust_chain},
    peer,
    session::Challenges,
};
use crate::{
    clock::now,
    control,
    limits::{CALL_TIMEOUT, COUNTED_ADDRESSES, ENROLMENT_BURST, ENROLMENTS_PER_SECOND},
    rate::RateLimit,
};

/// What is served to nodes without a certificate: enrolment, and renewal by the node's own key.
#[derive(Debug)]
pub(crate) struct EnrolmentService {
    shared: SharedRef,
    attempts: Mutex<RateLimit<Origin>>,
    challenges: Mutex<Challenges<NodeName>>,
}

impl EnrolmentService {
    /// A service that nobody called yet.
    pub(crate) fn new(shared: SharedRef) -> Self {
        let milliseconds = u64::from(1000 / ENROLMENTS_PER_SECOND);
        let attempts = Mutex::new(RateLimit::new(ENROLMENT_BURST, milliseconds, COUNTED_ADDRESSES));
        Self { shared, attempts, challenges: Mutex::new(Challenges::new()) }
    }

    fn allow(&self, from: IpAddr) -> Result<(), Status> {
        let allowed = self.attempts.lock().unwrap_or_else(PoisonError::into_inner).take(from.into(), now());
        match allowed {
            true => Ok(()),
            false => Err(Status::resource_exhausted(format!(
                "{from} asked too often; expected at most {ENROLMENTS_PER_SECOND} enrolments a second, try again in a \
                    minute"
            ))),
        }
    }
}

#[tonic::async_trait]
impl Enrolment for EnrolmentService {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let peer = peer(&request)?;
        let address = address(&peer)?;
        self.allow(address)?;
        let request = request.into_inner();
        let key = RequestedKey::from_request(&request.certificate_request)?;
        let enrolment = required(request.enrolment, "an enrolment")?;
        let asked = control::EnrolRequest { enrolment, tls_key: key.spki_digest(), address };
        let admitted = self.shared.control.request(move |control, now| control.enrol(now, &asked)).await?;
        known(&peer);
        Ok(Response::new(self.shared.welcome(admitted, &key)?))
    }

    async fn renewal_challenge(
        &self,
        request: Request<RenewalChallengeRequest>,
    ) -> Result<Response<RenewalChallengeResponse>, Status> {
        let peer = peer(&request)?;
        self.allow(address(&peer)?)?;
        let node = node_name(&request.into_inner().node)?;
        let mut challenges = self.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        let nonce = challenges.open(&peer.connection, node, now())?;
        Ok(Response::new(RenewalChallengeResponse { nonce }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<EnrolResponse>, Status> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let node = node_name(&request.node)?;
        let open = {
            let mut challenges = self.challenges.lock().unwrap_or_else(PoisonError::into_inner);
            challenges.take(&request.nonce, &peer.connection, &node, now())
        };
        if !open {
            return Err(Status::unauthenticated(
                "expected the answer to a challenge of this connection within 15 seconds, found none open; ask for a \
                    new challenge",
            ));
        }
        let key = RequestedKey::from_request(&request.certificate_request)?;
        let answer = renewal_bytes(&node, &key.spki_digest(), &request.nonce);
        let signer = signature::verify(DocumentKind::Login, &answer, &request.signature)
            .map_err(|e| Status::unauthenticated(format!("the answer to the challenge does not count: {e}")))?;
        let (name, fingerprint) = (node.clone(), signer.fingerprint());
        let (fleet, chain) = self
            .shared
            .control
            .request(move |control, _| control.renewable(&name, &fingerprint).map(|f| (f, control.trust_chain(0))))
            .await?;
        let trust = trust_chain(chain);
        known(&peer);
        tracing::info!(node = %node, address = %peer.address, "certificate renewed by the node's own key");
        let chain = self.shared.chain(fleet, node, &signer.fingerprint(), &key)?;
        Ok(Response::new(EnrolResponse { trust: Some(trust), ..chain }))
    }
}

/// Whoever was admitted has all the time that the answer takes. Without a place for that it has what strangers have.
fn known(peer: &PeerInfo) {
    let _ = peer.connection.prove_until(Rank::Known, Instant::now() + CALL_TIMEOUT);
}

fn node_name(text: &str) -> Result<NodeName, Status> {
    NodeName::new(text).map_err(|e| Status::invalid_argument(e.to_string()))
}
