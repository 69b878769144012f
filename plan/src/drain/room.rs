//! Where a pod's replacement could run just now: what the nodes have left of each resource, their ports, who must run
//! near or apart from whom, how evenly, and how many volumes a node can attach.
//!
//! The pods that leave are placed one after the other, each where most is left, so that room that one takes is not
//! counted for the next. The scheduler weighs more than that: this is a count, and says "just now".

use std::collections::{BTreeMap, BTreeSet};

use super::{
    look::Look,
    placement::{fits, is_hard, is_open, of_its_kind, passing_taint, tolerates_cordons},
    selectors::Selectors,
    shortage::{NoRoom, Shortage},
};
use crate::cluster::{Attachment, HostPort, Node, Pod, PodTerm, Resources, Shared, Spread};

/// The nodes of a cluster while pods leave one of them.
pub(super) struct Rooms<'a> {
    drained: &'a str,
    nodes: Vec<Room<'a>>,
    by_name: BTreeMap<&'a str, usize>,
    /// The number of each node's domain, by the label that makes it; none where the node has no such label.
    domains: BTreeMap<&'a str, Vec<Option<usize>>>,
    /// How many pods each node has that such a term means, and which terms mean a pod.
    meant: BTreeMap<&'a PodTerm, Vec<u32>>,
    terms: Selectors<'a, &'a PodTerm>,
    /// How many pods each node has that keep those away that such a term means.
    keepers: BTreeMap<&'a PodTerm, Vec<u32>>,
    kept_away: Selectors<'a, &'a PodTerm>,
}

/// What is taken of one node.
struct Room<'a> {
    node: &'a Node,
    taken: Taken,
    /// The same, of pods by their priority: those of a lower one can be pushed out.
    by_priority: BTreeMap<i32, Taken>,
    ports: Vec<&'a HostPort>,
    /// Attached volumes, by driver: how many, and those of them that have a name.
    attached: BTreeMap<&'a str, (u32, BTreeSet<&'a str>)>,
}

#[derive(Debug, Clone, Default)]
struct Taken {
    resources: Resources,
    pods: u64,
}

/// The nodes that would take a pod which has none yet, as the cluster was seen.
pub fn takers<'a>(pod: &'a Pod, look: &'a Look) -> Vec<&'a Node> {
    let nobody = "";
    Rooms::new(nobody, &look.nodes, &look.pods, &look.attachments, &[pod]).moves(pod).unwrap_or_default()
}

impl<'a> Rooms<'a> {
    /// The nodes as they are, for placing what takes the place of `leaving`.
    pub(super) fn new(
        drained: &'a str,
        nodes: &'a [Shared<Node>],
        pods: &'a [Shared<Pod>],
        attachments: &'a [Attachment],
        leaving: &[&'a Pod],
    ) -> Self {
        let room = |node: &'a Shared<Node>| Room {
            node,
            taken: Taken::default(),
            by_priority: BTreeMap::new(),
            ports: Vec::new(),
            attached: BTreeMap::new(),
        };
        let mut rooms = Self {
            drained,
            nodes: nodes.iter().map(room).collect(),
            by_name: nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect(),
            domains: BTreeMap::new(),
            meant: BTreeMap::new(),
            terms: Selectors::new(),
            keepers: BTreeMap::new(),
            kept_away: Selectors::new(),
        };
        let asked = leaving.iter().flat_map(|pod| {
            let placement = &pod.placement;
            let spread = placement.spread.iter().map(|spread| &spread.pods);
            placement.together.iter().chain(&placement.apart).chain(spread)
        });
        let none = vec![0; nodes.len()];
        for term in asked.collect::<BTreeSet<_>>() {
            rooms.meant.insert(term, none.clone());
            rooms.terms.add(names(term), &term.selector, term);
        }
        for term in pods.iter().flat_map(|pod| &pod.placement.apart).collect::<BTreeSet<_>>() {
            rooms.keepers.insert(term, none.clone());
            rooms.kept_away.add(names(term), &term.selector, term);
        }
        let keys = rooms.meant.keys().chain(rooms.keepers.keys()).map(|term| term.topology_key.as_str());
        for key in keys.collect::<BTreeSet<_>>() {
            rooms.domains.insert(key, numbered(nodes, key));
        }
        for attachment in attachments {
            if let Some(at) = rooms.by_name.get(attachment.node.as_str()) {
                rooms.nodes[*at].attach(&attachment.driver, attachment.volume.as_deref());
            }
        }
        for pod in pods.iter().filter(|pod| !pod.is_finished()) {
            if let Some(at) = pod.node.as_ref().and_then(|name| rooms.by_name.get(name.as_str())).copied() {
                rooms.take(pod, at);
            }
        }
        rooms
    }

    /// Takes the pod off its node; nothing takes its place.
    pub(super) fn ends(&mut self, pod: &'a Pod) {
        // What is not counted is not taken off.
        let at = pod.node.as_ref().filter(|_| pod.runs()).and_then(|name| self.by_name.get(name.as_str()));
        if let Some(at) = at.copied() {
            self.count(pod, at, u32::saturating_sub);
        }
    }

    /// Takes the pod off its node, and puts what takes its place where most is left. The nodes that would take it.
    pub(super) fn moves(&mut self, pod: &'a Pod) -> Result<Vec<&'a Node>, NoRoom> {
        self.ends(pod);
        let (mut would, mut short) = (Vec::new(), NoRoom::default());
        let known = self.known(pod);
        for at in 0..self.nodes.len() {
            let node = self.nodes[at].node;
            if node.name == self.drained || !is_open(pod, node) || !fits(pod, node) {
                continue;
            }
            match self.shortage(pod, at, &known) {
                None => would.push(at),
                Some(shortage) => {
                    short.may_push_out |= shortage.is_room() && self.may_push_out(pod, at);
                    short.add(shortage);
                }
            }
        }
        let Some(best) = would.iter().copied().min_by_key(|at| (self.nodes[*at].share(), *at)) else {
            return Err(short);
        };
        self.take(pod, best);
        let room = &mut self.nodes[best];
        for (driver, volume) in pod.volumes.iter().filter_map(|v| Some((v.driver.as_deref()?, v.volume.as_deref()))) {
            if !room.has_attached(driver, volume) {
                room.attach(driver, volume);
            }
        }
        Ok(would.into_iter().map(|at| self.nodes[at].node).collect())
    }

    fn take(&mut self, pod: &'a Pod, at: usize) {
        let room = &mut self.nodes[at];
        room.taken.add(pod);
        room.by_priority.entry(pod.placement.priority).or_default().add(pod);
        room.ports.extend(&pod.placement.host_ports);
        if pod.deletion.is_none() {
            self.count(pod, at, u32::saturating_add);
        }
    }

    fn count(&mut self, pod: &'a Pod, at: usize, change: fn(u32, u32) -> u32) {
        for term in self.terms.of(pod) {
            if let Some(count) = self.meant.get_mut(term).and_then(|counts| counts.get_mut(at)) {
                *count = change(*count, 1);
            }
        }
        for term in &pod.placement.apart {
            if let Some(count) = self.keepers.get_mut(term).and_then(|counts| counts.get_mut(at)) {
                *count = change(*count, 1);
            }
        }
    }

    /// What is known of other pods, once for all nodes.
    fn known(&self, pod: &'a Pod) -> Known<'a> {
        let placement = &pod.placement;
        let by_domain = |term: &'a PodTerm, counts: Option<&Vec<u32>>, counts_here: &dyn Fn(&Node) -> bool| {
            let mut sums: BTreeMap<usize, u32> = BTreeMap::new();
            let domains = self.domains.get(term.topology_key.as_str()).into_iter().flatten();
            for (at, domain) in domains.enumerate().filter_map(|(at, domain)| Some((at, (*domain)?))) {
                if counts_here(self.nodes[at].node) {
                    *sums.entry(domain).or_default() += counts.and_then(|counts| counts.get(at)).copied().unwrap_or(0);
                }
            }
            (term, sums)
        };
        let meant = |term: &'a PodTerm| by_domain(term, self.meant.get(term), &|_| true);
        let spread = |spread: &'a Spread| {
            let eligible = |node: &Node| {
                // The drained node has the taint of its cordon by then.
                let is_open = || node.name != self.drained && !node.unschedulable || tolerates_cordons(placement);
                let tolerates = || is_open() && !node.taints.iter().any(|taint| is_hard(taint, placement));
                // A node counts for none of them that lacks the label of one.
                let is_labelled = |other: &Spread| node.label(&other.pods.topology_key).is_some();
                placement.spread.iter().all(is_labelled)
                    && (!spread.honours_affinity || of_its_kind(placement, node))
                    && (!spread.honours_taints || tolerates())
            };
            (spread, by_domain(&spread.pods, self.meant.get(&spread.pods), &eligible).1)
        };
        let kept_away = self.kept_away.of(pod).map(|term| by_domain(term, self.keepers.get(term), &|_| true));
        Known {
            together: placement.together.iter().map(meant).collect(),
            apart: placement.apart.iter().map(meant).chain(kept_away).collect(),
            spread: placement.spread.iter().map(spread).collect(),
            own: self.terms.of(pod).copied().collect(),
        }
    }

    /// What the node lacks for the pod just now; the questions in the scheduler's order.
    fn shortage(&self, pod: &Pod, at: usize, known: &Known<'_>) -> Option<Shortage> {
        let (room, placement) = (&self.nodes[at], &pod.placement);
        if let Some(taint) = passing_taint(placement, room.node) {
            return Some(Shortage::Condition(taint.to_owned()));
        }
        let taken = |port: &&HostPort| room.ports.iter().any(|other| other.collides(port));
        if let Some(port) = placement.host_ports.iter().find(taken) {
            return Some(Shortage::Port(port.port));
        }
        if let Some(shortage) = room.lacks(pod, &room.taken) {
            return Some(shortage);
        }
        let drivers: BTreeSet<&str> = pod.volumes.iter().filter_map(|volume| volume.driver.as_deref()).collect();
        for driver in drivers {
            let of_it = pod.volumes.iter().filter(|volume| volume.driver.as_deref() == Some(driver));
            let more = of_it.filter(|volume| !room.has_attached(driver, volume.volume.as_deref())).count();
            let has = room.attached.get(driver).map_or(0, |(count, _)| *count);
            let limit = room.node.attach_limits.get(driver);
            if limit.is_some_and(|limit| more > 0 && u64::from(has) + more as u64 > u64::from(*limit)) {
                return Some(Shortage::Volumes(driver.to_owned()));
            }
        }
        let domain = |key: &str| self.domains.get(key).and_then(|numbers| numbers.get(at).copied().flatten());
        for (spread, counts) in &known.spread {
            let key = &spread.pods.topology_key;
            let short = || Shortage::Spread { key: key.clone(), honours_taints: spread.honours_taints };
            let Some(here) = domain(key).and_then(|domain| counts.get(&domain)) else { return Some(short()) };
            let has_all = counts.len() >= spread.min_domains as usize;
            let least = if has_all { counts.values().min().copied().unwrap_or(0) } else { 0 };
            let one_more = here + u32::from(known.own.contains(&spread.pods));
            if one_more.saturating_sub(least) > spread.max_skew {
                return Some(short());
            }
        }
        let has = |(term, counts): &(&PodTerm, BTreeMap<usize, u32>)| {
            domain(&term.topology_key).and_then(|domain| counts.get(&domain)).is_some_and(|count| *count > 0)
        };
        if known.apart.iter().any(has) {
            return Some(Shortage::Apart);
        }
        // The first of a group that wants to be together may go anywhere.
        let first = known
            .together
            .iter()
            .all(|(term, counts)| counts.values().all(|count| *count == 0) && known.own.contains(term));
        let near = |known: &(&PodTerm, _)| domain(&known.0.topology_key).is_some() && first;
        if !known.together.iter().all(|term| has(term) || near(term)) {
            return Some(Shortage::Together);
        }
        None
    }

    /// Whether the pod would fit if those of a lower priority went.
    fn may_push_out(&self, pod: &Pod, at: usize) -> bool {
        let room = &self.nodes[at];
        let mut stays = Taken::default();
        for taken in room.by_priority.range(pod.placement.priority..).map(|(_, taken)| taken) {
            stays.pods += taken.pods;
            for (name, amount) in &taken.resources {
                let sum = stays.resources.entry(name.clone()).or_default();
                *sum = sum.saturating_add(*amount);
            }
        }
        !pod.placement.never_preempts && room.lacks(pod, &stays).is_none()
    }
}

/// What is known of other pods for one that looks for a node: their number by domain.
struct Known<'a> {
    together: Vec<(&'a PodTerm, BTreeMap<usize, u32>)>,
    apart: Vec<(&'a PodTerm, BTreeMap<usize, u32>)>,
    spread: Vec<(&'a Spread, BTreeMap<usize, u32>)>,
    /// The terms that mean the pod itself.
    own: BTreeSet<&'a PodTerm>,
}

/// The resource by which a node limits how many pods it has.
const PODS: &str = "pods";
/// One, in thousandths.
const ONE: u64 = 1000;

impl<'a> Room<'a> {
    fn attach(&mut self, driver: &'a str, volume: Option<&'a str>) {
        let (count, names) = self.attached.entry(driver).or_default();
        *count = count.saturating_add(1);
        names.extend(volume);
    }

    /// What is lacking with that much taken; nothing where it is not known what the node has.
    fn lacks(&self, pod: &Pod, taken: &Taken) -> Option<Shortage> {
        let has = &self.node.allocatable;
        if has.is_empty() {
            return None;
        }
        if has.get(PODS).is_some_and(|most| (taken.pods + 1).saturating_mul(ONE) > *most) {
            return Some(Shortage::Pods);
        }
        let short = pod.placement.requests.iter().find(|(name, asked)| {
            let taken = taken.resources.get(*name).copied().unwrap_or(0);
            **asked > 0 && taken.saturating_add(**asked) > has.get(*name).copied().unwrap_or(0)
        });
        short.map(|(name, asked)| Shortage::Resource { name: name.clone(), asked: *asked })
    }

    /// How full the node is, in thousandths of its cores and of its memory together, and then by its pods.
    fn share(&self) -> (u64, u64) {
        let part = |name: &str| {
            let (taken, has) = (self.taken.resources.get(name), self.node.allocatable.get(name));
            taken.zip(has).map_or(0, |(taken, has)| taken.saturating_mul(1000) / (*has).max(1))
        };
        (part("cpu").saturating_add(part("memory")), self.taken.pods)
    }

    fn has_attached(&self, driver: &str, volume: Option<&str>) -> bool {
        volume.is_some_and(|volume| self.attached.get(driver).is_some_and(|(_, names)| names.contains(volume)))
    }
}

impl Taken {
    fn add(&mut self, pod: &Pod) {
        self.pods += 1;
        for (name, amount) in &pod.placement.requests {
            let taken = self.resources.entry(name.clone()).or_default();
            *taken = taken.saturating_add(*amount);
        }
    }
}

fn names(term: &PodTerm) -> Option<impl IntoIterator<Item = &str>> {
    term.namespaces.as_ref().map(|names| names.iter().map(String::as_str))
}

/// Which nodes share a domain.
fn numbered<'n>(nodes: &'n [Shared<Node>], key: &str) -> Vec<Option<usize>> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let number = |node: &'n Shared<Node>| {
        let value = node.label(key)?;
        let next = numbers.len();
        Some(*numbers.entry(value).or_insert(next))
    };
    nodes.iter().map(number).collect()
}
