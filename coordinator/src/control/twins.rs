//! A key that lives on two machines: a copied disk of a node that belongs to the fleet.
//!
//! Both come with its certificate and its state, and nothing that they sign tells them apart. A boot does: one that
//! another followed never comes back on one machine. Then both are kept out, because nobody but a person knows which
//! is the right one, until one of the two has not come for a while.

use std::{collections::BTreeMap, net::IpAddr};

use hostler_plan::{
    id::{BootId, Fingerprint, NodeName},
    timestamp::Timestamp,
};

use super::doubles::FORGOTTEN_AFTER;

/// Boots of one key that are remembered: two machines, each rebooted once while somebody finds out.
const KEPT: usize = 4;

/// Boots that came lately, by the key that they came with.
#[derive(Debug, Default)]
pub(super) struct Twins(BTreeMap<Fingerprint, Came>);

#[derive(Debug, Clone)]
struct Came {
    node: NodeName,
    /// The newest last.
    boots: Vec<Boot>,
    /// A boot came back that another had followed.
    are_two: bool,
}

/// One boot of a machine, and where and when it came last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boot {
    pub id: BootId,
    pub address: IpAddr,
    pub at: Timestamp,
}

/// Two boots of one key that run at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Twin {
    pub key: Fingerprint,
    pub node: NodeName,
    pub boot: Boot,
    pub beside: Boot,
}

impl Twins {
    /// One came, while the boot `open` held the key's stream. Gives both where it is one of two.
    pub(super) fn came(
        &mut self,
        node: &NodeName,
        key: &Fingerprint,
        boot: Boot,
        open: Option<&BootId>,
    ) -> Option<Twin> {
        let now = boot.at;
        let came =
            self.0.entry(key.clone()).or_insert_with(|| Came { node: node.clone(), boots: Vec::new(), are_two: false });
        came.node.clone_from(node);
        for held in came.boots.iter_mut().filter(|held| Some(&held.id) == open) {
            held.at = now;
        }
        came.boots.retain(|held| now.since(held.at) < FORGOTTEN_AFTER);
        let before = came.boots.iter().position(|held| held.id == boot.id);
        came.are_two |= before.is_some_and(|at| at + 1 < came.boots.len());
        before.map(|at| came.boots.remove(at));
        came.are_two &= !came.boots.is_empty();
        if came.boots.len() == KEPT {
            came.boots.remove(0);
        }
        came.boots.push(boot);
        came.of(key).next_back()
    }

    /// The clock stepped by so many milliseconds: whoever came is let in again no later and no sooner.
    pub(super) fn clock_stepped(&mut self, by_ms: i64) {
        let boots = self.0.values_mut().flat_map(|came| &mut came.boots);
        boots.for_each(|boot| boot.at = boot.at.stepped(by_ms));
    }

    /// Every machine that is kept out, with the one beside it.
    pub(super) fn lately(&self, now: Timestamp) -> impl Iterator<Item = Twin> {
        let of = |(key, came): (&Fingerprint, &Came)| came.of(key).collect::<Vec<_>>();
        self.0.iter().flat_map(of).filter(move |twin| now.since(twin.boot.at) < FORGOTTEN_AFTER)
    }
}

impl Came {
    /// The boots of two machines, each beside the newest other.
    fn of(&self, key: &Fingerprint) -> impl DoubleEndedIterator<Item = Twin> {
        let last = self.boots.len() - 1;
        let beside = move |at: usize| if at == last { last.saturating_sub(1) } else { last };
        let boots = if self.are_two { &self.boots[..] } else { &[] };
        boots.iter().enumerate().map(move |(at, boot)| Twin {
            key: key.clone(),
            node: self.node.clone(),
            boot: boot.clone(),
            beside: self.boots[beside(at)].clone(),
        })
    }
}

impl Twin {
    /// Why it is kept out.
    pub(super) fn reason(&self) -> String {
        let Twin { key, node, boot, beside } = self;
        format!(
            "key {key} of {node} is on two machines: boot {} at {} and boot {} at {}",
            boot.id, boot.address, beside.id, beside.address
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_fixtures::{key, public};
    use std::time::Duration;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(1_767_225_600).plus(Duration::from_secs(seconds))
    }

    /// Whether each boot that came, at that second, was one of two.
    fn are_two(boots: &[(&str, u64)]) -> Vec<bool> {
        let (mut twins, key) = (Twins::default(), public(&key(7)).fingerprint());
        let mut open = None;
        let mut come = |(id, seconds): &(&str, u64)| {
            let boot = Boot { id: BootId::new(*id).unwrap(), address: "10.0.0.1".parse().unwrap(), at: at(*seconds) };
            let twin = twins.came(&"w1".parse().unwrap(), &key, boot.clone(), open.as_ref());
            open = twin.is_none().then_some(boot.id);
            twin.is_some()
        };
        boots.iter().map(&mut come).collect()
    }

    #[test]
    fn reboots_and_lost_connections_of_one_machine_are_no_twins() {
        assert_eq!(
            are_two(&[("a", 0), ("a", 1), ("b", 2), ("b", 3), ("c", 4), ("d", 5), ("e", 6), ("f", 7)]),
            [false; 8]
        );
    }

    #[test]
    fn a_boot_that_comes_back_after_another_keeps_both_out_while_both_come() {
        let came = [("a", 0), ("b", 5000), ("a", 5001), ("b", 5002), ("c", 5300), ("a", 5500)];
        assert_eq!(are_two(&came), [false, false, true, true, true, true]);
    }

    #[test]
    fn who_comes_alone_for_ten_minutes_is_let_in_again() {
        let came = [("a", 0), ("b", 1), ("a", 2), ("a", 601), ("a", 602), ("a", 603), ("b", 604), ("a", 605)];
        assert_eq!(are_two(&came), [false, false, true, true, false, false, false, true]);
    }

    /// Machines of one key, each with its boots, and what the coordinator knows of them.
    struct Played {
        key: Fingerprint,
        twins: Twins,
        open: Option<BootId>,
        now: u64,
        boots: u64,
        /// Of each machine the boot that runs; none while it is off.
        on: [Option<BootId>; 2],
    }

    impl Played {
        fn boot(&mut self, machine: usize) {
            self.boots += 1;
            self.on[machine] = Some(BootId::new(format!("b{}", self.boots)).unwrap());
        }

        /// Whether the machine was let in; one that is off does not come.
        fn come(&mut self, machine: usize) -> Option<bool> {
            self.now += 1;
            let id = self.on[machine].clone()?;
            let boot = Boot { id: id.clone(), address: "10.0.0.1".parse().unwrap(), at: at(self.now) };
            let twin = self.twins.came(&"w1".parse().unwrap(), &self.key, boot, self.open.as_ref());
            self.open = twin.is_none().then_some(id);
            Some(twin.is_none())
        }
    }

    /// In every order of boots, connections, power cuts and pauses.
    #[test]
    fn one_machine_is_never_two_and_two_are_not_let_in_one_after_the_other() {
        let key = public(&key(7)).fingerprint();
        for seed in 0..500_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut random = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let (key, twins, on) = (key.clone(), Twins::default(), [const { None }; 2]);
            let mut played = Played { key, twins, open: None, now: 0, boots: 0, on };
            let machines = 1 + seed % 2;
            for _ in 0..40 {
                let machine = usize::try_from(random(machines)).unwrap();
                match random(6) {
                    0 => played.boot(machine),
                    1 => played.on[machine] = None,
                    2 => played.now += random(1200),
                    _ => {
                        let is_in = played.come(machine);
                        assert!(machines == 2 || is_in != Some(false), "seed {seed}: one machine was called two");
                    }
                }
            }
            if machines == 1 {
                continue;
            }
            // Both are on, and each comes again and again.
            for machine in 0..2 {
                if played.on[machine].is_none() {
                    played.boot(machine);
                }
            }
            for machine in [0, 1, 0, 1] {
                played.come(machine);
            }
            assert_eq!([played.come(0), played.come(1)], [Some(false); 2], "seed {seed}: both are kept out");
            // One is switched off, and the other comes every few seconds.
            played.on[1] = None;
            for _ in 0..599 {
                played.come(0);
            }
            assert_eq!([played.come(0), played.come(0)], [Some(true); 2], "seed {seed}: it is alone");
            // Its copy comes back, and again nobody knows which is right.
            played.boot(1);
            for machine in [0, 1, 0, 1] {
                played.come(machine);
            }
            assert_eq!(played.come(0), Some(false), "seed {seed}: the copy is back");
        }
    }
}
