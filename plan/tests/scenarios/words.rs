//! Words of commands, and lines of answers.

use std::collections::BTreeMap;

pub(super) fn options<'a>(words: &[&'a str]) -> BTreeMap<&'a str, &'a str> {
    words.iter().map(|w| w.split_once('=').unwrap_or((w, ""))).collect()
}

pub(super) fn lines<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|i| format!("{i}\n")).collect()
}
