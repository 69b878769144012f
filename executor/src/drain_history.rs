//! What the drains of this server took, in a file of its folder: the next preview expects as much. Nothing else rests
//! on it, so that damage is said and forgotten.

use hostler_plan::{drain::Past, id::Digest};

use crate::disk::Disk;

/// `DIGEST SP JSON`: the digest is that of the JSON.
const FILE: &str = "drain-history";

/// Of as many workloads as are remembered, each with the longest names that Kubernetes allows.
const MAX_BYTES: u64 = 1 << 20;

/// What is known; nothing where the file is not there or damaged.
pub(crate) fn recall(disk: &Disk) -> Past {
    let read = match disk.read(FILE, MAX_BYTES) {
        Ok(None) => return Past::default(),
        Ok(Some(bytes)) => parse(&bytes).ok_or_else(|| "it is damaged".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    read.unwrap_or_else(|why| {
        tracing::warn!(
            "what earlier drains took is not known, and the next one writes it anew: {} ({why})",
            disk.path(FILE).display()
        );
        Past::default()
    })
}

/// Adds what a drain saw. A disk that is full costs the memory and not the drain.
pub(crate) fn remember(disk: &Disk, seen: Past) {
    if seen.is_empty() {
        return;
    }
    let mut past = recall(disk);
    past.learn(seen);
    let Ok(written) = serde_json::to_string(&past) else { return };
    let line = format!("{} {written}", Digest::of(written.as_bytes()));
    if let Err(error) = disk.replace(FILE, line.as_bytes()) {
        tracing::debug!("{error}; what this drain took is not remembered");
    }
}

fn parse(bytes: &[u8]) -> Option<Past> {
    let (digest, written) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
    let is_whole = digest == Digest::of(written.as_bytes()).to_string();
    serde_json::from_str(written).ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hostler_plan::{drain::Workload, timestamp::Timestamp};

    use super::*;

    fn seen(name: &str, seconds: u64) -> Past {
        let mut past = Past::default();
        let workload = Workload { namespace: "shop".into(), kind: "Deployment".into(), name: name.into() };
        past.stopped(workload, Duration::from_secs(seconds), Timestamp::from_unix_seconds(1_800_000_000));
        past
    }

    #[test]
    fn what_drains_took_outlives_the_process_and_damage_is_nothing_known() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        assert!(recall(&disk).is_empty());
        remember(&disk, seen("web", 3));
        remember(&disk, seen("db", 40));
        let mut both = seen("web", 3);
        both.learn(seen("db", 40));
        assert_eq!(recall(&disk), both);
        let whole = disk.read(FILE, MAX_BYTES).unwrap().unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            disk.replace(FILE, &damaged).unwrap();
            assert!(recall(&disk).is_empty(), "byte {at}");
            disk.replace(FILE, &whole[..at]).unwrap();
            assert!(recall(&disk).is_empty(), "{at} bytes of it");
        }
        remember(&disk, seen("web", 5));
        assert_eq!(recall(&disk), seen("web", 5), "it is written anew");
    }
}
