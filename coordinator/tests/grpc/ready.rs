//! Nodes that are ready: in the roster, with certificates and streams of their own. They sign receipts and perform
//! nothing.

use std::time::Duration;

use hostler_fixtures::{self as made, signed};
use hostler_plan::{
    document::{
        Decided, DocumentKind, Outcome, Plan, PlanRef, Receipt, Roster, RosterStatus, Signed, StepResult, Strategy,
    },
    id::{BootId, Digest},
    json,
    ledger::Head,
    step::{ClusterRole, Noop, Step},
};
use hostler_proto::{
    fragment::Joiner,
    v1::{self, FromAgent, ToAgent, from_agent, to_agent::Message},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::fleet::{Fleet, Node, now};

pub(crate) const BOOT: &str = "11111111-2222-3333-4444-555555555555";

/// A node's end of its stream.
pub(crate) struct Stream {
    pub to: mpsc::Sender<FromAgent>,
    from: Streaming<ToAgent>,
    parts: Joiner<ToAgent>,
}

impl Stream {
    pub(crate) async fn open(fleet: &Fleet, node: &Node, chain: &[Vec<u8>], hello: v1::Hello) -> Self {
        let mut agent = fleet.agent(node, chain).await;
        let (to, receiver) = mpsc::channel(16);
        to.send(FromAgent { message: Some(from_agent::Message::Hello(hello)) }).await.unwrap();
        let from = agent.attach(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { to, from, parts: Joiner::default() }
    }

    pub(crate) async fn send(&self, message: from_agent::Message) {
        self.to.send(FromAgent { message: Some(message) }).await.unwrap();
    }

    /// The next message, or how the stream ended.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, Status> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(20), self.from.message()).await;
            match next.expect("the coordinator says something")?.and_then(|m| m.message) {
                Some(Message::Fragment(part)) => {
                    if let Some(whole) = self.parts.join(part).unwrap() {
                        return Ok(Some(whole));
                    }
                }
                other => return Ok(other),
            }
        }
    }

    /// The next message of a kind; others are passed over.
    pub(crate) async fn expect<T>(&mut self, wanted: impl Fn(Message) -> Option<T>) -> T {
        loop {
            let message = self.next().await.unwrap().expect("the stream goes on");
            if let Some(found) = wanted(message) {
                return found;
            }
        }
    }

    pub(crate) async fn grant(&mut self) -> v1::TaskGrant {
        self.expect(|m| if let Message::Grant(g) = m { Some(g) } else { None }).await
    }

    pub(crate) async fn acknowledged(&mut self) -> String {
        self.expect(|m| if let Message::ReceiptAcknowledged(a) = m { Some(a.digest) } else { None }).await
    }
}

pub(crate) fn hello() -> v1::Hello {
    v1::Hello { agent_version: "0.1.0".into(), boot_id: BOOT.into(), ..v1::Hello::default() }
}

/// A fleet of nodes that are in the roster, with their certificates.
pub(crate) struct Ready {
    pub fleet: Fleet,
    pub nodes: Vec<(Node, Vec<Vec<u8>>)>,
    pub roster: Roster,
}

pub(crate) async fn ready(names: &[&str]) -> Ready {
    ready_in(Fleet::start().await, names).await
}

pub(crate) async fn ready_in(mut fleet: Fleet, names: &[&str]) -> Ready {
    let token = fleet.token(9, ClusterRole::Worker).await;
    let mut nodes = Vec::new();
    for name in names {
        let node = Node::new(name);
        let chain = fleet.enrol(&node, &token).await.unwrap().certificate_chain;
        nodes.push((node, chain));
    }
    let listed: Vec<_> = nodes.iter().map(|(n, _)| (n, ClusterRole::Worker, RosterStatus::Active)).collect();
    let roster = fleet.approve(&listed).await;
    Ready { fleet, nodes, roster }
}

impl Ready {
    /// One no-op task per node, one after the other.
    pub(crate) fn plan(&self, seq: u64, beside: &[&Signed]) -> Plan {
        let plan = made::plan(&self.roster, now(), seq);
        let beside =
            beside.iter().map(|s| PlanRef { seq: json::parse::<Plan>(&s.bytes).unwrap().seq, digest: s.digest() });
        let mut tasks = plan.tasks.clone();
        tasks.iter_mut().for_each(|t| t.steps.push(Step::Noop(Noop {})));
        Plan {
            expires: now().plus(Duration::from_secs(3600)),
            keeps_valid: beside.collect(),
            strategy: Strategy { lease_seconds: 60, ..plan.strategy.clone() },
            tasks,
            ..plan
        }
    }

    pub(crate) fn signed(&self, plan: &Plan) -> Signed {
        signed(DocumentKind::Plan, plan, &[&self.fleet.admin])
    }

    pub(crate) async fn submit(&self, plan: &Signed) -> Result<v1::DocumentReply, Status> {
        let mut admin = self.fleet.login(&self.fleet.operator).await.unwrap();
        let request = admin.with_session(plan.clone().into());
        admin.client.submit_plan(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn rollout(&self, which: &str) -> v1::RolloutDetail {
        let mut admin = self.fleet.login(&self.fleet.viewer).await.unwrap();
        let request = admin.with_session(v1::GetRolloutRequest { rollout: which.into() });
        admin.client.get_rollout(request).await.unwrap().into_inner()
    }

    pub(crate) async fn control(&self, action: impl Into<i32>) -> Result<tonic::Response<v1::Empty>, Status> {
        let mut admin = self.fleet.login(&self.fleet.operator).await.unwrap();
        let request = v1::ControlRolloutRequest {
            rollout: "1".into(),
            action: action.into(),
            reason: "to test it".into(),
            task: String::new(),
        };
        let request = admin.with_session(request);
        admin.client.control_rollout(request).await
    }

    /// What the operator decides and signs.
    pub(crate) async fn decide(&self, decided: Decided) -> Result<v1::DocumentReply, Status> {
        let decision = made::decision(&self.roster, "otto", Head::EMPTY, now(), decided);
        let signed = signed(DocumentKind::Decision, &decision, &[&self.fleet.operator]);
        let mut admin = self.fleet.login(&self.fleet.operator).await.unwrap();
        let request = admin.with_session(signed.into());
        admin.client.submit_decision(request).await.map(tonic::Response::into_inner)
    }

    /// The receipt of a node for what it was granted.
    pub(crate) fn receipt(&self, node: usize, grant: &v1::TaskGrant, counter: u64, previous: Option<Digest>) -> Signed {
        self.receipt_with(node, grant, counter, previous, Outcome::Succeeded {})
    }

    pub(crate) fn receipt_with(
        &self,
        node: usize,
        grant: &v1::TaskGrant,
        counter: u64,
        previous: Option<Digest>,
        outcome: Outcome,
    ) -> Signed {
        let (node, _) = &self.nodes[node];
        let receipt = Receipt {
            plan: grant.plan.parse().unwrap(),
            grant: grant.grant,
            outcome,
            steps: vec![StepResult { op: "host.noop".into(), changed: false, detail: "did nothing".into() }],
            boot_id: BootId::new(BOOT).unwrap(),
            counter,
            previous,
            relied_on: grant.receipts.iter().map(|r| Digest::of(&r.content)).collect(),
            ..made::receipt(&self.plan(1, &[]), &grant.task)
        };
        signed(DocumentKind::Receipt, &receipt, &[&node.key])
    }
}
