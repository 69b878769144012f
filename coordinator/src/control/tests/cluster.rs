//! What servers read of their cluster: which reading counts, and for how long.

use std::collections::BTreeMap;

use crate::control::cluster::NodeReading;

use super::*;

/// What a server says of node `b`.
fn reading(is_ready: bool) -> BTreeMap<NodeName, NodeReading> {
    let node = |name: &str, is_ready| {
        let reading = NodeReading { is_ready, cordoned_by: None, version: "v1.34.1".into(), machine_id: String::new() };
        (node(name), reading)
    };
    BTreeMap::from([node("a", true), node("b", is_ready)])
}

/// Whether `b` is shown as Ready; none where nothing is known of it.
fn shown(fleet: &Fleet) -> Option<bool> {
    fleet.control.cluster.shown.get(&node("b")).map(|reading| reading.is_ready)
}

/// A fleet of two servers.
fn servers() -> Fleet {
    let mut fleet = Fleet::new();
    list(&mut fleet, |_| {});
    fleet
}

/// The next roster lists all nodes as servers, and what is added.
fn list(fleet: &mut Fleet, add: impl FnOnce(&mut Roster)) {
    let mut roster = fleet.roster.clone();
    (roster.version, roster.prev) = (2, Some(signed(DocumentKind::Roster, &fleet.roster, &[&key(ADMIN)]).digest()));
    roster.nodes.iter_mut().for_each(|node| node.role = ClusterRole::Server);
    add(&mut roster);
    fleet.control.submit_roster(at(0), &signed(DocumentKind::Roster, &roster, &[&key(ADMIN)])).unwrap();
}

#[test]
fn a_second_server_takes_over_when_the_first_tells_nothing_new() {
    let (mut fleet, a, b) = (servers(), node("a"), node("b"));
    fleet.control.cluster_read(at(10), &a, reading(true), Duration::ZERO).unwrap();
    fleet.control.cluster_read(at(12), &b, reading(false), Duration::ZERO).unwrap();
    assert_eq!(shown(&fleet), Some(false), "the newest counts");
    fleet.control.cluster_is_as_read(at(20), &a, Duration::from_secs(9));
    assert_eq!(shown(&fleet), Some(false), "a sign of life is as old as its proof");
    fleet.control.cluster_is_as_read(at(21), &a, Duration::ZERO);
    assert_eq!(shown(&fleet), Some(true));
    // a's watch hangs and b is there: what a said does not come back.
    fleet.control.cluster_is_as_read(at(60), &b, Duration::from_secs(5));
    fleet.control.cluster_is_as_read(at(62), &a, Duration::from_secs(41));
    assert_eq!(shown(&fleet), Some(false));
    // a alone is left, and proves nothing any more.
    fleet.control.cluster_is_as_read(at(116), &a, Duration::from_secs(95));
    assert_eq!(shown(&fleet), None, "nothing is known after a minute without proof");
    fleet.control.cluster_is_as_read(at(117), &node("c"), Duration::ZERO);
    assert_eq!(shown(&fleet), None, "who read nothing proves nothing");
}

#[test]
fn what_a_server_read_before_its_roster_counts_from_then_on_without_being_told_again() {
    let (mut fleet, c) = (Fleet::new(), node("c"));
    fleet.control.cluster_read(at(0), &c, reading(true), Duration::ZERO).unwrap();
    assert_eq!(shown(&fleet), None, "nobody calls it a server");
    list(&mut fleet, |roster| {
        let key = hostler_fixtures::public(&hostler_fixtures::key(77));
        roster.nodes.push(hostler_fixtures::node("c", key, ClusterRole::Server));
    });
    fleet.control.cluster_is_as_read(at(15), &c, Duration::ZERO);
    assert_eq!(shown(&fleet), Some(true));
    let mut workers = Fleet::new();
    workers.control.cluster_read(at(0), &node("a"), reading(true), Duration::ZERO).unwrap_err();
}
