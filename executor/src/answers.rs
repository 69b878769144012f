//! Answers the network side's questions about its node, and reports facts at an interval, on one thread.
//!
//! The thread sleeps and not the link: a long timer of the link's runtime is sorted into ever finer parts of its wheel,
//! and each time the thread wakes up for nothing. That made most of an idle agent's context switches.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    enrolment::Enroller,
    host::{CordonAnswer, Host, Node, NodeReady},
    outbox::{Outbox, Reply},
    protocol::node::{Answer, Conditions, NodeClock, NodeCondition, NodeError, Question, Report},
};

/// Questions that wait for their answer; the network side asks one after the other.
const MAX_QUESTIONS: usize = 16;

/// What is asked of this thread.
pub(crate) enum Asked {
    Question(Question, Reply),
    /// Reports at once and then at an interval, until the outbox is closed; a later wish replaces an earlier one.
    Reports {
        every: Duration,
        to: Arc<Outbox>,
    },
    /// Nothing has happened for a while.
    Idle,
}

/// The end that asks. Cloned handles are one end.
#[derive(Clone)]
pub(crate) struct Questions(SyncSender<Asked>);

impl Questions {
    /// Asks; what has no room is answered with an error, or was a wish that comes again.
    pub(crate) fn ask(&self, asked: Asked) {
        if let Err(TrySendError::Full(Asked::Question(_, reply))) = self.0.try_send(asked) {
            reply.send(Answer::Failed(NodeError::failed("the node has too many questions to answer; asking again")));
        }
    }
}

/// Starts the thread; it ends when the last one who asks is gone. `enrolled` hears when the node becomes a member.
pub(crate) fn start(mut enroller: Enroller, enrolled: impl Fn() + Send + 'static) -> io::Result<Questions> {
    let (sender, questions) = mpsc::sync_channel(MAX_QUESTIONS);
    enroller.forget_served();
    let host = enroller.host.clone();
    let answers = Answers { host, enroller, enrolled: Box::new(enrolled), reports: None, conditions: None };
    thread::Builder::new().name("facts".into()).spawn(move || answers.run(&questions))?;
    Ok(Questions(sender))
}

struct Answers {
    host: Arc<dyn Host>,
    enroller: Enroller,
    enrolled: Box<dyn Fn() + Send>,
    reports: Option<Subscription>,
    /// The thread that waits for the API server; only a server has one.
    conditions: Option<SyncSender<Reply>>,
}

/// Who is told facts, and when next.
struct Subscription {
    every: Duration,
    to: Arc<Outbox>,
    next: Instant,
}

impl Answers {
    fn run(mut self, questions: &Receiver<Asked>) {
        loop {
            let asked = match &self.reports {
                Some(reports) => questions.recv_timeout(reports.next.saturating_duration_since(Instant::now())),
                None => questions.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            // What panics costs one answer or one report: who asked hears of it, and the next question is answered.
            match asked {
                Ok(Asked::Question(Question::Conditions, reply)) => self.ask_cluster(reply),
                Ok(Asked::Question(question, reply)) => {
                    let answer = catch_unwind(AssertUnwindSafe(|| self.answer(question)));
                    let broken = |_| Err(NodeError::failed("answering failed; see the messages before"));
                    reply.send(answer.unwrap_or_else(broken).unwrap_or_else(Answer::Failed));
                }
                Ok(Asked::Reports { every, to }) => {
                    self.reports = Some(Subscription { every, to, next: Instant::now() });
                }
                Ok(Asked::Idle) => self.host.on_idle(),
                Err(RecvTimeoutError::Timeout) => drop(catch_unwind(AssertUnwindSafe(|| self.report()))),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn answer(&mut self, question: Question) -> Result<Answer, NodeError> {
        let host = &*self.host;
        Ok(match question {
            Question::Identity => Answer::Identity(self.enroller.identity()),
            Question::BootId => Answer::BootId(host.boot_id().map_err(NodeError::failed)?),
            Question::Clock => Answer::Clock(NodeClock { now: host.now(), synchronised: host.clock_is_synchronised() }),
            Question::Facts => Answer::Facts(host.read_facts(host.now())),
            // By a thread of its own.
            Question::Conditions => Answer::Conditions(Conditions::Silent),
            Question::Invitation => Answer::Invitation(self.enroller.invitation()?),
            Question::Enrol { tls_key } => Answer::Enrolment(self.enroller.enrol(tls_key)?),
            Question::Admit(admitted) => {
                let member = self.enroller.admit(&admitted)?;
                (self.enrolled)();
                Answer::Enrolled(member)
            }
            Question::Renew { tls_key, nonce } => Answer::Renewal(self.enroller.renew(&tls_key, &nonce)?),
        })
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
        reports.to.report(report);
        reports.next = Instant::now() + reports.every;
    }

    /// An API server may take long to answer, and nothing else waits for it.
    fn ask_cluster(&mut self, reply: Reply) {
        let asked = match &self.conditions {
            Some(asked) => asked.try_send(reply),
            None => {
                let (asked, replies) = mpsc::sync_channel::<Reply>(MAX_QUESTIONS);
                let host = self.host.clone();
                let answer = move || {
                    for reply in replies {
                        let found = catch_unwind(AssertUnwindSafe(|| conditions(&*host)));
                        reply.send(Answer::Conditions(found.unwrap_or(Conditions::Silent)));
                    }
                };
                if let Err(error) = thread::Builder::new().name("conditions".into()).spawn(answer) {
                    tracing::warn!("starting the thread that asks the API server failed: {error}; trying again");
                    reply.send(Answer::Conditions(Conditions::Silent));
                    return;
                }
                let result = asked.try_send(reply);
                self.conditions = Some(asked);
                result
            }
        };
        match asked {
            Ok(()) => {}
            // It waits for the API server.
            Err(TrySendError::Full(reply)) => reply.send(Answer::Conditions(Conditions::Silent)),
            Err(TrySendError::Disconnected(reply)) => {
                // It is gone; the next question starts another one.
                self.conditions = None;
                reply.send(Answer::Conditions(Conditions::Silent));
            }
        }
    }
}

fn conditions(host: &dyn Host) -> Conditions {
    match host.cluster().map(|cluster| cluster.nodes()) {
        None => Conditions::NoServer,
        Some(Err(_)) => Conditions::Silent,
        Some(Ok(nodes)) => {
            for node in &nodes {
                tidy(node, host);
            }
            Conditions::Nodes(nodes.iter().map(condition).collect())
        }
    }
}

/// A plan's note on a node that a person made schedulable says what is not true any more. A plan at work sees the node
/// itself; the note of the one that it sees is in the same object.
fn tidy(node: &Node, host: &dyn Host) {
    if node.cordon.is_some()
        && node.cordoned_by().is_none()
        && let Some(cluster) = host.cluster()
    {
        match cluster.uncordon(node) {
            Ok(CordonAnswer::Done) => {
                tracing::info!("{} is schedulable: the note of its cordon was removed", node.name)
            }
            Ok(CordonAnswer::Changed | CordonAnswer::Gone) | Err(_) => {}
        }
    }
}

fn condition(node: &Node) -> NodeCondition {
    NodeCondition {
        name: node.name.clone(),
        ready: node.ready == NodeReady::Ready,
        cordoned_by: node.cordoned_by(),
        version: node.version.clone(),
        machine_id: node.machine_id.clone(),
    }
}
