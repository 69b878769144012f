//! Decides what becomes of each earlier plan, and says what that means.

use crate::document::{PlanKind, PlanRef};

use super::{Draft, Fate, Note, Obstacle, Request, Unproved};

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
            () if replaces(kind, open.kind) || draft.continues == Some(open.plan) => Fate::Replaced(open.clone()),
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
        PlanKind::Bootstrap
        | PlanKind::Join
        | PlanKind::Upgrade
        | PlanKind::Reboot
        | PlanKind::Baseline
        | PlanKind::Remove
        | PlanKind::Replace
        | PlanKind::Restore
        | PlanKind::Configure
        | PlanKind::Update => new == old,
        PlanKind::Check
        | PlanKind::Drain
        | PlanKind::Uncordon
        | PlanKind::Dead
        | PlanKind::Inspect
        | PlanKind::Snapshot
        | PlanKind::Stop => false,
    }
}

fn notes(kind: PlanKind, fates: &[Fate], draft: &mut Draft) {
    for fate in fates {
        match fate {
            // Said already.
            Fate::Replaced(open) if draft.continues == Some(open.plan) => {}
            Fate::Replaced(open) => {
                let (seq, title) = (open.plan.seq, &open.title);
                draft.notes.push(Note::Warning(format!("takes the place of plan {seq}: {title}")));
            }
            Fate::GoesOn(open) if kind == PlanKind::Drain && open.kind.yields_to_drains() => {
                let (seq, title) = (open.plan.seq, &open.title);
                draft.notes.push(Note::Info(format!("plan {seq} waits until this drain is done: {title}")));
            }
            Fate::GoesOn(_) | Fate::SaidToBeOver(_) | Fate::Ends(_) | Fate::Unproved(_) => {}
        }
    }
}
