//! The nodes by a list and a watch. The watch begins anew every 30 s from where it was, which costs a request without
//! an answer to read and proves that the API server still tells: a connection that hangs looks like a quiet cluster.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{ListParams, WatchParams},
    core::WatchEvent,
};

use super::{ClusterError, PAGE, error, read};
use crate::host::followed::{Followed, FollowedNode};

/// How long the API server lets a watch run.
const WATCH_SECONDS: u32 = 30;
/// Until its end, and its beginning, must have come; then it hangs.
const PATIENCE: Duration = Duration::from_secs(35);
/// Behind a watch that broke, doubled to the longest while it goes on.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A watch that ends sooner did not run.
const RAN: Duration = Duration::from_secs(5);

/// Follows the nodes for ever; what goes wrong is told and tried again.
pub(super) async fn nodes<F>(client: impl Fn() -> F, followed: Followed)
where
    F: Future<Output = Result<Client, ClusterError>>,
{
    let mut pause = PAUSE;
    loop {
        let began = Instant::now();
        if let Err(error) = follow(&client, &followed).await {
            followed.broke(error.to_string());
        }
        pause = if began.elapsed() > LONGEST_PAUSE { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause).await;
    }
}

/// One list and what follows it, until something is wrong, or the API server has forgotten where the watch was.
async fn follow<F>(client: &impl Fn() -> F, followed: &Followed) -> Result<(), ClusterError>
where
    F: Future<Output = Result<Client, ClusterError>>,
{
    let mut version = within(list(Api::all(client().await?), followed)).await?;
    loop {
        let began = Instant::now();
        // Anew, because credentials and certificates are renewed.
        let api = Api::all(client().await?);
        match watch(&api, version, followed).await? {
            Some(next) => version = next,
            None => return Ok(()),
        }
        if began.elapsed() < RAN {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The version of the list, whose pages are of one moment.
async fn list(api: Api<Node>, followed: &Followed) -> Result<String, ClusterError> {
    let (mut nodes, mut parameters): (Vec<FollowedNode>, _) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&parameters).await.map_err(|e| error(e, "list nodes"))?;
        nodes.extend(page.items.into_iter().map(|node| FollowedNode::from(&read::node(node))));
        match page.metadata.continue_.filter(|more| !more.is_empty()) {
            Some(more) => parameters = parameters.continue_token(&more),
            None => {
                followed.listed(nodes, Instant::now());
                return Ok(page.metadata.resource_version.unwrap_or_default());
            }
        }
    }
}

/// One watch to its end: where the next one begins; none where only a new list helps.
async fn watch(api: &Api<Node>, mut version: String, followed: &Followed) -> Result<Option<String>, ClusterError> {
    let failed = |e| error(e, "watch nodes");
    let parameters = WatchParams::default().timeout(WATCH_SECONDS);
    let begun = within(async { api.watch(&parameters, &version).await.map_err(failed) });
    let mut events = match begun.await {
        Ok(events) => events.boxed(),
        Err(ClusterError::Refused { reason, .. }) if reason.starts_with("410") => return Ok(None),
        Err(error) => return Err(error),
    };
    followed.proved(Instant::now());
    while let Some(event) = within(async { events.try_next().await.map_err(failed) }).await? {
        let now = Instant::now();
        match event {
            WatchEvent::Added(node) | WatchEvent::Modified(node) => {
                version = node.metadata.resource_version.clone().unwrap_or_default();
                followed.changed(FollowedNode::from(&read::node(node)), now);
            }
            WatchEvent::Deleted(node) => {
                version = node.metadata.resource_version.unwrap_or_default();
                followed.gone(&node.metadata.name.unwrap_or_default(), now);
            }
            WatchEvent::Bookmark(mark) => {
                version = mark.metadata.resource_version;
                followed.proved(now);
            }
            WatchEvent::Error(status) if status.code == 410 => return Ok(None),
            WatchEvent::Error(status) => return Err(failed(kube::Error::Api(status))),
        }
    }
    Ok(Some(version))
}

async fn within<T>(call: impl Future<Output = Result<T, ClusterError>>) -> Result<T, ClusterError> {
    let late = |_| ClusterError::Silent(format!("no word of its nodes in {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, call).await.map_err(late)?
}
