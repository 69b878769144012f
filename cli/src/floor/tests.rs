//! Every file of an admin's profile, damaged at many places and lost: the command says so, or holds what it held.

use hostler_fixtures::{
    self as made,
    damage::{self, Folder, Verdict},
    key, public, signed, signer,
};
use hostler_plan::{
    document::{DocumentKind, Root, Roster, Signed, SignerRole},
    id::Digest,
    ledger::Head,
    step::ClusterRole,
    timestamp::Timestamp,
};

use super::*;
use crate::{
    head::SeenHead,
    plan::{number, reserved},
    profile::{Flags, Profile},
    trust_store::TrustStore,
};

/// Everything that may lie there but for what a person puts there.
const FILES: &[&str] = &[
    "config.toml",
    "trust/floor.json",
    "trust/highest-plan.json",
    "trust/ledger.json",
    "trust/root-*.json",
    "trust/root-*.json.sig",
    "trust/roster.json",
    "trust/roster.json.sig",
    "trust/reserved/*.plan.json",
    "trust/reserved/*.plan.json.sig",
];

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000)
}

/// What the command goes by.
#[derive(Debug, PartialEq)]
struct Held {
    first: Digest,
    root: Digest,
    roster: Option<Digest>,
    seen: Option<SeenHead>,
    newest: String,
    reserved: Vec<(Seq, Digest)>,
}

fn held(home: &Path) -> Result<Held, Error> {
    let flags = Flags { home: Some(home.to_owned()), ..Flags::default() };
    // What a person wrote in there is seen where it is used: nothing is believed of whoever answers at an address.
    Profile::load(flags, &[])?;
    let store = TrustStore::require(home)?;
    Ok(Held {
        first: store.first_root(),
        root: store.trusted().digest(),
        roster: store.roster().map(|roster| roster.digest()),
        seen: SeenHead::load(store.folder())?,
        newest: format!("{:?}", number::recall(&number::path(&store))?),
        reserved: reserved::all(&store, now())?.iter().map(|kept| (kept.plan().seq, kept.digest())).collect(),
    })
}

/// A profile at work: two roots, a roster, a ledger that was seen, a plan that was submitted and one that waits.
struct Work {
    home: tempfile::TempDir,
    older: tempfile::TempDir,
}

impl Work {
    fn new() -> Self {
        let (home, older) = (damage::scratch(), damage::scratch());
        let folder = home.path().join("trust");
        let flags =
            Flags { home: Some(home.path().to_owned()), coordinator: Some("c:7445".to_owned()), ..Flags::default() };
        Profile::load(flags, &[]).unwrap().remember().unwrap();
        let root = made::root(now(), vec![signer("anna", public(&key(1)), SignerRole::Admin)]);
        let sign = |root: &Root| signed(DocumentKind::Root, root, &[&key(1)]);
        let first = sign(&root);
        let mut store = TrustStore::begin(home.path(), &first, &first.digest()).unwrap();
        let roster = made::roster(&root, now(), vec![made::node("a", public(&key(2)), ClusterRole::Worker)]);
        let document = |roster: &Roster| signed(DocumentKind::Roster, roster, &[&key(1)]);
        let chain = |roots: Vec<Signed>, roster: Signed| hostler_proto::v1::TrustChain {
            roots: roots.into_iter().map(Into::into).collect(),
            roster: Some(roster.into()),
        };
        store.follow(chain(vec![], document(&roster))).unwrap();
        let seen = |next_index| SeenHead { head: Head { next_index, hash: Digest::of(b"a line") }, other: None };
        seen(3).keep(&folder).unwrap();
        number::keep_newest(&number::path(&store), Epoch(1), Seq(4), Digest::of(b"4")).unwrap();
        damage::copy(home.path(), older.path());
        let second = sign(&Root { version: 2, ..root });
        let next = Roster { version: 2, root_version: 2, prev: Some(document(&roster).digest()), ..roster };
        store.follow(chain(vec![second], document(&next))).unwrap();
        seen(9).keep(&folder).unwrap();
        number::keep_newest(&number::path(&store), Epoch(1), Seq(5), Digest::of(b"5")).unwrap();
        let waits = made::plan(&next, now(), 6);
        reserved::reserve(&store, &signed(DocumentKind::Plan, &waits, &[&key(1)])).unwrap();
        Self { home, older }
    }
}

#[test]
fn damage_at_any_place_of_a_profile_is_found_with_the_way_out_or_does_no_harm() {
    let work = Work::new();
    let whole = held(work.home.path()).unwrap();
    assert_eq!((whole.reserved.len(), whole.seen.unwrap().head.next_index), (1, 9));
    let before = held(work.older.path()).unwrap();
    let folder = Folder { name: "profile", image: work.home.path(), older: work.older.path(), known: FILES };
    damage::play(&folder, |home| match held(home) {
        Ok(found) if found == whole => Ok(Verdict::Harmless),
        // The coordinator shows what came since, by chain and by proof; what one file forgets, the others do not.
        Ok(found) if found == before => Ok(Verdict::Harmless),
        Ok(found)
            if (found.seen, &found.newest) != (whole.seen, &whole.newest)
                && is_a_step_back(&found, &whole, &before) =>
        {
            Ok(Verdict::Harmless)
        }
        Ok(found) => Err(format!("expected {whole:?}\nfound {found:?}")),
        Err(error) => Ok(Verdict::Refused(error.to_string())),
    });
}

/// A head or a number of before is a floor as well, only a lower one: an older copy of a file, and nothing made up.
fn is_a_step_back(found: &Held, whole: &Held, before: &Held) -> bool {
    let back = |seen: bool, newest: bool| Held {
        seen: if seen { before.seen } else { whole.seen },
        newest: if newest { before.newest.clone() } else { whole.newest.clone() },
        reserved: whole.reserved.clone(),
        ..*whole
    };
    [(true, false), (false, true), (true, true)].into_iter().any(|(seen, newest)| back(seen, newest) == *found)
}

#[test]
fn a_lost_head_says_so_and_is_no_first_contact() {
    let work = Work::new();
    let folder = work.home.path().join("trust");
    std::fs::remove_file(folder.join("ledger.json")).unwrap();
    let said = SeenHead::load(&folder).unwrap_err().to_string();
    assert!(
        said.contains("ledger.json") && said.contains("found none") && said.contains("hostler ledger verify"),
        "{said}"
    );
    // A person compared, and takes note.
    std::fs::remove_file(folder.join(FILE_NAME)).unwrap();
    assert_eq!(SeenHead::load(&folder).unwrap(), None);
}

#[test]
fn a_lost_root_is_no_first_run_and_a_lost_newest_one_no_older_fleet() {
    for (lost, expected) in
        [("root-1.json", "root 1"), ("root-2.json", "the roots up to 2"), ("roster.json", "roster 2")]
    {
        let work = Work::new();
        std::fs::remove_file(work.home.path().join("trust").join(lost)).unwrap();
        let error = TrustStore::load(work.home.path()).expect_err(lost);
        assert!(error.to_string().contains(expected) && error.word() == "damaged_state", "{error}");
    }
}
