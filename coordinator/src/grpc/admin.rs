use std::{
    io::{self, Read as _},
    path::PathBuf,
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use futures_util::Stream;
use hostler_plan::{
    document::SignerRole,
    health::Verdict,
    id::{Digest, Fingerprint, TokenId},
    planner::Inventory,
};
use hostler_proto::v1::{self, Empty, admin_server::Admin};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{SharedRef, authorisation::Door, digest, documents, peer, required, status};
use crate::{
    clock::now,
    control::Submitted,
    limits::{FLEET_FILE_BYTES, WATCH_PAUSE},
    store::data_dir::write_private,
};

/// Bytes of ledger per message.
const LEDGER_CHUNK_BYTES: usize = 256 << 10;
/// Messages of a stream that wait for an admin's terminal.
const TERMINAL_QUEUE: usize = 4;

/// What is served to admins.
#[derive(Debug)]
pub struct AdminService {
    shared: SharedRef,
    door: Door,
    setup: Setup,
    fleet_file: PathBuf,
}

/// The code with which an empty coordinator takes its first root, once.
#[derive(Debug)]
pub struct Setup {
    code: Mutex<Option<String>>,
    file: PathBuf,
}

impl Setup {
    /// `code` is none when there is a root already.
    pub fn new(code: Option<String>, file: PathBuf) -> Self {
        Self { code: Mutex::new(code), file }
    }

    /// Compares digests, so that time tells nothing about the code.
    fn matches(&self, offered: &str) -> bool {
        let code = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        code.as_ref().is_some_and(|c| Digest::of(c.as_bytes()) == Digest::of(offered.as_bytes()))
    }

    fn is_open(&self) -> bool {
        self.code.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn close(&self) {
        *self.code.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Err(error) = std::fs::remove_file(&self.file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.file.display(), %error, "the used set-up code could not be removed");
        }
    }
}

impl AdminService {
    /// `certificate` is the DER that the admins' listener shows.
    pub fn new(shared: SharedRef, certificate: &[u8], setup: Setup, fleet_file: PathBuf) -> Self {
        Self { shared, door: Door::new(Digest::of(certificate)), setup, fleet_file }
    }

    fn caller<T>(&self, request: &Request<T>, least: SignerRole) -> Result<super::authorisation::Caller, Status> {
        self.door.caller(&self.shared, request, least)
    }
}

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;

fn submitted(submitted: Submitted) -> Response<v1::DocumentReply> {
    Response::new(v1::DocumentReply { digest: submitted.digest.to_string(), is_new: submitted.is_new })
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn challenge(&self, request: Request<v1::ChallengeRequest>) -> Answer<v1::ChallengeResponse> {
        let nonce = self.door.challenge(&peer(&request)?)?;
        Ok(Response::new(v1::ChallengeResponse { nonce }))
    }

    async fn login(&self, request: Request<v1::LoginRequest>) -> Answer<v1::LoginResponse> {
        let peer = peer(&request)?;
        Ok(Response::new(self.door.login(&self.shared, &peer, request.get_ref())?))
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
        let taken = self.shared.desk.ask(move |desk| desk.install_root(&root, pin)).await??;
        if by_code {
            self.setup.close();
        }
        Ok(submitted(taken))
    }

    async fn get_trust(&self, request: Request<v1::GetTrustRequest>) -> Answer<v1::TrustReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let held = request.into_inner().held_root_version;
        let ((roots, roster), highest, open_plans) = self
            .shared
            .desk
            .ask(move |desk| (desk.trust_chain(held), desk.state.highest_seq(), desk.open_plans()))
            .await?;
        let trust = v1::TrustChain { roots: documents(roots), roster: roster.map(Into::into) };
        Ok(Response::new(v1::TrustReply {
            trust: Some(trust),
            highest_seq: highest.0,
            open_plans,
            enrolment_address: self.shared.enrolment_address.clone(),
            ca_pin: self.shared.authority.pin().to_string(),
        }))
    }

    async fn submit_admission(&self, request: Request<v1::SignedDocument>) -> Answer<v1::DocumentReply> {
        self.caller(&request, SignerRole::Admin)?;
        let signed = request.into_inner().into();
        Ok(submitted(self.shared.desk.ask(move |desk| desk.submit_admission(&signed)).await??))
    }

    async fn revoke_token(&self, request: Request<v1::RevokeTokenRequest>) -> Answer<Empty> {
        let caller = self.caller(&request, SignerRole::Admin)?;
        let token = TokenId::new(request.into_inner().token).map_err(|e| Status::invalid_argument(e.to_string()))?;
        self.shared.desk.ask(move |desk| desk.revoke_token(&token, &caller.name)).await??;
        Ok(Response::new(Empty {}))
    }

    async fn list_tokens(&self, request: Request<Empty>) -> Answer<v1::ListTokensReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let tokens = self.shared.desk.ask(|desk| desk.tokens()).await?;
        Ok(Response::new(v1::ListTokensReply { tokens }))
    }

    async fn list_enrolments(&self, request: Request<Empty>) -> Answer<v1::ListEnrolmentsReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let enrolments = self.shared.desk.ask(|desk| desk.enrolments()).await?;
        Ok(Response::new(v1::ListEnrolmentsReply { enrolments }))
    }

    async fn submit_roster(&self, request: Request<v1::SignedDocument>) -> Answer<v1::DocumentReply> {
        self.caller(&request, SignerRole::Admin)?;
        let signed = request.into_inner().into();
        Ok(submitted(self.shared.desk.ask(move |desk| desk.submit_roster(&signed)).await??))
    }

    async fn list_nodes(&self, request: Request<Empty>) -> Answer<v1::ListNodesReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let heard = self.shared.live.all();
        let nodes = self.shared.desk.ask(move |desk| desk.nodes(&heard)).await?;
        Ok(Response::new(v1::ListNodesReply { nodes }))
    }

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Answer<v1::NodeDetail> {
        self.caller(&request, SignerRole::Viewer)?;
        let name = request.into_inner().name;
        let heard = name.parse().ok().and_then(|n| self.shared.live.get(&n));
        let reading = heard.as_ref().and_then(|h| h.reading.clone());
        let verdicts = heard.iter().flat_map(|h| &h.verdicts).map(verdict).collect();
        let lines = name.parse().map(|n| self.shared.live.history(&n)).unwrap_or_default();
        let (summary, refusals) = self.shared.desk.ask(move |desk| desk.node(&name, heard.as_ref())).await??;
        Ok(Response::new(v1::NodeDetail {
            summary: Some(summary),
            facts: reading.as_deref().map(hostler_proto::facts::spelled_out).unwrap_or_default(),
            facts_taken_at: reading.as_deref().map_or(0, hostler_plan::fact::Reading::at_ms),
            verdicts,
            history: lines.into_iter().map(history_series).collect(),
            refusals,
        }))
    }

    async fn get_inventory(&self, request: Request<Empty>) -> Answer<v1::InventoryReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let inventory = self.shared.desk.ask(|desk| Inventory::of(&desk.state.sequencer, now())).await?;
        let inventory = serde_json::to_vec(&inventory).map_err(|e| status::internal(&e))?;
        Ok(Response::new(v1::InventoryReply { inventory }))
    }

    async fn upload_artifact(&self, request: Request<Streaming<v1::UploadArtifactRequest>>) -> Answer<Empty> {
        self.caller(&request, SignerRole::Admin)?;
        let mut messages = request.into_inner();
        let first =
            messages.message().await?.ok_or_else(|| Status::invalid_argument("expected an artifact, found none"))?;
        let mut upload = self.shared.artifacts.upload(digest(&first.digest)?, first.size).await?;
        upload.write(&first.data).await?;
        while let Some(next) = messages.message().await? {
            upload.write(&next.data).await?;
        }
        upload.finish().await?;
        tracing::info!(artifact = first.digest, bytes = first.size, "artifact stored");
        Ok(Response::new(Empty {}))
    }

    async fn submit_plan(&self, request: Request<v1::SignedDocument>) -> Answer<v1::DocumentReply> {
        let caller = self.caller(&request, SignerRole::Operator)?;
        let signed = request.into_inner().into();
        let shared = self.shared.clone();
        let taken = self
            .shared
            .desk
            .ask(move |desk| desk.submit_plan(&signed, caller.role, |digest, size| shared.artifacts.has(digest, size)))
            .await??;
        Ok(submitted(taken))
    }

    async fn list_rollouts(&self, request: Request<Empty>) -> Answer<v1::ListRolloutsReply> {
        self.caller(&request, SignerRole::Viewer)?;
        let rollouts = self.shared.desk.ask(|desk| desk.rollouts()).await?;
        Ok(Response::new(v1::ListRolloutsReply { rollouts }))
    }

    async fn get_rollout(&self, request: Request<v1::GetRolloutRequest>) -> Answer<v1::RolloutDetail> {
        self.caller(&request, SignerRole::Viewer)?;
        let which = request.into_inner().rollout;
        let answer = self.shared.desk.ask(move |desk| desk.rollout_with_receipts(&which)).await??;
        Ok(Response::new(answer))
    }

    type WatchRolloutStream = BoxStream<v1::RolloutDetail>;

    async fn watch_rollout(&self, request: Request<v1::GetRolloutRequest>) -> Answer<Self::WatchRolloutStream> {
        let caller = self.caller(&request, SignerRole::Viewer)?;
        let which = request.into_inner().rollout;
        let first = self.shared.desk.ask(move |desk| desk.rollout(&which)).await??;
        let (sender, receiver) = mpsc::channel(TERMINAL_QUEUE);
        tokio::spawn(watch(self.shared.clone(), caller.key, first, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn control_rollout(&self, request: Request<v1::ControlRolloutRequest>) -> Answer<Empty> {
        let caller = self.caller(&request, SignerRole::Operator)?;
        let request = request.into_inner();
        self.shared.desk.ask(move |desk| desk.control(&request, &caller.name)).await??;
        Ok(Response::new(Empty {}))
    }

    async fn release_quarantine(&self, request: Request<v1::ReleaseQuarantineRequest>) -> Answer<Empty> {
        let caller = self.caller(&request, SignerRole::Operator)?;
        let v1::ReleaseQuarantineRequest { node, version } = request.into_inner();
        self.shared.desk.ask(move |desk| desk.release_quarantine(&node, &version, &caller.name)).await??;
        Ok(Response::new(Empty {}))
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
        if let Err(reason) = self.shared.live.set_fleet_file(&content) {
            let reason =
                format!("expected a fleet file, found one that cannot be used: {reason}; try `hostler fleet check`");
            return Err(Status::invalid_argument(reason));
        }
        write_private(&self.fleet_file, &content).map_err(|e| {
            Status::resource_exhausted(format!(
                "cannot store the fleet file ({e}); make room on the coordinator's disk and try again"
            ))
        })?;
        Ok(Response::new(Empty {}))
    }

    async fn get_fleet_file(&self, request: Request<Empty>) -> Answer<v1::FleetFile> {
        self.caller(&request, SignerRole::Viewer)?;
        match std::fs::read(&self.fleet_file) {
            Ok(content) => Ok(Response::new(v1::FleetFile { content })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Status::not_found(
                "expected a fleet file, found that none was submitted yet; the next plan submits it",
            )),
            Err(e) => Err(status::internal(&e)),
        }
    }

    type ExportLedgerStream = BoxStream<v1::LedgerChunk>;

    async fn export_ledger(&self, request: Request<v1::ExportLedgerRequest>) -> Answer<Self::ExportLedgerStream> {
        self.caller(&request, SignerRole::Viewer)?;
        let from = request.into_inner().from_index;
        let lines =
            self.shared.desk.ask(move |desk| desk.ledger_lines(from)).await?.map_err(|e| status::internal(&e))?;
        let (sender, receiver) = mpsc::channel(TERMINAL_QUEUE);
        // Reading a file blocks, and an admin's terminal may be slow: a thread of its own for as long as it takes.
        tokio::task::spawn_blocking(move || export(lines, &sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

fn verdict(verdict: &Verdict) -> v1::Verdict {
    v1::Verdict {
        rule: verdict.rule.name().to_owned(),
        level: verdict.level.to_string(),
        sentence: verdict.sentence(),
        advice: verdict.advice.clone(),
        since: verdict.since_ms / 1000,
    }
}

fn history_series((name, points): crate::nodes::history::Line) -> v1::HistorySeries {
    let points = points.into_iter().map(|(at, value)| v1::HistoryPoint { at, value }).collect();
    v1::HistorySeries { name: name.to_owned(), points }
}

/// Sends a rollout again whenever it changed, at once when tasks ended, until it is over or nobody looks.
async fn watch(
    shared: SharedRef,
    key: Fingerprint,
    first: v1::RolloutDetail,
    sender: mpsc::Sender<Result<v1::RolloutDetail, Status>>,
) {
    let plan = first.summary.as_ref().map(|s| s.plan.clone()).unwrap_or_default();
    let (mut changes, mut endings) = (shared.desk.changes(), shared.desk.endings());
    let mut shown = first.clone();
    let mut next = Some(first);
    loop {
        if let Some(detail) = next.take() {
            shown = detail.clone();
            let over = is_over(&detail);
            if sender.send(Ok(detail)).await.is_err() || over {
                return;
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_PAUSE) => {}
            ended = endings.changed() => if ended.is_err() { return },
        }
        changes.mark_unchanged();
        endings.mark_unchanged();
        if shared.desk.fleet().signer(&key).is_none() {
            let gone = Status::unauthenticated(format!("key {key} no longer stands in the root; log in with another"));
            return drop(sender.send(Err(gone)).await);
        }
        let which = plan.clone();
        match shared.desk.ask(move |desk| desk.rollout(&which)).await {
            Ok(Ok(detail)) => next = (detail != shown).then_some(detail),
            Ok(Err(error)) => return drop(sender.send(Err(error.into())).await),
            Err(stopping) => return drop(sender.send(Err(stopping.into())).await),
        }
    }
}

/// Nothing of it will change any more. A halted rollout goes on for as long as a node finishes what it began.
fn is_over(detail: &v1::RolloutDetail) -> bool {
    let ended =
        detail.summary.as_ref().is_some_and(|s| matches!(s.state.as_str(), "finished" | "halted" | "superseded"));
    ended && !detail.tasks.iter().any(|t| t.state == "granted")
}

fn export(mut lines: impl io::Read, sender: &mpsc::Sender<Result<v1::LedgerChunk, Status>>) {
    let mut kept = Vec::new();
    loop {
        let before = kept.len();
        if let Err(e) = lines.by_ref().take(LEDGER_CHUNK_BYTES as u64).read_to_end(&mut kept) {
            return drop(sender.blocking_send(Err(status::internal(&e))));
        }
        if kept.len() == before {
            return;
        }
        // Whole lines only; the beginning of the next one waits.
        let Some(end) = kept.iter().rposition(|b| *b == b'\n') else { continue };
        let rest = kept.split_off(end + 1);
        let lines = std::mem::replace(&mut kept, rest);
        if sender.blocking_send(Ok(v1::LedgerChunk { lines })).is_err() {
            return;
        }
    }
}
