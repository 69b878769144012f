//! What may enter a ledger: the one judge of the coordinator before it appends, of its restart, and of every auditor.
//!
//! A [`Judge`] is the fold of what a ledger holds, as far as what may come next depends on it. It knows no clock: each
//! entry is judged by the time that its record bears. What it refuses never stood in an honest ledger; what it notes is
//! worth a look, and may.

mod decisions;
mod members;
mod receipts;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use crate::{
    document::{Admission, Decision, DocumentKind, Enrolment, Holding, Plan, PlanRef, Receipt, Roster, Signed},
    entry::{Entry, MAX_LOST_GRANTS, StoredDocument},
    id::{Digest, Fingerprint, NodeName, Seq, TokenId},
    ledger::Head,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, NodeDecisions, Purpose, TrustedRoot, Verified},
    version::Version,
};

pub use decisions::{Claim, Decider};
use members::Token;
use work::{Grant, Rollout};

/// An entry that counts by itself: a document stands here only as what verifying it gave.
#[derive(Debug, Clone)]
pub enum Proven {
    Root(TrustedRoot),
    Admission(Verified<Admission>),
    Enrolment(Verified<Enrolment>),
    Roster(Verified<Roster>),
    Plan(Verified<Plan>),
    Receipt(Verified<Receipt>),
    /// What a node holds that this ledger neither has nor names: a fork, which stays known until a document closes it.
    Holding(Verified<Holding>),
    /// What a person decided and signed.
    Signed(Verified<Decision>),
    /// No document.
    Decision(Entry),
}

impl Proven {
    /// As the ledger writes it.
    pub fn entry(&self) -> Entry {
        let document = |kind, signed: &Signed| Entry::Document { kind, document: StoredDocument(signed.clone()) };
        match self {
            Proven::Root(root) => document(DocumentKind::Root, root.signed()),
            Proven::Admission(admission) => document(DocumentKind::Admission, admission.signed()),
            Proven::Enrolment(enrolment) => document(DocumentKind::Enrolment, enrolment.signed()),
            Proven::Roster(roster) => document(DocumentKind::Roster, roster.signed()),
            Proven::Plan(plan) => document(DocumentKind::Plan, plan.signed()),
            Proven::Receipt(receipt) => document(DocumentKind::Receipt, receipt.signed()),
            Proven::Holding(holding) => document(DocumentKind::Holding, holding.signed()),
            Proven::Signed(decision) => document(DocumentKind::Decision, decision.signed()),
            Proven::Decision(entry) => entry.clone(),
        }
    }

    /// The document's digest, if it is one.
    fn digest(&self) -> Option<Digest> {
        match self {
            Proven::Root(root) => Some(root.digest()),
            Proven::Admission(admission) => Some(admission.digest()),
            Proven::Enrolment(enrolment) => Some(enrolment.digest()),
            Proven::Roster(roster) => Some(roster.digest()),
            Proven::Plan(plan) => Some(plan.digest()),
            Proven::Receipt(receipt) => Some(receipt.digest()),
            Proven::Holding(holding) => Some(holding.digest()),
            Proven::Signed(decision) => Some(decision.digest()),
            Proven::Decision(_) => None,
        }
    }
}

/// The fold of a ledger; see the module's page.
#[derive(Debug)]
pub struct Judge {
    root: Option<TrustedRoot>,
    roster: Option<Verified<Roster>>,
    tokens: BTreeMap<TokenId, Token>,
    /// Every document that is in the ledger.
    documents: BTreeSet<Digest>,
    /// The highest plan number of the root's epoch, and the plan that has it.
    highest_seq: Seq,
    newest_plan: Option<Digest>,
    /// Plans that are not here yet and that every plan since their number keeps.
    awaited: Vec<PlanRef>,
    /// Rollouts that are not over, and those that are and of which a node owes a receipt.
    rollouts: BTreeMap<Digest, Rollout>,
    /// Grants without a receipt, by number.
    grants: BTreeMap<u64, Grant>,
    last_grant: u64,
    /// Grants that may have been given in parts of the ledger that were lost, and those of them that a receipt names.
    lost_grants: Vec<RangeInclusive<u64>>,
    found_grants: BTreeSet<u64>,
    quarantines: BTreeSet<(NodeName, Version)>,
    /// The last receipt of every node key.
    chains: BTreeMap<(NodeName, Fingerprint), (u64, Digest)>,
    /// What people decided about each machine.
    decisions: BTreeMap<(NodeName, Fingerprint), decisions::Row>,
    /// Node keys whose next receipt need not follow the last one that is here: what came between was lost with a part
    /// of the ledger. None before the first loss.
    gaps: BTreeSet<(NodeName, Fingerprint)>,
    /// What people are said to have decided, and did not sign yet.
    claims: BTreeMap<Claim, String>,
    /// The hash of every record: what documents that name a head are compared with.
    hashes: Vec<Digest>,
    last_at: Timestamp,
    generation: u64,
    /// A part was lost, and nobody adopted what is left.
    is_restored: bool,
}

impl Default for Judge {
    fn default() -> Self {
        Self::new()
    }
}

impl Judge {
    /// Before the first record.
    pub fn new() -> Self {
        Self {
            root: None,
            roster: None,
            tokens: BTreeMap::new(),
            documents: BTreeSet::new(),
            highest_seq: Seq(0),
            newest_plan: None,
            awaited: Vec::new(),
            rollouts: BTreeMap::new(),
            grants: BTreeMap::new(),
            last_grant: 0,
            lost_grants: Vec::new(),
            found_grants: BTreeSet::new(),
            quarantines: BTreeSet::new(),
            chains: BTreeMap::new(),
            decisions: BTreeMap::new(),
            gaps: BTreeSet::new(),
            claims: BTreeMap::new(),
            hashes: Vec::new(),
            last_at: Timestamp::from_unix_seconds(0),
            generation: 0,
            is_restored: false,
        }
    }

    /// Where the ledger stands.
    pub fn head(&self) -> Head {
        Head { next_index: self.hashes.len() as u64, hash: self.hashes.last().copied().unwrap_or(Digest::ZERO) }
    }

    /// The time of the last record.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// What people decided about an active node, by the key that the roster has of it.
    pub fn decisions_about(&self, node: &NodeName) -> Option<&NodeDecisions> {
        let listed = self.roster.as_ref()?.document().active(node)?;
        self.decisions.get(&(node.clone(), listed.key.fingerprint())).map(|row| &row.decisions)
    }

    /// Whether that very document is in the ledger.
    pub fn knows(&self, document: &Digest) -> bool {
        self.documents.contains(document)
    }

    /// Whether a part of the ledger was lost and what is left was not caught up with or adopted: nothing is granted.
    pub fn is_restored(&self) -> bool {
        self.is_restored
    }

    /// How often a part of the ledger was lost.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What people are said to have decided and did not sign yet, and who.
    pub fn claims(&self) -> &BTreeMap<Claim, String> {
        &self.claims
    }

    /// Whether this ledger goes on from that head.
    pub fn contains(&self, head: Head) -> bool {
        match usize::try_from(head.next_index) {
            Ok(0) => head == Head::EMPTY,
            Ok(n) => self.hashes.get(n - 1) == Some(&head.hash),
            Err(_) => false,
        }
    }

    /// Verifies an entry as it is read: its signatures and its form. Whether it may stand there is
    /// [`check`](Self::check)'s question.
    pub fn prove(&self, entry: &Entry) -> Result<Proven, Refused> {
        let Entry::Document { kind, document: StoredDocument(signed) } = entry else {
            return Ok(Proven::Decision(entry.clone()));
        };
        Ok(match kind {
            DocumentKind::Root => Proven::Root(match &self.root {
                None => TrustedRoot::first(signed, &signed.digest())?,
                Some(root) => root.advance(signed)?,
            }),
            DocumentKind::Admission => Proven::Admission(trust::admission(self.trusted()?, signed, Purpose::Begun)?),
            DocumentKind::Enrolment => Proven::Enrolment(self.enrolment(signed)?),
            DocumentKind::Roster => {
                Proven::Roster(trust::roster(self.trusted()?, self.roster.as_ref(), signed, Purpose::Begun)?)
            }
            DocumentKind::Plan => Proven::Plan(trust::plan(self.trusted()?, self.listed()?, signed, Purpose::Begun)?),
            DocumentKind::Receipt => Proven::Receipt(trust::receipt(self.listed()?, signed)?),
            DocumentKind::Decision => Proven::Signed(trust::decision(self.trusted()?, signed)?),
            DocumentKind::Holding => Proven::Holding(trust::holding(self.listed()?, signed)?),
            DocumentKind::Pass | DocumentKind::View | DocumentKind::Login => {
                let reason = format!("expected no {} in a ledger, found one", kind.noun());
                return Err(Refused::new(Refusal::Malformed, reason));
            }
        })
    }

    /// Whether these entries may be appended at that time, one behind the other. They come in one append, so that none
    /// of them rests on another one of them.
    pub fn check(&self, at: Timestamp, entries: &[Proven]) -> Result<(), Refused> {
        let mut last_grant = self.last_grant;
        let mut last_at = self.last_at;
        for proven in entries {
            if let Proven::Decision(Entry::ClockSetBack { last }) = proven {
                let back = *last == last_at && at < last_at;
                expect(back, || format!("a clock that was set back from {last_at}, found one from {last} to {at}"))?;
                last_at = at;
                continue;
            }
            expect(at >= last_at, || {
                format!("a record of {last_at} or later, found one of {at}; its clock went back unmarked")
            })?;
            if let Some(digest) = proven.digest().filter(|d| self.documents.contains(d)) {
                return Err(Refused::new(Refusal::Replay, format!("expected {digest} once, found it again")));
            }
            match proven {
                Proven::Root(root) => self.check_root(root),
                Proven::Roster(roster) => self.check_roster(roster.document()),
                Proven::Admission(_) | Proven::Holding(_) => Ok(()),
                Proven::Enrolment(enrolment) => self.check_enrolment(at, enrolment.document()),
                Proven::Plan(plan) => self.check_plan(plan.document(), plan.digest()),
                Proven::Receipt(receipt) => self.check_receipt(receipt),
                Proven::Signed(decision) => self.check_signed(at, decision.document()),
                Proven::Decision(entry) => self.check_entry(at, entry, &mut last_grant),
            }?;
        }
        Ok(())
    }

    fn check_entry(&self, at: Timestamp, entry: &Entry, last_grant: &mut u64) -> Result<(), Refused> {
        match entry {
            Entry::Granted { .. } => self.check_grant(at, entry, last_grant),
            Entry::LeaseExpired { plan, task, grant } => self.check_expired(plan, task, *grant),
            Entry::Paused { plan, .. } => self
                .going_on(plan)
                .and_then(|r| expect(!r.is_paused, || format!("plan {} to run, found it paused already", r.seq()))),
            Entry::Halted { plan, .. } => self.going_on(plan).map(|_| ()),
            Entry::Recovered { plan, node } => self.going_on(plan).and_then(|r| {
                expect(r.baselines.contains(node), || {
                    format!("that plan {} disrupted {node} before, found not", r.seq())
                })
            }),
            Entry::Finished { plan } => self.check_finished(plan),
            Entry::Quarantined { node, .. } => {
                let listed = self.listed()?.document().nodes.iter().any(|n| n.name == *node);
                expect(listed, || format!("a quarantine of a node of the roster, found one of {node}"))
            }
            Entry::TokenRevoked { token, .. } => self.check_revocation(token),
            Entry::Resumed { .. } | Entry::LeaseReleased { .. } | Entry::QuarantineReleased { .. } => {
                let reason = "expected a decision that a person signed, found the coordinator's word for it";
                Err(Refused::new(Refusal::BadSignature, reason))
            }
            Entry::NodeRefused { node, .. } => {
                let known = self.tokens.values().any(|t| t.keys.values().any(|n| n == node))
                    || self.roster.as_ref().is_some_and(|r| r.document().nodes.iter().any(|n| n.name == *node));
                expect(known, || format!("a refusal by a node that enrolled, found one by {node}"))
            }
            Entry::Restored { generation, .. } => {
                let next = self.generation.saturating_add(1);
                expect(*generation == next, || format!("restored ledger {next}, found {generation}"))
            }
            Entry::CaughtUp { generation } => {
                let caught = self.is_restored && *generation == self.generation;
                expect(caught, || "a ledger that lost a part before it caught up, found none".to_owned())
            }
            Entry::Alarm { .. } | Entry::ClockSetBack { .. } | Entry::Document { .. } => Ok(()),
        }
    }

    /// What of an entry that may stand there a person should look at, one sentence each.
    pub fn notes(&self, at: Timestamp, proven: &Proven) -> Vec<String> {
        match proven {
            Proven::Receipt(receipt) => self.receipt_notes(receipt),
            Proven::Decision(Entry::ClockSetBack { last }) => {
                vec![format!("the coordinator's clock went back from {last} to {at}")]
            }
            Proven::Decision(Entry::Restored { lost, .. }) => {
                let lost = lost.map_or("it is not known what".to_owned(), |head| format!("there had been {head}"));
                vec![format!("a part of the ledger was lost here: {lost}")]
            }
            Proven::Holding(holding) => vec![format!(
                "{} signed that it holds what this ledger had not: a fork, until it comes or a document names both",
                holding.document().node
            )],
            Proven::Signed(_)
            | Proven::Decision(_)
            | Proven::Root(_)
            | Proven::Admission(_)
            | Proven::Enrolment(_)
            | Proven::Roster(_)
            | Proven::Plan(_) => Vec::new(),
        }
    }

    /// Takes an entry into account that is in the ledger; `hash` is that of its record.
    pub fn apply(&mut self, at: Timestamp, hash: Digest, proven: &Proven) {
        self.documents.extend(proven.digest());
        match proven {
            Proven::Root(root) => self.apply_root(root),
            Proven::Admission(admission) => {
                self.tokens.insert(admission.document().token.clone(), Token::new(admission.clone()));
            }
            Proven::Enrolment(enrolment) => self.apply_enrolment(enrolment.document()),
            Proven::Roster(roster) => self.roster = Some(roster.clone()),
            Proven::Plan(plan) => self.apply_plan(plan),
            Proven::Receipt(receipt) => self.apply_receipt(receipt),
            Proven::Holding(_) => {}
            Proven::Signed(decision) => self.apply_signed(decision),
            Proven::Decision(entry) => {
                self.note_claim(entry);
                self.apply_entry(entry);
            }
        }
        self.hashes.push(hash);
        self.last_at = at;
    }

    fn apply_entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Granted { .. } => self.apply_grant(entry),
            Entry::LeaseExpired { plan, task, grant } => self.apply_expired(plan, task, *grant),
            Entry::LeaseReleased { plan, task, grant, .. } => self.apply_released(plan, task, *grant),
            Entry::Paused { plan, .. } => self.set_paused(plan, true),
            Entry::Resumed { plan, .. } => self.set_paused(plan, false),
            Entry::Halted { plan, .. } => self.end(plan, work::End::Halted),
            Entry::Finished { plan } => self.end(plan, work::End::Finished),
            Entry::Quarantined { node, version, .. } => {
                self.quarantines.insert((node.clone(), *version));
            }
            Entry::QuarantineReleased { node, version, .. } => {
                self.quarantines.remove(&(node.clone(), *version));
            }
            Entry::TokenRevoked { token, .. } => {
                if let Some(token) = self.tokens.get_mut(token) {
                    token.is_revoked = true;
                }
            }
            Entry::Restored { generation, .. } => {
                self.generation = *generation;
                self.is_restored = true;
                let first = self.last_grant.saturating_add(1);
                self.last_grant = self.last_grant.saturating_add(MAX_LOST_GRANTS);
                self.lost_grants.push(first..=self.last_grant);
                self.expect_gaps();
            }
            Entry::CaughtUp { .. } => self.is_restored = false,
            Entry::Recovered { .. }
            | Entry::NodeRefused { .. }
            | Entry::Alarm { .. }
            | Entry::ClockSetBack { .. }
            | Entry::Document { .. } => {}
        }
    }

    fn trusted(&self) -> Result<&TrustedRoot, Refused> {
        self.root.as_ref().ok_or_else(|| Refused::new(Refusal::RootChain, "expected a root before it, found none"))
    }

    fn listed(&self) -> Result<&Verified<Roster>, Refused> {
        self.roster.as_ref().ok_or_else(|| Refused::new(Refusal::RootChain, "expected a roster before it, found none"))
    }
}

/// Whether a document has its place: it follows the newest of its kind in the epoch, or names it as an end of a fork
/// that it closes.
fn check_place(what: &str, head: Option<Digest>, prev: Option<Digest>, also: &[Digest]) -> Result<(), Refused> {
    if prev == head || head.is_some_and(|head| also.contains(&head)) {
        return Ok(());
    }
    let name = |end: Option<Digest>| end.map_or_else(|| "none".to_owned(), |end| end.to_string());
    let reason = format!("expected {what} to follow {}, found it follows {}", name(head), name(prev));
    Err(Refused::new(Refusal::Overtaken, reason))
}

/// A refusal unless `holds`; what was expected and found is said only then.
fn expect(holds: bool, what: impl FnOnce() -> String) -> Result<(), Refused> {
    if holds { Ok(()) } else { Err(Refused::new(Refusal::OrderNotMet, format!("expected {}", what()))) }
}
