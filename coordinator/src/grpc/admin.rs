//! The admins' listener.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use hostler_plan::{
    document::SignerRole,
    id::{Digest, NodeName, TokenId},
    sequencer::RolloutAction,
};
use hostler_proto::v1::{self, Empty, admin_server::Admin, rollout_update::Update};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Shared, SharedRef,
    authorisation::{AdminAuth, Caller},
    convert::{self, digest, required},
    exported::{self, Readers},
    judged::{BoxStream, judged},
    peer,
    setup::Setup,
    snapshots, status, views,
};
use crate::{
    clock::ClockReading,
    control::{Control, ControlError, EndedRollout, Submitted},
    limits::{FLEET_FILE_BYTES, WATCH_PAUSE, WATCH_PAUSE_PER_TASK},
    store::fleet_file,
    view::{self, Documents, RolloutDetail, Shown},
};

/// Messages of a stream that wait for an admin's terminal.
const TERMINAL_QUEUE: usize = 4;

/// What is served to admins.
#[derive(Debug)]
pub(crate) struct AdminService {
    shared: SharedRef,
    auth: Arc<AdminAuth>,
    setup: Setup,
    fleet_file: PathBuf,
    upload_pause: Duration,
    readers: Readers,
}

impl AdminService {
    /// Its callers are judged by `auth`.
    pub(crate) fn new(
        shared: SharedRef,
        auth: AdminAuth,
        setup: Setup,
        fleet_file: PathBuf,
        upload_pause: Duration,
    ) -> Self {
        Self { shared, auth: Arc::new(auth), setup, fleet_file, upload_pause, readers: Readers::default() }
    }

    fn caller<T>(&self, request: &Request<T>, least: SignerRole) -> Result<Caller, Status> {
        self.auth.caller(&self.shared, request, least)
    }

    /// An answer that ends when its caller may not have it any more.
    fn while_allowed<T: Send + 'static>(
        &self,
        caller: Caller,
        least: SignerRole,
        messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> BoxStream<T> {
        let (auth, shared) = (self.auth.clone(), self.shared.clone());
        judged(&self.shared, messages, move || auth.still(&shared, &caller, least).map(|caller| caller.ends))
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn submitted(submitted: Submitted) -> Response<v1::DocumentReply> {
    Response::new(convert::document_reply(submitted))
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn challenge(&self, request: Request<v1::ChallengeRequest>) -> Answer<v1::ChallengeResponse> {
        let nonce = self.auth.challenge(&peer(&request)?)?;
        Ok(Response::new(v1::ChallengeResponse { nonce }))
    }

    async fn login(&self, request: Request<v1::LoginRequest>) -> Answer<v1::LoginResponse> {
        let peer = peer(&request)?;
        let clock = self.shared.control.ask(|control, now| control.clock_behind(now)).await?;
        Ok(Response::new(self.auth.login(&self.shared, &peer, request.get_ref(), clock)?))
    }

    async fn install_root(&self, request: Request<v1::InstallRootRequest>) -> Answer<v1::DocumentReply> {
        let by_code = self.setup.is_open();
        if !by_code {
            self.caller(&request, SignerRole::Admin)?;
        } else if !self.setup.matches(&request.get_ref().setup_code) {
            tracing::warn!(address = %peer(&request)?.address, "set-up with a wrong code");
            return Err(Status::unauthenticated(format!(
                "expected the set-up code that this coordinator wrote to {}, found another; copy the whole line",
                self.setup.file.display()
            )));
        }
        let root = required(request.into_inner().root, "a root")?;
        let pin = self.shared.authority.pin();
        let taken = self.shared.control.request(move |control, now| control.install_root(now, &root, pin)).await?;
        if by_code {
            self.setup.close();
        }
        Ok(submitted(taken))
    }

    async fn get_trust(&self, request: Request<v1::GetTrustRequest>) -> Answer<v1::TrustReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let held = request.into_inner().held_root_version;
        let look = move |control: &mut Control, now| v1::TrustReply {
            trust: Some(convert::trust_chain(control.trust_chain(held))),
            highest_seq: control.state().highest_seq().0,
            newest_plan: control.state().newest_plan().map(|plan| plan.signed().clone().into()),
            forks: convert::forks(control),
            ahead: control.ahead().map(|held| held.signed().clone().into()),
            clock_trouble: control.clock_behind(now).map(|behind| behind.to_string()).unwrap_or_default(),
            ledger_trouble: control.ledger_trouble().unwrap_or_default(),
            ..v1::TrustReply::default()
        };
        let reply = self.shared.control.ask(look).await?;
        let (enrolment_address, ca_pin) =
            (self.shared.enrolment_address.clone(), self.shared.authority.pin().to_string());
        Ok(Response::new(v1::TrustReply { enrolment_address, ca_pin, ..reply }))
    }

    async fn submit_admission(&self, request: Request<v1::SignedDocument>) -> Answer<v1::DocumentReply> {
        self.caller(&request, SignerRole::Admin)?;
        let signed = request.into_inner().into();
        Ok(submitted(self.shared.control.request(move |control, now| control.submit_admission(now, &signed)).await?))
    }

    async fn revoke_token(&self, request: Request<v1::RevokeTokenRequest>) -> Answer<Empty> {
        let caller = self.caller(&request, SignerRole::Admin)?;
        let token = TokenId::new(request.into_inner().token).map_err(|e| Status::invalid_argument(e.to_string()))?;
        self.shared.control.request(move |control, now| control.revoke_token(now, &token, &caller.name)).await?;
        Ok(Response::new(Empty {}))
    }

    async fn list_tokens(&self, request: Request<Empty>) -> Answer<v1::ListTokensReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let tokens = self.shared.control.ask(|control, _| convert::tokens(control.state())).await?;
        Ok(Response::new(v1::ListTokensReply { tokens }))
    }

    async fn list_enrolments(&self, request: Request<Empty>) -> Answer<v1::ListEnrolmentsReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let look = |control: &mut Control, now| (view::pending(control), view::doubles(control, now));
        let (enrolments, doubles) = self.shared.control.ask(look).await?;
        Ok(Response::new(v1::ListEnrolmentsReply {
            enrolments: enrolments.into_iter().map(convert::pending).collect(),
            doubles: doubles.into_iter().map(convert::double).collect(),
        }))
    }

    async fn submit_roster(&self, request: Request<v1::SignedDocument>) -> Answer<v1::DocumentReply> {
        self.caller(&request, SignerRole::Admin)?;
        let signed = request.into_inner().into();
        Ok(submitted(self.shared.control.request(move |control, now| control.submit_roster(now, &signed)).await?))
    }

    async fn list_holdings(&self, request: Request<Empty>) -> Answer<v1::ListHoldingsReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let nodes = self.shared.control.ask(|control, _| convert::holdings(control)).await?;
        Ok(Response::new(v1::ListHoldingsReply { nodes }))
    }

    async fn list_nodes(&self, request: Request<Empty>) -> Answer<v1::ListNodesReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let reports = self.shared.reports.all();
        let look = move |control: &mut Control, _| view::nodes(control, &reports, ClockReading::now());
        let nodes = self.shared.control.ask(look).await?;
        Ok(Response::new(v1::ListNodesReply { nodes: nodes.into_iter().map(convert::node_summary).collect() }))
    }

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Answer<v1::NodeDetail> {
        self.caller(&request, SignerRole::Viewer)?;
        let name = request.into_inner().name;
        let parsed: Option<NodeName> = name.parse().ok();
        let report = parsed.as_ref().and_then(|n| self.shared.reports.get(n));
        let history = parsed.as_ref().map(|n| self.shared.reports.history(n)).unwrap_or_default();
        let reading = report.as_ref().and_then(|r| r.reading.clone());
        let (verdicts, standing) = convert::verdicts(report.as_ref().map_or(&[], |r| r.verdicts.as_slice()));
        let look = move |control: &mut Control, _| {
            let node = view::node(control, &name, report.as_ref(), ClockReading::now())?;
            let (refusals, decisions) = convert::about_node(control.state(), &node.name);
            Ok::<_, ControlError>((node, refusals, decisions))
        };
        let (node, refusals, decisions) = self.shared.control.request(look).await?;
        Ok(Response::new(v1::NodeDetail {
            summary: Some(convert::node_summary(node)),
            facts: reading.as_deref().map(hostler_proto::facts::spelled_out).unwrap_or_default(),
            facts_taken_at: reading.as_deref().map_or(0, hostler_plan::fact::Reading::at_ms),
            verdicts,
            standing,
            decision_number: decisions.number(),
            decisions: convert::documents(decisions.after(0).cloned().collect()),
            history: history.into_iter().map(convert::history_series).collect(),
            refusals,
        }))
    }

    async fn get_inventory(&self, request: Request<Empty>) -> Answer<v1::InventoryReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let inventory = self.shared.control.ask(|control, now| control.inventory(now)).await?;
        Ok(Response::new(inventory.into()))
    }

    async fn upload_artifact(&self, request: Request<Streaming<v1::UploadArtifactRequest>>) -> Answer<Empty> {
        let caller = self.caller(&request, SignerRole::Admin)?;
        let mut messages = self.while_allowed(caller, SignerRole::Admin, request.into_inner());
        let pause = self.upload_pause;
        let mut next = async || match tokio::time::timeout(pause, messages.next()).await {
            Ok(message) => message.transpose(),
            Err(_) => Err(Status::deadline_exceeded(format!(
                "expected the next part of the artifact within {} s, found none; upload it again",
                pause.as_secs()
            ))),
        };
        let first = next().await?.ok_or_else(|| Status::invalid_argument("expected an artifact, found none"))?;
        let wanted = digest(&first.digest)?;
        let mut upload = self.shared.artifacts.upload(wanted, first.size).await?;
        upload.write(&first.data).await?;
        while let Some(part) = next().await? {
            upload.write(&part.data).await?;
        }
        // Who sends nothing of it asks whether it is here.
        if upload.is_empty() && self.shared.artifacts.has(&wanted, first.size) {
            return Ok(Response::new(Empty {}));
        }
        upload.finish().await?;
        tracing::info!(artifact = first.digest, bytes = first.size, "artifact stored");
        Ok(Response::new(Empty {}))
    }

    async fn list_snapshots(&self, request: Request<Empty>) -> Answer<v1::ListSnapshotsReply> {
        self.caller(&request, SignerRole::Viewer)?;
        Ok(Response::new(snapshots::list(&self.shared).await?))
    }

    type FetchSnapshotStream = BoxStream<v1::SnapshotChunk>;

    async fn fetch_snapshot(&self, request: Request<v1::FetchSnapshotRequest>) -> Answer<Self::FetchSnapshotStream> {
        let caller = self.caller(&request, SignerRole::Admin)?;
        let v1::FetchSnapshotRequest { digest: wanted, offset } = request.into_inner();
        let chunks = snapshots::chunks(&self.shared, &digest(&wanted)?, offset).await?;
        Ok(Response::new(self.while_allowed(caller, SignerRole::Admin, chunks)))
    }

    async fn submit_plan(&self, request: Request<v1::SignedDocument>) -> Answer<v1::DocumentReply> {
        let caller = self.caller(&request, SignerRole::Operator)?;
        let signed = request.into_inner().into();
        let shared = self.shared.clone();
        let has_artifact = move |digest: &Digest, size| shared.artifacts.has(digest, size);
        let taken = self
            .shared
            .control
            .request(move |control, now| control.submit_plan(now, &signed, caller.role, has_artifact))
            .await?;
        Ok(submitted(taken))
    }

    async fn reserve_plan(&self, request: Request<v1::SignedDocument>) -> Answer<Empty> {
        self.caller(&request, SignerRole::Operator)?;
        let signed = request.into_inner().into();
        self.shared.control.request(move |control, now| control.reserve_plan(now, &signed)).await?;
        Ok(Response::new(Empty {}))
    }

    async fn list_reserved_plans(&self, request: Request<Empty>) -> Answer<v1::ReservedPlansReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let plans = self.shared.control.ask(|control, now| control.reserved_plans(now)).await?;
        Ok(Response::new(v1::ReservedPlansReply { plans: plans.into_iter().map(Into::into).collect() }))
    }

    async fn give_up_plan(&self, request: Request<v1::GiveUpPlanRequest>) -> Answer<Empty> {
        self.caller(&request, SignerRole::Operator)?;
        let plan = request.into_inner().plan.parse().map_err(|e| Status::invalid_argument(format!("{e}")))?;
        self.shared.control.ask(move |control, _| control.give_up_plan(&plan)).await?;
        Ok(Response::new(Empty {}))
    }

    async fn get_view(&self, request: Request<v1::GetViewRequest>) -> Answer<v1::GetViewReply> {
        self.caller(&request, SignerRole::Viewer)?;
        Ok(Response::new(views::view(&self.shared, request.into_inner()).await?))
    }

    async fn list_rollouts(&self, request: Request<Empty>) -> Answer<v1::ListRolloutsReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let rollouts = self.shared.control.ask(|control, now| view::rollouts(control, now)).await?;
        let rollouts = rollouts.into_iter().map(convert::rollout_summary).collect();
        Ok(Response::new(v1::ListRolloutsReply { rollouts }))
    }

    async fn get_rollout(&self, request: Request<v1::GetRolloutRequest>) -> Answer<v1::RolloutDetail> {
        self.caller(&request, SignerRole::Viewer)?;
        let which = request.into_inner().rollout;
        let (detail, documents) = rollout(&self.shared, which).await?;
        let (plan, receipts) = documents.map(|d| (d.plan, d.receipts)).unzip();
        Ok(Response::new(convert::rollout_detail(detail, plan, receipts.unwrap_or_default())))
    }

    type WatchRolloutStream = BoxStream<v1::RolloutUpdate>;

    async fn watch_rollout(&self, request: Request<v1::GetRolloutRequest>) -> Answer<Self::WatchRolloutStream> {
        let caller = self.caller(&request, SignerRole::Viewer)?;
        let which = request.into_inner().rollout;
        let first = rollout(&self.shared, which).await?;
        let (sender, receiver) = mpsc::channel(TERMINAL_QUEUE);
        tokio::spawn(watch(self.shared.clone(), first, sender));
        Ok(Response::new(self.while_allowed(caller, SignerRole::Viewer, ReceiverStream::new(receiver))))
    }

    async fn control_rollout(&self, request: Request<v1::ControlRolloutRequest>) -> Answer<Empty> {
        let caller = self.caller(&request, SignerRole::Operator)?;
        let request = request.into_inner();
        let action = RolloutAction::try_from(&request).map_err(|e| Status::failed_precondition(e.to_string()))?;
        let v1::ControlRolloutRequest { rollout, reason, .. } = request;
        self.shared
            .control
            .request(move |control, now| control.act(now, &rollout, action, &caller.name, &reason))
            .await?;
        Ok(Response::new(Empty {}))
    }

    async fn submit_decision(&self, request: Request<v1::SignedDocument>) -> Answer<v1::DocumentReply> {
        self.caller(&request, SignerRole::Operator)?;
        let signed = request.into_inner().into();
        Ok(submitted(self.shared.control.request(move |control, now| control.submit_decision(now, &signed)).await?))
    }

    async fn put_fleet_file(&self, request: Request<v1::FleetFile>) -> Answer<Empty> {
        self.caller(&request, SignerRole::Admin)?;
        let content = request.into_inner().content;
        if content.len() > FLEET_FILE_BYTES {
            let reason = format!(
                "expected a fleet file of at most {FLEET_FILE_BYTES} bytes, found {}; split the fleet",
                content.len()
            );
            return Err(Status::invalid_argument(reason));
        }
        if let Err(reason) = self.shared.reports.set_fleet_file(&content) {
            let reason =
                format!("expected a fleet file, found one that cannot be used: {reason}; try `hostler fleet check`");
            return Err(Status::invalid_argument(reason));
        }
        fleet_file::keep(&self.fleet_file, &content).map_err(|e| {
            Status::resource_exhausted(format!(
                "cannot store the fleet file ({e}); make room on the coordinator's disk and try again"
            ))
        })?;
        Ok(Response::new(Empty {}))
    }

    async fn get_fleet_file(&self, request: Request<Empty>) -> Answer<v1::FleetFile> {
        self.caller(&request, SignerRole::Viewer)?;
        match fleet_file::read(&self.fleet_file) {
            Ok(Some(content)) => Ok(Response::new(v1::FleetFile { content })),
            Ok(None) => Err(Status::not_found(format!(
                "expected a fleet file in {}, found none: none was submitted yet, or it was lost; the next plan \
                 submits it",
                self.fleet_file.display()
            ))),
            Err(error) => Err(Status::data_loss(error.to_string())),
        }
    }

    type ExportLedgerStream = BoxStream<v1::LedgerChunk>;

    async fn export_ledger(&self, request: Request<v1::ExportLedgerRequest>) -> Answer<Self::ExportLedgerStream> {
        let caller = self.caller(&request, SignerRole::Viewer)?;
        let from = request.into_inner().from_index;
        let place = self.readers.place(&caller.key).await?;
        let lines = self.shared.ledger.lines_from(from).map_err(|e| status::internal(&e))?;
        let (sender, receiver) = mpsc::channel(TERMINAL_QUEUE);
        // Reading a file blocks, and an admin's terminal may be slow: a thread of its own for as long as it takes.
        tokio::task::spawn_blocking(move || exported::export(lines, &sender, place));
        Ok(Response::new(self.while_allowed(caller, SignerRole::Viewer, ReceiverStream::new(receiver))))
    }

    type ProveLedgerStream = BoxStream<v1::LedgerProof>;

    async fn prove_ledger(&self, request: Request<v1::ProveLedgerRequest>) -> Answer<Self::ProveLedgerStream> {
        let caller = self.caller(&request, SignerRole::Viewer)?;
        let from = request.into_inner().from_index;
        let place = self.readers.place(&caller.key).await?;
        let adoptions = self.shared.control.ask(|control, _| control.state().adoptions.clone()).await?;
        let adoptions = adoptions.into_iter().rev().map(Into::into).collect();
        let (lines, head) = self.shared.ledger.grown_since(from).map_err(|e| status::internal(&e))?;
        let last = v1::LedgerProof { contents: Vec::new(), head: Some(head.into()), adoptions };
        let (sender, receiver) = mpsc::channel(TERMINAL_QUEUE);
        tokio::task::spawn_blocking(move || exported::prove(lines, last, &sender, place));
        Ok(Response::new(self.while_allowed(caller, SignerRole::Viewer, ReceiverStream::new(receiver))))
    }
}

/// A rollout with its documents.
async fn rollout(shared: &Shared, which: String) -> Result<(RolloutDetail, Option<Documents>), Status> {
    let look = move |control: &mut Control, now| {
        let shown = view::rollout(control, &which, now)?;
        let documents = match &shown {
            Shown::Detail(detail) => view::documents(control, detail),
            Shown::Ended(_) => None,
        };
        Ok::<_, ControlError>((shown, documents))
    };
    match shared.control.request(look).await? {
        (Shown::Detail(detail), documents) => Ok((*detail, documents)),
        (Shown::Ended(ended), _) => from_ledger(shared, *ended).await.map(|(detail, found)| (detail, Some(found))),
    }
}

/// A rollout without its documents.
async fn look(shared: &Shared, which: String) -> Result<RolloutDetail, Status> {
    match shared.control.request(move |control, now| view::rollout(control, &which, now)).await? {
        Shown::Detail(detail) => Ok(*detail),
        Shown::Ended(ended) => from_ledger(shared, *ended).await.map(|(detail, _)| detail),
    }
}

/// A rollout that left memory.
async fn from_ledger(shared: &Shared, ended: EndedRollout) -> Result<(RolloutDetail, Documents), Status> {
    let ledger = shared.ledger.clone();
    // Reading a file blocks, and a rollout may have thousands of records.
    let read = tokio::task::spawn_blocking(move || {
        let records = ledger.records(ended.records.clone())?;
        view::ended(&ended, &records).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    });
    read.await.map_err(|e| status::internal(&e))?.map_err(|e| status::internal(&e))
}

/// Sends a rollout, and what changed of it whenever it did, at once when tasks ended, until it is over or nobody looks.
async fn watch(
    shared: SharedRef,
    (first, documents): (RolloutDetail, Option<Documents>),
    sender: mpsc::Sender<Result<v1::RolloutUpdate, Status>>,
) {
    let plan = first.summary.plan.to_string();
    let (mut changes, mut endings) = (shared.control.changes(), shared.control.endings());
    let tasks = u32::try_from(first.tasks.len()).unwrap_or(u32::MAX);
    let least_pause = WATCH_PAUSE_PER_TASK.saturating_mul(tasks).min(WATCH_PAUSE);
    let whole = convert::rollout_detail(first.clone(), documents.map(|d| d.plan), Vec::new());
    let (mut shown, mut next) = (first, Some(Update::Whole(whole)));
    let mut shown_at = tokio::time::Instant::now();
    loop {
        if let Some(update) = next.take() {
            let message = v1::RolloutUpdate { update: Some(update) };
            if sender.send(Ok(message)).await.is_err() || shown.is_settled() {
                return;
            }
            shown_at = tokio::time::Instant::now();
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
        tokio::time::sleep_until(shown_at + least_pause).await;
        tokio::select! {
            () = tokio::time::sleep(WATCH_PAUSE) => {}
            ended = endings.changed() => if ended.is_err() { return },
        }
        changes.mark_unchanged();
        endings.mark_unchanged();
        let which = plan.clone();
        match look(&shared, which).await {
            Ok(detail) => {
                next = detail.since(&shown).map(|change| Update::Change(convert::rollout_change(change)));
                shown = detail;
            }
            Err(status) => return drop(sender.send(Err(status)).await),
        }
    }
}
