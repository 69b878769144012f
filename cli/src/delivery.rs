//! Which nodes have proved that they hold a document or a newer one: by what they signed, never by the coordinator's
//! word.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hostler_plan::{
    document::{DocumentRef, Holds, Plan, RosterStatus, Signed},
    id::{Digest, Epoch, NodeName, Seq},
    timestamp::Timestamp,
    trust::{self, Verified},
};
use hostler_proto::v1;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{Admin, error::Error, trust_store::TrustStore};

/// How often it is asked again while somebody waits.
const PAUSE: Duration = Duration::from_millis(250);

/// What is to be proved.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    Root { version: u64, digest: Digest, made: Timestamp },
    Plan { epoch: Epoch, seq: Seq, digest: Digest, made: Timestamp },
}

impl Wanted {
    /// The newest root that is held here.
    pub fn newest_root(store: &TrustStore) -> Self {
        let root = store.root();
        Wanted::Root { version: root.version, digest: store.trusted().digest(), made: root.created }
    }

    /// A plan.
    pub fn plan(plan: &Verified<Plan>) -> Self {
        let Plan { epoch, seq, created, .. } = plan.document();
        Wanted::Plan { epoch: *epoch, seq: *seq, digest: plan.digest(), made: *created }
    }

    fn made(&self) -> Timestamp {
        match self {
            Wanted::Root { made, .. } | Wanted::Plan { made, .. } => *made,
        }
    }

    /// Whether whoever holds this holds what is wanted or a newer one. Another document under the same number is
    /// neither.
    fn is_proved_by(&self, holds: &Holds) -> bool {
        match *self {
            Wanted::Root { version, digest, .. } => {
                let DocumentRef { version: held, digest: of } = holds.root;
                held > version || (held == version && of == digest)
            }
            Wanted::Plan { epoch, seq, digest, .. } => {
                let held = holds.plan.filter(|_| holds.epoch == epoch);
                holds.epoch > epoch
                    || held.is_some_and(|held| held.seq > seq || (held.seq == seq && held.digest == digest))
            }
        }
    }
}

/// What the nodes of the roster proved about a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub proved: Vec<NodeName>,
    pub missing: Vec<Missing>,
}

/// A node that has not proved it. Nobody is held up by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub node: NodeName,
    /// Since when it could hold it.
    pub since: Timestamp,
    /// When it signed last what it holds, by its own clock; none before the first time.
    pub last_word: Option<Timestamp>,
}

impl Delivery {
    /// Whether every node has proved it.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let missing = self.missing.iter();
        json!({ "proved": self.proved, "not_proved": missing
            .map(|m| json!({ "node": m.node, "since": m.since, "last_signed": m.last_word })).collect::<Vec<_>>() })
    }

    /// For people, a sentence a line.
    pub fn text(&self) -> String {
        let names = |nodes: &[NodeName]| nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(" ");
        let all = self.proved.len() + self.missing.len();
        let mut text = match self.proved.as_slice() {
            [] => format!("held, by their signatures, by none of {all} nodes yet\n"),
            proved => format!("held, by their signatures, by {} of {all} nodes: {}\n", proved.len(), names(proved)),
        };
        for Missing { node, since, last_word } in &self.missing {
            let last = last_word.map_or("never".to_owned(), |at| at.to_string());
            text.push_str(&format!("not proved since {since}: {node} (signed last: {last})\n"));
        }
        text
    }
}

/// Who has proved it now.
pub async fn of(admin: &mut Admin, wanted: Wanted) -> Result<Delivery, Error> {
    let request = admin.with_session(v1::Empty {});
    let said = admin.client().list_holdings(request).await?.into_inner().nodes;
    Ok(judge(admin.trust_store(), wanted, said))
}

/// The nodes that signed last that a coordinator runs on them.
pub async fn coordinator_on(admin: &mut Admin) -> Result<BTreeSet<NodeName>, Error> {
    let request = admin.with_session(v1::Empty {});
    let said = admin.client().list_holdings(request).await?.into_inner().nodes;
    let Some(roster) = admin.trust_store().roster() else { return Ok(BTreeSet::new()) };
    let signed = said.into_iter().filter_map(|said| said.holding).map(Signed::from);
    let holdings = signed.filter_map(|signed| trust::holding(roster, &signed).ok());
    Ok(holdings.map(|h| h.document().clone()).filter(|h| h.runs_coordinator).map(|h| h.node).collect())
}

/// The same, asked again until every node has proved it or the time is over.
pub async fn wait(admin: &mut Admin, wanted: Wanted, at_most: Duration) -> Result<Delivery, Error> {
    let end = Instant::now() + at_most;
    loop {
        let delivery = of(admin, wanted).await?;
        if delivery.is_complete() || Instant::now() >= end {
            return Ok(delivery);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Verifies what was handed in for each node under the roster that is held here.
fn judge(store: &TrustStore, wanted: Wanted, said: Vec<v1::NodeHolding>) -> Delivery {
    let mut delivery = Delivery { proved: Vec::new(), missing: Vec::new() };
    let Some(roster) = store.roster().or(store.lapsed()) else { return delivery };
    let mut words: BTreeMap<NodeName, Vec<(Holds, Timestamp)>> = BTreeMap::new();
    for said in said {
        let holding = said.holding.map(Signed::from).and_then(|signed| trust::holding(roster, &signed).ok());
        if let Some(holding) = holding.as_ref().map(Verified::document) {
            words.entry(holding.node.clone()).or_default().push((holding.holds.clone(), holding.at));
        }
        let receipt = said.receipt.map(Signed::from).and_then(|signed| trust::receipt(roster, &signed).ok());
        if let Some(receipt) = receipt.as_ref().map(Verified::document) {
            words.entry(receipt.node.clone()).or_default().push((receipt.holds.clone(), receipt.ended));
        }
    }
    for node in roster.document().nodes.iter().filter(|n| n.status == RosterStatus::Active) {
        let words = words.remove(&node.name).unwrap_or_default();
        if words.iter().any(|(holds, _)| wanted.is_proved_by(holds)) {
            delivery.proved.push(node.name.clone());
        } else {
            let last_word = words.iter().map(|(_, at)| *at).max();
            delivery.missing.push(Missing { node: node.name.clone(), since: wanted.made(), last_word });
        }
    }
    delivery
}
