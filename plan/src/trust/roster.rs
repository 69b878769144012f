//! Whether a roster counts, and follows the one that is held.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    document::{DocumentKind, Root, Roster, RosterStatus, Signed},
    refusal::{Refusal, Refused},
    text::hex,
    trust::{Duty, Purpose, SignedBy, TrustedRoot, Verified, parse, shape, threshold},
};

/// Verifies a roster under `root`, against the one that is `held`: never an older version of the same epoch, never the
/// same version with other content. A higher epoch may begin at version 1 again, which is how a fleet recovers from a
/// roster that a thief signed with the highest possible version.
pub fn roster(
    root: &TrustedRoot,
    held: Option<&Verified<Roster>>,
    signed: &Signed,
    purpose: Purpose,
) -> Result<Verified<Roster>, Refused> {
    let by = SignedBy::of(DocumentKind::Roster, signed)?;
    let trusted = root.root();
    let roster: Roster = parse(DocumentKind::Roster, Some(&trusted.fleet_id), &signed.bytes)?;
    threshold(trusted, Duty::Roster, &by)?;
    match purpose {
        Purpose::Submitting(now) | Purpose::Starting(now) => root.check_expiry(now)?,
        Purpose::Begun => {}
    }
    check_root(trusted, &roster)?;
    if let Some(held) = held {
        check_not_older(held, &roster, signed)?;
        check_tokens(held.document(), &roster)?;
    }
    check_nodes(&roster)?;
    Ok(Verified::new(roster, signed))
}

fn check_root(root: &Root, roster: &Roster) -> Result<(), Refused> {
    if roster.root_version > root.version || roster.epoch > root.epoch {
        return Err(Refused::new(
            Refusal::RootChain,
            format!(
                "roster {} was made under root {} (epoch {}), found root {} (epoch {}) here; offer the newer roots \
                    first",
                roster.version, roster.root_version, roster.epoch, root.version, root.epoch
            ),
        ));
    }
    if roster.epoch < root.epoch {
        return Err(Refused::new(
            Refusal::Replay,
            format!(
                "expected a roster of epoch {}, found roster {} of epoch {}; sign the roster again in the new epoch",
                root.epoch, roster.version, roster.epoch
            ),
        ));
    }
    Ok(())
}

fn check_not_older(held: &Verified<Roster>, roster: &Roster, signed: &Signed) -> Result<(), Refused> {
    let old = held.document();
    if (roster.epoch, roster.version) < (old.epoch, old.version) {
        return Err(Refused::new(
            Refusal::Replay,
            format!(
                "expected roster {} or a later one, found roster {}; offer the newest",
                old.version, roster.version
            ),
        ));
    }
    if (roster.epoch, roster.version) == (old.epoch, old.version) && signed.digest() != held.digest() {
        return Err(Refused::new(
            Refusal::Replay,
            format!(
                "expected roster {} to stay {}, found {} under the same version; compare the copies and find out who \
                    signed the other",
                old.version,
                held.digest(),
                signed.digest()
            ),
        ));
    }
    Ok(())
}

/// A token that was revoked stays so until a new epoch voids every token: whoever signs a roster without it was shown
/// an older one.
fn check_tokens(held: &Roster, roster: &Roster) -> Result<(), Refused> {
    let back = held.revoked_tokens.iter().find(|token| !roster.revoked_tokens.contains(token));
    match back {
        Some(token) if roster.epoch == held.epoch => Err(Refused::new(
            Refusal::Revoked,
            format!(
                "roster {}: token {token} was revoked by roster {} and stays so, found it is not on the list; make the \
                    roster again from the newest one",
                roster.version, held.version
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

fn check_nodes(roster: &Roster) -> Result<(), Refused> {
    let malformed =
        |reason: String| Err(Refused::new(Refusal::Malformed, format!("roster {}: {reason}", roster.version)));
    if roster.version == 0 {
        return malformed("expected a version of at least 1, found 0".to_owned());
    }
    if !shape::closes_well(roster.prev, &roster.also) {
        let (most, found) = (shape::MAX_CLOSED, roster.also.len());
        return malformed(format!("expected at most {most} other ends of a fork, each once, found {found}"));
    }
    let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for node in &roster.nodes {
        if !names.insert(&node.name) && node.status == RosterStatus::Active {
            return malformed(format!("expected every node once, found {} again", node.name));
        }
        if !keys.insert(node.key.fingerprint()) {
            return malformed(format!(
                "expected every key once, found {} again for {}",
                node.key.fingerprint(),
                node.name
            ));
        }
        if !node.key.can_sign_documents() {
            return malformed(format!(
                "expected a key that can sign receipts, found {} of {}",
                node.key.key_type(),
                node.name
            ));
        }
        if !is_seal_key(&node.seal_key) {
            return malformed(format!(
                "expected a seal key of 32 bytes in base64 for {}, one that keeps a secret, found another",
                node.name
            ));
        }
    }
    Ok(())
}

/// Whether `text` is an X25519 public key as documents write it, to which a secret can be sealed.
pub(super) fn is_seal_key(text: &str) -> bool {
    STANDARD.decode(text).is_ok_and(|bytes| <[u8; 32]>::try_from(bytes).is_ok_and(|key| !is_of_low_order(key)))
}

/// The points whose order divides eight: whatever is sealed to them is read by everybody, because the secret that the
/// two ends agree on is zero. Curve25519 has 0, 1, two points of order 8 and -1; 2^255 - 19 and the number after it
/// are 0 and 1 again. X25519 does not look at the highest bit.
fn is_of_low_order(mut key: [u8; 32]) -> bool {
    key[31] &= 0x7f;
    let small = |lowest: u8| {
        let mut point = [0; 32];
        point[0] = lowest;
        point
    };
    let below_two_to_255 = |lowest: u8| {
        let mut point = [0xff; 32];
        (point[0], point[31]) = (lowest, 0x7f);
        point
    };
    let order_eight = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ];
    [small(0), small(1), below_two_to_255(0xec), below_two_to_255(0xed), below_two_to_255(0xee)].contains(&key)
        || order_eight.contains(&hex(&key).as_str())
}
