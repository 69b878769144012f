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

use hostler_plan::id::{NodeName, Nonce};

use crate::{
    conditions::ConditionsAsker,
    enrolment::Enroller,
    host::Host,
    outbox::{Outbox, Reply},
    protocol::node::{Answer, Conditions, NodeClock, NodeError, Question, Report},
    status::ExecutorStatus,
    view::{self, Viewer},
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
pub(crate) fn start(
    mut enroller: Enroller,
    status: Arc<ExecutorStatus>,
    enrolled: impl Fn() + Send + 'static,
) -> io::Result<Questions> {
    let (sender, questions) = mpsc::sync_channel(MAX_QUESTIONS);
    enroller.forget_served();
    let host = enroller.host.clone();
    let conditions = ConditionsAsker::start(host.clone(), status)?;
    let viewer = Viewer::new(host.clone(), enroller.keys.clone(), enroller.disk.clone());
    let answers = Answers { host, enroller, enrolled: Box::new(enrolled), reports: None, conditions, viewer };
    thread::Builder::new().name("facts".into()).spawn(move || answers.run(&questions))?;
    Ok(Questions(sender))
}

struct Answers {
    host: Arc<dyn Host>,
    enroller: Enroller,
    enrolled: Box<dyn Fn() + Send>,
    reports: Option<Subscription>,
    /// An API server may take long to answer, and nothing else waits for it.
    conditions: ConditionsAsker,
    viewer: Viewer,
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
                Ok(Asked::Question(Question::Conditions { unlike }, reply)) => self.conditions.ask(unlike, reply),
                Ok(Asked::Question(Question::View { nodes, nonce }, reply)) => self.view(nodes, nonce, reply),
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
            // By threads of their own.
            Question::Conditions { .. } => Answer::Conditions(Conditions::Silent),
            Question::View { .. } => return Err(NodeError::failed("nobody reads the cluster")),
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

    fn view(&mut self, nodes: Vec<NodeName>, nonce: Nonce, reply: Reply) {
        match &self.enroller.member {
            Some(member) => self.viewer.ask(view::Question { nodes, nonce, member: member.clone(), reply }),
            None => reply.send(Answer::Failed(NodeError::failed("it belongs to no fleet yet"))),
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
        reports.to.report(report);
        reports.next = Instant::now() + reports.every;
    }
}
