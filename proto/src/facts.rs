//! Facts between their form in memory and their form on the wire, for both ends.
//!
//! The form is described at `FactsDelta` in `hostler/v1/agent.proto`. Here only its shape is judged; whether it fits
//! what was sent before is judged by [`hostler_plan::fact::DeltaReader`].

use std::collections::BTreeMap;

use hostler_plan::fact::{Added, Change, Delta, Growth, Labels, MAX_PLACES, MAX_SERIES, Reading, Series, SeriesError};

use crate::v1;

/// Why a report is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// A new series that may not be.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// A new series without a value.
    #[error("facts bring the new series {0} without a value; update hostler-agent")]
    NoValue(String),
    /// Two lists that belong together and have different lengths.
    #[error("facts name {ids} changed series, expected as many values, found {values}; update hostler-agent")]
    Lengths { ids: usize, values: usize },
    /// A gap of zero behind the first, or a number beyond the limit.
    #[error("facts name changed series out of order or above {MAX_SERIES}; update hostler-agent")]
    Gaps,
    /// Decimal places that are too many, or not above those of the list before.
    #[error(
        "facts have steps with {0} decimal places, expected 0 to {MAX_PLACES}, each once, ascending; update \
         hostler-agent"
    )]
    Places(u32),
}

/// The report that carries a delta. A stream begins with a whole delta and loses none, so neither the delta's number
/// nor whether it is whole travels.
pub fn to_wire(delta: Delta) -> v1::FactsDelta {
    let mut changed = delta.changed;
    changed.sort_unstable_by_key(|(id, _)| *id);
    let mut grown: BTreeMap<u8, (Vec<u32>, Vec<i64>)> = BTreeMap::new();
    let (mut ids, mut values) = (Vec::new(), Vec::new());
    for (id, change) in changed {
        match change {
            Change::By(Growth { places, units }) => {
                let (ids, all) = grown.entry(places).or_default();
                ids.push(id);
                all.push(units);
            }
            Change::To(value) => {
                ids.push(id);
                values.push(value);
            }
        }
    }
    let grown = grown.into_iter().map(|(places, (ids, units))| v1::Growth {
        places: u32::from(places),
        gaps: gaps(&ids),
        units,
    });
    v1::FactsDelta {
        taken_at: delta.at_ms,
        added: delta.added.into_iter().map(|a| new_series(a.id, a.series.name(), a.series.labels(), a.value)).collect(),
        removed: delta.removed,
        grown: grown.collect(),
        set: (!ids.is_empty()).then(|| v1::ChangedValues { gaps: gaps(&ids), values }),
    }
}

/// The delta of a report: the `sequence`-th of its stream, from 1.
pub fn from_wire(report: v1::FactsDelta, sequence: u64) -> Result<Delta, FactsError> {
    let mut added = Vec::with_capacity(report.added.len());
    for new in report.added {
        let labels: Vec<(&str, &str)> = new.labels.iter().map(|l| (l.name.as_str(), l.value.as_str())).collect();
        let series = Series::checked(&new.name, &labels)?;
        let value = new.value.ok_or(FactsError::NoValue(new.name))?;
        added.push(Added { id: new.id, series, value });
    }
    let mut changed = Vec::new();
    let mut places_before = None;
    for v1::Growth { places, gaps, units } in report.grown {
        let found = u8::try_from(places).ok().filter(|found| *found <= MAX_PLACES && Some(*found) > places_before);
        let places = found.ok_or(FactsError::Places(places))?;
        places_before = found;
        let steps = units.into_iter().map(|units| Change::By(Growth { places, units }));
        changed.extend(paired(&gaps, steps)?);
    }
    if let Some(v1::ChangedValues { gaps, values }) = report.set {
        changed.extend(paired(&gaps, values.into_iter().map(Change::To))?);
    }
    Ok(Delta { sequence, at_ms: report.taken_at, whole: sequence == 1, removed: report.removed, added, changed })
}

/// A whole reading, spelled out for people.
pub fn spelled_out(reading: &Reading) -> Vec<v1::NewSeries> {
    reading.iter().zip(0..).map(|((name, labels, value), id)| new_series(id, name, labels, value)).collect()
}

fn new_series(id: u32, name: &str, labels: Labels<'_>, value: f64) -> v1::NewSeries {
    let label = |(name, value): (&str, &str)| v1::Label { name: name.to_owned(), value: value.to_owned() };
    v1::NewSeries { id, name: name.to_owned(), labels: labels.iter().map(label).collect(), value: Some(value) }
}

/// The distances of ascending numbers.
fn gaps(ids: &[u32]) -> Vec<u32> {
    let before = std::iter::once(&0).chain(ids);
    ids.iter().zip(before).map(|(id, before)| id - before).collect()
}

/// Each series with what became of it.
fn paired(gaps: &[u32], changes: impl ExactSizeIterator<Item = Change>) -> Result<Vec<(u32, Change)>, FactsError> {
    if gaps.len() != changes.len() {
        return Err(FactsError::Lengths { ids: gaps.len(), values: changes.len() });
    }
    let mut before: Option<u32> = None;
    let numbers = gaps.iter().map(|gap| {
        let id = match before {
            Some(before) => before.checked_add(*gap).filter(|id| *id > before),
            None => Some(*gap),
        };
        before = id;
        id.filter(|id| (*id as usize) < MAX_SERIES).ok_or(FactsError::Gaps)
    });
    numbers.zip(changes).map(|(id, change)| Ok((id?, change))).collect()
}

#[cfg(test)]
mod tests {
    use hostler_plan::fact::{DeltaReader, DeltaWriter};
    use prost::Message as _;

    use super::*;

    fn by(places: u8, units: i64) -> Change {
        Change::By(Growth { places, units })
    }

    #[test]
    fn a_delta_crosses_the_wire_as_it_is() {
        let series = Series::new("node_load1", &[("a", "b")]);
        let mut delta = Delta {
            sequence: 7,
            at_ms: 1_763_735_000_000,
            whole: false,
            removed: vec![9, 2],
            added: vec![Added { id: 2, series, value: -0.0 }],
            changed: vec![
                (700, Change::To(f64::MAX)),
                (3, by(2, -1)),
                (0, by(0, 1 << 53)),
                (4095, by(0, i64::MIN)),
                (1, Change::To(1.0 / 3.0)),
            ],
        };
        let bytes = to_wire(delta.clone()).encode_to_vec();
        let found = from_wire(v1::FactsDelta::decode(bytes.as_slice()).unwrap(), 7).unwrap();
        let places = |(id, change): &(u32, Change)| match change {
            Change::By(growth) => (growth.places, *id),
            Change::To(_) => (u8::MAX, *id),
        };
        delta.changed.sort_by_key(places);
        assert_eq!(found, delta);
        assert!(found.added[0].value.is_sign_negative());
    }

    #[test]
    fn ninety_counters_that_moved_take_three_bytes_each() {
        let reading = |at: u64| {
            let mut reading = Reading::new(1_763_735_000_000 + at);
            for n in 0..90u64 {
                let series = Series::new(&format!("c{n}"), &[]);
                reading.set(series, (1_000_000 + n * 31 + at * n) as f64 / [1.0, 100.0, 1000.0][n as usize % 3]);
            }
            reading
        };
        let mut writer = DeltaWriter::new();
        let mut reader = DeltaReader::new();
        for (sequence, at) in [0, 10].into_iter().enumerate() {
            let bytes = to_wire(writer.delta(&reading(at))).encode_to_vec();
            assert!(at == 0 || bytes.len() < 320, "{} bytes", bytes.len());
            let report = v1::FactsDelta::decode(bytes.as_slice()).unwrap();
            let delta = from_wire(report, sequence as u64 + 1).unwrap();
            assert_eq!(**reader.apply(&delta).unwrap(), reading(at));
        }
    }

    #[test]
    fn a_report_of_another_shape_is_refused_by_its_fault() {
        let grown = |places, gaps: &[u32], units: &[i64]| v1::FactsDelta {
            grown: vec![v1::Growth { places, gaps: gaps.to_vec(), units: units.to_vec() }],
            ..v1::FactsDelta::default()
        };
        let set = |gaps: &[u32], values: &[f64]| v1::FactsDelta {
            set: Some(v1::ChangedValues { gaps: gaps.to_vec(), values: values.to_vec() }),
            ..v1::FactsDelta::default()
        };
        let mut twice = grown(2, &[1], &[1]);
        twice.grown.extend(grown(2, &[2], &[1]).grown);
        let many = vec![1; MAX_SERIES + 1];
        for (report, expected) in [
            (grown(0, &[1, 1], &[1]), FactsError::Lengths { ids: 2, values: 1 }),
            (grown(0, &[], &[1]), FactsError::Lengths { ids: 0, values: 1 }),
            (set(&[1], &[]), FactsError::Lengths { ids: 1, values: 0 }),
            (grown(0, &[1, 0], &[1, 1]), FactsError::Gaps),
            (set(&[3, u32::MAX], &[1.0, 1.0]), FactsError::Gaps),
            (set(&[4096], &[1.0]), FactsError::Gaps),
            (set(&many, &vec![1.0; many.len()]), FactsError::Gaps),
            (grown(10, &[1], &[1]), FactsError::Places(10)),
            (grown(256, &[1], &[1]), FactsError::Places(256)),
            (twice, FactsError::Places(2)),
        ] {
            assert_eq!(from_wire(report.clone(), 2), Err(expected), "{report:?}");
        }
        assert!(from_wire(set(&[4095], &[1.0]), 2).is_ok());
    }
}
