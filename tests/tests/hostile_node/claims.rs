//! Modes with what a node says that it holds and does: a word of it is no admin's.

use hostler_fixtures::{self as made, name};
use hostler_plan::{
    document::{DocumentKind, DocumentRef, Holding, Plan, PlanRef, Signed},
    id::{Digest, Epoch, FleetId, Seq},
    json,
    ledger::Head,
};
use hostler_proto::v1::{self, from_agent::Message as Up};

use crate::{
    ready::hello,
    scene::{Mode, Played, Scene, mode, noted, tell},
};

/// What the thief truly holds, changed, and signed by it.
fn holding(scene: &Scene, change: impl FnOnce(&mut Holding)) -> Signed {
    let plan: Plan = json::parse(&scene.plan.bytes).unwrap();
    let root = scene.ready.fleet.unsigned_root();
    let mut holding = made::holding(&root, &scene.ready.roster, "a", &[&plan]);
    change(&mut holding);
    made::signed(DocumentKind::Holding, &holding, &[&scene.thief().key])
}

/// Says it, and waits until it was heard.
async fn say(scene: &Scene, holding: Signed) -> Result<(), String> {
    let (mut stream, grant) = scene.granted().await;
    stream.send(Up::Holding(holding.into())).await;
    Scene::settle(&mut stream, &grant).await
}

/// An alarm that names the node, and nothing else.
async fn alarmed(scene: &Scene, says: &str, change: impl FnOnce(&mut Holding)) -> Result<String, String> {
    say(scene, holding(scene, change)).await?;
    scene.alarm(says).await
}

/// The coordinator still shows what the node truly said before.
async fn not_taken(scene: &Scene, said: Signed) -> Result<String, String> {
    say(scene, said.clone()).await?;
    let mut admin = scene.ready.fleet.login(&scene.ready.fleet.viewer).await.unwrap();
    let shown = admin.client.list_holdings(admin.with_session(v1::Empty {})).await.unwrap().into_inner().nodes;
    match shown.into_iter().any(|node| node.holding.is_some_and(|held| held.content == said.bytes)) {
        true => Err("it was taken".to_owned()),
        false => Ok("not taken".to_owned()),
    }
}

fn alarm(name: &'static str, rule: &'static str, play: for<'a> fn(&'a mut Scene) -> Played<'a>) -> Mode {
    noted(4, mode(name, rule, play))
}

pub(crate) fn modes() -> Vec<Mode> {
    [newer(), forged(), work()].into_iter().flatten().collect()
}

fn newer() -> Vec<Mode> {
    const RULE: &str = "a node's claim is an alarm, never a stop";
    vec![
        alarm("a newer root held", RULE, |s| {
            let root = DocumentRef { version: 9, digest: Digest::of(b"nine") };
            Box::pin(async move { alarmed(s, "a signed that it holds root 9", |h| h.holds.root = root).await })
        }),
        alarm("a newer roster held", RULE, |s| {
            let roster = Some(DocumentRef { version: 9, digest: Digest::of(b"nine") });
            Box::pin(async move { alarmed(s, "a signed that it holds roster 9", |h| h.holds.roster = roster).await })
        }),
        alarm("a newer plan held", RULE, |s| {
            let plan = PlanRef { seq: Seq(9_000), digest: Digest::of(b"nine") };
            let hold = move |h: &mut Holding| (h.holds.plan, h.open) = (Some(plan), vec![plan]);
            Box::pin(async move { alarmed(s, "a signed that it holds plan 9000", hold).await })
        }),
        alarm("the highest plan there can be held", RULE, |s| {
            let plan = PlanRef { seq: Seq(u64::MAX), digest: Digest::of(b"last") };
            let hold = move |h: &mut Holding| (h.holds.plan, h.open) = (Some(plan), vec![plan]);
            Box::pin(async move { alarmed(s, "a signed that it holds plan", hold).await })
        }),
        alarm("a later epoch held", RULE, |s| {
            Box::pin(async move { alarmed(s, "a signed that it holds root", |h| h.holds.epoch = Epoch(9)).await })
        }),
        alarm("another plan of the same number held", RULE, |s| {
            let plan = PlanRef { seq: Seq(1), digest: Digest::of(b"other") };
            let hold = move |h: &mut Holding| (h.holds.plan, h.open) = (Some(plan), vec![plan]);
            Box::pin(async move { alarmed(s, "on node a", hold).await })
        }),
        alarm("another root of the same number held", RULE, |s| {
            Box::pin(async move { alarmed(s, "on node a", |h| h.holds.root.digest = Digest::of(b"other")).await })
        }),
        alarm("a ledger held that this one does not go on from", RULE, |s| {
            let head = Some(Head { next_index: 900, hash: Digest::of(b"other") });
            Box::pin(async move { alarmed(s, "compare the copies", |h| h.holds.head = head).await })
        }),
        noted(
            40,
            mode("500 documents held that nobody knows", "a node that lies fills nothing", |s| {
                Box::pin(async move {
                    let (mut stream, grant) = s.granted().await;
                    for n in 0..10_u32 {
                        let plan = |k: u32| PlanRef { seq: Seq(1), digest: Digest::of(&(n * 50 + k).to_be_bytes()) };
                        let open: Vec<PlanRef> = (0..50).map(plan).collect();
                        let held = holding(s, |h| (h.holds.plan, h.open) = (open.first().copied(), open));
                        stream.send(Up::Holding(held.into())).await;
                    }
                    Scene::settle(&mut stream, &grant).await?;
                    // As many as are told by the word of one node (docs/limits.md), and not one less: they were taken.
                    let (told, alarms) = (s.forks().await, s.alarms().await.len());
                    if told == 8 { Ok(format!("{alarms} alarms, 8 forks")) } else { Err(format!("{told} forks")) }
                })
            }),
        ),
        noted(
            8,
            mode("2,000 holdings", "a flood is refused before its signatures are looked at", |s| {
                Box::pin(async move {
                    let (mut stream, grant) = s.granted().await;
                    let held = holding(s, |h| h.holds.root.version = 9);
                    for n in 0..2_000 {
                        if !tell(&stream, Up::Holding(held.clone().into())).await {
                            return Err(format!("the stream ended after {n}"));
                        }
                    }
                    Scene::settle(&mut stream, &grant).await?;
                    Ok(format!("{} alarms", s.alarms().await.len()))
                })
            }),
        ),
    ]
}

fn forged() -> Vec<Mode> {
    vec![
        alarm("a holding that another node signed", "a node hands in only its own", |s| {
            Box::pin(async move {
                let bytes = holding(s, |h| h.node = name("b")).bytes;
                let of_b = made::signed_bytes(DocumentKind::Holding, bytes, &[s.honest_key()]);
                say(s, of_b).await?;
                s.alarm("a node hands in only its own").await
            })
        }),
        mode("a holding for another node", "holdings by the roster's keys", |s| {
            Box::pin(async move { not_taken(s, holding(s, |h| h.node = name("b"))).await })
        }),
        mode("a holding by a key of its own", "holdings by the roster's keys", |s| {
            Box::pin(async move {
                let bytes = holding(s, |h| h.receipts = 3).bytes;
                not_taken(s, made::signed_bytes(DocumentKind::Holding, bytes, &[&made::fresh_key()])).await
            })
        }),
        mode("a holding in another namespace", "namespaces", |s| {
            Box::pin(async move {
                let bytes = holding(s, |h| h.receipts = 3).bytes;
                not_taken(s, made::signed_bytes(DocumentKind::Receipt, bytes, &[&s.thief().key])).await
            })
        }),
        mode("a holding of another fleet", "fleet id", |s| {
            let fleet = FleetId::new("0bad".repeat(8)).unwrap();
            Box::pin(async move { not_taken(s, holding(s, |h| h.fleet_id = fleet)).await })
        }),
        mode("a holding of 1 MiB", "size before anything", |s| {
            Box::pin(async move {
                let mut bytes = holding(s, |_| ()).bytes;
                bytes.extend(std::iter::repeat_n(b' ', 1 << 20));
                not_taken(s, made::signed_bytes(DocumentKind::Holding, bytes, &[&s.thief().key])).await
            })
        }),
        mode("a holding that counts all receipts there can be", "a count is a word", |s| {
            Box::pin(async move {
                say(s, holding(s, |h| h.receipts = u64::MAX)).await?;
                Ok("kept as its word".to_owned())
            })
        }),
    ]
}

fn work() -> Vec<Mode> {
    vec![
        mode("work said to run that another node was granted", "a lease is its holder's", |s| {
            Box::pin(async move {
                let running = v1::RunningTask { plan: s.plan.digest().to_string(), task: "b.work".into(), grant: 2 };
                let mut stream = s.says(v1::Hello { running: Some(running), ..hello() }).await;
                let grant = stream.grant().await;
                Scene::settle(&mut stream, &grant).await?;
                Ok("not believed".to_owned())
            })
        }),
        mode("a lease renewed that is another grant's", "a lease is its holder's", |s| {
            Box::pin(async move {
                let (mut stream, grant) = s.granted().await;
                let v1::TaskGrant { plan, task, .. } = grant.clone();
                for number in [0, grant.grant + 1, u64::MAX] {
                    let renewal = v1::LeaseRenewal { plan: plan.clone(), task: task.clone(), grant: number };
                    stream.send(Up::LeaseRenewal(renewal)).await;
                }
                // Only its own is answered.
                Scene::settle(&mut stream, &grant).await?;
                Ok("not answered".to_owned())
            })
        }),
        mode("progress of work that it does not do", "progress is its holder's", |s| {
            Box::pin(async move {
                let (mut stream, grant) = s.granted().await;
                let progress =
                    v1::Progress { task: "a.more".into(), sentence: "all is done".into(), ..progress(&grant) };
                stream.send(Up::Progress(progress)).await;
                Scene::settle(&mut stream, &grant).await?;
                let tasks = s.ready.rollout("1").await.tasks;
                match tasks.iter().any(|task| task.sentence.contains("all is done")) {
                    true => Err("it is shown".to_owned()),
                    false => Ok("not shown".to_owned()),
                }
            })
        }),
        mode("200 sentences of 100 KiB with escape sequences", "a sentence is cleaned and cut", |s| {
            Box::pin(async move {
                let (mut stream, grant) = s.granted().await;
                let sentence = "\u{1b}]0;x\u{7}\u{202e}\n".repeat(10_000);
                for _ in 0..200 {
                    stream.send(Up::Progress(v1::Progress { sentence: sentence.clone(), ..progress(&grant) })).await;
                }
                Scene::settle(&mut stream, &grant).await?;
                let task = s.ready.rollout("1").await.tasks.into_iter().find(|task| task.id == "a.work").unwrap();
                match task.sentence.contains(char::is_control) || task.sentence.len() > 1024 {
                    true => Err(format!("it is shown in {} bytes: {:?}", task.sentence.len(), task.sentence)),
                    false => Ok(format!("shown in {} bytes", task.sentence.len())),
                }
            })
        }),
        mode("a step of more than there are", "a number is a word", |s| {
            Box::pin(async move {
                let (mut stream, grant) = s.granted().await;
                let progress = v1::Progress { step: u32::MAX, steps: 0, ..progress(&grant) };
                stream.send(Up::Progress(progress)).await;
                Scene::settle(&mut stream, &grant).await?;
                s.ready.rollout("1").await;
                Ok("shown as its word".to_owned())
            })
        }),
        noted(
            21,
            mode("2,000 refusals with escape sequences", "20 at once, then one a minute", |s| {
                Box::pin(async move {
                    let (mut stream, grant) = s.granted().await;
                    for n in 0..2_000_u32 {
                        let report = v1::RefusalReport {
                            document: Digest::of(&n.to_be_bytes()).to_string(),
                            refusal: v1::Refusal::BadSignature.into(),
                            reason: "\u{1b}[2Jb is finished\n".repeat(1000),
                        };
                        stream.send(Up::Refusal(report)).await;
                    }
                    Scene::settle(&mut stream, &grant).await?;
                    let refusals = s.detail("a").await.map_err(|status| status.to_string())?.refusals;
                    match refusals.iter().any(|r| r.reason.contains(char::is_control) || r.reason.len() > 1024) {
                        true => Err(format!("{refusals:?}")),
                        false => Ok(format!("{} written", refusals.len())),
                    }
                })
            }),
        ),
        noted(
            1,
            mode("a refusal of another node's plan", "a refusal is its node's alone", |s| {
                Box::pin(async move {
                    let (mut stream, grant) = s.granted().await;
                    let document = s.plan.digest().to_string();
                    let report =
                        v1::RefusalReport { document, refusal: v1::Refusal::Revoked.into(), reason: "no".into() };
                    stream.send(Up::Refusal(report)).await;
                    Scene::settle(&mut stream, &grant).await?;
                    match s.detail("b").await.map_err(|status| status.to_string())?.refusals.len() {
                        0 => Ok("shown at the node that said it".to_owned()),
                        more => Err(format!("{more} are shown at b")),
                    }
                })
            }),
        ),
        mode("a refusal of a kind that nobody knows", "types", |s| {
            Box::pin(async move {
                let (mut stream, grant) = s.granted().await;
                stream.send(Up::Refusal(v1::RefusalReport { refusal: 4711, ..v1::RefusalReport::default() })).await;
                Scene::settle(&mut stream, &grant).await?;
                Ok("not written".to_owned())
            })
        }),
    ]
}

fn progress(grant: &v1::TaskGrant) -> v1::Progress {
    let v1::TaskGrant { plan, task, .. } = grant.clone();
    v1::Progress { plan, task, step: 0, steps: 1, sentence: "works".into() }
}
