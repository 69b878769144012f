//! The last 48 hours of the key facts of each node, for people without Prometheus.
//!
//! A minute of facts becomes one value per fact, ten minutes become one chunk: the ten values and their mean. The
//! newest two hours are shown by the minute, the rest by the ten minutes. A chunk has under 455 bytes with its key, so
//! a day of a node is under 64 KiB. In memory only the newest two hours stand by the minute; the rest is means, 15 KiB
//! in all.
//!
//! Times are the coordinator's, whose clock may be wrong and step. A node has its 288 chunks however that goes: those
//! farthest from the present go first, and what lies ahead of the present or too far behind it is not shown. A clock
//! that was a year off for an hour costs an hour, whichever way it went.

use std::collections::BTreeMap;

use hostler_plan::{fact::Reading, id::NodeName, timestamp::Timestamp};

use crate::nodes::summary::Summary;

/// The facts that are kept, in the order of their places in a chunk. A new one goes to the end.
pub(crate) const FACTS: [&str; 8] = [
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
pub(crate) const CHUNK_SECONDS: u64 = MINUTE * VALUES as u64;
/// Chunks of 48 hours, and the most that a node has.
pub(crate) const CHUNKS: usize = 288;
/// Chunks that are shown by the minute.
const FINE_CHUNKS: u64 = 12;
/// Bytes of a chunk: ten values of each fact.
const CHUNK_BYTES: usize = FACTS.len() * VALUES * 4;

/// Ten minutes of every fact; a value that was not there is NaN.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    /// Which ten minutes since 1970.
    pub number: u64,
    values: [[f32; VALUES]; FACTS.len()],
}

impl Chunk {
    fn new(number: u64) -> Self {
        Self { number, values: [[f32::NAN; VALUES]; FACTS.len()] }
    }

    /// The chunk as it is kept: little-endian numbers, fact by fact.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.values.iter().flatten().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; none when it has another length.
    pub(crate) fn from_bytes(number: u64, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != CHUNK_BYTES {
            return None;
        }
        let mut chunk = Self::new(number);
        for (value, bytes) in chunk.values.iter_mut().flatten().zip(bytes.chunks_exact(4)) {
            *value = f32::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(chunk)
    }
}

/// What is remembered of a chunk.
#[derive(Debug)]
enum Remembered {
    Minutes(Box<Chunk>),
    /// Of every fact; one that was not there is NaN.
    Means([f32; FACTS.len()]),
}

impl Remembered {
    fn mean(&self, fact: usize) -> f32 {
        match self {
            Remembered::Means(means) => means[fact],
            Remembered::Minutes(chunk) => {
                let known: Vec<f32> = chunk.values[fact].iter().copied().filter(|v| v.is_finite()).collect();
                if known.is_empty() { f32::NAN } else { known.iter().sum::<f32>() / known.len() as f32 }
            }
        }
    }

    /// Lets the minutes go.
    fn shrink(&mut self) {
        *self = Remembered::Means(std::array::from_fn(|fact| self.mean(fact)));
    }
}

/// The history of every node.
#[derive(Debug, Default)]
pub(crate) struct History {
    nodes: BTreeMap<NodeName, Past>,
}

#[derive(Debug, Default)]
struct Past {
    /// By number.
    chunks: BTreeMap<u64, Remembered>,
    /// The chunk that is being filled, or was last.
    present: u64,
}

/// A chunk that is to be kept, and those that are not any more.
#[derive(Debug, PartialEq)]
pub(crate) struct Completed {
    pub chunk: Chunk,
    /// Their numbers.
    pub forgotten: Vec<u64>,
}

/// One fact over time: Unix seconds and value, oldest first.
pub(crate) type Line = (&'static str, Vec<(u64, f64)>);

impl History {
    /// Takes a reading that arrived at `at`. Gives the chunk that it completed, to be kept.
    pub(crate) fn add(&mut self, node: &NodeName, at: Timestamp, reading: &Reading) -> Option<Completed> {
        let number = at.unix_seconds() / CHUNK_SECONDS;
        let minute = usize::try_from(at.unix_seconds() % CHUNK_SECONDS / MINUTE).unwrap_or(0);
        let past = self.nodes.entry(node.clone()).or_default();
        let completed = past.unfinished().filter(|last| last.number != number).cloned();
        if past.present != number {
            past.present = number;
            past.shrink();
        }
        let chunk = past.fill(number);
        for (fact, value) in key_facts(reading).into_iter().enumerate() {
            // The first value of a minute stands for it; later ones differ little and cost nothing this way.
            if chunk.values[fact][minute].is_nan()
                && let Some(value) = value
            {
                chunk.values[fact][minute] = value as f32;
            }
        }
        let forgotten = past.forget();
        completed.map(|chunk| Completed { chunk, forgotten })
    }

    /// Takes a kept chunk back in; they come oldest first.
    pub(crate) fn restore(&mut self, node: &NodeName, chunk: Chunk, now: Timestamp) {
        let past = self.nodes.entry(node.clone()).or_default();
        // The newest one that is not ahead of the clock, or the newest when all are.
        let now = now.unix_seconds() / CHUNK_SECONDS;
        if past.chunks.is_empty() || chunk.number <= now || past.present > now {
            past.present = chunk.number;
        }
        past.chunks.insert(chunk.number, Remembered::Minutes(Box::new(chunk)));
        past.shrink();
        past.forget();
    }

    /// The chunks that are being filled, to be kept before a stop.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = (&NodeName, &Chunk)> {
        self.nodes.iter().filter_map(|(node, past)| Some((node, past.unfinished()?)))
    }

    /// Every fact of a node that has values, as lines.
    pub(crate) fn lines(&self, node: &NodeName) -> Vec<Line> {
        let Some(past) = self.nodes.get(node) else { return Vec::new() };
        let lines = FACTS.iter().enumerate().map(|(fact, name)| {
            let mut points = Vec::new();
            for (number, remembered) in past.chunks.range(oldest_kept(past.present)..=past.present) {
                let begin = number * CHUNK_SECONDS;
                match remembered {
                    Remembered::Minutes(chunk) if number + FINE_CHUNKS > past.present => {
                        let minutes = chunk.values[fact].iter().zip(0_u64..).filter(|(v, _)| v.is_finite());
                        points.extend(minutes.map(|(v, i)| (begin + i * MINUTE, f64::from(*v))));
                    }
                    Remembered::Minutes(_) | Remembered::Means(_) => {
                        let mean = remembered.mean(fact);
                        points.extend(mean.is_finite().then(|| (begin, f64::from(mean))));
                    }
                }
            }
            (*name, points)
        });
        lines.filter(|(_, points)| !points.is_empty()).collect()
    }
}

impl Past {
    /// The chunk that is being filled.
    fn unfinished(&self) -> Option<&Chunk> {
        match self.chunks.get(&self.present)? {
            Remembered::Minutes(chunk) => Some(chunk),
            Remembered::Means(_) => None,
        }
    }

    /// The chunk with that number, to be filled. After a step back of the clock its minutes may be gone: then it is
    /// begun anew.
    fn fill(&mut self, number: u64) -> &mut Chunk {
        let fresh = || Remembered::Minutes(Box::new(Chunk::new(number)));
        let remembered = self.chunks.entry(number).or_insert_with(fresh);
        loop {
            match remembered {
                Remembered::Minutes(chunk) => return chunk,
                Remembered::Means(_) => *remembered = fresh(),
            }
        }
    }

    /// Lets the minutes go of the chunks that are shown by their means. Not of what lies ahead of the present or too
    /// far behind it: that is another clock's time, which may come back.
    fn shrink(&mut self) {
        let coarse = oldest_kept(self.present)..(self.present + 1).saturating_sub(FINE_CHUNKS);
        if coarse.is_empty() {
            return;
        }
        let with_minutes = |(_, r): &(&u64, &mut Remembered)| matches!(r, Remembered::Minutes(_));
        self.chunks.range_mut(coarse).rev().take_while(with_minutes).for_each(|(_, remembered)| remembered.shrink());
    }

    /// Lets go of what is more than a node may have, the farthest from the present first. Gives the numbers.
    fn forget(&mut self) -> Vec<u64> {
        let mut forgotten = Vec::new();
        while self.chunks.len() > CHUNKS {
            let distance =
                |end: Option<(&u64, &Remembered)>| end.map_or(0, |(number, _)| number.abs_diff(self.present));
            let oldest_first = distance(self.chunks.first_key_value()) >= distance(self.chunks.last_key_value());
            let gone = if oldest_first { self.chunks.pop_first() } else { self.chunks.pop_last() };
            forgotten.extend(gone.map(|(number, _)| number));
        }
        forgotten
    }
}

/// The chunk from which on 48 hours before and with the chunk `present` are complete.
pub(crate) fn oldest_kept(present: u64) -> u64 {
    present.saturating_sub(CHUNKS as u64 - 1)
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
                kept.extend(history.add(&node, at, &load(minute as f64)).map(|completed| completed.chunk));
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

    /// Ten minutes of readings, from that minute on. Gives what is to be kept.
    fn ten_minutes(history: &mut History, node: &NodeName, from: u64, value: f64) -> Vec<Chunk> {
        let add = |minute| history.add(node, at(minute), &load(value));
        (from..from + 10).filter_map(add).map(|completed| completed.chunk).collect()
    }

    #[test]
    fn a_clock_that_steps_by_a_year_and_back_costs_only_the_time_it_was_wrong() {
        const YEAR: u64 = 366 * 24 * 60;
        let node = NodeName::new("a").unwrap();
        // Far enough from the beginning for a step to the past.
        let start = 2 * YEAR;
        for wrong in [start + YEAR, start - YEAR] {
            let (mut history, mut kept) = (History::default(), Vec::new());
            for chunk in 0..100 {
                kept.extend(ten_minutes(&mut history, &node, start + chunk * 10, 1.0));
            }
            kept.extend(ten_minutes(&mut history, &node, wrong, 9.0));
            let points = history.lines(&node).remove(0).1;
            assert_eq!(points.len(), 10, "only what is near the clock as it is");
            assert!(points.iter().all(|(_, value)| *value == 9.0));
            kept.extend(ten_minutes(&mut history, &node, start + 1010, 2.0));
            let points = history.lines(&node).remove(0).1;
            assert!(points.iter().all(|(_, value)| *value != 9.0), "{points:?}");
            assert_eq!((points[0].0, points.last().unwrap().1), (at(start).unix_seconds(), 2.0));
            // The same after a restart.
            let mut again = History::default();
            kept.extend(history.unfinished().map(|(_, chunk)| chunk.clone()));
            kept.sort_by_key(|chunk| chunk.number);
            for chunk in kept {
                again.restore(&node, chunk, at(start + 1020));
            }
            assert_eq!(again.lines(&node), history.lines(&node));
        }
    }

    #[test]
    fn a_small_step_back_rewrites_nothing() {
        let node = NodeName::new("a").unwrap();
        let mut history = History::default();
        ten_minutes(&mut history, &node, 100, 1.0);
        ten_minutes(&mut history, &node, 95, 2.0);
        let values: Vec<f64> = history.lines(&node).remove(0).1.into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, [[2.0; 5].as_slice(), &[1.0; 10]].concat());
    }

    #[test]
    fn a_node_has_no_more_than_its_chunks_however_the_clock_goes() {
        let node = NodeName::new("a").unwrap();
        let mut history = History::default();
        let mut kept = std::collections::BTreeSet::new();
        let mut now = 1_000_000_u64;
        for step in 0..5_000_u64 {
            // Mostly on, sometimes far to the future or the past.
            now = match step % 97 {
                13 => now + 600_000,
                14 => now - 599_990,
                51 => now - 700_000,
                52 => now + 700_010,
                _ => now + 10,
            };
            if let Some(Completed { chunk, forgotten }) = history.add(&node, at(now), &load(step as f64)) {
                kept.insert(chunk.number);
                forgotten.iter().for_each(|number| assert!(kept.remove(number), "{number} was never kept"));
            }
            assert!(history.nodes[&node].chunks.len() <= CHUNKS && kept.len() <= CHUNKS, "step {step}");
        }
        assert!(history.lines(&node)[0].1.len() > 250, "the last two days are there");
    }
}
