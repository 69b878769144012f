//! What a server reads and signs when somebody asks why: whose cordon a node has and since when, what holds a drain,
//! and where a pod can go.

use hostler_plan::{
    document::{NodeState, NodeView, PodView, Prospect, View},
    drain::{NotShown, blockers, outlook},
    form::PodName,
    id::NodeName,
    sequencer::CordonOwner,
    step::{Drain, Step},
    text::{age, and_more},
};

use super::{Known, Proof, Said, Weight, rollout};
use crate::{
    Admin,
    error::Error,
    plan::{self, pods},
};

/// Pods of one node that are named for one reason; the others are counted.
const MAX_NAMED: usize = 5;

/// The signed views of some nodes, asked for just now, and why others are not shown.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    views: Vec<View>,
    not_shown: Vec<NotShown>,
}

impl Fresh {
    pub(super) async fn of(admin: &mut Admin, nodes: &[NodeName]) -> Result<Self, Error> {
        let inventory = plan::inventory(admin).await?;
        let in_cluster = |node: &NodeName| {
            let others = inventory.nodes.get(node).map(|state| state.condition.other_names.as_slice());
            others.and_then(|others| if let [other] = others { Some(other) } else { None }).unwrap_or(node).clone()
        };
        let (views, not_shown) = pods::look(admin, &in_cluster, nodes).await?;
        Ok(Self { views, not_shown })
    }

    /// That what is there now is not known, and why.
    pub(super) fn not_shown(&self) -> Vec<Said> {
        let said = |not_shown: &NotShown| {
            let names: Vec<&str> = not_shown.nodes.iter().map(NodeName::as_str).collect();
            let sentence = format!("what is there now is not shown: {}", not_shown.why);
            Said { weight: Weight::Note, about: names.join(", "), sentence, proof: Proof::Coordinator }
        };
        self.not_shown.iter().map(said).collect()
    }

    /// The node, where a server looked at it.
    pub(super) fn node(&self, name: &NodeName) -> Option<(&View, &NodeView)> {
        let nodes = self.views.iter().flat_map(|view| view.nodes.iter().map(move |node| (view, node)));
        nodes.into_iter().find(|(_, node)| node.node == *name)
    }

    /// How the node is in its cluster, and whose cordon it has.
    pub(super) fn about_node(&self, name: &NodeName) -> Vec<Said> {
        let Some((view, node)) = self.node(name) else { return Vec::new() };
        let say = |weight, sentence| said(view, weight, name.to_string(), sentence);
        let state = match node.state {
            NodeState::Ready => None,
            NodeState::NotReady => Some("is not Ready; look at its kubelet".to_owned()),
            NodeState::Absent => Some("is no node of the cluster".to_owned()),
            NodeState::Silent { since } => Some(format!(
                "has been silent since {since} ({}); check its power",
                age(view.at.since(since).as_secs())
            )),
        };
        let cordon = node.cordon.as_ref().map(|cordon| {
            let ago = cordon.since.map(|since| format!(", {} ago", age(view.at.since(since).as_secs())));
            let next = match cordon.owner() {
                CordonOwner::Hostler => format!("`hostler uncordon {name}` puts it back"),
                CordonOwner::Node => "it takes that back when it is well again".to_owned(),
                CordonOwner::Other(_) => format!(
                    "no plan undoes that; ask them, then `kubectl uncordon {name}`, or take it over with `hostler node \
                     adopt-cordon {name}`"
                ),
            };
            say(Weight::Stands, format!("is cordoned {cordon}{}; {next}", ago.unwrap_or_default()))
        });
        state.map(|state| say(Weight::Trouble, state)).into_iter().chain(cordon).collect()
    }

    /// What holds the drains of a rollout that have not ended.
    pub(super) fn about_drains(&self, known: &Known) -> Vec<Said> {
        let drains = open_drains(known);
        let seen = drains.iter().filter_map(|(node, drain)| Some((self.node(node)?, drain)));
        seen.flat_map(|((view, node), drain)| held(view, node, drain)).collect()
    }

    /// Where a pod is, and what a drain of its node would do with it.
    pub(super) fn about_pod(&self, name: &PodName) -> Vec<Said> {
        let nodes = self.views.iter().flat_map(|view| view.nodes.iter().map(move |node| (view, node)));
        let found = nodes.flat_map(|(view, node)| node.pods.iter().map(move |pod| (view, node, pod)));
        let here = found.into_iter().filter(|(_, _, pod)| pod.pod == *name);
        let told = here.map(|(view, node, pod)| {
            let sentence = format!("is on {}; in a drain of that node: {}", node.node, outlook(pod, view.at));
            said(view, Weight::Note, name.to_string(), sentence)
        });
        told.collect()
    }
}

/// The nodes that a rollout still has to drain, and how.
pub(super) fn open_drains(known: &Known) -> Vec<(NodeName, Drain)> {
    let Ok(plan) = &known.evidence.plan else { return Vec::new() };
    let is_open = |id: String| known.detail.tasks.iter().any(|task| task.id == id && !rollout::is_ended(task.status()));
    let tasks = plan.document().tasks.iter().filter(|task| is_open(task.id.to_string()));
    let steps = tasks.flat_map(|task| task.steps.iter().map(move |step| (&task.subject, step)));
    let drains =
        steps.filter_map(|(node, step)| if let Step::Drain(drain) = step { Some((node, drain)) } else { None });
    drains.map(|(node, drain)| (node.clone(), drain.clone())).collect()
}

/// What holds a drain under its plan, what makes it slow, and who is leaving.
fn held(view: &View, node: &NodeView, drain: &Drain) -> Vec<Said> {
    let name = &node.node;
    let never = blockers(node, &drain.into()).into_iter().map(|held| format!("{} is held: {}", held.pod, held.reason));
    let slow = node.pods.iter().filter_map(|pod| Some(format!("{} is slow: {}", pod.pod, pod.slow()?)));
    let going = node.pods.iter().filter_map(|pod| match &pod.prospect {
        Prospect::Going { until } => Some(format!("{} is stopping; its grace ends at {until}", pod.pod)),
        Prospect::Stays(_) | Prospect::Leaves(_) => None,
    });
    let attached = node
        .attached
        .iter()
        .map(|volume| format!("volume {} is attached, and {} has to detach it", volume.volume, volume.driver));
    let is_empty = !node.pods.iter().any(leaves);
    let mut all = some(view, name, Weight::NeedsPerson, never.collect());
    all.extend(some(view, name, Weight::Waits, slow.collect()));
    all.extend(some(view, name, Weight::Waits, going.collect()));
    // Before that they are in use.
    all.extend(some(view, name, Weight::Waits, attached.filter(|_| is_empty).collect()));
    all
}

fn leaves(pod: &PodView) -> bool {
    match pod.prospect {
        Prospect::Leaves(_) | Prospect::Going { .. } => true,
        Prospect::Stays(_) => false,
    }
}

/// The first few sentences, and how many more there are.
fn some(view: &View, node: &NodeName, weight: Weight, mut sentences: Vec<String>) -> Vec<Said> {
    let more = sentences.len().saturating_sub(MAX_NAMED);
    sentences.truncate(MAX_NAMED);
    if let Some(last) = sentences.last_mut() {
        last.push_str(&and_more(more));
    }
    sentences.into_iter().map(|sentence| said(view, weight, node.to_string(), sentence)).collect()
}

fn said(view: &View, weight: Weight, about: String, sentence: String) -> Said {
    Said { weight, about, sentence, proof: Proof::View { node: view.server.clone(), at: view.at } }
}
