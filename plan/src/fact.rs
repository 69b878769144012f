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

use serde::{Deserialize, Serialize};
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

/// A metric or label name. Borrowed in the agent's readers, owned when it came over the wire.
pub type Name = Cow<'static, str>;

/// The labels of a series, sorted by name, each name once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(Vec<(Name, String)>);

/// One named number: `node_disk_io_now{device="nvme0n1"}`. Copies of it share the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series(Arc<Spelled>);

/// How a series is spelled; in the order of the text format.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Spelled {
    name: Name,
    labels: Labels,
}

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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Reading {
    at_ms: u64,
    /// Sorted, each once. A list, because a coordinator holds one for every node, and a tree of small trees had 500
    /// bytes a series.
    series: Vec<(Series, f64)>,
}

impl Labels {
    /// Labels from pairs in any order; a name given twice keeps its first value.
    pub fn new(pairs: &[(&'static str, &str)]) -> Self {
        let mut labels: Vec<(Name, String)> = pairs
            .iter()
            .map(|(name, value)| (Cow::Borrowed(*name), text::clean_to(value, MAX_VALUE_BYTES).into_owned()))
            .collect();
        labels.sort();
        labels.dedup_by(|later, earlier| later.0 == earlier.0);
        Labels(labels)
    }

    /// The value of one label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }

    /// Every label with its value, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    /// Whether every wanted label is there with that value; others may be there too.
    pub fn matches(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(name, value)| self.get(name) == Some(value))
    }

    /// Whether these are exactly the given labels (in any order).
    pub fn are(&self, pairs: &[(&str, &str)]) -> bool {
        self.0.len() == pairs.len() && self.matches(pairs)
    }
}

impl Series {
    /// A series whose names are written in the program. Label values longer than [`MAX_VALUE_BYTES`] are cut.
    pub fn new(name: &'static str, labels: &[(&'static str, &str)]) -> Self {
        Self::spelled(Cow::Borrowed(name), Labels::new(labels))
    }

    /// A series whose metric name was built at run time (`node_memory_<Field>_bytes`), with labels of the program.
    pub fn named(name: String, labels: &[(&'static str, &str)]) -> Self {
        Self::spelled(Cow::Owned(name), Labels::new(labels))
    }

    /// A series from outside the program: names, lengths and counts are checked.
    pub fn checked(name: &str, labels: &[(&str, &str)]) -> Result<Self, SeriesError> {
        check_name(name)?;
        if labels.len() > MAX_LABELS {
            return Err(SeriesError::Labels { name: name.to_owned(), found: labels.len() });
        }
        let mut pairs: Vec<(Name, String)> = Vec::with_capacity(labels.len());
        for (label, value) in labels {
            check_name(label)?;
            if value.len() > MAX_VALUE_BYTES {
                return Err(SeriesError::Value { label: (*label).to_owned(), found: value.len() });
            }
            pairs.push((Cow::Owned((*label).to_owned()), (*value).to_owned()));
        }
        pairs.sort();
        if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(SeriesError::Twice { name: name.to_owned(), label: pair[0].0.to_string() });
        }
        Ok(Self::spelled(Cow::Owned(name.to_owned()), Labels(pairs)))
    }

    fn spelled(name: Name, labels: Labels) -> Self {
        Series(Arc::new(Spelled { name, labels }))
    }

    /// The metric name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Bytes of its name and its labels.
    fn text_bytes(&self) -> usize {
        self.name().len() + self.labels().iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }

    /// The labels.
    pub fn labels(&self) -> &Labels {
        &self.0.labels
    }
}

impl std::fmt::Display for Series {
    /// As in the text format: `name{a="b"}`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        exposition::write_series(&mut text, &self.0.name, &self.0.labels, &[]);
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
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<(&Labels, f64)> {
        self.family(name).find(|(found, _)| found.matches(labels))
    }

    /// Every series of a name with its value, sorted by labels.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a Labels, f64)> + use<'a> {
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
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Labels, f64)> {
        self.series.iter().map(|(series, value)| (&series.0.name, series.labels(), *value))
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

    fn family<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a Labels, f64)> + use<'a> {
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

/// The JSON form of a reading: a flat list, sorted, one series an entry.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    at_ms: u64,
    series: Vec<WrittenSeries>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSeries {
    name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    value: f64,
}

impl From<Reading> for Written {
    fn from(reading: Reading) -> Self {
        let series = reading
            .iter()
            .map(|(name, labels, value)| WrittenSeries {
                name: name.to_string(),
                labels: labels.iter().map(|(label, text)| (label.to_owned(), text.to_owned())).collect(),
                value,
            })
            .collect();
        Written { at_ms: reading.at_ms, series }
    }
}

impl TryFrom<Written> for Reading {
    type Error = SeriesError;

    fn try_from(written: Written) -> Result<Self, SeriesError> {
        let mut reading = Reading::new(written.at_ms);
        for entry in written.series {
            let labels: Vec<(&str, &str)> =
                entry.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            reading.set(Series::checked(&entry.name, &labels)?, entry.value);
        }
        Ok(reading)
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
    fn long_label_values_of_the_program_are_cut_between_characters() {
        let series = Series::new("x", &[("a", &"ä".repeat(300))]);
        assert_eq!(series.labels().get("a").map(str::len), Some(511), "with the mark");
    }
}
