//! What a watch tells of the cluster's nodes, kept: only what is asked of a node every few seconds. Nothing is asked of
//! the API server to look at it, and a watch that tells nothing any more is never taken for a quiet cluster.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hostler_plan::{
    cluster::{DrainCondition, Node, NodeReady},
    document::PlanRef,
    id::{Epoch, NodeName},
    sequencer::CordonOwner,
    timestamp::Timestamp,
};

use super::Waker;
use crate::protocol::node::NodeCondition;

/// A watch proves itself at least every 30 s, by beginning anew; one that has not for this long hangs.
const HANGS: Duration = Duration::from_secs(40);

/// What is known of the nodes. Cloned handles are one.
#[derive(Debug, Clone)]
pub struct Followed {
    known: Arc<Mutex<Known>>,
    /// Notified when something of it is other than before.
    waker: Waker,
}

/// A node, as far as it is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedNode {
    pub condition: NodeCondition,
    /// When what a plan wrote on it becomes nobody's: a note on a node that is schedulable is so at once.
    pub stale_from: Option<Timestamp>,
    /// The plan whose end makes it so earlier.
    pub noted: Option<Noted>,
}

/// A plan that wrote something on a node which goes when the plan may begin nothing any more: a cordon that awaits it,
/// or that a drain goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    pub subject: NodeName,
    pub epoch: Epoch,
    pub plan: PlanRef,
}

impl Noted {
    pub(crate) fn on(node: &Node) -> Option<Self> {
        let note = node.cordon.as_ref()?;
        let goes = note.awaits.is_some() || node.shows.contains(&DrainCondition::DrainInProgress);
        let (epoch, plan) = note.plan().filter(|_| goes && node.cordoned_by() == Some(CordonOwner::Hostler))?;
        Some(Self { subject: NodeName::new(&node.name).ok()?, epoch, plan })
    }
}

#[derive(Debug)]
struct Known {
    /// Or why they are not known.
    nodes: Result<BTreeMap<String, FollowedNode>, String>,
    proved: Instant,
}

impl From<&Node> for FollowedNode {
    fn from(node: &Node) -> Self {
        let cordoned_by = node.cordoned_by();
        let kept_off_until = node.waiting().map(|waiting| waiting.until);
        Self {
            noted: Noted::on(node),
            stale_from: [cordon_stale_from(node), kept_off_until].into_iter().flatten().min(),
            condition: NodeCondition {
                name: node.name.clone(),
                ready: node.ready == NodeReady::Ready,
                cordoned_by,
                version: node.version.clone(),
                machine_id: node.machine_id.clone(),
            },
        }
    }
}

/// A plan's note, or its conditions, on a node that a person made schedulable say what is not true any more. A plan at
/// work sees the node itself; the note of the one that it sees is in the same object. A cordon that awaits a plan which
/// may begin nothing any more is nobody's. A node that was given up and is Ready lives.
pub(crate) fn cordon_stale_from(node: &Node) -> Option<Timestamp> {
    if node.is_given_up() && node.ready == NodeReady::Ready {
        return Some(Timestamp::from_unix_seconds(0));
    }
    if node.cordon.is_none() && node.shows.is_empty() {
        return None;
    }
    match node.cordoned_by() {
        None => Some(Timestamp::from_unix_seconds(0)),
        Some(CordonOwner::Hostler) => node.cordon.as_ref()?.awaits.map(|awaits| awaits.until),
        Some(CordonOwner::Node | CordonOwner::Other(_)) => None,
    }
}

impl Followed {
    /// Nothing is known yet.
    pub fn new(waker: Waker, now: Instant) -> Self {
        let nodes = Err("its nodes were not listed yet".to_owned());
        Self { known: Arc::new(Mutex::new(Known { nodes, proved: now })), waker }
    }

    /// Every node and how long ago the API server last proved that this is so; or why nothing is known.
    pub fn look(&self, now: Instant) -> Result<(Vec<FollowedNode>, Duration), String> {
        let known = self.known();
        let age = now.saturating_duration_since(known.proved);
        let nodes = known.nodes.as_ref().map_err(Clone::clone)?;
        if age >= HANGS {
            return Err(format!("the API server has told nothing of its nodes for more than {} s", HANGS.as_secs()));
        }
        Ok((nodes.values().cloned().collect(), age))
    }

    /// All of them, as a list has them.
    pub(crate) fn listed(&self, nodes: Vec<FollowedNode>, now: Instant) {
        let nodes = Ok(nodes.into_iter().map(|node| (node.condition.name.clone(), node)).collect());
        let is_news = {
            let mut known = self.known();
            known.proved = now;
            let is_news = known.nodes != nodes;
            known.nodes = nodes;
            is_news
        };
        self.tell(is_news);
    }

    /// One of them is new, or other than before; most often only its heartbeat is.
    pub(crate) fn changed(&self, node: FollowedNode, now: Instant) {
        let is_news = self.change(now, |nodes| {
            let name = node.condition.name.clone();
            nodes.insert(name, node.clone()) != Some(node)
        });
        self.tell(is_news);
    }

    pub(crate) fn gone(&self, name: &str, now: Instant) {
        let is_news = self.change(now, |nodes| nodes.remove(name).is_some());
        self.tell(is_news);
    }

    /// The API server still tells of changes, and there is none.
    pub(crate) fn proved(&self, now: Instant) {
        self.change(now, |_| false);
    }

    /// What was known does not count any more.
    pub(crate) fn broke(&self, reason: String) {
        let error = Err(reason);
        let is_news = {
            let mut known = self.known();
            let is_news = known.nodes != error;
            known.nodes = error;
            is_news
        };
        self.tell(is_news);
    }

    fn change(&self, now: Instant, change: impl FnOnce(&mut BTreeMap<String, FollowedNode>) -> bool) -> bool {
        let mut known = self.known();
        known.proved = now;
        known.nodes.as_mut().is_ok_and(change)
    }

    fn tell(&self, is_news: bool) {
        if is_news {
            self.waker.notify();
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    #[test]
    fn only_news_wakes_and_a_watch_that_hangs_is_silent() {
        let (waker, began) = (Waker::new(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let followed = Followed::new(waker.clone(), began);
        assert!(followed.look(began).is_err(), "nothing is known yet");
        let mut w1 = node("w1");
        followed.listed(vec![(&w1).into(), (&node("w2")).into()], at(1));
        assert!(waker.take(), "they are listed");
        w1.resource_version = "2".into();
        followed.changed((&w1).into(), at(11));
        assert!(!waker.take(), "a heartbeat is no news");
        let (nodes, age) = followed.look(at(12)).unwrap();
        assert_eq!((nodes.len(), age), (2, Duration::from_secs(1)));
        w1.ready = NodeReady::NotReady;
        followed.changed((&w1).into(), at(13));
        assert!(waker.take() && !followed.look(at(13)).unwrap().0[0].condition.ready);
        followed.gone("w2", at(14));
        assert!(waker.take() && followed.look(at(14)).unwrap().0.len() == 1);
        followed.proved(at(30));
        assert!(!waker.take() && followed.look(at(69)).is_ok());
        let hangs = followed.look(at(70)).unwrap_err();
        assert_eq!(hangs.to_string(), "the API server has told nothing of its nodes for more than 40 s");
        followed.broke("connection refused".into());
        assert!(waker.take() && followed.look(at(31)).is_err(), "what was known does not count");
        followed.changed((&w1).into(), at(32));
        assert!(!waker.take() && followed.look(at(32)).is_err(), "one node is not all of them");
    }
}
