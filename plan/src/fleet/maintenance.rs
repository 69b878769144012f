//! `[maintenance]`: when nodes may be taken out of service for what can be planned, by the clock on a wall.

use jiff::{ToSpan as _, civil::Date};
use serde::Deserialize;

use super::problem::{At, Found, Location, nearest};
use crate::{
    document::{WEEKDAYS, Window},
    timestamp::Timestamp,
    zone::Zone,
};

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// A window that is longer than a week is always open.
const MAX_MINUTES: u32 = 7 * 24 * 60;
/// Windows of one table: three a day, and room.
const MAX_WINDOWS: usize = 32;

/// Weekly windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Maintenance {
    pub zone: Zone,
    /// At least one.
    pub windows: Vec<WeeklyWindow>,
}

/// A window that comes back every week. It belongs to the day on which it opens, however long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeeklyWindow {
    /// From Monday on.
    pub days: [bool; 7],
    /// Minutes of the day, by the clock on the wall.
    pub start: u16,
    /// By the clock on the wall; 1 to a week.
    pub minutes: u16,
}

impl Maintenance {
    /// Its windows of which something lies between these moments: in order, those that meet put together.
    pub fn windows(&self, from: Timestamp, until: Timestamp) -> Vec<Window> {
        let mut found: Vec<Window> = self.windows.iter().flat_map(|weekly| self.each(weekly, from, until)).collect();
        found.sort_by_key(|window| (window.from, window.until));
        let mut merged: Vec<Window> = Vec::new();
        for window in found {
            match merged.last_mut() {
                Some(last) if window.from <= last.until => last.until = last.until.max(window.until),
                Some(_) | None => merged.push(window),
            }
        }
        merged
    }

    /// A window on each of its days. Where the clock goes forward over all of one there is none on that day.
    fn each(&self, weekly: &WeeklyWindow, from: Timestamp, until: Timestamp) -> Vec<Window> {
        // One that opened a week before may still be open, and a date begins up to a day apart around the world.
        let first = self.zone.wall(from).and_then(|wall| wall.date().checked_sub(8.days()).ok());
        let last = self.zone.wall(until).map(|wall| wall.date());
        let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
        let dates = first.series(1.day()).take_while(|date| *date <= last);
        let window = |date: Date| {
            let opens = self.moment(date, weekly.start.into())?;
            let closes = self.moment(date, u32::from(weekly.start) + u32::from(weekly.minutes))?;
            (opens < closes && from < closes && opens < until).then_some((opens, closes))
        };
        let on = |date: &Date| weekly.days[usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0)];
        dates
            .filter(on)
            .filter_map(window)
            .map(|(from, until)| Window {
                from,
                until,
                offset_minutes: self.zone.offset_minutes(from).unwrap_or_default(),
            })
            .collect()
    }

    /// The first moment at which the clock on the wall shows so many minutes after that midnight, as every day has 24
    /// hours.
    fn moment(&self, date: Date, minutes: u32) -> Option<Timestamp> {
        let (days, rest) = (minutes / u32::from(DAY), minutes % u32::from(DAY));
        let date = date.checked_add(i64::from(days).days()).ok()?;
        let (hour, minute) = (i8::try_from(rest / 60).ok()?, i8::try_from(rest % 60).ok()?);
        self.zone.first_moment(date.at(hour, minute, 0, 0))
    }
}

/// As a file writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaintenanceFragment {
    zone: Option<String>,
    windows: Option<Vec<WindowFragment>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowFragment {
    days: Option<Vec<String>>,
    start: String,
    end: Option<String>,
    length: Option<String>,
}

/// `table` is its name for people; `fleet` is what a group's stands over.
pub(super) fn maintenance(
    found: &mut Found,
    table: &str,
    written: &At<MaintenanceFragment>,
    fleet: Option<&At<MaintenanceFragment>>,
) -> Option<Maintenance> {
    let At { value, location } = written;
    let over = fleet.map(|at| &at.value);
    let zone = match value.zone.as_ref().or(over.and_then(|fleet| fleet.zone.as_ref())) {
        Some(name) => zone(found, table, location, name),
        None => {
            let message = format!(
                "{table}: there is no zone, and a window is measured by the clock on a wall; write zone = \
                 \"Europe/Berlin\" or the one you live by"
            );
            found.error(location, message);
            None
        }
    };
    let windows = value.windows.as_ref().or(over.and_then(|fleet| fleet.windows.as_ref()));
    let windows = windows.map(Vec::as_slice).unwrap_or_default();
    if windows.is_empty() || windows.len() > MAX_WINDOWS {
        let message = format!(
            "{table}: expected 1 to {MAX_WINDOWS} windows, found {}; write [[maintenance.windows]] with days, start \
             and end, or remove the table: without it there is no time at which nothing begins",
            windows.len()
        );
        found.error(location, message);
    }
    let mut weekly = Vec::new();
    for (window, number) in windows.iter().zip(1..) {
        match one(window) {
            Ok(window) => weekly.push(window),
            Err(wrong) => found.error(location, format!("{table}: window {number}: {wrong}")),
        }
    }
    Some(Maintenance { zone: zone?, windows: weekly })
}

fn zone(found: &mut Found, table: &str, location: &Location, name: &str) -> Option<Zone> {
    let zone = Zone::named(name);
    if zone.is_none() {
        let hint = nearest(name, Zone::names()).map_or_else(
            || "write a name of `timedatectl list-timezones`".to_owned(),
            |meant| format!("write {meant:?} if that is meant"),
        );
        let message = format!("{table}: zone: expected a name of the IANA time zone database, found {name:?}; {hint}");
        found.error(location, message);
    }
    zone
}

fn one(written: &WindowFragment) -> Result<WeeklyWindow, String> {
    let days = days(written.days.as_deref())?;
    let start = time_of_day(&written.start).filter(|minutes| *minutes < DAY);
    let start = start.ok_or_else(|| {
        format!("start: expected a time from 00:00 to 23:59, found {:?}; write such as \"22:00\"", written.start)
    })?;
    let minutes = match (&written.end, &written.length) {
        (Some(end), None) => {
            let end = time_of_day(end).ok_or_else(|| {
                format!("end: expected a time from 00:00 to 24:00, found {end:?}; write such as \"02:00\"")
            })?;
            if end == start {
                return Err(format!(
                    "end: expected another time than start, found {}; write length = \"24h\" where a whole day is \
                     meant",
                    written.start
                ));
            }
            // One that ends before it begins ends on the next day.
            u32::from(if end > start { end - start } else { end + DAY - start })
        }
        (None, Some(length)) => length_minutes(length)?,
        (Some(_), Some(_)) => return Err("expected end or length, found both; remove one".to_owned()),
        (None, None) => return Err("expected end or length, found neither; write end = \"02:00\"".to_owned()),
    };
    let minutes = u16::try_from(minutes).map_err(|e| e.to_string())?;
    Ok(WeeklyWindow { days, start, minutes })
}

fn days(written: Option<&[String]>) -> Result<[bool; 7], String> {
    let Some(written) = written else { return Ok([true; 7]) };
    if written.is_empty() {
        return Err("days: expected at least one, found none; leave days out where every day is meant".to_owned());
    }
    let mut days = [false; 7];
    for name in written {
        let is_meant = |day: &&str| day.eq_ignore_ascii_case(name) || day[..3].eq_ignore_ascii_case(name);
        match WEEKDAYS.iter().position(is_meant) {
            Some(place) => days[place] = true,
            None => {
                let hint = nearest(name, WEEKDAYS).map_or_else(
                    || format!("write {} or the first three letters", WEEKDAYS.join(", ")),
                    |meant| format!("write {meant:?} if that is meant"),
                );
                return Err(format!("days: expected a day of the week, found {name:?}; {hint}"));
            }
        }
    }
    Ok(days)
}

/// Minutes of the day of `HH:MM`; 24:00 is its end.
fn time_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    let (hours, minutes) = (number(hours).filter(|h| *h <= 24)?, number(minutes).filter(|_| minutes.len() == 2)?);
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= DAY).then_some(all)
}

/// Minutes of such as `4h`, `90min` or `1h 30min`.
fn length_minutes(text: &str) -> Result<u32, String> {
    let wrong = || {
        format!(
            "length: expected 1 minute to 7 days, such as \"4h\", \"90min\" or \"1h 30min\", found {text:?}; change it"
        )
    };
    let mut all: u32 = 0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u32 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = rest[digits..].trim_start();
        let letters = unit.len() - unit.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let minutes = match &unit[..letters] {
            "min" | "m" => 1,
            "h" => 60,
            "d" => u32::from(DAY),
            _ => return Err(wrong()),
        };
        all = number.checked_mul(minutes).and_then(|more| all.checked_add(more)).ok_or_else(wrong)?;
        rest = unit[letters..].trim_start();
    }
    if (1..=MAX_MINUTES).contains(&all) { Ok(all) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_times_are_read() {
        for (text, minutes) in [("4h", 240), ("90min", 90), ("1h 30min", 90), ("1h30m", 90), ("7d", MAX_MINUTES)] {
            assert_eq!(length_minutes(text), Ok(minutes), "{text}");
        }
        for wrong in ["", "0h", "0min", "8d", "169h", "4", "h", "-1h", "4 hours", "99999999999h", "1h,5min"] {
            assert!(length_minutes(wrong).is_err_and(|e| e.contains("1 minute to 7 days")), "{wrong}");
        }
        assert_eq!([time_of_day("00:00"), time_of_day("7:05"), time_of_day("24:00")], [Some(0), Some(425), Some(1440)]);
        for wrong in ["25:00", "24:01", "22", "22:60", "22:0", "22:000", "-1:00", "+1:00", ":", "22:00Z"] {
            assert_eq!(time_of_day(wrong), None, "{wrong}");
        }
    }
}
