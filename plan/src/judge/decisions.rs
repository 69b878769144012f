//! What people decide: signed, or the coordinator's claim until the signature comes.

use super::{Judge, expect};
use crate::{
    document::{Decided, Decision, NodeDecision, Plan, PlanRef},
    entry::Entry,
    id::{Digest, TokenId},
    ledger::Head,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{CLOCK_SKEW, NodeDecisions, Verified},
};

/// What acts at once without a signature: the safe side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    Paused(Digest),
    Halted(Digest),
    Revoked(TokenId),
}

/// Who made a decision, as far as the ledger proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decider {
    /// The coordinator's own rule: a grant, a lease that ran out, a halt because of a failure.
    Coordinator,
    /// A person, says the coordinator.
    Person,
}

impl Decider {
    /// Who is said to have made that entry; none where it is no decision.
    pub fn of(entry: &Entry) -> Option<Self> {
        match entry {
            Entry::Paused { .. } | Entry::TokenRevoked { .. } => Some(Decider::Person),
            // As the sequencer and a new root name themselves. No signature says either, whoever is named.
            Entry::Halted { by, .. } if by == "hostler" || by.starts_with("root ") => Some(Decider::Coordinator),
            Entry::Halted { .. } => Some(Decider::Person),
            Entry::Granted { .. }
            | Entry::LeaseExpired { .. }
            | Entry::Recovered { .. }
            | Entry::Finished { .. }
            | Entry::Quarantined { .. } => Some(Decider::Coordinator),
            Entry::Document { .. }
            | Entry::LeaseReleased { .. }
            | Entry::Resumed { .. }
            | Entry::QuarantineReleased { .. }
            | Entry::NodeRefused { .. }
            | Entry::Alarm { .. }
            | Entry::ClockSetBack { .. }
            | Entry::Restored { .. }
            | Entry::CaughtUp { .. } => None,
        }
    }
}

/// What people decided about one machine.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub decisions: NodeDecisions,
    /// The index of the newest one's record.
    last_at: u64,
}

impl Judge {
    /// A signed decision counts here, now, and about something that is there to be decided.
    pub(super) fn check_signed(&self, at: Timestamp, decision: &Decision) -> Result<(), Refused> {
        let (created, expires) = (decision.created, decision.expires);
        if at >= expires || at.plus(CLOCK_SKEW) < created {
            let reason =
                format!("expected a decision between {created} and {expires}, found it is {at}; decide and sign again");
            return Err(Refused::new(Refusal::Expired, reason));
        }
        if !self.contains(decision.seen) {
            let reason = format!(
                "expected a decision about this ledger, found one about a ledger of {}, which this one does not go \
                 on from; \
                 compare them, and adopt this one or restore the other",
                decision.seen
            );
            return Err(Refused::new(Refusal::RootChain, reason));
        }
        match &decision.decided {
            // The claim may have come first, and may have ended the rollout.
            Decided::Pause { plan, .. } => {
                let claimed = self.claims.contains_key(&Claim::Paused(*plan));
                if claimed { Ok(()) } else { self.going_on(plan).map(|_| ()) }
            }
            Decided::Halt { plan, .. } => {
                let claimed = self.claims.contains_key(&Claim::Halted(*plan));
                if claimed { Ok(()) } else { self.going_on(plan).map(|_| ()) }
            }
            Decided::Resume { plan } => self.going_on(plan).and_then(|r| {
                expect(r.is_paused, || format!("plan {} to be paused before it is resumed, found it is not", r.seq()))
            }),
            Decided::ReleaseLease { plan, task, grant } => self.check_released(plan, task, *grant),
            Decided::ReleaseQuarantine { node, version } => {
                let held = self.quarantines.contains(&(node.clone(), *version));
                expect(held, || format!("a quarantine of {version} on {node} before its release, found none"))
            }
            Decided::RevokeToken { token } => {
                let claimed = self.claims.contains_key(&Claim::Revoked(token.clone()));
                if claimed { Ok(()) } else { self.check_revocation(token) }
            }
            Decided::Adopt { after, .. } => expect(self.contains(*after), || {
                format!("an adoption of this ledger, found one of a ledger of {after}")
            }),
            Decided::Node(about) => self.check_about_node(about, decision.seen),
        }
    }

    /// A decision about an active node, by its key, follows those about it.
    fn check_about_node(&self, decision: &NodeDecision, seen: Head) -> Result<(), Refused> {
        let NodeDecision { node, key, .. } = decision;
        let listed = self.listed()?.document().active(node);
        let listed = listed.is_some_and(|listed| listed.key.fingerprint() == *key);
        if !listed {
            let reason = format!("expected a decision about an active node and its key, found {node} with {key}");
            return Err(Refused::new(Refusal::NotATarget, format!("{reason}; look at the nodes and decide again")));
        }
        let Some(known) = self.decisions.get(&(node.clone(), key.clone())) else {
            return NodeDecisions::default().check_next(decision, true);
        };
        known.decisions.check_next(decision, seen.next_index > known.last_at)
    }

    fn apply_about_node(&mut self, decision: &NodeDecision, signed: &Verified<Decision>) {
        let (node, key) = (&decision.node, &decision.key);
        let last_at = self.head().next_index;
        let known = self.decisions.entry((node.clone(), key.clone())).or_default();
        if let Ok(next) = known.decisions.follow(node, key, signed) {
            *known = Row { decisions: next, last_at };
        }
    }

    pub(super) fn apply_signed(&mut self, signed: &Verified<Decision>) {
        let decision = signed.document();
        match &decision.decided {
            Decided::Pause { plan, .. } => drop(self.claims.remove(&Claim::Paused(*plan))),
            Decided::Halt { plan, .. } => drop(self.claims.remove(&Claim::Halted(*plan))),
            Decided::RevokeToken { token } => drop(self.claims.remove(&Claim::Revoked(token.clone()))),
            // Who resumes a pause owns it from then on.
            Decided::Resume { plan } => drop(self.claims.remove(&Claim::Paused(*plan))),
            Decided::Adopt { .. } => self.is_restored = false,
            Decided::Node(about) => self.apply_about_node(about, signed),
            Decided::ReleaseLease { .. } | Decided::ReleaseQuarantine { .. } => {}
        }
        if let Some(entry) = Entry::of(&decision.decided, &decision.by) {
            self.apply_entry(&entry);
        }
    }

    /// Remembers what a person is said to have decided.
    pub(super) fn note_claim(&mut self, entry: &Entry) {
        if Decider::of(entry) != Some(Decider::Person) {
            return;
        }
        let claim = match entry {
            Entry::Paused { plan, by, .. } => Some((Claim::Paused(*plan), by)),
            Entry::Halted { plan, by, .. } => Some((Claim::Halted(*plan), by)),
            Entry::TokenRevoked { token, by } => Some((Claim::Revoked(token.clone()), by)),
            Entry::Document { .. }
            | Entry::Granted { .. }
            | Entry::LeaseExpired { .. }
            | Entry::LeaseReleased { .. }
            | Entry::Resumed { .. }
            | Entry::Recovered { .. }
            | Entry::Finished { .. }
            | Entry::Quarantined { .. }
            | Entry::QuarantineReleased { .. }
            | Entry::NodeRefused { .. }
            | Entry::Alarm { .. }
            | Entry::ClockSetBack { .. }
            | Entry::Restored { .. }
            | Entry::CaughtUp { .. } => None,
        };
        self.claims.extend(claim.map(|(claim, by)| (claim, by.clone())));
    }

    /// A signed stop says of every halt before it that it was meant, unless it keeps that plan.
    pub(super) fn signed_by_stop(&mut self, stop: &Plan) {
        let kept: Vec<Digest> = stop.keeps_valid.iter().map(|PlanRef { digest, .. }| *digest).collect();
        self.claims.retain(|claim, _| match claim {
            Claim::Halted(plan) => kept.contains(plan),
            Claim::Paused(_) | Claim::Revoked(_) => true,
        });
    }
}
