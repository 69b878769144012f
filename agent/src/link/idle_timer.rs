//! When the link has been idle long enough to give memory back.

use std::time::Duration;

use tokio::time::Instant;

/// Long enough for two reports, which is when everything that an idle agent does again and again has been done; short
/// enough that a fleet's start is over soon.
const IDLE_AFTER: Duration = Duration::from_secs(15);

/// Says once that nothing has happened for a while, and again only after something has.
#[derive(Debug, Default)]
pub(crate) struct IdleTimer(Option<Instant>);

impl IdleTimer {
    /// The coordinator or the executor had something to say.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.0 = Some(now + IDLE_AFTER);
    }

    /// Whether a disturbance has ended since this was asked last.
    pub(crate) fn has_run_out(&mut self, now: Instant) -> bool {
        self.0.take_if(|begins| *begins <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_begins_once_after_each_disturbance() {
        let mut timer = IdleTimer::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!timer.has_run_out(at(100)), "nothing has happened yet");
        timer.restart(at(100));
        timer.restart(at(110));
        assert!(!timer.has_run_out(at(120)));
        assert!(timer.has_run_out(at(125)));
        assert!(!timer.has_run_out(at(1000)), "nothing has happened since");
        timer.restart(at(1000));
        assert!(timer.has_run_out(at(1015)));
    }
}
