//! What a watch tells of objects of one kind, kept: only what is asked of them every few seconds. Nothing is asked of
//! the API server to look at it, and a watch that tells nothing any more is never taken for a quiet cluster.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hostler_plan::{
    cluster::{Budget, DrainCondition, Node, NodeReady, Owner, Placement, Pod, Pool, Shared},
    document::PlanRef,
    id::{Epoch, NodeName},
    sequencer::CordonOwner,
    timestamp::Timestamp,
};

use crate::protocol::node::NodeCondition;

/// A watch that has proved nothing for this long behind its time hangs.
const LATE: Duration = Duration::from_secs(10);

/// What is followed of an object; two that are equal are no news.
pub trait Follow: Clone + PartialEq {
    /// Their name in the API, such as `nodes`.
    const WHAT: &'static str;

    /// Namespace and name.
    fn id(&self) -> (String, String);

    /// Holds together with the others what it has in common with them.
    fn share(&mut self, common: &mut Common) {
        let _ = common;
    }
}

/// What pods have in common, kept once: those of one controller differ by hardly more than their names.
#[derive(Debug, Default)]
pub struct Common {
    labels: Pool<BTreeMap<String, String>>,
    owners: Pool<Owner>,
    placements: Pool<Placement>,
}

impl Common {
    /// Makes the pod hold it too.
    pub fn share(&mut self, pod: &mut Pod) {
        self.labels.share(&mut pod.labels);
        self.placements.share(&mut pod.placement);
        if let Some(owner) = &mut pod.owner {
            self.owners.share(owner);
        }
    }
}

/// What is known of all objects of a kind. Cloned handles are one.
#[derive(Debug, Clone)]
pub struct Followed<T> {
    known: Arc<Mutex<Known<T>>>,
    /// How often the API server proves that it still tells.
    proof: Duration,
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
struct Known<T> {
    /// Or why they are not known.
    objects: Result<BTreeMap<(String, String), Shared<T>>, String>,
    common: Common,
    /// Whether somebody has tried to know them.
    tried: bool,
    proved: Instant,
}

impl Follow for FollowedNode {
    const WHAT: &'static str = "nodes";

    fn id(&self) -> (String, String) {
        (String::new(), self.condition.name.clone())
    }
}

impl Follow for Node {
    const WHAT: &'static str = "nodes";

    fn id(&self) -> (String, String) {
        (String::new(), self.name.clone())
    }
}

impl Follow for Pod {
    const WHAT: &'static str = "pods";

    fn id(&self) -> (String, String) {
        (self.key.namespace.clone(), self.key.name.clone())
    }

    fn share(&mut self, common: &mut Common) {
        common.share(self);
    }
}

impl Follow for Budget {
    const WHAT: &'static str = "poddisruptionbudgets";

    fn id(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }
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

impl<T: Follow> Followed<T> {
    /// Nothing is known yet; the API server is to prove every `proof` that it tells.
    pub fn new(proof: Duration, now: Instant) -> Self {
        let objects = Err(format!("its {} were not listed yet", T::WHAT));
        Self {
            known: Arc::new(Mutex::new(Known { objects, common: Common::default(), tried: false, proved: now })),
            proof,
        }
    }

    /// How often the API server is to prove that it still tells.
    pub(crate) fn proof(&self) -> Duration {
        self.proof
    }

    /// Whether they were listed, or cannot be.
    pub(crate) fn was_tried(&self) -> bool {
        self.known().tried
    }

    /// All that are wanted, and how long ago the API server last proved that this is so; or why nothing is known.
    pub fn look(&self, now: Instant, is_wanted: impl Fn(&T) -> bool) -> Result<(Vec<Shared<T>>, Duration), String> {
        let known = self.known();
        let age = now.saturating_duration_since(known.proved);
        let objects = known.objects.as_ref().map_err(Clone::clone)?;
        let hangs = self.proof + LATE;
        if age >= hangs {
            let what = T::WHAT;
            return Err(format!("the API server has told nothing of its {what} for more than {} s", hangs.as_secs()));
        }
        Ok((objects.values().filter(|object| is_wanted(object)).cloned().collect(), age))
    }

    /// One of them as it is held, for a list of all.
    pub(crate) fn hold(&self, mut object: T) -> Shared<T> {
        object.share(&mut self.known().common);
        object.into()
    }

    /// All of them, as a list has them. Like what follows, it answers whether that is news.
    pub(crate) fn listed(&self, objects: Vec<Shared<T>>, now: Instant) -> bool {
        let objects = Ok(objects.into_iter().map(|object| (object.id(), object)).collect());
        let mut known = self.known();
        (known.proved, known.tried) = (now, true);
        let is_news = known.objects != objects;
        known.objects = objects;
        is_news
    }

    /// One of them is new, or other than before; most often only its heartbeat is.
    pub(crate) fn changed(&self, object: T, now: Instant) -> bool {
        let object = self.hold(object);
        self.change(now, |objects| match objects.insert(object.id(), object.clone()) {
            Some(before) => before != object,
            None => true,
        })
    }

    pub(crate) fn gone(&self, object: &T, now: Instant) -> bool {
        self.change(now, |objects| objects.remove(&object.id()).is_some())
    }

    /// The API server still tells of changes, and there is none.
    pub(crate) fn proved(&self, now: Instant) {
        self.change(now, |_| false);
    }

    /// What was known does not count any more.
    pub(crate) fn broke(&self, reason: String) -> bool {
        let broken = Err(reason);
        let mut known = self.known();
        known.tried = true;
        let is_news = known.objects != broken;
        known.objects = broken;
        is_news
    }

    /// Nobody looks any more: what is kept is given back at once, whoever still holds a handle.
    pub(crate) fn forget(&self) {
        let mut known = self.known();
        (known.objects, known.common) = (Err("nobody wants to know".to_owned()), Common::default());
    }

    fn change(&self, now: Instant, change: impl FnOnce(&mut BTreeMap<(String, String), Shared<T>>) -> bool) -> bool {
        let mut known = self.known();
        known.proved = now;
        known.objects.as_mut().is_ok_and(change)
    }

    fn known(&self) -> MutexGuard<'_, Known<T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    #[test]
    fn only_what_counts_is_news_and_a_watch_that_hangs_is_silent() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let followed = Followed::<FollowedNode>::new(Duration::from_secs(30), began);
        let look = |now| followed.look(now, |_| true);
        assert!(look(began).is_err(), "nothing is known yet");
        let mut w1 = node("w1");
        assert!(
            followed.listed(["w1", "w2"].map(|name| FollowedNode::from(&node(name)).into()).into(), at(1)),
            "they are listed"
        );
        w1.resource_version = "2".into();
        assert!(!followed.changed((&w1).into(), at(11)), "a heartbeat is no news");
        let (nodes, age) = look(at(12)).unwrap();
        assert_eq!((nodes.len(), age), (2, Duration::from_secs(1)));
        w1.ready = NodeReady::NotReady;
        assert!(followed.changed((&w1).into(), at(13)) && !look(at(13)).unwrap().0[0].condition.ready);
        assert!(followed.gone(&(&node("w2")).into(), at(14)) && look(at(14)).unwrap().0.len() == 1);
        followed.proved(at(30));
        assert!(look(at(69)).is_ok());
        let hangs = look(at(70)).unwrap_err();
        assert_eq!(hangs.to_string(), "the API server has told nothing of its nodes for more than 40 s");
        assert!(followed.broke("connection refused".into()));
        assert!(look(at(31)).is_err(), "what was known does not count");
        assert!(!followed.changed((&w1).into(), at(32)));
        assert!(look(at(32)).is_err(), "one node is not all of them");
    }
}
