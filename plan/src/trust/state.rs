//! What a node holds, and how each input changes it or is refused.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    document::{DocumentKind, DocumentRef, Holds, Plan, PlanRef, Receipt, Roster, Signed},
    id::{Digest, Epoch, FleetId, Seq},
    json,
    ledger::Head,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, Clock, Identity, Purpose, TrustedRoot, Verified, parse, plan as plans},
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
    /// Those of the open ones whose bytes arrived.
    plans: Vec<Held>,
    floor: Timestamp,
    counter: u64,
    last_receipt: Option<Digest>,
}

/// A plan that was accepted.
#[derive(Debug, Clone)]
struct Held {
    plan: Verified<Plan>,
    /// Under which root and roster everything about it was verified in this process that no clock changes. Under
    /// others, and in the next process, that counts for nothing.
    under: Option<(Digest, Digest)>,
}

/// What is held is the same however often it was verified.
impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.plan == other.plan
    }
}

impl Eq for Held {}

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
            floor: build_time,
            counter: 0,
            last_receipt: None,
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

    /// The plans that are not void, newest first. Of some the bytes may not have arrived.
    pub fn open_plans(&self) -> &[PlanRef] {
        &self.open
    }

    /// No clock that shows less than this is right.
    pub fn time_floor(&self) -> Timestamp {
        self.floor
    }

    /// The time to judge by: the clock, but never less than the floor.
    pub fn time(&self, clock: Clock) -> Timestamp {
        clock.now.max(self.floor)
    }

    /// The number of the next receipt and the digest of the one before it.
    pub fn next_receipt(&self) -> (u64, Option<Digest>) {
        (self.counter + 1, self.last_receipt)
    }

    /// Follows the chain of roots by one. A new epoch voids every plan and begins at plan number 0.
    pub fn accept_root(&self, clock: Clock, signed: &Signed) -> Result<NodeState, Refused> {
        let root = self.root.advance(signed)?;
        let created = root.root().created;
        let mut next = self.clone();
        if root.root().epoch > self.epoch() {
            next.seq = Seq(0);
            next.open.clear();
            next.plans.clear();
        }
        next.root = root;
        Ok(next.with_floor(clock, created))
    }

    /// Takes a newer roster; the held one again changes nothing.
    pub fn accept_roster(&self, clock: Clock, signed: &Signed) -> Result<(NodeState, Verified<Roster>), Refused> {
        let purpose = Purpose::Starting(self.time(clock));
        let roster = trust::roster(&self.root, self.roster.as_ref(), signed, purpose)?;
        let created = roster.document().created;
        let next = NodeState { roster: Some(roster.clone()), ..self.clone() };
        Ok((next.with_floor(clock, created), roster))
    }

    /// Judges a plan that was offered, in this order: size, root, signatures, form, fleet, threshold, epoch, number,
    /// clock and times, root and roster, targets and content, and last whether this node is meant. The state that comes
    /// back must be stored before the first step. A plan that is held already gives an equal state: go on with it.
    /// Signatures and content of one whose bytes and signatures are those that are held are verified again only when
    /// another root or roster came since; number and times are judged each time.
    pub fn accept_plan(
        &self,
        clock: Clock,
        me: &Identity,
        signed: &Signed,
    ) -> Result<(NodeState, Verified<Plan>), Refused> {
        trust::check_size(DocumentKind::Plan, signed)?;
        let now = self.time(clock);
        self.root.check_expiry(now)?;
        let known = self.plans.iter().find(|held| held.plan.signed() == signed && self.stands(held));
        let plan = match known {
            Some(held) => held.plan.clone(),
            None => plans::authentic(&self.root, signed)?,
        };
        let this = PlanRef { seq: plan.document().seq, digest: plan.digest() };
        self.check_number(this)?;
        let held = self.plans.iter().position(|held| held.plan.digest() == this.digest);
        if held.is_none() {
            self.check_clock(clock, this.seq)?;
        }
        plans::in_time(&self.root, &plan, Purpose::Starting(now))?;
        match known {
            Some(_) => plans::is_target(&plan, me)?,
            None => self.check_fit(&plan, me)?,
        }
        let mut next = self.clone();
        if let Some(held) = held {
            // Other signatures beside the same bytes count today; those that are held stay.
            if next.plans[held].plan.signed() == signed {
                next.plans[held] = Held { plan: plan.clone(), under: self.basis() };
            }
            return Ok((next, plan));
        }
        if this.seq > self.seq {
            next.seq = this.seq;
            next.open = vec![this];
            next.open.extend(plan.document().keeps_valid.iter().filter(|other| self.may_stay(other)));
            next.plans.retain(|held| next.open.iter().any(|o| o.digest == held.plan.digest()));
        }
        next.plans.push(Held { plan: plan.clone(), under: self.basis() });
        let created = plan.document().created;
        Ok((next.with_floor(clock, created), plan))
    }

    /// An open plan that was accepted before and counts under the root and roster that are held now: verified again
    /// from its stored bytes when it was not verified under these. Its times are not looked at: a step that was begun
    /// is finished or undone even when the plan has expired.
    /// To start a task, ask [`accept_plan`](Self::accept_plan) again with its bytes.
    pub fn held_plan(&self, me: &Identity, digest: &Digest) -> Result<Verified<Plan>, Refused> {
        let held = self.plans.iter().find(|held| held.plan.digest() == *digest).ok_or_else(|| {
            Refused::new(
                Refusal::Replay,
                format!(
                    "expected plan {} to be open here, found it is void or never arrived; sign a new plan",
                    digest.short()
                ),
            )
        })?;
        if self.stands(held) {
            plans::in_time(&self.root, &held.plan, Purpose::Begun)?;
            plans::is_target(&held.plan, me)?;
            return Ok(held.plan.clone());
        }
        let plan = plans::authentic(&self.root, held.plan.signed())?;
        plans::in_time(&self.root, &plan, Purpose::Begun)?;
        self.check_fit(&plan, me)?;
        Ok(plan)
    }

    /// Whether a plan was verified in this process under the very root and roster that are held.
    fn stands(&self, held: &Held) -> bool {
        held.under.is_some() && held.under == self.basis()
    }

    /// The documents that every plan is judged by.
    fn basis(&self) -> Option<(Digest, Digest)> {
        Some((self.root.digest(), self.roster.as_ref()?.digest()))
    }

    /// The plans whose bytes are held, as they were accepted.
    pub fn held_plans(&self) -> impl Iterator<Item = &Verified<Plan>> {
        self.plans.iter().map(|held| &held.plan)
    }

    /// Counts a receipt that this node is about to sign or has signed. Stored before the receipt is sent.
    pub fn with_receipt(&self, bytes: &[u8]) -> Result<NodeState, Refused> {
        let receipt: Receipt = parse(DocumentKind::Receipt, Some(&self.root.root().fleet_id), bytes)?;
        let (counter, previous) = self.next_receipt();
        if (receipt.counter, receipt.previous) != (counter, previous) {
            return Err(Refused::new(
                Refusal::DamagedState,
                format!(
                    "expected to sign receipt {counter}, found number {} or another one before it; stop and compare \
                        with the coordinator",
                    receipt.counter
                ),
            ));
        }
        Ok(NodeState { counter, last_receipt: Some(Digest::of(bytes)), ..self.clone() })
    }

    /// Raises a state that was restored from an old copy to this node's own newest receipt, whoever kept it: numbers
    /// never repeat and older plans stay void. Two receipts with one number mean that this key lives twice.
    pub fn catch_up(&self, me: &Identity, receipt: &Verified<Receipt>) -> Result<NodeState, Refused> {
        let own = receipt.document();
        if own.node != me.node {
            return Err(Refused::new(
                Refusal::NotATarget,
                format!("expected a receipt of this node {}, found one of {}; offer its own", me.node, own.node),
            ));
        }
        if own.counter == self.counter && self.last_receipt != Some(receipt.digest()) {
            return Err(Refused::new(
                Refusal::DamagedState,
                format!(
                    "expected receipt {} of {} to be the one signed here, found {}; another machine holds this key: \
                        replace one of them",
                    own.counter,
                    me.node,
                    receipt.digest()
                ),
            ));
        }
        let mut next = self.clone();
        if own.counter > self.counter {
            next.counter = own.counter;
            next.last_receipt = Some(receipt.digest());
        }
        if own.epoch == self.epoch() && own.seq > self.seq {
            next.seq = own.seq;
            next.open = vec![PlanRef { seq: own.seq, digest: own.plan }];
            next.plans.clear();
        }
        Ok(next)
    }

    /// The state as a file holds it: JSON that people can read, with the documents by their digests.
    pub fn to_index(&self) -> Vec<u8> {
        json::write(&Stored::of(self))
    }

    /// The exact bytes of the documents that the index names, in its order, each behind its digest.
    pub fn documents(&self) -> Vec<(Digest, &[u8])> {
        let root = (self.root.digest(), self.root.signed());
        let roster = self.roster.iter().map(|roster| (roster.digest(), roster.signed()));
        let plans = self.plans.iter().map(|held| (held.plan.digest(), held.plan.signed()));
        let all = std::iter::once(root).chain(roster).chain(plans);
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
        let plans = stored.plans.iter().map(|named| restore(DocumentKind::Plan, &fleet, &signed(named)?));
        let plans = plans.collect::<Result<Vec<Verified<Plan>>, Refused>>()?;
        let Stored { seq, open, floor, counter, last_receipt, .. } = stored;
        let newest = open.iter().map(|o| o.seq).max().unwrap_or(Seq(0));
        let listed = |p: &Verified<Plan>| open.contains(&PlanRef { seq: p.document().seq, digest: p.digest() });
        if newest != seq || !plans.iter().all(listed) || (counter == 0) != last_receipt.is_none() {
            return Err(damaged("its numbers do not fit each other"));
        }
        let plans = plans.into_iter().map(|plan| Held { plan, under: None }).collect();
        Ok(Self { root, roster: roster.transpose()?, seq, open, plans, floor, counter, last_receipt })
    }

    /// Whether a plan can stay open beside a newer one: it is open, or this node never saw one so new. What was void
    /// stays void, whoever lists it.
    fn may_stay(&self, other: &PlanRef) -> bool {
        other.seq > self.seq || self.open.contains(other)
    }

    /// Step 8: newer, or exactly one of those that are open.
    fn check_number(&self, offered: PlanRef) -> Result<(), Refused> {
        if offered.seq > self.seq || self.open.contains(&offered) {
            return Ok(());
        }
        let reason = match self.open.iter().find(|p| p.seq == offered.seq) {
            Some(held) => format!(
                "expected plan {} to stay {}, found {} under the same number; compare both and find out who signed \
                    the other",
                held.seq, held.digest, offered.digest
            ),
            None => format!(
                "expected a plan after {}, found plan {}, which is void here; make and sign a new plan",
                self.seq, offered.seq
            ),
        };
        Err(Refused::new(Refusal::Replay, reason))
    }

    /// Step 1: nothing new starts by a clock that cannot be right.
    fn check_clock(&self, clock: Clock, seq: Seq) -> Result<(), Refused> {
        let reason = if !clock.synchronised {
            format!(
                "plan {seq} is new and this node's clock was not synchronised since it started; it is tried again \
                    once the clock is set"
            )
        } else if clock.now < self.floor {
            format!(
                "plan {seq} is new and this node's clock shows {}, before {}, which is past; it is tried again once \
                    the clock is right",
                clock.now, self.floor
            )
        } else {
            return Ok(());
        };
        Err(Refused::new(Refusal::Expired, reason))
    }

    /// Steps 10 to 12.
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
        plans::fits(&self.root, roster, plan)?;
        plans::is_target(plan, me)
    }

    /// The floor follows verified times, but only while the clock is synchronised and never past it: otherwise one
    /// document from the far future would stop this node for ever.
    fn with_floor(mut self, clock: Clock, created: Timestamp) -> Self {
        if clock.synchronised && created <= clock.now {
            self.floor = self.floor.max(created);
        }
        self
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
    floor: Timestamp,
    counter: u64,
    last_receipt: Option<Digest>,
}

#[derive(Serialize, Deserialize)]
enum StateType {
    #[serde(rename = "hostler-node-state/v2")]
    V2,
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
        Self {
            state_type: StateType::V2,
            root: named(s.root.digest(), s.root.signed()),
            roster: s.roster.as_ref().map(|r| named(r.digest(), r.signed())),
            seq: s.seq,
            open: s.open.clone(),
            plans: s.plans.iter().map(|held| named(held.plan.digest(), held.plan.signed())).collect(),
            floor: s.floor,
            counter: s.counter,
            last_receipt: s.last_receipt,
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
