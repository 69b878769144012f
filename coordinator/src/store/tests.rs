//! What is lost or damaged of the files on the disk is found with its place and the way out, or does no harm.

use std::{fs, path::Path};

use hostler_daemon::durable::end::EndOfDisk;
use hostler_plan::{entry::Entry, refusal::Refusal, timestamp::Timestamp};

use super::{
    copy::{CopyError, backup, restore},
    head::{self, HAD_ROOT},
    ledger::{FILE_NAME, Ledger, LedgerError, Opened},
    recover::recover,
};

const RECORDS: usize = 6;
/// Damages of each kind per file; `HOSTLER_DAMAGE_PLACES=20000 cargo test -p hostler-coordinator damage` tries more.
const PLACES: u64 = 200;

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000)
}

fn alarm(about: &str) -> Entry {
    Entry::Alarm { about: about.to_owned(), refusal: Refusal::Replay, reason: "to write something".to_owned() }
}

/// A folder with a ledger whose records were acknowledged, of a coordinator that had a root.
fn written() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path()).unwrap().ledger;
    for n in 0..RECORDS {
        ledger.append(now(), vec![alarm(&n.to_string())]).unwrap();
    }
    head::note_root(folder.path()).unwrap();
    folder
}

fn open(folder: &Path) -> Result<usize, LedgerError> {
    Ledger::open(folder).map(|opened| opened.records.len())
}

#[test]
fn a_ledger_that_lost_acknowledged_records_is_refused_wherever_it_was_cut() {
    let folder = written();
    let path = folder.path().join(FILE_NAME);
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let error = open(folder.path()).expect_err("records are missing");
        let lines = whole[..cut].iter().filter(|b| **b == b'\n').count();
        match error {
            LedgerError::Gone { .. } => assert_eq!(cut, 0),
            LedgerError::Short { found, had, .. } => {
                assert_eq!((found, had.next_index), (lines.saturating_sub(1) as u64, RECORDS as u64));
            }
            other @ (LedgerError::Damaged(_)
            | LedgerError::Read { .. }
            | LedgerError::Write { .. }
            | LedgerError::Other { .. }
            | LedgerError::Broken { .. }) => {
                panic!("cut at {cut}: {other}")
            }
        }
        assert_eq!(fs::read(&path).unwrap().len(), cut, "a refusal changes nothing");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(open(folder.path()).unwrap(), RECORDS);
}

#[test]
fn a_lost_ledger_is_never_a_first_run() {
    let folder = written();
    let path = folder.path().join(FILE_NAME);
    fs::remove_file(&path).unwrap();
    assert!(matches!(open(folder.path()), Err(LedgerError::Gone { .. })));
    assert!(!path.exists(), "nothing is made in its place");
    fs::remove_file(folder.path().join(head::FILE_NAME)).unwrap();
    assert!(matches!(open(folder.path()), Err(LedgerError::Gone { .. })), "the mark beside it is enough");
    fs::remove_file(folder.path().join(HAD_ROOT)).unwrap();
    assert_eq!(open(folder.path()).unwrap(), 0, "without both it is a new one");
}

#[test]
fn another_copy_is_told_from_the_ledger_that_was_acknowledged() {
    let (folder, other) = (written(), tempfile::tempdir().unwrap());
    let mut ledger = Ledger::open(other.path()).unwrap().ledger;
    for n in 0..RECORDS {
        ledger.append(now(), vec![alarm(&format!("other {n}"))]).unwrap();
    }
    drop(ledger);
    fs::copy(other.path().join(FILE_NAME), folder.path().join(FILE_NAME)).unwrap();
    assert!(matches!(open(folder.path()), Err(LedgerError::Other { .. })));
}

#[test]
fn a_copy_is_put_back_with_a_mark_and_the_ledger_before_it_is_kept() {
    let (folder, elsewhere) = (written(), tempfile::tempdir().unwrap());
    let copy = elsewhere.path().join("copy");
    assert_eq!(backup(folder.path(), &copy).unwrap().head.next_index, RECORDS as u64);
    let mut ledger = Ledger::open(folder.path()).unwrap().ledger;
    ledger.append(now(), vec![alarm("after the copy")]).unwrap();
    let had = ledger.head();
    drop(ledger);
    let copied = restore(folder.path(), &copy, now()).unwrap();
    assert_eq!(fs::read(copied.aside.unwrap()).unwrap().iter().filter(|b| **b == b'\n').count(), RECORDS + 1);
    let opened = Ledger::open(folder.path()).unwrap();
    let last = &opened.records.last().unwrap().record.entry;
    assert!(
        opened.records.len() == RECORDS + 1 && *last == Entry::Restored { generation: 1, lost: Some(had) },
        "{last:?}"
    );
    drop(opened);
    restore(folder.path(), &copy, now()).unwrap();
    assert_eq!(open(folder.path()).unwrap(), RECORDS + 1);

    let mut bytes = fs::read(&copy).unwrap();
    bytes[100] ^= 1;
    fs::write(&copy, bytes).unwrap();
    assert!(matches!(restore(folder.path(), &copy, now()), Err(CopyError::Damaged { .. })));
    assert_eq!(open(folder.path()).unwrap(), RECORDS + 1, "a bad copy changes nothing");
}

/// The copy is perhaps all that is left.
#[test]
fn a_copy_is_not_replaced_by_a_damaged_ledger_nor_a_ledger_by_its_copy() {
    let (folder, elsewhere) = (written(), tempfile::tempdir().unwrap());
    let (path, copy) = (folder.path().join(FILE_NAME), elsewhere.path().join("copy"));
    for own in [path.clone(), folder.path().join("copy"), folder.path().join("..").join(folder.path()).join("ca.key")] {
        assert!(matches!(backup(folder.path(), &own), Err(CopyError::Own { .. })), "{}", own.display());
    }
    backup(folder.path(), &copy).unwrap();
    let whole = fs::read(&copy).unwrap();
    let mut damaged = fs::read(&path).unwrap();
    damaged[100] ^= 1;
    fs::write(&path, damaged).unwrap();
    assert!(matches!(backup(folder.path(), &copy), Err(CopyError::Damaged { .. })));
    assert_eq!(fs::read(&copy).unwrap(), whole);
    restore(folder.path(), &copy, now()).unwrap();
    restore(folder.path(), &path, now()).expect("what lies there, once more");
    assert_eq!(open(folder.path()).unwrap(), RECORDS + 2);
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Restore,
    Recover,
}

/// A disk that is full, or a process that ends, at any write.
#[test]
fn no_ledger_is_put_back_or_cut_without_its_mark_wherever_the_disk_ends() {
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy");
    backup(written().path(), &copy).unwrap();
    for way in [Way::Restore, Way::Recover] {
        let works = |folder: &Path| match way {
            Way::Restore => restore(folder, &copy, now()).map(drop).map_err(|e| e.to_string()),
            Way::Recover => recover(folder, now()).map(drop).map_err(|e| e.to_string()),
        };
        for writes in 0.. {
            let folder = written();
            let path = folder.path().join(FILE_NAME);
            let mut ledger = Ledger::open(folder.path()).unwrap().ledger;
            ledger.append(now(), vec![alarm("after the copy")]).unwrap();
            drop(ledger);
            let whole = fs::read(&path).unwrap();
            if way == Way::Recover {
                let mut damaged = whole.clone();
                damaged[whole.len() - 20] ^= 1;
                fs::write(&path, damaged).unwrap();
            }
            let end = EndOfDisk::after(folder.path(), writes);
            let ended = works(folder.path());
            let failed = end.has_failed();
            drop(end);
            assert_eq!(ended.is_err(), failed, "{way:?} {writes}");
            let marked =
                |opened: &Opened| matches!(opened.records.last().unwrap().record.entry, Entry::Restored { .. });
            match Ledger::open(folder.path()) {
                Ok(opened) if marked(&opened) => {}
                Ok(opened) => {
                    assert_eq!(
                        (opened.records.len(), fs::read(&path).unwrap() == whole),
                        (RECORDS + 1, true),
                        "{way:?}"
                    );
                }
                Err(_) => assert!(failed, "{way:?} {writes}"),
            }
            works(folder.path()).unwrap_or_else(|e| panic!("{way:?} {writes}: not once more: {e}"));
            let opened = Ledger::open(folder.path()).unwrap();
            assert!(marked(&opened), "{way:?} {writes}: {:?}", opened.records.last());
            if !failed {
                println!("{way:?}: ended at each of {writes} writes");
                assert!(writes > 2, "expected more writes");
                break;
            }
        }
    }
}

#[test]
fn what_is_left_is_marked_when_the_rest_is_given_up() {
    let folder = written();
    let path = folder.path().join(FILE_NAME);
    let whole = fs::read(&path).unwrap();
    let third = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(2).unwrap().0 + 1;
    fs::write(&path, &whole[..third]).unwrap();
    let recovered = recover(folder.path(), now()).unwrap();
    assert_eq!((recovered.kept_records, recovered.lost.map(|had| had.next_index)), (3, Some(RECORDS as u64)));
    assert_eq!(open(folder.path()).unwrap(), 4);
    fs::write(&path, "").unwrap();
    assert!(matches!(recover(folder.path(), now()), Err(LedgerError::Gone { .. })), "nothing is left to go on with");
}

#[test]
fn damage_at_any_place_is_found_with_the_way_out_or_does_no_harm() {
    let places = std::env::var("HOSTLER_DAMAGE_PLACES").ok().and_then(|n| n.parse().ok()).unwrap_or(PLACES);
    let seed: u64 = std::env::var("HOSTLER_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(9);
    println!("seed {seed}, {places} places in each file");
    let folder = written();
    let (mut found, mut harmless, mut random) = (0, 0, seed);
    for name in [FILE_NAME, head::FILE_NAME, HAD_ROOT] {
        let path = folder.path().join(name);
        let ledger = fs::read(folder.path().join(FILE_NAME)).unwrap();
        let whole = fs::read(&path).unwrap();
        for _ in 0..places {
            // Knuth's MMIX generator; its high bits are good enough to choose a place.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from((random >> 33) % whole.len() as u64).unwrap();
            let mut bytes = whole.clone();
            match (random >> 20) % 4 {
                0 => bytes[at] ^= 1 << (random >> 60 & 7),
                1 => bytes.truncate(at),
                2 => bytes[at..].fill(0),
                _ => drop(bytes.splice(at..at, *b"junk")),
            }
            fs::write(&path, &bytes).unwrap();
            match open(folder.path()) {
                Ok(records) => {
                    assert_eq!(records, RECORDS, "seed {seed}, byte {at} of {name}: fewer records and no word");
                    harmless += 1;
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(
                        text.contains("hostler-coordinator re"),
                        "seed {seed}, byte {at} of {name}: no way out: {text}"
                    );
                    found += 1;
                }
            }
            fs::write(&path, &whole).unwrap();
            fs::write(folder.path().join(FILE_NAME), &ledger).unwrap();
        }
    }
    println!("{found} found with the way out, {harmless} without harm");
}
