//! The scheduler of the simulated cluster: which nodes would take a pod is judged as drains judge it, by
//! [`hostler_plan::drain::takers`].

use hostler_plan::drain::{Look, takers};

use super::{
    Millis, PodKey, api,
    cluster::{Cluster, POD_START, PodState},
};

impl Cluster {
    /// Puts pending pods on the emptiest node that takes them, spread by workload.
    pub(super) fn schedule(&mut self, now: Millis) {
        let pending: Vec<PodKey> =
            self.pods.iter().filter(|(_, p)| p.state == PodState::Pending).map(|(key, _)| key.clone()).collect();
        if pending.is_empty() {
            return;
        }
        let mut look = self.look();
        for key in pending {
            let Some(pod) = self.pods.get(&key) else { continue };
            let Some(at) = look.pods.iter().position(|seen| seen.key.uid == pod.uid) else { continue };
            // A volume that is still attached elsewhere cannot follow yet.
            let held = pod.volume.as_ref().and_then(|name| self.volumes.get(name)?.attached.clone());
            let takers = takers(&look.pods[at], &look).into_iter().map(|node| node.name.as_str());
            let best = takers
                .filter(|taker| held.as_ref().is_none_or(|(node, _)| node.as_str() == *taker))
                .filter_map(|taker| self.nodes.keys().find(|name| name.as_str() == taker))
                .min_by_key(|name| {
                    let same = self.pods_on(name).filter(|(_, p)| p.owner == pod.owner).count();
                    (same, self.pods_on(name).count(), (*name).clone())
                });
            let Some(node) = best.cloned() else { continue };
            look.pods[at].node = Some(node.to_string());
            if let Some(volume) = pod.volume.clone() {
                look.attachments.push(api::attachment(&node, &volume));
                self.attach(volume, &node, now);
            }
            if let Some(pod) = self.pods.get_mut(&key) {
                pod.node = Some(node);
                pod.state = PodState::Starting { until: now + POD_START };
            }
        }
    }

    /// What the scheduler sees.
    fn look(&self) -> Look {
        let attached = self.volumes.iter().filter_map(|(name, volume)| Some((&volume.attached.as_ref()?.0, name)));
        Look {
            nodes: self.nodes.iter().map(|(name, node)| api::node(name.as_str(), node).into()).collect(),
            pods: self.pods.iter().map(|(key, pod)| api::pod(&key.namespace, &key.name, pod).into()).collect(),
            attachments: attached.map(|(node, volume)| api::attachment(node, volume)).collect(),
            ..Look::default()
        }
    }
}
