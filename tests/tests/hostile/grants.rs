//! Modes with grants, leases, receipts and stops: when something may begin, and by what that is proved.

use hostler_fixtures::{self as made, task_id};
use hostler_plan::{
    document::{Outcome, Plan, PlanKind, Signed},
    id::Digest,
    refusal::Refusal,
    step::{Noop, Step},
};
use hostler_proto::v1::{self, to_agent::Message};

use crate::modes::{Expected, Mode, Scene, after_a_change, ignored, refused};

pub(crate) fn modes() -> Vec<Mode> {
    [grants(), receipts(), leases()].concat()
}

fn grants() -> Vec<Mode> {
    vec![
        refused("a grant of a plan that never was", "plans before grants", Refusal::Replay, |scene| {
            scene.grant_with(Digest::of(b"none"), "w1.evil", 7, 600, Vec::new());
        }),
        after_a_change(refused(
            "a grant of a task that is not in the plan",
            "tasks of the plan",
            Refusal::OrderNotMet,
            |scene| {
                let plan = scene.world.plan(60, |_| ());
                scene.offer(&plan);
                scene.grant(&plan, "w1.more-evil", Vec::new());
            },
        )),
        after_a_change(refused("a grant of another node's task", "who performs it", Refusal::NotATarget, |scene| {
            let plan = scene.world.plan(60, |p| {
                p.tasks.insert(0, made::task("w2.first", "w2", &[], vec![Step::Noop(Noop {})]));
                p.tasks[1].after = vec![task_id("w2.first")];
            });
            scene.offer(&plan);
            scene.grant(&plan, "w2.first", Vec::new());
        })),
        after_a_change(ignored("the grant of a task that it has performed", "a task runs once", |scene| {
            let performed = scene.world.performed.clone();
            scene.offer(&performed);
            scene.grant(&performed, "w1.first", Vec::new());
            scene.grant_with(performed.digest(), "w1.first", 8, 600, Vec::new());
        })),
        ignored("stops of what does not run", "stopping needs no signature and harms nobody", |scene| {
            for plan in [Digest::of(b"none"), scene.world.performed.digest()] {
                scene.say(Message::Stop(v1::Stop { plan: plan.to_string(), reason: "because I can".to_owned() }));
            }
        }),
        ignored("acknowledgements of receipts that never were", "a receipt is kept until it is taken", |scene| {
            let digest = Digest::of(b"none").to_string();
            scene.say(Message::ReceiptAcknowledged(v1::ReceiptAcknowledged {
                digest,
                ..v1::ReceiptAcknowledged::default()
            }));
        }),
    ]
}

/// A plan in which w1's evil task comes after one of s1.
fn ordered(scene: &Scene<'_>, seq: u64, change: impl FnOnce(&mut Plan)) -> Signed {
    scene.world.plan(seq, |plan| {
        plan.tasks.insert(0, made::task("s1.first", "s1", &[], vec![Step::Noop(Noop {})]));
        plan.tasks[1].after = vec![task_id("s1.first")];
        change(plan);
    })
}

/// Offers that plan and grants the second task with these receipts.
fn skip(scene: &mut Scene<'_>, receipts: impl FnOnce(&Scene<'_>, &Signed) -> Vec<Signed>) {
    let plan = ordered(scene, 60, |_| ());
    let receipts = receipts(scene, &plan);
    scene.offer(&plan);
    scene.grant(&plan, "w1.evil", receipts);
}

fn skipping(name: &'static str, rule: &'static str, refusal: Refusal, play: fn(&mut Scene<'_>)) -> Mode {
    after_a_change(refused(name, rule, refusal, play))
}

fn succeeded() -> Outcome {
    Outcome::Succeeded {}
}

fn receipts() -> Vec<Mode> {
    let order = Refusal::OrderNotMet;
    vec![
        skipping("a task without the one before it", "order is proved", order, |scene| skip(scene, |_, _| Vec::new())),
        skipping("a receipt by a key of its own", "receipts by the roster's keys", order, |scene| {
            skip(scene, |s, plan| vec![s.world.receipt_by(&made::key(99), plan, "s1.first", succeeded())]);
        }),
        skipping("a receipt for s1 by another node", "receipts by the roster's keys", order, |scene| {
            skip(scene, |s, plan| vec![s.world.receipt_by(&s.world.w2, plan, "s1.first", succeeded())]);
        }),
        skipping("a receipt for s1 by the admin", "receipts by the roster's keys", order, |scene| {
            skip(scene, |s, plan| vec![s.world.receipt_by(&s.world.anna, plan, "s1.first", succeeded())]);
        }),
        skipping("s1's receipt of a failure", "only success goes on", order, |scene| {
            let failed = || Outcome::Failed { reason: "no".to_owned() };
            skip(scene, |s, plan| vec![s.world.receipt_by(&s.world.s1, plan, "s1.first", failed())]);
        }),
        skipping("s1's receipt of another plan", "receipts name their plan", order, |scene| {
            skip(scene, |s, _| {
                let other = ordered(s, 59, |p| p.title = "another".to_owned());
                vec![s.world.receipt_by(&s.world.s1, &other, "s1.first", succeeded())]
            });
        }),
        skipping("s1's receipt with one byte changed", "exact bytes", order, |scene| {
            skip(scene, |s, plan| {
                let mut receipt = s.world.receipt_by(&s.world.s1, plan, "s1.first", succeeded());
                *receipt.bytes.last_mut().unwrap() = b' ';
                vec![receipt]
            });
        }),
        skipping("two receipts of s1 with one number", "a key lives once", Refusal::Replay, |scene| {
            skip(scene, |s, plan| {
                let failed = Outcome::Failed { reason: "no".to_owned() };
                vec![
                    s.world.receipt_by(&s.world.s1, plan, "s1.first", succeeded()),
                    s.world.receipt_by(&s.world.s1, plan, "s1.first", failed),
                ]
            });
        }),
        skipping("1,025 receipts", "limits", Refusal::Malformed, |scene| {
            skip(scene, |s, plan| vec![s.world.receipt_by(&s.world.s1, plan, "s1.first", succeeded()); 1025]);
        }),
    ]
}

/// The task ends before it has begun, with a receipt that says so.
fn ended(name: &'static str, rule: &'static str, play: fn(&mut Scene<'_>)) -> Mode {
    Mode { expected: Expected::Ended("refused"), ..ignored(name, rule, play) }
}

fn leases() -> Vec<Mode> {
    vec![
        after_a_change(ignored("a grant with no lease", "nothing begins without a lease", |scene| {
            let plan = scene.world.plan(60, |_| ());
            scene.offer(&plan);
            scene.grant_with(plan.digest(), "w1.evil", 7, 0, Vec::new());
        })),
        after_a_change(ignored("another grant's lease renewed", "a lease is one grant's", |scene| {
            let plan = scene.world.plan(60, |_| ());
            scene.offer(&plan);
            scene.grant_with(plan.digest(), "w1.evil", 7, 0, Vec::new());
            scene.say(Message::LeaseRenewed(v1::LeaseRenewed { grant: 8, lease_seconds: 600 }));
        })),
        after_a_change(ignored("a plan for tomorrow, granted today", "not before its time", |scene| {
            let plan = scene.world.plan(60, |p| {
                let day = std::time::Duration::from_secs(86_400);
                (p.not_before, p.expires) = (p.created.plus(day), p.created.plus(2 * day));
            });
            scene.offer(&plan);
            scene.grant(&plan, "w1.evil", Vec::new());
        })),
        after_a_change(ended("what waited for its lease when a stop came", "asked again before each step", |scene| {
            let plan = scene.world.plan(60, |_| ());
            scene.offer(&plan);
            scene.grant_with(plan.digest(), "w1.evil", 7, 0, Vec::new());
            let stop =
                scene.world.plan_by(61, &[&scene.world.olga], |p| (p.kind, p.tasks) = (PlanKind::Stop, Vec::new()));
            scene.offer(&stop);
            scene.say(Message::LeaseRenewed(v1::LeaseRenewed { grant: 7, lease_seconds: 600 }));
            scene.grant_with(plan.digest(), "w1.evil", 7, 600, Vec::new());
        })),
        after_a_change(ended("what waited for its lease when a newer plan came", "newer voids older", |scene| {
            let plan = scene.world.plan(60, |_| ());
            scene.offer(&plan);
            scene.grant_with(plan.digest(), "w1.evil", 7, 0, Vec::new());
            let newer = scene.world.plan(61, |p| {
                p.tasks = vec![made::task("w2.check", "w2", &[], vec![scene.world.file("other")])];
            });
            scene.offer(&newer);
            scene.grant_with(plan.digest(), "w1.evil", 9, 600, Vec::new());
        })),
    ]
}
