//! The listener for nodes with a certificate: each holds one stream.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use hostler_plan::{
    fact::{DeltaReader, Reading},
    id::{BootId, NodeName},
    refusal::Refusal,
    text::clean_to,
};
use hostler_proto::{
    ARTIFACT_CHUNK_BYTES, facts,
    fragment::{self, Joiner},
    status::from_refused,
    tls::{self, Rank},
    v1::{self, FromAgent, ToAgent, agent_server::Agent, from_agent::Message},
};
use tokio::{
    io::AsyncReadExt as _,
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Shared, SharedRef, address,
    authorisation::{node, still_active, still_member},
    ca::{Holder, RequestedKey},
    convert::{self, digest},
    judged::{BoxStream, judged},
    peer, snapshots,
};
use crate::{
    clock::now,
    control::{Attach, Control, ControlError, Membership, Stopping},
    control_loop::Connection,
    limits::VERSION_BYTES,
    nodes::reports::NodeReports,
    outbox::{Outbox, outbox},
};

/// Lost receipts that one node may ask for: more than it lists.
const MAX_LOST_RECEIPTS: usize = 64;

/// A node says hello at once; one that does not within this time is no agent of ours.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Chunks of an artifact that wait for a slow node.
const DOWNLOAD_QUEUE: usize = 4;

/// What is served to nodes with a certificate.
#[derive(Debug)]
pub(crate) struct AgentService {
    shared: SharedRef,
}

impl AgentService {
    /// A service without streams.
    pub(crate) fn new(shared: SharedRef) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl Agent for AgentService {
    type AttachStream = BoxStream<ToAgent>;

    async fn attach(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Self::AttachStream>, Status> {
        let (holder, membership) = node(&self.shared, &request)?;
        let peer = peer(&request)?;
        let from = (peer.connection.clone(), address(&peer)?);
        let (outbox, outgoing) = outbox();
        let (failed, failure) = oneshot::channel();
        let (shared, listener) = (self.shared.clone(), holder.clone());
        tokio::spawn(async move {
            let stream = request.into_inner();
            if let Err(status) = listen(&shared, &listener, stream, outbox, from, membership).await {
                tracing::info!(node = %listener.identity.node, reason = status.message(), "stream ended");
                let _ = failed.send(status);
            }
        });
        let whole = stream::unfold(outgoing, async |mut outgoing| Some((outgoing.next().await?, outgoing)));
        let whole = whole.map(convert::to_agent);
        let messages = whole.flat_map(|message| stream::iter(fragment::split(message))).map(Ok);
        let failure = failure.into_stream().filter_map(async |failed| failed.ok().map(Err));
        let shared = self.shared.clone();
        let judge = move || still_member(&shared, &holder).map(|_| holder.ends);
        Ok(Response::new(judged(&self.shared, messages.chain(failure), judge)))
    }

    type FetchArtifactStream = BoxStream<v1::ArtifactChunk>;

    async fn fetch_artifact(
        &self,
        request: Request<v1::FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        let (holder, _) = node(&self.shared, &request)?;
        still_active(&self.shared, &holder)?;
        let v1::FetchArtifactRequest { digest: wanted, offset } = request.into_inner();
        let wanted = digest(&wanted)?;
        let node = holder.identity.node.clone();
        let named = self.shared.control.ask(move |control, _| control.state().needs_artifact(&node, &wanted)).await?;
        if !named {
            return Err(Status::not_found(format!(
                "expected an artifact of a plan for this node, found {wanted}; nothing names it"
            )));
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is foreign and grows")]
        let (mut file, _) = self.shared.artifacts.open_at(&wanted, offset).await.map_err(|e| match e.kind() {
            std::io::ErrorKind::InvalidInput => {
                Status::out_of_range(format!("expected an offset inside {wanted}, found {offset}"))
            }
            _ => Status::not_found(format!("artifact {wanted} is not on this coordinator ({e}); upload it again")),
        })?;
        let (sender, receiver) = mpsc::channel(DOWNLOAD_QUEUE);
        let serving = self.shared.clone();
        tokio::spawn(async move {
            loop {
                let mut data = Vec::with_capacity(ARTIFACT_CHUNK_BYTES);
                let read = (&mut file).take(ARTIFACT_CHUNK_BYTES as u64).read_to_end(&mut data).await;
                let message = match read {
                    Ok(0) => return,
                    Ok(bytes) => {
                        serving.pace.wait(bytes as u64).await;
                        Ok(v1::ArtifactChunk { data })
                    }
                    Err(e) => Err(Status::data_loss(format!("artifact {wanted} cannot be read: {e}"))),
                };
                if message.is_err() | sender.send(message).await.is_err() {
                    return;
                }
            }
        });
        let shared = self.shared.clone();
        let judge = move || still_active(&shared, &holder);
        Ok(Response::new(judged(&self.shared, ReceiverStream::new(receiver), judge)))
    }

    async fn place_snapshot(
        &self,
        request: Request<v1::SnapshotPlaceRequest>,
    ) -> Result<Response<v1::SnapshotPlace>, Status> {
        let (holder, _) = node(&self.shared, &request)?;
        still_active(&self.shared, &holder)?;
        let name = request.into_inner().name;
        Ok(Response::new(snapshots::place(&self.shared, &holder.identity.node, &name).await?))
    }

    async fn keep_snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotPart>>,
    ) -> Result<Response<v1::SnapshotKept>, Status> {
        let (holder, _) = node(&self.shared, &request)?;
        still_active(&self.shared, &holder)?;
        let may = || still_active(&self.shared, &holder).map(|_| ());
        snapshots::keep(&self.shared, &holder.identity.node, request.into_inner(), may).await?;
        Ok(Response::new(v1::SnapshotKept {}))
    }

    async fn renew_certificate(
        &self,
        request: Request<v1::RenewCertificateRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        let (holder, _) = node(&self.shared, &request)?;
        let key = RequestedKey::from_request(&request.into_inner().certificate_request)?;
        let Holder { identity, key: own_key, .. } = holder;
        tracing::info!(node = %identity.node, "certificate renewed");
        Ok(Response::new(self.shared.chain(identity.fleet, identity.node, &own_key, &key)?))
    }
}

/// Reads a node's stream until it ends, another one takes its place, its certificate runs out or it is retired.
async fn listen(
    shared: &Shared,
    holder: &Holder,
    mut stream: Streaming<FromAgent>,
    outbox: Outbox,
    (line, address): (tls::Connection, IpAddr),
    membership: Membership,
) -> Result<(), Status> {
    let node = &holder.identity.node;
    let first = tokio::time::timeout(HELLO_TIMEOUT, stream.message()).await;
    let Some(Message::Hello(hello)) = first.map_err(|_| no_hello())??.and_then(|m| m.message) else {
        return Err(no_hello());
    };
    let boot_id = BootId::new(hello.boot_id.as_str()).map_err(|e| Status::failed_precondition(e.to_string()))?;
    let attach = attach_of(&hello, holder, &boot_id, address);
    let rank = if membership == Membership::Active { Rank::Trusted } else { Rank::Known };
    // From its hello to the end of its stream the node is no stranger.
    let _proof = line.prove(rank, None).map_err(|full| Status::resource_exhausted(full.to_string()))?;
    let (end, mut ended) = oneshot::channel();
    let connection = Connection { messages: outbox.clone(), end };
    let number = shared.control.attach(attach, connection).await?.stream;
    let agent_version = clean_to(&hello.agent_version, VERSION_BYTES).into_owned();
    tracing::info!(node = %node, stream = number, agent_version, boot_id = %boot_id, "node connected");
    shared.reports.connected(node, &agent_version, boot_id);
    let ends = tokio::time::sleep(holder.ends.since(now()));
    tokio::pin!(ends);
    let (mut facts, mut joiner) = (Facts::default(), Joiner::<FromAgent>::default());
    let result = loop {
        let message = tokio::select! {
            message = stream.message() => message,
            () = &mut ends => break still_member(shared, holder).map(|_| ()),
            reason = &mut ended => break match reason {
                Ok(refused) => Err(from_refused(&refused)),
                Err(_) => Ok(()),
            },
            () = outbox.closed() => break Ok(()),
        };
        let message = match message {
            Ok(Some(message)) => joiner.take(message),
            Ok(None) => break Ok(()),
            Err(status) => break Err(status),
        };
        let message = match message {
            Ok(Some(message)) => message,
            // A part of one, or one of a later version.
            Ok(None) => continue,
            Err(error) => break Err(Status::invalid_argument(error.to_string())),
        };
        if let Err(status) = still_member(shared, holder) {
            break Err(status);
        }
        // In a place of its own while it lasts: most of the time a stream waits.
        if let Err(status) = Box::pin(take(shared, node, message, &mut facts)).await {
            break Err(status);
        }
    };
    let gone = node.clone();
    if shared.control.ask(move |control, now| control.detach(now, &gone, number)).await.unwrap_or(true) {
        shared.reports.disconnected(node);
        tracing::info!(node = %node, "node disconnected");
    }
    result
}

/// What a node says of itself when its stream begins.
fn attach_of(hello: &v1::Hello, holder: &Holder, boot_id: &BootId, address: IpAddr) -> Attach {
    Attach {
        node: holder.identity.node.clone(),
        key: holder.key.clone(),
        boot_id: boot_id.clone(),
        address,
        root_version: hello.root_version,
        lost_receipts: hello.lost_receipts.iter().take(MAX_LOST_RECEIPTS).filter_map(|d| d.parse().ok()).collect(),
        receipt_counter: hello.receipt_counter,
        holding: hello.holding.clone().map(Into::into),
        running: hello.running.as_ref().and_then(convert::running),
    }
}

fn no_hello() -> Status {
    Status::invalid_argument("expected hello as the first message of a stream, found none; update hostler-agent")
}

/// Takes one message of a node. An error ends the stream.
async fn take(shared: &Shared, node: &NodeName, message: Message, facts: &mut Facts) -> Result<(), Status> {
    let name = node.clone();
    match message {
        Message::Hello(_) => {
            return Err(Status::invalid_argument("expected hello once, found it again; connect again"));
        }
        Message::Fragment(_) => {
            return Err(Status::invalid_argument("expected a whole message, found a part of one; connect again"));
        }
        Message::Facts(delta) => shared.reports.take(node, facts.apply(&shared.reports, delta)?).await?,
        Message::Progress(progress) => {
            if let Some(progress) = convert::progress(progress) {
                shared.control.ask(move |control, now| control.progress(now, &name, progress)).await?;
            }
        }
        Message::Receipt(receipt) => match shared.control.receipt(name, receipt.into()).await {
            Ok(()) => {}
            Err(ControlError::Stopping(stopping)) => return Err(stopping.into()),
            // A receipt that does not count stays unacknowledged; the stream goes on for everything else.
            Err(error) => tracing::warn!(node = %node, %error, "receipt not taken"),
        },
        Message::Holding(holding) => {
            let signed = holding.into();
            let taken = shared.control.ask(move |control, now| control.holding(now, &name, &signed)).await?;
            if let Err(error) = taken {
                tracing::warn!(node = %node, %error, "holding not taken");
            }
        }
        Message::LeaseRenewal(renewal) => {
            if let Some(renewal) = convert::renewal(&renewal) {
                shared.control.ask(move |control, now| control.renew_lease(now, &name, renewal)).await?;
            }
        }
        Message::View(answer) => shared.views.answered(node, answer),
        Message::Refusal(report) => refused(shared, node, report).await?,
        Message::Conditions(conditions) => {
            let nodes = conditions.nodes.into_iter().filter_map(convert::node_reading).collect();
            let age = Duration::from_secs(conditions.age_seconds);
            let taken = shared.control.ask(move |control, now| control.cluster_read(now, &name, nodes, age)).await?;
            if let Err(error) = taken {
                tracing::warn!(node = %node, %error, "conditions not taken");
            }
        }
        Message::ConditionsUnchanged(unchanged) => {
            let age = Duration::from_secs(unchanged.age_seconds);
            shared.control.ask(move |control, now| control.cluster_is_as_read(now, &name, age)).await?;
        }
    }
    Ok(())
}

async fn refused(shared: &Shared, node: &NodeName, report: v1::RefusalReport) -> Result<(), Stopping> {
    let refusal = match Refusal::try_from(report.refusal()) {
        Ok(refusal) => refusal,
        Err(error) => {
            tracing::warn!(node = %node, %error, "refusal not written");
            return Ok(());
        }
    };
    let (name, document) = (node.clone(), report.document.parse().ok());
    let write = move |control: &mut Control, now| control.refusal(now, &name, refusal, &report.reason, document);
    if let Err(error) = shared.control.ask(write).await? {
        tracing::warn!(node = %node, %error, "refusal not written");
    }
    Ok(())
}

/// The facts of one stream. The first report is whole; order is the stream's own.
#[derive(Debug, Default)]
struct Facts {
    reader: DeltaReader,
    sequence: u64,
}

impl Facts {
    fn apply(&mut self, reports: &NodeReports, report: v1::FactsDelta) -> Result<Arc<Reading>, Status> {
        let wrong = |e: &dyn std::error::Error| Status::invalid_argument(e.to_string());
        let mut delta = facts::from_wire(report, self.sequence + 1).map_err(|e| wrong(&e))?;
        reports.share_series(&mut delta.added);
        let reading = self.reader.apply(&delta).map_err(|e| wrong(&e))?.clone();
        self.sequence += 1;
        Ok(reading)
    }
}
