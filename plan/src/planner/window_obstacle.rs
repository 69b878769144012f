//! What maintenance windows stand in the way of.

use std::fmt;

use crate::{document::Window, form::ZoneName, id::NodeName, text::until, timestamp::Timestamp};

/// What stands in the way of a plan that waits for windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WindowObstacle {
    /// No window of that node is as long as it was away before.
    TooShort { node: NodeName, seconds: u64, longest: u64 },
    /// The plan ends before a window opens.
    OutOfReach { nodes: Vec<NodeName>, next: Option<(Window, ZoneName)>, end: Timestamp },
}

impl fmt::Display for WindowObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WindowObstacle::TooShort { node, seconds, longest } => write!(
                f,
                "{node} was away for {} when this was done to it lately, and its longest maintenance window has {}; \
                 lengthen it in the fleet file, leave {node} out with --nodes, or take --now",
                until(*seconds),
                until(*longest)
            ),
            WindowObstacle::OutOfReach { nodes, next, end } => {
                let next = next.as_ref().map_or_else(
                    || "no window is known".to_owned(),
                    |(next, zone)| format!("the next window is {} {zone}, from {}", next.opens(), next.from),
                );
                write!(
                    f,
                    "the plan would end at {end} before a window opens in which {} can begin: {next}; ask again \
                     nearer to it, with a longer --lifetime (the root says how long a plan may live), or with --now",
                    nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
                )
            }
        }
    }
}
