//! Every file of an admin's profile, damaged at many places and lost: the command says so, or holds what it held.

use std::cell::RefCell;

use hostler_daemon::durable::end::EndOfDisk;
use hostler_fixtures::{
    self as made,
    damage::{self, Folder, Verdict},
    key, public, signed, signer,
};
use hostler_plan::{
    document::{DocumentKind, Plan, PlanKind, Root, Roster, Signed, SignerRole},
    id::{Digest, NodeName},
    ledger::Head,
    step::ClusterRole,
    timestamp::Timestamp,
};

use hostler_proto::v1::TrustChain;
use ssh_key::LineEnding;

use super::*;
use crate::{
    hand_in::HandIn,
    head::SeenHead,
    key::{KeySource, SigningKey},
    plan::{number, reserved},
    profile::{Flags, Profile},
    rescue::Rescue,
    session::SessionKey,
    trust_store::TrustStore,
};

/// Everything that may lie there but for what a person puts there.
const FILES: &[&str] = &[
    "config.toml",
    "trust/floor.json",
    "trust/floor.copy.json",
    "trust/highest-plan.json",
    "trust/ledger.json",
    "trust/root-*.json",
    "trust/root-*.json.sig",
    "trust/roster-*.json",
    "trust/roster-*.json.sig",
    "trust/reserved/*.plan.json",
    "trust/reserved/*.plan.json.sig",
    "roots/*.root.json",
    "roots/*.root.json.sig",
    "session/key",
    "session/pass.json",
    "session/pass.json.sig",
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
    /// What was handed in, and the newest plan that was shown: nothing else tells of them.
    sent: Sent,
    shown: Option<(Epoch, PlanRef)>,
}

fn held(home: &Path) -> Result<Held, Error> {
    let flags = Flags { home: Some(home.to_owned()), ..Flags::default() };
    // What a person wrote in there is seen where it is used: nothing is believed of whoever answers at an address.
    Profile::load(flags, &[])?;
    gather(&TrustStore::require(home)?)
}

fn gather(store: &TrustStore) -> Result<Held, Error> {
    Ok(Held {
        first: store.first_root(),
        root: store.trusted().digest(),
        roster: store.roster().map(|roster| roster.digest()),
        seen: SeenHead::load(store.folder())?,
        newest: format!("{:?}", number::recall(&number::path(store))?),
        reserved: reserved::all(store, now())?.iter().map(|kept| (kept.plan().seq, kept.digest())).collect(),
        sent: Floor::load(store.folder()).sent,
        shown: Floor::load(store.folder()).newest,
    })
}

/// A profile at work: two roots, a roster, a ledger that was seen, a plan that was submitted and one that waits.
struct Work {
    home: tempfile::TempDir,
    older: tempfile::TempDir,
    /// All that a coordinator shows.
    chain: TrustChain,
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
        let chain = |roots: Vec<Signed>, roster: Signed| TrustChain {
            roots: roots.into_iter().map(Into::into).collect(),
            roster: Some(roster.into()),
        };
        store.follow(chain(vec![], document(&roster))).unwrap();
        let seen =
            |next_index| SeenHead { head: Head { next_index, hash: Digest::of(b"a line") }, other: None, at: None };
        seen(3).keep(&folder).unwrap();
        number::keep_newest(&number::path(&store), Epoch(1), Seq(4), Digest::of(b"4")).unwrap();
        SessionKey::make(&store, &anna(), now()).unwrap();
        store.see_plan(&signed(DocumentKind::Plan, &made::plan(&roster, now(), 4), &[&key(1)])).unwrap();
        damage::copy(home.path(), older.path());
        let second = sign(&Root { version: 2, ..root });
        let next = Roster { version: 2, root_version: 2, prev: Some(document(&roster).digest()), ..roster };
        let chain = chain(vec![second], document(&next));
        store.follow(chain.clone()).unwrap();
        seen(9).keep(&folder).unwrap();
        number::keep_newest(&number::path(&store), Epoch(1), Seq(5), Digest::of(b"5")).unwrap();
        let waits = made::plan(&next, now(), 6);
        reserved::reserve(&store, &signed(DocumentKind::Plan, &waits, &[&key(1)])).unwrap();
        let last = signed(DocumentKind::Plan, &made::plan(&next, now(), 5), &[&key(1)]);
        store.see_plan(&last).unwrap();
        let hand_in = |document: HandIn| document.keep(&folder).unwrap();
        hand_in(HandIn::Plan(Epoch(1), PlanRef { seq: Seq(5), digest: last.digest() }));
        hand_in(HandIn::Roster(Epoch(1), DocumentRef { version: 3, digest: Digest::of(b"roster 3") }));
        let decision = DocumentRef { version: 4, digest: Digest::of(b"decision 4") };
        let decision = SentDecision { epoch: Epoch(1), key: public(&key(2)).fingerprint(), decision };
        hand_in(HandIn::Decision(NodeName::new("a").unwrap(), decision));
        hand_in(HandIn::Root(DocumentRef { version: 3, digest: Digest::of(b"root 3") }));
        SessionKey::make(&store, &anna(), now()).unwrap();
        Self { home, older, chain }
    }
}

#[test]
fn damage_at_any_place_of_a_profile_is_found_with_the_way_out_or_does_no_harm() {
    let work = Work::new();
    let whole = held(work.home.path()).unwrap();
    assert_eq!((whole.reserved.len(), whole.seen.unwrap().head.next_index), (1, 9));
    let before = held(work.older.path()).unwrap();
    let folder = Folder { name: "profile", image: work.home.path(), older: work.older.path(), known: FILES };
    damage::play(&folder, |home| match held(home).inspect(|_| logs_in(&TrustStore::require(home).unwrap())) {
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

fn anna() -> SigningKey {
    SigningKey::from_private_key(key(1))
}

/// The same key, as the command finds it: it asks the profile what may be signed.
fn anna_of(home: &Path) -> SigningKey {
    let folder = damage::scratch();
    let path = folder.path().join("anna");
    crate::file::write_whole(&path, key(1).to_openssh(LineEnding::LF).unwrap().as_bytes(), true).unwrap();
    let source = KeySource { path: Some(path), held: Some(home.join("trust")), ..KeySource::default() };
    SigningKey::find(&source, &[]).unwrap()
}

fn plan_of(store: &TrustStore, kind: PlanKind) -> Vec<u8> {
    let plan = made::plan(store.roster().unwrap().document(), now(), 7);
    json::write(&Plan { kind, ..plan })
}

/// Whatever the session's files are, the command logs in: with the key that is kept, or with one more signature.
fn logs_in(store: &TrustStore) {
    if SessionKey::held(store, &anna(), now()).is_none() {
        SessionKey::make(store, &anna(), now()).unwrap();
        assert!(SessionKey::held(store, &anna(), now()).is_some(), "one is kept for the next command");
    }
}

/// Somebody on call stops, drains and uncordons with whatever is left of a profile, as long as the first root is.
#[test]
fn damage_at_any_place_of_a_profile_but_its_first_root_lets_a_rescue_go_on_loudly() {
    let work = Work::new();
    let whole = held(work.home.path()).unwrap();
    let folder = Folder { name: "rescue", image: work.home.path(), older: work.older.path(), known: FILES };
    let lost = RefCell::new(Vec::new());
    damage::play(&folder, |home| {
        let broken = held(home).err();
        let rescue = Rescue::begin();
        let flags = Flags { home: Some(home.to_owned()), ..Flags::default() };
        Profile::load_for(flags, &[], &rescue).unwrap();
        let mut store = match TrustStore::require_for(home, &rescue) {
            Ok(store) => store,
            Err(error) => {
                lost.borrow_mut().push(error.to_string());
                return Ok(Verdict::Refused(error.to_string()));
            }
        };
        // What a coordinator shows, it proves.
        store.follow(work.chain.clone()).unwrap();
        store.require_all().unwrap();
        if (store.trusted().digest(), store.roster().map(|r| r.digest())) != (whole.root, whole.roster) {
            return Err("it holds another root or roster".to_owned());
        }
        for kind in PlanKind::ALL {
            let signed = anna_of(home).sign(DocumentKind::Plan, &plan_of(&store, kind));
            let expected = kind.takes_out_of_danger() || SeenHead::load(store.folder()).is_ok();
            assert_eq!(signed.is_ok(), expected, "{kind}");
        }
        rescue.pass_over(SeenHead::load(store.folder())).unwrap();
        rescue.pass_over(number::recall(&number::path(&store))).unwrap();
        let highest = reserved::numbers(&store).unwrap().into_iter().max();
        reserved::all(&store, now()).unwrap();
        logs_in(&store);
        let said = rescue.as_json();
        match broken {
            None => Ok(Verdict::Harmless),
            // A number that a plan has is never given to another one, readable or not.
            Some(error) if error.to_string().contains("reserved") && highest != Some(Seq(6)) => {
                Err(format!("it forgot the number of the plan that waits: {error}"))
            }
            Some(error) if said.as_array().is_some_and(|said| said.is_empty()) => Err(format!("not said: {error}")),
            Some(_) => Ok(Verdict::Harmless),
        }
    });
    let lost = lost.into_inner();
    let is_first = |said: &String| said.contains("root-1.json") || said.contains("no trust root is held");
    assert!(!lost.is_empty() && lost.iter().all(is_first), "{lost:?}");
}

/// A head or a number of before is a floor as well, only a lower one: an older copy of a file, and nothing made up.
fn is_a_step_back(found: &Held, whole: &Held, before: &Held) -> bool {
    let back = |seen: bool, newest: bool| Held {
        seen: if seen { before.seen } else { whole.seen },
        newest: if newest { before.newest.clone() } else { whole.newest.clone() },
        reserved: whole.reserved.clone(),
        sent: whole.sent.clone(),
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
    FILE_NAMES.iter().for_each(|name| std::fs::remove_file(folder.join(name)).unwrap());
    assert_eq!(SeenHead::load(&folder).unwrap(), None);
}

#[test]
fn a_lost_root_is_no_first_run_and_a_lost_newest_one_no_older_fleet() {
    for (lost, expected) in
        [("root-1.json", "root 1"), ("root-2.json", "the roots up to 2"), ("roster-1-2.json", "roster 2")]
    {
        let work = Work::new();
        std::fs::remove_file(work.home.path().join("trust").join(lost)).unwrap();
        let error = TrustStore::load(work.home.path()).expect_err(lost);
        assert!(error.to_string().contains(expected) && error.word() == "damaged_state", "{error}");
    }
}

/// The roots, the roster and what is remembered of both.
#[test]
fn a_disk_that_ends_at_any_write_leaves_the_trust_of_before_or_the_next_one() {
    let work = Work::new();
    for writes in 0.. {
        let home = damage::scratch();
        damage::copy(work.older.path(), home.path());
        let end = EndOfDisk::after(home.path(), writes);
        let followed = TrustStore::require(home.path()).unwrap().follow(work.chain.clone());
        let failed = end.has_failed();
        drop(end);
        let mut store = TrustStore::require(home.path()).unwrap();
        let number = |store: &TrustStore| (store.root().version, store.roster().unwrap().document().version);
        assert!([(1, 1), (2, 1), (2, 2)].contains(&number(&store)), "{writes}: {:?}", number(&store));
        store.follow(work.chain.clone()).unwrap();
        assert_eq!(number(&TrustStore::require(home.path()).unwrap()), (2, 2), "{writes}");
        if !failed {
            followed.unwrap();
            println!("ended at each of {writes} writes");
            assert!(writes >= 12, "expected more writes than {writes}");
            return;
        }
    }
}

/// The newest root or roster is lost, and whoever holds the coordinator shows the one before.
#[test]
fn a_rescue_takes_no_older_root_or_roster_than_was_held() {
    for lost in ["root-2.json", "roster-1-2.json"] {
        let work = Work::new();
        std::fs::remove_file(work.home.path().join("trust").join(lost)).unwrap();
        let mut store = TrustStore::require_for(work.home.path(), &Rescue::begin()).unwrap();
        store.follow(TrustChain { roots: Vec::new(), roster: None }).unwrap();
        let said = store.require_all().expect_err(lost).to_string();
        assert!(said.contains(lost), "{said}");
    }
}

#[test]
fn of_two_commands_at_once_on_one_profile_none_takes_back_what_the_other_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let keep = |numbers: std::ops::Range<u64>| {
        for seq in numbers {
            let insert = |floor: &mut Floor| floor.reserved.extend([Seq(seq)]);
            Floor::change(folder.path(), insert).unwrap();
        }
    };
    std::thread::scope(|both| {
        both.spawn(|| keep(0..40));
        both.spawn(|| keep(100..140));
    });
    assert_eq!(Floor::load(folder.path()).reserved.len(), 80);
}
