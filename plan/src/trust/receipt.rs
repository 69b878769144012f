//! Whether a receipt counts: signed by the node that the roster names.

use crate::{
    document::{DocumentKind, Receipt, Roster, RosterNode, RosterStatus, Signed},
    id::NodeName,
    refusal::{Refusal, Refused},
    trust::{SignedBy, Verified, parse},
};

/// Verifies a receipt: one signature, by the key under which the roster lists the node that it names. TLS certificates
/// play no part, because the coordinator could make any.
pub fn receipt(roster: &Verified<Roster>, signed: &Signed) -> Result<Verified<Receipt>, Refused> {
    let by = SignedBy::of(DocumentKind::Receipt, signed)?;
    let roster = roster.document();
    let receipt: Receipt = parse(DocumentKind::Receipt, Some(&roster.fleet_id), &signed.bytes)?;
    check_signer(roster, DocumentKind::Receipt, &receipt.node, signed, &by)?;
    chained(receipt, signed)
}

/// Verifies a receipt of earlier times: one signature, by a key that its node has or had; and the node as the roster
/// lists it with that key. What a retired key signs proves that somebody has it, and not that it was signed before it
/// was retired.
pub fn receipt_of_then<'a>(
    roster: &'a Verified<Roster>,
    signed: &Signed,
) -> Result<(Verified<Receipt>, &'a RosterNode), Refused> {
    let by = SignedBy::of(DocumentKind::Receipt, signed)?;
    let roster = roster.document();
    let receipt: Receipt = parse(DocumentKind::Receipt, Some(&roster.fleet_id), &signed.bytes)?;
    let had = |node: &&RosterNode| node.name == receipt.node && by.keys().contains(&node.key.fingerprint());
    let node = roster.nodes.iter().find(had).filter(|_| signed.signatures.len() == 1).ok_or_else(|| {
        let name = &receipt.node;
        Refused::new(
            Refusal::BadSignature,
            format!("expected one signature by a key that is or was {name}'s, found none; it is not {name}'s receipt"),
        )
    })?;
    Ok((chained(receipt, signed)?, node))
}

fn chained(receipt: Receipt, signed: &Signed) -> Result<Verified<Receipt>, Refused> {
    let chained = receipt.counter > 0 && (receipt.counter == 1) == receipt.previous.is_none();
    if !chained {
        return Err(Refused::new(
            Refusal::Malformed,
            format!(
                "expected a receipt that names the one before it, unless it is number 1, found number {} of {}",
                receipt.counter, receipt.node
            ),
        ));
    }
    Ok(Verified::new(receipt, signed))
}

/// One signature, by the key of an active node of that name. What a node signs counts by nothing else.
pub(super) fn check_signer(
    roster: &Roster,
    kind: DocumentKind,
    name: &NodeName,
    signed: &Signed,
    by: &SignedBy,
) -> Result<(), Refused> {
    let noun = kind.noun();
    let node = roster.nodes.iter().find(|n| n.name == *name).ok_or_else(|| {
        Refused::new(
            Refusal::BadSignature,
            format!(
                "expected a {noun} of a node in roster {}, found one of {name}; offer the newest roster",
                roster.version
            ),
        )
    })?;
    let key = node.key.fingerprint();
    if !by.keys().contains(&key) || signed.signatures.len() != 1 {
        return Err(Refused::new(
            Refusal::BadSignature,
            format!(
                "expected one signature by {name}'s key {key}, found {} by other keys or too many; it is not {name}'s \
                    {noun}",
                signed.signatures.len()
            ),
        ));
    }
    match node.status {
        RosterStatus::Active => Ok(()),
        RosterStatus::Retired => Err(Refused::new(
            Refusal::Revoked,
            format!(
                "expected a {noun} of an active node, found one of {name}, which is retired; sign a plan without it"
            ),
        )),
    }
}
