//! Forks that the coordinator knows of: a node signed that it holds a document that the ledger does not have.

use hostler_plan::{
    document::{Holding, Signed},
    id::{Digest, NodeName},
    text::clean,
    trust,
};
use hostler_proto::v1;

use crate::trust_store::TrustStore;

/// A document that a node holds and that is not the coordinator's, as that node signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// Such as `plan 43`.
    pub what: String,
    /// The coordinator's, where it has one.
    pub here: Option<Digest>,
    pub other: Digest,
    pub node: NodeName,
    pub is_plan: bool,
}

impl Fork {
    /// One sentence.
    pub fn sentence(&self) -> String {
        let here = self.here.map_or_else(|| "nothing".to_owned(), |here| here.to_string());
        format!(
            "ALARM: the coordinator's ledger has {here} as {}, and node {} signed that it holds {}; find out who \
             signed the other, then sign a document that names both (`hostler stop` does for plans) or a new epoch",
            clean(&self.what),
            self.node,
            self.other
        )
    }
}

/// Those that a node's signature proves. What the coordinator only says is passed over: it cannot stop us by it.
pub(crate) fn proved(store: &TrustStore, said: &[v1::Fork]) -> Vec<Fork> {
    let Some(roster) = store.roster().or(store.lapsed()) else { return Vec::new() };
    said.iter().filter_map(|fork| read(roster, fork)).collect()
}

fn read(roster: &trust::Verified<hostler_plan::document::Roster>, fork: &v1::Fork) -> Option<Fork> {
    let signed = Signed::from(fork.holding.clone()?);
    let holding = trust::holding(roster, &signed).ok()?;
    let Holding { node, holds, open, .. } = holding.document();
    let other: Digest = fork.other.parse().ok()?;
    let here = fork.here.parse().ok();
    let plan = holds.plan.iter().chain(open).find(|plan| plan.digest == other);
    let what = match plan {
        Some(plan) => format!("plan {}", plan.seq),
        None if holds.root.digest == other => format!("root {}", holds.root.version),
        None => holds.roster.filter(|r| r.digest == other).map(|r| format!("roster {}", r.version))?,
    };
    (here != Some(other)).then(|| Fork { what, here, other, node: node.clone(), is_plan: plan.is_some() })
}
