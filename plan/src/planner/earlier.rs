//! The plans before this one: which of them go on beside it, and which end. Only what was shown as signed bytes goes on.

use serde::Serialize;

use crate::{
    document::{DocumentKind, Plan, PlanKind, PlanRef, Signed},
    id::{Digest, Seq},
    refusal::{Refusal, Refused},
    text::{age, clean},
    timestamp::Timestamp,
    trust::{Duty, SignedBy, TrustedRoot, authentic, counted},
};

use super::{Draft, Note, Obstacle, Request};

/// What is proved of the plans before this one.
#[derive(Debug, Clone, Default)]
pub struct Earlier {
    /// The plans that may stand in `beside`: the newest of the epoch and what it keeps valid. Every other one is void
    /// on each node that holds the newest, and listing it would bring it back to life.
    pub open: Vec<OpenPlan>,
    /// Plans of which no signed bytes were shown, each with the reason. They end.
    pub unproved: Vec<Unproved>,
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
        let Self { plan, kind, title, created, expires, signed_by } = self;
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

/// What becomes of each earlier plan. A plan takes the place of one of its own kind; drains, uncordons and checks go
/// beside everything.
pub(super) fn fates(request: Request<'_>, kind: PlanKind, draft: &mut Draft) -> Vec<Fate> {
    let seq = request.numbering.seq;
    let running = &request.inventory.running;
    for later in running.iter().filter(|r| r.plan.seq >= seq) {
        draft.obstacles.push(Obstacle::NotTheNext { seq, running: later.plan.seq });
    }
    let mut fates: Vec<Fate> = Vec::new();
    for open in &request.earlier.open {
        let fate = match () {
            () if !running.iter().any(|r| r.plan == open.plan) => Fate::SaidToBeOver(open.clone()),
            () if replaces(kind, open.kind) => Fate::Replaced(open.clone()),
            () => Fate::GoesOn(open.clone()),
        };
        fates.push(fate);
    }
    fates.extend(request.earlier.unproved.iter().cloned().map(Fate::Unproved));
    for PlanRef { seq, digest } in running.iter().map(|r| r.plan).filter(|plan| plan.seq < seq) {
        if !fates.iter().any(|fate| fate.digest() == digest) {
            let why = "the coordinator says that it runs, and the newest plan does not keep it valid".to_owned();
            fates.push(Fate::Unproved(Unproved { digest, seq: Some(seq), why }));
        }
    }
    fates.sort_by_key(Fate::seq);
    notes(kind, &fates, draft);
    fates
}

/// Whether a plan of kind `new` takes the place of one of kind `old`.
fn replaces(new: PlanKind, old: PlanKind) -> bool {
    match new {
        PlanKind::Bootstrap | PlanKind::Join | PlanKind::Upgrade | PlanKind::Reboot => new == old,
        PlanKind::Check | PlanKind::Drain | PlanKind::Uncordon | PlanKind::Stop => false,
    }
}

fn notes(kind: PlanKind, fates: &[Fate], draft: &mut Draft) {
    for fate in fates {
        match fate {
            Fate::Replaced(open) => {
                let (seq, title) = (open.plan.seq, &open.title);
                draft.notes.push(Note::Warning(format!("takes the place of plan {seq}: {title}")));
            }
            Fate::GoesOn(open)
                if kind == PlanKind::Drain
                    && matches!(
                        open.kind,
                        PlanKind::Bootstrap | PlanKind::Join | PlanKind::Upgrade | PlanKind::Reboot
                    ) =>
            {
                let (seq, title) = (open.plan.seq, &open.title);
                draft.notes.push(Note::Info(format!("plan {seq} waits until this drain is done: {title}")));
            }
            Fate::GoesOn(_) | Fate::SaidToBeOver(_) | Fate::Ends(_) | Fate::Unproved(_) => {}
        }
    }
}
