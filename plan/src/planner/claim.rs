//! What a plan was made from and nobody proved: the coordinator's word about nodes. It decides who is worked on, by
//! whom and in which order, so whoever signs sees it.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{
    health::{Level, Verdict},
    id::{NodeName, Seq},
    sequencer::{Quarantine, Standing},
    text::clean,
    version::Version,
};

use super::{InventoryNode, Request};

/// Something that the coordinator says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "claim", rename_all = "snake_case")]
pub enum Claim {
    /// How nodes are; all of them alike.
    Nodes { nodes: Vec<NodeName>, said: NodeClaim },
    /// A node failed on a version and must not be brought to it.
    Quarantined { node: NodeName, version: Version, reason: String },
}

/// How a node is, as the coordinator says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NodeClaim {
    pub connected: bool,
    /// What its cluster says of it.
    pub standing: &'static str,
    /// The Kubernetes version that it runs.
    pub version: Option<Version>,
    /// Who made it unschedulable.
    pub cordoned_by: Option<String>,
    /// The plan that took it out of service, and whether that is done.
    pub held_by: Option<Seq>,
    pub drained: bool,
    /// The worst of its verdicts that count.
    pub health: &'static str,
}

impl NodeClaim {
    fn of(state: &InventoryNode) -> Self {
        Self {
            connected: state.connected,
            standing: match state.condition.standing {
                Standing::Ready => "Ready",
                Standing::NotReady => "not Ready",
                Standing::Outside => "outside of the cluster",
                Standing::Unknown => "not known to its cluster",
            },
            version: state.condition.version,
            cordoned_by: state.condition.cordon.as_ref().map(|cordon| cordon.owner.name().to_owned()),
            held_by: state.hold.as_ref().map(|hold| hold.seq),
            drained: state.hold.as_ref().is_some_and(|hold| hold.complete),
            health: state.verdicts.first().map_or(Level::Ok, Verdict::counts_as).word(),
        }
    }
}

/// Everything that the planner was told of the fleet file's nodes, alike ones together.
pub(super) fn claims(request: Request<'_>) -> Vec<Claim> {
    let mut alike: BTreeMap<NodeClaim, Vec<NodeName>> = BTreeMap::new();
    for node in &request.fleet.nodes {
        alike.entry(NodeClaim::of(request.state(&node.name))).or_default().push(node.name.clone());
    }
    let mut claims: Vec<Claim> = alike.into_iter().map(|(said, nodes)| Claim::Nodes { nodes, said }).collect();
    claims.sort_by_key(|claim| match claim {
        Claim::Nodes { nodes, .. } => nodes.first().cloned(),
        Claim::Quarantined { .. } => None,
    });
    claims.extend(
        request.inventory.quarantines.iter().cloned().map(|Quarantine { node, version, reason }| Claim::Quarantined {
            node,
            version,
            reason,
        }),
    );
    claims
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Nodes { nodes, said } => {
                let nodes: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
                write!(f, "the coordinator says: {}: {said}", nodes.join(" "))
            }
            Claim::Quarantined { node, version, reason } => {
                write!(f, "the coordinator says: {node} failed on {version}: {}", clean(reason))
            }
        }
    }
}

impl fmt::Display for NodeClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connected, standing, version, cordoned_by, held_by, drained, health } = self;
        write!(f, "{}, {standing}", if *connected { "connected" } else { "not connected" })?;
        match version {
            Some(version) => write!(f, ", runs {version}")?,
            None => f.write_str(", version not known")?,
        }
        if let Some(owner) = cordoned_by {
            write!(f, ", cordoned by {}", clean(owner))?;
        }
        if let Some(seq) = held_by {
            let done = if *drained { "" } else { ", and that is not done" };
            write!(f, ", out of service by plan {seq}{done}")?;
        }
        write!(f, ", health {health}")
    }
}
