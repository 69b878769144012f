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
    document::{
        DocumentKind, DocumentRef, Holds, Outcome, Plan, Receipt, ReceiptType, Root, Roster, Signed, Signer, SignerRole,
    },
    entry::Entry,
    id::{BootId, Digest, NodeName},
    json, ledger,
    refusal::Refusal,
    signature::sign,
};
use hostler_proto::{
    MAX_MESSAGE_BYTES,
    fragment::Joiner,
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

use super::given_up::GivenUp;

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
    /// What the node's refusal names.
    document: Digest,
    /// What it is told, in this order.
    messages: Vec<to_agent::Message>,
}

impl Offer {
    fn plan(what: &'static str, plan: &Signed) -> Self {
        Self { what, document: plan.digest(), messages: vec![message(plan)] }
    }
}

fn message(plan: &Signed) -> to_agent::Message {
    to_agent::Message::Plan(plan.clone().into())
}

/// A grant with a long lease.
fn grant(plan: Digest, task: String, receipts: Vec<Signed>) -> to_agent::Message {
    let receipts = receipts.into_iter().map(Into::into).collect();
    to_agent::Message::Grant(v1::TaskGrant {
        plan: plan.to_string(),
        task,
        grant: 1 << 32,
        lease_seconds: 600,
        receipts,
        ..v1::TaskGrant::default()
    })
}

/// What it knows of the fleet, from the ledger it holds.
struct KnownState {
    trust: v1::TrustChain,
    /// A key of its own.
    key: PrivateKey,
    given_up: GivenUp,
    flipped: Offer,
    forged: Offer,
    own_root: Offer,
    own_roster: Offer,
    /// Every plan that was ever submitted, the oldest first.
    plans: Vec<(Plan, Signed)>,
    /// Receipts that the real coordinator had: a node that sends one again has done nothing new.
    receipts: BTreeSet<Digest>,
}

/// For the nodes of a demo; this coordinator asks none of them who it is, and none is closed for that.
const DOOR: DoorLimits =
    DoorLimits { stranger_for: Duration::from_secs(24 * 3600), strangers: 256, handshakes: 256, known: 0, reserved: 0 };

/// Serves the agents' listener of a stopped coordinator, with its own CA, until the standard input ends.
pub(super) async fn run(data_dir: &Path, given_up: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let data = DataDir::open(data_dir)?;
    let now = hostler_cli::admin::now();
    let authority = Authority::open(&data, now)?;
    let known = KnownState::read(&data.join("ledger"), GivenUp::read(given_up)?)?;
    say(&Answer::Offers { offers: OFFERS.map(str::to_owned).into() });
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
    fn read(file: &Path, given_up: GivenUp) -> anyhow::Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let (records, _) = ledger::verify(&bytes)?;
        let (mut roots, mut roster) = (Vec::<Signed>::new(), None::<Signed>);
        let (mut plans, mut receipts) = (Vec::new(), BTreeSet::new());
        for record in records {
            let Entry::Document { kind, document } = record.entry else { continue };
            match kind {
                DocumentKind::Root => roots.push(document.0),
                DocumentKind::Roster => roster = Some(document.0),
                DocumentKind::Plan => plans.push(document.0),
                DocumentKind::Receipt => {
                    receipts.insert(document.0.digest());
                }
                DocumentKind::Admission
                | DocumentKind::Enrolment
                | DocumentKind::Holding
                | DocumentKind::Decision
                | DocumentKind::Pass
                | DocumentKind::View
                | DocumentKind::Login => {}
            }
        }
        let newest = plans.last().context("expected plans in the ledger to misuse, found none")?;
        let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
        let flipped = Offer::plan(FLIPPED, &flipped(newest)?);
        let forged = Offer::plan(FORGED, &forged(&key, newest)?);
        let (own_root, own_roster) = (own_root(&key, roots.last())?, own_roster(&key, roster.as_ref())?);
        let plans = plans
            .into_iter()
            .map(|signed| Ok((json::parse::<Plan>(&signed.bytes)?, signed)))
            .collect::<anyhow::Result<_>>()?;
        let roots = roots.into_iter().map(Into::into).collect();
        let trust = v1::TrustChain { roots, roster: roster.map(Into::into) };
        Ok(Self { trust, key, given_up, flipped, forged, own_root, own_roster, plans, receipts })
    }

    /// What a node is offered: for the replay the first plan that it ever had work in.
    fn offers_for(&self, node: &NodeName) -> anyhow::Result<Vec<Offer>> {
        let GivenUp { expired, replaced, replacing, void, reviving, ordered } = &self.given_up;
        let first = self.plans.iter().find(|(plan, _)| plan.target(node).is_some());
        let replayed = first.map(|(_, signed)| Offer::plan(REPLAYED, signed));
        let task = |what: &str| format!("{node}.{what}");
        let of = |what, plan: &Signed, messages| Offer { what, document: plan.digest(), messages };
        let invented = Digest::of(b"a plan that never was");
        let no_plan =
            Offer { what: INVENTED, document: invented, messages: vec![grant(invented, task("given-up"), Vec::new())] };
        let given_up = |plan: &Signed| grant(plan.digest(), task("given-up"), Vec::new());
        let receipts = self.forged_receipts(ordered)?;
        Ok([self.own_root.clone(), self.own_roster.clone(), self.flipped.clone(), self.forged.clone(), no_plan]
            .into_iter()
            .chain(replayed)
            .chain([
                Offer::plan(EXPIRED, expired),
                of(REPLACED, replaced, vec![message(replaced), message(replacing), given_up(replaced)]),
                of(REVIVED, void, vec![message(reviving), message(void)]),
                of(SKIPPED, ordered, vec![message(ordered), grant(ordered.digest(), task("second"), receipts)]),
            ])
            .collect())
    }

    /// That every first task succeeded, signed by nobody of the fleet.
    fn forged_receipts(&self, ordered: &Signed) -> anyhow::Result<Vec<Signed>> {
        let plan: Plan = json::parse(&ordered.bytes)?;
        let first = plan.tasks.iter().filter(|task| task.after.is_empty());
        let signed = first.map(|task| {
            let receipt = Receipt {
                document_type: ReceiptType::V1,
                fleet_id: plan.fleet_id.clone(),
                node: task.node.clone(),
                plan: ordered.digest(),
                epoch: plan.epoch,
                seq: plan.seq,
                task: task.id.clone(),
                grant: 1,
                outcome: Outcome::Succeeded {},
                steps: Vec::new(),
                observations: Vec::new(),
                pods: Vec::new(),
                boot_id: BootId::new("f0")?,
                counter: 1,
                previous: None,
                relied_on: Vec::new(),
                holds: Holds {
                    epoch: plan.epoch,
                    root: DocumentRef { version: plan.root_version, digest: Digest::ZERO },
                    roster: None,
                    plan: None,
                    head: None,
                },
                started: plan.created,
                ended: plan.created,
            };
            signed_by(&self.key, DocumentKind::Receipt, json::write(&receipt))
        });
        signed.collect()
    }
}

/// What it offers every node.
const OFFERS: [&str; 10] =
    [OWN_ROOT, OWN_ROSTER, FLIPPED, FORGED, INVENTED, REPLAYED, EXPIRED, REPLACED, REVIVED, SKIPPED];
const OWN_ROOT: &str = "a trust root of its own";
const OWN_ROSTER: &str = "a roster of its own, with a machine of its own";
const INVENTED: &str = "a grant of a plan that never was";
const EXPIRED: &str = "a plan that the admin signed and whose time is over";
const REPLACED: &str = "work of a plan that the admin replaced, by one with nothing to do on most nodes";
const REVIVED: &str = "a void plan, which the admin was made to sign as still running";
const SKIPPED: &str = "a task before the one that it comes after, with receipts of its own";
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
fn forged(key: &PrivateKey, plan: &Signed) -> anyhow::Result<Signed> {
    let mut forged: Plan = json::parse(&plan.bytes)?;
    forged.seq.0 += 1;
    forged.title = "Whatever the coordinator likes.".into();
    signed_by(key, DocumentKind::Plan, json::write(&forged))
}

/// The next root, which lists a key that the held one does not.
fn own_root(key: &PrivateKey, newest: Option<&Signed>) -> anyhow::Result<Offer> {
    let newest = newest.context("expected a root in the ledger to misuse, found none")?;
    let mut root: Root = json::parse(&newest.bytes)?;
    root.version += 1;
    root.signers.push(Signer {
        name: "a friend".into(),
        key: key.public_key().clone().into(),
        role: SignerRole::Admin,
        plan_kinds: Vec::new(),
    });
    let root = signed_by(key, DocumentKind::Root, json::write(&root))?;
    let chain = v1::TrustChain { roots: vec![root.clone().into()], roster: None };
    Ok(Offer { what: OWN_ROOT, document: root.digest(), messages: vec![to_agent::Message::Trust(chain)] })
}

/// The next roster, in which a node's key is another one.
fn own_roster(key: &PrivateKey, newest: Option<&Signed>) -> anyhow::Result<Offer> {
    let newest = newest.context("expected a roster in the ledger to misuse, found none")?;
    let mut roster: Roster = json::parse(&newest.bytes)?;
    roster.version += 1;
    roster.nodes.first_mut().context("expected a node in the roster, found none")?.key =
        key.public_key().clone().into();
    let roster = signed_by(key, DocumentKind::Roster, json::write(&roster))?;
    let chain = v1::TrustChain { roots: Vec::new(), roster: Some(roster.clone().into()) };
    Ok(Offer { what: OWN_ROSTER, document: roster.digest(), messages: vec![to_agent::Message::Trust(chain)] })
}

fn signed_by(key: &PrivateKey, kind: DocumentKind, bytes: Vec<u8>) -> anyhow::Result<Signed> {
    let signature = sign(key, kind, &bytes)?;
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
    let offers = match known.offers_for(&node) {
        Ok(offers) => offers,
        Err(error) => {
            eprintln!("no offers for {node}: {error:#}");
            return;
        }
    };
    let open = offers.iter().filter(|offer| !is_refused(&offer.document));
    let tries = open.flat_map(|offer| offer.messages.clone());
    let welcome = to_agent::Message::Welcome(v1::Welcome { report_interval_seconds: 10, ..v1::Welcome::default() });
    let trust = to_agent::Message::Trust(known.trust.clone());
    let first: Vec<to_agent::Message> = [welcome, trust].into_iter().chain(tries).collect();
    for message in first {
        if sender.send(Ok(v1::ToAgent { message: Some(message) })).await.is_err() {
            return;
        }
    }
    let mut joiner = Joiner::default();
    while let Some(Ok(message)) = messages.next().await {
        // Who sends anything but parts is no agent of ours.
        let Ok(message) = joiner.take(message) else { return };
        match message {
            Some(from_agent::Message::Refusal(report)) => {
                let offer = offers.iter().find(|o| o.document.to_string() == report.document);
                let Some(offer) = offer else { continue };
                let is_new = refused
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entry(node.clone())
                    .or_default()
                    .insert(offer.document);
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
                | from_agent::Message::ConditionsUnchanged(_)
                | from_agent::Message::Holding(_)
                | from_agent::Message::View(_)
                | from_agent::Message::Fragment(_),
            )
            | None => {}
        }
    }
}
