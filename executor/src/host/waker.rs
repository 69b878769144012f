//! What ends a wait before its time.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// A waker that ends a wait. Cloned handles are one waker; a notification while nobody waits ends the next wait.
#[derive(Debug, Clone, Default)]
pub struct Waker(Arc<(Mutex<bool>, Condvar)>);

impl Waker {
    /// A waker that nobody has notified.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the wait that is going on, or the next one.
    pub fn notify(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Takes a notification that ended no wait yet, without waiting.
    pub fn take(&self) -> bool {
        std::mem::take(&mut *self.0.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Blocks for `at_most` of real time or until it is notified; says whether it was.
    pub fn wait(&self, at_most: Duration) -> bool {
        let flag = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut flag, _) =
            self.0.1.wait_timeout_while(flag, at_most, |flag| !*flag).unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *flag)
    }
}
