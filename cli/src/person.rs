//! How long the person was waited for who touches a key or types its passphrase: nobody's patience with a coordinator
//! counts that.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The time that one command waited for its person. Its clones count together.
#[derive(Debug, Clone, Default)]
pub struct Person(Arc<Mutex<Duration>>);

impl Person {
    /// Does what waits for the person.
    pub(crate) fn wait<T>(&self, asks: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let answer = asks();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += began.elapsed();
        answer
    }

    fn waited(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is done within that time, but for what the person takes of it; none where it is not.
    pub(crate) async fn others_within<T>(&self, at_most: Duration, others: impl Future<Output = T>) -> Option<T> {
        let (began, before) = (tokio::time::Instant::now(), self.waited());
        let mut others = pin!(others);
        loop {
            let end = began + at_most + self.waited().saturating_sub(before);
            match tokio::time::timeout_at(end, others.as_mut()).await {
                Ok(done) => return Some(done),
                // Meanwhile the person was waited for.
                Err(_) if began + at_most + self.waited().saturating_sub(before) > end => {}
                Err(_) => return None,
            }
        }
    }
}
