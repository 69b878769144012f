//! Facts: what a node's hardware and kernel say, as named numbers.
//!
//! A [`Reading`] is every [`Series`] of one node at one time. Names and units are those of node_exporter where it has
//! one (`node_*`, `nvme_*`, `apt_*`) and `hostler_*` otherwise, in base units (seconds, bytes, celsius, volts, ratio).
//! **Missing is missing**: a fact that could not be read has no series. It is never zero and never a default, and a
//! value that is not finite is refused, because it would turn into one of those further on.

mod delta;
mod exposition;
mod growth;
mod memory;
mod metric;
mod pool;

pub use delta::{Added, Change, Delta, DeltaError, DeltaReader, DeltaWriter};
pub use exposition::expose;
pub use growth::{Growth, MAX_PLACES};
pub use memory::Memory;
pub use metric::{Kind, Metric, metric};
pub use pool::SeriesPool;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, SeqAccess, Visitor},
    ser::SerializeStruct as _,
};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use crate::text;

/// The most series a reading from the wire may hold. A Raspberry Pi has under 400, a large server (64 threads, 12
/// disks) about 1500; beyond that a node is confused or hostile.
pub const MAX_SERIES: usize = 4096;
/// The most bytes that the names and labels of a reading from the wire may have together; a large server's have 200
/// KiB.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// The longest metric or label name, in bytes. The longest name of node_exporter has 55.
pub const MAX_NAME_BYTES: usize = 128;
/// The longest label value, in bytes: mount points and certificate paths fit.
pub const MAX_VALUE_BYTES: usize = 512;
/// The most labels on one series; `node_dmi_info` has 20.
pub const MAX_LABELS: usize = 24;

/// The kernel's own bound (NTP_PHASE_LIMIT, linux/timex.h): from there on it calls a clock unsynchronised, and it lets
/// the error grow to that by itself when nobody disciplines the clock any more. A kernel starts with it.
const UNSYNCHRONISED_SECONDS: f64 = 16.0;

/// Whether somebody from outside keeps a clock right whose largest error is this many seconds. Everybody asks this one:
/// the rule of health, the executor before it begins a plan, and what shows nodes.
pub fn clock_is_synchronised(largest_error_seconds: f64) -> bool {
    largest_error_seconds < UNSYNCHRONISED_SECONDS
}

/// The labels of a series, sorted by name, each name once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels<'series>(&'series str);

/// One named number: `node_disk_io_now{device="nvme0n1"}`. Copies of it share the text.
///
/// Its text is one piece of memory, because a node keeps a thousand of them: the name, then each label and its value,
/// with a [`SEPARATOR`] before each. So the order of series is that of names, then of labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series(Arc<Spelled>);

/// Behind a thin pointer: a coordinator holds some hundred for every node, and their text once.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Spelled(Box<str>);

/// The lowest character, which no name and no value has.
const SEPARATOR: char = '\0';

/// Why a series from outside was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// A name outside `[a-zA-Z_][a-zA-Z0-9_]*` or too long.
    #[error("metric or label name {0:?} is not allowed: expected [a-zA-Z_][a-zA-Z0-9_]*, at most 128 bytes")]
    Name(String),
    /// A label value that is too long.
    #[error("value of label {label} has {found} bytes, expected at most 512")]
    Value { label: String, found: usize },
    /// Too many labels.
    #[error("series {name} has {found} labels, expected at most 24")]
    Labels { name: String, found: usize },
    /// The same label twice.
    #[error("series {name} has the label {label} twice")]
    Twice { name: String, label: String },
}

/// Every fact of one node at one time.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "Written")]
pub struct Reading {
    at_ms: u64,
    /// Sorted, each once. A list, because a coordinator holds one for every node, and a tree of small trees had 500
    /// bytes a series.
    series: Vec<(Series, f64)>,
}

impl<'series> Labels<'series> {
    /// The value of one label.
    pub fn get(self, name: &str) -> Option<&'series str> {
        self.iter().find(|(label, _)| *label == name).map(|(_, value)| value)
    }

    /// Every label with its value, sorted by name.
    pub fn iter(self) -> impl Iterator<Item = (&'series str, &'series str)> {
        let mut parts = self.0.split(SEPARATOR).skip(1);
        std::iter::from_fn(move || parts.next().zip(parts.next()))
    }

    /// Whether every wanted label is there with that value; others may be there too.
    pub fn matches(self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(name, value)| self.get(name) == Some(value))
    }

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Whether these are exactly the given labels (in any order).
    pub fn are(self, pairs: &[(&str, &str)]) -> bool {
        self.iter().count() == pairs.len() && self.matches(pairs)
    }
}

impl Series {
    /// A series with names of the program. Label values longer than [`MAX_VALUE_BYTES`] are cut, and a label that is
    /// given twice keeps its first value.
    pub fn new(name: &str, labels: &[(&str, &str)]) -> Self {
        let mut labels: Vec<(&str, Cow<'_, str>)> =
            labels.iter().map(|(label, value)| (*label, text::clean_to(value, MAX_VALUE_BYTES))).collect();
        labels.sort();
        labels.dedup_by(|later, earlier| later.0 == earlier.0);
        Self::spelled(name, labels.iter().map(|(label, value)| (*label, &**value)))
    }

    /// A series from outside the program: names, lengths and counts are checked.
    pub fn checked(name: &str, labels: &[(&str, &str)]) -> Result<Self, SeriesError> {
        check_name(name)?;
        if labels.len() > MAX_LABELS {
            return Err(SeriesError::Labels { name: name.to_owned(), found: labels.len() });
        }
        for (label, value) in labels {
            check_name(label)?;
            if value.len() > MAX_VALUE_BYTES {
                return Err(SeriesError::Value { label: (*label).to_owned(), found: value.len() });
            }
        }
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        if let Some(pair) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(SeriesError::Twice { name: name.to_owned(), label: pair[0].0.to_owned() });
        }
        Ok(Self::spelled(name, labels.into_iter()))
    }

    /// `labels` are sorted, each once.
    fn spelled<'a>(name: &str, labels: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut spelled = String::with_capacity(128);
        // What cannot be seen is worth nothing in a value, and names never have it.
        spelled.extend(name.split(SEPARATOR));
        for part in labels.flat_map(|(label, value)| [label, value]) {
            spelled.push(SEPARATOR);
            spelled.extend(part.split(SEPARATOR));
        }
        Series(Arc::new(Spelled(spelled.into())))
    }

    /// The metric name.
    pub fn name(&self) -> &str {
        self.0.0.split(SEPARATOR).next().unwrap_or_default()
    }

    /// Bytes of its name and its labels.
    fn text_bytes(&self) -> usize {
        self.name().len() + self.labels().iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }

    /// The labels.
    pub fn labels(&self) -> Labels<'_> {
        Labels(&self.0.0)
    }
}

impl std::fmt::Display for Series {
    /// As in the text format: `name{a="b"}`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        exposition::write_series(&mut text, self.name(), self.labels(), &[]);
        formatter.write_str(&text)
    }
}

impl Reading {
    /// An empty reading taken at this time (Unix milliseconds).
    pub fn new(at_ms: u64) -> Self {
        Reading { at_ms, series: Vec::new() }
    }

    /// When it was taken, in Unix milliseconds of the node's own clock.
    pub fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// Changes the time it was taken.
    pub fn set_at_ms(&mut self, at_ms: u64) {
        self.at_ms = at_ms;
    }

    /// Sets one value. A value that is not finite removes the series instead: it is not known.
    pub fn set(&mut self, series: Series, value: f64) {
        if !value.is_finite() {
            self.remove(&series);
            return;
        }
        match self.place(&series) {
            Ok(known) => self.series[known].1 = value,
            Err(place) => self.series.insert(place, (series, value)),
        }
    }

    /// Changes the value of a series that is there already, without allocating. False: it is not there.
    pub fn update(&mut self, series: &Series, value: f64) -> bool {
        match self.place(series) {
            Ok(known) if value.is_finite() => {
                self.series[known].1 = value;
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Removes one series; true when it was there.
    pub fn remove(&mut self, series: &Series) -> bool {
        let place = self.place(series);
        if let Ok(known) = place {
            self.series.remove(known);
        }
        place.is_ok()
    }

    /// Where a series is, or where it would be.
    fn place(&self, series: &Series) -> Result<usize, usize> {
        // Readers go through what they read in order: the end is the most likely place.
        match self.series.last() {
            Some((last, _)) if last < series => Err(self.series.len()),
            Some(_) | None => self.series.binary_search_by(|(found, _)| found.cmp(series)),
        }
    }

    /// The value of the series with exactly these labels (in any order).
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.family(name).find(|(found, _)| found.are(labels)).map(|(_, value)| value)
    }

    /// The value of exactly this series.
    pub fn value(&self, series: &Series) -> Option<f64> {
        self.place(series).ok().map(|known| self.series[known].1)
    }

    /// The first series of that name which carries at least these labels, with its value.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<(Labels<'_>, f64)> {
        self.family(name).find(|(found, _)| found.matches(labels))
    }

    /// Every series of a name with its value, sorted by labels.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = (Labels<'a>, f64)> + use<'a> {
        self.family(name)
    }

    /// The value of a label on the first series of that name: `label("hostler_node_info", "model")`.
    pub fn label(&self, name: &str, label: &str) -> Option<&str> {
        self.family(name).find_map(|(labels, _)| labels.get(label))
    }

    /// Every metric name that has a series, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.series.chunk_by(|(a, _), (b, _)| a.name() == b.name()).map(|family| family[0].0.name())
    }

    /// Every series, sorted by name and labels.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Labels<'_>, f64)> {
        self.series.iter().map(|(series, value)| (series.name(), series.labels(), *value))
    }

    /// The same with the series in one piece, to keep it without copying its text.
    pub fn series(&self) -> impl Iterator<Item = (&Series, f64)> {
        self.series.iter().map(|(series, value)| (series, *value))
    }

    /// The number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is no series at all.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    fn family<'a>(&'a self, name: &str) -> impl Iterator<Item = (Labels<'a>, f64)> + use<'a> {
        let begin = self.series.partition_point(|(series, _)| series.name() < name);
        let rest = &self.series[begin..];
        let family = &rest[..rest.partition_point(|(series, _)| series.name() == name)];
        family.iter().map(|(series, value)| (series.labels(), *value))
    }
}

fn check_name(name: &str) -> Result<(), SeriesError> {
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let goes_on = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if starts && goes_on && name.len() <= MAX_NAME_BYTES {
        Ok(())
    } else {
        Err(SeriesError::Name(text::clean_to(name, MAX_VALUE_BYTES).into_owned()))
    }
}

/// The JSON form of a reading: a flat list, sorted, one series an entry. It is written and read one by one: a copy of a
/// large server's would be 600 KiB, at every report.
impl Serialize for Reading {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut written = serializer.serialize_struct("Reading", 2)?;
        written.serialize_field("at_ms", &self.at_ms)?;
        written.serialize_field("series", &Entries(&self.series))?;
        written.end()
    }
}

struct Entries<'a>(&'a [(Series, f64)]);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(series, value)| Entry {
            name: series.name(),
            labels: series.labels(),
            value: *value,
        }))
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    labels: Labels<'a>,
    value: f64,
}

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    at_ms: u64,
    #[serde(deserialize_with = "entries")]
    series: Reading,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEntry {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    value: f64,
}

fn entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reading, D::Error> {
    struct Each;
    impl<'de> Visitor<'de> for Each {
        type Value = Reading;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a list of series")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Reading, A::Error> {
            let mut reading = Reading::new(0);
            while let Some(WrittenEntry { name, labels, value }) = entries.next_element()? {
                let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
                reading.set(Series::checked(&name, &labels).map_err(A::Error::custom)?, value);
            }
            Ok(reading)
        }
    }
    deserializer.deserialize_seq(Each)
}

impl From<Written> for Reading {
    fn from(mut written: Written) -> Self {
        written.series.set_at_ms(written.at_ms);
        written.series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_lookups_do_not_care_about_order() {
        let mut reading = Reading::new(1);
        reading.set(Series::new("node_cpu_seconds_total", &[("mode", "idle"), ("cpu", "0")]), 5.0);
        reading.set(Series::new("node_cpu_seconds_total", &[("cpu", "1"), ("mode", "idle")]), 6.0);
        assert_eq!(reading.get("node_cpu_seconds_total", &[("mode", "idle"), ("cpu", "1")]), Some(6.0));
        assert_eq!(reading.get("node_cpu_seconds_total", &[("cpu", "1")]), None, "exactly these labels");
        assert_eq!(reading.find("node_cpu_seconds_total", &[("cpu", "1")]).map(|found| found.1), Some(6.0));
        assert_eq!(reading.all("node_cpu_seconds_total").count(), 2);
        assert_eq!(reading.all("node_load1").count(), 0);
    }

    #[test]
    fn a_value_that_is_not_finite_is_missing() {
        let mut reading = Reading::new(1);
        reading.set(Series::new("node_load1", &[]), 1.0);
        reading.set(Series::new("node_load1", &[]), f64::NAN);
        reading.set(Series::new("node_load5", &[]), f64::INFINITY);
        assert!(reading.is_empty());
        assert_eq!(reading.names().count(), 0, "no empty family stays behind");
    }

    #[test]
    fn a_reading_survives_json_and_bad_names_are_refused() {
        let mut reading = Reading::new(17);
        reading.set(Series::new("node_load1", &[]), 0.25);
        reading.set(Series::new("hostler_mmc_info", &[("device", "mmcblk0"), ("name", "a\"b\\c\n")]), 1.0);
        let json = serde_json::to_string(&reading).unwrap();
        assert_eq!(serde_json::from_str::<Reading>(&json).unwrap(), reading);
        assert!(serde_json::from_str::<Reading>(&json.replace("node_load1", "node load1")).is_err());
        assert!(serde_json::from_str::<Reading>(&json.replace("at_ms", "at")).is_err());
    }

    #[test]
    fn a_series_from_outside_is_checked() {
        assert!(Series::checked("node_load1", &[("a", "b")]).is_ok());
        assert_eq!(Series::checked("1x", &[]), Err(SeriesError::Name("1x".into())));
        assert_eq!(Series::checked("", &[]), Err(SeriesError::Name(String::new())));
        assert_eq!(
            Series::checked("x", &[("a", "1"), ("a", "2")]),
            Err(SeriesError::Twice { name: "x".into(), label: "a".into() })
        );
        assert!(matches!(Series::checked("x", &[("a", &"v".repeat(513))]), Err(SeriesError::Value { found: 513, .. })));
        let many: Vec<String> = (0..25).map(|number| format!("l{number}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
        assert!(matches!(Series::checked("x", &many), Err(SeriesError::Labels { found: 25, .. })));
    }

    #[test]
    fn a_separator_in_a_value_is_left_out_and_makes_no_labels() {
        let series = Series::checked("x", &[("a", "1\0b\x002"), ("c", "")]).unwrap();
        assert_eq!(series.labels().iter().collect::<Vec<_>>(), [("a", "1b2"), ("c", "")]);
        assert_eq!(Series::checked("x", &[]).unwrap().labels().iter().count(), 0);
    }

    #[test]
    fn long_label_values_of_the_program_are_cut_between_characters() {
        let series = Series::new("x", &[("a", &"ä".repeat(300))]);
        assert_eq!(series.labels().get("a").map(str::len), Some(511), "with the mark");
    }
}
