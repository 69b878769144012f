//! Objects of one kind by a list and a watch. The watch begins anew every few seconds from where it was, which costs a
//! request without an answer to read and proves that the API server still tells: a connection that hangs looks like a
//! quiet cluster.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream::BoxStream};
use k8s_openapi::api::{core::v1 as core, policy::v1 as policy};
use kube::{
    Client, Resource,
    api::{ListParams, WatchParams},
    core::{ObjectList, Request, WatchEvent},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use tokio::sync::Mutex;

use super::{Budget, CALL_LIMIT, ClusterError, FollowedNode, Node, PAGE, Pod, Shared, error, read};
use crate::host::followed::{Follow, Followed};

/// Its end, and its beginning, must have come this long behind its time; then it hangs.
const LATE: Duration = Duration::from_secs(5);
/// Behind a watch that broke, doubled to the longest while it goes on.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A watch that ends sooner did not run.
const RAN: Duration = Duration::from_secs(5);

/// What is kept of an object of the API.
pub(super) trait Read: Follow {
    type Object: Resource<DynamicType = ()> + DeserializeOwned;

    fn read(object: Self::Object) -> Self;
}

/// An object as it comes: of each only what is kept outlives the reading of the next.
#[derive(Clone)]
struct Seen<T> {
    version: String,
    kept: T,
}

impl<'de, T: Read> Deserialize<'de> for Seen<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = T::Object::deserialize(deserializer)?;
        Ok(Self { version: object.meta().resource_version.clone().unwrap_or_default(), kept: T::read(object) })
    }
}

/// Follows them for ever, and tells of what is new; what goes wrong is tried again. Who lists holds `turn`.
pub(super) async fn follow<T: Read, F>(
    client: impl Fn() -> F,
    followed: &Followed<T>,
    turn: &Mutex<()>,
    tell: impl Fn(),
) where
    F: Future<Output = Result<Client, ClusterError>>,
{
    let (mut pause, tell) = (PAUSE, |is_news| {
        if is_news {
            tell()
        }
    });
    loop {
        let began = Instant::now();
        if let Err(error) = list_and_watch(&client, followed, turn, &tell).await {
            tell(followed.broke(error.to_string()));
        }
        pause = if began.elapsed() > LONGEST_PAUSE { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause).await;
    }
}

/// One list and what follows it, until something is wrong, or the API server has forgotten where the watch was.
async fn list_and_watch<T: Read, F>(
    client: &impl Fn() -> F,
    followed: &Followed<T>,
    turn: &Mutex<()>,
    tell: &impl Fn(bool),
) -> Result<(), ClusterError>
where
    F: Future<Output = Result<Client, ClusterError>>,
{
    let (mut version, all) = {
        let _turn = turn.lock().await;
        within::<T, _>(CALL_LIMIT, list(&client().await?, followed)).await?
    };
    tell(followed.listed(all, Instant::now()));
    loop {
        let began = Instant::now();
        // Anew, because credentials and certificates are renewed.
        let client = client().await?;
        match watch(&client, version, followed, tell).await? {
            Some(next) => version = next,
            None => return Ok(()),
        }
        if began.elapsed() < RAN {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// All of them, in pages of one moment, and its version.
async fn list<T: Read>(client: &Client, followed: &Followed<T>) -> Result<(String, Vec<Shared<T>>), ClusterError> {
    let failed = |e| error(e, &format!("list {}", T::WHAT));
    let (mut all, mut parameters) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let asked = requests::<T>().list(&parameters).map_err(|e| failed(kube::Error::BuildRequest(e)))?;
        let page: ObjectList<Seen<T>> = client.request(asked).await.map_err(failed)?;
        all.extend(page.items.into_iter().map(|seen| followed.hold(seen.kept)));
        match page.metadata.continue_.filter(|more| !more.is_empty()) {
            Some(more) => parameters = parameters.continue_token(&more),
            None => return Ok((page.metadata.resource_version.unwrap_or_default(), all)),
        }
    }
}

/// One watch to its end: where the next one begins; none where only a new list helps.
async fn watch<T: Read>(
    client: &Client,
    mut version: String,
    followed: &Followed<T>,
    tell: &impl Fn(bool),
) -> Result<Option<String>, ClusterError> {
    let failed = |e| error(e, &format!("watch {}", T::WHAT));
    let seconds = u32::try_from(followed.proof().as_secs()).unwrap_or(u32::MAX);
    let parameters = WatchParams::default().timeout(seconds);
    let asked = requests::<T>().watch(&parameters, &version).map_err(|e| failed(kube::Error::BuildRequest(e)))?;
    let patience = followed.proof() + LATE;
    let begun = within::<T, _>(patience, async { client.request_events::<Seen<T>>(asked).await.map_err(failed) });
    let mut events = match begun.await {
        Ok(events) => events.boxed(),
        Err(ClusterError::Refused { reason, .. }) if reason.starts_with("410") => return Ok(None),
        Err(error) => return Err(error),
    };
    followed.proved(Instant::now());
    let next = async |events: &mut BoxStream<_>| events.next().await.transpose().map_err(failed);
    while let Some(event) = within::<T, _>(patience, next(&mut events)).await? {
        let now = Instant::now();
        match event {
            WatchEvent::Added(seen) | WatchEvent::Modified(seen) => {
                version = seen.version;
                tell(followed.changed(seen.kept, now));
            }
            WatchEvent::Deleted(seen) => {
                version = seen.version;
                tell(followed.gone(&seen.kept, now));
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

/// Questions about all of a kind.
fn requests<T: Read>() -> Request {
    Request::new(T::Object::url_path(&(), None))
}

async fn within<T: Read, A>(
    patience: Duration,
    call: impl Future<Output = Result<A, ClusterError>>,
) -> Result<A, ClusterError> {
    let late = |_| ClusterError::Silent(format!("no word of its {} in {} s", T::WHAT, patience.as_secs()));
    tokio::time::timeout(patience, call).await.map_err(late)?
}

impl Read for FollowedNode {
    type Object = core::Node;

    fn read(object: core::Node) -> Self {
        FollowedNode::from(&read::node(object))
    }
}

impl Read for Node {
    type Object = core::Node;

    fn read(object: core::Node) -> Self {
        read::node(object)
    }
}

impl Read for Pod {
    type Object = core::Pod;

    fn read(object: core::Pod) -> Self {
        read::pod(object)
    }
}

impl Read for Budget {
    type Object = policy::PodDisruptionBudget;

    fn read(object: policy::PodDisruptionBudget) -> Self {
        read::budget(object)
    }
}
