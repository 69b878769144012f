//! Machines that enrol with good signatures and are another one's double: a copied disk, or one name twice.
//!
//! They are turned away, kept here for people to see with both addresses, and let in when a signed roster says which is
//! which. Nothing of it is in the ledger but the alarm: a machine that is turned away comes again within seconds.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use hostler_plan::{
    document::{Admission, Enrolment, Hardware, RosterNode, RosterStatus},
    id::{Fingerprint, NodeName},
    timestamp::Timestamp,
    trust::Verified,
};

use super::state::{Membership, State};

/// Machines that are remembered; a fleet of a thousand made from one image has its first ones shown.
const KEPT: usize = 64;
/// How long after its last try: an agent tries every five seconds.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// One that was turned away.
#[derive(Debug, Clone)]
pub(crate) struct Double {
    pub enrolment: Verified<Enrolment>,
    pub admission: Verified<Admission>,
    pub address: IpAddr,
    pub reason: String,
    pub beside: Beside,
    pub at: Timestamp,
}

/// The node that has what it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beside {
    pub node: NodeName,
    pub key: Fingerprint,
}

/// Those that came lately: by key and address, because two machines may come with one key.
#[derive(Debug, Default)]
pub(crate) struct Doubles(BTreeMap<(Fingerprint, IpAddr), Double>);

impl Doubles {
    /// Remembers one, in the place of the oldest where there are too many.
    pub(super) fn add(&mut self, double: Double) {
        self.0.retain(|_, kept| double.at.since(kept.at) < FORGOTTEN_AFTER);
        let key = (double.enrolment.document().key.fingerprint(), double.address);
        if self.0.len() >= KEPT && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, kept)| kept.at).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        self.0.insert(key, double);
    }

    /// The clock stepped by so many milliseconds: each is remembered for as long as before.
    pub(super) fn clock_stepped(&mut self, by_ms: i64) {
        self.0.values_mut().for_each(|kept| kept.at = kept.at.stepped(by_ms));
    }

    /// One came in: it is no double any more.
    pub(super) fn settled(&mut self, key: &Fingerprint, address: IpAddr) {
        self.0.remove(&(key.clone(), address));
    }

    /// Those that came lately.
    pub(crate) fn lately(&self, now: Timestamp) -> impl Iterator<Item = &Double> {
        self.0.values().filter(move |kept| now.since(kept.at) < FORGOTTEN_AFTER)
    }
}

/// The node whose name, key or machine this one has too, and in which words. A key that a signed roster lists has its
/// name by that, and only another machine with the very key stands against it.
pub(super) fn beside(state: &State, wanted: &Enrolment) -> Option<(Beside, String)> {
    let (node, key) = (&wanted.node, wanted.key.fingerprint());
    let found = |node: &NodeName, key: Fingerprint, what: String| Some((Beside { node: node.clone(), key }, what));
    let counts = |name: &NodeName, key: &Fingerprint| {
        matches!(state.membership(name, key), Membership::Active | Membership::Pending)
    };
    let is_listed = listed(state, &key).is_some();
    for (name, enrolled) in &state.enrolled {
        let known = enrolled.enrolment.document();
        let known_key = known.key.fingerprint();
        if known_key == key && name != node {
            return found(name, known_key, format!("key {key} is enrolled as {name}"));
        }
        if known_key == key && !is_one_machine(&known.hardware, &wanted.hardware) {
            return found(name, known_key, format!("key {key} of {name} came from another machine"));
        }
        if is_listed {
            continue;
        }
        let same_machine =
            is_machine_id(&wanted.hardware.machine_id) && known.hardware.machine_id == wanted.hardware.machine_id;
        if known_key != key && name != node && same_machine && counts(name, &known_key) {
            let id = &wanted.hardware.machine_id;
            return found(name, known_key, format!("machine id {id} is that of {name}"));
        }
    }
    if is_listed {
        return None;
    }
    let holder = state.roster.as_ref().and_then(|r| r.document().active(node)).map(|n| n.key.fingerprint());
    let waiting = || {
        let enrolled = state.enrolled.get(node)?.enrolment.document().key.fingerprint();
        (state.membership(node, &enrolled) == Membership::Pending).then_some(enrolled)
    };
    let holder = holder.or_else(waiting).filter(|holder| *holder != key)?;
    found(node, holder.clone(), format!("the name {node} belongs to key {holder}"))
}

/// What a board says of itself differs between two machines, where both say something.
fn is_one_machine(one: &Hardware, other: &Hardware) -> bool {
    let same_id =
        one.machine_id == other.machine_id || !is_machine_id(&one.machine_id) || !is_machine_id(&other.machine_id);
    let same_serial = one.serial == other.serial || one.serial.is_empty() || other.serial.is_empty();
    same_id && same_serial
}

/// A machine id of zeros only is none: systemd takes it for one that was never made.
pub(super) fn is_machine_id(text: &str) -> bool {
    text.chars().any(|c| c != '0')
}

/// The active node with that key, perhaps under another name than the one it came with.
pub(super) fn listed<'a>(state: &'a State, key: &Fingerprint) -> Option<&'a RosterNode> {
    let listed = state.roster.as_ref()?.document().with_key(key)?;
    (listed.status == RosterStatus::Active).then_some(listed)
}
