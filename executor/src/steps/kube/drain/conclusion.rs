//! What a drain tells of each pod when it ends.

use std::collections::BTreeSet;

use hostler_plan::{
    document::{PodFate, PodReport, Stays},
    drain::{Fate, needs_consent, stopping},
};

use super::state::{Drain, sentence_of};
use crate::{
    drain_history,
    host::{Pod, PodScope, Shared},
    steps::action::{StepContext, StepError},
};

impl Drain<'_> {
    /// Notes what is there at the end: who stays, is left, or whose replacement waits for a node. A server that does
    /// not answer leaves what was noted before.
    pub(super) fn conclude(&mut self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let Ok(round) = self.look(context) else { return Ok(()) };
        let mut reports: Vec<PodReport> = Vec::new();
        for (pod, fate) in &round.remaining.judged {
            let (fate, reason) = match (fate, self.held.get(&pod.key)) {
                (Fate::Stays(Stays::Mirror), _) => (PodFate::Stays, "the kubelet's own".to_owned()),
                (Fate::Stays(Stays::DaemonSet), _) => (PodFate::Stays, "of a DaemonSet".to_owned()),
                (Fate::Stays(Stays::Finalizer(name)), _) => {
                    (PodFate::Stays, format!("stopped; its finalizer {name} keeps the object"))
                }
                (_, Some(held)) => (PodFate::Left, sentence_of(held)),
                (Fate::Going, None) => (PodFate::Left, format!("it {}", stopping(pod, context.now()))),
                (Fate::NeedsConsent(loss), None) => {
                    (PodFate::Left, needs_consent(&pod.key.to_string(), *loss, &self.options))
                }
                (Fate::Evict(_), None) => (PodFate::Left, "its turn did not come".to_owned()),
            };
            reports.push(PodReport { pod: pod.key.to_string(), fate, reason });
        }
        reports.extend(self.waiting_replacements(context));
        drain_history::remember(&context.disk, std::mem::take(&mut self.learned));
        context.note_pods(reports)
    }

    /// For each pod that no node takes, one of its controller's that left. Those that were taken are learned from.
    fn waiting_replacements(&mut self, context: &StepContext<'_>) -> Vec<PodReport> {
        let mut reports = Vec::new();
        let Ok(cluster) = context.cluster() else { return reports };
        let mut left: Vec<Shared<Pod>> = self.evicted.values().filter(|pod| pod.owner.is_some()).cloned().collect();
        let namespaces: BTreeSet<String> = left.iter().map(|pod| pod.key.namespace.clone()).collect();
        for namespace in &namespaces {
            let Ok(pods) = cluster.pods(PodScope::InNamespace(namespace)) else { continue };
            self.learn_who_started(&pods, context.now());
            for (pod, why) in pods.iter().filter_map(|pod| Some((pod, pod.unschedulable.as_ref()?))) {
                let same = |left: &Shared<Pod>| left.key.namespace == *namespace && left.owner == pod.owner;
                let Some(at) = left.iter().position(same) else { continue };
                let gone = left.swap_remove(at).key.to_string();
                let known = context.running.pods.get(&gone).is_some_and(|report| report.fate == PodFate::Down);
                if !known {
                    let reason = format!("{} waits for a node: {why}", pod.key);
                    reports.push(PodReport { pod: gone, fate: PodFate::Pending, reason });
                }
            }
        }
        reports
    }
}
