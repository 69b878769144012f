//! Forks that the coordinator knows of: a node signed that it holds a document that the ledger does not have.

use std::collections::BTreeSet;

use hostler_plan::{
    document::{DocumentKind, Holding, Roster, Signed},
    id::{Digest, NodeName},
    trust,
    turns::turns,
};
use hostler_proto::v1;

use crate::trust_store::TrustStore;

/// A document that a node holds and that is not the coordinator's, as that node signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// A root, a roster or a plan.
    pub kind: DocumentKind,
    /// Its version, or a plan's number.
    pub number: u64,
    /// The coordinator's, where it has one.
    pub here: Option<Digest>,
    pub other: Digest,
    pub node: NodeName,
}

impl Fork {
    /// Such as `plan 43`.
    pub fn what(&self) -> String {
        format!("{} {}", self.kind.noun(), self.number)
    }

    /// One sentence.
    pub fn sentence(&self) -> String {
        let here = self.here.map_or_else(|| "nothing".to_owned(), |here| here.to_string());
        let Self { other, node, .. } = self;
        format!(
            "ALARM: the coordinator's ledger has {here} as {}, and node {node} signed that it holds {other}; find out \
             who signed the other, then sign the next {} after both ({}), or a new epoch",
            self.what(),
            self.kind.noun(),
            self.way_out()
        )
    }

    /// The command that signs a document that names both.
    fn way_out(&self) -> &'static str {
        match self.kind {
            DocumentKind::Root => "`hostler trust amend`",
            DocumentKind::Roster => "`hostler node renew`, or another command that signs a roster",
            DocumentKind::Plan
            | DocumentKind::Admission
            | DocumentKind::Enrolment
            | DocumentKind::Receipt
            | DocumentKind::Holding
            | DocumentKind::Decision
            | DocumentKind::Pass
            | DocumentKind::View
            | DocumentKind::Login => "`hostler stop`",
        }
    }
}

/// Those that a node's signature proves. What the coordinator only says is passed over: it cannot stop us by it.
pub(crate) fn proved(store: &TrustStore, said: &[v1::Fork]) -> Vec<Fork> {
    let Some(roster) = store.roster().or(store.lapsed()) else { return Vec::new() };
    said.iter().filter_map(|fork| read(roster, fork)).collect()
}

/// The other ends that a document names beside the one that it follows: each once, and no more than it may. What this
/// machine signed comes first, and then the nodes take turns: one that makes ends up leaves room for the others'.
pub(crate) fn ends(prev: Option<Digest>, own: impl IntoIterator<Item = Digest>, forks: &[Fork]) -> Vec<Digest> {
    let of_nodes = turns(forks.iter().map(|fork| (&fork.node, fork.other)));
    let mut seen: BTreeSet<Digest> = prev.into_iter().collect();
    own.into_iter().chain(of_nodes).filter(|other| seen.insert(*other)).take(trust::MAX_CLOSED).collect()
}

fn read(roster: &trust::Verified<Roster>, fork: &v1::Fork) -> Option<Fork> {
    let signed = Signed::from(fork.holding.clone()?);
    let holding = trust::holding(roster, &signed).ok()?;
    let Holding { node, holds, open, .. } = holding.document();
    let other: Digest = fork.other.parse().ok()?;
    let here = fork.here.parse().ok();
    let plan = holds.plan.iter().chain(open).find(|plan| plan.digest == other);
    let (kind, number) = match plan {
        Some(plan) => (DocumentKind::Plan, plan.seq.0),
        None if holds.root.digest == other => (DocumentKind::Root, holds.root.version),
        None => (DocumentKind::Roster, holds.roster.filter(|r| r.digest == other)?.version),
    };
    (here != Some(other)).then(|| Fork { kind, number, here, other, node: node.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_makes_ends_up_leaves_room_for_those_of_others_and_for_the_own() {
        let fork = |node: &str, other: Digest| Fork {
            kind: DocumentKind::Root,
            number: 7,
            here: None,
            other,
            node: NodeName::new(node).unwrap(),
        };
        let digest = |text: &str| Digest::of(text.as_bytes());
        let mut made_up: Vec<Fork> = (0..20).map(|n| fork("liar", digest(&n.to_string()))).collect();
        // Where they sort before all others.
        made_up.sort_by_key(|fork| fork.other);
        made_up.extend([fork("w1", digest("true")), fork("w2", digest("true"))]);
        let (prev, own) = (digest("prev"), digest("own"));
        made_up.push(fork("w2", prev));
        let ends = ends(Some(prev), [own], &made_up);
        assert_eq!((ends.len(), ends[0]), (trust::MAX_CLOSED, own));
        assert!(ends.contains(&digest("true")) && !ends.contains(&prev), "{ends:?}");
    }
}
