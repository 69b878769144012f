//! Changes as the API server tells of them. Nothing of an object is kept: whoever is notified looks anew.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::join_all};
use k8s_openapi::api::{core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::{Api, Client, api::WatchParams, core::Resource};
use tokio::sync::Notify;

use super::Waker;

/// More namespaces than these are watched as one: the whole cluster.
const MAX_NAMESPACES: usize = 16;
/// The first change is told at once, what follows within this time together: each costs whoever looks anew three lists,
/// and a budget that opens is still noticed within a second.
const MOMENT: Duration = Duration::from_millis(500);
/// Behind a watch that broke: the look every few seconds goes on without it.
const PAUSE: Duration = Duration::from_secs(2);

/// Notifies of every change of budgets, and of pods in these namespaces; never ends.
pub(super) fn changes(client: Client, namespaces: &BTreeSet<&str>, waker: Waker) -> impl Future<Output = ()> + use<> {
    let pods: Vec<Api<Pod>> = match namespaces.len() {
        0..=MAX_NAMESPACES => namespaces.iter().map(|name| Api::namespaced(client.clone(), name)).collect(),
        _ => vec![Api::all(client.clone())],
    };
    let changed = Arc::new(Notify::new());
    let budgets = follow(Api::<PodDisruptionBudget>::all(client), Arc::clone(&changed));
    let pods: Vec<_> = pods.into_iter().map(|api| follow(api, Arc::clone(&changed))).collect();
    async move {
        tokio::join!(budgets, join_all(pods), tell(&changed, &waker));
    }
}

async fn tell(changed: &Notify, waker: &Waker) {
    loop {
        changed.notified().await;
        waker.notify();
        tokio::time::sleep(MOMENT).await;
    }
}

async fn follow<K>(api: Api<K>, changed: Arc<Notify>)
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    loop {
        // "0" begins with what there is, from the server's cache.
        if let Ok(events) = api.watch_metadata(&WatchParams::default(), "0").await {
            let mut moments = Box::pin(events.ready_chunks(256));
            while let Some(moment) = moments.next().await {
                changed.notify_one();
                if moment.iter().any(Result::is_err) {
                    break;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
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
        assert_eq!(told.iter().filter(|told| **told).count(), 4, "{told:?}");
    }
}
