//! What a drain looks at again and again, kept while it runs: nodes, pods and budgets, each by a list and a watch. A
//! look then costs the API server nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kube::Client;
use tokio::sync::Notify;

use super::{Budget, ClusterError, Node, Pod, Waker, Watch, follow::follow};
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
        tokio::join!(
            follow(&client, &self.nodes, changed),
            follow(&client, &self.pods, changed),
            follow(&client, &self.budgets, changed),
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
    pub(super) fn nodes(&self) -> Option<Vec<Node>> {
        wanted(&self.nodes, |_| true)
    }

    pub(super) fn pods(&self, is_wanted: impl Fn(&Pod) -> bool) -> Option<Vec<Pod>> {
        wanted(&self.pods, is_wanted)
    }

    pub(super) fn budgets(&self) -> Option<Vec<Budget>> {
        wanted(&self.budgets, |_| true)
    }
}

fn wanted<T: Follow>(followed: &Followed<T>, is_wanted: impl Fn(&T) -> bool) -> Option<Vec<T>> {
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
    use super::*;

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
