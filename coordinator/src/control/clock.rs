//! Whether the coordinator's own clock can be right: a Pi without a battery starts in the past, and then nodes cannot
//! connect, whose certificates are not valid yet by it.

use std::{fmt, time::Duration};

use hostler_plan::timestamp::Timestamp;

use super::{CLOCK_JITTER, Control};

/// How far a signer's clock may be ahead of a right one: what a signed document says when it was made is no proof
/// below.
const SIGNERS_AHEAD: Duration = Duration::from_secs(3600);
/// How often it is said.
const REPEAT: Duration = Duration::from_secs(600);

/// A clock that shows less than what is past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockBehind {
    shows: Timestamp,
    past: Timestamp,
    proof: Proof,
}

/// What a right clock cannot be before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    Ledger,
    Document,
    Build,
}

impl ClockBehind {
    /// At least so much.
    pub(crate) fn by(&self) -> Duration {
        self.past.since(self.shows)
    }
}

impl fmt::Display for ClockBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shows, past, proof } = self;
        let what = match proof {
            Proof::Ledger => "of the last record of its ledger",
            Proof::Document => "when the newest signed document was made",
            Proof::Build => "when it was built",
        };
        write!(
            f,
            "the coordinator's clock shows {}, which is before {}, {what}: nodes cannot connect until it is set, \
             because their certificates are not valid yet by it; start a time service on its machine (chrony, \
             systemd-timesyncd), or set the clock there with `date`",
            shows.whole_seconds(),
            past.whole_seconds()
        )
    }
}

/// What was seen of the clock before.
#[derive(Debug)]
pub(super) struct ClockSeen {
    /// The time of the last record when this process began, or of a later one before which the clock was set back
    /// since.
    last_record: Timestamp,
    built: Timestamp,
    /// When it was said last, by a clock that may step.
    said: Option<Timestamp>,
}

impl ClockSeen {
    pub(super) fn new(last_record: Timestamp) -> Self {
        let built = Timestamp::from_unix_seconds(hostler_daemon::built_at_seconds());
        Self { last_record, built, said: None }
    }

    /// The clock goes back below this record, and that is being written down.
    pub(super) fn set_back(&mut self, last_record: Timestamp) {
        self.last_record = self.last_record.max(last_record);
    }
}

impl Control {
    /// Whether the clock shows less than what is certainly past.
    pub(crate) fn clock_behind(&self, now: Timestamp) -> Option<ClockBehind> {
        let (state, seen) = (&self.state, &self.clock);
        let root = state.root().map(|root| root.root().created);
        let roster = state.roster.as_ref().map(|roster| roster.document().created);
        let plan = state.newest_plan().map(|plan| plan.document().created);
        let made = [root, roster, plan].into_iter().flatten().max();
        let behind = |past: Timestamp, tolerated: Duration, proof| {
            (past.since(now) > tolerated).then_some(ClockBehind { shows: now, past, proof })
        };
        behind(seen.last_record.max(state.judge.last_at()), CLOCK_JITTER, Proof::Ledger)
            .or_else(|| behind(made?, SIGNERS_AHEAD, Proof::Document))
            .or_else(|| behind(seen.built, CLOCK_JITTER, Proof::Build))
    }

    /// Says in the journal that it does, at once and again, and that it does no more.
    pub(super) fn notice_clock(&mut self, now: Timestamp) {
        match (self.clock_behind(now), self.clock.said) {
            (Some(_), Some(said)) if said <= now && now.since(said) < REPEAT => {}
            (Some(behind), _) => {
                tracing::error!("{behind}");
                self.clock.said = Some(now);
            }
            (None, Some(_)) => {
                tracing::info!("the coordinator's clock shows {now}, which can be right");
                self.clock.said = None;
            }
            (None, None) => {}
        }
    }
}
