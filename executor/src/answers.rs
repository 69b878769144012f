//! Answers the network side's questions about its node, and reports facts at an interval, on one thread.
//!
//! The thread sleeps and not the link: a long timer of the link's runtime is sorted into ever finer parts of its wheel,
//! and each time the thread wakes up for nothing. That made most of an idle agent's context switches.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use hostler_plan::document::{DocumentKind, Signed};

use crate::{
    host::{Host, Node, NodeReady},
    keys::Keys,
    protocol::node::{
        Conditions, MAX_QUESTIONS, MachineIdentity, NodeClient, NodeClock, NodeCondition, NodeError, Question, Reply,
        Report,
    },
};

/// Starts the thread; it ends when the last client is gone.
pub fn start(host: Arc<dyn Host>, keys: Arc<Keys>) -> io::Result<NodeClient> {
    let (sender, questions) = mpsc::sync_channel(MAX_QUESTIONS);
    let answers = Answers { host, keys, reports: None, conditions: None };
    thread::Builder::new().name("facts".into()).spawn(move || answers.run(&questions))?;
    Ok(NodeClient::new(sender))
}

struct Answers {
    host: Arc<dyn Host>,
    keys: Arc<Keys>,
    reports: Option<Subscription>,
    /// The thread that waits for the API server; only a server has one.
    conditions: Option<Sender<Reply<Conditions>>>,
}

/// Who is told facts, and when next.
struct Subscription {
    every: Duration,
    to: tokio::sync::mpsc::Sender<Report>,
    next: Instant,
}

impl Answers {
    fn run(mut self, questions: &Receiver<Question>) {
        loop {
            let question = match &self.reports {
                Some(reports) => questions.recv_timeout(reports.next.saturating_duration_since(Instant::now())),
                None => questions.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            if question.as_ref().is_err_and(|end| *end == RecvTimeoutError::Disconnected) {
                return;
            }
            // What panics costs one answer or one report: who asked hears of it, and the next question is answered.
            let _ = catch_unwind(AssertUnwindSafe(|| match question {
                Ok(question) => self.answer(question),
                Err(_) => self.report(),
            }));
        }
    }

    /// Who asked may have gone since: nobody misses the answer.
    fn answer(&mut self, question: Question) {
        let host = &*self.host;
        let failed = |error: &dyn std::fmt::Display| NodeError::Failed(error.to_string());
        match question {
            Question::Identity(reply) => {
                let identity = host.hardware().map_err(|e| failed(&e)).map(|hardware| MachineIdentity {
                    key: self.keys.public(),
                    seal_key: self.keys.seal_key(),
                    arch: host.arch(),
                    hardware,
                });
                let _ = reply.send(identity);
            }
            Question::BootId(reply) => drop(reply.send(host.boot_id().map_err(|e| failed(&e)))),
            Question::Clock(reply) => {
                let _ = reply.send(NodeClock { now: host.now(), synchronised: host.clock_is_synchronised() });
            }
            Question::Facts(reply) => {
                let _ = reply.send(host.read_facts(host.now()));
            }
            Question::Reports { every, to } => {
                self.reports = Some(Subscription { every, to, next: Instant::now() });
            }
            Question::Conditions(reply) => self.ask_cluster(reply),
            Question::Sign { kind, bytes, reply } => {
                let _ = reply.send(self.sign(kind, bytes));
            }
            Question::Idle => host.on_idle(),
        }
    }

    /// Signs what the network side says in this node's name: who it is, and a login. A receipt says what was done, and
    /// that is for the executor alone to sign.
    fn sign(&self, kind: DocumentKind, bytes: Vec<u8>) -> Result<Signed, NodeError> {
        match kind {
            DocumentKind::Enrolment | DocumentKind::Login => {
                self.keys.sign(kind, bytes).map_err(|e| NodeError::Failed(e.to_string()))
            }
            DocumentKind::Root
            | DocumentKind::Admission
            | DocumentKind::Roster
            | DocumentKind::Plan
            | DocumentKind::Receipt
            | DocumentKind::Holding
            | DocumentKind::Decision => Err(NodeError::Failed(format!(
                "expected an enrolment or a login to sign for the network side, found a {}",
                kind.noun()
            ))),
        }
    }

    fn report(&mut self) {
        let Some(reports) = &mut self.reports else { return };
        if reports.to.is_closed() {
            self.reports = None;
            return;
        }
        // Before the reading: one that panics is not tried again at once.
        reports.next = Instant::now() + reports.every;
        let (host, now) = (&self.host, self.host.now());
        let report = Report { reading: host.read_facts(now), now: host.now(), serves: host.cluster().is_some() };
        // One that was not taken yet is as good as the next.
        let _ = reports.to.try_send(report);
        reports.next = Instant::now() + reports.every;
    }

    /// An API server may take long to answer, and nothing else waits for it.
    fn ask_cluster(&mut self, reply: Reply<Conditions>) {
        let asked = match &self.conditions {
            Some(asked) => asked.send(reply),
            None => {
                let (asked, replies) = mpsc::channel::<Reply<Conditions>>();
                let host = self.host.clone();
                let answer = move || {
                    for reply in replies {
                        let found = catch_unwind(AssertUnwindSafe(|| conditions(&*host)));
                        let _ = reply.send(found.unwrap_or(Conditions::Silent));
                    }
                };
                if let Err(error) = thread::Builder::new().name("conditions".into()).spawn(answer) {
                    tracing::warn!("starting the thread that asks the API server failed: {error}; trying again");
                    let _ = reply.send(Conditions::Silent);
                    return;
                }
                let result = asked.send(reply);
                self.conditions = Some(asked);
                result
            }
        };
        if asked.is_err() {
            // It is gone; the next question starts another one.
            self.conditions = None;
        }
    }
}

fn conditions(host: &dyn Host) -> Conditions {
    match host.cluster().map(|cluster| cluster.nodes()) {
        None => Conditions::NoServer,
        Some(Err(_)) => Conditions::Silent,
        Some(Ok(nodes)) => Conditions::Nodes(nodes.iter().map(condition).collect()),
    }
}

fn condition(node: &Node) -> NodeCondition {
    NodeCondition {
        name: node.name.clone(),
        ready: node.ready == NodeReady::Ready,
        cordoned_by: node.cordoned_by(),
        version: node.version.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::{
        disk::Disk,
        testing::{Machine, TestCluster},
    };

    const LONG: Duration = Duration::from_secs(3600);

    fn client(machine: &Arc<Machine>) -> NodeClient {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::load_or_make(&Disk::open(directory.path()).unwrap(), false).unwrap();
        start(machine.clone(), Arc::new(keys)).unwrap()
    }

    fn machine() -> Arc<Machine> {
        Arc::new(Machine::new(crate::build_time()))
    }

    /// Waits until the thread has let go of its machine.
    fn gone(machine: Weak<Machine>) {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            while machine.strong_count() > 0 {
                thread::yield_now();
            }
            sender.send(())
        });
        receiver.recv_timeout(Duration::from_secs(30)).expect("the thread ends with its clients");
    }

    #[tokio::test]
    async fn the_first_report_comes_at_once_and_the_thread_ends_with_its_clients() {
        let machine = machine();
        let client = client(&machine);
        let mut reports = client.reports(LONG);
        let first = reports.next().await;
        assert!(!first.serves && first.reading.at_ms() > 0);
        let weak = Arc::downgrade(&machine);
        drop((machine, reports, client));
        gone(weak);
    }

    #[tokio::test]
    async fn reports_go_on_at_their_interval_and_questions_are_answered_between() {
        let machine = machine();
        let client = client(&machine);
        let mut reports = client.reports(Duration::from_millis(1));
        for _ in 0..3 {
            reports.next().await;
            assert_eq!(client.boot_id().await.unwrap().as_str(), "b1");
        }
        assert_eq!(client.conditions().await, Ok(Conditions::NoServer));
        assert_eq!(client.clock().await.unwrap().now, machine.inner().now);
    }

    #[tokio::test]
    async fn what_panics_costs_one_answer_and_no_connection() {
        let mut machine = Machine::new(crate::build_time());
        machine = machine.with_cluster(TestCluster::new(crate::build_time(), &["w1"]));
        let machine = Arc::new(machine);
        let client = client(&machine);
        machine.inner().breaks = true;
        assert_eq!(client.boot_id().await, Err(NodeError::Gone), "the panic is this question's answer");
        assert_eq!(client.boot_id().await.unwrap().as_str(), "b1");
        let mut reports = client.reports(Duration::from_millis(1));
        reports.next().await;
        machine.inner().breaks = true;
        for _ in 0..3 {
            assert!(reports.next().await.serves, "a reader that panicked cost its own report");
        }
        machine.cluster.as_ref().unwrap().state().breaks = true;
        assert_eq!(client.conditions().await, Ok(Conditions::Silent));
        assert!(matches!(client.conditions().await, Ok(Conditions::Nodes(nodes)) if nodes.len() == 1));
    }

    #[tokio::test]
    async fn the_network_side_gets_no_receipt_signed() {
        let client = client(&machine());
        for kind in [DocumentKind::Enrolment, DocumentKind::Login] {
            let signed = client.sign(kind, b"who I am".to_vec()).await.unwrap();
            assert_eq!((signed.bytes.as_slice(), signed.signatures.len()), (&b"who I am"[..], 1));
        }
        for kind in [
            DocumentKind::Receipt,
            DocumentKind::Plan,
            DocumentKind::Root,
            DocumentKind::Roster,
            DocumentKind::Admission,
        ] {
            let answer = client.sign(kind, b"what was done".to_vec()).await;
            assert!(matches!(&answer, Err(NodeError::Failed(why)) if why.contains(kind.noun())), "{answer:?}");
        }
    }
}
