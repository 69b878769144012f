//! What the planner lists, the coordinator grants and a node begins: the same at any moment.

use std::time::Duration;

use hostler_fixtures::{self as made, key, name, public, signed};
use hostler_plan::{
    document::{DocumentKind, Plan, Roster, Signed, SignerRole, Windows},
    entry::{Entry, StoredDocument},
    health::Vitals,
    id::{Arch, BootId, TaskId},
    planner::Begins,
    sequencer::{ClusterNode, NodeEvent, Reason, Sequencer, Settings, Standing, WINDOW_MARGIN},
    timestamp::Timestamp,
    trust::{Clock, Granted, Identity, NodeState, Start, TrustedRoot},
};
use proptest::prelude::*;

use super::{
    at, fleet,
    plans::{CREATED, SATURDAYS, WEEK, planned, reboot, roster},
};

/// Three nights a week, so that a plan sees several windows.
const NIGHTS: &str = r#"
[maintenance]
zone = "Europe/Berlin"
windows = [{ days = ["Thu", "Fri", "Sat"], start = "22:00", end = "02:00" }]
"#;

struct World {
    roster: Roster,
    plan: Plan,
    signed: Signed,
}

impl World {
    /// A reboot of `w1` alone, which was away for so long before.
    fn new(windows: &str, seconds: u64) -> Self {
        let fleet = fleet(windows);
        let (mut plan, _) = planned(&fleet, &reboot(&["w1"]), &[("w1", seconds)], WEEK).unwrap();
        let roster = roster(&fleet);
        // As long as it may live: every night of a week.
        plan.expires = at(CREATED).plus(Duration::from_secs(7 * 86_400));
        if let (Some(Windows::Within { sets }), Some(windows)) = (&mut plan.windows, &fleet.maintenance) {
            sets[0].windows = windows.windows(plan.created, plan.expires);
        }
        plan.roster = hostler_plan::id::Digest::of(&hostler_plan::json::write(&roster));
        let signed = signed(DocumentKind::Plan, &plan, &[&key(200)]);
        Self { roster, plan, signed }
    }

    /// The server, which drains `w1`, with the plan in its hands.
    fn node(&self) -> NodeState {
        let root = made::root(at(CREATED), vec![made::signer("ana", public(&key(200)), SignerRole::Admin)]);
        let root = signed(DocumentKind::Root, &root, &[&key(200)]);
        let root = TrustedRoot::first(&root, &root.digest()).unwrap();
        let state = NodeState::new(root, at("2026-11-10T00:00:00Z"));
        let clock = Clock { now: at(CREATED), synchronised: true };
        let roster = signed(DocumentKind::Roster, &self.roster, &[&key(200)]);
        let (state, _) = state.accept_roster(clock, &roster).unwrap();
        let accepted = state.accept_plan(clock, &identity(), &self.signed).unwrap();
        accepted.work.unwrap().expect("work for s1");
        accepted.state
    }

    fn sequencer(&self) -> Sequencer {
        let mut sequencer = Sequencer::new(Settings::default());
        let document = |signed: Signed, kind| Entry::Document { kind, document: StoredDocument(signed) };
        let roster = signed(DocumentKind::Roster, &self.roster, &[&key(200)]);
        let now = at(CREATED);
        sequencer.apply(now, &document(roster, DocumentKind::Roster));
        sequencer.apply(now, &document(self.signed.clone(), DocumentKind::Plan));
        for node in &self.roster.nodes {
            let (node, boot_id) = (node.name.clone(), BootId::new("00000000-0000-4000-8000-000000000001").unwrap());
            sequencer.observe(now, NodeEvent::NodeConnected { node: node.clone(), boot_id });
            let condition = ClusterNode { standing: Standing::Ready, ..ClusterNode::UNKNOWN };
            sequencer.observe(now, NodeEvent::NodeCondition { node: node.clone(), condition });
        }
        sequencer
    }
}

fn identity() -> Identity {
    Identity { node: name("s1"), key: public(&key(1)).fingerprint(), arch: Arch::Aarch64 }
}

fn drain() -> TaskId {
    TaskId::new("w1.drain").unwrap()
}

/// Whether the coordinator grants the drain of `w1` at that time, every node being well and heard.
fn grants(sequencer: &Sequencer, now: Timestamp) -> bool {
    let mut sequencer = sequencer.clone();
    for node in ["s1", "w1", "w2", "w3"] {
        sequencer.observe(now, NodeEvent::NodeHealth { node: name(node), vitals: Vitals::default() });
    }
    let is_drain = |entry: &Entry| matches!(entry, Entry::Granted { task, .. } if *task == drain());
    let decided = sequencer.decide(now);
    let waits: Vec<String> = sequencer.waits(now).iter().map(ToString::to_string).collect();
    let granted = decided.iter().any(is_drain);
    assert!(
        granted || waits.iter().any(|w| w.contains("waits for the window") || w.contains("waits for a window")),
        "{waits:?}"
    );
    granted
}

/// Whether the node begins it, though somebody granted it.
fn begins(state: &NodeState, world: &World, now: Timestamp) -> bool {
    let granted = &mut Granted::new(world.signed.digest(), drain(), Vec::new());
    match state.clone().may_start(Clock { now, synchronised: true }, &identity(), granted) {
        Start::Now(_) => true,
        Start::Wait(why) => {
            assert!(why.starts_with("waits for"), "{why}");
            false
        }
        Start::Never(refused) => panic!("{refused}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// The node begins exactly where the windows have room; the coordinator grants exactly where they still have some a
    /// minute later, and so nothing that a node would not begin.
    #[test]
    fn planner_coordinator_and_node_agree_at_any_moment(
        moments in prop::collection::vec(
            prop_oneof![0..7 * 86_400_u64, (0..7_u64, -4000..18_000_i64).prop_map(|(day, around)| {
                // Around the evenings: 21:00 UTC of that day.
                (day * 86_400 + 9 * 3600).saturating_add_signed(around)
            })],
            1..20,
        ),
        seconds in 1..14_000_u64,
    ) {
        let world = World::new(NIGHTS, seconds);
        let (state, sequencer) = (world.node(), world.sequencer());
        let Some(Windows::Within { sets }) = &world.plan.windows else { panic!("windows") };
        let has_room = |now: Timestamp| {
            let needs = Duration::from_secs(seconds);
            sets[0].windows.iter().any(|w| w.from <= now && now.plus(needs) <= w.until)
        };
        for moment in moments {
            let now = at(CREATED).plus(Duration::from_secs(moment));
            if now >= world.plan.expires {
                continue;
            }
            prop_assert_eq!(begins(&state, &world, now), has_room(now), "the node at {}", now);
            let granted = has_room(now) && has_room(now.plus(WINDOW_MARGIN));
            prop_assert_eq!(grants(&sequencer, now), granted, "the coordinator at {}", now);
        }
    }
}

#[test]
fn a_window_that_closes_opens_again_and_what_has_begun_is_finished() {
    let world = World::new(NIGHTS, 3600);
    let state = world.node();
    let (inside, late, next) = (at("2026-12-03T23:00:00Z"), at("2026-12-04T00:30:00Z"), at("2026-12-04T21:00:00Z"));
    assert!(begins(&state, &world, inside));
    assert!(!begins(&state, &world, late), "half an hour is left, and it needs one");
    assert!(begins(&state, &world, next));
    let mut granted = Granted::new(world.signed.digest(), drain(), Vec::new());
    granted.begin();
    let closed = Clock { now: at("2026-12-04T12:00:00Z"), synchronised: true };
    assert!(matches!(state.clone().may_start(closed, &identity(), &mut granted), Start::Now(_)), "begun in time");
    let unset = Clock { now: inside, synchronised: false };
    let fresh = &mut Granted::new(world.signed.digest(), drain(), Vec::new());
    let start = state.clone().may_start(unset, &identity(), fresh);
    assert!(matches!(start, Start::Wait(ref why) if why.contains("clock")), "{start:?}");
}

#[test]
fn what_waits_says_for_which_window_and_the_coordinator_wakes_when_it_opens() {
    let world = World::new(SATURDAYS, 3600);
    let mut sequencer = world.sequencer();
    let now = at("2026-12-05T17:48:00Z");
    for node in ["s1", "w1", "w2", "w3"] {
        sequencer.observe(now, NodeEvent::NodeHealth { node: name(node), vitals: Vitals::default() });
    }
    assert!(sequencer.decide(now).is_empty());
    let waits = sequencer.waits(now);
    let shut = waits.iter().find(|wait| matches!(wait.reason, Reason::Window { .. })).expect("a wait");
    assert_eq!(shut.to_string(), "plan 7, w1: waits for the window Saturday 22:00 Europe/Berlin, in 3 h 20 min");
    assert_eq!(shut.reason.word(), "window");
    assert!(sequencer.deadline(now).is_some_and(|deadline| deadline <= at("2026-12-05T21:00:00Z")));
}

#[test]
fn a_plan_that_was_told_to_begin_at_once_asks_for_no_window() {
    let fleet = fleet(SATURDAYS);
    let (plan, _) = planned(&fleet, &reboot(&["w1"]), &[], Begins::AtOnce).unwrap();
    let signed = signed(DocumentKind::Plan, &plan, &[&key(200)]);
    let world = World { roster: roster(&fleet), plan, signed };
    assert!(grants(&world.sequencer(), at("2026-12-02T13:00:00Z")));
}
