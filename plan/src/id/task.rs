//! The name of a task: which node it is about, and what is done to it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{InvalidId, NodeName};

/// A task's name inside its plan, written `w1.example.org.drain`: the operation has no dot, so that the last one parts
/// them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId {
    /// The node that the task is about.
    subject: NodeName,
    /// What is done to it.
    operation: String,
}

/// As long as no operation needs; a whole id is at most so much longer than a name.
const MAX_OPERATION_BYTES: usize = 32;

const EXPECTED: &str = "a node's name, '.', and an operation of 1 to 32 of a-z, 0-9 and '-'";

impl TaskId {
    /// The task that does `operation` to `subject`.
    pub fn of(subject: NodeName, operation: &str) -> Result<Self, InvalidId> {
        let valid = (1..=MAX_OPERATION_BYTES).contains(&operation.len())
            && operation.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if valid {
            Ok(Self { subject, operation: operation.to_owned() })
        } else {
            Err(InvalidId::new("task id", EXPECTED, operation))
        }
    }

    /// Reads the written form.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
        let text = text.as_ref();
        let wrong = || InvalidId::new("task id", EXPECTED, text);
        let (subject, operation) = text.rsplit_once('.').ok_or_else(wrong)?;
        let subject = NodeName::new(subject).map_err(|_| wrong())?;
        Self::of(subject, operation).map_err(|_| wrong())
    }

    /// The node that the task is about.
    pub fn subject(&self) -> &NodeName {
        &self.subject
    }

    /// What is done to it.
    pub fn operation(&self) -> &str {
        &self.operation
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.subject, self.operation))
    }
}

impl FromStr for TaskId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::new(text)
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::new(text)
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_and_operation_are_read_back_whatever_dots_the_name_has() {
        for (subject, operation) in
            [("w1", "drain"), ("w1.drain", "drain"), ("node1.example.org", "return"), ("a", "-2")]
        {
            let id = TaskId::of(NodeName::new(subject).unwrap(), operation).unwrap();
            let read: TaskId = id.to_string().parse().unwrap();
            assert_eq!((read.subject().as_str(), read.operation()), (subject, operation));
            assert_eq!(read, id);
        }
        let long = format!("{}.{}", "n".repeat(253), "o".repeat(32));
        assert_eq!(TaskId::new(&long).unwrap().to_string(), long);
        for bad in [
            "",
            "w1",
            "w1.",
            ".drain",
            "w1..drain",
            "W1.drain",
            "w1.Drain",
            "w1.a_b",
            &format!("w1.{}", "o".repeat(33)),
        ] {
            assert!(TaskId::new(bad).is_err(), "{bad:?}");
        }
    }
}
