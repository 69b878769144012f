//! What a drain learns for the next one: how long pods took to stop, and those that took their place to start.

use std::collections::BTreeSet;

use hostler_plan::{
    cluster::{Phase, Pod, Shared},
    drain::Workload,
    timestamp::Timestamp,
};

use super::{remaining::Remaining, state::Drain};

impl Drain<'_> {
    /// Notes who has gone since the last look.
    pub(super) fn learn_who_left(&mut self, remaining: &Remaining, now: Timestamp) {
        let here: BTreeSet<&String> = remaining.judged.iter().map(|(pod, _)| &pod.key.uid).collect();
        let gone: Vec<String> = self.leaving.keys().filter(|uid| !here.contains(uid)).cloned().collect();
        for (workload, since) in gone.iter().filter_map(|uid| self.leaving.remove(uid)) {
            self.learned.stopped(workload, now.since(since), now);
        }
    }

    /// An eviction of the pod was accepted.
    pub(super) fn begin_to_learn(&mut self, pod: &Pod, now: Timestamp) {
        // One that had not begun, or had ended, goes at once.
        if let Some(workload) = Workload::of(pod).filter(|_| pod.phase == Phase::Running) {
            self.leaving.insert(pod.key.uid.clone(), (workload, now));
        }
    }

    /// Notes how long pods of these took to start that were not on the node at first.
    pub(super) fn learn_who_started(&mut self, pods: &[Shared<Pod>], now: Timestamp) {
        let evicted: BTreeSet<Workload> = self.evicted.values().filter_map(|pod| Workload::of(pod)).collect();
        let first = self.at_first.as_ref();
        for pod in pods.iter().filter(|pod| !first.is_some_and(|first| first.uids.contains(&pod.key.uid))) {
            let known = pod.started_in.zip(Workload::of(pod).filter(|workload| evicted.contains(workload)));
            if let Some((took, workload)) = known {
                self.learned.started(workload, took, now);
            }
        }
    }
}
