use std::time::Duration;

use tokio::time::Instant;

/// Long enough for two reports, which is when everything that an idle agent does again and again has been done; short
/// enough that a fleet's start is over soon.
const QUIET: Duration = Duration::from_secs(15);

/// Says once that nothing has happened for a while, and again only after something has.
#[derive(Debug, Default)]
pub struct Quiet(Option<Instant>);

impl Quiet {
    /// The coordinator or the executor had something to say.
    pub fn disturbed(&mut self, now: Instant) {
        self.0 = Some(now + QUIET);
    }

    /// Whether a disturbance has ended since this was asked last.
    pub fn has_begun(&mut self, now: Instant) -> bool {
        self.0.take_if(|begins| *begins <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_begins_once_after_each_disturbance() {
        let mut quiet = Quiet::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!quiet.has_begun(at(100)), "nothing has happened yet");
        quiet.disturbed(at(100));
        quiet.disturbed(at(110));
        assert!(!quiet.has_begun(at(120)));
        assert!(quiet.has_begun(at(125)));
        assert!(!quiet.has_begun(at(1000)), "nothing has happened since");
        quiet.disturbed(at(1000));
        assert!(quiet.has_begun(at(1015)));
    }
}
