//! What is kept, what is damaged, and what a disk does not take.

use super::*;
use hostler_daemon::durable::end::EndOfDisk;
use hostler_plan::fact::Series;

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000)
}

fn node() -> NodeName {
    NodeName::new("w1").unwrap()
}

fn reading() -> Reading {
    let mut reading = Reading::new(7);
    reading.set(Series::new("node_load1", &[]), 0.5);
    reading
}

fn fill(folder: &Path) {
    let (index, _) = Index::open(folder, now());
    let mut history = crate::nodes::history::History::default();
    for minute in 0..400 {
        let at = Timestamp::from_unix_seconds(now().unix_seconds() + minute * 60);
        if let Some(completed) = history.add(&node(), at, &reading()) {
            index.keep(Write::Chunk(node(), Box::new(completed)));
        }
    }
    index.keep(Write::Facts(node(), now(), Box::new(reading())));
    index.keep(Write::Memory(node(), Box::default()));
    index.keep(Write::Address(node(), [10, 0, 0, 7].into()));
    index.close();
}

#[test]
fn what_was_kept_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let (index, kept) = Index::open(folder.path(), now());
    index.close();
    assert_eq!(kept.chunks.len(), 39);
    assert!(kept.chunks.windows(2).all(|c| c[0].1.number < c[1].1.number));
    assert_eq!(kept.facts, [(node(), now(), reading())]);
    assert_eq!(kept.memories, [(node(), Remembered::default())]);
    assert_eq!(kept.addresses, [(node(), IpAddr::from([10, 0, 0, 7]))]);
}

#[test]
fn a_day_of_a_node_has_at_most_64_kib_however_long_it_goes_and_however_its_clock_jumps() {
    const DAY_MINUTES: u64 = 24 * 60;
    let folder = tempfile::tempdir().unwrap();
    // The longest name that a node may have.
    let node = NodeName::new("n".repeat(63)).unwrap();
    let mut history = crate::nodes::history::History::default();
    let mut largest: usize = 0;
    for day in 0..12 {
        let (db, kept) = open_and_read(folder.path()).unwrap();
        assert!(kept.chunks.len() <= crate::nodes::history::CHUNKS, "day {day}: {}", kept.chunks.len());
        for minute in 0..DAY_MINUTES {
            // All eight facts, another value each minute; the node's own clock is a year off every other day, and
            // the coordinator's on two days.
            let steady = now().unix_seconds() + (day * DAY_MINUTES + minute) * 60;
            let mut reading = Reading::new((steady + day % 2 * 366 * 86_400) * 1000);
            let value = (minute * 37 + day) as f64 / 7.0;
            for name in ["node_load1", "nvme_temperature_celsius", "nvme_percentage_used_ratio"] {
                reading.set(Series::new(name, &[]), value);
            }
            for (name, labels) in [
                ("hostler_node_temperature_celsius", vec![("component", "cpu")]),
                ("hostler_rpi_throttle", vec![("reason", "throttled"), ("scope", "now")]),
                ("hostler_pressure_ratio", vec![("kind", "some"), ("resource", "io")]),
                ("node_filesystem_size_bytes", vec![("mountpoint", "/")]),
                ("node_filesystem_avail_bytes", vec![("mountpoint", "/")]),
            ] {
                reading.set(Series::new(name, &labels), 1.0 + value);
            }
            reading.set(Series::new("node_memory_MemTotal_bytes", &[]), 2.0 + value);
            reading.set(Series::new("node_memory_MemAvailable_bytes", &[]), 1.0);
            let at = match day {
                5 => steady + 366 * 86_400,
                7 => steady - 366 * 86_400,
                _ => steady,
            };
            let at = Timestamp::from_unix_seconds(at);
            if let Some(completed) = history.add(&node, at, &reading) {
                write_one(&db, Write::Chunk(node.clone(), Box::new(completed))).unwrap();
            }
        }
        largest = largest.max(db.iter().flatten().map(|(key, value)| key.len() + value.len()).sum());
        db.flush().unwrap();
    }
    assert_eq!(history.lines(&node).len(), crate::nodes::history::FACTS.len(), "every fact has its line");
    assert!(largest <= 2 * 64 * 1024, "expected two days in 128 KiB, found {largest} bytes");
    assert!(largest > 100 * 1024, "the measure itself: {largest}");
    let on_disk = open(folder.path()).unwrap().size_on_disk().unwrap();
    assert!(on_disk < SMALL_BYTES, "sled's own file: {on_disk}");
    println!("two days: {largest} bytes, sled's file {on_disk}");
}

#[test]
fn a_start_with_a_clock_that_is_off_loses_no_history() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let year = 366 * 86_400;
    for seconds in [now().unix_seconds() + year, now().unix_seconds() - year, now().unix_seconds()] {
        let (index, kept) = Index::open(folder.path(), Timestamp::from_unix_seconds(seconds));
        index.close();
        assert_eq!(kept.chunks.len(), 39, "{seconds}");
    }
}

#[test]
fn an_index_that_is_gone_or_garbage_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FOLDER_NAME);
    fill(folder.path());
    std::fs::remove_dir_all(&path).unwrap();
    fill(folder.path());
    for damage in 0..3 {
        let db = path.join("db");
        match damage {
            0 => {
                let bytes = std::fs::read(&db).unwrap();
                std::fs::write(&db, &bytes[..bytes.len() / 3]).unwrap();
            }
            1 => {
                std::fs::remove_file(&db).unwrap();
                std::fs::create_dir(&db).unwrap();
            }
            _ => std::fs::write(path.join("snap.0000000000000001.generating"), b"").unwrap(),
        }
        let (index, _) = Index::open(folder.path(), now());
        index.keep(Write::Address(node(), [10, 0, 0, 8].into()));
        index.close();
        let (index, kept) = Index::open(folder.path(), now());
        index.close();
        assert_eq!(kept.addresses, [(node(), IpAddr::from([10, 0, 0, 8]))], "damage {damage}");
    }
    assert!(folder.path().join("index.damaged-0").exists(), "what cannot be opened is put aside");
}

#[test]
fn a_changed_value_counts_as_none() {
    let mut value = sealed(b"hello");
    assert_eq!(unsealed(&value), Some(&b"hello"[..]));
    for at in 0..value.len() {
        value[at] ^= 1;
        assert_eq!(unsealed(&value), None);
        value[at] ^= 1;
    }
    assert_eq!(unsealed(b""), None);
}

#[test]
fn an_index_without_room_keeps_what_it_has_and_is_written_again_once_there_is_some() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FOLDER_NAME);
    let address = |last| Write::Address(node(), [10, 0, 0, last].into());
    fill(folder.path());
    for writes in 0..3 {
        let end = EndOfDisk::after(&path, writes);
        let (index, _) = Index::open(folder.path(), now());
        for last in 0..4 {
            index.keep(address(last));
        }
        let ended = || end.has_failed();
        while !ended() {
            std::thread::yield_now();
        }
        drop(end);
        index.keep(address(9));
        index.close();
        assert!(!folder.path().join("index.damaged-0").exists(), "{writes}: nothing is wrong with it");
        let (index, kept) = Index::open(folder.path(), now());
        index.close();
        assert_eq!(kept.addresses, [(node(), IpAddr::from([10, 0, 0, 9]))], "{writes}");
        assert!(!kept.chunks.is_empty(), "{writes}: what was there is there");
    }
}

#[test]
fn an_index_that_cannot_be_written_anew_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FOLDER_NAME);
    fill(folder.path());
    for room in [false, true] {
        let (db, kept, _) = read(&path).unwrap();
        drop(db);
        let end = (!room).then(|| EndOfDisk::after(&folder.path().join("index.anew"), 0));
        let (db, kept) = rewrite(&path, kept).unwrap();
        drop((db, end));
        let (db, again, _) = read(&path).unwrap();
        drop(db);
        assert_eq!((again.chunks.len(), again.memories.len()), (kept.chunks.len(), kept.memories.len()));
        assert!(!kept.chunks.is_empty() && !folder.path().join("index.anew").exists());
    }
}
