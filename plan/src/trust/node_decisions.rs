//! The decisions about one machine: which of them count, and in which order they come.
//!
//! Each has a number and lists those before it that still count, so that a later one ends what it does not list: nobody
//! brings back what was withdrawn, and who hides the newest hides nothing for longer than what it ends would count.

use std::time::Duration;

use crate::{
    document::{Decision, DocumentRef, NodeDecision, NodeMatter, Signed},
    health,
    id::{Digest, Fingerprint, NodeName},
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, MAX_ACCEPTANCE, MAX_JUMP, TrustedRoot, Verified},
};

/// How long the release of a disk is told to the node: whoever was off for longer has forgotten the disk by itself.
const RELEASE_COUNTS: Duration = MAX_ACCEPTANCE;

/// How far the numbers in a ledger may step. A node takes one [`MAX_JUMP`] above what it holds that the ledger never
/// had; the next one in the ledger is above that.
const MAX_STEP: u64 = 2 * MAX_JUMP;

/// What is known of them, by the node, the coordinator and every auditor alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeDecisions {
    newest: Option<DocumentRef>,
    /// The newest and those that it keeps, in the order of their numbers.
    held: Vec<Verified<Decision>>,
}

fn too_far(decision: &NodeDecision, held: u64, most: u64) -> Refused {
    let NodeDecision { node, number, .. } = decision;
    let reason = format!(
        "expected decision {} about {node} at most, {most} above {held}, found {number}: whoever signs so far above \
         uses the numbers up; find out who did, and decide again",
        held.saturating_add(most)
    );
    Refused::new(Refusal::Replay, reason)
}

fn about(decision: &Verified<Decision>) -> Option<&NodeDecision> {
    decision.document().decided.about_node()
}

impl NodeDecisions {
    /// As they were stored.
    pub(super) fn restored(newest: Option<DocumentRef>, held: Vec<Verified<Decision>>) -> Self {
        Self { newest, held }
    }

    /// The newest that was shown, whether it counts or not.
    pub fn newest(&self) -> Option<DocumentRef> {
        self.newest
    }

    /// The number of the newest; 0 before the first.
    pub fn number(&self) -> u64 {
        self.newest.map_or(0, |newest| newest.version)
    }

    /// The newest and those that it keeps, as far as their signers count, in the order of their numbers.
    pub fn held(&self) -> impl Iterator<Item = &Verified<Decision>> {
        self.held.iter()
    }

    /// Those that whoever holds the one of that number has not seen, or has to see before the newest.
    pub fn after(&self, number: u64) -> impl Iterator<Item = &Signed> {
        let is_later = move |decision: &&Verified<Decision>| about(decision).is_some_and(|d| d.number > number);
        self.held.iter().filter(is_later).map(Verified::signed)
    }

    /// Takes one about that machine, as it does itself. One that is known changes nothing; one that another overtook
    /// counts no more, and nobody uses up the numbers with one.
    pub fn take(&self, node: &NodeName, key: &Fingerprint, signed: &Verified<Decision>) -> Result<Self, Refused> {
        let next = self.follow(node, key, signed)?;
        match about(signed) {
            Some(decision) if next.number() - self.number() > MAX_JUMP => {
                Err(too_far(decision, self.number(), MAX_JUMP))
            }
            Some(_) | None => Ok(next),
        }
    }

    /// The same of what stands in a ledger, which says how far the numbers step there.
    pub fn follow(&self, node: &NodeName, key: &Fingerprint, signed: &Verified<Decision>) -> Result<Self, Refused> {
        let Some(decision) = about(signed) else {
            let reason = "expected a decision about a node, found another one; hand it to the coordinator";
            return Err(Refused::new(Refusal::NotATarget, reason));
        };
        if decision.node != *node || decision.key != *key {
            return Err(Refused::new(
                Refusal::NotATarget,
                format!(
                    "expected a decision about {node} with key {key}, found one about {} with key {}; decide about \
                     this machine",
                    decision.node, decision.key
                ),
            ));
        }
        if self.held.iter().any(|held| held.digest() == signed.digest()) {
            return Ok(self.clone());
        }
        if decision.number <= self.number() {
            return Err(Refused::new(
                Refusal::Replay,
                format!(
                    "expected a decision after number {} about {node}, found number {}, which counts no more; decide \
                     again",
                    self.number(),
                    decision.number
                ),
            ));
        }
        let is_kept = |held: &&Verified<Decision>| decision.keeps.contains(&held.digest()) && held.document().counts();
        let mut held: Vec<Verified<Decision>> = self.held.iter().filter(is_kept).cloned().collect();
        held.push(signed.clone());
        let newest = Some(DocumentRef { version: decision.number, digest: signed.digest() });
        Ok(Self { newest, held })
    }

    /// Whether one may follow in a ledger: above those that are there, and it keeps nothing that is over. `saw_all` is
    /// whether its signer was shown a ledger that holds them all. Only then may it leave numbers out: the node signed
    /// that it holds a higher one, or the signer handed one in that was kept back.
    pub(crate) fn check_next(&self, decision: &NodeDecision, saw_all: bool) -> Result<(), Refused> {
        let (node, next) = (&decision.node, self.number().saturating_add(1));
        if decision.number < next || (decision.number > next && !saw_all) {
            return Err(Refused::new(
                Refusal::Overtaken,
                format!(
                    "expected decision {next} about {node}, found {}; somebody decided meanwhile: look at the node and \
                     decide again",
                    decision.number
                ),
            ));
        }
        if decision.number - self.number() > MAX_STEP {
            return Err(too_far(decision, self.number(), MAX_STEP));
        }
        let counts = |digest: &Digest| self.held.iter().any(|h| h.digest() == *digest && h.document().counts());
        let withdrawn = match &decision.about {
            NodeMatter::Withdraw { acceptance } => Some(acceptance),
            NodeMatter::Accept(_) | NodeMatter::Release(_) => None,
        };
        match decision.keeps.iter().chain(withdrawn).find(|digest| !counts(digest)) {
            Some(digest) => Err(Refused::new(
                Refusal::Replay,
                format!(
                    "expected decisions about {node} that count, found {digest}; look at the node and decide again"
                ),
            )),
            None => Ok(()),
        }
    }

    /// Those that still count under another root: whoever may not sign any more has accepted nothing. A new epoch
    /// begins at number 1.
    pub fn under(&self, before: &TrustedRoot, root: &TrustedRoot) -> Self {
        if before.root().epoch < root.root().epoch {
            return Self::default();
        }
        let counts = |held: &&Verified<Decision>| trust::decision(root, held.signed()).is_ok();
        Self { newest: self.newest, held: self.held.iter().filter(counts).cloned().collect() }
    }

    /// What counts at that time, with the digest of the decision, and who signed it.
    pub fn at(&self, now: Timestamp) -> impl Iterator<Item = (&Verified<Decision>, &NodeMatter)> {
        let counts = move |held: &&Verified<Decision>| held.document().ends().is_some_and(|ends| now < ends);
        self.held.iter().filter(counts).filter_map(|held| Some((held, &about(held)?.about)))
    }

    /// The same as who judges the node's facts takes it; `clock` gives the time on their own clock.
    pub fn for_health(&self, now: Timestamp, clock: impl Fn(Timestamp) -> u64) -> health::Decided {
        let mut decided = health::Decided::default();
        for (held, matter) in self.at(now) {
            let Decision { by, created, .. } = held.document();
            match matter {
                NodeMatter::Accept(acceptance) => decided.accepted.push((acceptance.clone(), by.clone())),
                NodeMatter::Release(release) => decided.released.push((release.clone(), clock(*created))),
                NodeMatter::Withdraw { .. } => {}
            }
        }
        decided
    }
}

impl Decision {
    /// Until when it changes how a node is judged; none for what changes nothing by itself.
    pub fn ends(&self) -> Option<Timestamp> {
        match &self.decided.about_node()?.about {
            NodeMatter::Accept(accepted) => Some(accepted.until),
            NodeMatter::Release(_) => Some(self.created.plus(RELEASE_COUNTS)),
            NodeMatter::Withdraw { .. } => None,
        }
    }

    fn counts(&self) -> bool {
        self.ends().is_some()
    }
}
