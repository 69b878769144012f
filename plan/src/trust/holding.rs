//! Whether a node's word about what it holds counts: signed by the node that the roster names.

use crate::{
    document::{DocumentKind, Holding, Roster, Signed},
    refusal::{Refusal, Refused},
    trust::{SignedBy, Verified, parse, receipt::check_signer},
};

/// Verifies a holding as [`receipt`](super::receipt) verifies a receipt: one signature, by the key under which the
/// roster lists the node that it names, as active.
pub fn holding(roster: &Verified<Roster>, signed: &Signed) -> Result<Verified<Holding>, Refused> {
    let by = SignedBy::of(DocumentKind::Holding, signed)?;
    let roster = roster.document();
    let holding: Holding = parse(DocumentKind::Holding, Some(&roster.fleet_id), &signed.bytes)?;
    check_signer(roster, DocumentKind::Holding, &holding.node, signed, &by)?;
    let newest = holding.holds.plan;
    if newest.is_some_and(|newest| holding.open.iter().any(|open| open.seq > newest.seq)) {
        let reason = format!("expected no open plan above the newest one, found some on {}", holding.node);
        return Err(Refused::new(Refusal::Malformed, reason));
    }
    Ok(Verified::new(holding, signed))
}
