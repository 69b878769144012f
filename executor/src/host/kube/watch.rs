//! Changes as the API server tells of them. Nothing of an object is kept: whoever is notified looks anew.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt as _, future::join_all};
use k8s_openapi::api::{core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::{Api, Client, api::WatchParams, core::Resource};

use super::Waker;

/// More namespaces than these are watched as one: the whole cluster.
const MAX_NAMESPACES: usize = 16;
/// Changes of one moment are one notification.
const MOMENT: Duration = Duration::from_millis(200);
/// Behind a watch that broke: the look every few seconds goes on without it.
const PAUSE: Duration = Duration::from_secs(2);

/// Notifies of every change of budgets, and of pods in these namespaces; never ends.
pub(super) fn changes(client: Client, namespaces: &BTreeSet<&str>, waker: Waker) -> impl Future<Output = ()> + use<> {
    let pods: Vec<Api<Pod>> = match namespaces.len() {
        0..=MAX_NAMESPACES => namespaces.iter().map(|name| Api::namespaced(client.clone(), name)).collect(),
        _ => vec![Api::all(client.clone())],
    };
    let budgets = follow(Api::<PodDisruptionBudget>::all(client), waker.clone());
    let pods = join_all(pods.into_iter().map(move |api| follow(api, waker.clone())));
    async {
        tokio::join!(budgets, pods);
    }
}

async fn follow<K>(api: Api<K>, waker: Waker)
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    loop {
        // "0" begins with what there is, from the server's cache.
        if let Ok(events) = api.watch_metadata(&WatchParams::default(), "0").await {
            let mut moments = Box::pin(events.ready_chunks(256));
            while let Some(moment) = moments.next().await {
                waker.notify();
                if moment.iter().any(Result::is_err) {
                    break;
                }
                tokio::time::sleep(MOMENT).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
