//! What a drain would do with each pod of a node, whatever a plan allows.

use super::{Fate, Look, NoPlace, Options, blockers, evaluate, fits_nowhere};
use crate::{
    cluster::{NodeReady, Pod},
    document::{
        Blocker, Leaving, LeftOut, MAX_PLACES, Never, NodeCordon, NodeState, NodeView, Place, PodView, Prospect, Stays,
        Turn,
    },
    form::{ClusterName, Reason},
    id::NodeName,
    step::{EmptyDirs, Loss, TopOwner},
};

/// What nothing is lost by is allowed.
const ALLOWED: Options<'static> =
    Options { delete_empty_dir_data: EmptyDirs::All, force_unmanaged: true, evict_anyway: &[] };

/// The node as a drain would find it. A pod whose name or UID is none, which no API server gives, is counted only.
pub fn view_of(node: &NodeName, look: &Look) -> NodeView {
    let found = look.nodes.iter().find(|found| found.name == node.as_str());
    let state = match found.map(|node| node.ready) {
        None => NodeState::Absent,
        Some(NodeReady::Ready) => NodeState::Ready,
        Some(NodeReady::NotReady) => NodeState::NotReady,
        Some(NodeReady::Unknown { since }) => NodeState::Silent { since },
    };
    let cordon = found.and_then(|node| {
        let by = ClusterName::of(node.cordoned_by()?.name());
        Some(NodeCordon { by, reason: node.cordon.as_ref().map(|note| Reason::of(&note.reason)) })
    });
    let never = blockers(look, &ALLOWED);
    let pods: Vec<PodView> = look.pods.iter().filter_map(|pod| pod_view(pod, look, &never)).collect();
    let lost = u32::try_from(look.pods.len() - pods.len()).unwrap_or(u32::MAX);
    let left_out = LeftOut { pods: lost, deciding: lost };
    NodeView { node: node.clone(), state, cordon, pods, left_out, attached: Vec::new(), expected: None }
}

fn pod_view(pod: &Pod, look: &Look, never: &[Blocker]) -> Option<PodView> {
    let name = pod.key.to_string();
    let (prospect, turn) = match evaluate(pod, &ALLOWED) {
        Fate::Stays if pod.mirror => (Prospect::Stays(Stays::Mirror), Turn::Ordinary),
        Fate::Stays => (Prospect::Stays(Stays::DaemonSet), Turn::Ordinary),
        Fate::Finalizer(name) => (Prospect::Stays(Stays::Finalizer(ClusterName::of(&name))), Turn::Ordinary),
        Fate::Going | Fate::NeedsConsent(_) => {
            let until = pod.deletion.map_or(crate::timestamp::Timestamp::from_unix_seconds(0), |d| d.ends);
            (Prospect::Going { until: until.whole_seconds() }, Turn::Ordinary)
        }
        Fate::Evict(turn) => {
            let never = never.iter().find(|blocker| blocker.pod == name).map(|blocker| Never {
                budget: blocker.budget.as_deref().map(ClusterName::of),
                reason: Reason::of(&blocker.reason),
            });
            let turn = match turn {
                super::Turn::Ordinary => Turn::Ordinary,
                super::Turn::SystemCritical => Turn::SystemCritical,
                super::Turn::Storage => Turn::Storage,
            };
            (Prospect::Leaves(Leaving { loses: loses(pod), never, place: place(pod, look), slow: None }), turn)
        }
    };
    Some(PodView {
        pod: name.parse().ok()?,
        uid: pod.key.uid.parse().ok()?,
        owner: pod
            .owner
            .as_ref()
            .map(|owner| TopOwner { kind: ClusterName::of(&owner.kind), name: ClusterName::of(&owner.name) }),
        grace_seconds: pod.grace.as_secs(),
        turn,
        prospect,
    })
}

fn loses(pod: &Pod) -> Vec<Loss> {
    let lost = [
        (pod.empty_dirs.disk, Loss::EmptyDirDisk),
        (pod.empty_dirs.memory, Loss::EmptyDirMemory),
        (pod.owner.is_none(), Loss::Unmanaged),
    ];
    lost.into_iter().filter(|(is, _)| *is && !pod.is_finished()).map(|(_, loss)| loss).collect()
}

fn place(pod: &Pod, look: &Look) -> Place {
    if pod.is_finished() || pod.owner.is_none() {
        return Place::NotNeeded;
    }
    if pod.placement.foreign_scheduler {
        return Place::Unknown(Reason::of("another scheduler than the cluster's own decides"));
    }
    if let Some(nowhere) = fits_nowhere(pod, &look.nodes, &look.node) {
        return Place::Nowhere(Reason::of(&format!("{nowhere}. {}", NoPlace::advice(&nowhere))));
    }
    let others = look.nodes.iter().filter(|node| node.name != look.node && !node.unschedulable);
    let others: Vec<NodeName> = others.filter_map(|node| node.name.parse().ok()).collect();
    let count = u32::try_from(others.len()).unwrap_or(u32::MAX);
    Place::Elsewhere { count, such_as: others.into_iter().take(MAX_PLACES).collect() }
}
