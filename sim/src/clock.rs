//! A world that is shared: its time is real time, made faster.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    began: Instant,
    /// Unix milliseconds when the world began: from then on its machines' clocks go at the world's speed.
    began_unix_ms: u64,
    speed: f64,
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
        Self { inner: Arc::new(Inner { world: Mutex::new(world), began: Instant::now(), began_unix_ms, speed }) }
    }

    /// The world as it is now.
    pub fn now(&self) -> MutexGuard<'_, World> {
        let mut world = self.inner.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance(self.elapsed_ms());
        world
    }

    fn elapsed_ms(&self) -> u64 {
        (self.inner.began.elapsed().as_secs_f64() * 1000.0 * self.inner.speed) as u64
    }

    /// What the clock of every machine shows, in Unix milliseconds.
    pub fn machines_clock_ms(&self) -> u64 {
        self.inner.began_unix_ms + self.elapsed_ms()
    }

    /// Seconds of the world per second.
    pub fn speed(&self) -> f64 {
        self.inner.speed
    }

    /// Answers one request of the program on a machine.
    pub fn ask(&self, machine: &NodeName, request: Request) -> Answer {
        answer(&mut self.now(), machine, request)
    }
}
