//! What stands in the way of an update of machines' systems.

use std::fmt;

use crate::{form::PackageVersion, id::NodeName};

/// Something that stands in the way of such a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateObstacle {
    /// Its archives have another release of the system than the one that is installed.
    OtherRelease { node: NodeName, release: String, package: String, origin: String },
    /// A package would move that goes with plans of its own.
    OwnPlan { node: NodeName, package: String },
    /// Machines of one system that would get different versions, because their lists differ.
    Differs { package: String, versions: Vec<(PackageVersion, Vec<NodeName>)> },
    /// Two lists that name one file's version with other content.
    OtherContent { package: String, version: PackageVersion, nodes: Vec<NodeName> },
    /// A node whose list is not there.
    NotRead { node: NodeName },
}

impl fmt::Display for UpdateObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpdateObstacle::OtherRelease { node, release, package, origin } => write!(
                f,
                "{node} runs {release}, and {package} would come from {origin}: that is an upgrade of the \
                 distribution, which an update never does; correct the sources of apt on {node}"
            ),
            UpdateObstacle::OwnPlan { node, package } => write!(
                f,
                "on {node} the update would change {package}, which has plans of its own (`hostler upgrade`); hold it \
                 there: apt-mark hold {package}"
            ),
            UpdateObstacle::Differs { package, versions } => {
                let said: Vec<String> = versions.iter().map(|(v, nodes)| format!("{v} on {}", names(nodes))).collect();
                write!(
                    f,
                    "machines of one system would get different versions of {package}: {}; their archives are not of \
                     one moment: ask again in an hour, or give them the same archive",
                    said.join(", ")
                )
            }
            UpdateObstacle::OtherContent { package, version, nodes } => write!(
                f,
                "{package} {version} has another content in the lists of {}; one of their archives is not what it \
                 should be: find out which before anything is installed",
                names(nodes)
            ),
            UpdateObstacle::NotRead { node } => {
                write!(f, "what waits on {node} is not known; ask again once it is connected")
            }
        }
    }
}

fn names(nodes: &[NodeName]) -> String {
    nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}
