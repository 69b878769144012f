//! Modes below the documents: messages that are no messages, floods, and files that are not what a plan names.

use hostler_plan::{
    id::Digest,
    refusal::Refusal,
    step::{StageArtifact, Step},
};
use hostler_proto::v1::{self, to_agent::Message};

use crate::{
    modes::{Artifact, Expected, Mode, Scene, after_a_change, ignored, refused},
    raw::Raw,
    victim::World,
};

pub(crate) fn modes() -> Vec<Mode> {
    [messages(), artifacts(), http()].concat()
}

fn hangs_up(name: &'static str, rule: &'static str, play: fn(&mut Scene<'_>)) -> Mode {
    Mode { expected: Expected::HungUp, ..ignored(name, rule, play) }
}

fn messages() -> Vec<Mode> {
    vec![
        hangs_up("parts of a message without end", "a message has at most 2 MiB", |scene| {
            for _ in 0..400 {
                scene.say(Message::Fragment(v1::Fragment { data: vec![0; 7 << 10], is_last: false }));
            }
        }),
        hangs_up("parts that make no message", "what is no message ends the stream", |scene| {
            scene.say(Message::Fragment(v1::Fragment { data: vec![0xff; 64], is_last: true }));
        }),
        hangs_up("a message of 3 MiB", "a message has at most 2 MiB", |scene| {
            scene.say(Message::Stop(v1::Stop { plan: "x".repeat(3 << 20), reason: String::new() }));
        }),
        refused("a grant of something that is no digest", "ids are typed", Refusal::Malformed, |scene| {
            scene.say(Message::Grant(v1::TaskGrant {
                plan: "../../etc".to_owned(),
                task: "w1.evil".to_owned(),
                grant: 7,
                lease_seconds: 600,
                receipts: Vec::new(),
                ..v1::TaskGrant::default()
            }));
        }),
        refused("a grant of a task with a path for a name", "ids are typed", Refusal::Malformed, |scene| {
            let plan = scene.world.performed.digest().to_string();
            scene.say(Message::Grant(v1::TaskGrant {
                plan,
                task: "../../etc/passwd".to_owned(),
                grant: 7,
                lease_seconds: 600,
                receipts: Vec::new(),
                ..v1::TaskGrant::default()
            }));
        }),
        ignored("empty documents", "size and signatures before anything", |scene| {
            scene.say(Message::Trust(v1::TrustChain::default()));
        }),
        ignored("1,025 roots at once", "a chain never goes back", |scene| {
            let root = scene.world.roots[0].clone();
            scene.offer_trust(vec![root; 1025], None);
        }),
        after_a_change(ignored("a flood of plans while a task waits", "queues have bytes, not counts", |scene| {
            let plan = scene.world.plan(60, |_| ());
            scene.offer(&plan);
            scene.grant_with(plan.digest(), "w1.evil", 7, 0, Vec::new());
            for seq in 100..220 {
                let flood = scene.world.plan(seq, |p| p.title = format!("flood {seq}"));
                scene.offer(&flood);
            }
        })),
        ignored("a thousand renewals of leases", "a lease is one grant's", |scene| {
            for grant in 0..1000 {
                scene.say(Message::LeaseRenewed(v1::LeaseRenewed { grant, lease_seconds: u64::MAX }));
            }
        }),
        ignored("20,000 messages that hold nothing", "waiting is the safe side", |scene| {
            scene.say_nothing(20_000);
        }),
        ignored("5,000 acknowledgements and renewals", "small messages cost no memory", |scene| {
            for n in 0..2500_u32 {
                let digest = Digest::of(&n.to_be_bytes()).to_string();
                let acknowledged = v1::ReceiptAcknowledged { digest, ..v1::ReceiptAcknowledged::default() };
                scene.say(Message::ReceiptAcknowledged(acknowledged));
                scene.say(Message::LeaseRenewed(v1::LeaseRenewed { grant: n.into(), lease_seconds: 1 }));
            }
        }),
        ignored("a reason of 1 MiB with escape sequences", "foreign text is cleaned", |scene| {
            let plan = Digest::of(b"none").to_string();
            scene.say(Message::Stop(v1::Stop { plan, reason: "\u{1b}[2J".repeat(200_000) }));
        }),
    ]
}

/// A plan of an admin that stages a file before its evil task, and the file as the attacker serves it.
fn stage(scene: &mut Scene<'_>, artifact: Artifact) {
    scene.serve(artifact);
    let plan = scene.world.plan(60, |p| {
        p.artifacts = vec![World::artifact()];
        p.tasks[0].steps.insert(0, Step::StageArtifact(StageArtifact { artifact: "program".parse().unwrap() }));
        p.expires = p.created.plus(std::time::Duration::from_secs(3600));
    });
    scene.offer(&plan);
    scene.grant(&plan, "w1.evil", Vec::new());
}

fn artifacts() -> Vec<Mode> {
    // A file that is not the plan's is never used; another one may come, until the plan ends.
    vec![
        after_a_change(Mode {
            expected: Expected::Ended("failed"),
            ..ignored("another file of the same length", "artifacts by digest", |scene| stage(scene, Artifact::Swapped))
        }),
        after_a_change(ignored("half of a file", "artifacts by length", |scene| stage(scene, Artifact::Cut))),
        after_a_change(ignored("a file with more behind it", "artifacts by length", |scene| {
            stage(scene, Artifact::Extended);
        })),
        after_a_change(ignored("a file without end", "artifacts by length", |scene| stage(scene, Artifact::Endless))),
        after_a_change(ignored("a file at a byte a second", "a download holds no newer plan up", |scene| {
            stage(scene, Artifact::Slow);
        })),
        after_a_change(ignored("a file in empty chunks", "a download holds no newer plan up", |scene| {
            stage(scene, Artifact::Empty);
        })),
        after_a_change(ignored("a file in a chunk of 3 MiB", "a message has at most 2 MiB", |scene| {
            stage(scene, Artifact::Huge);
        })),
        after_a_change(ignored("a file that never comes", "a download holds no newer plan up", |scene| {
            stage(scene, Artifact::Silent);
        })),
    ]
}

fn cut(name: &'static str, rule: &'static str, play: fn(&mut Scene<'_>)) -> Mode {
    Mode { expected: Expected::Cut, ..ignored(name, rule, play) }
}

fn borne(name: &'static str, rule: &'static str, play: fn(&mut Scene<'_>)) -> Mode {
    Mode { expected: Expected::Borne, ..ignored(name, rule, play) }
}

/// HTTP/2 spoken wrongly, or for too long.
fn http() -> Vec<Mode> {
    vec![
        cut("no word for 30 seconds", "an answer begins within 30 s", |scene| scene.speak(Raw::Mute)),
        cut("an answer at a byte a second", "an answer begins within 30 s", |scene| scene.speak(Raw::Drip)),
        cut("noise instead of HTTP/2", "the protocol", |scene| scene.speak(Raw::Noise)),
        cut("a frame of 16 MiB", "a frame has at most 16 KiB", |scene| scene.speak(Raw::HugeFrame)),
        cut("a message of 1 GiB announced", "a message has at most 2 MiB", |scene| scene.speak(Raw::GiantMessage)),
        cut("headers continued without end", "headers have at most 16 KiB", |scene| scene.speak(Raw::Continuation)),
        cut("frames that hold nothing", "few frames hold nothing", |scene| {
            scene.speak(Raw::EmptyFrames);
        }),
        borne("20,000 pings", "one answer waits at a time", |scene| scene.speak(Raw::Pings)),
        borne("20,000 settings", "one answer waits at a time", |scene| scene.speak(Raw::Settings)),
        cut("streams that are reset", "the protocol", |scene| scene.speak(Raw::Resets)),
        cut("more room than there is", "the protocol", |scene| scene.speak(Raw::Window)),
        cut("streams that nobody asked for", "the protocol", |scene| scene.speak(Raw::Push)),
        cut("answers to calls that nobody made", "the protocol", |scene| scene.speak(Raw::HeaderTable)),
        Mode {
            expected: Expected::Over,
            ..ignored("20,000 farewells", "a farewell ends a connection and nothing else", |scene| {
                scene.speak(Raw::Farewells);
            })
        },
    ]
}
