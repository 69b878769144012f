//! Whether enough of the signers that may have signed.

use std::{collections::BTreeSet, fmt};

use crate::{
    document::{DocumentKind, PlanKind, Root, Signed, Signer, SignerRole},
    id::Fingerprint,
    refusal::{Refusal, Refused},
    signature::verify,
    text::clean,
    trust::check_size,
};

/// What is signed, for the question who may sign it and how many must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    Root,
    Admission,
    Roster,
    Plan(PlanKind),
}

impl Duty {
    /// How many different keys the root demands.
    pub fn needed(self, root: &Root) -> u32 {
        match self {
            Duty::Root => root.thresholds.root,
            Duty::Admission => root.thresholds.admission,
            Duty::Roster => root.thresholds.roster,
            Duty::Plan(PlanKind::Stop) => 1,
            Duty::Plan(kind) => {
                let thresholds = &root.thresholds;
                let own = thresholds.plan_kinds.get(&kind).copied();
                own.or(kind.own_threshold()).unwrap_or(thresholds.plan)
            }
        }
    }

    /// Whether the signer's role allows it.
    pub fn allows(self, signer: &Signer) -> bool {
        match self {
            Duty::Root | Duty::Admission | Duty::Roster => signer.role == SignerRole::Admin,
            Duty::Plan(kind) => signer.may_sign_plan(kind),
        }
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Duty::Root => f.write_str("root"),
            Duty::Admission => f.write_str("admission"),
            Duty::Roster => f.write_str("roster"),
            Duty::Plan(kind) => write!(f, "plan of kind {kind}"),
        }
    }
}

/// The different keys whose signatures beside a document verify. Whether they count is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy(BTreeSet<Fingerprint>);

impl SignedBy {
    /// Verifies every signature over the raw bytes. One that does not verify refuses the document: nobody honest
    /// hands on a broken signature, so it is a sign that somebody changed something.
    pub fn of(kind: DocumentKind, signed: &Signed) -> Result<Self, Refused> {
        check_size(kind, signed)?;
        let mut keys = BTreeSet::new();
        for number in 1..=signed.signatures.len() {
            keys.insert(signer(kind, signed, number)?);
        }
        Ok(Self(keys))
    }

    /// Puts one more signature beside a document, and verifies only that one.
    pub(super) fn add(&mut self, kind: DocumentKind, signed: &mut Signed, armour: String) -> Result<(), Refused> {
        let mut more = signed.clone();
        more.signatures.push(armour);
        check_size(kind, &more)?;
        self.0.insert(signer(kind, &more, more.signatures.len())?);
        *signed = more;
        Ok(())
    }

    /// Each key once.
    pub fn keys(&self) -> &BTreeSet<Fingerprint> {
        &self.0
    }
}

/// Verifies the signature with that number, from 1, and gives its key.
fn signer(kind: DocumentKind, signed: &Signed, number: usize) -> Result<Fingerprint, Refused> {
    let key = verify(kind, &signed.bytes, &signed.signatures[number - 1]).map_err(|e| {
        let (noun, count) = (kind.noun(), signed.signatures.len());
        Refused::new(Refusal::BadSignature, format!("signature {number} of {count} beside the {noun}: {e}"))
    })?;
    Ok(key.fingerprint())
}

/// The signers whose keys signed and count for `duty`: in the root, not revoked, in a role that allows it.
pub fn counted<'a>(root: &'a Root, duty: Duty, by: &SignedBy) -> Vec<&'a Signer> {
    let mut keys = BTreeSet::new();
    root.signers
        .iter()
        .filter(|s| {
            let key = s.key.fingerprint();
            duty.allows(s) && by.0.contains(&key) && !root.revoked.contains(&key) && keys.insert(key)
        })
        .collect()
}

/// Whether a signature by that key would count for `duty`. Asked before it signs: one that counts for nothing helps
/// nobody, and a hardware key is not touched for it.
pub fn check_signer(root: &Root, duty: Duty, key: &Fingerprint) -> Result<(), Refused> {
    let alone = SignedBy(BTreeSet::from([key.clone()]));
    if counted(root, duty, &alone).is_empty() { threshold(root, duty, &alone) } else { Ok(()) }
}

/// Whether enough different keys that count for `duty` signed. The refusal says what the others lack.
pub fn threshold(root: &Root, duty: Duty, by: &SignedBy) -> Result<(), Refused> {
    let needed = duty.needed(root);
    let counted = counted(root, duty, by);
    if needed > 0 && counted.len() as u64 >= u64::from(needed) {
        return Ok(());
    }
    let version = root.version;
    let expected = match needed {
        1 => format!("expected a {duty} signed by a key that root {version} allows to sign it"),
        _ => format!("expected a {duty} signed by {needed} different keys that root {version} allows to sign it"),
    };
    let names: Vec<String> = counted.iter().map(|s| clean(&s.name).into_owned()).collect();
    // Asked only where none of them counts.
    let revoked = by.0.iter().find(|k| root.revoked.contains(k));
    let other_role = by.0.iter().find_map(|k| root.signers.iter().find(|s| s.key.fingerprint() == *k));
    let (refusal, found) = if !counted.is_empty() {
        (Refusal::Threshold, format!("found {} ({}); have more people sign it", names.len(), names.join(", ")))
    } else if let Some(key) = revoked {
        (Refusal::Revoked, format!("found the revoked key {key}; sign with a key that is not revoked"))
    } else if let Some(signer) = other_role {
        let name = clean(&signer.name);
        (Refusal::NotAllowed, format!("found only {name}, whose role does not allow it; have another person sign it"))
    } else if let Some(key) = by.0.first() {
        (Refusal::BadSignature, format!("found only the unknown key {key}; sign with a key that stands in the root"))
    } else {
        (Refusal::BadSignature, "found no signature; sign it with `hostler sign`".to_owned())
    };
    Err(Refused::new(refusal, format!("{expected}, {found}")))
}
