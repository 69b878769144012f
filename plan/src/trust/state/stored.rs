//! The state as a file holds it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{AtWork, Continued, Held, NodeState, SignedReceipt, reference};
use crate::{
    document::{DocumentKind, DocumentRef, Plan, PlanRef, Signed},
    id::{Digest, FleetId, Seq},
    json,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{NodeDecisions, TrustedRoot, Verified, parse},
};

impl NodeState {
    /// The state as a file holds it: JSON that people can read, with the documents by their digests.
    pub fn to_index(&self) -> Vec<u8> {
        json::write(&Stored::of(self))
    }

    /// The exact bytes of the documents that the index names, in its order, each behind its digest.
    pub fn documents(&self) -> Vec<(Digest, &[u8])> {
        let root = (self.root.digest(), self.root.signed());
        let roster = self.roster.iter().map(|roster| (roster.digest(), roster.signed()));
        let plans = self.held_plans().map(|plan| (plan.digest(), plan.signed()));
        let decisions = self.decisions.held().map(|decision| (decision.digest(), decision.signed()));
        let all = std::iter::once(root).chain(roster).chain(plans).chain(decisions);
        all.map(|(digest, signed)| (digest, signed.bytes.as_slice())).collect()
    }

    /// Reads back [`to_index`](Self::to_index); `document` gives the bytes of each document that it names. What does
    /// not hold together is damage, never a first run.
    ///
    /// What was verified when it was accepted is not verified again under a root that may have dropped its signer
    /// since; its digest stands in the index, and a plan is verified again before it runs.
    pub fn from_index(index: &[u8], document: impl Fn(&Digest) -> Option<Vec<u8>>) -> Result<Self, Refused> {
        let stored: Stored = json::parse(index).map_err(|e| damaged(e.to_string()))?;
        let whole = Self::restored(stored, document);
        whole.map_err(|refused| if refused.refusal == Refusal::DamagedState { refused } else { damaged(refused) })
    }

    fn restored(stored: Stored, document: impl Fn(&Digest) -> Option<Vec<u8>>) -> Result<Self, Refused> {
        let signed = |named: &Named| named.with(document(&named.digest));
        let root = TrustedRoot::restore(&signed(&stored.root)?)?;
        let fleet = root.root().fleet_id.clone();
        let roster = stored.roster.as_ref().map(|named| restore(DocumentKind::Roster, &fleet, &signed(named)?));
        let plans = |named: &[Named]| -> Result<Vec<Held>, Refused> {
            let restored = named.iter().map(|named| restore::<Plan>(DocumentKind::Plan, &fleet, &signed(named)?));
            restored.map(|plan| Ok(Held { plan: plan?, under: None })).collect()
        };
        let (plans, ended) = (plans(&stored.plans)?, plans(&stored.ended)?);
        let decisions = stored.decisions.iter().map(|named| restore(DocumentKind::Decision, &fleet, &signed(named)?));
        let decisions = NodeDecisions::restored(stored.decision, decisions.collect::<Result<_, _>>()?);
        let Stored { seq, open, floor, counter, last_receipt, receipts, continued, .. } = stored;
        let listed = |held: &Held| open.contains(&reference(&held.plan));
        let numbered = receipts.iter().all(|r| r.counter <= counter) && receipts.is_sorted_by_key(|r| r.counter);
        let goes_on = |continued: &Continued| open.contains(&continued.by);
        let ordered =
            open.iter().all(|plan| plan.seq <= seq) && plans.iter().all(listed) && continued.iter().all(goes_on);
        if !ordered || !numbered || (counter == 0) != last_receipt.is_none() {
            return Err(damaged("its numbers do not fit each other"));
        }
        let (roster, signed, at_work) = (roster.transpose()?, receipts, AtWork(None));
        Ok(Self {
            root,
            roster,
            seq,
            open,
            plans,
            ended,
            floor,
            counter,
            last_receipt,
            signed,
            continued,
            decisions,
            at_work,
        })
    }
}

fn damaged(what: impl std::fmt::Display) -> Refused {
    Refused::new(
        Refusal::DamagedState,
        format!(
            "the stored state cannot be read: {what}; check this node's disk, move its state folder away, and enrol \
                it again with a join string of `hostler token create`"
        ),
    )
}

/// The state on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(rename = "_type")]
    state_type: StateType,
    root: Named,
    roster: Option<Named>,
    seq: Seq,
    open: Vec<PlanRef>,
    plans: Vec<Named>,
    ended: Vec<Named>,
    floor: Timestamp,
    counter: u64,
    last_receipt: Option<Digest>,
    receipts: Vec<SignedReceipt>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    continued: Vec<Continued>,
    /// The newest decision about the node, and those that are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decision: Option<DocumentRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    decisions: Vec<Named>,
}

#[derive(Serialize, Deserialize)]
enum StateType {
    #[serde(rename = "hostler-node-state/v3")]
    V3,
}

/// A document without its bytes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    digest: Digest,
    signatures: Vec<String>,
}

impl Stored {
    fn of(s: &NodeState) -> Self {
        let named = |digest, signed: &Signed| Named { digest, signatures: signed.signatures.clone() };
        let plans = |held: &[Held]| held.iter().map(|h| named(h.plan.digest(), h.plan.signed())).collect();
        Self {
            state_type: StateType::V3,
            root: named(s.root.digest(), s.root.signed()),
            roster: s.roster.as_ref().map(|r| named(r.digest(), r.signed())),
            seq: s.seq,
            open: s.open.clone(),
            plans: plans(&s.plans),
            ended: plans(&s.ended),
            floor: s.floor,
            counter: s.counter,
            last_receipt: s.last_receipt,
            receipts: s.signed.clone(),
            continued: s.continued.clone(),
            decision: s.decisions.newest(),
            decisions: s.decisions.held().map(|d| named(d.digest(), d.signed())).collect(),
        }
    }
}

impl Named {
    fn with(&self, bytes: Option<Vec<u8>>) -> Result<Signed, Refused> {
        let digest = self.digest;
        let bytes = bytes.ok_or_else(|| damaged(format!("expected a document with digest {digest}, found none")))?;
        let signed = Signed { bytes, signatures: self.signatures.clone() };
        match signed.digest() {
            found if found == digest => Ok(signed),
            found => Err(damaged(format!("expected a document with digest {digest}, found {found}"))),
        }
    }
}

fn restore<T: DeserializeOwned + Serialize>(
    kind: DocumentKind,
    fleet: &FleetId,
    signed: &Signed,
) -> Result<Verified<T>, Refused> {
    Ok(Verified::new(parse(kind, Some(fleet), &signed.bytes)?, signed))
}
