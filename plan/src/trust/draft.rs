//! A document on its way from signer to signer.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    document::{Admission, DocumentKind, Plan, Root, Roster, Signed},
    json,
    refusal::{Refusal, Refused},
    trust::{Purpose, SignedBy, TrustedRoot, Verified, plan::plan_signed_by},
};

/// A document that may lack signatures: its form is strict, and every signature that it has was verified, once.
#[derive(Debug, Clone)]
pub struct Draft<T> {
    kind: DocumentKind,
    signed: Signed,
    by: SignedBy,
    document: T,
}

impl<T: DeserializeOwned + Serialize> Draft<T> {
    fn read(kind: DocumentKind, signed: Signed) -> Result<Self, Refused> {
        let by = SignedBy::of(kind, &signed)?;
        let document = json::parse(&signed.bytes)
            .map_err(|e| Refused::new(Refusal::Malformed, format!("the {} is {e}; make it again", kind.noun())))?;
        Ok(Self { kind, signed, by, document })
    }
}

impl<T> Draft<T> {
    /// What the document says.
    pub fn document(&self) -> &T {
        &self.document
    }

    /// Its exact bytes with the signatures that it has.
    pub fn signed(&self) -> &Signed {
        &self.signed
    }

    /// The keys that signed.
    pub fn signed_by(&self) -> &SignedBy {
        &self.by
    }

    /// Takes one more signature, which is verified; those before were.
    pub fn add(&mut self, armour: String) -> Result<(), Refused> {
        self.by.add(self.kind, &mut self.signed, armour)
    }
}

impl Draft<Plan> {
    /// Reads a plan that may lack signatures.
    pub fn plan(signed: Signed) -> Result<Self, Refused> {
        Self::read(DocumentKind::Plan, signed)
    }

    /// Everything that [`crate::trust::plan`] checks; the signatures were verified.
    pub fn verify(
        &self,
        root: &TrustedRoot,
        roster: &Verified<Roster>,
        purpose: Purpose,
    ) -> Result<Verified<Plan>, Refused> {
        plan_signed_by(root, roster, &self.signed, &self.by, purpose)
    }
}

impl Draft<Root> {
    /// Reads a root that may lack signatures.
    pub fn root(signed: Signed) -> Result<Self, Refused> {
        Self::read(DocumentKind::Root, signed)
    }

    /// Everything that [`TrustedRoot::advance`] checks; the signatures were verified.
    pub fn follow(&self, held: &TrustedRoot) -> Result<TrustedRoot, Refused> {
        held.advance_signed_by(&self.signed, &self.by)
    }

    /// The root that took this one's place in a chain, where this one follows a root of that chain too: two admins
    /// amended one root at the same time, which is no alarm.
    pub fn overtaken_by<'a>(&self, chain: impl Iterator<Item = &'a TrustedRoot> + Clone) -> Option<&'a TrustedRoot> {
        let version = self.document.version;
        let before = chain.clone().find(|root| root.root().version.checked_add(1) == Some(version))?;
        let mut winners = chain.filter(|root| root.root().version == version);
        let winner = winners.find(|root| root.digest() != self.signed.digest())?;
        self.follow(before).is_ok().then_some(winner)
    }
}

impl Draft<Roster> {
    /// Reads a roster that may lack signatures.
    pub fn roster(signed: Signed) -> Result<Self, Refused> {
        Self::read(DocumentKind::Roster, signed)
    }
}

impl Draft<Admission> {
    /// Reads an admission that may lack signatures.
    pub fn admission(signed: Signed) -> Result<Self, Refused> {
        Self::read(DocumentKind::Admission, signed)
    }
}
