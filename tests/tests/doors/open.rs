//! What is open ends with the right to have it: streams of an admin whose session runs out or whose key is revoked, and
//! of a node that is retired.

use std::time::Duration;

use hostler_plan::{
    document::{PlanKind, RosterStatus},
    id::Digest,
    step::{ClusterRole, StageArtifact, Step},
};
use hostler_proto::v1::{self, rollout_update::Update};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status, Streaming};

use crate::{
    fleet::{Fleet, Running},
    ready::{Ready, Stream, hello, ready_in},
};

/// What nobody has time for in a test is over by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a stream ends.
async fn end<T>(stream: &mut Streaming<T>) -> Status {
    let ending = async {
        loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                Some(Err(status)) => return status,
                None => panic!("it ended without a word"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, ending).await.expect("it ends")
}

async fn stage(change: impl FnOnce(&mut hostler_coordinator::Settings)) -> Ready {
    let coordinator = Running::start_with(tempfile::tempdir().unwrap(), change).await;
    ready_in(Fleet::around(coordinator).await.with_root().await, &["a"]).await
}

/// A rollout that nobody performs, and somebody who watches it.
async fn watched(ready: &Ready) -> Streaming<v1::RolloutUpdate> {
    ready.submit(&ready.signed(&ready.plan(1, &[]))).await.unwrap();
    let mut viewer = ready.fleet.login(&ready.fleet.viewer).await.unwrap();
    let request = viewer.with_session(v1::GetRolloutRequest { rollout: "1".into() });
    let mut watch = viewer.client.watch_rollout(request).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert!(matches!(first.update, Some(Update::Whole(_))));
    watch
}

#[tokio::test]
async fn a_watched_rollout_ends_with_the_session_though_nothing_happens() {
    let ready = stage(|settings| settings.limits.session = Duration::from_secs(3)).await;
    let status = end(&mut watched(&ready).await).await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
}

#[tokio::test]
async fn the_fifth_login_of_a_key_ends_what_its_first_has_open() {
    let ready = stage(|_| {}).await;
    let mut watch = watched(&ready).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(ready.fleet.login(&ready.fleet.viewer).await.unwrap());
    }
    ready.fleet.login(&ready.fleet.operator).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), watch.message()).await.is_err(), "four may be");
    others.push(ready.fleet.login(&ready.fleet.viewer).await.unwrap());
    // Judged before the next message: something changes.
    ready.control(v1::RolloutAction::Pause).await.unwrap();
    let status = end(&mut watch).await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
}

#[tokio::test]
async fn a_download_ends_when_its_node_is_retired() {
    let mut ready = stage(|_| {}).await;
    // More than the connection holds while nobody reads it.
    let bytes = vec![7; 16 << 20];
    let digest = Digest::of(&bytes);
    let mut admin = ready.fleet.login(&ready.fleet.admin).await.unwrap();
    let parts = bytes.chunks(1 << 20).map(|data| v1::UploadArtifactRequest {
        digest: digest.to_string(),
        size: bytes.len() as u64,
        data: data.to_vec(),
    });
    let parts: Vec<_> = parts.collect();
    admin.client.upload_artifact(admin.with_session(tokio_stream::iter(parts))).await.unwrap();
    let mut plan = ready.plan(1, &[]);
    plan.artifacts = vec![hostler_plan::document::Artifact {
        sha256: digest,
        size: bytes.len() as u64,
        name: "large".parse().unwrap(),
        arch: None,
    }];
    plan.kind = PlanKind::Upgrade;
    plan.tasks[0].steps = vec![Step::StageArtifact(StageArtifact { artifact: "large".parse().unwrap() })];
    admin.client.submit_plan(admin.with_session(ready.signed(&plan).into())).await.unwrap();
    let (node, chain) = &ready.nodes[0];
    let _stream = Stream::open(&ready.fleet, node, chain, hello()).await;
    let mut agent = ready.fleet.agent(node, chain).await;
    let request = v1::FetchArtifactRequest { digest: digest.to_string(), offset: 0 };
    let mut download = agent.fetch_artifact(request).await.unwrap().into_inner();
    download.message().await.unwrap().unwrap();
    ready.fleet.approve(&[(&ready.nodes[0].0, ClusterRole::Worker, RosterStatus::Retired)]).await;
    let status = end(&mut download).await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
}
