//! A world that is shared: its time is real time, made faster.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
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
    speed: f64,
}

impl SharedWorld {
    /// Starts the world's time at `speed` seconds of the world per second.
    pub fn new(world: World, speed: f64) -> Self {
        Self { inner: Arc::new(Inner { world: Mutex::new(world), began: Instant::now(), speed }) }
    }

    /// The world as it is now.
    pub fn now(&self) -> MutexGuard<'_, World> {
        let mut world = self.inner.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance((self.inner.began.elapsed().as_secs_f64() * 1000.0 * self.inner.speed) as u64);
        world
    }

    /// Seconds of the world per second.
    pub fn speed(&self) -> f64 {
        self.inner.speed
    }

    /// Answers one request of the program on a machine.
    pub fn ask(&self, machine: &NodeName, request: Request) -> Answer {
        answer(&mut self.now(), machine, self.inner.speed, request)
    }
}
