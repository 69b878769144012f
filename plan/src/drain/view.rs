//! What a drain would do with every pod of a node, free of what a plan allows.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    budget::{About, Asked, Budgets, closed, never},
    look::Look,
    past::Past,
    placement::{NoPlace, fits_nowhere, may_come_back},
    pods::{Class, Keeper, class, is_leaving, losses, top_owner, turn},
    room::Rooms,
    selectors::Selectors,
    time::{Queue, expected},
    turn::{Pace, number, pace},
};
use crate::{
    cluster::{Attachment, Budget, Node, NodeReady, Owner, Pod, PodKey, Scale, Shared},
    document::{
        AttachedVolume, Leaving, LeftOut, MAX_PLACES, MAX_SIGNATURES, Never, NodeCordon, NodeState, NodeView, Place,
        PodView, Prospect, Stays, Turn,
    },
    form::{ClusterName, Reason},
    id::NodeName,
    sequencer::CordonOwner,
    step::TopOwner,
    text::age,
    timestamp::Timestamp,
};

/// A pod that may take longer than this to stop is told of: whoever watches wonders.
const LONG_GRACE: Duration = Duration::from_secs(120);

/// Why one leaves whatever its budget says.
const DISMISSED: &str = "its controller asks for no pods any more, and takes it away by itself";

/// What a drain of this node would do with each of its pods, as the cluster was seen. `past` is what earlier drains
/// took.
pub fn view_of(name: &NodeName, look: &Look, now: Timestamp, past: &Past) -> NodeView {
    let node = look.nodes.iter().find(|node| node.name == name.as_str()).map(AsRef::as_ref);
    let all = look.pods.iter().map(AsRef::as_ref);
    let here: Vec<&Pod> = all.filter(|pod: &&Pod| pod.node.as_deref() == Some(name.as_str())).collect();
    let mut leaving: Vec<&Pod> = here.iter().copied().filter(|pod| class(pod) == Class::Leaves).collect();
    leaving.sort_by_key(|pod| (turn(pod), Reverse(number(pod))));
    let mut model = Model::new(name.as_str(), (look, past), &leaving, now);
    let mut leavings: BTreeMap<&PodKey, Leaving> = BTreeMap::new();
    for pod in &leaving {
        let leaving = model.leaving(pod);
        model.queue(pod, &leaving);
        leavings.insert(&pod.key, leaving);
    }
    let never = leavings.values().any(|leaving| leaving.never.is_some());
    for pod in here.iter().filter(|pod| is_leaving(pod)) {
        model.stopping(pod, now);
    }
    let mut view = NodeView {
        node: name.clone(),
        state: state(node),
        cordon: node.and_then(cordon),
        pods: Vec::new(),
        left_out: LeftOut::default(),
        attached: attached(name, look, &here),
        expected: if never { None } else { expected(&model.queues()) },
    };
    for pod in here {
        let prospect = match class(pod) {
            Class::Stays(why) => Prospect::Stays(why),
            Class::Going { until } => Prospect::Going { until: until.whole_seconds() },
            Class::Leaves => match leavings.remove(&pod.key) {
                Some(leaving) => Prospect::Leaves(leaving),
                // It was listed twice.
                None => continue,
            },
        };
        match model.pod(pod, prospect) {
            Some(pod) => view.pods.push(pod),
            // No cluster has such a name; whatever it is, nobody can judge without it.
            None => view.left_out.add_nameless(),
        }
    }
    view
}

fn state(node: Option<&Node>) -> NodeState {
    match node.map(|node| node.ready) {
        None => NodeState::Absent,
        Some(NodeReady::Ready) => NodeState::Ready,
        Some(NodeReady::NotReady) => NodeState::NotReady,
        Some(NodeReady::Unknown { since }) => NodeState::Silent { since },
    }
}

fn cordon(node: &Node) -> Option<NodeCordon> {
    let owner = node.cordoned_by()?;
    let of_plan = match owner {
        CordonOwner::Hostler | CordonOwner::Other(_) => true,
        CordonOwner::Node => false,
    };
    let note = node.cordon.as_ref().filter(|_| of_plan);
    let reason = note.map(|note| &note.reason).or(node.self_cordon.as_ref().map(|note| &note.reason));
    let signed_by = note.iter().flat_map(|note| &note.signed_by).take(MAX_SIGNATURES).map(|name| Reason::of(name));
    Some(NodeCordon {
        by: ClusterName::of(owner.name()),
        reason: reason.map(|reason| Reason::of(reason)),
        since: node.cordoned_since(),
        signed_by: signed_by.collect(),
    })
}

/// The volumes that are attached to a node for others than the pods that stay; `pods` are those on it.
pub fn still_attached<'a>(
    node: &str,
    attachments: &'a [Attachment],
    pods: impl IntoIterator<Item = &'a Pod>,
) -> impl Iterator<Item = &'a Attachment> {
    let stays = pods.into_iter().filter(|pod| matches!(class(pod), Class::Stays(Stays::DaemonSet | Stays::Mirror)));
    let kept: BTreeSet<&String> = stays.flat_map(|pod| &pod.volumes).filter_map(|v| v.volume.as_ref()).collect();
    let leaves = move |a: &&Attachment| a.volume.as_ref().is_some_and(|volume| !kept.contains(volume));
    attachments.iter().filter(move |attachment| attachment.node == node).filter(leaves)
}

fn attached(name: &NodeName, look: &Look, here: &[&Pod]) -> Vec<AttachedVolume> {
    let attached = still_attached(name.as_str(), &look.attachments, here.iter().copied());
    let named = attached.filter_map(|a| Some((a.volume.as_ref()?, &a.driver)));
    named
        .map(|(volume, driver)| AttachedVolume { volume: ClusterName::of(volume), driver: ClusterName::of(driver) })
        .collect()
}

/// A budget that counts pods of the node, and what is known of it while they leave one after the other.
struct Counting<'a> {
    counted: Vec<&'a Pod>,
    asked: Asked,
    /// Pods that leave and have nowhere to come back to.
    lost: u32,
    /// Pods that leave and find no room just now.
    waiting: u32,
}

/// A cluster while pods leave one of its nodes.
struct Model<'a> {
    drained: &'a str,
    look: &'a Look,
    past: &'a Past,
    budgets: Budgets<'a>,
    counting: BTreeMap<(&'a str, &'a str), Counting<'a>>,
    rooms: Rooms<'a>,
    queues: BTreeMap<(Turn, String), Queue>,
    /// The volumes that are attached to the node.
    attached: BTreeSet<&'a str>,
    owned: BTreeMap<(&'a str, &'a Owner), Owned>,
    now: Timestamp,
}

/// What is seen of the pods of one owner.
#[derive(Debug, Clone, Copy, Default)]
struct Owned {
    /// Those that run or will.
    pods: u32,
    /// The fastest start of one, where it is known.
    started_in: Option<Duration>,
}

impl<'a> Model<'a> {
    fn new(drained: &'a str, (look, past): (&'a Look, &'a Past), leaving: &[&'a Pod], now: Timestamp) -> Self {
        let budgets = Budgets::new(look.budgets.iter().map(AsRef::as_ref));
        let mut counting: BTreeMap<(&str, &str), (&Budget, Vec<&Pod>)> = BTreeMap::new();
        let mut counted = Selectors::new();
        for budget in leaving.iter().filter_map(|pod| budgets.only(pod)) {
            let key = (budget.namespace.as_str(), budget.name.as_str());
            counting.entry(key).or_insert_with(|| {
                counted.add(Some([key.0]), &budget.selector, key);
                (budget, Vec::new())
            });
        }
        let mut owned: BTreeMap<(&str, &Owner), Owned> = BTreeMap::new();
        for pod in look.pods.iter().map(Shared::as_ref) {
            for key in counted.of(pod) {
                if let Some((_, pods)) = counting.get_mut(key) {
                    pods.push(pod);
                }
            }
            if let Some(owner) = &pod.owner {
                let of_it = owned.entry((&pod.key.namespace, owner)).or_default();
                of_it.pods += u32::from(pod.runs());
                of_it.started_in = of_it.started_in.into_iter().chain(pod.started_in).min();
            }
        }
        let rooms = Rooms::new(drained, &look.nodes, &look.pods, &look.attachments, leaving);
        let attached = look.attachments.iter().filter(|attachment| attachment.node == drained);
        let attached = attached.filter_map(|attachment| attachment.volume.as_deref()).collect();
        let (queues, none) = (BTreeMap::new(), BTreeMap::new());
        let mut model = Self { drained, look, past, budgets, counting: none, rooms, queues, attached, owned, now };
        for (key, (budget, counted)) in counting {
            let asked = Asked::of(budget, &counted, |owner| model.about(&budget.namespace, owner));
            model.counting.insert(key, Counting { counted, asked, lost: 0, waiting: 0 });
        }
        model
    }

    fn scale(&self, namespace: &str, owner: &Owner) -> Option<Scale> {
        self.look.controllers.get(&(namespace.to_owned(), owner.clone()))?.scale
    }

    fn about(&self, namespace: &'a str, owner: &'a Owner) -> About<'a> {
        let controller = self.look.controllers.get(&(namespace.to_owned(), owner.clone()));
        let top = controller.map_or((&owner.kind, &owner.name), |top| (&top.kind, &top.name));
        let pods = self.owned.get(&(namespace, owner)).map_or(0, |owned| owned.pods);
        About { top: (top.0.as_str(), top.1.as_str()), scale: controller.and_then(|found| found.scale), pods }
    }

    fn leaving(&mut self, pod: &'a Pod) -> Leaving {
        let (place, nowhere) = self.place(pod);
        let mut leaving = Leaving { loses: losses(pod), never: None, place, slow: None };
        let request = self.look.requests.iter().find(|request| request.pod == pod.key);
        let counting = self.budgets.asked_about(pod);
        match counting.as_slice() {
            _ if self.comes_back(pod) => {
                let reason = Reason::of(
                    "it tolerates a cordon and no other node would take it, so that it would come back here at once \
                     and for ever. Take that toleration from it, or scale it down",
                );
                leaving.never = Some(Never { budget: None, reason });
            }
            [first, second, ..] => {
                let (first, second) = (first.full_name(), second.full_name());
                leaving.never = Some(Never {
                    reason: Reason::of(&format!(
                        "more than one budget counts it ({first}, {second}), which the API refuses for ever. Leave one"
                    )),
                    budget: Some(ClusterName::of(&first)),
                });
            }
            [budget] => {
                self.count(pod, budget, nowhere, &mut leaving);
                let holds = leaving.never.is_some() || leaving.slow.is_some();
                let opens = Keeper::of(pod).map(Keeper::holds).or(self.is_dismissed(pod).then_some(DISMISSED));
                if let Some(why) = opens.filter(|_| holds) {
                    (leaving.never, leaving.slow) = (None, Some(Reason::of(why)));
                }
            }
            [] => {}
        }
        if let Some(request) = request.filter(|_| leaving.never.is_none()) {
            leaving.slow = Some(Reason::of(&request.sentence()));
        }
        if leaving.slow.is_none() && leaving.never.is_none() {
            leaving.slow = self.slow(pod).map(|why| Reason::of(&why));
        }
        leaving
    }

    /// Whether what takes the pod's place certainly runs on this very node.
    fn comes_back(&self, pod: &Pod) -> bool {
        let itself = self.look.nodes.iter().find(|node| node.name == self.drained);
        let starts_again = pod.owner.is_some() && !pod.is_finished() && !pod.placement.foreign_scheduler;
        starts_again
            && itself.is_some_and(|node| may_come_back(pod, node))
            && fits_nowhere(pod, &self.look.nodes, self.drained).is_some()
    }

    /// What the budget says of a pod that leaves.
    fn count(&mut self, pod: &Pod, budget: &'a Budget, nowhere: Option<NoPlace>, leaving: &mut Leaving) {
        let Some(counting) = self.counting.get_mut(&(budget.namespace.as_str(), budget.name.as_str())) else { return };
        let name = budget.full_name();
        let may_go = counting.asked.may_be_away(budget.limit);
        let free = !pod.ready && budget.always_allow_unhealthy;
        let mut holds = never(budget, &counting.asked, pod, &counting.counted, self.now);
        if holds.is_none() && !free {
            let for_good = match nowhere {
                Some(place) => Some(format!("{place}. {}", place.advice())),
                None if pod.owner.is_none() => Some("nobody starts it again. Put it under a controller".to_owned()),
                None => None,
            };
            if let Some(why) = for_good.filter(|_| !counting.asked.moves_role(budget.limit)) {
                counting.lost = counting.lost.saturating_add(1);
                let text = || format!("budget {name} lets only {may_go} of its pods be away, and {why}");
                holds = (counting.lost > may_go).then(text);
            } else if let Place::NoRoom(why) = &leaving.place {
                counting.waiting = counting.waiting.saturating_add(1);
                let text = || format!("budget {name} lets only {may_go} of its pods be away, and {why}");
                let waits = counting.lost.saturating_add(counting.waiting) > may_go;
                leaving.slow = waits.then(|| Reason::of(&text()));
            }
        }
        if leaving.slow.is_none() && holds.is_none() {
            leaving.slow = closed(budget, &counting.asked, pod, &counting.counted).map(|why| Reason::of(&why));
        }
        leaving.never = holds.map(|why| Never { budget: Some(ClusterName::of(&name)), reason: Reason::of(&why) });
    }

    /// Where what takes the pod's place can run, and why that is nowhere for certain.
    fn place(&mut self, pod: &'a Pod) -> (Place, Option<NoPlace>) {
        if pod.is_finished() || pod.owner.is_none() || self.is_dismissed(pod) {
            self.rooms.ends(pod);
            return (Place::NotNeeded, None);
        }
        let found = self.rooms.moves(pod);
        let unknown = |why: &str| (Place::Unknown(Reason::of(why)), None);
        if pod.placement.foreign_scheduler {
            return unknown("another scheduler decides where it goes");
        }
        let itself = self.look.nodes.iter().find(|node| node.name == self.drained);
        if itself.is_some_and(|node| may_come_back(pod, node)) {
            return unknown("it tolerates a cordon, and so may come back here at once. Take that toleration from it");
        }
        if let Some(place) = fits_nowhere(pod, &self.look.nodes, self.drained) {
            return (Place::Nowhere(Reason::of(&format!("{place}. {}", place.advice()))), Some(place));
        }
        if pod.placement.claims_devices {
            return unknown("it claims devices, and their drivers decide where it can go");
        }
        let place = match found {
            Ok(nodes) => Place::Elsewhere {
                count: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
                such_as: nodes.iter().filter_map(|node| NodeName::new(&node.name).ok()).take(MAX_PLACES).collect(),
            },
            Err(short) if short.may_push_out => {
                Place::Unknown(Reason::of(&format!("{short}; the scheduler may push out pods of a lower priority")))
            }
            Err(short) => Place::NoRoom(Reason::of(&short.to_string())),
        };
        (place, None)
    }

    /// Whether its controller asks for no pods any more.
    fn is_dismissed(&self, pod: &Pod) -> bool {
        let scale = pod.owner.as_ref().and_then(|owner| self.scale(&pod.key.namespace, owner));
        scale.is_some_and(|scale| scale.replicas == 0)
    }

    /// What else takes longer than a short stop.
    fn slow(&self, pod: &Pod) -> Option<String> {
        if pod.grace > LONG_GRACE && !pod.is_finished() {
            return Some(format!("it may take {} to stop", age(pod.grace.as_secs())));
        }
        let mut volumes = pod.lasting_volumes().filter(|volume| volume.one_node).filter_map(|v| v.volume.as_ref());
        let volume = volumes.find(|name| self.attached.contains(name.as_str())).filter(|_| pod.owner.is_some())?;
        Some(format!("volume {volume} has to be detached from {} before another node can attach it", self.drained))
    }

    fn owner(&self, pod: &Pod) -> Option<TopOwner> {
        top_owner(pod, self.look.controllers.get(&pod.owner_id()?))
    }

    fn pod(&self, pod: &Pod, prospect: Prospect) -> Option<PodView> {
        Some(PodView {
            pod: pod.key.to_string().parse().ok()?,
            uid: pod.key.uid.parse().ok()?,
            owner: self.owner(pod),
            grace_seconds: pod.grace.as_secs(),
            turn: turn(pod),
            prospect,
        })
    }

    /// Puts a pod that leaves behind those for which it waits.
    fn queue(&mut self, pod: &Pod, leaving: &Leaving) {
        let counting = self.budgets.only(pod);
        let owner = self.owner(pod);
        let by_owner = |owner: &TopOwner| format!("{} {}/{}", owner.kind, pod.key.namespace, owner.name);
        let scale = pod.owner.as_ref().and_then(|owner| self.scale(&pod.key.namespace, owner));
        let (name, at_once) = match (pace(pod, counting.is_some()), counting, &owner) {
            (Pace::Budget, Some(budget), _) => {
                let counting = self.counting.get(&(budget.namespace.as_str(), budget.name.as_str()));
                let away = counting.map_or(1, |counting| counting.asked.may_be_away(budget.limit));
                (format!("what budget {} counts", budget.full_name()), away.max(1))
            }
            (Pace::OneByOne, _, Some(owner)) => (by_owner(owner), 1),
            (Pace::Strength, _, Some(owner)) => (by_owner(owner), scale.map_or(1, |scale| scale.at_once)),
            (Pace::Free | Pace::Budget | Pace::Strength | Pace::OneByOne, ..) => (pod.key.to_string(), 1),
        };
        let owned = pod.owner.as_ref().and_then(|owner| self.owned.get(&(pod.key.namespace.as_str(), owner)));
        let took = self.past.took(pod);
        let started_in = owned.and_then(|owned| owned.started_in).or(took.to_start);
        let comes_back = !matches!(leaving.place, Place::Nowhere(_) | Place::NotNeeded);
        let (grace, stopped_in) = match pod.is_finished() {
            true => (Duration::ZERO, Some(Duration::ZERO)),
            false => (pod.grace, took.to_stop),
        };
        let queue = self.queues.entry((turn(pod), name.clone())).or_insert(Queue {
            name,
            pods: 0,
            at_once,
            grace,
            stopped_in,
            started_in,
            comes_back,
        });
        queue.pods = queue.pods.saturating_add(1);
        queue.grace = queue.grace.max(grace);
        queue.stopped_in = queue.stopped_in.zip(stopped_in).map(|(known, also)| known.max(also));
        queue.started_in = queue.started_in.max(started_in);
        queue.comes_back |= comes_back;
    }

    /// A pod that is stopping already.
    fn stopping(&mut self, pod: &Pod, now: Timestamp) {
        let (name, grace) =
            (pod.key.to_string(), pod.deletion.map_or(Duration::ZERO, |deletion| deletion.ends.since(now)));
        let queue = Queue {
            name: name.clone(),
            pods: 1,
            at_once: 1,
            grace,
            stopped_in: None,
            started_in: None,
            comes_back: false,
        };
        self.queues.insert((Turn::Ordinary, name), queue);
    }

    fn queues(&mut self) -> BTreeMap<Turn, Vec<Queue>> {
        let mut turns: BTreeMap<Turn, Vec<Queue>> = BTreeMap::new();
        for ((turn, _), queue) in std::mem::take(&mut self.queues) {
            turns.entry(turn).or_default().push(queue);
        }
        turns
    }
}
