//! What says who belongs to the fleet, on its way from signer to signer: a roster or an admission.
//!
//! Where the root demands several keys, the first signer writes the document to a file, the others sign it on their own
//! machines, and the last one hands it in.

use std::path::Path;

use hostler_plan::{
    document::{Admission, DocumentKind, MAX_SIGNATURES, Roster, Signed},
    refusal::{Refusal, Refused},
    show,
    timestamp::Timestamp,
    trust::{self, Draft, Duty, Purpose, SignedBy, Verified, counted},
};

use crate::{
    Admin, error::Error, file::read_document, key::SigningKey, root::Count, roster, token, trust_store::TrustStore,
};

/// A roster or an admission that may lack signatures.
#[derive(Debug, Clone)]
pub enum Membership {
    Roster(Draft<Roster>),
    Admission(Draft<Admission>),
}

impl Membership {
    /// Reads a file with the signatures beside it; `kind` is what it says that it is, an admission or a roster.
    pub fn read(kind: DocumentKind, path: &Path) -> Result<Self, Error> {
        let signed = read_document(kind, path)?;
        Ok(match kind == DocumentKind::Admission {
            true => Self::Admission(Draft::admission(signed)?),
            false => Self::Roster(Draft::roster(signed)?),
        })
    }

    /// For people: `roster 7`, `token 3f1c9a0b7d2e4455`.
    pub fn name(&self) -> String {
        match self {
            Self::Roster(draft) => format!("roster {}", draft.document().version),
            Self::Admission(draft) => format!("token {}", draft.document().token),
        }
    }

    fn kind(&self) -> DocumentKind {
        match self {
            Self::Roster(_) => DocumentKind::Roster,
            Self::Admission(_) => DocumentKind::Admission,
        }
    }

    fn duty(&self) -> Duty {
        match self {
            Self::Roster(_) => Duty::Roster,
            Self::Admission(_) => Duty::Admission,
        }
    }

    /// Its exact bytes with the signatures that it has.
    pub fn signed(&self) -> &Signed {
        match self {
            Self::Roster(draft) => draft.signed(),
            Self::Admission(draft) => draft.signed(),
        }
    }

    fn signed_by(&self) -> &SignedBy {
        match self {
            Self::Roster(draft) => draft.signed_by(),
            Self::Admission(draft) => draft.signed_by(),
        }
    }

    /// The root that it was made under.
    pub fn root_version(&self) -> u64 {
        match self {
            Self::Roster(draft) => draft.document().root_version,
            Self::Admission(draft) => draft.document().root_version,
        }
    }

    /// Everything that it says, beside what holds now.
    pub fn summary(&self, store: &TrustStore) -> String {
        match self {
            Self::Roster(draft) => {
                let held = store.roster().or(store.lapsed()).map(Verified::document);
                show::roster(held, draft.document(), &draft.signed().digest())
            }
            Self::Admission(draft) => show::admission(draft.document(), &draft.signed().digest()),
        }
    }

    /// The signers whose keys count for it, and how many must.
    pub fn signing(&self, store: &TrustStore) -> Count {
        let (root, duty) = (store.root(), self.duty());
        let by = counted(root, duty, self.signed_by()).into_iter().map(|s| s.name.clone()).collect();
        Count { by, needed: duty.needed(root) }
    }

    /// Signs it and gives the armour, after everything but the number of signatures was checked as the coordinator and
    /// every node will.
    pub fn sign(&mut self, store: &TrustStore, signer: &SigningKey, now: Timestamp) -> Result<String, Error> {
        let own = signer.public_key().fingerprint();
        let (name, signatures) = (self.name(), self.signed().signatures.len());
        if self.signed_by().keys().contains(&own) {
            return Err(Error::Usage(format!(
                "{name} is signed with {own} already, and every key counts once; have another person sign it, or \
                 submit it"
            )));
        }
        if signatures >= MAX_SIGNATURES {
            return Err(Error::Usage(format!("{name} has {MAX_SIGNATURES} signatures already; submit it")));
        }
        self.check_follows(store)?;
        trust::check_signer(store.root(), self.duty(), &own)?;
        let armour = signer.sign(self.kind(), &self.signed().bytes)?;
        match self {
            Self::Roster(draft) => draft.add(armour.clone())?,
            Self::Admission(draft) => draft.add(armour.clone())?,
        }
        match self.check(store, now) {
            // Others are to sign too.
            Err(refused) if refused.refusal == Refusal::Threshold => Ok(armour),
            Err(refused) => Err(refused.into()),
            Ok(()) => Ok(armour),
        }
    }

    fn check(&self, store: &TrustStore, now: Timestamp) -> Result<(), Refused> {
        let (root, purpose) = (store.trusted(), Purpose::Submitting(now));
        match self {
            Self::Roster(draft) => {
                trust::roster(root, store.roster().or(store.lapsed()), draft.signed(), purpose).map(drop)
            }
            Self::Admission(draft) => trust::admission(root, draft.signed(), purpose).map(drop),
        }
    }

    /// Whether a roster was made from the one that is held: what was signed in between would be lost otherwise.
    fn check_follows(&self, store: &TrustStore) -> Result<(), Error> {
        let Self::Roster(draft) = self else { return Ok(()) };
        let (next, head) = (draft.document(), store.roster().or(store.lapsed()));
        let same_epoch = head.filter(|r| r.document().epoch == next.epoch);
        let digest = same_epoch.map(Verified::digest);
        if digest == next.prev || digest.is_some_and(|held| next.also.contains(&held)) {
            return Ok(());
        }
        // Made from a roster that nobody here has seen, or from one that was followed by another one meanwhile.
        let refusal = match same_epoch {
            Some(held) if held.document().version >= next.version => Refusal::Overtaken,
            Some(_) | None => Refusal::Replay,
        };
        let found = next.prev.map_or_else(|| "none".to_owned(), |p| p.to_string());
        let expected =
            same_epoch.map_or_else(|| "none".to_owned(), |r| format!("{} ({})", r.document().version, r.digest()));
        Err(Refused::new(
            refusal,
            format!(
                "roster {}: expected it to follow roster {expected}, found it follows {found}; another one came in \
                 between: make it anew",
                next.version
            ),
        )
        .into())
    }

    /// Hands it in, signed by enough keys. False when the coordinator had it before.
    pub async fn submit(&self, admin: &mut Admin, now: Timestamp) -> Result<bool, Error> {
        match self {
            Self::Roster(draft) => {
                if admin.trust_store().roster().is_some_and(|held| held.digest() == draft.signed().digest()) {
                    return Ok(false);
                }
                self.check_follows(admin.trust_store())?;
                roster::hand_in(admin, draft.signed(), now).await
            }
            Self::Admission(draft) => token::hand_in(admin, draft.signed(), now).await,
        }
    }
}
