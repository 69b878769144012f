//! Modes with receipts: what counts as done, by whom, once, and for what was granted.

use hostler_fixtures::{self as made, name, task_id};
use hostler_plan::{
    document::{DocumentKind, Outcome, Receipt, Signed},
    id::{Digest, Epoch, FleetId, Seq},
    timestamp::Timestamp,
};
use hostler_proto::v1::{from_agent::Message as Up, to_agent::Message};

use crate::{
    ready::Stream,
    scene::{Mode, Scene, THIEF, mode, noted, tell},
};

/// What the coordinator answers to a receipt: why it was not taken; nothing when it was.
async fn answer(stream: &mut Stream, receipt: &Signed) -> Option<String> {
    stream.send(Up::Receipt(receipt.clone().into())).await;
    let digest = receipt.digest().to_string();
    let answered = stream.expect(|m| {
        if let Message::ReceiptAcknowledged(answer) = m {
            (answer.digest == digest).then_some(answer.not_taken)
        } else {
            None
        }
    });
    Some(answered.await).filter(|reason| !reason.is_empty())
}

/// Hands in what the thief would sign, changed, and expects it not to be taken.
async fn forge(scene: &Scene, change: impl FnOnce(&mut Receipt)) -> Result<String, String> {
    let (mut stream, grant) = scene.granted().await;
    let receipt = scene.receipt_by(THIEF, &scene.plan, &grant, change);
    not_taken(&mut stream, &receipt).await
}

async fn not_taken(stream: &mut Stream, receipt: &Signed) -> Result<String, String> {
    answer(stream, receipt).await.ok_or_else(|| "the receipt was taken".to_owned())
}

/// A forgery is one alarm.
fn forged(name: &'static str, rule: &'static str, play: for<'a> fn(&'a mut Scene) -> crate::scene::Played<'a>) -> Mode {
    noted(1, mode(name, rule, play))
}

pub(crate) fn modes() -> Vec<Mode> {
    [of_others(), of_numbers(), of_form()].into_iter().flatten().collect()
}

fn of_others() -> Vec<Mode> {
    vec![
        forged("a receipt for another node", "receipts by the roster's keys", |s| {
            Box::pin(async move { forge(s, |r| r.node = name("b")).await })
        }),
        forged("a receipt that another node signed", "a node hands in only its own", |s| {
            Box::pin(async move {
                let (mut stream, grant) = s.granted().await;
                let own = s.receipt_by(1, &s.plan, &grant, |r| r.node = name("b"));
                not_taken(&mut stream, &own).await
            })
        }),
        forged("a receipt by a key of its own", "receipts by the roster's keys", |s| {
            Box::pin(async move {
                let (mut stream, grant) = s.granted().await;
                let mut forged = s.receipt_by(THIEF, &s.plan, &grant, |_| ());
                forged = made::signed_bytes(DocumentKind::Receipt, forged.bytes, &[&made::fresh_key()]);
                not_taken(&mut stream, &forged).await
            })
        }),
        forged("a receipt for a plan that never was", "receipts for grants of this ledger", |s| {
            Box::pin(async move { forge(s, |r| r.plan = Digest::of(b"none")).await })
        }),
        forged("a receipt for a task that was not granted", "receipts for grants of this ledger", |s| {
            Box::pin(async move { forge(s, |r| r.task = task_id("a.more")).await })
        }),
        forged("a receipt for a task that is not in the plan", "receipts for grants of this ledger", |s| {
            Box::pin(async move { forge(s, |r| r.task = task_id("a.other")).await })
        }),
        forged("a receipt under another grant", "receipts for grants of this ledger", |s| {
            Box::pin(async move { forge(s, |r| r.grant += 1).await })
        }),
        forged("a receipt of another fleet", "fleet id", |s| {
            Box::pin(async move { forge(s, |r| r.fleet_id = FleetId::new("0bad".repeat(8)).unwrap()).await })
        }),
        forged("a receipt of another epoch", "receipts name their plan", |s| {
            Box::pin(async move { forge(s, |r| r.epoch = Epoch(9)).await })
        }),
        forged("a receipt with another number of its plan", "receipts name their plan", |s| {
            Box::pin(async move { forge(s, |r| r.seq = Seq(9)).await })
        }),
        noted(
            6,
            mode("5,000 receipts for what was never granted", "a flood is a few alarms", |s| {
                Box::pin(async move {
                    let (mut stream, grant) = s.granted().await;
                    for n in 0..5_000 {
                        let plan = Digest::of(&u32::to_be_bytes(n));
                        let receipt = Signed {
                            bytes: format!("{{\"plan\": \"{plan}\"}}").into_bytes(),
                            signatures: s.plan.signatures.clone(),
                        };
                        if !tell(&stream, Up::Receipt(receipt.into())).await {
                            return Err(format!("the stream ended after {n}"));
                        }
                    }
                    Scene::settle(&mut stream, &grant).await?;
                    Ok(format!("{} alarms", s.alarms().await.len()))
                })
            }),
        ),
        noted(
            6,
            mode("200 signed receipts for what was never granted", "a flood is a few alarms", |s| {
                Box::pin(async move {
                    let (mut stream, grant) = s.granted().await;
                    for n in 0..200 {
                        let receipt = s.receipt_by(THIEF, &s.plan, &grant, |r| r.grant = 1000 + n);
                        not_taken(&mut stream, &receipt).await?;
                    }
                    Ok(format!("{} alarms", s.alarms().await.len()))
                })
            }),
        ),
    ]
}

fn of_numbers() -> Vec<Mode> {
    vec![
        forged("a receipt with a gap before it", "one after another", |s| {
            Box::pin(async move { forge(s, |r| (r.counter, r.previous) = (7, Some(Digest::of(b"six")))).await })
        }),
        forged("a receipt with the number 0", "one after another", |s| {
            Box::pin(async move { forge(s, |r| r.counter = 0).await })
        }),
        forged("a receipt with the highest number there is", "one after another", |s| {
            Box::pin(async move { forge(s, |r| (r.counter, r.previous) = (u64::MAX, Some(Digest::of(b"none")))).await })
        }),
        forged("a first receipt that has one before it", "one after another", |s| {
            Box::pin(async move { forge(s, |r| r.previous = Some(Digest::of(b"none"))).await })
        }),
        noted(
            2,
            mode("two receipts with one number", "a key lives once", |s| {
                Box::pin(async move {
                    let (mut stream, grant) = s.granted().await;
                    let first = s.receipt_by(THIEF, &s.plan, &grant, |_| ());
                    if let Some(reason) = answer(&mut stream, &first).await {
                        return Err(format!("the honest one was not taken: {reason}"));
                    }
                    let failed = Outcome::Failed { reason: "no".to_owned() };
                    let second = s.receipt_by(THIEF, &s.plan, &grant, |r| r.outcome = failed);
                    not_taken(&mut stream, &second).await
                })
            }),
        ),
        forged("a receipt from before its plan", "within the plan's time", |s| {
            Box::pin(async move {
                let before = Timestamp::from_unix_seconds(1_000_000_000);
                forge(s, |r| (r.started, r.ended) = (before, before)).await
            })
        }),
        forged("a receipt from after its plan", "within the plan's time", |s| {
            Box::pin(async move {
                let after = Timestamp::from_unix_seconds(9_000_000_000);
                forge(s, |r| (r.started, r.ended) = (after, after)).await
            })
        }),
        forged("a receipt of a task that ended before it began", "within the plan's time", |s| {
            Box::pin(async move { forge(s, |r| r.started = r.ended.plus(std::time::Duration::from_secs(60))).await })
        }),
    ]
}

fn of_form() -> Vec<Mode> {
    vec![
        mode("a receipt in another namespace", "namespaces", |s| {
            Box::pin(async move {
                let (mut stream, grant) = s.granted().await;
                let bytes = s.receipt_by(THIEF, &s.plan, &grant, |_| ()).bytes;
                let other = made::signed_bytes(DocumentKind::Holding, bytes, &[&s.thief().key]);
                not_taken(&mut stream, &other).await
            })
        }),
        mode("a receipt with a byte changed", "exact bytes", |s| {
            Box::pin(async move {
                let (mut stream, grant) = s.granted().await;
                let mut receipt = s.receipt_by(THIEF, &s.plan, &grant, |_| ());
                receipt.bytes.push(b'\n');
                not_taken(&mut stream, &receipt).await
            })
        }),
        mode("a receipt with a reason of 70 KiB", "a receipt has at most 64 KiB", |s| {
            Box::pin(async move { forge(s, |r| r.outcome = Outcome::Failed { reason: "x".repeat(70 << 10) }).await })
        }),
        mode("a receipt that says nothing", "types", |s| {
            Box::pin(async move {
                let (mut stream, _) = s.granted().await;
                let empty = made::signed_bytes(DocumentKind::Receipt, Vec::new(), &[&s.thief().key]);
                not_taken(&mut stream, &empty).await
            })
        }),
        noted(
            3,
            mode("a true receipt with escape sequences", "foreign text is cleaned", |s| {
                Box::pin(async move {
                    let (mut stream, grant) = s.granted().await;
                    let reason = "\u{1b}[2J\u{202e}plan 2 is finished\nrollout done".to_owned();
                    let receipt = s.receipt_by(THIEF, &s.plan, &grant, |r| r.outcome = Outcome::Failed { reason });
                    if let Some(reason) = answer(&mut stream, &receipt).await {
                        return Ok(reason);
                    }
                    let shown = s.ready.rollout("1").await;
                    let task = shown.tasks.into_iter().find(|t| t.id == "a.work").unwrap();
                    let text = hostler_plan::text::clean(&task.sentence).into_owned();
                    match text.contains(|c: char| c.is_control()) {
                        true => Err(format!("it would reach a terminal: {text:?}")),
                        false => Ok(format!("shown as {text:?}")),
                    }
                })
            }),
        ),
        noted(
            // The receipt, and that the rollout is halted because its task failed.
            2,
            mode("a receipt handed in a hundred times", "a task ends once", |s| {
                Box::pin(async move {
                    let (mut stream, grant) = s.granted().await;
                    let receipt =
                        s.receipt_by(THIEF, &s.plan, &grant, |r| r.outcome = Outcome::Failed { reason: "no".into() });
                    for _ in 0..100 {
                        if let Some(reason) = answer(&mut stream, &receipt).await {
                            return Err(reason);
                        }
                    }
                    let count = s.ready.rollout("1").await.receipts.len();
                    if count == 1 { Ok("counted once".to_owned()) } else { Err(format!("{count} receipts")) }
                })
            }),
        ),
    ]
}
