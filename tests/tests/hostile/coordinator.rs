//! The agents' listener of a coordinator in the wrong hands: it has the CA, and it says what a mode tells it to.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hostler_cli::admin::now;
use hostler_coordinator::{ca::Authority, data_dir::DataDir};
use hostler_plan::{document::Signed, refusal::Refusal};
use hostler_proto::{
    fragment::Joiner,
    tls::{Accepted, DoorLimits, Listener, ServerSettings, incoming},
    v1::{
        self,
        agent_server::{Agent, AgentServer},
        from_agent, to_agent,
    },
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    modes::Artifact,
    raw::{self, Raw},
};

/// Whoever comes may stay.
const DOOR: DoorLimits =
    DoorLimits { stranger_for: Duration::from_secs(3600), strangers: 256, handshakes: 256, known: 0, reserved: 0 };

/// What came from the node since it was last forgotten.
#[derive(Debug, Default, Clone)]
pub(crate) struct Heard {
    pub refusals: Vec<(String, Refusal, String)>,
    pub progress: Vec<String>,
    pub receipts: Vec<Signed>,
    /// Streams that were opened, and those that the node ended.
    pub opened: usize,
    pub ended: usize,
    /// How the connection over which HTTP/2 was spoken wrongly ended.
    pub raw: Option<raw::End>,
}

/// The node's open stream, what came over it, and how artifacts are answered.
#[derive(Clone, Default)]
pub(crate) struct Line {
    heard: Arc<Mutex<Heard>>,
    to_node: Arc<Mutex<Option<Sender>>>,
    artifact: Arc<Mutex<Option<Artifact>>>,
    /// How the next connection is treated.
    raw: Arc<Mutex<Option<Raw>>>,
}

type Sender = mpsc::Sender<Result<v1::ToAgent, Status>>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    /// Serves until the task is aborted.
    pub(crate) async fn serve(&self, data: &Path, address: SocketAddr) -> JoinHandle<()> {
        let authority = Authority::open(&DataDir::open(data).unwrap(), now()).unwrap();
        let settings = ServerSettings {
            identity: authority.server_identity(now()).unwrap(),
            client_ca: Some(authority.certificate().clone()),
            limits: DOOR,
        };
        let listener = TcpListener::bind(address).await.unwrap();
        let (service, line) = (AgentServer::new(self.clone()), self.clone());
        tokio::spawn(async move {
            let incoming = incoming(Listener::Tcp(listener), settings).unwrap();
            let incoming = incoming.filter_map(move |connection| line.keep(connection));
            let _ = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
        })
    }

    pub(crate) fn heard(&self) -> Heard {
        open(&self.heard).clone()
    }

    pub(crate) fn serve_artifact(&self, artifact: Artifact) {
        *open(&self.artifact) = Some(artifact);
    }

    /// Ends the stream, and treats the node like this when it comes back.
    pub(crate) fn next_connection(&self, raw: Raw) {
        *open(&self.raw) = Some(raw);
        *open(&self.to_node) = None;
    }

    /// Leaves a connection to the service, unless it is to be treated otherwise.
    fn keep(&self, connection: io::Result<Accepted>) -> Option<io::Result<Accepted>> {
        let Some(raw) = open(&self.raw).take() else { return Some(connection) };
        let line = self.clone();
        tokio::spawn(async move {
            let end = raw::play(raw, connection.unwrap()).await;
            open(&line.heard).raw = Some(end);
        });
        None
    }

    /// Says something, or nothing in a message, if anybody listens.
    pub(crate) async fn say(&self, message: Option<to_agent::Message>) {
        let sender = open(&self.to_node).clone();
        if let Some(sender) = sender {
            let _ = sender.send(Ok(v1::ToAgent { message })).await;
        }
    }

    /// Ends the stream with an error, as one that was killed does.
    pub(crate) async fn break_off(&self) {
        let sender = open(&self.to_node).take();
        if let Some(sender) = sender {
            let _ = sender.send(Err(Status::unavailable("broken off"))).await;
        }
    }

    fn take(&self, message: from_agent::Message) {
        let mut heard = open(&self.heard);
        match message {
            from_agent::Message::Refusal(report) => {
                if let Ok(refusal) = Refusal::try_from(report.refusal()) {
                    heard.refusals.push((report.document, refusal, report.reason));
                }
            }
            from_agent::Message::Progress(progress) => heard.progress.push(progress.sentence),
            from_agent::Message::Receipt(receipt) => heard.receipts.push(receipt.into()),
            from_agent::Message::Hello(_)
            | from_agent::Message::Facts(_)
            | from_agent::Message::LeaseRenewal(_)
            | from_agent::Message::Conditions(_)
            | from_agent::Message::ConditionsUnchanged(_)
            | from_agent::Message::Holding(_)
            | from_agent::Message::View(_)
            | from_agent::Message::Fragment(_) => {}
        }
    }
}

#[tonic::async_trait]
impl Agent for Line {
    type AttachStream = Answers<v1::ToAgent>;
    type FetchArtifactStream = Answers<v1::ArtifactChunk>;

    async fn attach(&self, request: Request<Streaming<v1::FromAgent>>) -> Result<Response<Self::AttachStream>, Status> {
        let (sender, receiver) = mpsc::channel(1024);
        let welcome = to_agent::Message::Welcome(v1::Welcome { report_interval_seconds: 10, ..v1::Welcome::default() });
        let _ = sender.send(Ok(v1::ToAgent { message: Some(welcome) })).await;
        *open(&self.to_node) = Some(sender);
        open(&self.heard).opened += 1;
        let (line, mut messages) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let mut joiner = Joiner::default();
            while let Some(Ok(message)) = messages.next().await {
                if let Some(message) = joiner.take(message).unwrap() {
                    line.take(message);
                }
            }
            open(&line.heard).ended += 1;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn fetch_artifact(
        &self,
        request: Request<v1::FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        let offset = usize::try_from(request.into_inner().offset).unwrap_or(usize::MAX);
        let Some(artifact) = *open(&self.artifact) else { return Err(Status::not_found("no artifacts here")) };
        if artifact == Artifact::Silent {
            std::future::pending::<()>().await;
        }
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            let mut sent = offset;
            while let Some(data) = artifact.chunk(sent) {
                sent += data.len();
                if sender.send(Ok(v1::ArtifactChunk { data })).await.is_err() {
                    return;
                }
                tokio::time::sleep(artifact.pause()).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn place_snapshot(
        &self,
        _: Request<v1::SnapshotPlaceRequest>,
    ) -> Result<Response<v1::SnapshotPlace>, Status> {
        Err(Status::not_found("nothing is kept here"))
    }

    async fn keep_snapshot(
        &self,
        _: Request<Streaming<v1::SnapshotPart>>,
    ) -> Result<Response<v1::SnapshotKept>, Status> {
        Err(Status::not_found("nothing is kept here"))
    }

    async fn renew_certificate(
        &self,
        _: Request<v1::RenewCertificateRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        Err(Status::unavailable("not now"))
    }
}
