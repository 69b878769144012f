//! What a node holds, and how each input changes it or is refused.

mod continued;
mod receipts;
mod start;
mod stored;
mod void;

pub use continued::{Continued, OpenPlans};
pub use receipts::SignedReceipt;
pub use start::{Granted, Start};

use crate::{
    document::{DocumentKind, DocumentRef, Holds, Plan, PlanRef, Roster, Signed},
    id::{Digest, Epoch, Seq},
    ledger::Head,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, Clock, Identity, NodeDecisions, Purpose, SignedBy, TrustedRoot, Verified, plan as plans},
};

/// What a node knows and must not forget: it is written and synced before anything is done because of it. Every change
/// gives a new state; a refusal gives none, so a refused input cannot leave a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    root: TrustedRoot,
    roster: Option<Verified<Roster>>,
    seq: Seq,
    /// The newest plan and those beside it; those not among them are void.
    open: Vec<PlanRef>,
    /// Those of the open ones that have work for this node and whose bytes arrived.
    plans: Vec<Held>,
    /// Void ones whose bytes stay: what they began here may still be put back.
    ended: Vec<Held>,
    floor: Timestamp,
    counter: u64,
    last_receipt: Option<Digest>,
    /// Receipts that this node signed, by number.
    signed: Vec<SignedReceipt>,
    /// Plans that one of the open ones goes on with, the newest last.
    continued: Vec<Continued>,
    /// What people decided about this node.
    decisions: NodeDecisions,
    at_work: AtWork,
}

/// The plan of a task that is begun and not over: its bytes stay until it is. The journal knows it; the state does not
/// store it.
#[derive(Debug, Clone, Default)]
struct AtWork(Option<Digest>);

impl PartialEq for AtWork {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for AtWork {}

/// A plan that was accepted.
#[derive(Debug, Clone)]
struct Held {
    plan: Verified<Plan>,
    /// Under which root and roster everything about it was verified in this process that no clock changes. Under
    /// others, and in the next process, that counts for nothing.
    under: Option<Basis>,
}

/// The root and the roster by which plans and receipts are judged.
type Basis = (Digest, Digest);

/// What is held is the same however often it was verified.
impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.plan == other.plan
    }
}

impl Eq for Held {}

/// What came of a plan that counts.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The state from now on, stored before anything else is done: what the plan does not list is void in it.
    pub state: NodeState,
    /// Which plan it is.
    pub plan: PlanRef,
    /// The plan, where it has work for this node; none where it has not; or why its work will not be done.
    pub work: Result<Option<Verified<Plan>>, Refused>,
}

impl NodeState {
    /// The state of a node that has just enrolled. `build_time` is when this program was built: no true clock shows
    /// less.
    pub fn new(root: TrustedRoot, build_time: Timestamp) -> Self {
        Self {
            root,
            roster: None,
            seq: Seq(0),
            open: Vec::new(),
            plans: Vec::new(),
            ended: Vec::new(),
            floor: build_time,
            counter: 0,
            last_receipt: None,
            signed: Vec::new(),
            continued: Vec::new(),
            decisions: NodeDecisions::default(),
            at_work: AtWork(None),
        }
    }

    /// The root that is held.
    pub fn root(&self) -> &TrustedRoot {
        &self.root
    }

    /// The roster that is held; none until the first arrives.
    pub fn roster(&self) -> Option<&Verified<Roster>> {
        self.roster.as_ref()
    }

    /// The era of the held root.
    pub fn epoch(&self) -> Epoch {
        self.root.root().epoch
    }

    /// The highest plan number that was accepted in this epoch; 0 before the first.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// What a receipt or a holding says of it, beside the head of the ledger that the coordinator showed.
    pub fn holds(&self, head: Option<Head>) -> Holds {
        let roster = self.roster.as_ref();
        Holds {
            epoch: self.epoch(),
            root: DocumentRef { version: self.root.root().version, digest: self.root.digest() },
            roster: roster.map(|r| DocumentRef { version: r.document().version, digest: r.digest() }),
            plan: self.open.first().copied(),
            head,
        }
    }

    /// The plans that are not void, newest first. Of some the bytes may not have arrived, or are not needed here.
    pub fn open_plans(&self) -> &[PlanRef] {
        &self.open
    }

    /// No clock that shows less than this is right.
    pub fn time_floor(&self) -> Timestamp {
        self.floor
    }

    /// What is certainly past: the clock where it is believed, else the floor.
    pub fn time(&self, clock: Clock) -> Timestamp {
        self.believed(clock).unwrap_or(self.floor)
    }

    /// What the clock shows, where that can be right: set from outside since the machine started, and not below the
    /// floor. Otherwise why not.
    fn believed(&self, clock: Clock) -> Result<Timestamp, String> {
        if !clock.synchronised {
            let expected = "a time service (chrony, systemd-timesyncd) has to reach its servers there";
            Err(format!("this node's clock is not synchronised: {expected}"))
        } else if clock.now < self.floor {
            Err(format!("this node's clock shows {}, before {}, which is past", clock.now, self.floor))
        } else {
            Ok(clock.now)
        }
    }

    /// Follows the chain of roots by one. A new epoch voids every plan and begins at plan number 0.
    pub fn accept_root(&self, clock: Clock, signed: &Signed) -> Result<NodeState, Refused> {
        let root = self.root.advance(signed)?;
        let created = root.root().created;
        let mut next = self.clone();
        if root.root().epoch > self.epoch() {
            next.void_all();
        }
        next.decisions = self.decisions.under(&self.root, &root);
        next.root = root;
        Ok(next.with_floor(clock, created).with_time(clock))
    }

    /// What people decided about this node.
    pub fn decisions(&self) -> &NodeDecisions {
        &self.decisions
    }

    /// Takes a decision about this node; one that is known again changes nothing. Fleet, epoch, signer and role, node
    /// and key, and the number decide, and no clock: one that is over by now still ends those before it.
    pub fn accept_decision(&self, clock: Clock, me: &Identity, signed: &Signed) -> Result<NodeState, Refused> {
        let decision = trust::decision(&self.root, signed)?;
        let created = decision.document().created;
        let decisions = self.decisions.take(&me.node, &me.key, &decision)?;
        Ok(NodeState { decisions, ..self.clone() }.with_floor(clock, created))
    }

    /// Takes a newer roster; the held one again changes nothing.
    pub fn accept_roster(&self, clock: Clock, signed: &Signed) -> Result<(NodeState, Verified<Roster>), Refused> {
        let purpose = Purpose::Starting(self.time(clock));
        let roster = trust::roster(&self.root, self.roster.as_ref(), signed, purpose)?;
        let created = roster.document().created;
        let next = NodeState { roster: Some(roster.clone()), ..self.clone() };
        Ok((next.with_floor(clock, created).with_time(clock), roster))
    }

    /// Takes note of a plan that was offered. Two questions in one order:
    ///
    /// Does it count? Size, signatures, fleet, threshold, epoch and number decide, and nothing else: no clock, no
    /// expiry of plan or root, no roster, no target. One that counts and is newer voids what it does not list, here as
    /// on every other node that sees it.
    ///
    /// Has it work for this node? Form, times, root, roster, targets and content decide. Work of a plan that has
    /// expired for certain is refused; work that may not begin yet is held. Whether a task may begin is asked later,
    /// with [`may_start`](Self::may_start).
    ///
    /// A plan that is held already gives an equal state, and is verified again only when another root, another roster
    /// or other signatures came since.
    pub fn accept_plan(&self, clock: Clock, me: &Identity, signed: &Signed) -> Result<Accepted, Refused> {
        let known = self.plans.iter().find(|held| held.plan.signed() == signed && self.stands(held));
        if let Some(held) = known {
            let this = reference(&held.plan);
            return Ok(Accepted { state: self.clone(), plan: this, work: Ok(Some(held.plan.clone())) });
        }
        let envelope = plans::envelope(&self.root, signed, &SignedBy::of(DocumentKind::Plan, signed)?)?;
        let (seq, keeps_valid) = (envelope.heading.seq, envelope.heading.keeps_valid.clone());
        let whole = envelope.whole(signed);
        let digest = whole.as_ref().map_or_else(|_| signed.digest(), Verified::digest);
        let this = PlanRef { seq, digest };
        self.check_number(this)?;
        let mut next = self.clone();
        if this.seq > self.seq {
            next.supersede(this, &keeps_valid, me);
            next.note_continued(this, whole.as_ref().ok().map(Verified::document));
        }
        if let Ok(plan) = &whole {
            next = next.with_floor(clock, plan.document().created);
        }
        let work = whole.and_then(|plan| next.work(clock, me, plan));
        if let Ok(Some(plan)) = &work {
            next.hold(plan);
        }
        Ok(Accepted { state: next.with_time(clock), plan: this, work })
    }

    /// What of a plan that counts is to be done here.
    fn work(&self, clock: Clock, me: &Identity, plan: Verified<Plan>) -> Result<Option<Verified<Plan>>, Refused> {
        let document = plan.document();
        if document.target(&me.node).is_none() {
            return Ok(None);
        }
        plans::check_times(&self.root, plan.document())?;
        plans::not_expired(document, self.time(clock))?;
        self.check_fit(&plan, me)?;
        Ok(Some(plan))
    }

    fn hold(&mut self, plan: &Verified<Plan>) {
        let under = self.basis();
        match self.plans.iter_mut().find(|held| held.plan.digest() == plan.digest()) {
            // Other signatures beside the same bytes count today; those that are held stay.
            Some(held) if held.plan.signed() == plan.signed() => *held = Held { plan: plan.clone(), under },
            Some(_) => {}
            None => self.plans.push(Held { plan: plan.clone(), under }),
        }
    }

    /// A plan whose bytes are held, void or not, as it was accepted: a step that was begun under it is finished or
    /// undone, whatever has come since.
    pub fn begun_plan(&self, digest: &Digest) -> Option<&Verified<Plan>> {
        self.held_plans().find(|plan| plan.digest() == *digest)
    }

    /// Whether a plan was verified in this process under the very root and roster that are held.
    fn stands(&self, held: &Held) -> bool {
        held.under.is_some() && held.under == self.basis()
    }

    /// The documents that every plan is judged by.
    fn basis(&self) -> Option<Basis> {
        Some((self.root.digest(), self.roster.as_ref()?.digest()))
    }

    /// The plans whose bytes are held, as they were accepted: those that are open, then those that ended.
    pub fn held_plans(&self) -> impl Iterator<Item = &Verified<Plan>> {
        self.plans.iter().chain(&self.ended).map(|held| &held.plan)
    }

    fn check_fit(&self, plan: &Verified<Plan>, me: &Identity) -> Result<(), Refused> {
        let roster = self.roster.as_ref().ok_or_else(|| {
            Refused::new(
                Refusal::DigestMismatch,
                format!(
                    "expected to hold roster {} before plan {}, found none; offer the roster first",
                    plan.document().roster_version,
                    plan.document().seq
                ),
            )
        })?;
        plans::fits(&self.root, (roster.document(), roster.digest()), plan.document())?;
        plans::is_target(plan, me)
    }

    /// The floor follows verified times, but only while the clock is synchronised and never past it: otherwise one
    /// document from the far future would stop this node for ever.
    fn with_floor(mut self, clock: Clock, created: Timestamp) -> Self {
        if self.believed(clock).is_ok_and(|now| created <= now) {
            self.floor = self.floor.max(created);
        }
        self
    }

    /// The floor follows the node's own clock too while that is believed, but never past the end of the last plan that
    /// is held: a clock that somebody set to the far future stops this node for as long as its plans live at most.
    pub fn with_time(mut self, clock: Clock) -> Self {
        let ends = self.plans.iter().map(|held| held.plan.document().expires).max();
        if let (Ok(now), Some(ends)) = (self.believed(clock), ends) {
            self.floor = self.floor.max(now.min(ends).whole_seconds());
        }
        self
    }

    /// The same with another floor: what root on the machine does when a wrong clock has raised it.
    pub fn with_floor_at(mut self, floor: Timestamp) -> Self {
        self.floor = floor;
        self
    }
}

fn reference(plan: &Verified<Plan>) -> PlanRef {
    PlanRef { seq: plan.document().seq, digest: plan.digest() }
}
