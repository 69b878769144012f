//! Expressions over labels.

use std::collections::BTreeMap;

/// One expression over a node's labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

/// How a [`Requirement`] compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}

/// Which pods are meant, by their labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// No selector: no pod.
    Nothing,
    /// All of these must hold; an empty list is every pod of the namespace.
    All(Vec<Requirement>),
}

impl Requirement {
    /// Whether it holds for labels.
    pub fn holds<'a>(&self, label: impl Fn(&str) -> Option<&'a String>) -> bool {
        let found = label(&self.key);
        let number = |text: &str| text.parse::<i64>().ok();
        let compare = |than: fn(i64, i64) -> bool| {
            let pair = found.and_then(|f| number(f)).zip(self.values.first().and_then(|v| number(v)));
            pair.is_some_and(|(found, wanted)| than(found, wanted))
        };
        match self.operator {
            Operator::In => found.is_some_and(|f| self.values.contains(f)),
            Operator::NotIn => found.is_none_or(|f| !self.values.contains(f)),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::Gt => compare(|found, wanted| found > wanted),
            Operator::Lt => compare(|found, wanted| found < wanted),
        }
    }
}

impl Selector {
    /// The labels that it asks about.
    pub fn asks_for(&self) -> impl Iterator<Item = &str> {
        let requirements = match self {
            Selector::Nothing => &[],
            Selector::All(requirements) => requirements.as_slice(),
        };
        requirements.iter().map(|requirement| requirement.key.as_str())
    }

    /// Whether it means pods with these labels.
    pub fn takes(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Selector::Nothing => false,
            Selector::All(requirements) => requirements.iter().all(|r| r.holds(|key| labels.get(key))),
        }
    }
}
