//! What a person reads before signing: every field of the document, in words. The same text stands in the preview, in
//! `hostler sign` and wherever else somebody is asked for a signature.
//!
//! Nothing may be signed that does not show: `plan/tests/shown.rs` changes every field of every kind of document and
//! expects another text. A short form folds only what it states itself. Each function takes its document apart by name,
//! so that a new field does not compile before it is shown.

mod admission;
mod decision;
mod plan;
mod root;
mod roster;
mod tasks;
mod windows;

pub use admission::admission;
pub use decision::decision;
pub use plan::plan;
pub use root::root;
pub use roster::roster;

use std::fmt::Display;

use crate::{id::Digest, signature::PublicKey, text::clean};

/// A text of one field a line, under a head line.
struct Page(String);

impl Page {
    fn new(head: &str) -> Self {
        Self(format!("{head}\n"))
    }

    /// A field: its name, and what it says in one line.
    fn line(&mut self, name: &str, text: impl Display) {
        self.0.push_str(&format!("  {name:<10} {}\n", clean_whole(&text.to_string())));
    }

    /// More of the field before, a line each.
    fn more(&mut self, lines: impl IntoIterator<Item = String>) {
        lines.into_iter().for_each(|line| self.line("", line));
    }
}

/// In one line and whole: every text of a document that is shown here is limited by its form.
fn clean_whole(text: &str) -> String {
    crate::text::clean_to(text, usize::MAX).into_owned()
}

/// A key by what tells it from all others.
fn key(key: &PublicKey) -> String {
    format!("{} {}", key.key_type(), key.fingerprint())
}

/// A list, or the word that says that it is empty.
fn list<T: Display>(items: &[T], none: &str) -> String {
    match items {
        [] => none.to_owned(),
        items => items.iter().map(|item| clean(&item.to_string()).into_owned()).collect::<Vec<_>>().join(", "),
    }
}

/// The document before this one, and the ends of a fork that it closes.
fn predecessors(prev: Option<Digest>, also: &[Digest]) -> String {
    let prev = prev.map_or_else(|| "none is named".to_owned(), |digest| digest.to_string());
    match also {
        [] => prev,
        also => format!("{prev}; closes the fork with {}", list(also, "")),
    }
}
