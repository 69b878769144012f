//! A world that is shared: its time is real time, made faster.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hostler_plan::id::NodeName;

use crate::{
    answer::answer,
    wire::{Answer, Request},
    world::World,
};

/// A world with a clock. Cloned handles are the same world.
#[derive(Debug, Clone)]
pub struct SharedWorld {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    world: Mutex<World>,
    /// Unix milliseconds when the world began: from then on its machines' clocks go at the world's speed.
    began_unix_ms: u64,
    pace: Pace,
}

/// How the world's time passes.
#[derive(Debug)]
enum Pace {
    /// As real time does, made faster.
    Faster { began: Instant, speed: f64 },
    /// While somebody waits.
    InSteps { waited_ms: AtomicU64 },
}

impl SharedWorld {
    /// Starts the world's time at `speed` seconds of the world per second.
    pub fn new(world: World, speed: f64) -> Self {
        Self::later(world, speed, Duration::ZERO)
    }

    /// The same with the clocks of its machines so far ahead: they were switched off for so long.
    pub fn later(world: World, speed: f64, by: Duration) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + by;
        let began_unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self::of(world, began_unix_ms, Pace::Faster { began: Instant::now(), speed })
    }

    /// A world whose time passes only while a program on one of its machines waits. `began_unix_ms` is what its clocks
    /// show at first.
    pub fn in_steps(world: World, began_unix_ms: u64) -> Self {
        let waited_ms = AtomicU64::new(world.now());
        Self::of(world, began_unix_ms, Pace::InSteps { waited_ms })
    }

    fn of(mut world: World, began_unix_ms: u64, pace: Pace) -> Self {
        world.began_unix_ms = began_unix_ms;
        Self { inner: Arc::new(Inner { world: Mutex::new(world), began_unix_ms, pace }) }
    }

    /// Whether time passes only while somebody waits: then so much of it passes.
    pub fn pass(&self, time: Duration) -> bool {
        match &self.inner.pace {
            Pace::Faster { .. } => false,
            Pace::InSteps { waited_ms } => {
                waited_ms.fetch_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
                true
            }
        }
    }

    /// The world as it is now.
    pub fn now(&self) -> MutexGuard<'_, World> {
        let mut world = self.inner.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance(self.elapsed_ms());
        world
    }

    fn elapsed_ms(&self) -> u64 {
        match &self.inner.pace {
            Pace::Faster { began, speed } => (began.elapsed().as_secs_f64() * 1000.0 * speed) as u64,
            Pace::InSteps { waited_ms } => waited_ms.load(Ordering::SeqCst),
        }
    }

    /// What the clock of every machine shows, in Unix milliseconds.
    pub fn machines_clock_ms(&self) -> u64 {
        self.inner.began_unix_ms + self.elapsed_ms()
    }

    /// Seconds of the world per second.
    pub fn speed(&self) -> f64 {
        match &self.inner.pace {
            Pace::Faster { speed, .. } => *speed,
            Pace::InSteps { .. } => 1.0,
        }
    }

    /// Answers one request of the program on a machine.
    pub fn ask(&self, machine: &NodeName, request: Request) -> Answer {
        answer(&mut self.now(), machine, request)
    }
}
