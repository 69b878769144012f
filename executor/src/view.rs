//! Reads what is on nodes and signs it, for somebody who is about to sign a plan that drains them.
//!
//! Nothing is changed in the cluster, and nothing is signed but what was composed here.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{self, SyncSender, TrySendError},
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use hostler_plan::{
    document::{DocumentKind, MAX_VIEW_NODES, Signed, View, ViewType},
    drain::{Asks, Past, view_of},
    form::ClusterName,
    id::{FleetId, NodeName, Nonce},
};

use crate::{
    disk::Disk,
    drain_history,
    host::Host,
    keys::Keys,
    outbox::Reply,
    protocol::node::{Answer, Membership, NodeError},
};

/// Questions that wait for the one that is being answered: two admins at a time.
const MAX_QUESTIONS: usize = 1;

/// Rights beyond what is needed that a view names; an account with more of them than this has far too many.
const MAX_BEYOND: usize = 64;

/// The thread rests as long as it read, and no longer than this: whoever asks again and again gets half of the API
/// server's time that one reader can take.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question {
    pub nodes: Vec<NodeName>,
    pub nonce: Nonce,
    pub member: Membership,
    pub reply: Reply,
}

/// Who answers. An API server may take long, and nothing else waits for it.
pub(crate) struct Viewer {
    host: Arc<dyn Host>,
    keys: Arc<Keys>,
    /// Where it lies what earlier drains took.
    disk: Weak<Disk>,
    /// The thread; only a server that was asked once has one.
    asked: Option<SyncSender<Question>>,
}

impl Viewer {
    pub(crate) fn new(host: Arc<dyn Host>, keys: Arc<Keys>, disk: Weak<Disk>) -> Self {
        Self { host, keys, disk, asked: None }
    }

    pub(crate) fn ask(&mut self, question: Question) {
        let asked = match &self.asked {
            Some(asked) => asked.clone(),
            None => match start(self.host.clone(), self.keys.clone(), self.disk.clone()) {
                Ok(asked) => self.asked.insert(asked).clone(),
                Err(error) => {
                    let failed = format!("starting the thread that reads the cluster failed: {error}; ask again");
                    return question.reply.send(Answer::Failed(NodeError::failed(failed)));
                }
            },
        };
        let (question, why) = match asked.try_send(question) {
            Ok(()) => return,
            Err(TrySendError::Full(question)) => (question, "others are being answered; ask again"),
            Err(TrySendError::Disconnected(question)) => {
                (question, "the thread that reads the cluster ended; ask again")
            }
        };
        question.reply.send(Answer::Failed(NodeError::failed(why)));
    }
}

fn start(host: Arc<dyn Host>, keys: Arc<Keys>, disk: Weak<Disk>) -> std::io::Result<SyncSender<Question>> {
    let (asked, questions) = mpsc::sync_channel::<Question>(MAX_QUESTIONS);
    let answer = move || {
        for Question { nodes, nonce, member, reply } in questions {
            let began = Instant::now();
            let view = catch_unwind(AssertUnwindSafe(|| {
                let past = disk.upgrade().map(|disk| drain_history::recall(&disk)).unwrap_or_default();
                signed(&*host, &keys, &member, (nodes, nonce), &past)
            }));
            let broken = |_| Err(NodeError::failed("reading the cluster failed; see the messages of this server"));
            reply.send(view.unwrap_or_else(broken).map_or_else(Answer::Failed, Answer::View));
            // It held what a whole cluster is made of.
            host.on_idle();
            thread::sleep(began.elapsed().min(LONGEST_REST));
        }
    };
    thread::Builder::new().name("view".into()).spawn(answer)?;
    Ok(asked)
}

/// The view of these nodes as this server sees them now, signed.
fn signed(
    host: &dyn Host,
    keys: &Keys,
    member: &Membership,
    question: (Vec<NodeName>, Nonce),
    past: &Past,
) -> Result<Signed, NodeError> {
    let view = read(host, (&member.fleet_id, &member.node), question, past)?;
    keys.sign(DocumentKind::View, view.written()).map_err(NodeError::failed)
}

fn read(
    host: &dyn Host,
    (fleet, server): (&FleetId, &NodeName),
    (nodes, nonce): (Vec<NodeName>, Nonce),
    past: &Past,
) -> Result<View, NodeError> {
    if nodes.len() > MAX_VIEW_NODES {
        let found = nodes.len();
        return Err(NodeError::failed(format!("expected at most {MAX_VIEW_NODES} nodes to look at, found {found}")));
    }
    let cluster = host.cluster().ok_or_else(|| NodeError::failed("it has no credentials for an API server"))?;
    let at = host.now();
    let missing = cluster.missing_rights().map_err(NodeError::failed)?;
    let beyond = cluster.rights_beyond().map_err(NodeError::failed)?;
    let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    let look = cluster.look(&names, Asks::ForAll).map_err(NodeError::failed)?;
    Ok(View {
        document_type: ViewType::V1,
        fleet_id: fleet.clone(),
        server: server.clone(),
        nonce,
        at,
        missing_rights: missing.iter().map(|right| ClusterName::of(right)).collect(),
        rights_beyond: beyond.iter().take(MAX_BEYOND).map(|right| ClusterName::of(right)).collect(),
        nodes: nodes.iter().map(|node| view_of(node, &look, at, past)).collect(),
    })
}
