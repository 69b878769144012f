//! What goes wrong in the world of a seed, and how often.

use hostler_plan::distribution::Distribution;

use super::random::Random;

/// How large the fleet of a seed is, and what goes wrong in it. Chances are per mille.
#[derive(Debug, Clone)]
pub struct Profile {
    pub distribution: Distribution,
    pub servers: usize,
    pub nodes: usize,
    pub max_unavailable: u32,
    pub canary: u32,
    /// Whether nodes are taken out of service within maintenance windows alone.
    pub windows: bool,
    /// Of messages that never arrive.
    pub lost: u64,
    /// Of messages that arrive twice.
    pub doubled: u64,
    /// The longest that a message is under way, in milliseconds; messages overtake each other.
    pub slowest: u64,
    /// Of node ticks at which the connection breaks.
    pub breaks: u64,
    /// Of node ticks at which the machine loses power.
    pub crashes: u64,
    /// Of coordinator ticks at which the coordinator dies; also between a ledger entry and telling it.
    pub coordinator_crashes: u64,
    /// Of upgrades that come back on the old version.
    pub failing_upgrades: u64,
    /// Of upgrades after which the node is not Ready.
    pub breaking_upgrades: u64,
    /// Of drains that a budget blocks.
    pub blocked_drains: u64,
    /// Of ticks of the operators at which a third party cordons, or undoes a cordon.
    pub third_party: u64,
    /// Of node ticks at which something breaks or gets hot for a while, or its facts do not come any more.
    pub illnesses: u64,
    /// Of upgrades and reboots after which the node is worse than before.
    pub sickening_work: u64,
    /// Of ticks of the operators at which an operator drains, reboots, pauses or halts.
    pub operators: u64,
}

impl Profile {
    /// A fleet without faults: everything must finish by itself.
    pub fn no_faults(random: &mut Random) -> Self {
        Self {
            distribution: Distribution::ALL[random.index(Distribution::ALL.len())],
            servers: [1, 1, 3, 5][random.index(4)],
            nodes: 50,
            max_unavailable: u32::try_from(random.between(1, 6)).unwrap_or(1),
            canary: u32::try_from(random.between(0, 3)).unwrap_or(1),
            windows: false,
            lost: 0,
            doubled: 0,
            slowest: 200,
            breaks: 0,
            crashes: 0,
            coordinator_crashes: 0,
            failing_upgrades: 0,
            breaking_upgrades: 0,
            blocked_drains: 0,
            third_party: 0,
            operators: 0,
            illnesses: 0,
            sickening_work: 0,
        }
    }

    /// The profile of a seed: every tenth has none, the others have some of the faults or all of them.
    pub fn of(seed: u64, random: &mut Random) -> Self {
        let no_faults = Self::no_faults(random);
        if seed.is_multiple_of(10) {
            return no_faults;
        }
        let mut some = |most: u64| if random.chance(600) { random.between(1, most) } else { 0 };
        Self {
            windows: seed % 20 == 3,
            lost: some(100),
            doubled: some(100),
            slowest: 200 + some(15_000),
            breaks: some(20),
            crashes: some(5),
            coordinator_crashes: some(30),
            failing_upgrades: some(60),
            breaking_upgrades: some(40),
            blocked_drains: some(40),
            third_party: some(60),
            operators: some(80),
            illnesses: some(4),
            sickening_work: some(60),
            ..no_faults
        }
    }

    pub fn has_no_faults(&self) -> bool {
        self.lost
            + self.doubled
            + self.breaks
            + self.crashes
            + self.coordinator_crashes
            + self.failing_upgrades
            + self.breaking_upgrades
            + self.blocked_drains
            + self.third_party
            + self.operators
            + self.illnesses
            + self.sickening_work
            == 0
    }

    /// What is left when the bad times are over: messages, machines and people behave.
    pub fn after_the_storm(&self) -> Self {
        Self {
            lost: 0,
            doubled: 0,
            slowest: 200,
            breaks: 0,
            crashes: 0,
            coordinator_crashes: 0,
            failing_upgrades: 0,
            breaking_upgrades: 0,
            blocked_drains: 0,
            third_party: 0,
            operators: 0,
            illnesses: 0,
            sickening_work: 0,
            ..self.clone()
        }
    }
}
