//! Modes with roots, rosters and plans: what is signed by whom, when, for whom, and in which form.

use std::time::Duration;

use hostler_fixtures::{self as made, public, signed, signed_bytes, signer};
use hostler_plan::{
    document::{DocumentKind, PlanKind, PlanRef, Root, Roster, RosterStatus, Signed, SignerRole},
    id::{Arch, Digest, Epoch, FleetId, Seq},
    refusal::Refusal,
    step::Step,
};

use crate::modes::{Mode, PERFORMED, Scene, after_a_change, ignored, refused};

pub(crate) fn modes() -> Vec<Mode> {
    [roots(), rosters(), signatures(), plans(), forms()].concat()
}

fn next_root(scene: &Scene<'_>, change: impl FnOnce(&mut Root)) -> Root {
    let mut root = Root { version: 3, created: scene.now.whole_seconds(), ..scene.world.root() };
    change(&mut root);
    root
}

fn offer_root(scene: &mut Scene<'_>, root: Signed) {
    scene.offer_trust(vec![root], None);
}

fn roots() -> Vec<Mode> {
    vec![
        ignored("root 1 alone, where mallory counts", "a chain never goes back", |scene| {
            let first = scene.world.roots[0].clone();
            scene.offer_trust(vec![first], None);
        }),
        refused("root 3 by the revoked admin", "revoked keys do not count", Refusal::Revoked, |scene| {
            let root = next_root(scene, |_| ());
            offer_root(scene, signed(DocumentKind::Root, &root, &[&scene.world.mallory]));
        }),
        refused("root 3 by a key of its own", "both thresholds", Refusal::BadSignature, |scene| {
            let own = made::key(99);
            let root = next_root(scene, |r| r.signers.push(signer("own", public(&own), SignerRole::Admin)));
            offer_root(scene, signed(DocumentKind::Root, &root, &[&own]));
        }),
        refused("root 3 by an operator", "roles", Refusal::NotAllowed, |scene| {
            let root = next_root(scene, |_| ());
            offer_root(scene, signed(DocumentKind::Root, &root, &[&scene.world.olga]));
        }),
        refused("root 4 before root 3", "one after another", Refusal::RootChain, |scene| {
            let root = next_root(scene, |r| r.version = 4);
            offer_root(scene, signed(DocumentKind::Root, &root, &[&scene.world.anna]));
        }),
        refused("another root 2", "one content for a version", Refusal::RootChain, |scene| {
            let root = next_root(scene, |r| (r.version, r.policy.max_plan_lifetime_seconds) = (2, 3600));
            offer_root(scene, signed(DocumentKind::Root, &root, &[&scene.world.anna]));
        }),
        refused("root 3 without the revocation", "revoked for ever", Refusal::Revoked, |scene| {
            let root = next_root(scene, |r| r.revoked.clear());
            offer_root(scene, signed(DocumentKind::Root, &root, &[&scene.world.anna]));
        }),
        refused("root 3 of an older epoch", "an epoch never goes back", Refusal::RootChain, |scene| {
            let root = next_root(scene, |r| r.epoch = Epoch(0));
            offer_root(scene, signed(DocumentKind::Root, &root, &[&scene.world.anna]));
        }),
        refused("root 3 of another fleet", "fleet id", Refusal::WrongFleet, |scene| {
            let root = next_root(scene, |r| r.fleet_id = FleetId::new("0bad".repeat(8)).unwrap());
            offer_root(scene, signed(DocumentKind::Root, &root, &[&scene.world.anna]));
        }),
        refused("root 3 that needs no key", "thresholds", Refusal::Malformed, |scene| {
            let root = next_root(scene, |r| r.thresholds.plan = 0);
            offer_root(scene, signed(DocumentKind::Root, &root, &[&scene.world.anna]));
        }),
        refused("a roster in a root's place", "namespaces", Refusal::BadSignature, |scene| {
            let roster = scene.world.roster.clone();
            offer_root(scene, roster);
        }),
        refused("a root of more than 1 MiB", "size before anything", Refusal::Malformed, |scene| {
            offer_root(scene, Signed { bytes: vec![b' '; (1 << 20) + 1], signatures: Vec::new() });
        }),
    ]
}

fn next_roster(scene: &Scene<'_>, change: impl FnOnce(&mut Roster)) -> Roster {
    let listed = scene.world.listed();
    let prev = Some(scene.world.roster.digest());
    let mut roster = Roster { version: listed.version + 1, prev, created: scene.now.whole_seconds(), ..listed };
    change(&mut roster);
    roster
}

fn offer_roster(scene: &mut Scene<'_>, roster: Signed) {
    scene.offer_trust(Vec::new(), Some(roster));
}

fn rosters() -> Vec<Mode> {
    vec![
        refused("the roster before the held one", "a roster never goes back", Refusal::Replay, |scene| {
            let roster = scene.world.first_roster.clone();
            offer_roster(scene, roster);
        }),
        refused("another roster of the held version", "one content for a version", Refusal::Replay, |scene| {
            let roster = next_roster(scene, |r| r.version -= 1);
            offer_roster(scene, signed(DocumentKind::Roster, &roster, &[&scene.world.anna]));
        }),
        refused("a roster by the revoked admin", "revoked keys do not count", Refusal::Revoked, |scene| {
            let roster = next_roster(scene, |_| ());
            offer_roster(scene, signed(DocumentKind::Roster, &roster, &[&scene.world.mallory]));
        }),
        refused("a roster by an operator", "roles", Refusal::NotAllowed, |scene| {
            let roster = next_roster(scene, |_| ());
            offer_roster(scene, signed(DocumentKind::Roster, &roster, &[&scene.world.olga]));
        }),
        refused("a roster by a node", "roles", Refusal::BadSignature, |scene| {
            let roster = next_roster(scene, |_| ());
            offer_roster(scene, signed(DocumentKind::Roster, &roster, &[&scene.world.w2]));
        }),
        refused("a roster that nobody signed", "thresholds", Refusal::BadSignature, |scene| {
            let roster = next_roster(scene, |_| ());
            offer_roster(scene, signed(DocumentKind::Roster, &roster, &[]));
        }),
        refused("a roster made under a root that is not there", "root before roster", Refusal::RootChain, |scene| {
            let roster = next_roster(scene, |r| r.root_version = 9);
            offer_roster(scene, signed(DocumentKind::Roster, &roster, &[&scene.world.anna]));
        }),
        refused("a roster of another epoch", "epochs", Refusal::Replay, |scene| {
            let roster = next_roster(scene, |r| r.epoch = Epoch(0));
            offer_roster(scene, signed(DocumentKind::Roster, &roster, &[&scene.world.anna]));
        }),
        refused("a roster with one key twice", "a key is one node", Refusal::Malformed, |scene| {
            let roster = next_roster(scene, |r| r.nodes[2].key = r.nodes[0].key.clone());
            offer_roster(scene, signed(DocumentKind::Roster, &roster, &[&scene.world.anna]));
        }),
        refused("a roster whose seal key keeps no secret", "no secret to everybody", Refusal::Malformed, |scene| {
            let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
            let roster = next_roster(scene, |r| r.nodes[0].seal_key = zero.parse().unwrap());
            offer_roster(scene, signed(DocumentKind::Roster, &roster, &[&scene.world.anna]));
        }),
    ]
}

/// Offers a plan, and grants its evil task.
fn start(scene: &mut Scene<'_>, plan: &Signed) {
    scene.offer(plan);
    scene.grant(plan, "w1.evil", Vec::new());
}

fn signatures() -> Vec<Mode> {
    vec![
        refused("a plan that nobody signed", "signatures", Refusal::BadSignature, |scene| {
            let plan = scene.world.plan_by(60, &[], |_| ());
            start(scene, &plan);
        }),
        refused("a plan by a key of its own", "signatures", Refusal::BadSignature, |scene| {
            let plan = scene.world.plan_by(60, &[&made::key(99)], |_| ());
            start(scene, &plan);
        }),
        refused("a plan by the revoked admin", "revoked keys do not count", Refusal::Revoked, |scene| {
            let plan = scene.world.plan_by(60, &[&scene.world.mallory], |_| ());
            start(scene, &plan);
        }),
        refused("an upgrade by an operator", "roles", Refusal::NotAllowed, |scene| {
            let plan = scene.world.plan_by(60, &[&scene.world.olga], |_| ());
            start(scene, &plan);
        }),
        refused("a check by a viewer", "roles", Refusal::NotAllowed, |scene| {
            let plan = scene.world.plan_by(60, &[&scene.world.vic], |p| p.kind = PlanKind::Check);
            start(scene, &plan);
        }),
        refused("a plan by another node's key", "roles", Refusal::BadSignature, |scene| {
            let plan = scene.world.plan_by(60, &[&scene.world.w2], |_| ());
            start(scene, &plan);
        }),
        after_a_change(refused(
            "an operator's drain with a file in it",
            "what a kind may hold",
            Refusal::NotAllowed,
            |scene| {
                let plan = scene.world.plan_by(60, &[&scene.world.olga], |p| p.kind = PlanKind::Drain);
                start(scene, &plan);
            },
        )),
        refused("an admin's signature of a roster on a plan", "namespaces", Refusal::BadSignature, |scene| {
            let bytes = scene.world.plan(60, |_| ()).bytes;
            let signatures = signed_bytes(DocumentKind::Roster, bytes.clone(), &[&scene.world.anna]).signatures;
            start(scene, &Signed { bytes, signatures });
        }),
        refused("an admin's plan with one byte changed", "exact bytes", Refusal::BadSignature, |scene| {
            let mut plan = scene.world.plan(60, |_| ());
            let at = plan.bytes.iter().position(|b| *b == b'6').unwrap();
            plan.bytes[at] = b'7';
            start(scene, &plan);
        }),
        refused("an admin's plan with a byte behind it", "exact bytes", Refusal::BadSignature, |scene| {
            let mut plan = scene.world.plan(60, |_| ());
            plan.bytes.push(b'\n');
            start(scene, &plan);
        }),
        refused("a signature in CRLF lines", "one form of a signature", Refusal::BadSignature, |scene| {
            let mut plan = scene.world.plan(60, |_| ());
            plan.signatures[0] = plan.signatures[0].replace('\n', "\r\n");
            start(scene, &plan);
        }),
        refused("17 signatures", "limits before signatures", Refusal::Malformed, |scene| {
            let mut plan = scene.world.plan(60, |_| ());
            plan.signatures = vec![plan.signatures[0].clone(); 17];
            start(scene, &plan);
        }),
        refused("a signature of 17 KiB", "limits before signatures", Refusal::Malformed, |scene| {
            let mut plan = scene.world.plan(60, |_| ());
            plan.signatures[0] = "x".repeat(17 << 10);
            start(scene, &plan);
        }),
        refused("a good signature beside a broken one", "nobody honest hands one on", Refusal::BadSignature, |scene| {
            let mut plan = scene.world.plan(60, |_| ());
            plan.signatures.push(plan.signatures[0].replacen('A', "B", 1));
            start(scene, &plan);
        }),
    ]
}

fn plans() -> Vec<Mode> {
    vec![
        refused("a plan from before the one it performed", "numbers never go back", Refusal::Replay, |scene| {
            let plan = scene.world.plan(PERFORMED - 1, |_| ());
            start(scene, &plan);
        }),
        refused("another plan of the same number", "one content for a number", Refusal::Replay, |scene| {
            let plan = scene.world.plan(PERFORMED, |_| ());
            start(scene, &plan);
        }),
        refused("a plan 10,001 numbers ahead", "one key cannot end an epoch", Refusal::Replay, |scene| {
            let plan = scene.world.plan(PERFORMED + 10_001, |_| ());
            start(scene, &plan);
        }),
        refused("the highest number there is", "one key cannot end an epoch", Refusal::Replay, |scene| {
            let plan = scene.world.plan(u64::MAX, |_| ());
            start(scene, &plan);
        }),
        refused("a plan of another fleet", "fleet id", Refusal::WrongFleet, |scene| {
            let plan = scene.world.plan(60, |p| p.fleet_id = FleetId::new("0bad".repeat(8)).unwrap());
            start(scene, &plan);
        }),
        refused("a plan of the epoch before", "epochs", Refusal::Replay, |scene| {
            let plan = scene.world.plan(60, |p| p.epoch = Epoch(0));
            start(scene, &plan);
        }),
        refused("a plan of an epoch to come", "epochs", Refusal::RootChain, |scene| {
            let plan = scene.world.plan(60, |p| p.epoch = Epoch(2));
            start(scene, &plan);
        }),
        after_a_change(refused("a plan that has expired", "expiry", Refusal::Expired, |scene| {
            let made = scene.now.whole_seconds();
            let plan = scene.world.plan(60, |p| {
                p.created = ago(made, 7200);
                (p.not_before, p.expires) = (p.created, ago(made, 3600));
            });
            start(scene, &plan);
        })),
        after_a_change(refused("a plan that would live for years", "the policy's limit", Refusal::Expired, |scene| {
            let plan = scene.world.plan(60, |p| p.expires = p.created.plus(Duration::from_secs(400 * 86_400)));
            start(scene, &plan);
        })),
        after_a_change(refused(
            "a plan for another machine's key",
            "targets are pinned",
            Refusal::NotATarget,
            |scene| {
                let plan = scene
                    .world
                    .plan(60, |p| p.targets.iter_mut().for_each(|t| t.key = public(&made::key(99)).fingerprint()));
                start(scene, &plan);
            },
        )),
        after_a_change(refused("a plan for another processor", "targets are pinned", Refusal::NotATarget, |scene| {
            let plan = scene.world.plan(60, |p| p.targets.iter_mut().for_each(|t| t.arch = other(t.arch)));
            start(scene, &plan);
        })),
        after_a_change(refused(
            "a plan made with a roster that is not there",
            "roster before plan",
            Refusal::DigestMismatch,
            |scene| {
                let plan = scene.world.plan(60, |p| p.roster_version += 1);
                start(scene, &plan);
            },
        )),
        after_a_change(refused(
            "a plan made with another roster 2",
            "roster by digest",
            Refusal::DigestMismatch,
            |scene| {
                let plan = scene.world.plan(60, |p| p.roster = Digest::of(b"another"));
                start(scene, &plan);
            },
        )),
        after_a_change(refused(
            "a plan made with a root that is not there",
            "root before plan",
            Refusal::RootChain,
            |scene| {
                let plan = scene.world.plan(60, |p| p.root_version = 9);
                start(scene, &plan);
            },
        )),
        after_a_change(refused(
            "the replaced plan after one that is not for this node",
            "newer voids older",
            Refusal::Replay,
            |scene| {
                let replaced = scene.world.plan(60, |_| ());
                scene.offer(&replaced);
                let newer = scene.world.plan(61, |p| {
                    p.tasks = vec![made::task("w2.check", "w2", &[], vec![scene.world.file("other")])];
                });
                scene.offer(&newer);
                scene.grant(&replaced, "w1.evil", Vec::new());
            },
        )),
        after_a_change(refused("work that a signed stop ended", "a stop is kept", Refusal::Replay, |scene| {
            let stopped = scene.world.plan(60, |_| ());
            scene.offer(&stopped);
            let stop = scene.world.plan_by(61, &[&scene.world.olga], |p| {
                (p.kind, p.tasks) = (PlanKind::Stop, Vec::new());
            });
            scene.offer(&stop);
            scene.grant(&stopped, "w1.evil", Vec::new());
        })),
        after_a_change(refused(
            "a plan brought back by `beside`",
            "only what was open stays",
            Refusal::Replay,
            |scene| {
                let old = scene.world.plan(60, |_| ());
                let newer = scene.world.plan(62, |p| {
                    p.keeps_valid = vec![PlanRef { seq: Seq(60), digest: old.digest() }];
                    p.tasks = vec![made::task("w2.check", "w2", &[], vec![scene.world.file("other")])];
                });
                scene.offer(&newer);
                scene.offer(&old);
                scene.grant(&old, "w1.evil", Vec::new());
            },
        )),
        after_a_change(refused("a target that is retired", "the roster decides", Refusal::NotATarget, |scene| {
            let roster = next_roster(scene, |r| r.nodes[2].status = RosterStatus::Retired);
            offer_roster(scene, signed(DocumentKind::Roster, &roster, &[&scene.world.anna]));
            let plan = scene.world.plan(60, |p| {
                p.tasks.push(made::task("w2.more", "w2", &[], vec![scene.world.file("other")]));
            });
            start(scene, &plan);
        })),
    ]
}

fn other(arch: Arch) -> Arch {
    match arch {
        Arch::Aarch64 => Arch::X86_64,
        Arch::X86_64 => Arch::Aarch64,
    }
}

fn ago(now: hostler_plan::timestamp::Timestamp, seconds: u64) -> hostler_plan::timestamp::Timestamp {
    hostler_plan::timestamp::Timestamp::from_unix_seconds(now.unix_milliseconds() / 1000 - seconds)
}

/// An admin's signature over bytes in another form.
fn formed(scene: &Scene<'_>, change: impl FnOnce(String) -> String) -> Signed {
    let text = String::from_utf8(scene.world.plan(60, |_| ()).bytes).unwrap();
    signed_bytes(DocumentKind::Plan, change(text).into_bytes(), &[&scene.world.anna])
}

fn forms() -> Vec<Mode> {
    vec![
        refused("a key that stands twice", "one reading of the bytes", Refusal::Malformed, |scene| {
            let plan = formed(scene, |text| text.replacen("{\n", "{\n  \"seq\": 59,\n", 1));
            start(scene, &plan);
        }),
        after_a_change(refused("a field that nobody knows", "one reading of the bytes", Refusal::Malformed, |scene| {
            let plan = formed(scene, |text| text.replacen("{\n", "{\n  \"extra\": 1,\n", 1));
            start(scene, &plan);
        })),
        refused("a number with a fraction", "one reading of the bytes", Refusal::Malformed, |scene| {
            let plan = formed(scene, |text| text.replacen("\"seq\": 60", "\"seq\": 60.0", 1));
            start(scene, &plan);
        }),
        refused("a second document behind the first", "one reading of the bytes", Refusal::Malformed, |scene| {
            let plan = formed(scene, |text| format!("{text}{text}"));
            start(scene, &plan);
        }),
        refused("another version of the format", "types", Refusal::WrongFleet, |scene| {
            let plan = formed(scene, |text| text.replacen("hostler-plan/v1", "hostler-plan/v2", 1));
            start(scene, &plan);
        }),
        refused("a plan of 1 MiB and 1 KiB", "size before anything", Refusal::Malformed, |scene| {
            let plan = formed(scene, |text| format!("{text}{}", " ".repeat(1025 << 10)));
            start(scene, &plan);
        }),
        after_a_change(refused(
            "a task that comes after one that follows it",
            "order points back",
            Refusal::Malformed,
            |scene| {
                let plan = scene.world.plan(60, |p| p.tasks[0].after = vec![made::task_id("w1.evil")]);
                start(scene, &plan);
            },
        )),
        after_a_change(refused(
            "a step that uses an artifact that is not listed",
            "artifacts by digest",
            Refusal::Malformed,
            |scene| {
                let plan = scene.world.plan(60, |p| {
                    let artifact = "program".parse().unwrap();
                    p.tasks[0].steps.insert(0, Step::StageArtifact(hostler_plan::step::StageArtifact { artifact }));
                });
                start(scene, &plan);
            },
        )),
        after_a_change(refused("a plan in which no task is this node's", "targets", Refusal::Replay, |scene| {
            let plan = scene.world.plan(60, |p| {
                p.tasks = vec![made::task("w2.evil", "w2", &[], vec![scene.world.file("evil")])];
            });
            scene.offer(&plan);
            scene.grant(&plan, "w2.evil", Vec::new());
        })),
        refused("a plan that is a receipt", "namespaces and types", Refusal::BadSignature, |scene| {
            let bytes = scene.world.performed.bytes.clone();
            let plan = signed_bytes(DocumentKind::Receipt, bytes, &[&scene.world.w2]);
            start(scene, &plan);
        }),
        after_a_change(refused("a path that leaves its folder", "typed paths", Refusal::Malformed, |scene| {
            let plan = formed(scene, |text| text.replacen("/etc/thicket/", "/etc/../etc/thicket/", 1));
            start(scene, &plan);
        })),
        after_a_change(refused("a file in the agent's own state", "typed paths", Refusal::Malformed, |scene| {
            let plan = formed(scene, |text| text.replacen("/etc/thicket/", "/var/lib/hostler/executor/", 1));
            start(scene, &plan);
        })),
    ]
}
