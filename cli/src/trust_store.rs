//! What this machine holds as proved: the chain of roots from the first, and the newest roster.
//!
//! The command is a verifier as a node is. It begins with a root that the admin made or imported by digest, follows
//! newer ones only by chain, and never takes an older roster than the one it holds.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use hostler_plan::{
    document::{DocumentKind, MAX_ROOT_HOPS, PlanKind, PlanRef, Root, Roster, Signed},
    id::{Digest, Epoch, Fingerprint, Seq},
    planner::OpenPlan,
    refusal::{Refusal, Refused},
    trust::{self, Purpose, TrustedRoot, Verified, check_jump},
};
use hostler_proto::v1::TrustChain;

use crate::{
    error::Error,
    file::{read_document, remove_document, signature_path, write_document},
    floor::{self, Floor, way_out},
    rescue::Rescue,
};

/// The held trust of one fleet, in `HOME/trust`.
#[derive(Debug, Clone)]
pub struct TrustStore {
    folder: PathBuf,
    first: Digest,
    root: TrustedRoot,
    /// The roots before it.
    earlier: Vec<TrustedRoot>,
    roster: Option<Verified<Roster>>,
    /// The newest roster that counted once and does not under the newest root.
    lapsed: Option<Verified<Roster>>,
    rescue: Rescue,
}

impl TrustStore {
    /// Reads and verifies what is held; none on a machine that has not begun.
    pub fn load(home: &Path) -> Result<Option<Self>, Error> {
        Self::load_for(home, &Rescue::default())
    }

    /// The same, where a rescue passes over what a coordinator can show again with proof: all but the first root.
    fn load_for(home: &Path, rescue: &Rescue) -> Result<Option<Self>, Error> {
        let folder = home.join("trust");
        let lost = |path: &Path, expected: &str, found: &str| floor::lost(path, expected, found, &way_out(&folder));
        let read = |kind: DocumentKind, path: &Path| {
            read_document(kind, path).map_err(|e| lost(path, &format!("a {}", kind.noun()), &format!("none ({e})")))
        };
        let damaged = |path: &Path, e: Refused| {
            let beside = signature_path(path, 1);
            lost(path, &format!("with {} what was verified before", beside.display()), &e.reason)
        };
        let path = root_path(&folder, 1);
        if !path.exists() {
            return if has_begun(&folder) {
                Err(lost(&path, "root 1", "none beside what followed it"))
            } else {
                Ok(None)
            };
        }
        let signed = read(DocumentKind::Root, &path)?;
        let first = signed.digest();
        let root = TrustedRoot::first(&signed, &first).map_err(|e| damaged(&path, e))?;
        let mut store = Self {
            folder: folder.clone(),
            first,
            root,
            earlier: Vec::new(),
            roster: None,
            lapsed: None,
            rescue: rescue.clone(),
        };
        for version in 2..=MAX_ROOT_HOPS as u64 {
            let path = root_path(&folder, version);
            if !path.exists() {
                break;
            }
            let next = read(DocumentKind::Root, &path)
                .and_then(|signed| store.root.advance(&signed).map_err(|e| damaged(&path, e)));
            let Some(next) = rescue.pass_over(next)? else { break };
            store.advance(next);
        }
        let floor = Floor::load(&folder);
        rescue.pass_over(store.require_roots(&floor))?;
        if let Some((_, path)) = store.roster_files().into_iter().next_back() {
            let taken = read(DocumentKind::Roster, &path)
                .and_then(|signed| store.take_roster(&signed).map_err(|e| damaged(&path, e)));
            rescue.pass_over(taken)?;
        }
        rescue.pass_over(store.require_newest_roster(&floor))?;
        Ok(Some(store))
    }

    /// Whether everything is there that was held once: after a rescue began with less, the coordinator must have shown
    /// the rest.
    pub(crate) fn require_all(&self) -> Result<(), Error> {
        let floor = Floor::load(&self.folder);
        self.require_roots(&floor)?;
        self.require_newest_roster(&floor)
    }

    fn require_roots(&self, floor: &Floor) -> Result<(), Error> {
        let version = self.root().version;
        if version >= floor.root {
            return Ok(());
        }
        let (expected, found) = (format!("the roots up to {}", floor.root), format!("those up to {version}"));
        Err(floor::lost(&root_path(&self.folder, version + 1), &expected, &found, &way_out(&self.folder)))
    }

    fn require_newest_roster(&self, floor: &Floor) -> Result<(), Error> {
        let Some((epoch, version)) = floor.roster.filter(|_| self.roster_number() < floor.roster) else {
            return Ok(());
        };
        let found = self.roster_number().map_or("none".to_owned(), |(epoch, v)| format!("{v} of epoch {epoch}"));
        let expected = format!("roster {version} of epoch {epoch} or newer");
        Err(floor::lost(&roster_path(&self.folder, (epoch, version)), &expected, &found, &way_out(&self.folder)))
    }

    /// What is held, or an error that says how to begin.
    pub fn require(home: &Path) -> Result<Self, Error> {
        Self::require_for(home, &Rescue::default())
    }

    /// The same for a rescue, which says what is damaged and goes on with what is proved.
    pub fn require_for(home: &Path, rescue: &Rescue) -> Result<Self, Error> {
        Self::load_for(home, rescue)?.ok_or_else(|| {
            Error::Usage(format!(
                "no trust root is held in {}; make one with `hostler trust init`, or take over a fleet's first root \
                 with `hostler trust import FILE --digest sha256:…`",
                home.display()
            ))
        })
    }

    /// Begins with a first root whose digest is known from elsewhere, and keeps it.
    pub fn begin(home: &Path, first: &Signed, expected: &Digest) -> Result<Self, Error> {
        let store = Self::in_memory(home, first, expected)?;
        write_document(&root_path(&store.folder, 1), first)?;
        store.remember()?;
        Ok(store)
    }

    /// As [`TrustStore::begin`], and nothing is written.
    pub(crate) fn in_memory(home: &Path, first: &Signed, expected: &Digest) -> Result<Self, Error> {
        let folder = home.join("trust");
        let root = TrustedRoot::first(first, expected)?;
        if root.root().version != 1 {
            return Err(Refused::new(
                Refusal::RootChain,
                format!("expected root 1, found root {}; import the fleet's first root", root.root().version),
            )
            .into());
        }
        let (first, rescue) = (first.digest(), Rescue::default());
        Ok(Self { folder, first, root, earlier: Vec::new(), roster: None, lapsed: None, rescue })
    }

    /// Follows newer roots by chain and takes a newer roster, and keeps both. A refusal changes nothing that is held.
    pub fn follow(&mut self, chain: TrustChain) -> Result<(), Error> {
        if chain.roots.len() > MAX_ROOT_HOPS {
            let found = chain.roots.len();
            let reason =
                format!("expected at most {MAX_ROOT_HOPS} roots in one answer, found {found}; ask another coordinator");
            return Err(Refused::new(Refusal::Malformed, reason).into());
        }
        let mut next = self.clone();
        for root in chain.roots {
            let root = Signed::from(root);
            let advanced = next.root.advance(&root)?;
            next.keep_root(advanced)?;
        }
        // Each new root is kept as proved even where the roster behind it is refused.
        self.clone_from(&next);
        if let Some(roster) = chain.roster.map(Signed::from)
            && next.take_roster(&roster)?
        {
            *self = next;
            self.write_roster(&roster)?;
        }
        Ok(())
    }

    /// Keeps the newest plan that a coordinator shows, if it counts under the newest root and nodes that hold what is
    /// known here follow its number. Where it does not, this changes nothing; whoever makes a plan says why.
    pub(crate) fn see_plan(&self, newest: &Signed) -> Result<(), Error> {
        let (root, digest) = (self.root(), newest.digest());
        let seen = Floor::load(&self.folder).newest.filter(|(epoch, _)| *epoch == root.epoch).map(|(_, plan)| plan);
        if seen.is_some_and(|seen| seen.digest == digest) {
            return Ok(());
        }
        let Ok((_, plan)) = OpenPlan::verify(&self.root, &digest, newest) else { return Ok(()) };
        let (held, roster) = (seen.map_or(Seq(0), |seen| seen.seq), self.roster().map(Verified::document));
        if plan.epoch != root.epoch || plan.seq <= held || check_jump(root.epoch, held, roster, plan.seq).is_err() {
            return Ok(());
        }
        let kept = Floor::change(&self.folder, |floor| {
            if floor.newest.is_none_or(|(epoch, held)| (epoch, held.seq) < (root.epoch, plan.seq)) {
                floor.newest = Some((root.epoch, PlanRef { seq: plan.seq, digest }));
            }
        });
        self.rescue.pass_over(kept).map(drop)
    }

    /// Keeps a root that was verified against the newest one.
    pub(crate) fn keep_root(&mut self, next: TrustedRoot) -> Result<(), Error> {
        if next == self.root {
            return Ok(());
        }
        let written = write_document(&root_path(&self.folder, next.root().version), next.signed());
        self.rescue.pass_over(written)?;
        self.advance(next);
        self.remember()
    }

    /// Keeps a roster that was verified against the newest root and the roster before it.
    pub(crate) fn keep_roster(&mut self, next: Verified<Roster>) -> Result<(), Error> {
        let signed = next.signed().clone();
        (self.roster, self.lapsed) = (Some(next), None);
        self.write_roster(&signed)
    }

    /// Writes the newest roster under a name of its own, and removes those before it: with its signatures it is there
    /// or not, and one before it until then.
    fn write_roster(&self, signed: &Signed) -> Result<(), Error> {
        let Some(number) = self.roster_number() else { return Ok(()) };
        let place = roster_path(&self.folder, number);
        self.rescue.pass_over(write_document(&place, signed))?;
        self.remember()?;
        let mut earlier = self.roster_files().into_iter().filter(|(other, _)| *other < number);
        earlier.try_for_each(|(_, path)| self.rescue.pass_over(remove_document(&path)).map(drop))
    }

    /// That this is held: from then on less is a loss.
    fn remember(&self) -> Result<(), Error> {
        let (root, roster) = (self.root().version, self.roster_number());
        let kept = Floor::change(&self.folder, |floor| {
            (floor.root, floor.roster) = (floor.root.max(root), floor.roster.max(roster));
        });
        self.rescue.pass_over(kept).map(drop)
    }

    /// Epoch and version of the newest roster, whether it counts or not; none before the first.
    fn roster_number(&self) -> Option<(Epoch, u64)> {
        let newest = self.roster.as_ref().or(self.lapsed.as_ref()).map(Verified::document);
        newest.map(|roster| (roster.epoch, roster.version))
    }

    /// Every roster that lies there, by its number: one, or one more while it is replaced.
    fn roster_files(&self) -> BTreeMap<(Epoch, u64), PathBuf> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        files.filter_map(|file| Some((roster_name(file.file_name().to_str()?)?, file.path()))).collect()
    }

    /// Whether it goes on where the profile is damaged.
    pub fn rescue(&self) -> &Rescue {
        &self.rescue
    }

    /// Takes the next root of the chain. The roster may count no more under it: its signers went, or a new epoch began.
    fn advance(&mut self, root: TrustedRoot) {
        self.earlier.push(std::mem::replace(&mut self.root, root));
        if let Some(roster) = self.roster.take() {
            match trust::roster(&self.root, None, roster.signed(), Purpose::Begun) {
                Ok(counts) => self.roster = Some(counts),
                Err(_) => self.lapsed = Some(roster),
            }
        }
    }

    /// Takes a roster that is newer than the one known. One that counted under an earlier root and does not under the
    /// newest is kept as lapsed, so that an admin can sign it again. True when it was not known before.
    fn take_roster(&mut self, signed: &Signed) -> Result<bool, Refused> {
        let known = self.roster.clone().or_else(|| self.lapsed.clone());
        if known.as_ref().is_some_and(|k| k.digest() == signed.digest()) {
            return Ok(false);
        }
        let verify = |root| trust::roster(root, known.as_ref(), signed, Purpose::Begun);
        match verify(&self.root) {
            Ok(counts) => (self.roster, self.lapsed) = (Some(counts), None),
            Err(refused) => match self.earlier.iter().rev().find_map(|root| verify(root).ok()) {
                Some(lapsed) if self.roster.is_none() => self.lapsed = Some(lapsed),
                Some(_) | None => return Err(refused),
            },
        }
        Ok(true)
    }

    /// The newest root.
    pub fn trusted(&self) -> &TrustedRoot {
        &self.root
    }

    /// The roots before it.
    pub(crate) fn earlier(&self) -> impl Iterator<Item = &TrustedRoot> + Clone {
        self.earlier.iter()
    }

    /// What the newest root says.
    pub fn root(&self) -> &Root {
        self.root.root()
    }

    /// The digest of root 1, by which another admin takes the fleet over.
    pub fn first_root(&self) -> Digest {
        self.first
    }

    /// The newest roster; none before the first is signed.
    pub fn roster(&self) -> Option<&Verified<Roster>> {
        self.roster.as_ref()
    }

    /// The newest roster that counted under an earlier root and does not under the newest: a new epoch began, or its
    /// signers' keys count no more. None while a roster counts.
    pub fn lapsed(&self) -> Option<&Verified<Roster>> {
        self.lapsed.as_ref()
    }

    /// The newest root's file.
    pub fn newest_root_file(&self) -> PathBuf {
        root_path(&self.folder, self.root().version)
    }

    /// The newest roster, or an error that says how to get one.
    pub fn require_roster(&self) -> Result<&Verified<Roster>, Error> {
        self.roster.as_ref().ok_or_else(|| {
            if let Some(lapsed) = &self.lapsed {
                return Error::Failed(format!(
                    "roster {} does not count under root {} any more; an admin signs it again with `hostler submit {}`",
                    lapsed.document().version,
                    self.root().version,
                    self.newest_root_file().display()
                ));
            }
            Error::Failed(
                "the fleet has no roster yet: no node has enrolled; make a join string with `hostler token create` and \
                 start an agent with it"
                    .into(),
            )
        })
    }

    /// The roster that a plan of that kind is judged with: a stop waits for none to be signed again.
    pub(crate) fn require_roster_for(&self, kind: PlanKind) -> Result<&Verified<Roster>, Error> {
        match &self.lapsed {
            Some(lapsed) if kind == PlanKind::Stop && self.roster.is_none() => Ok(lapsed),
            Some(_) | None => self.require_roster(),
        }
    }

    /// The profile that it lies in.
    pub(crate) fn home(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// The folder of everything that is held.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The keys that may log in: every signer that is not revoked.
    pub fn counting_keys(&self) -> Vec<Fingerprint> {
        let root = self.root();
        root.signers.iter().map(|s| s.key.fingerprint()).filter(|k| !root.revoked.contains(k)).collect()
    }
}

/// Whether anything lies there that comes after a first root.
fn has_begun(folder: &Path) -> bool {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    // One of these is written before it, and waits for the coordinator.
    files.into_iter().any(|file| !file.file_name().to_string_lossy().contains("root-1.json"))
}

fn root_path(folder: &Path, version: u64) -> PathBuf {
    folder.join(format!("root-{version}.json"))
}

/// With its epoch and version in its name: another roster never takes its place.
fn roster_path(folder: &Path, (epoch, version): (Epoch, u64)) -> PathBuf {
    folder.join(format!("roster-{epoch}-{version}.json"))
}

/// The number in a roster's name.
fn roster_name(name: &str) -> Option<(Epoch, u64)> {
    let (epoch, version) = name.strip_prefix("roster-")?.strip_suffix(".json")?.split_once('-')?;
    Some((Epoch(epoch.parse().ok()?), version.parse().ok()?))
}
