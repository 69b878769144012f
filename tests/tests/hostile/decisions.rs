//! Modes with what people decide about a node's health, and with questions about the cluster.

use std::time::Duration;

use hostler_fixtures::{self as made, public, signed};
use hostler_plan::{
    document::{Decided, Decision, DocumentKind, NodeDecision, NodeMatter, Signed},
    health::{Acceptance, Condition, Level, Release, Rule},
    id::{Digest, Epoch, FleetId, NodeName},
    ledger::Head,
    refusal::Refusal,
};
use hostler_proto::v1::{ViewQuestion, to_agent::Message};
use ssh_key::PrivateKey;

use crate::modes::{Mode, Scene, after_a_change, ignored, refused};

pub(crate) fn modes() -> Vec<Mode> {
    [signers(), machines(), numbers(), forms(), questions()].concat()
}

/// A disk that fails is to count as well from now on.
fn matter(scene: &Scene<'_>) -> NodeMatter {
    NodeMatter::Accept(Acceptance {
        rule: Rule::NvmeWear,
        subject: "nvme0".to_owned(),
        disk: None,
        level: Level::Critical,
        required: true,
        values: [(Condition::NvmeWorn, "0.95".parse().unwrap())].into(),
        until: scene.now.whole_seconds().plus(Duration::from_secs(30 * 86_400)),
        reason: "it is old".parse().unwrap(),
    })
}

fn about(scene: &Scene<'_>, number: u64) -> NodeDecision {
    let listed = scene.world.listed();
    let w1 = listed.nodes.iter().find(|node| node.name.as_str() == "w1").unwrap();
    let (node, key) = (w1.name.clone(), w1.key.fingerprint());
    NodeDecision { node, key, number, keeps: Vec::new(), also: Vec::new(), about: matter(scene) }
}

fn decision(scene: &Scene<'_>, by: &str, about: NodeDecision) -> Decision {
    made::decision(&scene.world.listed(), by, Head::EMPTY, scene.now.whole_seconds(), Decided::Node(about))
}

fn offer(scene: &mut Scene<'_>, decision: Signed) {
    scene.say(Message::Decision(decision.into()));
}

/// The first decision about the node, changed, by that person's key.
fn changed(scene: &mut Scene<'_>, by: &str, key: &PrivateKey, change: impl FnOnce(&mut Decision, &mut NodeDecision)) {
    let mut one = about(scene, 1);
    let mut decision = decision(scene, by, one.clone());
    change(&mut decision, &mut one);
    if let Decided::Node(_) = decision.decided {
        decision.decided = Decided::Node(one);
    }
    let signed = signed(DocumentKind::Decision, &decision, &[key]);
    offer(scene, signed);
}

fn by_anna(scene: &mut Scene<'_>, change: impl FnOnce(&mut Decision, &mut NodeDecision)) {
    let anna = scene.world.anna.clone();
    changed(scene, "anna", &anna, change);
}

fn signers() -> Vec<Mode> {
    vec![
        refused("a decision by a viewer", "roles", Refusal::NotAllowed, |scene| {
            let key = scene.world.vic.clone();
            changed(scene, "vic", &key, |_, _| ());
        }),
        refused("a critical verdict accepted by an operator", "roles", Refusal::NotAllowed, |scene| {
            let key = scene.world.olga.clone();
            changed(scene, "olga", &key, |_, _| ());
        }),
        refused("a decision by the revoked admin", "revoked keys do not count", Refusal::Revoked, |scene| {
            let key = scene.world.mallory.clone();
            changed(scene, "mallory", &key, |_, _| ());
        }),
        refused("the revoked admin in anna's name", "a name is its key's", Refusal::BadSignature, |scene| {
            let key = scene.world.mallory.clone();
            changed(scene, "anna", &key, |_, _| ());
        }),
        refused("a decision by a node", "roles", Refusal::BadSignature, |scene| {
            let key = scene.world.w2.clone();
            changed(scene, "anna", &key, |_, _| ());
        }),
        refused("a decision that nobody signed", "signatures", Refusal::BadSignature, |scene| {
            let decision = decision(scene, "anna", about(scene, 1));
            offer(scene, signed(DocumentKind::Decision, &decision, &[]));
        }),
        refused("a decision that two signed", "one person decides", Refusal::BadSignature, |scene| {
            let decision = decision(scene, "anna", about(scene, 1));
            let keys = [&scene.world.anna, &scene.world.olga];
            offer(scene, signed(DocumentKind::Decision, &decision, &keys));
        }),
        refused("a decision signed as a plan", "namespaces", Refusal::BadSignature, |scene| {
            let decision = decision(scene, "anna", about(scene, 1));
            offer(scene, signed(DocumentKind::Plan, &decision, &[&scene.world.anna]));
        }),
    ]
}

fn machines() -> Vec<Mode> {
    vec![
        refused("a decision about another node", "each node has its own", Refusal::NotATarget, |scene| {
            by_anna(scene, |_, one| one.node = NodeName::new("w2").unwrap());
        }),
        refused("a decision about the machine before", "a machine is its key", Refusal::NotATarget, |scene| {
            let other = public(&scene.world.w2).fingerprint();
            by_anna(scene, |_, one| one.key = other);
        }),
        refused("a decision of another fleet", "fleet id", Refusal::WrongFleet, |scene| {
            by_anna(scene, |decision, _| decision.fleet_id = FleetId::new("0bad".repeat(8)).unwrap());
        }),
        refused("a decision of an epoch to come", "epochs", Refusal::Replay, |scene| {
            by_anna(scene, |decision, _| decision.epoch = Epoch(decision.epoch.0 + 1));
        }),
        refused("a decision about a rollout", "a node takes its own alone", Refusal::NotATarget, |scene| {
            let plan = Digest::of(b"plan");
            by_anna(scene, |decision, _| decision.decided = Decided::Resume { plan });
        }),
    ]
}

fn numbers() -> Vec<Mode> {
    vec![
        refused("the highest decision there is", "one key cannot end decisions", Refusal::Replay, |scene| {
            by_anna(scene, |_, one| one.number = u64::MAX);
        }),
        refused("decision 0", "decisions are numbered from 1", Refusal::Malformed, |scene| {
            by_anna(scene, |_, one| one.number = 0);
        }),
        after_a_change(refused("a decision that was withdrawn", "a later one ends it", Refusal::Replay, |scene| {
            let anna = scene.world.anna.clone();
            let sign = |decision: &Decision| signed(DocumentKind::Decision, decision, &[&anna]);
            let accepted = sign(&decision(scene, "anna", about(scene, 1)));
            let withdrawal = NodeMatter::Withdraw { acceptance: accepted.digest() };
            let withdrawn = sign(&decision(scene, "anna", NodeDecision { about: withdrawal, ..about(scene, 2) }));
            offer(scene, accepted.clone());
            offer(scene, withdrawn);
            offer(scene, accepted);
        })),
        after_a_change(refused("another decision of the same number", "one content", Refusal::Replay, |scene| {
            by_anna(scene, |_, _| ());
            by_anna(scene, |decision, _| decision.created = decision.created.plus(Duration::from_secs(1)));
        })),
    ]
}

fn forms() -> Vec<Mode> {
    vec![
        refused("a verdict accepted for a year", "at most 90 days", Refusal::Malformed, |scene| {
            by_anna(scene, |decision, one| {
                if let NodeMatter::Accept(accepted) = &mut one.about {
                    accepted.until = decision.created.plus(Duration::from_secs(365 * 86_400));
                }
            });
        }),
        refused("silence accepted", "missing is never well", Refusal::Malformed, |scene| {
            by_anna(scene, |_, one| {
                if let NodeMatter::Accept(accepted) = &mut one.about {
                    accepted.rule = Rule::Report;
                }
            });
        }),
        refused("an unknown verdict accepted", "missing is never well", Refusal::Malformed, |scene| {
            by_anna(scene, |_, one| {
                if let NodeMatter::Accept(accepted) = &mut one.about {
                    accepted.level = Level::Unknown;
                }
            });
        }),
        refused("a decision that lives for a day", "signed and handed in at once", Refusal::Malformed, |scene| {
            by_anna(scene, |decision, _| decision.expires = decision.created.plus(Duration::from_secs(86_400)));
        }),
        refused("a disk let go by a number that is none", "a disk is its number", Refusal::Malformed, |scene| {
            by_anna(scene, |_, one| {
                one.about = NodeMatter::Release(Release {
                    subject: "sda".to_owned(),
                    disk: Some(hostler_plan::health::DiskNumbers::default()),
                    level: Level::Critical,
                    required: true,
                    reason: "it is gone".parse().unwrap(),
                });
            });
        }),
    ]
}

fn ask(scene: &mut Scene<'_>, number: u64, nodes: Vec<String>, nonce: &str) {
    scene.say(Message::View(ViewQuestion { number, nodes, nonce: nonce.to_owned() }));
}

fn questions() -> Vec<Mode> {
    vec![
        ignored("20,000 questions about pods", "a question has few places", |scene| {
            for number in 0..20_000 {
                ask(scene, number, vec!["w1".to_owned()], &"0".repeat(64));
            }
        }),
        ignored("a question about 100,000 nodes", "limits before work", |scene| {
            ask(scene, 1, vec!["w".to_owned(); 100_000], &"0".repeat(64));
        }),
        ignored("a question with a document for a nonce", "nothing foreign is signed", |scene| {
            ask(scene, 1, vec!["w1".to_owned()], &"{}\n".repeat(100));
        }),
    ]
}
