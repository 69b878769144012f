//! What may be appended: documents with their proof, and what was decided.

use hostler_plan::{document::Decided, entry::Entry};

pub(crate) use hostler_plan::judge::Proven;

/// Whether who belongs to the fleet, or what was decided about a node, may be different after it.
pub(super) fn changes_members(proven: &Proven) -> bool {
    match proven {
        Proven::Root(_) | Proven::Roster(_) | Proven::Enrolment(_) => true,
        Proven::Decision(entry) => matches!(entry, Entry::TokenRevoked { .. }),
        Proven::Signed(decision) => {
            matches!(decision.document().decided, Decided::RevokeToken { .. } | Decided::Node(_))
        }
        Proven::Admission(_) | Proven::Plan(_) | Proven::Receipt(_) | Proven::Holding(_) => false,
    }
}
