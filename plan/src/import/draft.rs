//! A fleet file in the making: what stands in it, and where each thing comes from.

use toml::Value;

/// A fleet file that nobody has written down yet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileDraft {
    /// Above all tables.
    pub top: Vec<Entry>,
    /// In the order in which they are written.
    pub tables: Vec<Table>,
    /// One table for each node.
    pub nodes: Vec<Table>,
    /// What the file cannot say, or what a person should know of it, a sentence each.
    pub unsaid: Vec<String>,
}

/// A table of the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Its name in parts; empty for a node.
    pub path: Vec<String>,
    /// Where it comes from.
    pub from: String,
    pub entries: Vec<Entry>,
}

/// A setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub value: Value,
    /// Where it comes from; empty where the table says it.
    pub from: String,
}

impl Entry {
    pub(super) fn new(key: &str, value: impl Into<Value>, from: impl Into<String>) -> Self {
        Self { key: key.to_owned(), value: value.into(), from: from.into() }
    }
}

impl Table {
    pub(super) fn new(path: &str, from: impl Into<String>) -> Self {
        let path = path.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Self { path, from: from.into(), entries: Vec::new() }
    }

    /// Adds a setting, unless it is an empty text, list or table: those say nothing.
    pub(super) fn add(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        let is_nothing = match &value {
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.is_empty(),
            Value::Table(entries) => entries.is_empty(),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => false,
        };
        if !is_nothing {
            self.entries.push(Entry::new(key, value, ""));
        }
    }
}

impl FileDraft {
    /// Adds a table that says something.
    pub(super) fn table(&mut self, table: Table) {
        if !table.entries.is_empty() {
            self.tables.push(table);
        }
    }

    pub(super) fn say(&mut self, sentence: impl Into<String>) {
        self.unsaid.push(sentence.into());
    }
}
