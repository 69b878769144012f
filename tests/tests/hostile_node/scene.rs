//! What a mode is, the stage that it plays on, and what is judged after each.

use std::{pin::Pin, time::Duration};

use hostler_fixtures as made;
use hostler_plan::{
    document::{DocumentKind, Outcome, Plan, Receipt, Signed},
    entry::Entry,
    id::Digest,
    json,
    step::{Noop, Step},
};
use hostler_proto::v1::{self, FromAgent, from_agent::Message as Up, to_agent::Message};
use ssh_key::PrivateKey;
use tonic::Status;

use crate::{
    fleet::{Fleet, Node, Running},
    ready::{Ready, Stream, hello, ready_in},
};

/// One try.
pub(crate) struct Mode {
    pub name: &'static str,
    /// Which rule it attacks.
    pub rule: &'static str,
    pub play: for<'a> fn(&'a mut Scene) -> Played<'a>,
    /// Records that it may add to the ledger.
    pub records: usize,
}

/// What came of a mode: the answer, or what is otherwise than it should be.
pub(crate) type Played<'a> = Pin<Box<dyn Future<Output = Result<String, String>> + 'a>>;

/// A mode that leaves nothing in the ledger.
pub(crate) const fn mode(
    name: &'static str,
    rule: &'static str,
    play: for<'a> fn(&'a mut Scene) -> Played<'a>,
) -> Mode {
    Mode { name, rule, play, records: 0 }
}

/// A mode that leaves at most so many records.
pub(crate) const fn noted(records: usize, mode: Mode) -> Mode {
    Mode { records, ..mode }
}

/// The numbers of the two nodes.
pub(crate) const THIEF: usize = 0;
const HONEST: usize = 1;

/// What the coordinator may grow by in one mode: its tables, buffers and index, and nothing that the thief chooses.
const MOST_MEMORY: u64 = 96 << 20;
/// What its folder may grow by: the index writes ahead.
const MOST_DISK: u64 = 8 << 20;
/// A record with an alarm, a refusal or a receipt.
const RECORD_BYTES: u64 = 8 << 10;

/// How long a coordinator may take to answer on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A fleet of the thief and an honest node, and a plan with two tasks of the thief, the first of them granted.
pub(crate) struct Scene {
    pub ready: Ready,
    /// What the honest node has open.
    honest: Stream,
    pub plan: Signed,
}

impl Scene {
    async fn new() -> Self {
        // What is judged by time is over in little of it.
        let short = |settings: &mut hostler_coordinator::Settings| {
            settings.limits.agents.stranger_for = Duration::from_secs(3);
        };
        let coordinator = Running::start_with(tempfile::tempdir().unwrap(), short).await;
        let ready = ready_in(Fleet::around(coordinator).await.with_root().await, &["a", "b"]).await;
        let (node, chain) = &ready.nodes[HONEST];
        let mut honest = Stream::open(&ready.fleet, node, chain, hello()).await;
        honest.expect(|m| matches!(m, Message::Welcome(_)).then_some(())).await;
        let plan = plan(&ready, 1, &[("a.work", "a", &[]), ("a.more", "a", &["a.work"])], None);
        ready.submit(&plan).await.unwrap();
        Self { ready, honest, plan }
    }

    pub(crate) async fn attempt(mode: &Mode) -> Result<String, String> {
        let mut scene = Self::new().await;
        let before = scene.others().await;
        let (ledger, disk, memory) = (scene.ready.fleet.ledger().await.len(), scene.disk(), memory());
        let answer = tokio::time::timeout(3 * PATIENCE, (mode.play)(&mut scene)).await;
        let answer = answer.map_err(|_| "it does not end".to_owned())??;
        let after = scene.others().await;
        if after != before {
            return Err(format!("the others are not as they were: expected {before}, found {after}"));
        }
        let (written, grown) = (scene.ready.fleet.ledger().await, scene.disk().saturating_sub(disk));
        // That its task is granted is no doing of the thief's.
        let added = written.iter().skip(ledger).filter(|r| !matches!(r.entry, Entry::Granted { .. }));
        let added: Vec<String> = added.map(|r| format!("{:.120}", format!("{:?}", r.entry))).collect();
        if added.len() > mode.records {
            return Err(format!("expected at most {} records, found {}: {added:?}", mode.records, added.len()));
        }
        let most = MOST_DISK + RECORD_BYTES * mode.records as u64;
        if grown > most {
            return Err(format!("expected the folder to grow by at most {most} bytes, found {grown}"));
        }
        let kept = crate::scene::memory().saturating_sub(memory);
        if kept > MOST_MEMORY {
            return Err(format!("expected at most {MOST_MEMORY} bytes of memory more, found {kept}"));
        }
        scene.they_go_on().await?;
        Ok(answer)
    }

    /// The honest node as everybody sees it.
    async fn others(&self) -> String {
        let mut admin = self.ready.fleet.login(&self.ready.fleet.viewer).await.unwrap();
        let nodes = admin.client.list_nodes(admin.with_session(v1::Empty {})).await;
        let nodes = nodes.map(|reply| reply.into_inner().nodes);
        let nodes = nodes.map(|nodes| nodes.into_iter().filter(|node| node.name == "b").collect::<Vec<_>>());
        let holdings = admin.client.list_holdings(admin.with_session(v1::Empty {})).await.map(|r| r.into_inner().nodes);
        let holdings = holdings.map(|nodes| nodes.into_iter().filter(|node| node.node == "b").collect::<Vec<_>>());
        let tokens = admin.client.list_tokens(admin.with_session(v1::Empty {})).await.map(|r| r.into_inner());
        format!("{nodes:?} {holdings:?} {tokens:?}")
    }

    fn disk(&self) -> u64 {
        let mut folders = vec![self.ready.fleet.coordinator().folder.path().to_owned()];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().filter_map(Result::ok) {
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                    Ok(metadata) => bytes += metadata.len(),
                    // It went while we looked.
                    Err(_) => {}
                }
            }
        }
        bytes
    }

    /// A rollout of the honest node alone, which comes to its end.
    async fn they_go_on(&mut self) -> Result<(), String> {
        let plan = plan(&self.ready, 10_000, &[("b.work", "b", &[])], Some(&self.plan));
        self.ready.submit(&plan).await.map_err(|status| format!("the next plan is not taken: {status:?}"))?;
        let digest = plan.digest().to_string();
        let grant = self
            .honest
            .expect(|m| if let Message::Grant(grant) = m { (grant.plan == digest).then_some(grant) } else { None });
        let grant = tokio::time::timeout(PATIENCE, grant).await.map_err(|_| "the honest node is granted nothing")?;
        let receipt = self.receipt_by(HONEST, &plan, &grant, |_| ());
        self.honest.send(Up::Receipt(receipt.into())).await;
        let ended = async {
            while self.ready.rollout("10000").await.summary.unwrap().status() != v1::RolloutStatus::Finished {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.map_err(|_| "the honest rollout does not end".to_owned())
    }

    pub(crate) fn thief(&self) -> &Node {
        &self.ready.nodes[THIEF].0
    }

    pub(crate) fn honest_key(&self) -> &PrivateKey {
        &self.ready.nodes[HONEST].0.key
    }

    /// A stream of the thief's that says this as its hello.
    pub(crate) async fn says(&self, hello: v1::Hello) -> Stream {
        let (node, chain) = &self.ready.nodes[THIEF];
        Stream::open(&self.ready.fleet, node, chain, hello).await
    }

    /// A stream of the thief's as an honest node would open it, and the grant of its task.
    pub(crate) async fn granted(&self) -> (Stream, v1::TaskGrant) {
        let mut stream = self.says(hello()).await;
        let grant = stream.grant().await;
        (stream, grant)
    }

    /// Waits until everything that was said before was taken.
    pub(crate) async fn settle(stream: &mut Stream, grant: &v1::TaskGrant) -> Result<(), String> {
        let v1::TaskGrant { plan, task, grant, .. } = grant.clone();
        let renewal = v1::LeaseRenewal { plan, task, grant };
        if !tell(stream, Up::LeaseRenewal(renewal)).await {
            return Err(format!("the stream ended: {:?}", ending(stream).await));
        }
        loop {
            match stream.next().await {
                Ok(Some(Message::LeaseRenewed(renewed))) if renewed.grant == grant => return Ok(()),
                Ok(Some(_)) => {}
                end @ (Ok(None) | Err(_)) => return Err(format!("the stream ended: {end:?}")),
            }
        }
    }

    /// What the honest executor of a node would sign for a grant, changed.
    pub(crate) fn receipt_by(
        &self,
        node: usize,
        plan: &Signed,
        grant: &v1::TaskGrant,
        change: impl FnOnce(&mut Receipt),
    ) -> Signed {
        let document: Plan = json::parse(&plan.bytes).unwrap();
        let mut receipt = Receipt {
            plan: plan.digest(),
            grant: grant.grant,
            outcome: Outcome::Succeeded {},
            relied_on: grant.receipts.iter().map(|r| Digest::of(&r.content)).collect(),
            ..made::receipt(&document, &grant.task)
        };
        change(&mut receipt);
        made::signed(DocumentKind::Receipt, &receipt, &[&self.ready.nodes[node].0.key])
    }

    /// Alarms about the thief, in the order in which they were written.
    pub(crate) async fn alarms(&self) -> Vec<String> {
        let records = self.ready.fleet.ledger().await.into_iter();
        let alarms = records.filter_map(|record| {
            let Entry::Alarm { about, reason, .. } = record.entry else { return None };
            format!("{about} ").contains("a ").then(|| format!("{about}: {reason}"))
        });
        alarms.collect()
    }

    /// The same, when there is one that says this.
    pub(crate) async fn alarm(&self, says: &str) -> Result<String, String> {
        let alarms = self.alarms().await;
        let found = alarms.iter().find(|alarm| alarm.contains(says)).cloned();
        found.ok_or_else(|| format!("expected an alarm about {says:?}, found {alarms:?}"))
    }

    /// How many forks admins are told of.
    pub(crate) async fn forks(&self) -> usize {
        let mut admin = self.ready.fleet.login(&self.ready.fleet.admin).await.unwrap();
        let request = admin.with_session(v1::GetTrustRequest { held_root_version: 0 });
        admin.client.get_trust(request).await.unwrap().into_inner().forks.len()
    }

    pub(crate) async fn detail(&self, node: &str) -> Result<v1::NodeDetail, Status> {
        let mut admin = self.ready.fleet.login(&self.ready.fleet.viewer).await?;
        let request = admin.with_session(v1::GetNodeRequest { name: node.to_owned() });
        admin.client.get_node(request).await.map(tonic::Response::into_inner)
    }

    /// What the coordinator serves at `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let address = self.ready.fleet.coordinator().addresses.metrics.unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

/// A plan of tasks that do nothing, each with its node and what it comes after, that follows another plan and ends it.
pub(crate) fn plan(ready: &Ready, seq: u64, tasks: &[(&str, &str, &[&str])], prev: Option<&Signed>) -> Signed {
    let mut plan = ready.plan(seq, &[]);
    plan.prev = prev.map(Signed::digest);
    let task = |(id, node, after): &(&str, &str, &[&str])| made::task(id, node, after, vec![Step::Noop(Noop {})]);
    plan.tasks = tasks.iter().map(task).collect();
    plan.targets.retain(|target| tasks.iter().any(|(_, node, _)| target.node.as_str() == *node));
    plan.strategy.max_unavailable = 2;
    ready.signed(&plan)
}

/// Whether the coordinator still takes something.
pub(crate) async fn tell(stream: &Stream, message: Up) -> bool {
    let told = stream.to.send(FromAgent { message: Some(message) });
    matches!(tokio::time::timeout(PATIENCE, told).await, Ok(Ok(())))
}

/// Waits for a stream's end.
pub(crate) async fn ending(stream: &mut Stream) -> Result<(), Status> {
    loop {
        match stream.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(status) => return Err(status),
        }
    }
}

/// The refusal with which a stream ends.
pub(crate) async fn refused(stream: &mut Stream, says: &str) -> Result<String, String> {
    match ending(stream).await {
        Err(status) if status.message().contains(says) => Ok(status.message().to_owned()),
        end @ (Ok(()) | Err(_)) => Err(format!("expected an end with {says:?}, found {end:?}")),
    }
}

/// Memory of this process that is not shared, which is mostly the coordinator's.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
