//! Whether a server's word about the cluster counts: signed by that server, for this question.

use crate::{
    document::{DocumentKind, MAX_VIEW_NODES, Roster, Signed, View},
    id::Nonce,
    refusal::{Refusal, Refused},
    step::ClusterRole,
    trust::{SignedBy, Verified, parse, receipt::check_signer},
};

/// Verifies a view that answers the question with this nonce: one signature, by the key under which the roster lists
/// the node that it names, as active and as a server. No worker's word counts, because a worker's credentials show it
/// only a part of the cluster.
pub fn view(roster: &Verified<Roster>, nonce: &Nonce, signed: &Signed) -> Result<Verified<View>, Refused> {
    let by = SignedBy::of(DocumentKind::View, signed)?;
    let roster = roster.document();
    let view: View = parse(DocumentKind::View, Some(&roster.fleet_id), &signed.bytes)?;
    let server = &view.server;
    check_signer(roster, DocumentKind::View, server, signed, &by)?;
    if roster.active(server).is_none_or(|node| node.role != ClusterRole::Server) {
        let reason = format!(
            "expected a view of a server, found one of {server}, which roster {} lists as a worker; ask again",
            roster.version
        );
        return Err(Refused::new(Refusal::NotAllowed, reason));
    }
    if view.nonce != *nonce {
        let reason = format!(
            "expected {server}'s view for the question that was asked, found one for another, of {}; ask again",
            view.at
        );
        return Err(Refused::new(Refusal::Replay, reason));
    }
    if view.nodes.len() > MAX_VIEW_NODES {
        let reason = format!("expected a view of at most {MAX_VIEW_NODES} nodes, found {}", view.nodes.len());
        return Err(Refused::new(Refusal::Malformed, reason));
    }
    Ok(Verified::new(view, signed))
}
