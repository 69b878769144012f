//! What a drain still has to take away: one answer for its check, its loop and its verification.

use std::collections::{BTreeMap, BTreeSet};

use hostler_plan::drain::{Fate, Options, evaluate, still_attached};

use crate::host::{Attachment, Cluster, ClusterError, Controller, Owner, Pod, PodKey, PodScope, Shared};

/// What is on the node now, whatever was remembered of it.
pub(super) struct Remaining {
    /// Every pod of the node, and what becomes of it.
    pub judged: Vec<(Shared<Pod>, Fate)>,
    /// Volumes that are attached for pods that have left, asked once no pod is left. They hold replacements back.
    pub attached: Vec<Attachment>,
}

impl Remaining {
    pub(super) fn look(node: &str, options: &Options<'_>, cluster: &dyn Cluster) -> Result<Self, ClusterError> {
        let mut remaining = Self::judge(node, options, cluster)?;
        if remaining.left().next().is_none() {
            let (all, pods) = (cluster.attachments()?, remaining.judged.iter().map(|(pod, _)| pod.as_ref()));
            remaining.attached = still_attached(node, &all, pods).cloned().collect();
        }
        Ok(remaining)
    }

    /// The pods alone.
    pub(super) fn judge(node: &str, options: &Options<'_>, cluster: &dyn Cluster) -> Result<Self, ClusterError> {
        let pods = cluster.pods(PodScope::OnNode(node))?;
        let judged = pods.into_iter().map(|pod| (evaluate(&pod, None, options), pod)).map(|(fate, pod)| (pod, fate));
        Ok(Self { judged: judged.collect(), attached: Vec::new() })
    }

    /// Asks what stands above the controllers of pods whose owners the plan may have a consent for; `above` is what is
    /// known of it.
    pub(super) fn ask_owners(
        &mut self,
        above: &mut BTreeMap<(String, Owner), Controller>,
        options: &Options<'_>,
        cluster: &dyn Cluster,
    ) -> Result<(), ClusterError> {
        if options.consents.is_empty() {
            return Ok(());
        }
        let asks = self.judged.iter().filter(|(_, fate)| matches!(fate, Fate::NeedsConsent(_)));
        let owners: BTreeSet<(String, Owner)> = asks.filter_map(|(pod, _)| pod.owner_id()).collect();
        let unknown: BTreeSet<_> = owners.iter().filter(|owner| !above.contains_key(owner)).cloned().collect();
        if !unknown.is_empty() {
            above.append(&mut cluster.controllers(&unknown)?);
        }
        for (pod, fate) in &mut self.judged {
            if let Some(known) = pod.owner_id().and_then(|owner| above.get(&owner)) {
                *fate = evaluate(pod, Some(known), options);
            }
        }
        Ok(())
    }

    /// These are going, also where what was seen does not show it yet.
    pub(super) fn have_gone(&mut self, going: &BTreeSet<PodKey>) {
        for (_, fate) in self.judged.iter_mut().filter(|(pod, fate)| going.contains(&pod.key) && fate.is_left()) {
            *fate = Fate::Going;
        }
    }

    /// The pods without which the node would be drained.
    pub(super) fn left(&self) -> impl Iterator<Item = &(Shared<Pod>, Fate)> {
        self.judged.iter().filter(|(_, fate)| fate.is_left())
    }

    /// Whether the node is drained, but for its cordon.
    pub(super) fn is_nothing(&self) -> bool {
        self.left().next().is_none() && self.attached.is_empty()
    }
}
