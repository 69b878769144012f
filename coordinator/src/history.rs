//! The last 48 hours of the key facts of each node, for people without Prometheus.
//!
//! A minute of facts becomes one value per fact, ten minutes become one chunk: the ten values and their mean. The newest
//! two hours are shown by the minute, the rest by the ten minutes. A chunk has under 400 bytes, so a day of a node is
//! under 64 KiB.

use std::collections::{BTreeMap, VecDeque};

use hostler_plan::{fact::Reading, id::NodeName, timestamp::Timestamp};

use crate::summary::Summary;

/// The facts that are kept, in the order of their places in a chunk. A new one goes to the end.
pub const FACTS: [&str; 8] = [
    "temperature_celsius",
    "throttled",
    "memory_used_ratio",
    "disk_used_ratio",
    "nvme_used_ratio",
    "nvme_temperature_celsius",
    "load1",
    "io_pressure_ratio",
];

/// Seconds of one value.
const MINUTE: u64 = 60;
/// Values of one chunk.
const VALUES: usize = 10;
/// Seconds of one chunk.
pub const CHUNK_SECONDS: u64 = MINUTE * VALUES as u64;
/// Chunks of 48 hours.
const CHUNKS: usize = 288;
/// Chunks that are shown by the minute.
const FINE_CHUNKS: usize = 12;
/// Bytes of a chunk: ten values of each fact.
const CHUNK_BYTES: usize = FACTS.len() * VALUES * 4;

/// Ten minutes of every fact; a value that was not there is NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Which ten minutes since 1970.
    pub number: u64,
    values: [[f32; VALUES]; FACTS.len()],
}

impl Chunk {
    fn new(number: u64) -> Self {
        Self { number, values: [[f32::NAN; VALUES]; FACTS.len()] }
    }

    /// The chunk as it is kept: little-endian numbers, fact by fact.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.values.iter().flatten().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; none when it has another length.
    pub fn from_bytes(number: u64, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != CHUNK_BYTES {
            return None;
        }
        let mut chunk = Self::new(number);
        for (value, bytes) in chunk.values.iter_mut().flatten().zip(bytes.chunks_exact(4)) {
            *value = f32::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(chunk)
    }

    fn mean(&self, fact: usize) -> Option<f32> {
        let known: Vec<f32> = self.values[fact].iter().copied().filter(|v| v.is_finite()).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f32>() / known.len() as f32)
    }
}

/// The history of every node.
#[derive(Debug, Default)]
pub struct History {
    nodes: BTreeMap<NodeName, Past>,
}

#[derive(Debug, Default)]
struct Past {
    /// Oldest first; the last one is still being filled.
    chunks: VecDeque<Chunk>,
}

/// One fact over time: Unix seconds and value, oldest first.
pub type Line = (&'static str, Vec<(u64, f64)>);

impl History {
    /// Takes a reading that arrived at `at`. Gives the chunk that it completed, to be kept.
    pub fn add(&mut self, node: &NodeName, at: Timestamp, reading: &Reading) -> Option<Chunk> {
        let number = at.unix_seconds() / CHUNK_SECONDS;
        let minute = usize::try_from(at.unix_seconds() % CHUNK_SECONDS / MINUTE).unwrap_or(0);
        let past = self.nodes.entry(node.clone()).or_default();
        let mut completed = None;
        match past.chunks.back() {
            Some(last) if last.number == number => {}
            // A clock that stepped back does not rewrite what was seen.
            Some(last) if last.number > number => return None,
            last => {
                completed = last.cloned();
                past.chunks.push_back(Chunk::new(number));
            }
        }
        past.forget(number);
        if let Some(chunk) = past.chunks.back_mut() {
            for (fact, value) in key_facts(reading).into_iter().enumerate() {
                // The first value of a minute stands for it; later ones differ little and cost nothing this way.
                if chunk.values[fact][minute].is_nan()
                    && let Some(value) = value
                {
                    chunk.values[fact][minute] = value as f32;
                }
            }
        }
        completed
    }

    /// Takes a kept chunk back in; they come oldest first.
    pub fn restore(&mut self, node: &NodeName, chunk: Chunk, now: Timestamp) {
        let past = self.nodes.entry(node.clone()).or_default();
        if past.chunks.back().is_none_or(|last| last.number < chunk.number) {
            past.chunks.push_back(chunk);
            past.forget(now.unix_seconds() / CHUNK_SECONDS);
        }
    }

    /// The chunks that are being filled, to be kept before a stop.
    pub fn unfinished(&self) -> impl Iterator<Item = (&NodeName, &Chunk)> {
        self.nodes.iter().filter_map(|(node, past)| Some((node, past.chunks.back()?)))
    }

    /// Every fact of a node that has values, as lines.
    pub fn lines(&self, node: &NodeName) -> Vec<Line> {
        let Some(past) = self.nodes.get(node) else { return Vec::new() };
        let newest = past.chunks.back().map_or(0, |c| c.number);
        let lines = FACTS.iter().enumerate().map(|(fact, name)| {
            let mut points = Vec::new();
            for chunk in &past.chunks {
                let begin = chunk.number * CHUNK_SECONDS;
                if chunk.number + FINE_CHUNKS as u64 > newest {
                    let minutes = chunk.values[fact].iter().zip(0_u64..).filter(|(v, _)| v.is_finite());
                    points.extend(minutes.map(|(v, i)| (begin + i * MINUTE, f64::from(*v))));
                } else if let Some(mean) = chunk.mean(fact) {
                    points.push((begin, f64::from(mean)));
                }
            }
            (*name, points)
        });
        lines.filter(|(_, points)| !points.is_empty()).collect()
    }
}

impl Past {
    fn forget(&mut self, present: u64) {
        while self.chunks.front().is_some_and(|c| c.number + CHUNKS as u64 <= present) {
            self.chunks.pop_front();
        }
    }
}

/// The chunk from which on 48 hours are complete.
pub fn oldest_kept(now: Timestamp) -> u64 {
    (now.unix_seconds() / CHUNK_SECONDS).saturating_sub(CHUNKS as u64 - 1)
}

/// In the order of [`FACTS`].
fn key_facts(reading: &Reading) -> [Option<f64>; FACTS.len()] {
    let summary = Summary::of(reading);
    let highest = |name: &str| reading.all(name).map(|(_, v)| v).reduce(f64::max);
    let pressure = reading.find("hostler_pressure_ratio", &[("resource", "io"), ("kind", "some")]).map(|(_, v)| v);
    [
        summary.temperature_celsius,
        summary.throttled.map(|t| if t { 1.0 } else { 0.0 }),
        summary.memory_used_ratio,
        summary.disk_used_ratio,
        summary.nvme_used_ratio,
        highest("nvme_temperature_celsius"),
        reading.get("node_load1", &[]),
        pressure,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plan::fact::Series;

    fn load(value: f64) -> Reading {
        let mut reading = Reading::new(1);
        reading.set(Series::new("node_load1", &[]), value);
        reading
    }

    fn at(minute: u64) -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000 + minute * MINUTE)
    }

    #[test]
    fn two_hours_by_the_minute_and_two_days_by_ten() {
        let node = NodeName::new("a").unwrap();
        let mut history = History::default();
        let mut kept = Vec::new();
        for minute in 0..60 * 60 {
            for second in [0, 30] {
                let at = Timestamp::from_unix_seconds(at(minute).unix_seconds() + second);
                kept.extend(history.add(&node, at, &load(minute as f64)));
            }
        }
        assert_eq!(kept.len(), 359, "one chunk every ten minutes but the last");
        let lines = history.lines(&node);
        assert_eq!(lines.len(), 1, "facts without a value have no line");
        let (name, points) = &lines[0];
        assert_eq!((*name, points.len()), ("load1", 276 + 120));
        assert_eq!(points[0].1, 724.5, "the mean of minutes 720 to 729");
        assert_eq!(points.last().unwrap(), &(at(3599).unix_seconds(), 3599.0));
        assert!(points.windows(2).all(|p| p[0].0 < p[1].0));

        let mut again = History::default();
        for chunk in kept {
            let bytes = chunk.to_bytes();
            assert!(bytes.len() + 64 < 64 * 1024 / 144, "a day is under 64 KiB");
            again.restore(&node, Chunk::from_bytes(chunk.number, &bytes).unwrap(), at(3599));
        }
        for (node, chunk) in history.unfinished() {
            again.restore(node, chunk.clone(), at(3599));
        }
        assert_eq!(again.lines(&node), lines);
    }

    #[test]
    fn a_clock_that_steps_back_rewrites_nothing() {
        let node = NodeName::new("a").unwrap();
        let mut history = History::default();
        history.add(&node, at(100), &load(1.0));
        assert_eq!(history.add(&node, at(10), &load(2.0)), None);
        assert_eq!(history.lines(&node)[0].1, [(at(100).unix_seconds(), 1.0)]);
        history.add(&node, at(100 + 60 * 24 * 365), &load(3.0));
        assert_eq!(history.lines(&node)[0].1.len(), 1, "what is older than two days is gone");
    }
}
