//! What changed between two readings, in few bytes: a series is spelled out once and called by a small number after.
//!
//! The sender keeps a [`DeltaWriter`], the receiver a [`DeltaReader`]; both belong to one connection. The first delta
//! of a connection is whole, and a value that moved is told as its step where that gives the exact bits. A delta that
//! was lost is noticed by its sequence number; the receiver then asks for a whole one, it never guesses.

use super::{Growth, MAX_SERIES, MAX_TEXT_BYTES, Reading, Series};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What changed since the delta before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Delta {
    /// Counts up by one from delta to delta of one connection.
    pub sequence: u64,
    /// When the reading was taken, Unix milliseconds of the node's clock.
    pub at_ms: u64,
    /// Forget everything known before applying: the first delta, and the answer to a lost one.
    pub whole: bool,
    /// Ids that are free again. Applied first, so that an id may be removed and given out in one delta.
    pub removed: Vec<u32>,
    /// Series that are new, with the id that stands for them from now on.
    pub added: Vec<Added>,
    /// Known series with other values than before, each at most once.
    pub changed: Vec<(u32, Change)>,
}

/// What became of the value of a known series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// It moved by that much from the value that was sent last.
    By(Growth),
    /// It is this now, where no step gives the exact bits.
    To(f64),
}

/// A series that is spelled out for the first time.
#[derive(Debug, Clone, PartialEq)]
pub struct Added {
    /// The number that stands for it until it is removed. The smallest free one, so ids stay small on the wire.
    pub id: u32,
    /// Name and labels.
    pub series: Series,
    /// Its value.
    pub value: f64,
}

/// Why a delta could not be applied. The reader is unchanged; ask the sender for a whole one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum DeltaError {
    /// A delta was lost, doubled or came out of order.
    #[error("facts out of order: expected delta {expected}, found {found}; a whole reading is needed")]
    Sequence { expected: u64, found: u64 },
    /// An id that stands for no series.
    #[error("facts name the unknown series number {0}; a whole reading is needed")]
    UnknownId(u32),
    /// An id given out twice, or beyond the limit.
    #[error("facts give out series number {0}, which is taken or above the limit; a whole reading is needed")]
    TakenId(u32),
    /// Names and labels that are longer together than a reading's may be.
    #[error("facts have {0} bytes of names and labels, expected at most {MAX_TEXT_BYTES} bytes; look at the node")]
    TooLong(usize),
    /// A number that is not finite.
    #[error("facts hold a value that is not finite for series number {0}")]
    NotFinite(u32),
    /// A series that changes twice in one delta.
    #[error("facts change series number {0} twice in one report; a whole reading is needed")]
    Twice(u32),
    /// A step that does not fit the value that was sent last.
    #[error("facts move series number {0} by a step that its last value cannot take; a whole reading is needed")]
    Step(u32),
}

/// The sender's side: remembers what was sent and which number stands for which series.
#[derive(Debug, Default)]
pub struct DeltaWriter {
    sequence: u64,
    started: bool,
    slots: BTreeMap<Series, Slot>,
    free: BTreeSet<u32>,
    next: u32,
}

#[derive(Debug)]
struct Slot {
    id: u32,
    value: f64,
    seen: u64,
}

impl DeltaWriter {
    /// A writer for a new connection: its first delta is whole.
    pub fn new() -> Self {
        DeltaWriter::default()
    }

    /// Makes the next delta a whole one, because the receiver asked for it.
    pub fn reset(&mut self) {
        let sequence = self.sequence;
        *self = DeltaWriter { sequence, ..DeltaWriter::default() };
    }

    /// What changed since the last call.
    pub fn delta(&mut self, reading: &Reading) -> Delta {
        self.sequence += 1;
        let seen = self.sequence;
        let mut delta = Delta { sequence: seen, at_ms: reading.at_ms(), whole: !self.started, ..Delta::default() };
        self.started = true;
        let mut new: Vec<Series> = Vec::new();
        let mut new_values = Vec::new();
        for (series, value) in reading.series() {
            match self.slots.get_mut(series) {
                Some(slot) => {
                    slot.seen = seen;
                    if slot.value.to_bits() != value.to_bits() {
                        let change = Growth::between(slot.value, value).map_or(Change::To(value), Change::By);
                        slot.value = value;
                        delta.changed.push((slot.id, change));
                    }
                }
                None => {
                    new.push(series.clone());
                    new_values.push(value);
                }
            }
        }
        self.drop_unseen(seen, &mut delta.removed);
        for (series, value) in new.into_iter().zip(new_values) {
            let id = self.take_id();
            let slot = Slot { id, value, seen };
            self.slots.insert(series.clone(), slot);
            delta.added.push(Added { id, series, value });
        }
        delta
    }

    fn drop_unseen(&mut self, seen: u64, removed: &mut Vec<u32>) {
        let free = &mut self.free;
        self.slots.retain(|_, slot| {
            let stays = slot.seen == seen;
            if !stays {
                free.insert(slot.id);
                removed.push(slot.id);
            }
            stays
        });
    }

    fn take_id(&mut self) -> u32 {
        match self.free.pop_first() {
            Some(id) => id,
            None => {
                let id = self.next;
                self.next += 1;
                id
            }
        }
    }
}

/// The series of a number.
fn numbered(series: &[Option<Series>], id: u32) -> Option<&Series> {
    series.get(id as usize)?.as_ref()
}

/// The receiver's side: rebuilds the readings of one connection.
#[derive(Debug, Default)]
pub struct DeltaReader {
    sequence: Option<u64>,
    /// By number. A list: numbers are given out from 0 on, and a coordinator holds one for every node.
    series: Vec<Option<Series>>,
    /// Shared with whoever holds the last one; changed in place when nobody does.
    reading: Arc<Reading>,
}

impl DeltaReader {
    /// A reader for a new connection; it waits for a whole delta.
    pub fn new() -> Self {
        DeltaReader::default()
    }

    /// The reading as of the last delta; `None` before the first.
    pub fn reading(&self) -> Option<&Reading> {
        self.sequence.map(|_| self.reading.as_ref())
    }

    /// Applies one delta, or refuses it and stays as it was.
    pub fn apply(&mut self, delta: &Delta) -> Result<&Arc<Reading>, DeltaError> {
        let values = self.check(delta)?;
        if delta.whole {
            self.series.clear();
            self.reading = Arc::new(Reading::new(delta.at_ms));
        }
        let reading = Arc::make_mut(&mut self.reading);
        for (id, value) in values {
            if let Some(series) = numbered(&self.series, id) {
                reading.update(series, value);
            }
        }
        for id in &delta.removed {
            if let Some(series) = self.series.get_mut(*id as usize).and_then(Option::take) {
                reading.remove(&series);
            }
        }
        for Added { id, series, value } in &delta.added {
            let place = *id as usize;
            if self.series.len() <= place {
                self.series.resize(place + 1, None);
            }
            self.series[place] = Some(series.clone());
            reading.set(series.clone(), *value);
        }
        reading.set_at_ms(delta.at_ms);
        self.sequence = Some(delta.sequence);
        Ok(&self.reading)
    }

    /// Everything that can be wrong with a delta; gives the new values of the series that changed.
    fn check(&self, delta: &Delta) -> Result<Vec<(u32, f64)>, DeltaError> {
        let expected = self.sequence.map_or(delta.sequence, |last| last + 1);
        let first = self.sequence.is_none();
        if !delta.whole && (first || delta.sequence != expected) {
            return Err(DeltaError::Sequence { expected: if first { 0 } else { expected }, found: delta.sequence });
        }
        let known = |id: &u32| !delta.whole && numbered(&self.series, *id).is_some();
        let removed: BTreeSet<u32> = delta.removed.iter().copied().collect();
        if let Some(id) = delta.removed.iter().find(|id| !known(id)) {
            return Err(DeltaError::UnknownId(*id));
        }
        let mut fresh = BTreeSet::new();
        for Added { id, value, .. } in &delta.added {
            let taken = known(id) && !removed.contains(id);
            if taken || *id as usize >= MAX_SERIES || !fresh.insert(*id) {
                return Err(DeltaError::TakenId(*id));
            }
            if !value.is_finite() {
                return Err(DeltaError::NotFinite(*id));
            }
        }
        // Only what is new makes it longer.
        if !delta.added.is_empty() {
            let numbers = self.series.iter().zip(0..).filter(|(_, id)| known(id) && !removed.contains(id));
            let stays = numbers.filter_map(|(series, _)| series.as_ref());
            let bytes = stays.chain(delta.added.iter().map(|added| &added.series)).map(Series::text_bytes).sum();
            if bytes > MAX_TEXT_BYTES {
                return Err(DeltaError::TooLong(bytes));
            }
        }
        let mut changed = BTreeSet::new();
        let mut values = Vec::with_capacity(delta.changed.len());
        for (id, change) in &delta.changed {
            if !known(id) || removed.contains(id) {
                return Err(DeltaError::UnknownId(*id));
            }
            if !changed.insert(*id) {
                return Err(DeltaError::Twice(*id));
            }
            values.push((*id, self.value(*id, *change)?));
        }
        Ok(values)
    }

    /// What a known series is after a change.
    fn value(&self, id: u32, change: Change) -> Result<f64, DeltaError> {
        match change {
            Change::To(value) if value.is_finite() => Ok(value),
            Change::To(_) => Err(DeltaError::NotFinite(id)),
            Change::By(growth) => {
                let last = numbered(&self.series, id).and_then(|series| self.reading.value(series));
                last.and_then(|last| growth.after(last)).ok_or(DeltaError::Step(id))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reading(at_ms: u64, values: &[(&'static str, &'static str, f64)]) -> Reading {
        let mut reading = Reading::new(at_ms);
        for (name, device, value) in values {
            reading.set(Series::new(name, &[("device", device)]), *value);
        }
        reading
    }

    #[test]
    fn the_first_delta_is_whole_and_later_ones_hold_only_what_changed() {
        let mut writer = DeltaWriter::new();
        let first = writer.delta(&reading(1, &[("a", "x", 1.0), ("a", "y", 2.0)]));
        assert!(first.whole);
        assert_eq!(first.added.iter().map(|added| added.id).collect::<Vec<_>>(), [0, 1]);
        let second = writer.delta(&reading(2, &[("a", "x", 1.0), ("a", "y", 3.0)]));
        let one = Change::By(Growth { places: 0, units: 1 });
        assert_eq!(second, Delta { sequence: 2, at_ms: 2, changed: vec![(1, one)], ..Delta::default() });
        let third = writer.delta(&reading(3, &[("a", "y", 3.0), ("b", "z", 4.0)]));
        assert_eq!(third.removed, [0]);
        assert_eq!(third.added[0].id, 0, "a freed number is given out again");
    }

    #[test]
    fn a_lost_or_doubled_delta_is_refused_and_changes_nothing() {
        let mut writer = DeltaWriter::new();
        let mut reader = DeltaReader::new();
        let one = writer.delta(&reading(1, &[("a", "x", 1.0)]));
        let two = writer.delta(&reading(2, &[("a", "x", 2.0)]));
        let three = writer.delta(&reading(3, &[("a", "x", 3.0)]));
        assert_eq!(reader.apply(&two), Err(DeltaError::Sequence { expected: 0, found: 2 }));
        assert!(reader.reading().is_none());
        reader.apply(&one).unwrap();
        assert_eq!(reader.apply(&three), Err(DeltaError::Sequence { expected: 2, found: 3 }));
        reader.apply(&two).unwrap();
        assert_eq!(reader.apply(&two), Err(DeltaError::Sequence { expected: 3, found: 2 }));
        assert_eq!(reader.reading().unwrap().get("a", &[("device", "x")]), Some(2.0));
        writer.reset();
        let whole = writer.delta(&reading(4, &[("b", "x", 9.0)]));
        assert_eq!(**reader.apply(&whole).unwrap(), reading(4, &[("b", "x", 9.0)]));
    }

    #[test]
    fn hostile_ids_and_numbers_are_refused() {
        let mut reader = DeltaReader::new();
        let series = Series::new("a", &[]);
        let added = |id, value| Added { id, series: series.clone(), value };
        let whole = |added| Delta { sequence: 1, whole: true, added, ..Delta::default() };
        assert_eq!(reader.apply(&whole(vec![added(0, 1.0), added(0, 2.0)])), Err(DeltaError::TakenId(0)));
        assert_eq!(reader.apply(&whole(vec![added(u32::MAX, 1.0)])), Err(DeltaError::TakenId(u32::MAX)));
        assert_eq!(reader.apply(&whole(vec![added(3, f64::NAN)])), Err(DeltaError::NotFinite(3)));
        reader.apply(&whole(vec![added(3, 1.0)])).unwrap();
        let next = |removed, changed| Delta { sequence: 2, removed, changed, ..Delta::default() };
        let to = Change::To;
        let by = |places, units| Change::By(Growth { places, units });
        assert_eq!(reader.apply(&next(vec![9], vec![])), Err(DeltaError::UnknownId(9)));
        assert_eq!(reader.apply(&next(vec![3], vec![(3, to(1.0))])), Err(DeltaError::UnknownId(3)));
        assert_eq!(reader.apply(&next(vec![], vec![(9, by(0, 1))])), Err(DeltaError::UnknownId(9)));
        assert_eq!(reader.apply(&next(vec![], vec![(3, to(f64::INFINITY))])), Err(DeltaError::NotFinite(3)));
        assert_eq!(reader.apply(&next(vec![], vec![(3, to(2.0)), (3, by(0, 1))])), Err(DeltaError::Twice(3)));
        for step in [by(0, i64::MAX), by(0, i64::MIN), by(10, 1), by(255, 1), by(0, 1 << 53)] {
            assert_eq!(reader.apply(&next(vec![], vec![(3, step)])), Err(DeltaError::Step(3)), "{step:?}");
        }
        let fresh = Delta { added: vec![added(4, 1.0)], ..next(vec![], vec![(4, by(0, 1))]) };
        assert_eq!(reader.apply(&fresh), Err(DeltaError::UnknownId(4)), "a new series has no value to step from");
        assert_eq!(reader.reading().unwrap().get("a", &[]), Some(1.0), "nothing of all this was taken");
        reader.apply(&next(vec![], vec![(3, to(0.5))])).unwrap();
        let third = Delta { sequence: 3, ..next(vec![], vec![(3, by(0, 1))]) };
        assert_eq!(reader.apply(&third), Err(DeltaError::Step(3)), "a half is no whole number");
    }

    /// What readers give and what they never would: ticks, counters, halves, signed zero, the largest and the smallest.
    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            (0i32..5).prop_map(f64::from),
            (0i64..1 << 40).prop_map(|ticks| ticks as f64 / 100.0),
            (0i64..1 << 40).prop_map(|micros| micros as f64 / 1e6),
            (-8i64..8).prop_map(|near| ((1i64 << 53) + near) as f64),
            proptest::sample::select(vec![0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 0.1 + 0.2]),
            any::<f64>(),
        ]
    }

    proptest! {
        #[test]
        fn any_run_of_readings_is_rebuilt_bit_by_bit(
            runs in proptest::collection::vec(
                proptest::collection::btree_map((0usize..4, 0usize..4), value(), 0..12), 1..12),
        ) {
            const NAMES: [&str; 4] = ["a", "b", "c", "d"];
            let (mut writer, mut reader) = (DeltaWriter::new(), DeltaReader::new());
            for (at_ms, run) in runs.iter().enumerate() {
                let mut wanted = Reading::new(at_ms as u64);
                for ((name, device), value) in run {
                    wanted.set(Series::new(NAMES[*name], &[("device", NAMES[*device])]), *value);
                }
                let delta = writer.delta(&wanted);
                prop_assert!(delta.added.iter().all(|added| added.id < 16), "ids stay small");
                let found = reader.apply(&delta).unwrap();
                prop_assert_eq!(found.as_ref(), &wanted);
                let bits = |reading: &Reading| reading.iter().map(|(_, _, value)| value.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(found), bits(&wanted), "also the sign of zero");
            }
        }
    }
}
