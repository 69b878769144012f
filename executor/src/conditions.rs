//! The thread that answers how the cluster's nodes are, once that is other than what the asker knows: an idle server
//! asks its API server nothing, and is told of changes.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use hostler_daemon::say_once::SayOnce;
use hostler_plan::{id::Digest, timestamp::Timestamp};

use crate::{
    distribution,
    host::{
        Cluster, CordonAnswer, FollowedNode, Following, Host, Node, NodeReady, Noted, Shared, Waker, cordon_stale_from,
    },
    outbox::Reply,
    protocol::node::{Answer, Conditions},
    status::ExecutorStatus,
};

/// Who asks hears after this long that nothing has changed: a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Where no watch tells of changes, the nodes are looked at this often while somebody asks.
const LOOK: Duration = Duration::from_secs(3);
/// While nobody asks.
const IDLE: Duration = Duration::from_secs(3600);
/// More than that wait for nothing new: the network side asks one after the other.
const MAX_WAITING: usize = 16;

/// The end that asks.
pub(crate) struct ConditionsAsker {
    waiting: Arc<Mutex<Vec<Waiting>>>,
    waker: Waker,
}

struct Waiting {
    unlike: Option<Digest>,
    until: Instant,
    reply: Reply,
}

impl ConditionsAsker {
    /// Starts the thread; it goes on as long as the process.
    pub(crate) fn start(host: Arc<dyn Host>, status: Arc<ExecutorStatus>) -> io::Result<Self> {
        let (waiting, waker) = (Arc::new(Mutex::default()), Waker::new());
        let said = SayOnce::default();
        let mut looker = Looker { host, status, waker: waker.clone(), following: None, said, no_admission: None };
        let asked = Arc::clone(&waiting);
        thread::Builder::new().name("conditions".into()).spawn(move || looker.run(&asked))?;
        Ok(Self { waiting, waker })
    }

    /// Answers with the first conditions that are `unlike` these, or after a while.
    pub(crate) fn ask(&self, unlike: Option<Digest>, reply: Reply) {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= MAX_WAITING {
            waiting.remove(0).reply.send(Answer::Conditions(Conditions::Silent));
        }
        waiting.push(Waiting { unlike, until: Instant::now() + SIGN_OF_LIFE, reply });
        drop(waiting);
        self.waker.notify();
    }
}

fn lock(waiting: &Mutex<Vec<Waiting>>) -> MutexGuard<'_, Vec<Waiting>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Looker {
    host: Arc<dyn Host>,
    /// Which plans are over.
    status: Arc<ExecutorStatus>,
    waker: Waker,
    following: Option<Following>,
    /// Why nothing is known.
    said: SayOnce,
    /// After how many admissions nothing was left that lets a node in; none before anybody looked.
    no_admission: Option<u64>,
}

impl Looker {
    fn run(&mut self, waiting: &Mutex<Vec<Waiting>>) {
        loop {
            let next = lock(waiting).iter().map(|asked| asked.until).min();
            let Some(next) = next else {
                self.waker.wait(IDLE);
                continue;
            };
            let found = catch_unwind(AssertUnwindSafe(|| self.look())).unwrap_or(Conditions::Silent);
            let (digest, now) = (found.digest(), Instant::now());
            let is_due = |asked: &mut Waiting| asked.unlike != Some(digest) || now >= asked.until;
            let due: Vec<Waiting> = lock(waiting).extract_if(.., is_due).collect();
            for asked in due {
                asked.reply.send(Answer::Conditions(found.clone()));
            }
            let rest = next.saturating_duration_since(now);
            self.waker.wait(if self.following.is_some() { rest } else { rest.min(LOOK) });
        }
    }

    /// How every node is. What a plan left on one that does not hold any more is removed.
    fn look(&mut self) -> Conditions {
        let host = Arc::clone(&self.host);
        let Some(cluster) = host.cluster() else { return Conditions::NoServer };
        let begins = self.following.is_none();
        if begins {
            self.following = cluster.follow(&self.waker);
        }
        let looked = match &self.following {
            Some(following) => following.nodes.look(Instant::now(), |_| true),
            None => match cluster.nodes() {
                Ok(nodes) => {
                    let followed = nodes.iter().map(|node| FollowedNode::from(node.as_ref()).into());
                    Ok((followed.collect(), Duration::ZERO))
                }
                Err(error) => Err(error.to_string()),
            },
        };
        let (nodes, age) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                // The first list is on its way.
                if !begins && self.said.is_news(&error) {
                    tracing::warn!("how the cluster's nodes are is not known: {error}");
                }
                return Conditions::Silent;
            }
        };
        self.said.forget();
        let now = host.now();
        let is_over = |noted: &Noted| self.status.is_over(noted, now);
        let is_stale = |node: &&Shared<FollowedNode>| {
            node.stale_from.is_some_and(|from| from < now) || node.noted.as_ref().is_some_and(is_over)
        };
        for node in nodes.iter().filter(is_stale) {
            tidy(&node.condition.name, cluster, now, is_over);
        }
        self.tidy_admissions(now);
        let nodes = nodes.iter().map(|node| node.condition.clone()).collect();
        Conditions::Nodes { nodes, age_seconds: age.as_secs() }
    }
}

impl Looker {
    /// What lets nodes in is asked for only while there may be some: an idle server asks nothing.
    fn tidy_admissions(&mut self, now: Timestamp) {
        let made = self.status.content().admissions;
        if self.no_admission == Some(made) {
            return;
        }
        match distribution::tidy_admissions(&*self.host, |noted| self.status.is_over(noted, now)) {
            Ok(0) => self.no_admission = Some(made),
            Ok(_) => self.no_admission = None,
            // Tried again at the next look.
            Err(error) => tracing::debug!("what lets nodes in could not be looked at: {error}"),
        }
    }
}

/// What a plan wrote on a node and nobody needs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leftover {
    /// The taint of a node that was given up and is Ready.
    Mark,
    /// A note on a node that a person made schedulable, or a cordon that awaits a plan which is over.
    Note,
    /// That a drain goes on whose plan is over. The cordon stays: whoever drained may have died, and nobody knows how
    /// far it came.
    Signs,
    /// The soft taint of a node that waited.
    Taint,
}

impl Leftover {
    fn on(node: &Node, now: Timestamp, is_over: impl Fn(&Noted) -> bool) -> Option<Self> {
        let has_passed = |until: Option<Timestamp>| until.is_some_and(|until| until < now);
        let is_over = || Noted::on(node).is_some_and(|noted| is_over(&noted));
        let awaits = node.cordon.as_ref().is_some_and(|note| note.awaits.is_some());
        let is_silent = matches!(node.ready, NodeReady::Unknown { .. });
        if has_passed(cordon_stale_from(node)) {
            let mark = node.is_given_up() && node.ready == NodeReady::Ready;
            Some(if mark { Self::Mark } else { Self::Note })
        } else if is_over() && !(awaits && is_silent) {
            Some(if awaits { Self::Note } else { Self::Signs })
        } else {
            has_passed(node.waiting().map(|waiting| waiting.until)).then_some(Self::Taint)
        }
    }
}

/// Removes what a plan wrote on a node and nobody needs any more; a failure is tried again at the next look.
pub(crate) fn tidy(name: &str, cluster: &dyn Cluster, now: Timestamp, is_over: impl Fn(&Noted) -> bool) {
    let Ok(Some(node)) = cluster.node(name) else { return };
    let (answer, done) = match Leftover::on(&node, now, is_over) {
        None => return,
        Some(Leftover::Mark) => {
            (cluster.give_up(&node, false), "is Ready again: it is not marked out of service any more")
        }
        Some(Leftover::Note) => (cluster.uncordon(&node), "is schedulable: the note of its cordon was removed"),
        Some(Leftover::Signs) => (cluster.show(name, &[], ""), "is not being drained any more: its plan is over"),
        Some(Leftover::Taint) => (cluster.keep_off(name, None), "waits for no drain any more: its taint was removed"),
    };
    match answer {
        Ok(CordonAnswer::Done) => tracing::info!("{name} {done}"),
        Ok(CordonAnswer::Changed | CordonAnswer::Gone) | Err(_) => {}
    }
}
