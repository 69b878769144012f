//! Nodes: what the coordinator reports of them, beside what the held roster proves.

use hostler_plan::{
    document::{RosterNode, RosterStatus},
    id::NodeName,
    sequencer::Cordon,
};
use hostler_proto::v1::{self, CordonOwner, NodeDetail, NodeSummary};

use crate::{Admin, error::Error, trust_store::TrustStore};

/// What the held roster says about a node that the coordinator lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// Active, under the key that the coordinator names.
    Active,
    Retired,
    /// No roster lists it yet.
    Pending,
    /// The coordinator names another key than the roster.
    OtherKey {
        roster: String,
    },
}

/// Every node, by name.
pub async fn list(admin: &mut Admin) -> Result<Vec<NodeSummary>, Error> {
    let request = admin.with_session(v1::Empty {});
    let mut nodes = admin.client().list_nodes(request).await?.into_inner().nodes;
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

/// One node with its facts, verdicts, history and refusals.
pub async fn get(admin: &mut Admin, name: &NodeName) -> Result<NodeDetail, Error> {
    let request = admin.with_session(v1::GetNodeRequest { name: name.to_string() });
    Ok(admin.client().get_node(request).await?.into_inner())
}

/// What the held roster proves about a listed node.
pub fn listed(store: &TrustStore, node: &NodeSummary) -> Listed {
    let nodes: &[RosterNode] = store.roster().map(|r| r.document().nodes.as_slice()).unwrap_or_default();
    let Some(found) = nodes.iter().find(|n| n.name.as_str() == node.name) else { return Listed::Pending };
    let key = found.key.fingerprint().to_string();
    // The key may come as a fingerprint or as authorized_keys writes it.
    if !node.key.is_empty() && node.key != key && node.key != found.key.to_string() {
        return Listed::OtherKey { roster: key };
    }
    match found.status {
        RosterStatus::Active => Listed::Active,
        RosterStatus::Retired => Listed::Retired,
    }
}

/// The state in one or two words: what Kubernetes says, and what stands in its way.
pub fn state(listed: &Listed, node: &NodeSummary) -> String {
    match listed {
        Listed::Pending => return "pending".to_owned(),
        Listed::Retired => return "retired".to_owned(),
        Listed::OtherKey { .. } => return "other key!".to_owned(),
        Listed::Active => {}
    }
    let mut words = Vec::new();
    if !node.connected {
        words.push("silent");
    }
    match &node.condition {
        None => words.push("no cluster"),
        Some(c) => {
            words.push(if c.ready { "Ready" } else { "NotReady" });
            match c.cordon.as_ref().map(v1::Cordon::owner) {
                Some(CordonOwner::Node) => words.push("cordoned itself"),
                Some(CordonOwner::Hostler | CordonOwner::Other | CordonOwner::Unspecified) => words.push("cordoned"),
                None => {}
            }
        }
    }
    words.join(",")
}

/// The name of whoever made the node unschedulable.
pub fn cordoned_by(node: &NodeSummary) -> Option<String> {
    let cordon = node.condition.as_ref()?.cordon.clone()?;
    Some(Cordon::try_from(cordon).ok()?.owner.name().to_owned())
}

/// The blocks of a spark line, from lowest to highest.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A spark line of at most `width` characters: each shows the highest value of its share of the time, so that a short
/// peak is not lost. A gap without values is a space.
pub fn spark(points: &[(u64, f64)], width: usize) -> String {
    let finite = || points.iter().filter(|(_, v)| v.is_finite());
    let (Some(first), Some(last)) = (finite().map(|p| p.0).min(), finite().map(|p| p.0).max()) else {
        return String::new();
    };
    let low = finite().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = finite().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let span = (last - first).max(1);
    let width = width.min(points.len()).max(1);
    let mut shares: Vec<Option<f64>> = vec![None; width];
    for (at, value) in finite() {
        // The last point belongs to the last share.
        let share = usize::try_from(u128::from(at - first) * width as u128 / u128::from(span)).unwrap_or(width);
        let share = &mut shares[share.min(width - 1)];
        *share = Some(share.map_or(*value, |v: f64| v.max(*value)));
    }
    let block = |value: f64| {
        let height = if high > low { (value - low) / (high - low) } else { 0.0 };
        // height is 0 to 1, so the index is 0 to 7.
        BLOCKS[(height * 7.0).round() as usize]
    };
    shares.into_iter().map(|s| s.map_or(' ', block)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spark_line_shows_peaks_and_gaps() {
        assert_eq!(spark(&[], 10), "");
        assert_eq!(spark(&[(0, 1.0), (1, 1.0)], 10), "▁▁");
        assert_eq!(spark(&[(0, 0.0), (10, 7.0), (20, 0.0)], 3), "▁█▁");
        let mut points: Vec<(u64, f64)> = (0..100).map(|i| (i, 0.0)).collect();
        points[50].1 = 5.0;
        assert_eq!(spark(&points, 10).chars().filter(|c| *c == '█').count(), 1, "one peak of a hundred stays visible");
        assert_eq!(spark(&[(0, 1.0), (1, 2.0), (2, 1.0), (90, 1.0), (100, f64::NAN)], 4).chars().count(), 4);
    }
}
