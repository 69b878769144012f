use std::{pin::Pin, time::Duration};

use futures_util::Stream;
use hostler_plan::{
    fact::{DeltaReader, Reading},
    id::{Digest, NodeName},
};
use hostler_proto::{
    ARTIFACT_CHUNK_BYTES, facts,
    v1::{self, FromAgent, ToAgent, agent_server::Agent, from_agent::Message},
};
use tokio::{
    io::AsyncReadExt as _,
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Shared, SharedRef,
    authorisation::{node, still_member},
    digest,
};
use crate::{
    clock::now,
    control::Attaching,
    control::state::Membership,
    grpc::ca::{Holder, RequestedKey},
    limits::STREAM_QUEUE,
};

/// A node says hello at once; one that does not within this time is no agent of ours.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Chunks of an artifact that wait for a slow node.
const DOWNLOAD_QUEUE: usize = 4;

/// What is served to nodes with a certificate.
#[derive(Debug)]
pub struct AgentService {
    shared: SharedRef,
}

impl AgentService {
    /// A service without streams.
    pub fn new(shared: SharedRef) -> Self {
        Self { shared }
    }
}

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for AgentService {
    type AttachStream = BoxStream<ToAgent>;

    async fn attach(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Self::AttachStream>, Status> {
        let (holder, _) = node(&self.shared, &request)?;
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
        let shared = self.shared.clone();
        tokio::spawn(async move {
            if let Err(status) = listen(&shared, &holder, request.into_inner(), &sender).await {
                tracing::info!(node = %holder.identity.node, reason = status.message(), "stream ended");
                let _ = sender.try_send(Err(status));
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    type FetchArtifactStream = BoxStream<v1::ArtifactChunk>;

    async fn fetch_artifact(
        &self,
        request: Request<v1::FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        let (holder, membership) = node(&self.shared, &request)?;
        if membership != Membership::Active {
            return Err(Status::permission_denied("expected a node of the roster, found one that waits for approval"));
        }
        let v1::FetchArtifactRequest { digest: wanted, offset } = request.into_inner();
        let wanted = digest(&wanted)?;
        let node = holder.identity.node;
        let named = self.shared.desk.ask(move |desk| desk.needs_artifact(&node, &wanted)).await?;
        if !named {
            return Err(Status::not_found(format!(
                "expected an artifact of a plan for this node, found {wanted}; nothing names it"
            )));
        }
        let (mut file, _) = self.shared.artifacts.open_at(&wanted, offset).await.map_err(|e| match e.kind() {
            std::io::ErrorKind::InvalidInput => {
                Status::out_of_range(format!("expected an offset inside {wanted}, found {offset}"))
            }
            _ => Status::not_found(format!("artifact {wanted} is not on this coordinator ({e}); upload it again")),
        })?;
        let (sender, receiver) = mpsc::channel(DOWNLOAD_QUEUE);
        tokio::spawn(async move {
            loop {
                let mut data = Vec::with_capacity(ARTIFACT_CHUNK_BYTES);
                let read = (&mut file).take(ARTIFACT_CHUNK_BYTES as u64).read_to_end(&mut data).await;
                let message = match read {
                    Ok(0) => return,
                    Ok(_) => Ok(v1::ArtifactChunk { data }),
                    Err(e) => Err(Status::data_loss(format!("artifact {wanted} cannot be read: {e}"))),
                };
                if message.is_err() | sender.send(message).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
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
    sender: &mpsc::Sender<Result<ToAgent, Status>>,
) -> Result<(), Status> {
    let node = &holder.identity.node;
    let first = tokio::time::timeout(HELLO_TIMEOUT, stream.message()).await;
    let Some(Message::Hello(hello)) = first.map_err(|_| no_hello())??.and_then(|m| m.message) else {
        return Err(no_hello());
    };
    let (open, mut replaced) = oneshot::channel();
    let agent_version = hello.agent_version.clone();
    let attaching = Attaching { node: node.clone(), key: holder.key.clone(), hello, sender: sender.clone(), open };
    let (number, boot_id) = shared.desk.ask(move |desk| desk.attach(attaching)).await??;
    tracing::info!(node = %node, agent_version, boot_id = %boot_id, "node connected");
    shared.live.connected(node, &agent_version, boot_id);
    let ends = tokio::time::sleep(holder.ends.since(now()));
    tokio::pin!(ends);
    let mut facts = Facts::default();
    let result = loop {
        let message = tokio::select! {
            message = stream.message() => message,
            () = &mut ends => break still_member(shared, holder).map(|_| ()),
            _ = &mut replaced => break Ok(()),
            () = sender.closed() => break Ok(()),
        };
        let message = match message {
            Ok(Some(FromAgent { message: Some(message) })) => message,
            Ok(Some(FromAgent { message: None })) => continue,
            Ok(None) => break Ok(()),
            Err(status) => break Err(status),
        };
        if let Err(status) = still_member(shared, holder) {
            break Err(status);
        }
        if let Err(status) = take(shared, node, message, &mut facts).await {
            break Err(status);
        }
    };
    let gone = node.clone();
    if shared.desk.ask(move |desk| desk.detach(&gone, number)).await.unwrap_or(true) {
        shared.live.disconnected(node);
        tracing::info!(node = %node, "node disconnected");
    }
    result
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
        Message::Facts(delta) => {
            let reading = facts.apply(delta)?;
            let vitals = shared.live.reported(node, reading, now());
            shared.desk.ask(move |desk| desk.health(name, vitals)).await?;
        }
        Message::Progress(progress) => shared.desk.ask(move |desk| desk.progress(&name, &progress)).await?,
        Message::Receipt(receipt) => {
            // A receipt that does not count stays unacknowledged; the stream goes on for everything else.
            if let Err(error) = shared.desk.receipt(name, receipt.into()).await? {
                tracing::warn!(node = %node, %error, "receipt not taken");
            }
        }
        Message::LeaseRenewal(renewal) => shared.desk.ask(move |desk| desk.renew_lease(&name, &renewal)).await?,
        Message::Refusal(report) => {
            if let Err(error) = shared.desk.ask(move |desk| desk.refusal(&name, &report)).await? {
                tracing::warn!(node = %node, %error, "refusal not written");
            }
        }
        Message::Conditions(conditions) => {
            if let Err(error) = shared.desk.ask(move |desk| desk.conditions(&name, conditions)).await? {
                tracing::warn!(node = %node, %error, "conditions not taken");
            }
        }
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
    fn apply(&mut self, report: v1::FactsDelta) -> Result<Reading, Status> {
        let wrong = |e: &dyn std::error::Error| Status::invalid_argument(e.to_string());
        let delta = facts::from_wire(report, self.sequence + 1).map_err(|e| wrong(&e))?;
        let reading = self.reader.apply(&delta).map_err(|e| wrong(&e))?.clone();
        self.sequence += 1;
        Ok(reading)
    }
}

impl crate::control::Desk {
    /// Whether a plan that is open names that artifact and that node.
    fn needs_artifact(&self, node: &NodeName, artifact: &Digest) -> bool {
        self.state.plans.values().any(|p| {
            let plan = p.document();
            plan.target(node).is_some() && plan.artifacts.iter().any(|a| a.sha256 == *artifact)
        })
    }
}
