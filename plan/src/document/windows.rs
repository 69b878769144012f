//! When a plan may begin something new: its maintenance windows as moments, and how long each task needs of them.
//!
//! Whoever planned it asked the time zone; nobody else does. What stands here is compared with a clock and nothing
//! more.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    form::{self, ZoneName},
    id::TaskId,
    text::until,
    timestamp::Timestamp,
};

/// What a plan says of the maintenance windows that the fleet file had when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "begins", rename_all = "snake_case", deny_unknown_fields)]
pub enum Windows {
    /// What these sets name begins within their windows alone.
    Within { sets: Vec<WindowSet> },
    /// A person had it begin whatever the fleet file's windows are.
    AtOnce {},
}

/// Windows, and what begins in them alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSet {
    /// Whose wall clock they were measured by; for people.
    pub zone: ZoneName,
    /// At least one, in order and apart.
    pub windows: Vec<Window>,
    /// At least one, in the order of their ids. What comes after one of them on the same node is asked for no window:
    /// a node that is drained when the window closes is finished.
    pub tasks: Vec<WindowTask>,
}

/// From one moment until before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub from: Timestamp,
    pub until: Timestamp,
    /// By how much the zone is ahead of UTC at `from`, so that people read the time of their wall.
    pub offset_minutes: i16,
}

/// A task that begins within a window alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowTask {
    pub task: TaskId,
    /// What has to be left of the window when it begins: as long as its node was away before, until it was back.
    #[serde(deserialize_with = "form::window_seconds")]
    pub seconds: u64,
}

impl Window {
    /// Whether something that needs so many seconds may begin at that time.
    pub fn has_room(&self, now: Timestamp, seconds: u64) -> bool {
        self.from <= now && self.latest(seconds).is_some_and(|latest| now <= latest)
    }

    /// When something that needs so many seconds begins at the latest; none where the window is too short.
    pub fn latest(&self, seconds: u64) -> Option<Timestamp> {
        let seconds = std::time::Duration::from_secs(seconds);
        (self.until.since(self.from) >= seconds).then(|| self.until.minus(seconds))
    }

    /// How long it is, in seconds.
    pub fn seconds(&self) -> u64 {
        self.until.since(self.from).as_secs()
    }

    /// When it opens, by the wall of its zone: the day of the week and the time.
    pub fn opens(&self) -> String {
        let (day, minutes) = self.wall();
        // 1 January 1970 was a Thursday.
        let weekday = usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0);
        format!("{} {:02}:{:02}", WEEKDAYS[weekday], minutes / 60, minutes % 60)
    }

    /// Days since 1970 and minutes of the day.
    fn wall(&self) -> (i64, i64) {
        let minutes = i64::try_from(self.from.unix_seconds() / 60).unwrap_or(0) + i64::from(self.offset_minutes);
        (minutes.div_euclid(24 * 60), minutes.rem_euclid(24 * 60))
    }
}

/// From Monday on.
pub const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl WindowSet {
    /// Of one of its tasks, how many seconds it needs.
    pub fn needs(&self, task: &TaskId) -> Option<u64> {
        let place = self.tasks.binary_search_by(|known| known.task.cmp(task)).ok()?;
        Some(self.tasks[place].seconds)
    }

    /// The first moment from `now` on at which something that needs so many seconds may begin.
    pub fn first_room(&self, now: Timestamp, seconds: u64) -> Option<Timestamp> {
        self.windows.iter().map(|w| (w, w.from.max(now))).find(|(w, at)| w.has_room(*at, seconds)).map(|(_, at)| at)
    }
}

impl Windows {
    /// The windows in which that task begins, and how many seconds it needs of one; none where it may begin whenever.
    pub fn of(&self, task: &TaskId) -> Option<(&WindowSet, u64)> {
        match self {
            Windows::Within { sets } => sets.iter().find_map(|set| Some((set, set.needs(task)?))),
            Windows::AtOnce {} => None,
        }
    }

    /// The one rule: why that task may not begin now, of which nothing has begun. Nodes ask it of their clock, the
    /// coordinator of its own.
    pub fn shut(&self, task: &TaskId, now: Timestamp) -> Option<Shut> {
        let (set, seconds) = self.of(task)?;
        if set.windows.iter().any(|window| window.has_room(now, seconds)) {
            return None;
        }
        let next = set.windows.iter().find(|window| window.from > now && window.latest(seconds).is_some());
        let open = set.windows.iter().find(|window| window.from <= now && now < window.until);
        Some(Shut { zone: set.zone.clone(), next: next.copied(), open: open.copied(), seconds, now })
    }

    /// Every window in which something begins.
    pub fn windows(&self) -> impl Iterator<Item = &Window> {
        let sets = match self {
            Windows::Within { sets } => sets.as_slice(),
            Windows::AtOnce {} => &[],
        };
        sets.iter().flat_map(|set| &set.windows)
    }
}

/// Why something may not begin now. Displayed as a sentence behind a node's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shut {
    pub zone: ZoneName,
    /// The first one in which it may begin.
    pub next: Option<Window>,
    /// The one that is open now, of which too little is left.
    pub open: Option<Window>,
    /// How many seconds it needs.
    pub seconds: u64,
    pub now: Timestamp,
}

impl fmt::Display for Shut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needs = until(self.seconds);
        let left = self.open.map(|open| until(open.until.since(self.now).as_secs()));
        match (&self.next, &left) {
            (Some(next), _) => {
                let wait = until(next.from.since(self.now).as_secs());
                write!(f, "waits for the window {} {}, in {wait}", next.opens(), self.zone)?;
            }
            (None, _) => write!(f, "waits for a window, and the plan has no later one that is long enough")?,
        }
        if let Some(left) = left {
            write!(f, ": of the one that is open {left} are left, and it needs {needs}")?;
        }
        if self.next.is_none() {
            f.write_str("; sign a new plan, with --now for one that begins outside of windows")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn windows() -> Windows {
        let window = |from: &str, until: &str| Window { from: at(from), until: at(until), offset_minutes: 60 };
        let windows = vec![
            window("2026-12-05T21:00:00Z", "2026-12-06T01:00:00Z"),
            window("2026-12-06T03:00:00Z", "2026-12-06T03:10:00Z"),
            window("2026-12-12T21:00:00Z", "2026-12-13T01:00:00Z"),
        ];
        let task = WindowTask { task: TaskId::new("w1.drain").expect("a task"), seconds: 3000 };
        let zone = "Europe/Berlin".parse().expect("a zone");
        Windows::Within { sets: vec![WindowSet { zone, windows, tasks: vec![task] }] }
    }

    #[test]
    fn a_task_begins_only_where_it_can_end_and_says_what_it_waits_for() {
        let (windows, task) = (windows(), TaskId::new("w1.drain").expect("a task"));
        let said = |now: &str| windows.shut(&task, at(now)).map(|shut| shut.to_string());
        let early = said("2026-12-05T17:48:00Z").expect("shut");
        assert_eq!(early, "waits for the window Saturday 22:00 Europe/Berlin, in 3 h 20 min");
        assert_eq!(said("2026-12-05T21:00:00Z"), None);
        assert_eq!(said("2026-12-06T00:10:00Z"), None, "to the second");
        let late = said("2026-12-06T00:10:01Z").expect("shut");
        let left = "of the one that is open 50 min are left, and it needs 50 min";
        assert_eq!(late, format!("waits for the window Saturday 22:00 Europe/Berlin, in 6 d 21 h: {left}"));
        assert!(said("2026-12-06T03:00:00Z").expect("shut").contains("10 min are left"), "too short for it");
        assert_eq!(said("2026-12-13T00:10:00Z"), None);
        assert!(said("2026-12-13T00:11:00Z").expect("shut").contains("no later one that is long enough"));
        let other = TaskId::new("w1.ready").expect("a task");
        assert_eq!(windows.shut(&other, at("2026-12-01T00:00:00Z")), None, "what comes after it is asked for none");
        assert_eq!(Windows::AtOnce {}.shut(&task, at("2026-12-01T00:00:00Z")), None);
    }
}
