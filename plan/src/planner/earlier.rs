//! The plans before this one: which of them go on beside it, and which end. Only what was shown as signed bytes goes
//! on.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    document::{DocumentKind, Plan, PlanKind, PlanRef, Signed},
    id::{Digest, NodeName, Seq},
    refusal::{Refusal, Refused},
    text::{age, clean},
    timestamp::Timestamp,
    trust::{Duty, SignedBy, TrustedRoot, authentic, counted},
};

/// What is proved of the plans before this one, and of where the coordinator runs.
#[derive(Debug, Clone, Default)]
pub struct Earlier {
    /// The plans that may stand in `beside`: the newest of the epoch and what it keeps valid. Every other one is void
    /// on each node that holds the newest, and listing it would bring it back to life.
    pub open: Vec<OpenPlan>,
    /// Plans of which no signed bytes were shown, each with the reason. They end.
    pub unproved: Vec<Unproved>,
    /// The nodes that signed that a coordinator runs on them. One may be kept from us, and none can be made up.
    pub coordinator_on: BTreeSet<NodeName>,
}

/// An earlier plan of which nothing is known but its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unproved {
    pub digest: Digest,
    /// Its number, where one was said.
    pub seq: Option<Seq>,
    pub why: String,
}

/// An earlier plan, from its signed bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenPlan {
    pub plan: PlanRef,
    pub kind: PlanKind,
    pub title: String,
    pub created: Timestamp,
    pub expires: Timestamp,
    /// The names of those whose signatures count for it.
    pub signed_by: Vec<String>,
    /// The nodes that it makes unschedulable.
    pub cordons: Vec<NodeName>,
}

impl OpenPlan {
    /// What a plan says of itself.
    pub fn of(plan: &Plan, digest: Digest, signed_by: Vec<String>) -> Self {
        Self {
            plan: PlanRef { seq: plan.seq, digest },
            kind: plan.kind,
            title: plan.title.clone(),
            created: plan.created,
            expires: plan.expires,
            signed_by,
            cordons: plan.cordons().cloned().collect(),
        }
    }

    /// Whether these bytes are the plan of that digest, signed by enough for this fleet and epoch. Gives the plan with
    /// it, for what it keeps valid itself.
    pub fn verify(root: &TrustedRoot, digest: &Digest, signed: &Signed) -> Result<(Self, Plan), Refused> {
        let found = signed.digest();
        if found != *digest {
            let reason = format!("expected the plan {digest}, found {found}; ask for the right one");
            return Err(Refused::new(Refusal::DigestMismatch, reason));
        }
        let plan = authentic(root, signed)?.document().clone();
        let by = SignedBy::of(DocumentKind::Plan, signed)?;
        let names = counted(root.root(), Duty::Plan(plan.kind), &by).into_iter().map(|s| s.name.clone());
        Ok((Self::of(&plan, found, names.collect()), plan))
    }
}

/// What becomes of an earlier plan when this one is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stands in `beside`.
    GoesOn(OpenPlan),
    /// This plan is of its kind and takes its place.
    Replaced(OpenPlan),
    /// The coordinator says that it is over; if that is not true, it ends now.
    SaidToBeOver(OpenPlan),
    /// The plan does not list it, whatever its maker knew of it.
    Ends(OpenPlan),
    /// Nobody could show it as signed bytes: it ends.
    Unproved(Unproved),
}

impl Fate {
    /// Whether the plan goes on.
    pub fn goes_on(&self) -> bool {
        match self {
            Fate::GoesOn(_) => true,
            Fate::Replaced(_) | Fate::SaidToBeOver(_) | Fate::Ends(_) | Fate::Unproved(_) => false,
        }
    }

    /// The digest of the plan that it is about.
    pub fn digest(&self) -> Digest {
        match self {
            Fate::GoesOn(open) | Fate::Replaced(open) | Fate::SaidToBeOver(open) | Fate::Ends(open) => open.plan.digest,
            Fate::Unproved(unproved) => unproved.digest,
        }
    }

    /// Its number, where one is known.
    pub fn seq(&self) -> Option<Seq> {
        match self {
            Fate::GoesOn(open) | Fate::Replaced(open) | Fate::SaidToBeOver(open) | Fate::Ends(open) => {
                Some(open.plan.seq)
            }
            Fate::Unproved(unproved) => unproved.seq,
        }
    }

    /// What its signed bytes say of it.
    pub fn proved(&self) -> Option<&OpenPlan> {
        match self {
            Fate::GoesOn(open) | Fate::Replaced(open) | Fate::SaidToBeOver(open) | Fate::Ends(open) => Some(open),
            Fate::Unproved(_) => None,
        }
    }

    /// Why it ends; nothing of one that goes on.
    pub fn why(&self) -> Option<String> {
        match self {
            Fate::GoesOn(_) | Fate::Ends(_) => None,
            Fate::Replaced(_) => Some("this plan takes its place".to_owned()),
            Fate::SaidToBeOver(_) => Some("the coordinator says that it is over".to_owned()),
            Fate::Unproved(unproved) => Some(clean(&unproved.why).into_owned()),
        }
    }
}

impl OpenPlan {
    /// What its signed bytes say of it, as somebody reads it at `now`.
    pub fn said(&self, now: Timestamp) -> String {
        let Self { plan, kind, title, created, expires, signed_by, cordons: _ } = self;
        let by = signed_by.iter().map(|name| clean(name).into_owned()).collect::<Vec<_>>().join(", ");
        let (title, age) = (clean(title), age(now.since(*created).as_secs()));
        let (seq, digest) = (plan.seq, plan.digest);
        format!("plan {seq} ({kind}): {title}; made {created}, {age} before, by {by}; valid until {expires}; {digest}")
    }
}

impl Fate {
    /// What becomes of it, in a line, as somebody reads it at `now`.
    pub fn said(&self, now: Timestamp) -> String {
        match self {
            Fate::GoesOn(open) => format!("beside: {}", open.said(now)),
            Fate::Ends(open) => format!("ends: {}, if it still runs", open.said(now)),
            Fate::Replaced(open) => format!("ends: {}; this plan takes its place", open.said(now)),
            Fate::SaidToBeOver(open) => format!("ends: {}; the coordinator says that it is over", open.said(now)),
            Fate::Unproved(Unproved { digest, seq, why }) => {
                let seq = seq.map(|seq| format!(" {seq}")).unwrap_or_default();
                format!("ends: plan{seq}, {digest}; {}", clean(why))
            }
        }
    }
}
