//! What is open ends with the right to have it: streams of an admin whose session runs out or whose key is revoked, and
//! of a node that is retired.

use std::time::Duration;

use hostler_fixtures::signed;
use hostler_plan::{
    document::{DocumentKind, PlanKind, Root, RosterStatus},
    id::Digest,
    refusal::Refusal,
    step::{ClusterRole, EnsureFile, StageArtifact, Step},
};
use hostler_proto::v1::{self, rollout_update::Update};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status, Streaming};

use crate::{
    fleet::{Fleet, Running, now},
    raw::{calls, unsaid},
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

/// A part of an artifact that has more.
fn part(data: &[u8]) -> v1::UploadArtifactRequest {
    v1::UploadArtifactRequest { digest: Digest::of(b"whole").to_string(), size: 1 << 20, data: data.to_vec() }
}

#[tokio::test]
async fn an_upload_that_pauses_ends_and_one_that_trickles_ends_with_the_session() {
    let ready = stage(|settings| settings.limits.upload_pause = Duration::from_millis(300)).await;
    let mut admin = ready.fleet.login(&ready.fleet.admin).await.unwrap();
    let pauses = tokio_stream::once(part(b"x")).chain(tokio_stream::pending());
    let status = admin.client.upload_artifact(admin.with_session(pauses)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");

    let ready = stage(|settings| settings.limits.session = Duration::from_secs(2)).await;
    let mut admin = ready.fleet.login(&ready.fleet.admin).await.unwrap();
    let trickle = tokio_stream::iter(0..).then(async |_| {
        tokio::time::sleep(Duration::from_millis(50)).await;
        part(b"x")
    });
    let status = admin.client.upload_artifact(admin.with_session(trickle)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
}

#[tokio::test]
async fn a_call_whose_request_never_comes_ends_and_an_upload_has_its_own_time() {
    let ready = stage(|settings| settings.limits.call = Duration::from_millis(300)).await;
    let channel = ready.fleet.admin_channel().await;
    let mut waiting = crate::fleet::Admin::login(channel.clone(), ready.fleet.pin, &ready.fleet.admin).await.unwrap();
    for call in calls().into_iter().filter(|call| call.service == "Admin" && call.method != "UploadArtifact") {
        let status = unsaid(&channel.channel, &call, &waiting.session).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{call}: {status:?}");
    }
    let slowly = tokio_stream::once(part(b"x")).then(async |part| {
        tokio::time::sleep(Duration::from_millis(900)).await;
        part
    });
    let status = waiting.client.upload_artifact(waiting.with_session(slowly)).await.unwrap_err();
    assert_ne!(status.code(), Code::DeadlineExceeded, "{status:?}");
}

#[tokio::test]
async fn an_export_that_nobody_reads_ends_with_its_connection() {
    let ready = stage(|settings| {
        settings.limits.session = Duration::from_secs(2);
        settings.limits.admins.stranger_for = Duration::from_secs(1);
    })
    .await;
    with_long_ledger(&ready).await;
    let channel = ready.fleet.admin_channel().await;
    let mut viewer = crate::fleet::Admin::login(channel, ready.fleet.pin, &ready.fleet.viewer).await.unwrap();
    let request = viewer.with_session(v1::ExportLedgerRequest { from_index: 0 });
    let mut unread = viewer.client.export_ledger(request).await.unwrap().into_inner();
    // What the client's window holds comes all the same; the rest is never sent.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let read = async {
        while unread.message().await?.is_some() {}
        Ok::<(), Status>(())
    };
    tokio::time::timeout(PATIENCE, read).await.expect("it ends").unwrap_err();
}

#[tokio::test]
async fn who_reads_nothing_of_four_exports_gets_no_fifth_and_takes_none_of_others() {
    let ready = stage(|settings| settings.limits.call = Duration::from_secs(2)).await;
    with_long_ledger(&ready).await;
    let mut unread = Vec::new();
    for _ in 0..4 {
        let mut viewer = ready.fleet.login(&ready.fleet.viewer).await.unwrap();
        let request = viewer.with_session(v1::ExportLedgerRequest { from_index: 0 });
        let export = viewer.client.export_ledger(request).await.unwrap().into_inner();
        unread.push((viewer, export));
    }
    let (mut viewer, _export) = unread.pop().unwrap();
    let fifth = viewer.with_session(v1::ProveLedgerRequest { from_index: 0 });
    let status = viewer.client.prove_ledger(fifth).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(!ready.fleet.ledger().await.is_empty(), "another key has places of its own");
    // Who reads to the end makes room.
    let (_reader, mut read) = unread.pop().unwrap();
    while read.message().await.unwrap().is_some() {}
    let next = viewer.with_session(v1::ProveLedgerRequest { from_index: 0 });
    viewer.client.prove_ledger(next).await.unwrap();
}

/// Plans that have together more than a connection holds while nobody reads it.
async fn with_long_ledger(ready: &Ready) {
    let mut prev = None;
    for seq in 1..=24 {
        let mut plan = ready.plan(seq, &[]);
        plan.prev = prev;
        plan.title = format!("{seq}");
        plan.kind = PlanKind::Upgrade;
        let content = "x".repeat(200 << 10);
        let file = EnsureFile { path: "/etc/large".parse().unwrap(), mode: "0644".parse().unwrap(), content };
        plan.tasks[0].steps = vec![Step::EnsureFile(file)];
        let mut admin = ready.fleet.login(&ready.fleet.admin).await.unwrap();
        let plan = ready.signed(&plan);
        prev = Some(plan.digest());
        admin.client.submit_plan(admin.with_session(plan.into())).await.unwrap();
    }
}

#[tokio::test]
async fn under_a_root_that_expires_what_is_open_stays_and_only_stopping_goes_on() {
    let coordinator = Running::start_with(tempfile::tempdir().unwrap(), |_| {}).await;
    let fleet = Fleet::around(coordinator).await.with_root().await;
    let ready = ready_in(fleet, &["a"]).await;
    let (node, chain) = &ready.nodes[0];
    let mut stream = Stream::open(&ready.fleet, node, chain, hello()).await;
    let mut admin = ready.fleet.login(&ready.fleet.admin).await.unwrap();
    let expires = now().plus(Duration::from_secs(4));
    let root = Root { version: 2, created: now(), expires, ..ready.fleet.unsigned_root() };
    let root = signed(DocumentKind::Root, &root, &[&ready.fleet.admin]);
    let request = v1::InstallRootRequest { root: Some(root.into()), setup_code: String::new() };
    admin.client.install_root(admin.with_session(request)).await.unwrap();
    let first = ready.signed(&ready.plan(1, &[]));
    ready.submit(&first).await.unwrap();
    stream.grant().await;
    while now() < expires {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The connections of before: of the admin, and of the node.
    let mut plan = ready.plan(2, &[]);
    plan.prev = Some(first.digest());
    let plan = ready.signed(&plan);
    let status = admin.client.submit_plan(admin.with_session(plan.into())).await.unwrap_err();
    let refused = hostler_proto::status::to_refused(&status);
    assert_eq!(refused.map(|r| r.refusal), Some(Refusal::Expired), "{status:?}");
    admin.client.list_nodes(admin.with_session(v1::Empty {})).await.unwrap();
    let mut stop = ready.plan(3, &[]);
    (stop.kind, stop.tasks, stop.prev) = (PlanKind::Stop, Vec::new(), Some(first.digest()));
    stop.targets.clear();
    let stop = ready.signed(&stop);
    admin.client.submit_plan(admin.with_session(stop.clone().into())).await.unwrap();
    let is_stop = |plan: v1::SignedDocument| (plan.content == stop.bytes).then_some(());
    stream.expect(|m| if let v1::to_agent::Message::Plan(plan) = m { is_stop(plan) } else { None }).await;
}
