//! What a drain looks at again and again, kept while it runs: nodes, pods and budgets, each by a list and a watch. A
//! look then costs the API server nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kube::Client;
use tokio::sync::{Mutex, Notify};

use super::{Budget, ClusterError, Node, Pod, Shared, Waker, Watch, follow::follow};
use crate::host::followed::{Follow, Followed};

/// How often a watch proves itself: pods leave by what it tells.
const PROOF: Duration = Duration::from_secs(10);
/// The first change is told at once, what follows within this time together, and a budget that opens is still noticed
/// within a second.
const MOMENT: Duration = Duration::from_millis(200);

/// What is told of a cluster.
#[derive(Clone)]
pub(super) struct Kept {
    nodes: Followed<Node>,
    pods: Followed<Pod>,
    budgets: Followed<Budget>,
    /// Notified when something of it is other than before.
    changed: Arc<Notify>,
}

/// A cluster that is kept until this is dropped.
pub(super) struct Keeping {
    pub(super) kept: Kept,
    pub(super) _watch: Watch,
}

impl Drop for Keeping {
    /// What follows it ends a little later, on another thread.
    fn drop(&mut self) {
        self.kept.nodes.forget();
        self.kept.pods.forget();
        self.kept.budgets.forget();
    }
}

impl Kept {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let (nodes, pods, budgets) = (Followed::new(PROOF, now), Followed::new(PROOF, now), Followed::new(PROOF, now));
        Self { nodes, pods, budgets, changed: Arc::new(Notify::new()) }
    }

    /// Follows all of it for ever, and tells of changes.
    pub(super) async fn follow<F>(&self, client: impl Fn() -> F, waker: &Waker)
    where
        F: Future<Output = Result<Client, ClusterError>>,
    {
        let changed = || self.changed.notify_one();
        // They are listed one after the other: a page of a list is the largest thing that is held.
        let turn = Mutex::new(());
        tokio::join!(
            follow(&client, &self.nodes, &turn, changed),
            follow(&client, &self.pods, &turn, changed),
            follow(&client, &self.budgets, &turn, changed),
            tell(&self.changed, waker),
        );
    }

    /// Waits until all of it was listed, or cannot be.
    pub(super) async fn listed(&self) {
        while !(self.nodes.was_tried() && self.pods.was_tried() && self.budgets.was_tried()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Those that are wanted; none where the API server has to be asked.
    pub(super) fn nodes(&self) -> Option<Vec<Shared<Node>>> {
        wanted(&self.nodes, |_| true)
    }

    pub(super) fn pods(&self, is_wanted: impl Fn(&Pod) -> bool) -> Option<Vec<Shared<Pod>>> {
        wanted(&self.pods, is_wanted)
    }

    pub(super) fn budgets(&self) -> Option<Vec<Shared<Budget>>> {
        wanted(&self.budgets, |_| true)
    }
}

fn wanted<T: Follow>(followed: &Followed<T>, is_wanted: impl Fn(&T) -> bool) -> Option<Vec<Shared<T>>> {
    followed.look(Instant::now(), is_wanted).ok().map(|(wanted, _)| wanted)
}

async fn tell(changed: &Notify, waker: &Waker) {
    loop {
        changed.notified().await;
        waker.notify();
        tokio::time::sleep(MOMENT).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        host::kube::read,
        testing::{Allocated, allocated, node},
    };

    const MIB: isize = 1 << 20;

    /// As Deployments make them, with what the API server, the scheduler and the kubelet add.
    fn pod(number: usize) -> Pod {
        let app = format!("app-{}", number / 20);
        let set = format!("{app}-6d4cf56db6");
        let toleration =
            |key: &str| json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 });
        let condition =
            |name: &str| json!({ "type": name, "status": "True", "lastTransitionTime": "2030-01-01T00:00:00Z" });
        let object = json!({
            "metadata": { "name": format!("{set}-{number:05}"), "namespace": "crowd",
                "uid": format!("00000000-0000-4000-8000-{number:012}"), "resourceVersion": number.to_string(),
                "labels": { "app": app, "tier": "front", "pod-template-hash": "6d4cf56db6" },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "controller": true,
                    "uid": format!("00000000-0000-4000-9000-{:012}", number / 20) }] },
            "spec": { "nodeName": format!("node-{}", number % 200), "nodeSelector": { "kubernetes.io/os": "linux" },
                "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler", "priority": 0,
                "tolerations": [toleration("node.kubernetes.io/not-ready"),
                    toleration("node.kubernetes.io/unreachable")],
                "containers": [{ "name": "main", "image": "registry.example/app:1",
                    "resources": { "requests": { "cpu": "10m", "memory": "16Mi" } } }],
                "volumes": [{ "name": "kube-api-access-x", "projected": { "sources": [] } }] },
            "status": { "phase": "Running", "startTime": "2030-01-01T00:00:00Z",
                "conditions": [condition("PodScheduled"), condition("Ready")] },
        });
        read::pod(serde_json::from_value(object).unwrap())
    }

    fn budget(number: usize) -> Budget {
        let object = json!({
            "metadata": { "name": format!("app-{number}"), "namespace": "crowd", "resourceVersion": "1" },
            "spec": { "maxUnavailable": 2, "selector": { "matchLabels": { "app": format!("app-{number}") } } },
            "status": { "currentHealthy": 20, "desiredHealthy": 18, "disruptionsAllowed": 2, "expectedPods": 20 },
        });
        read::budget(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn two_thousand_pods_and_budgets_are_kept_in_little_memory_and_looked_at_without_a_copy() {
        let now = Instant::now();
        let (kept, held) = allocated(|| {
            let kept = Kept::new();
            kept.pods.listed((0..2000).map(|number| kept.pods.hold(pod(number))).collect(), now);
            kept.budgets.listed((0..2000).map(|number| kept.budgets.hold(budget(number))).collect(), now);
            let nodes = (0..200).map(|number| kept.nodes.hold(node(&format!("node-{number}"))));
            kept.nodes.listed(nodes.collect(), now);
            kept
        });
        assert!(held.kept < 3 * MIB, "{held:?}");
        let (looks, look) = allocated(|| (kept.pods(|_| true), kept.budgets(), kept.nodes()));
        assert!(look.most < MIB / 8, "{look:?}");
        assert_eq!(looks.0.as_ref().map(Vec::len), Some(2000));
        drop(looks);
        // What happens to a pod while it leaves, and to the one that takes its place.
        let ((), changed) = allocated(|| {
            for number in 0..2000 {
                kept.pods.changed(Pod { ready: false, ..pod(number) }, now);
                kept.pods.gone(&pod(number), now);
                kept.pods.changed(pod(number + 2000), now);
            }
        });
        assert!(changed.kept < MIB / 4, "{changed:?}");
        let given_back: Allocated = allocated(|| drop(Keeping { kept: kept.clone(), _watch: Watch(Box::new(())) })).1;
        assert!(held.kept + changed.kept + given_back.kept < MIB / 8, "{given_back:?} of {held:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_change_is_told_at_once_and_those_of_the_next_moment_together() {
        let (changed, waker) = (Notify::new(), Waker::default());
        let told = async {
            let mut told = Vec::new();
            // A change every 50 ms for 1.75 s.
            for _ in 0..35 {
                changed.notify_one();
                tokio::time::sleep(Duration::from_millis(50)).await;
                told.push(waker.take());
            }
            told
        };
        let told = tokio::select! {
            told = told => told,
            () = tell(&changed, &waker) => unreachable!("it never ends"),
        };
        assert!(told[0], "at once");
        assert_eq!(told.iter().filter(|told| **told).count(), 9, "{told:?}");
    }
}
