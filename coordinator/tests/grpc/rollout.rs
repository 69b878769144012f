//! A plan's way through the coordinator: submitted, granted task by task, receipted, halted, paused and refused.

use std::time::Duration;

use hostler_fixtures::{self as made, signed};
use hostler_plan::{
    document::{Decided, DocumentKind, Outcome, Plan, PlanKind, Receipt, Signed},
    entry::Entry,
    id::Digest,
    json,
    refusal::Refusal,
    step::{StageArtifact, Step},
};
use hostler_proto::{
    status::to_refused,
    v1::{self, from_agent, rollout_update::Update, to_agent::Message},
    watched::WatchedRollout,
};
use tonic::Status;

use crate::{
    fleet::now,
    ready::{Stream, hello, ready},
};

fn granted(records: &[hostler_plan::ledger::Record]) -> usize {
    records.iter().filter(|r| matches!(r.entry, Entry::Granted { .. })).count()
}

#[tokio::test]
async fn a_plan_goes_from_node_to_node_with_its_receipts() {
    let ready = ready(&["a", "b"]).await;
    let mut a = Stream::open(&ready.fleet, &ready.nodes[0].0, &ready.nodes[0].1, hello()).await;
    assert!(matches!(a.next().await.unwrap(), Some(Message::Welcome(_))));
    let Some(Message::Trust(trust)) = a.next().await.unwrap() else { panic!("trust comes before work") };
    assert_eq!((trust.roots.len(), trust.roster.is_some()), (1, true));

    let plan = ready.signed(&ready.plan(1, &[]));
    assert!(ready.submit(&plan).await.unwrap().is_new);
    assert!(!ready.submit(&plan).await.unwrap().is_new, "the same plan twice is one plan");
    let Some(Message::Plan(offered)) = a.next().await.unwrap() else { panic!("the plan comes before its grant") };
    assert_eq!(Signed::from(offered), plan, "the exact bytes and signatures");
    let grant = a.grant().await;
    assert_eq!((grant.task.as_str(), grant.receipts.len(), grant.lease_seconds), ("a.check", 0, 60));
    assert_eq!(granted(&ready.fleet.ledger().await), 1, "what was told is in the ledger");

    let progress = v1::Progress {
        plan: grant.plan.clone(),
        task: grant.task.clone(),
        step: 1,
        steps: 2,
        sentence: "does nothing".into(),
    };
    a.send(from_agent::Message::Progress(progress)).await;
    a.send(from_agent::Message::LeaseRenewal(v1::LeaseRenewal {
        plan: grant.plan.clone(),
        task: grant.task.clone(),
        grant: grant.grant,
    }))
    .await;
    let renewed = a.expect(|m| if let Message::LeaseRenewed(r) = m { Some(r) } else { None }).await;
    assert_eq!((renewed.grant, renewed.lease_seconds), (grant.grant, 60));
    let detail = ready.rollout("1").await;
    assert_eq!(
        (detail.tasks[0].status(), detail.tasks[0].sentence.as_str(), detail.tasks[0].step),
        (v1::TaskStatus::Granted, "does nothing", 1)
    );
    assert_eq!(detail.tasks[1].status(), v1::TaskStatus::Waiting);
    assert!(detail.tasks[1].sentence.contains("a.check"), "it says why it waits: {}", detail.tasks[1].sentence);

    let receipt = ready.receipt(0, &grant, 1, None);
    for _ in 0..2 {
        a.send(from_agent::Message::Receipt(receipt.clone().into())).await;
        assert_eq!(a.acknowledged().await, receipt.digest().to_string(), "a receipt sent twice is acknowledged twice");
    }
    let mut b = Stream::open(&ready.fleet, &ready.nodes[1].0, &ready.nodes[1].1, hello()).await;
    let grant = b.grant().await;
    assert_eq!(grant.task, "b.check");
    assert_eq!(Signed::from(grant.receipts[0].clone()), receipt, "with the receipt that it comes after");
    let mut admin = ready.fleet.login(&ready.fleet.viewer).await.unwrap();
    let request = admin.with_session(v1::GetRolloutRequest { rollout: plan.digest().hex()[..8].to_owned() });
    let mut watch = admin.client.watch_rollout(request).await.unwrap().into_inner();
    let mut watched = WatchedRollout::default();
    let seen = watched.merge(watch.message().await.unwrap().unwrap()).unwrap();
    assert_eq!(seen.summary.clone().unwrap().status(), v1::RolloutStatus::Running);
    b.send(from_agent::Message::Receipt(ready.receipt(1, &grant, 1, None).into())).await;
    b.acknowledged().await;
    let mut last = None;
    while let Some(update) = watch.message().await.unwrap() {
        last = Some(watched.merge(update).unwrap().clone());
    }
    let last = last.expect("the watcher is told of the end");
    let summary = last.summary.clone().unwrap();
    assert_eq!((summary.status(), summary.tasks_succeeded), (v1::RolloutStatus::Finished, 2));
    let whole = ready.rollout("1").await;
    assert_eq!(whole.receipts.len(), 2);
    assert_eq!(last, v1::RolloutDetail { receipts: Vec::new(), ..whole }, "a watcher holds what is shown");
}

#[tokio::test]
async fn a_watcher_is_sent_the_whole_once_and_then_the_task_that_changed() {
    let ready = ready(&["a", "b"]).await;
    let mut a = Stream::open(&ready.fleet, &ready.nodes[0].0, &ready.nodes[0].1, hello()).await;
    let plan = ready.signed(&ready.plan(1, &[]));
    ready.submit(&plan).await.unwrap();
    let v1::TaskGrant { plan: digest, task, grant, .. } = a.grant().await;
    let progress = |step| {
        let (plan, task, sentence) = (digest.clone(), task.clone(), "does nothing".to_owned());
        from_agent::Message::Progress(v1::Progress { plan, task, step, steps: 2, sentence })
    };
    a.send(progress(1)).await;
    let renewal = v1::LeaseRenewal { plan: digest.clone(), task: task.clone(), grant };
    a.send(from_agent::Message::LeaseRenewal(renewal)).await;
    a.expect(|m| if let Message::LeaseRenewed(r) = m { Some(r) } else { None }).await;

    let mut admin = ready.fleet.login(&ready.fleet.viewer).await.unwrap();
    let request = admin.with_session(v1::GetRolloutRequest { rollout: "1".into() });
    let mut watch = admin.client.watch_rollout(request).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap().update;
    let Some(Update::Whole(whole)) = first else { panic!("the whole comes first, found {first:?}") };
    assert_eq!(whole.tasks.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["a.check", "b.check"]);
    assert_eq!(whole.plan.clone().map(Signed::from), Some(plan));

    a.send(progress(2)).await;
    let second = watch.message().await.unwrap().unwrap().update;
    let Some(Update::Change(change)) = second else { panic!("the whole comes only once, found {second:?}") };
    assert_eq!(change.tasks, [v1::TaskView { step: 2, ..whole.tasks[0].clone() }]);
    assert_eq!((change.summary, change.waits), (whole.summary, whole.waits));
}

#[tokio::test]
async fn a_restart_in_the_middle_changes_nothing() {
    let mut ready = ready(&["a", "b"]).await;
    let mut a = Stream::open(&ready.fleet, &ready.nodes[0].0, &ready.nodes[0].1, hello()).await;
    let plan = ready.signed(&ready.plan(1, &[]));
    ready.submit(&plan).await.unwrap();
    let grant = a.grant().await;
    ready.fleet.restart(|_| {}).await;

    let running = v1::RunningTask { plan: grant.plan.clone(), task: grant.task.clone(), grant: grant.grant };
    let back = v1::Hello { running: Some(running), root_version: 1, ..hello() };
    let mut a = Stream::open(&ready.fleet, &ready.nodes[0].0, &ready.nodes[0].1, back).await;
    assert_eq!(a.grant().await, grant, "the same grant again, not another");
    assert_eq!(granted(&ready.fleet.ledger().await), 1);
    let receipt = ready.receipt(0, &grant, 1, None);
    a.send(from_agent::Message::Receipt(receipt.clone().into())).await;
    a.acknowledged().await;
    ready.fleet.restart(|_| {}).await;
    let mut b = Stream::open(&ready.fleet, &ready.nodes[1].0, &ready.nodes[1].1, hello()).await;
    let grant = b.grant().await;
    assert_eq!(Signed::from(grant.receipts[0].clone()), receipt);
}

#[tokio::test]
async fn plans_that_do_not_count_are_refused_by_name() {
    let ready = ready(&["a"]).await;
    let refusal = |result: Result<v1::DocumentReply, Status>| to_refused(&result.unwrap_err()).unwrap().refusal;
    let good = ready.plan(5, &[]);
    let whole = ready.signed(&good);
    let mut flipped = whole.clone();
    let at = flipped.bytes.len() / 2;
    flipped.bytes[at] ^= 1;
    assert_eq!(refusal(ready.submit(&flipped).await), Refusal::BadSignature);
    let mut longer = whole.clone();
    longer.bytes.push(b'\n');
    assert_eq!(refusal(ready.submit(&longer).await), Refusal::BadSignature);
    let stranger = signed(DocumentKind::Plan, &good, &[&made::fresh_key()]);
    assert_eq!(refusal(ready.submit(&stranger).await), Refusal::BadSignature);
    let viewer = signed(DocumentKind::Plan, &good, &[&ready.fleet.viewer]);
    assert_eq!(refusal(ready.submit(&viewer).await), Refusal::NotAllowed);
    let mut huge = whole.clone();
    huge.bytes.resize(DocumentKind::Plan.max_bytes() + 1, b' ');
    assert_eq!(refusal(ready.submit(&huge).await), Refusal::Malformed);
    let late = Plan {
        created: now(),
        not_before: now(),
        expires: now().plus(Duration::from_secs(30 * 86_400)),
        ..good.clone()
    };
    assert_eq!(refusal(ready.submit(&ready.signed(&late)).await), Refusal::Expired);
    let upgrade = Plan { kind: PlanKind::Upgrade, ..good.clone() };
    assert_eq!(refusal(ready.submit(&ready.signed(&upgrade)).await), Refusal::NotAllowed, "an operator's session");
    let enormous = v1::SignedDocument { content: vec![b' '; 3 << 20], signatures: Vec::new() };
    let mut admin = ready.fleet.login(&ready.fleet.admin).await.unwrap();
    let request = admin.with_session(enormous);
    assert!(admin.client.submit_plan(request).await.is_err(), "beyond the wire's limit");

    ready.submit(&whole).await.unwrap();
    let same = Plan { title: "another".into(), ..good.clone() };
    for overtaken in [same, ready.plan(4, &[])] {
        let reply = ready.submit(&ready.signed(&overtaken)).await.unwrap();
        let winner = reply.overtaken_by.map(Signed::from).unwrap();
        assert_eq!((reply.is_new, winner.digest()), (false, whole.digest()));
    }
    let lower = Plan { prev: Some(whole.digest()), ..ready.plan(4, &[]) };
    assert_eq!(refusal(ready.submit(&ready.signed(&lower)).await), Refusal::Replay);
    let plans = ready
        .fleet
        .ledger()
        .await
        .into_iter()
        .filter(|r| matches!(r.entry, Entry::Document { kind: DocumentKind::Plan, .. }));
    assert_eq!(plans.count(), 1, "a refused plan leaves nothing");
}

#[tokio::test]
async fn receipts_that_do_not_count_are_not_acknowledged() {
    let ready = ready(&["a", "b"]).await;
    let mut a = Stream::open(&ready.fleet, &ready.nodes[0].0, &ready.nodes[0].1, hello()).await;
    ready.submit(&ready.signed(&ready.plan(1, &[]))).await.unwrap();
    let grant = a.grant().await;
    let b = Stream::open(&ready.fleet, &ready.nodes[1].0, &ready.nodes[1].1, hello()).await;
    // b hands in what a signed, and a hands in what b signed in a's name.
    let good = ready.receipt(0, &grant, 1, None);
    b.send(from_agent::Message::Receipt(good.clone().into())).await;
    let parsed: Receipt = json::parse(&good.bytes).unwrap();
    let forged = signed(DocumentKind::Receipt, &parsed, &[&ready.nodes[1].0.key]);
    a.send(from_agent::Message::Receipt(forged.into())).await;
    a.send(from_agent::Message::Receipt(good.clone().into())).await;
    assert_eq!(a.acknowledged().await, good.digest().to_string());
    // The same number with other content: the key lives twice.
    let twin = ready.receipt_with(0, &grant, 1, None, Outcome::Failed { reason: "no".into() });
    a.send(from_agent::Message::Receipt(twin.into())).await;
    a.send(from_agent::Message::Receipt(good.clone().into())).await;
    a.acknowledged().await;
    // What came on b's stream may be judged after it.
    let alarms = |records: &[hostler_plan::ledger::Record]| {
        records.iter().filter(|r| matches!(r.entry, Entry::Alarm { .. })).count()
    };
    let wait = async {
        loop {
            match ready.fleet.ledger().await {
                records if alarms(&records) >= 2 => break records,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let records = tokio::time::timeout(Duration::from_secs(60), wait).await.expect("both are alarms");
    assert_eq!(alarms(&records), 2, "somebody else's receipt and the twin");
    let receipts = records.iter().filter(|r| matches!(r.entry, Entry::Document { kind: DocumentKind::Receipt, .. }));
    assert_eq!(receipts.count(), 1);
}

#[tokio::test]
async fn a_failure_stops_the_rollout_and_tells_the_node() {
    let ready = ready(&["a", "b"]).await;
    let mut a = Stream::open(&ready.fleet, &ready.nodes[0].0, &ready.nodes[0].1, hello()).await;
    ready.submit(&ready.signed(&ready.plan(1, &[]))).await.unwrap();
    let grant = a.grant().await;
    let failed = ready.receipt_with(0, &grant, 1, None, Outcome::Failed { reason: "it broke".into() });
    a.send(from_agent::Message::Receipt(failed.into())).await;
    let stop = a.expect(|m| if let Message::Stop(s) = m { Some(s) } else { None }).await;
    assert!(stop.reason.contains("it broke"), "{}", stop.reason);
    let detail = ready.rollout("1").await;
    let summary = detail.summary.unwrap();
    assert_eq!(summary.status(), v1::RolloutStatus::Halted);
    assert!(summary.reason.contains("it broke"));
    assert_eq!(detail.tasks[1].status(), v1::TaskStatus::Never);
    assert!(ready.control(v1::RolloutAction::Resume).await.is_err(), "going on is a new signed plan");
}

#[tokio::test]
async fn a_paused_rollout_grants_nothing_until_resumed() {
    let ready = ready(&["a"]).await;
    let plan = ready.signed(&ready.plan(1, &[]));
    ready.submit(&plan).await.unwrap();
    ready.control(v1::RolloutAction::Pause).await.unwrap();
    assert!(ready.control(99).await.is_err(), "an action that nobody knows");
    let mut a = Stream::open(&ready.fleet, &ready.nodes[0].0, &ready.nodes[0].1, hello()).await;
    a.expect(|m| if let Message::Plan(_) = m { Some(()) } else { None }).await;
    let detail = ready.rollout("1").await;
    assert_eq!(detail.summary.unwrap().status(), v1::RolloutStatus::Paused);
    assert!(detail.waits.iter().any(|w| w.sentence.contains("otto")), "{:?}", detail.waits);
    assert_eq!(granted(&ready.fleet.ledger().await), 0);
    assert!(ready.control(v1::RolloutAction::Resume).await.is_err(), "nothing goes on without a signature");
    let resumed = ready.decide(Decided::Resume { plan: plan.digest() }).await.unwrap();
    assert!(resumed.is_new);
    let again = ready.decide(Decided::Resume { plan: plan.digest() }).await;
    assert!(again.is_err() || again.is_ok_and(|taken| !taken.is_new), "it counts once");
    a.grant().await;
}

#[tokio::test]
async fn refusals_of_nodes_are_kept_and_shown() {
    let ready = ready(&["a"]).await;
    let mut a = Stream::open(&ready.fleet, &ready.nodes[0].0, &ready.nodes[0].1, hello()).await;
    let report = v1::RefusalReport {
        document: Digest::of(b"x").to_string(),
        refusal: v1::Refusal::Replay.into(),
        reason: "an old plan".into(),
    };
    for _ in 0..30 {
        a.send(from_agent::Message::Refusal(report.clone())).await;
    }
    // Once this is answered, everything before it was.
    ready.submit(&ready.signed(&ready.plan(1, &[]))).await.unwrap();
    let grant = a.grant().await;
    a.send(from_agent::Message::Receipt(ready.receipt(0, &grant, 1, None).into())).await;
    a.acknowledged().await;
    let written =
        ready.fleet.ledger().await.into_iter().filter(|r| matches!(r.entry, Entry::NodeRefused { .. })).count();
    assert_eq!(written, 20, "a node does not fill the disk");
    let mut admin = ready.fleet.login(&ready.fleet.viewer).await.unwrap();
    let request = admin.with_session(v1::GetNodeRequest { name: "a".into() });
    let node = admin.client.get_node(request).await.unwrap().into_inner();
    assert_eq!(node.refusals[0].refusal(), v1::Refusal::Replay);
    assert!(node.summary.unwrap().connected);
}

#[tokio::test]
async fn a_second_stream_replaces_the_first_and_facts_are_shown() {
    let ready = ready(&["a"]).await;
    let mut first = Stream::open(&ready.fleet, &ready.nodes[0].0, &ready.nodes[0].1, hello()).await;
    first.expect(|m| if let Message::Trust(_) = m { Some(()) } else { None }).await;
    let mut second = Stream::open(&ready.fleet, &ready.nodes[0].0, &ready.nodes[0].1, hello()).await;
    second.expect(|m| if let Message::Trust(_) = m { Some(()) } else { None }).await;
    while let Ok(Some(_)) = first.next().await {}
    let series =
        |id, name: &str, value| v1::NewSeries { id, name: name.into(), labels: Vec::new(), value: Some(value) };
    let facts = v1::FactsDelta {
        taken_at: now().unix_milliseconds(),
        added: vec![series(0, "node_memory_MemTotal_bytes", 8e9), series(1, "node_memory_MemAvailable_bytes", 4e9)],
        ..v1::FactsDelta::default()
    };
    second.send(from_agent::Message::Facts(facts)).await;
    let grown = vec![v1::Growth { places: 0, gaps: vec![1], units: vec![-2_000_000_000] }];
    let changed = v1::FactsDelta { grown, ..v1::FactsDelta::default() };
    second.send(from_agent::Message::Facts(changed)).await;
    second.send(from_agent::Message::Conditions(v1::NodeConditions::default())).await;
    let mut admin = ready.fleet.login(&ready.fleet.viewer).await.unwrap();
    for _ in 0..500 {
        let request = admin.with_session(v1::Empty {});
        let nodes = admin.client.list_nodes(request).await.unwrap().into_inner().nodes;
        assert_eq!((nodes.len(), nodes[0].status(), nodes[0].connected), (1, v1::NodeStatus::Active, true));
        if nodes[0].memory_used_ratio == Some(0.75) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the facts never arrived");
}

#[tokio::test]
async fn artifacts_are_served_by_content_from_any_offset() {
    let ready = ready(&["a"]).await;
    let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = Digest::of(&content);
    let mut admin = ready.fleet.login(&ready.fleet.admin).await.unwrap();
    let upload = |content: Vec<u8>| {
        let mut parts: Vec<v1::UploadArtifactRequest> = content
            .chunks(64 << 10)
            .map(|c| v1::UploadArtifactRequest { data: c.to_vec(), ..Default::default() })
            .collect();
        (parts[0].digest, parts[0].size) = (digest.to_string(), 800_000);
        tokio_stream::iter(parts)
    };
    let mut wrong = content.clone();
    wrong[7] ^= 1;
    let request = admin.with_session(upload(wrong));
    assert!(admin.client.upload_artifact(request).await.is_err());
    let stage = Step::StageArtifact(StageArtifact { artifact: "k3s".parse().unwrap() });
    let mut plan = ready.plan(1, &[]);
    plan.kind = PlanKind::Upgrade;
    plan.tasks[0].steps = vec![stage];
    plan.artifacts = vec![hostler_plan::document::Artifact {
        name: "k3s".parse().unwrap(),
        sha256: digest,
        size: 800_000,
        arch: None,
    }];
    let plan = ready.signed(&plan);
    let request = admin.with_session(plan.clone().into());
    let missing = to_refused(&admin.client.submit_plan(request).await.unwrap_err()).unwrap();
    assert_eq!(missing.refusal, Refusal::DigestMismatch);
    let request = admin.with_session(upload(content.clone()));
    admin.client.upload_artifact(request).await.unwrap();
    let mut agent = ready.fleet.agent(&ready.nodes[0].0, &ready.nodes[0].1).await;
    let fetch = |offset| v1::FetchArtifactRequest { digest: digest.to_string(), offset };
    assert!(agent.fetch_artifact(fetch(0)).await.is_err(), "no plan names it yet");
    let request = admin.with_session(plan.into());
    admin.client.submit_plan(request).await.unwrap();
    for offset in [0, 1, 799_999, 800_000] {
        let mut chunks = agent.fetch_artifact(fetch(offset)).await.unwrap().into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.message().await.unwrap() {
            bytes.extend(chunk.data);
        }
        assert_eq!(bytes, content[offset as usize..]);
    }
    assert!(agent.fetch_artifact(fetch(800_001)).await.is_err());
}

#[tokio::test]
async fn eight_nodes_are_through_a_check_at_once() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let ready = ready(&names).await;
    let mut plan = ready.plan(1, &[]);
    for task in &mut plan.tasks {
        task.after.clear();
    }
    let plan = ready.signed(&plan);
    let mut streams = Vec::new();
    for (node, chain) in &ready.nodes {
        let mut stream = Stream::open(&ready.fleet, node, chain, hello()).await;
        stream.expect(|m| if let Message::Trust(_) = m { Some(()) } else { None }).await;
        streams.push(stream);
    }
    let mut admin = ready.fleet.login(&ready.fleet.operator).await.unwrap();
    let request = admin.with_session(plan.into());
    let began = std::time::Instant::now();
    admin.client.submit_plan(request).await.unwrap();
    let ready = &ready;
    let through = streams.iter_mut().enumerate().map(|(i, stream)| async move {
        let grant = stream.grant().await;
        let receipt = ready.receipt(i, &grant, 1, None);
        stream.send(from_agent::Message::Receipt(receipt.into())).await;
        stream.acknowledged().await;
    });
    futures_util::future::join_all(through).await;
    println!("submit to eight acknowledgements: {:?}", began.elapsed());
    let detail = ready.rollout("1").await;
    assert_eq!(detail.summary.unwrap().status(), v1::RolloutStatus::Finished);
}
