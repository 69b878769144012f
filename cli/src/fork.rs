//! Forks that the coordinator knows of: a node signed that it holds a document that the ledger does not have.

use std::collections::BTreeSet;

use hostler_plan::{
    document::{DocumentKind, Holding, Roster, Signed},
    id::{Digest, NodeName},
    trust,
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
            | DocumentKind::Login => "`hostler stop`",
        }
    }
}

/// Those that a node's signature proves. What the coordinator only says is passed over: it cannot stop us by it.
pub(crate) fn proved(store: &TrustStore, said: &[v1::Fork]) -> Vec<Fork> {
    let Some(roster) = store.roster().or(store.lapsed()) else { return Vec::new() };
    said.iter().filter_map(|fork| read(roster, fork)).collect()
}

/// The other ends that a document names beside the one that it follows: each once, and no more than it may.
pub(crate) fn ends(prev: Option<Digest>, others: impl IntoIterator<Item = Digest>) -> Vec<Digest> {
    let ends: BTreeSet<Digest> = others.into_iter().filter(|other| Some(*other) != prev).collect();
    ends.into_iter().take(trust::MAX_CLOSED).collect()
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
