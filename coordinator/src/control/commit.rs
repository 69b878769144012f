//! What may be appended: documents with their proof, and what was decided.

use hostler_plan::{
    document::{Admission, DocumentKind, Enrolment, Plan, Receipt, Roster, Signed},
    entry::{Entry, StoredDocument},
    trust::{TrustedRoot, Verified},
};

/// An entry that counts: a document stands here only as what verifying it gave.
#[derive(Debug, Clone)]
pub(crate) enum Proven {
    Root(TrustedRoot),
    Admission(Verified<Admission>),
    Enrolment(Verified<Enrolment>),
    Roster(Verified<Roster>),
    Plan(Verified<Plan>),
    Receipt(Verified<Receipt>),
    /// No document.
    Decision(Entry),
}

impl Proven {
    /// As the ledger writes it.
    pub(crate) fn entry(&self) -> Entry {
        let document = |kind, signed: &Signed| Entry::Document { kind, document: StoredDocument(signed.clone()) };
        match self {
            Proven::Root(root) => document(DocumentKind::Root, root.signed()),
            Proven::Admission(admission) => document(DocumentKind::Admission, admission.signed()),
            Proven::Enrolment(enrolment) => document(DocumentKind::Enrolment, enrolment.signed()),
            Proven::Roster(roster) => document(DocumentKind::Roster, roster.signed()),
            Proven::Plan(plan) => document(DocumentKind::Plan, plan.signed()),
            Proven::Receipt(receipt) => document(DocumentKind::Receipt, receipt.signed()),
            Proven::Decision(entry) => entry.clone(),
        }
    }

    /// Whether who belongs to the fleet may be different after it.
    pub(crate) fn changes_members(&self) -> bool {
        match self {
            Proven::Root(_) | Proven::Roster(_) | Proven::Enrolment(_) => true,
            Proven::Decision(entry) => matches!(entry, Entry::TokenRevoked { .. }),
            Proven::Admission(_) | Proven::Plan(_) | Proven::Receipt(_) => false,
        }
    }
}
