//! What ends a wait before its time.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// A waker that ends a wait. Cloned handles ring the same waker; a ring while nobody waits ends the next wait.
#[derive(Debug, Clone, Default)]
pub struct Waker(Arc<(Mutex<bool>, Condvar)>);

impl Waker {
    /// A waker that has not rung.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the wait that is going on, or the next one.
    pub fn notify(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Takes a ring that has not been heard yet, without waiting.
    pub fn take(&self) -> bool {
        std::mem::take(&mut *self.0.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Blocks for `at_most` of real time or until the waker rings; says whether it rang.
    pub fn wait(&self, at_most: Duration) -> bool {
        let rung = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) =
            self.0.1.wait_timeout_while(rung, at_most, |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *rung)
    }
}
