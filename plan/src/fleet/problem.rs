//! What is wrong with a fleet file, and where it stands.

use std::fmt;

/// Where in a file something stands. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

impl Location {
    /// The place of the byte at `offset`.
    pub(super) fn of(file: &str, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Something wrong, or unwise, in a fleet file: what was expected, what was found, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub location: Location,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.message)
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub value: T,
    pub location: Location,
}

/// What was found while a fleet was read.
pub(super) struct Found {
    /// Where what is missing is to be written.
    pub top: Location,
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl Found {
    pub(super) fn error(&mut self, location: &Location, message: String) {
        self.errors.push(Problem { location: location.clone(), message });
    }

    /// What is allowed and unwise.
    pub(super) fn warning(&mut self, location: &Location, message: String) {
        self.warnings.push(Problem { location: location.clone(), message });
    }

    /// What is nowhere, or about the whole: it is looked for at the top.
    pub(super) fn missing(&mut self, message: &str) {
        self.errors.push(Problem { location: self.top.clone(), message: message.to_owned() });
    }
}

/// Why a fleet file cannot be used: every problem, one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct FleetError(pub Vec<Problem>);

/// The candidate that `found` was most likely meant to be: at most two edits away, or a third of its length.
pub(super) fn nearest<'c>(found: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let limit = (found.chars().count() / 3).max(2);
    let scored = candidates.into_iter().map(|c| (edits(found, c), c)).filter(|(d, _)| *d <= limit);
    scored.min_by_key(|(d, _)| *d).map(|(_, c)| c)
}

/// What to do about a word that is none of the candidates: write the nearest one, or something else.
pub(super) fn or_nearest<'c>(
    found: &str,
    candidates: impl IntoIterator<Item = &'c str>,
    otherwise: impl FnOnce() -> String,
) -> String {
    nearest(found, candidates).map_or_else(otherwise, |meant| format!("write {meant:?} if that is meant"))
}

/// The number of characters to insert, delete or replace to get from one text to the other (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_the_likely_one() {
        let keys = ["max_unavailable", "soak_seconds", "canary"];
        assert_eq!(nearest("max_unavailble", keys), Some("max_unavailable"));
        assert_eq!(nearest("cannary", keys), Some("canary"));
        assert_eq!(nearest("colour", keys), None);
    }

    #[test]
    fn places_count_from_one() {
        let location = Location::of("f", "ab\ncé\nd", 7);
        assert_eq!((location.line, location.column), (3, 1));
        assert_eq!(Location::of("f", "ab", 1).column, 2);
    }
}
