//! Whatever the fleet looks like, no plan is made that takes etcd's majority away, none is refused that some order
//! would carry through, and the node on which the coordinator runs goes as late as it can.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::collections::BTreeSet;

use hostler_fixtures::{self as made, key, name, public};
use hostler_plan::{
    document::{RosterNode, SignerRole},
    fleet::Fleet,
    id::{Digest, Epoch, NodeName, Seq},
    planner::{
        self, Accepted, Begins, Earlier, Intent, Inventory, InventoryNode, Numbering, Obstacle, PhaseName, PlanError,
        Preview, Quarantined, Selection,
    },
    sequencer::{ClusterNode, Standing},
    step::ClusterRole,
    timestamp::Timestamp,
};

const OLD: &str = "v1.34.2+k3s1";
const NEW: &str = "v1.34.3+k3s1";

/// A small generator (SplitMix64): the same fleet from the same seed, everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

struct Case {
    fleet: Fleet,
    ready: BTreeSet<NodeName>,
    coordinator_on: BTreeSet<NodeName>,
    intent: Intent,
}

impl Case {
    fn of(seed: u64) -> Self {
        let mut random = Random(seed);
        let (servers, workers) = (1 + random.below(6), random.below(4));
        let canary = random.below(2);
        let mut text = format!(
            "name = \"home\"\ndistribution = \"k3s\"\nversion = \"{OLD}\"\napi = \"s1:6443\"\n[policy]\n\
             max_unavailable = 9\ncanary = {canary}\n[[artifacts]]\nname = \"k3s\"\nversion = \"{NEW}\"\n\
             arch = \"aarch64\"\npath = \"k3s\"\nsha256 = \"{}\"\nsize = 5\n",
            Digest::of(b"k3s").hex()
        );
        for (letter, role, count) in [("s", "server", servers), ("w", "worker", workers)] {
            for i in 1..=count {
                text += &format!("[[nodes]]\nname = \"{letter}{i}\"\nrole = \"{role}\"\narch = \"aarch64\"\n");
            }
        }
        let fleet = Fleet::from_toml(&[("fleet.toml", &text)]).unwrap().0;
        let names: Vec<NodeName> = fleet.nodes.iter().map(|n| n.name.clone()).collect();
        let mut some = |chance| names.iter().filter(|_| random.below(10) < chance).cloned().collect::<Vec<_>>();
        let (ready, nodes) = (some(7).into_iter().collect(), some(6));
        let coordinator_on = some(2).into_iter().take(1).collect();
        let nodes = if nodes.is_empty() { Selection::All } else { Selection::Named(nodes) };
        let accept_outage = Vec::new();
        let intent = match random.below(2) {
            0 => Intent::Reboot { nodes, accept_outage },
            _ => Intent::Upgrade {
                to: NEW.parse().unwrap(),
                nodes,
                quarantined: Quarantined::Refuse,
                accepted: Accepted { outage: accept_outage, ..Accepted::default() },
            },
        };
        Self { fleet, ready, coordinator_on, intent }
    }

    fn plan(&self) -> Result<Preview, PlanError> {
        let now: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        let root = made::root(now, vec![made::signer("ana", public(&key(200)), SignerRole::Admin)]);
        let node = |(n, i): (&hostler_plan::fleet::FleetNode, u8)| -> RosterNode {
            made::node(n.name.as_str(), public(&key(i)), n.role)
        };
        let roster = made::roster(&root, now, self.fleet.nodes.iter().zip(1..).map(node).collect());
        let seen = |n: &NodeName| {
            let standing = if self.ready.contains(n) { Standing::Ready } else { Standing::NotReady };
            let condition = ClusterNode { standing, version: OLD.parse().ok(), ..ClusterNode::UNKNOWN };
            (n.clone(), InventoryNode { connected: true, condition, ..InventoryNode::UNSEEN })
        };
        let nodes = self.fleet.nodes.iter().map(|n| seen(&n.name)).collect();
        let inventory = Inventory { nodes, ..Inventory::default() };
        let numbering = Numbering {
            epoch: Epoch(1),
            seq: Seq(43),
            prev: None,
            also: Vec::new(),
            root_version: 1,
            roster: Digest::of(b"roster"),
            created: now,
            lifetime_seconds: 3600,
            begins: Begins::AtOnce,
        };
        let earlier = Earlier { coordinator_on: self.coordinator_on.clone(), ..Earlier::default() };
        planner::plan(&self.fleet, &roster, &inventory, &earlier, &self.intent, &numbering).map(|(_, preview)| preview)
    }

    fn servers(&self) -> BTreeSet<NodeName> {
        self.fleet.servers().into_iter().map(|n| n.name.clone()).collect()
    }

    /// Whether more than half of several servers are up, whoever of these is away, and each is back before the next
    /// goes. One alone has no majority to lose.
    fn carries(&self, order: &[NodeName]) -> bool {
        let servers = self.servers();
        let mut up: BTreeSet<&NodeName> = servers.intersection(&self.ready).collect();
        order.iter().filter(|node| servers.contains(*node)).all(|node| {
            let was_up = up.remove(node);
            let holds = servers.len() < 2 || !was_up || 2 * up.len() > servers.len();
            up.extend(servers.get(node));
            holds
        })
    }
}

/// Every order of some nodes.
fn orders(nodes: &[NodeName]) -> Vec<Vec<NodeName>> {
    if nodes.is_empty() {
        return vec![Vec::new()];
    }
    let first = |(i, node): (usize, &NodeName)| {
        let rest: Vec<NodeName> = [&nodes[..i], &nodes[i + 1..]].concat();
        orders(&rest).into_iter().map(move |order| [vec![node.clone()], order].concat()).collect::<Vec<_>>()
    };
    nodes.iter().enumerate().flat_map(first).collect()
}

#[test]
fn no_plan_takes_the_majority_and_none_is_refused_that_an_order_would_carry() {
    let (mut made, mut refused, mut last) = (0, 0, 0);
    for seed in 0..3000 {
        let case = Case::of(seed);
        let wanted: Vec<NodeName> = match case.intent.named() {
            [] => case.fleet.nodes.iter().map(|n| n.name.clone()).collect(),
            named => named.to_vec(),
        };
        let servers: Vec<NodeName> = wanted.iter().filter(|n| case.servers().contains(*n)).cloned().collect();
        match case.plan() {
            Ok(preview) => {
                made += 1;
                let order: Vec<NodeName> = preview.phases.iter().flat_map(|phase| phase.nodes.clone()).collect();
                assert_eq!(order.iter().collect::<BTreeSet<_>>(), wanted.iter().collect(), "seed {seed}");
                assert!(case.carries(&order), "seed {seed}: {preview}");
                last += usize::from(goes_late(&case, &preview, &order, seed));
            }
            Err(PlanError(obstacles)) => {
                let loses = |o: &Obstacle| matches!(o, Obstacle::Quorum { .. } | Obstacle::Majority { .. });
                if obstacles.iter().any(loses) {
                    refused += 1;
                    assert!(!orders(&servers).iter().any(|order| case.carries(order)), "seed {seed}: {obstacles:?}");
                }
            }
        }
    }
    assert!(made > 300 && refused > 300 && last > 100, "{made} made, {refused} refused, {last} with a coordinator");
}

/// The coordinator's node is the last that may be: where servers lead, of the servers, and of those that are Ready.
fn goes_late(case: &Case, preview: &Preview, order: &[NodeName], seed: u64) -> bool {
    let Some(place) = order.iter().position(|node| case.coordinator_on.contains(node)) else { return false };
    if case.servers().contains(&order[place]) && !case.ready.contains(&order[place]) {
        return false;
    }
    let leads = matches!(case.intent, Intent::Upgrade { .. });
    let is_worker = |node: &NodeName| case.fleet.node(node).is_some_and(|n| n.role == ClusterRole::Worker);
    let behind = &order[place + 1..];
    match leads && !is_worker(&order[place]) {
        true => assert!(behind.iter().all(is_worker), "seed {seed}: {preview}"),
        false => {
            assert!(behind.is_empty(), "seed {seed}: {preview}");
            assert!(preview.phases.last().is_some_and(|p| p.name == PhaseName::Coordinator), "seed {seed}: {preview}");
        }
    }
    assert!(preview.to_string().contains(&format!("the coordinator runs on {}", name(order[place].as_str()))));
    true
}
