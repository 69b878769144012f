//! What becomes of the number of a document that is about to be handed in: whoever holds the coordinator may keep it
//! back, say no, and hand it to some nodes later.

use std::path::Path;

use hostler_plan::{
    document::{DocumentRef, PlanRef},
    id::{Epoch, NodeName},
    trust,
};

use crate::{
    error::Error,
    floor::{Floor, Sent, SentDecision},
    place,
};

/// A document that is about to be handed in.
#[derive(Debug, Clone)]
pub(crate) enum HandIn {
    Plan(Epoch, PlanRef),
    Roster(Epoch, DocumentRef),
    Root(DocumentRef),
    Decision(NodeName, SentDecision),
}

impl HandIn {
    /// Keeps it before anybody is shown it, durably, or says why it is not handed in.
    pub(crate) fn keep(self, folder: &Path) -> Result<(), Error> {
        let mut kept = Ok(());
        Floor::change(folder, |floor| kept = keep(&mut floor.sent, self))?;
        kept
    }
}

fn keep(handed_in: &mut Sent, document: HandIn) -> Result<(), Error> {
    match document {
        HandIn::Plan(epoch, sent) => match handed_in.plan {
            Some((e, before)) if (e, before.seq) == (epoch, sent.seq) && before != sent => {
                return Err(place::given(&format!("plan {}", sent.seq), before.digest));
            }
            // One below it, that it keeps perhaps, is handed in by whoever signed it last.
            Some((e, before)) if (e, before.seq) > (epoch, sent.seq) => {}
            Some(_) | None => handed_in.plan = Some((epoch, sent)),
        },
        HandIn::Roster(epoch, sent) => match handed_in.roster {
            // Of those below it nobody knows any more which were handed in: nothing else is.
            Some((e, before)) if (e, before.version) >= (epoch, sent.version) && before != sent => {
                return Err(place::given(&format!("roster {} or a later one", sent.version), before.digest));
            }
            Some(_) | None => handed_in.roster = Some((epoch, sent)),
        },
        HandIn::Decision(node, sent) => {
            let number = sent.decision.version;
            match handed_in.decisions.get(&node) {
                // As of rosters.
                Some(before)
                    if (before.epoch, &before.key) == (sent.epoch, &sent.key)
                        && before.decision.version >= number
                        && before.decision != sent.decision =>
                {
                    let what = format!("decision {number} about {node} or a later one");
                    return Err(place::given(&what, before.decision.digest));
                }
                Some(_) | None => {
                    // Those of an epoch that is over tell nothing any more.
                    handed_in.decisions.retain(|_, before| before.epoch >= sent.epoch);
                    handed_in.decisions.insert(node, sent);
                }
            }
        }
        // Several with one number are: whoever says that one lost its place may have handed it to some nodes.
        HandIn::Root(sent) => {
            let one_before = sent.version.saturating_sub(1);
            let of_this = handed_in.roots.iter().filter(|before| before.version == sent.version).count();
            if handed_in.roots.contains(&sent) {
                return Ok(());
            }
            if of_this >= trust::MAX_CLOSED {
                return Err(place::too_many_roots(sent.version, of_this));
            }
            handed_in.roots.retain(|before| before.version >= one_before);
            handed_in.roots.push(sent);
        }
    }
    Ok(())
}
