//! One connection to the coordinator, from its opening to its end.

use std::time::Duration;

use hostler_daemon::memory;
use hostler_plan::{
    document::Signed,
    fact::{DeltaWriter, Reading},
    health::REPORT_INTERVAL_SECONDS,
    id::{Digest, TaskId},
    ledger::Head,
    refusal::{Refusal, Refused},
    sequencer::Cordon,
};
use hostler_proto::{
    MAX_MESSAGE_BYTES, facts,
    fragment::{self, FragmentError, Joiner},
    v1::{
        ConditionsUnchanged, FromAgent, Hello, LeaseRenewal, NodeCondition, NodeConditions, Progress, RefusalReport,
        RunningTask, SignedDocument, ToAgent, TrustChain, ViewAnswer, agent_client::AgentClient,
        from_agent::Message as Up, to_agent::Message as Down,
    },
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::{
    ANSWER_LIMIT, Link, LinkError, fetch::fetch, idle_timer::IdleTimer, renew, renewal_time, sent::SentReceipts,
    upload, view,
};
use crate::{credentials::Credentials, executor::AskError};
use hostler_executor::protocol::{
    self, Fetch, Grant, Request,
    node::{self, Conditions, Report},
};

/// Messages on their way out; a coordinator that takes none is not there.
const OUT_QUEUE: usize = 32;
/// How long a message may wait for a place in the queue, or a request for the executor.
const STUCK: Duration = Duration::from_secs(30);
/// A lease is renewed three times in its life, so that one lost message does not lose it.
const RENEWALS_PER_LEASE: u32 = 3;
const SHORTEST_RENEWAL: Duration = Duration::from_millis(500);

/// How a session ended without an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// Connect again, with the new certificate.
    NewCertificate,
    Closed,
}

struct Session<'a> {
    link: &'a Link,
    client: AgentClient<Channel>,
    out: mpsc::Sender<FromAgent>,
    facts: DeltaWriter,
    report_interval: Duration,
    sent: SentReceipts,
    /// What the coordinator was told last on this stream that the node holds.
    told: Option<Digest>,
    /// How many messages the executor had dropped when this stream began.
    dropped: u64,
    running: Option<protocol::RunningTask>,
    /// What the API server was last found to say of its nodes, and what of it the coordinator was told last.
    conditions: Option<Digest>,
    told_conditions: Option<Digest>,
    /// False once the machine had no API server to ask, until a report or the status after a task says that it has one.
    may_serve: bool,
    /// What was asked about the cluster.
    views: view::Questions,
    /// What is being fetched on this connection, and by whom.
    fetching: Option<(Fetch, JoinHandle<()>)>,
    welcomed: &'a mut bool,
    idle: IdleTimer,
    /// The parts of a long message that are here.
    joiner: Joiner<ToAgent>,
}

/// One stream from its hello to its end, and whether it was welcomed before that.
pub(super) async fn run(
    (link, channel): (&Link, Channel),
    credentials: &mut Credentials,
    welcomed: &mut bool,
) -> Result<SessionEnd, LinkError> {
    let mut client = AgentClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (out, queue) = mpsc::channel(OUT_QUEUE);
    let hello = hello(link).await?;
    let told = hello.holding.as_ref().map(|h| Digest::of(&h.content));
    let dropped = link.executor.status.content().dropped;
    let first = FromAgent { message: Some(Up::Hello(hello)) };
    out.send(first).await.map_err(|_| LinkError::Ended("before the hello".into()))?;
    let attached = tokio::time::timeout(ANSWER_LIMIT, client.attach(ReceiverStream::new(queue))).await;
    let attached = attached.map_err(|_| LinkError::Ended(format!("no answer in {} s", ANSWER_LIMIT.as_secs())))?;
    let inbound = attached.map_err(not_taken)?.into_inner();
    let (views, viewed) = view::Questions::new();
    let sending = upload::keep_sending(client.clone(), link.sealed.clone());
    let mut session = Session {
        link,
        client,
        out,
        facts: DeltaWriter::new(),
        report_interval: link.report_interval,
        sent: SentReceipts::default(),
        told,
        dropped,
        running: None,
        conditions: None,
        told_conditions: None,
        may_serve: true,
        views,
        fetching: None,
        welcomed,
        idle: IdleTimer::default(),
        joiner: Joiner::default(),
    };
    let end = tokio::select! {
        end = session.serve(inbound, viewed, credentials) => end,
        // Never ends before the connection does.
        () = sending => Ok(SessionEnd::Closed),
    };
    if let Some((wanted, fetching)) = session.fetching.take()
        && !fetching.is_finished()
    {
        fetching.abort();
        // Nobody told the executor how it ended, and it would wait: the next connection fetches the rest.
        link.executor.status.content().fetch.get_or_insert(wanted);
    }
    end
}

/// What the coordinator says itself is said as it is. Otherwise the connection ended beneath the call, as it does where
/// a certificate does not count.
fn not_taken(status: Status) -> LinkError {
    use std::error::Error as _;
    let reason = status.message().to_owned();
    match status.source() {
        Some(_) => LinkError::NotTaken { reason, clocks: String::new() },
        None => LinkError::Ended(reason),
    }
}

async fn hello(link: &Link) -> Result<Hello, LinkError> {
    let boot_id = link.executor.boot_id().await?.to_string();
    let status = link.executor.status.content();
    let holding = &status.holding;
    Ok(Hello {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id,
        root_version: holding.root_version,
        roster_version: holding.roster_version,
        epoch: holding.epoch,
        seq: holding.seq,
        receipt_counter: holding.receipt_counter,
        running: status.running.as_ref().map(|r| RunningTask {
            plan: r.plan.to_string(),
            task: r.task.to_string(),
            grant: r.grant,
        }),
        lost_receipts: holding.lost_receipts.iter().map(Digest::to_string).collect(),
        holding: status.holding_document.clone().map(SignedDocument::from),
    })
}

impl Drop for Session<'_> {
    /// Also when nobody waits for the session's end any more: two fetches must not write to one file.
    fn drop(&mut self) {
        if let Some((_, fetching)) = &self.fetching {
            fetching.abort();
        }
    }
}

impl Session<'_> {
    async fn serve(
        &mut self,
        mut inbound: Streaming<ToAgent>,
        mut viewed: mpsc::Receiver<ViewAnswer>,
        credentials: &mut Credentials,
    ) -> Result<SessionEnd, LinkError> {
        let mut reports = self.link.executor.reports(self.report_interval);
        let mut conditions = Box::pin(self.ask_conditions(None));
        let mut lease = ticks(SHORTEST_RENEWAL);
        let renew_at = renewal_time(credentials);
        self.flush().await?;
        loop {
            tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(message)) => {
                        let interval = self.report_interval;
                        self.take(message).await?;
                        if self.report_interval != interval {
                            reports = self.link.executor.reports(self.report_interval);
                        }
                    }
                    Ok(None) => return Ok(SessionEnd::Closed),
                    Err(status) => return Err(LinkError::Ended(status.message().to_owned())),
                },
                () = self.link.executor.status.changed.notified() => {
                    self.idle.restart(Instant::now());
                    let before = self.running.clone();
                    let ended = self.flush().await?;
                    self.may_serve |= self.link.executor.status.content().serves;
                    if ended {
                        // The task may have changed the cluster, and the next one waits until that is known.
                        conditions.set(self.ask_conditions(None));
                    }
                    if self.running.is_none() && self.link.executor.status.content().dropped != self.dropped {
                        return Err(LinkError::Ended("documents were dropped while a task ran".to_owned()));
                    }
                    if self.running != before && let Some(running) = &self.running {
                        lease = ticks(renewal_interval(running.lease_seconds));
                    }
                }
                report = reports.next() => {
                    let now = report.now;
                    self.report(report).await?;
                    // The clock can jump, so it is looked at; nobody is woken for it alone.
                    if now >= renew_at {
                        match renew::in_time(self.link, credentials, &mut self.client).await {
                            Ok(new) => {
                                *credentials = new;
                                return Ok(SessionEnd::NewCertificate);
                            }
                            // The old one still counts; tried again with the next report.
                            Err(error) => tracing::warn!("{error}"),
                        }
                    }
                }
                found = &mut conditions, if self.may_serve => {
                    self.report_conditions(found?).await?;
                    conditions.set(self.ask_conditions(self.conditions));
                }
                // Ends with the session, which holds the other end.
                Some(answer) = viewed.recv() => self.send(Up::View(answer)).await?,
                () = self.sent.due() => drop(self.flush().await?),
                // An idle node has no lease, and sleeps.
                _ = lease.tick(), if self.running.is_some() => self.renew_lease().await?,
            }
        }
    }

    async fn take(&mut self, message: ToAgent) -> Result<(), LinkError> {
        self.idle.restart(Instant::now());
        match self.joiner.take(message).map_err(malformed_parts)? {
            Some(message) => self.receive(message).await,
            // A part of a longer one, or a message of a later version.
            None => Ok(()),
        }
    }

    async fn receive(&mut self, message: Down) -> Result<(), LinkError> {
        let request = match message {
            Down::Fragment(_) => return Err(LinkError::Ended("a part of a message in the place of one".into())),
            Down::Welcome(welcome) => {
                *self.welcomed = true;
                tracing::info!("connected to the coordinator");
                if welcome.report_interval_seconds > 0 {
                    let (least, most) = REPORT_INTERVAL_SECONDS.into_inner();
                    let seconds = u64::from(welcome.report_interval_seconds).clamp(least, most);
                    self.report_interval = Duration::from_secs(seconds);
                }
                let own_receipts = welcome.own_receipts.into_iter().map(Signed::from).collect();
                read_head(welcome.head).map(|head| Request::Welcome { own_receipts, head })
            }
            Down::Trust(TrustChain { roots, roster }) => Ok(Request::Trust {
                roots: roots.into_iter().map(Signed::from).collect(),
                roster: roster.map(Signed::from),
            }),
            Down::View(question) => {
                self.views.ask(&self.link.executor, question);
                return Ok(());
            }
            Down::Plan(plan) => Ok(Request::Plan(plan.into())),
            Down::Decision(decision) => Ok(Request::Decision(decision.into())),
            Down::Grant(grant) => read_grant(grant).map(|grant| Request::Grant(grant.into())),
            Down::Stop(stop) => digest(&stop.plan).map(|plan| Request::Stop { plan, reason: stop.reason }),
            Down::ReceiptAcknowledged(receipt) => {
                if !receipt.not_taken.is_empty() {
                    tracing::warn!(receipt = receipt.digest, reason = ?receipt.not_taken, "receipt not taken");
                }
                digest(&receipt.digest).map(Request::ReceiptAcknowledged)
            }
            Down::LeaseRenewed(lease) => {
                Ok(Request::LeaseRenewed { grant: lease.grant, lease_seconds: lease.lease_seconds })
            }
        };
        match request {
            Ok(request) => self.hand_over(request).await,
            Err(refused) => {
                tracing::warn!("{refused}");
                self.link.executor.status.refused(protocol::RefusedInput { document: None, refused });
                Ok(())
            }
        }
    }

    /// To the executor, whose queue may be full while it works.
    async fn hand_over(&self, mut request: Request) -> Result<(), LinkError> {
        let began = Instant::now();
        while let Err(back) = self.link.executor.offer(request) {
            if began.elapsed() > STUCK {
                tracing::warn!("the executor is busy; a message was dropped and will be offered again");
                return Ok(());
            }
            request = back;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn send(&self, message: Up) -> Result<(), LinkError> {
        for part in fragment::split(FromAgent { message: Some(message) }) {
            match tokio::time::timeout(STUCK, self.out.send(part)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(LinkError::Ended("it takes nothing more".into())),
                Err(_) => return Err(LinkError::Stuck(STUCK.as_secs())),
            }
        }
        Ok(())
    }

    /// Sends what is new in the status. True when a receipt was.
    async fn flush(&mut self) -> Result<bool, LinkError> {
        let (progress, receipts, fetch, holding) = {
            let mut status = self.link.executor.status.content();
            self.running = status.running.clone();
            if let Some((_, fetching)) = self.fetching.take_if(|(_, f)| f.is_finished() && status.wanted.is_none()) {
                drop(fetching);
                // The executor has its copy.
                self.link.folder.forget_downloads(None);
            }
            let holding = status.holding_document.as_ref().filter(|h| self.told != Some(h.digest())).cloned();
            (status.progress.take(), status.receipts.clone(), status.fetch.take(), holding)
        };
        if let Some(wanted) = fetch {
            self.begin_fetch(wanted);
        }
        if let Some(p) = progress {
            self.send(Up::Progress(progress_message(p))).await?;
        }
        let (to_send, ended) = self.sent.next(receipts, Instant::now());
        for receipt in to_send {
            self.send(Up::Receipt(SignedDocument::from(receipt))).await?;
        }
        // Behind the receipts that it counts.
        if let Some(holding) = holding {
            self.told = Some(holding.digest());
            self.send(Up::Holding(SignedDocument::from(holding))).await?;
        }
        loop {
            let Some(refusal) = self.link.executor.status.content().refusals.front().cloned() else { return Ok(ended) };
            self.send(Up::Refusal(RefusalReport {
                document: refusal.document.map_or_else(String::new, |d| d.to_string()),
                refusal: hostler_proto::v1::Refusal::from(refusal.refused.refusal).into(),
                reason: refusal.refused.reason.clone(),
            }))
            .await?;
            let mut status = self.link.executor.status.content();
            if status.refusals.front() == Some(&refusal) {
                status.refusals.pop_front();
            }
        }
    }

    fn begin_fetch(&mut self, wanted: Fetch) {
        if let Some((_, old)) = self.fetching.take() {
            old.abort();
        }
        let (client, executor, digest) = (self.client.clone(), self.link.executor.clone(), wanted.digest);
        let into = self.link.folder.download(&digest);
        // What was fetched before was copied, or nobody waits for it any more.
        self.link.folder.forget_downloads(Some(&digest));
        let kept = wanted.clone();
        let fetching = tokio::spawn(async move {
            let result = fetch(client, wanted, &into).await;
            let mut request = Request::Fetched { digest, result };
            while let Err(back) = executor.offer(request) {
                request = back;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        self.fetching = Some((kept, fetching));
    }

    async fn report(&mut self, report: Report) -> Result<(), LinkError> {
        // It is looked for until it appears.
        self.may_serve |= report.serves;
        self.report_facts(&report.reading).await?;
        if self.idle.has_run_out(Instant::now()) {
            memory::release();
            self.link.executor.idle();
        }
        Ok(())
    }

    async fn report_facts(&mut self, reading: &Reading) -> Result<(), LinkError> {
        if reading.is_empty() {
            return Ok(());
        }
        let delta = self.facts.delta(reading);
        self.send(Up::Facts(facts::to_wire(delta))).await
    }

    /// Asks for conditions that are unlike these. What is asked while the machine has no API server is answered when
    /// it has one.
    fn ask_conditions(&self, unlike: Option<Digest>) -> impl Future<Output = Result<Conditions, AskError>> + use<> {
        self.link.executor.clone().conditions(unlike)
    }

    /// Tells what changed, and that nothing has: the coordinator believes what it was told for a minute. What an API
    /// server does not say any more grows old there.
    async fn report_conditions(&mut self, conditions: Conditions) -> Result<(), LinkError> {
        let digest = conditions.digest();
        self.may_serve = conditions != Conditions::NoServer;
        self.conditions = Some(digest);
        let Conditions::Nodes { nodes, age_seconds } = conditions else { return Ok(()) };
        if self.told_conditions == Some(digest) {
            return self.send(Up::ConditionsUnchanged(ConditionsUnchanged { age_seconds })).await;
        }
        self.told_conditions = Some(digest);
        let nodes = nodes.into_iter().map(condition).collect();
        self.send(Up::Conditions(NodeConditions { nodes, age_seconds })).await
    }

    async fn renew_lease(&mut self) -> Result<(), LinkError> {
        let Some(running) = &self.running else { return Ok(()) };
        let renewal =
            LeaseRenewal { plan: running.plan.to_string(), task: running.task.to_string(), grant: running.grant };
        self.send(Up::LeaseRenewal(renewal)).await
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn renewal_interval(lease_seconds: u64) -> Duration {
    (Duration::from_secs(lease_seconds) / RENEWALS_PER_LEASE).max(SHORTEST_RENEWAL)
}

fn malformed_parts(error: FragmentError) -> LinkError {
    LinkError::Ended(error.to_string())
}

fn malformed(error: impl std::fmt::Display) -> Refused {
    Refused::new(Refusal::Malformed, error.to_string())
}

fn digest(text: &str) -> Result<Digest, Refused> {
    text.parse().map_err(malformed)
}

fn read_grant(grant: hostler_proto::v1::TaskGrant) -> Result<Grant, Refused> {
    Ok(Grant {
        plan: digest(&grant.plan)?,
        task: TaskId::new(grant.task).map_err(malformed)?,
        grant: grant.grant,
        lease_seconds: grant.lease_seconds,
        receipts: grant.receipts.into_iter().map(Signed::from).collect(),
        head: read_head(grant.head)?,
    })
}

fn read_head(head: Option<hostler_proto::v1::LedgerHead>) -> Result<Option<Head>, Refused> {
    head.map(Head::try_from).transpose().map_err(malformed)
}

fn progress_message(progress: protocol::Progress) -> Progress {
    Progress {
        plan: progress.plan.to_string(),
        task: progress.task.to_string(),
        step: u32::try_from(progress.step).unwrap_or(u32::MAX),
        steps: u32::try_from(progress.steps).unwrap_or(u32::MAX),
        sentence: progress.sentence,
    }
}

fn condition(node: node::NodeCondition) -> NodeCondition {
    NodeCondition {
        node: node.name,
        ready: node.ready,
        cordon: node.cordoned_by.map(|owner| Cordon { owner, reason: None }.into()),
        version: node.version,
        machine_id: node.machine_id,
    }
}
