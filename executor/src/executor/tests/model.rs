//! Random days of a node against a small model of what may begin. One seed is one day; a failing one is printed.

use std::collections::BTreeSet;

use hostler_plan::{
    document::{Window, WindowSet, WindowTask, Windows},
    step::UnitState,
    timestamp::Timestamp,
};

use super::*;
use crate::{executor::Executor, status::ExecutorStatus};

/// Days in the plain run: a second or two.
const DAYS: u64 = 30;
const HOUR: u64 = 3600;

/// A small generator (xorshift64*): the same seed is the same day everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
    }
}

/// A plan as the model sees it.
struct Planned {
    signed: Signed,
    seq: u64,
    beside: BTreeSet<u64>,
    not_before: Timestamp,
    expires: Timestamp,
    /// From when until when its task begins at all.
    window: Option<(Timestamp, Timestamp)>,
    is_stop: bool,
}

/// What a node may do, in a few lines: the reference.
#[derive(Default)]
struct Model {
    highest: u64,
    open: BTreeSet<u64>,
    /// Those whose bytes it took, because they had not expired for certain.
    held: BTreeSet<u64>,
    leased: BTreeSet<u64>,
    stopped: BTreeSet<u64>,
    /// No clock that shows less is right: what was seen of it while it was believed.
    floor: Option<Timestamp>,
}

impl Model {
    fn offer(&mut self, plan: &Planned, now: Timestamp, synchronised: bool) {
        if plan.seq < self.highest || (plan.seq == self.highest && !self.open.contains(&plan.seq)) {
            return;
        }
        if plan.seq > self.highest {
            self.open.retain(|open| plan.beside.contains(open));
            self.open.insert(plan.seq);
            self.highest = plan.seq;
        }
        let certain = if synchronised && self.floor.is_none_or(|floor| now >= floor) { Some(now) } else { self.floor };
        if !plan.is_stop && certain.is_none_or(|certain| certain < plan.expires) {
            self.held.insert(plan.seq);
        }
    }

    /// Whether a step of this plan may begin; the first one of its task only in the plan's window.
    fn allows(&self, plan: &Planned, is_first: bool, now: Timestamp, synchronised: bool) -> bool {
        self.open.contains(&plan.seq)
            && self.held.contains(&plan.seq)
            && self.leased.contains(&plan.seq)
            && !self.stopped.contains(&plan.seq)
            && synchronised
            && self.floor.is_none_or(|floor| now >= floor)
            && now >= plan.not_before
            && now < plan.expires
            && (!is_first || plan.window.is_none_or(|(from, until)| from <= now && now <= until))
    }
}

struct Day {
    fleet: Fleet,
    machine: Arc<Machine>,
    plans: Vec<Planned>,
    model: Model,
    random: Random,
    /// What a right clock shows.
    time: Timestamp,
    node: Option<(Executor, RequestSender, Arc<ExecutorStatus>)>,
}

impl Day {
    fn new(seed: u64) -> Self {
        let fleet = Fleet::new();
        let machine = machine(&fleet);
        let time = machine.inner().now;
        let mut day = Self {
            fleet,
            machine,
            plans: Vec::new(),
            model: Model::default(),
            random: Random(seed * 2 + 1),
            time,
            node: None,
        };
        for seq in 1..=6 {
            day.make(seq);
        }
        day.restart();
        day
    }

    /// A plan of two units to start, or a stop.
    fn make(&mut self, seq: u64) {
        let unit = |n: u64| {
            let unit = format!("plan{seq}-{n}.service");
            Step::EnsureUnit(EnsureUnit { unit: unit.parse().unwrap(), state: UnitState::Started, enabled: true })
        };
        let beside: Vec<PlanRef> = (self.plans.iter())
            .filter(|_| self.random.below(2) == 0)
            .map(|p| PlanRef { seq: Seq(p.seq), digest: p.signed.digest() })
            .collect();
        let (later, lives, is_stop) =
            (self.random.below(3) * 2 * HOUR, HOUR + self.random.below(9) * HOUR, self.random.below(5) == 0);
        let opens = (self.random.below(3) == 0 && !is_stop).then(|| later + self.random.below(lives));
        let signed = self.fleet.plan(seq, vec![unit(1), unit(2)], |p| {
            p.keeps_valid.clone_from(&beside);
            p.not_before = p.created.plus(Duration::from_secs(later));
            p.expires = p.not_before.plus(Duration::from_secs(lives));
            p.windows = opens.map(|opens| window(p.created.plus(Duration::from_secs(opens))));
            if is_stop {
                (p.kind, p.tasks, p.targets) = (PlanKind::Stop, vec![], vec![]);
            }
        });
        let plan: Plan = json::parse(&signed.bytes).unwrap();
        for n in [1, 2] {
            let stopped = UnitStatus { exists: true, activity: UnitActivity::Inactive, enabled: false, main_pid: None };
            self.machine.inner().units.insert(format!("plan{seq}-{n}.service"), stopped);
        }
        let beside = beside.iter().map(|p| p.seq.0).collect();
        let (not_before, expires) = (plan.not_before, plan.expires);
        let window = opens.map(|opens| plan.created.plus(Duration::from_secs(opens)));
        // What needs ten minutes of an hour.
        let window = window.map(|from| (from, from.plus(Duration::from_secs(50 * 60))));
        self.plans.push(Planned { signed, seq, beside, not_before, expires, window, is_stop });
    }

    /// The process ends, if one runs, and another one begins; what was granted is granted again.
    fn restart(&mut self) {
        self.node = None;
        self.model.leased.clear();
        self.model.stopped.clear();
        let (executor, sender, status, _) = self.fleet.executor(&self.machine).unwrap();
        self.node = Some((executor, sender, status));
    }

    fn event(&mut self) {
        let index = usize::try_from(self.random.below(self.plans.len() as u64)).unwrap();
        let seq = self.plans[index].seq;
        let (now, synchronised) = self.clock();
        match self.random.below(8) {
            0..=2 => {
                self.model.offer(&self.plans[index], now, synchronised);
                self.hand_over(Request::Plan(self.plans[index].signed.clone()));
            }
            3 | 4 => {
                let lease_seconds = self.random.below(2) * 600;
                if lease_seconds > 0 {
                    self.model.leased.insert(seq);
                } else {
                    self.model.leased.remove(&seq);
                }
                let grant = Grant { lease_seconds, ..Fleet::grant(&self.plans[index].signed, "w1.work", seq) };
                self.hand_over(Request::Grant(grant.into()));
            }
            5 => {
                // Time passes, and the clock may step, be lost, or come back.
                self.time = self.time.plus(Duration::from_secs(self.random.below(40) * 60));
                let mut inner = self.machine.inner();
                inner.now = match self.random.below(6) {
                    0 => Timestamp::from_unix_seconds(0),
                    1 => Timestamp::from_unix_seconds(self.time.unix_seconds() - 3 * HOUR),
                    _ => self.time,
                };
                inner.synchronised = self.random.below(4) > 0;
            }
            6 => {
                self.hand_over(Request::Stop { plan: self.plans[index].signed.digest(), reason: "halted".into() });
            }
            _ => self.restart(),
        }
    }

    fn clock(&self) -> (Timestamp, bool) {
        let inner = self.machine.inner();
        (inner.now, inner.synchronised)
    }

    /// Lets the executor do what it can, and compares every act with what the model allowed.
    fn hand_over(&mut self, request: Request) {
        let (executor, sender, status) = self.node.as_mut().unwrap();
        sender.offer(request).unwrap();
        self.model.floor = Some(executor.context.state.time_floor());
        let before = started(&self.machine);
        while let Ok(Some(request)) = executor.context.control.next(Some(Duration::ZERO)) {
            executor.handle(request).unwrap();
            executor.take_turns().unwrap();
        }
        let waits = executor.pending.iter().all(|pending| pending.sentence.starts_with("waits"));
        assert!(waits, "each wait says why");
        assert_eq!(status.content().running.is_some(), !executor.pending.is_empty());
        let (now, synchronised) = self.clock();
        for unit in started(&self.machine).difference(&before) {
            let plan = self.plans.iter().find(|p| unit.starts_with(&format!("plan{}-", p.seq))).unwrap();
            let is_first = unit.ends_with("-1.service");
            assert!(
                self.model.allows(plan, is_first, now, synchronised),
                "{unit} was started at {now} ({synchronised})"
            );
        }
    }
}

/// An hour from then on, of which the task needs ten minutes.
fn window(from: Timestamp) -> Windows {
    let window = Window { from, until: from.plus(Duration::from_secs(HOUR)), offset_minutes: 0 };
    let tasks = vec![WindowTask { task: TaskId::new("w1.work").unwrap(), seconds: 600 }];
    Windows::Within { sets: vec![WindowSet { zone: "UTC".parse().unwrap(), windows: vec![window], tasks }] }
}

fn started(machine: &Machine) -> BTreeSet<String> {
    let inner = machine.inner();
    inner.units.iter().filter(|(_, unit)| unit.enabled).map(|(name, _)| name.clone()).collect()
}

#[test]
fn whatever_happens_nothing_begins_that_the_model_forbids_and_every_wait_says_why() {
    let mut began = 0;
    for seed in 0..DAYS {
        let mut day = Day::new(seed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..100 {
                day.event();
            }
        }));
        assert!(result.is_ok(), "seed {seed}");
        // Two units each: a task that began is finished here, where nothing interrupts it.
        let units = started(&day.machine).len();
        assert_eq!(units % 2, 0, "seed {seed}");
        began += units / 2;
    }
    assert!(began > 10, "expected many tasks to begin, found {began}");
}
