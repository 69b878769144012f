//! How a machine becomes a node.
//!
//! Nothing is sent before the coordinator's chain leads to the CA that the join string names. The root is believed
//! because its digest stands in the join string, which names the newest one of its day: the chain that is served must
//! hold it and may go on. What the node needs is stored in this order: keys, state, credentials,
//! the marker; only then is the join string removed. A crash anywhere in between repeats the enrolment with the same
//! keys, which the coordinator answers the same.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hostler_plan::{
    document::{DocumentKind, Enrolment, EnrolmentType, MAX_ROOT_HOPS, Signed},
    id::NodeName,
    json,
    refusal::{Refusal, Refused},
    signature::{self, PublicKey},
    timestamp::Timestamp,
    trust::{self, Clock, NodeState, Purpose, TrustedRoot, Verified},
};
use hostler_proto::{
    MAX_MESSAGE_BYTES,
    join::JoinString,
    status::to_refused,
    tls::{Coordinator, NodeIdentity, connect},
    v1::{EnrolRequest, EnrolResponse, enrolment_client::EnrolmentClient},
};

use crate::credentials::{CertificateError, Credentials, certificate_request, tls_key_digest};
use hostler_executor::{
    build_time,
    disk::{Disk, DiskError},
    keys::Keys,
    protocol::node::{NodeClient, NodeError},
    state_file::{StateFile, StateFileError},
};

/// Written last. Where it is, a missing state is damage and never a first run.
const MARKER: &str = "enrolled";

/// A join string is at most 4 KiB.
const MAX_JOIN_BYTES: u64 = 4096;

/// The coordinator writes and syncs before it answers; a busy SD card takes seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Why a machine is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{}: {reason}", path.display())]
    JoinString { path: PathBuf, reason: String },
    #[error(transparent)]
    Connect(#[from] hostler_proto::tls::ConnectError),
    #[error("the coordinator did not admit this node: {0}")]
    Answer(String),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("making the enrolment failed: {0}")]
    Make(String),
}

impl From<StateFileError> for EnrolError {
    fn from(error: StateFileError) -> Self {
        match error {
            StateFileError::Disk(e) => Self::Disk(e),
            StateFileError::Refused(e) => Self::Refused(e),
        }
    }
}

/// Whether this node is enrolled, and as whom. An enrolled node without credentials is damaged; its state is judged by
/// the executor.
pub(crate) fn enrolled(disk: &Disk) -> Result<Option<Credentials>, EnrolError> {
    if disk.read(MARKER, MAX_JOIN_BYTES)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Credentials::load(disk)?))
}

/// The first join string that lies in one of these files.
pub(crate) fn find_join_string(files: &[PathBuf]) -> Result<Option<(PathBuf, JoinString)>, EnrolError> {
    for path in files {
        let text = match std::fs::metadata(path) {
            Ok(m) if m.len() > MAX_JOIN_BYTES => Err(format!("expected a join string, found {} bytes", m.len())),
            Ok(_) => std::fs::read_to_string(path).map_err(|e| e.to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => Err(e.to_string()),
        };
        let parsed = text.and_then(|text| {
            // An empty file is one whose join string was used up.
            if text.trim().is_empty() {
                Ok(None)
            } else {
                JoinString::parse(&text).map(Some).map_err(|e| e.to_string())
            }
        });
        match parsed {
            Ok(Some(join)) => return Ok(Some((path.clone(), join))),
            Ok(None) => {}
            Err(reason) => return Err(EnrolError::JoinString { path: path.clone(), reason }),
        }
    }
    Ok(None)
}

/// Enrols with one join string. Whatever happens, asking again with the same keys is right.
pub(crate) async fn enrol(
    join: &JoinString,
    node: &NodeName,
    disk: &Arc<Disk>,
    keys: &Keys,
    root_side: &NodeClient,
) -> Result<Credentials, EnrolError> {
    let coordinator = Coordinator { address: join.address.clone(), pins: vec![join.ca_pin], time_floor: build_time() };
    let channel = connect(&coordinator, None).await?;
    let request = request(join, node, keys, root_side).await?;
    let mut client = EnrolmentClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let answer = tokio::time::timeout(ANSWER_LIMIT, client.enrol(request)).await;
    let answer = answer.map_err(|_| EnrolError::Answer(format!("no answer in {} s", ANSWER_LIMIT.as_secs())))?;
    let answer = answer.map_err(|status| match to_refused(&status) {
        Some(refused) => EnrolError::Refused(refused),
        None => EnrolError::Answer(status.message().to_owned()),
    })?;
    let clock = root_side.clock().await?;
    let clock = Clock { now: clock.now, synchronised: clock.synchronised };
    let (state, credentials) = verify(join, node, keys, clock, answer.into_inner())?;
    keep(disk, &state, &credentials)?;
    Ok(credentials)
}

/// Empties or removes the join file: the string has served. What cannot be removed is said and does no harm here,
/// because its uses are counted by the coordinator.
pub(crate) fn forget_join_string(path: &Path) {
    let removed = std::fs::remove_file(path).or_else(|_| std::fs::write(path, b""));
    if let Err(error) = removed {
        tracing::warn!("the used join string in {} cannot be removed: {error}; remove it", path.display());
    }
}

async fn request(
    join: &JoinString,
    node: &NodeName,
    keys: &Keys,
    root_side: &NodeClient,
) -> Result<EnrolRequest, EnrolError> {
    let make = |e: &dyn std::fmt::Display| EnrolError::Make(e.to_string());
    let token_key = ssh_key::PrivateKey::from_openssh(&join.token_key).map_err(|e| make(&e))?;
    let me = root_side.identity().await?;
    let enrolment = Enrolment {
        document_type: EnrolmentType::V1,
        fleet_id: join.fleet_id.clone(),
        token: join.token.clone(),
        node: node.clone(),
        key: me.key,
        seal_key: me.seal_key,
        tls_key: tls_key_digest(keys.tls()),
        arch: me.arch,
        hardware: me.hardware,
        created: root_side.clock().await?.now.max(build_time()).whole_seconds(),
    };
    let mut signed = root_side.sign(DocumentKind::Enrolment, json::write(&enrolment)).await?;
    let by_token = signature::sign(&token_key, DocumentKind::Enrolment, &signed.bytes).map_err(|e| make(&e))?;
    signed.signatures.push(by_token);
    Ok(EnrolRequest {
        enrolment: Some(signed.into()),
        certificate_request: certificate_request(keys.tls()).map_err(|e| make(&e))?,
    })
}

/// Believes nothing of the answer that the join string does not prove.
fn verify(
    join: &JoinString,
    node: &NodeName,
    keys: &Keys,
    clock: Clock,
    answer: EnrolResponse,
) -> Result<(NodeState, Credentials), EnrolError> {
    let trust = answer.trust.unwrap_or_default();
    if trust.roots.len() > MAX_ROOT_HOPS {
        let (most, found) = (MAX_ROOT_HOPS, trust.roots.len());
        let reason = format!("expected at most {most} roots in one answer, found {found}; ask another coordinator");
        return Err(Refused::new(Refusal::Malformed, reason).into());
    }
    let roots: Vec<Signed> = trust.roots.into_iter().map(Signed::from).collect();
    let (first, later) = TrustedRoot::begin(&roots, &join.root)?;
    let mut state = NodeState::new(first, build_time());
    for root in later {
        state = state.accept_root(clock, root)?;
    }
    let root = state.root().root();
    if root.fleet_id != join.fleet_id {
        let reason = format!("expected fleet {}, found a root of {}; make a new token", join.fleet_id, root.fleet_id);
        return Err(Refused::new(Refusal::WrongFleet, reason).into());
    }
    if !root.coordinator_ca.contains(&join.ca_pin) {
        let reason = format!("expected the root to name the coordinator's CA {}, found it does not", join.ca_pin);
        return Err(Refused::new(Refusal::RootChain, reason).into());
    }
    let admission: Signed = answer.admission.map(Signed::from).ok_or_else(|| {
        Refused::new(Refusal::Malformed, "expected the admission of the token in the answer, found none")
    })?;
    let admission = trust::admission(state.root(), &admission, Purpose::Starting(state.time(clock)))?;
    let token_key = ssh_key::PrivateKey::from_openssh(&join.token_key).map_err(|e| EnrolError::Make(e.to_string()))?;
    let token_key: PublicKey = token_key.public_key().clone().into();
    if admission.document().token != join.token || admission.document().token_key != token_key {
        let reason = format!("expected the admission of token {}, found that of another one", join.token);
        return Err(Refused::new(Refusal::NotAllowed, reason).into());
    }
    if let Some(roster) = trust.roster {
        state = state.accept_roster(clock, &roster.into())?.0;
    }
    let own = keys.public().fingerprint();
    trust::check_token(admission.document(), state.roster().map(Verified::document), &own, &BTreeSet::new())?;
    let identity = NodeIdentity { fleet: join.fleet_id.clone(), node: node.clone() };
    let credentials = Credentials::new(
        &identity,
        keys.tls(),
        answer.certificate_chain,
        (join.address.clone(), answer.agent_address),
        Timestamp::from_unix_seconds(answer.renew_after),
    )?;
    Ok((state, credentials))
}

fn keep(disk: &Disk, state: &NodeState, credentials: &Credentials) -> Result<(), EnrolError> {
    let (mut state_file, _) = StateFile::open(disk)?;
    state_file.store(disk, state, None)?;
    credentials.store(disk)?;
    disk.replace(MARKER, format!("{}\n", credentials.identity()).as_bytes())?;
    Ok(())
}
