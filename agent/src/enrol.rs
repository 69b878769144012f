//! How a machine becomes a node: the network side's part.
//!
//! Nothing is sent before the coordinator's chain leads to the CA that the join string names. The executor reads the
//! join string, signs the enrolment and judges the answer; here the certificate is taken and kept. It is kept before
//! the executor hears of the answer, and the executor removes the join string last: a crash anywhere in between repeats
//! the enrolment with the same keys, which the coordinator answers the same.

use hostler_executor::protocol::{
    build_time,
    node::{Admitted, Invitation},
};
use hostler_plan::{document::Signed, refusal::Refused, timestamp::Timestamp};
use hostler_proto::{
    MAX_MESSAGE_BYTES,
    status::to_refused,
    tls::{Coordinator, NodeIdentity, connect},
    v1::{EnrolRequest, enrolment_client::EnrolmentClient},
};

use crate::{
    credentials::{CertificateError, Credentials, FirstKeyError, certificate_request, first_tls_key, tls_key_digest},
    executor::{AskError, Executor},
    folder::{Folder, FolderError},
    link::ANSWER_LIMIT,
};

/// Why a machine is not enrolled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Connect(#[from] hostler_proto::tls::ConnectError),
    #[error("the coordinator did not admit this node: {0}")]
    Answer(String),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Executor(#[from] AskError),
    #[error(transparent)]
    Key(#[from] FirstKeyError),
    #[error("making the certificate request failed: {0}")]
    Make(#[from] rcgen::Error),
}

/// Enrols where the join string says. Whatever happens, asking again with the same keys is right.
pub(crate) async fn enrol(
    invitation: Invitation,
    folder: &Folder,
    executor: &Executor,
) -> Result<Credentials, EnrolError> {
    let Invitation { fleet_id, node, address, ca_pin } = invitation;
    let coordinator = Coordinator { address: address.clone(), pins: vec![ca_pin], time_floor: build_time() };
    let channel = connect(&coordinator, None).await?;
    let key = first_tls_key(folder)?;
    let enrolment = executor.enrol(tls_key_digest(&key)).await?;
    let request = EnrolRequest { enrolment: Some(enrolment.into()), certificate_request: certificate_request(&key)? };
    let mut client = EnrolmentClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let answer = tokio::time::timeout(ANSWER_LIMIT, client.enrol(request)).await;
    let answer = answer.map_err(|_| EnrolError::Answer(format!("no answer in {} s", ANSWER_LIMIT.as_secs())))?;
    let answer = answer.map_err(|status| match to_refused(&status) {
        Some(refused) => EnrolError::Refused(refused),
        None => EnrolError::Answer(status.message().to_owned()),
    })?;
    let answer = answer.into_inner();
    // A roster may give this machine another name than it came with. The executor takes it from there, or refuses.
    let node = match answer.certificate_chain.first() {
        Some(leaf) => NodeIdentity::from_certificate(leaf).map_err(CertificateError::from)?.node,
        None => node,
    };
    let identity = NodeIdentity { fleet: fleet_id, node };
    let credentials = Credentials::new(
        &identity,
        &key,
        answer.certificate_chain,
        (address, answer.agent_address),
        Timestamp::from_unix_seconds(answer.renew_after),
    )?;
    credentials.store_offered(folder)?;
    let trust = answer.trust.unwrap_or_default();
    let member = executor
        .admit(Admitted {
            roots: trust.roots.into_iter().map(Signed::from).collect(),
            roster: trust.roster.map(Signed::from),
            admission: answer.admission.map(Signed::from),
        })
        .await?;
    if member.node != credentials.node {
        return Err(EnrolError::Answer(format!(
            "expected a certificate for {}, found one for {}; try again",
            member.node, credentials.node
        )));
    }
    Credentials::take_offered(folder)?;
    Ok(credentials)
}
