//! A coordinator in the wrong hands: same address, same CA key, same ledger, other intentions.
//!
//! It offers every node what it was never asked to do. Whoever holds the coordinator can do exactly this, and the
//! nodes must refuse all of it. It runs as a process of its own and writes what the nodes answer, one JSON object a
//! line.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use hostler_coordinator::{ca::Authority, data_dir::DataDir};
use hostler_plan::{
    document::{DocumentKind, Plan, Signed},
    entry::Entry,
    id::{Digest, NodeName},
    json, ledger,
    refusal::Refusal,
    signature::sign,
};
use hostler_proto::{
    MAX_MESSAGE_BYTES,
    tls::{DoorLimits, Listener, NodeIdentity, PeerInfo, ServerSettings, incoming},
    v1::{
        self,
        agent_server::{Agent, AgentServer},
        from_agent, to_agent,
    },
};
use rand_core::OsRng;
use serde::{Deserialize, Serialize};
use ssh_key::{Algorithm, PrivateKey};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

/// What a node answered to the hostile coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Answer {
    /// The first line: what every node is going to be offered.
    Offers {
        offers: Vec<String>,
    },
    Refused {
        node: NodeName,
        offer: String,
        refusal: Refusal,
        reason: String,
    },
    /// The node began or ended a task that nobody signed for.
    Obeyed {
        node: NodeName,
        what: String,
    },
}

/// Something that a node must refuse.
#[derive(Debug, Clone)]
struct Offer {
    what: &'static str,
    plan: Signed,
}

/// What it knows of the fleet, from the ledger it holds.
struct KnownState {
    trust: v1::TrustChain,
    flipped: Offer,
    forged: Offer,
    /// Every plan that was ever submitted, the oldest first.
    plans: Vec<(Plan, Signed)>,
    /// Receipts that the real coordinator had: a node that sends one again has done nothing new.
    receipts: BTreeSet<Digest>,
}

/// For the nodes of a demo; this coordinator asks none of them who it is, and none is closed for that.
const DOOR: DoorLimits =
    DoorLimits { stranger_for: Duration::from_secs(24 * 3600), strangers: 256, handshakes: 256, known: 0, reserved: 0 };

/// Serves the agents' listener of a stopped coordinator, with its own CA, until the standard input ends.
pub(super) async fn run(data_dir: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let data = DataDir::open(data_dir)?;
    let now = hostler_cli::admin::now();
    let authority = Authority::open(&data, now)?;
    let known = KnownState::read(&data.join("ledger"))?;
    say(&Answer::Offers { offers: [FLIPPED, REPLAYED, FORGED].map(str::to_owned).into() });
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let settings = ServerSettings {
        identity: authority.server_identity(now)?,
        client_ca: Some(authority.certificate().clone()),
        limits: DOOR,
    };
    let service = AgentServer::new(HostileCoordinator { known: Arc::new(known), refused: Arc::default() })
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(incoming(Listener::Tcp(listener), settings)?)
        .await?;
    Ok(())
}

fn say(answer: &Answer) {
    if let Ok(line) = serde_json::to_string(answer) {
        // Nobody reads any more: the demo is over, and so is this process.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

impl KnownState {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let (records, _) = ledger::verify(&bytes)?;
        let (mut roots, mut roster, mut plans, mut receipts) = (Vec::new(), None, Vec::new(), BTreeSet::new());
        for record in records {
            let Entry::Document { kind, document } = record.entry else { continue };
            match kind {
                DocumentKind::Root => roots.push(document.0.into()),
                DocumentKind::Roster => roster = Some(document.0.into()),
                DocumentKind::Plan => plans.push(document.0),
                DocumentKind::Receipt => {
                    receipts.insert(document.0.digest());
                }
                DocumentKind::Admission
                | DocumentKind::Enrolment
                | DocumentKind::Holding
                | DocumentKind::Decision
                | DocumentKind::Login => {}
            }
        }
        let newest = plans.last().context("expected plans in the ledger to misuse, found none")?;
        let flipped = Offer { what: FLIPPED, plan: flipped(newest)? };
        let forged = Offer { what: FORGED, plan: forged(newest)? };
        let plans = plans
            .into_iter()
            .map(|signed| Ok((json::parse::<Plan>(&signed.bytes)?, signed)))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { trust: v1::TrustChain { roots, roster }, flipped, forged, plans, receipts })
    }

    /// What a node is offered: for the replay the first plan that it ever had work in.
    fn offers_for(&self, node: &NodeName) -> Vec<Offer> {
        let first = self.plans.iter().find(|(plan, _)| plan.target(node).is_some());
        let replayed = first.map(|(_, signed)| Offer { what: REPLAYED, plan: signed.clone() });
        [self.flipped.clone(), self.forged.clone()].into_iter().chain(replayed).collect()
    }
}

const FLIPPED: &str = "the newest plan with one flipped byte";
const REPLAYED: &str = "an older plan again, its signatures intact";
const FORGED: &str = "a plan of its own, signed with its own key";

/// The same plan with one byte changed: still JSON, another sequence number, the signatures of the original.
fn flipped(plan: &Signed) -> anyhow::Result<Signed> {
    let mut changed = plan.clone();
    let needle = b"\"seq\": ";
    let at = changed.bytes.windows(needle.len()).position(|window| window == needle);
    let at = at.context("the newest plan has no seq")? + needle.len();
    let digit = changed.bytes.get_mut(at).context("the newest plan ends within its seq")?;
    *digit = if *digit == b'9' { b'8' } else { b'9' };
    Ok(changed)
}

/// The next plan, in the newest one's image, signed by a key that no root lists.
fn forged(plan: &Signed) -> anyhow::Result<Signed> {
    let mut forged: Plan = json::parse(&plan.bytes)?;
    forged.seq.0 += 1;
    forged.title = "Whatever the coordinator likes.".into();
    let bytes = json::write(&forged);
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
    let signature = sign(&key, DocumentKind::Plan, &bytes)?;
    Ok(Signed { bytes, signatures: vec![signature] })
}

struct HostileCoordinator {
    known: Arc<KnownState>,
    refused: Arc<Mutex<BTreeMap<NodeName, BTreeSet<Digest>>>>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for HostileCoordinator {
    type AttachStream = Answers<v1::ToAgent>;
    type FetchArtifactStream = Answers<v1::ArtifactChunk>;

    async fn attach(&self, request: Request<Streaming<v1::FromAgent>>) -> Result<Response<Self::AttachStream>, Status> {
        let node = request
            .extensions()
            .get::<PeerInfo>()
            .and_then(|peer| peer.certificate.as_ref())
            .and_then(|certificate| NodeIdentity::from_certificate(certificate).ok())
            .ok_or_else(|| Status::unauthenticated("no certificate of a node"))?
            .node;
        let (sender, receiver) = mpsc::channel(16);
        let messages = request.into_inner();
        tokio::spawn(offer_all(node, self.known.clone(), self.refused.clone(), messages, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn fetch_artifact(
        &self,
        _: Request<v1::FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        Err(Status::not_found("nothing is served here"))
    }

    async fn renew_certificate(
        &self,
        _: Request<v1::RenewCertificateRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        Err(Status::unavailable("not now"))
    }
}

type Sender = mpsc::Sender<Result<v1::ToAgent, Status>>;

/// Offers one node everything that it has not refused yet, and writes down what it answers.
async fn offer_all(
    node: NodeName,
    known: Arc<KnownState>,
    refused: Arc<Mutex<BTreeMap<NodeName, BTreeSet<Digest>>>>,
    mut messages: Streaming<v1::FromAgent>,
    sender: Sender,
) {
    let is_refused = |digest: &Digest| {
        let refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get(&node).is_some_and(|digests| digests.contains(digest))
    };
    let offers = known.offers_for(&node);
    let open = offers.iter().filter(|offer| !is_refused(&offer.plan.digest()));
    let plans = open.map(|offer| to_agent::Message::Plan(offer.plan.clone().into()));
    let welcome =
        to_agent::Message::Welcome(v1::Welcome { report_interval_seconds: 10, own_receipts: Vec::new(), head: None });
    let trust = to_agent::Message::Trust(known.trust.clone());
    let first: Vec<to_agent::Message> = [welcome, trust].into_iter().chain(plans).collect();
    for message in first {
        if sender.send(Ok(v1::ToAgent { message: Some(message) })).await.is_err() {
            return;
        }
    }
    while let Some(Ok(message)) = messages.next().await {
        match message.message {
            Some(from_agent::Message::Refusal(report)) => {
                let offer = offers.iter().find(|o| o.plan.digest().to_string() == report.document);
                let Some(offer) = offer else { continue };
                let is_new = refused
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entry(node.clone())
                    .or_default()
                    .insert(offer.plan.digest());
                if is_new && let Ok(refusal) = Refusal::try_from(report.refusal()) {
                    let reason = report.reason;
                    say(&Answer::Refused { node: node.clone(), offer: offer.what.to_owned(), refusal, reason });
                }
            }
            Some(from_agent::Message::Progress(progress)) => {
                say(&Answer::Obeyed { node: node.clone(), what: format!("began {}", progress.task) });
            }
            Some(from_agent::Message::Receipt(receipt)) => {
                let digest = Signed::from(receipt).digest();
                if !known.receipts.contains(&digest) {
                    say(&Answer::Obeyed { node: node.clone(), what: format!("signed receipt {digest}") });
                }
            }
            Some(
                from_agent::Message::Hello(_)
                | from_agent::Message::Facts(_)
                | from_agent::Message::LeaseRenewal(_)
                | from_agent::Message::Conditions(_)
                | from_agent::Message::Holding(_),
            )
            | None => {}
        }
    }
}
