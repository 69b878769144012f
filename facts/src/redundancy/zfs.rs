//! ZFS pools: how each stands, and whether one is resilvered.

use std::collections::BTreeSet;

use super::{Array, absent_unless, kept, put};
use crate::{
    Input, Root,
    failure::{Failure, Worst},
    sample::Sample,
    text,
    topology::{self, pool},
};

const POOLS: &str = "proc/spl/kstat/zfs";
/// What ZFS did lately, by all pools: the last 4 MiB of it.
const POOLS_DID: &str = "proc/spl/kstat/zfs/dbgmsg";

/// Reads the state of ZFS pools.
pub(crate) fn pools(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    let mounts = topology::mounts(root)?;
    let mut names = root.list(POOLS)?;
    names.retain(|name| root.exists(&format!("{POOLS}/{name}/state")));
    let known = !names.is_empty();
    let rebuilding = resilvers(root);
    let mounted: BTreeSet<&str> = mounts.iter().filter(|m| m.fstype == "zfs").map(|m| pool(&m.device)).collect();
    for name in kept(names, |name| mounted.contains(name.as_str()), out) {
        let file = format!("{POOLS}/{name}/state");
        let said = worst.note(root.text(&file)).unwrap_or_default();
        // What the pool cannot do without is gone, or it waits for a disk to come back.
        let (missing, failed) = match said.as_str() {
            "ONLINE" => (Some(0.0), Some(false)),
            "DEGRADED" => (Some(1.0), Some(false)),
            "FAULTED" | "UNAVAIL" | "SUSPENDED" | "REMOVED" | "OFFLINE" => (Some(1.0), Some(true)),
            other => {
                if !other.is_empty() {
                    worst.note::<()>(Err(Failure::malformed(&file, "a state of a pool", other.as_bytes())));
                }
                (None, None)
            }
        };
        let state = said.to_ascii_lowercase();
        if missing.is_some() {
            out.put("node_zfs_zpool_state", &[("state", &state), ("zpool", &name)], 1.0);
        }
        let required = mounted.contains(name.as_str());
        put("zpool", &Array { name, members: None, missing, failed, rebuilding, required }, out);
    }
    worst.finish()?;
    absent_unless(known, "a ZFS pool")
}

/// Whether a pool is resilvered, as far as the kernel's own notes of ZFS reach back; they do not say which pool. The
/// last of them counts: a scan was set up (function 2 is a resilver, 1 a scrub), or a rebuild of one disk was, or it
/// ended.
fn resilvers(root: &Root) -> Option<bool> {
    let mut scan = None;
    let mut rebuilds: BTreeSet<String> = BTreeSet::new();
    let read = root.each_line(POOLS_DID, |line| {
        let Some((_, told)) = text::word(line).split_once(" txg ") else { return };
        let words: Vec<&str> = told.split_whitespace().skip(1).collect();
        match words.as_slice() {
            ["scan", "setup", function, ..] => scan = Some(*function == "func=2"),
            ["scan", "done" | "cancelled", ..] => scan = Some(false),
            ["rebuild", disk, .., "started"] => {
                rebuilds.insert((*disk).to_owned());
            }
            ["rebuild", disk, .., "complete" | "canceled"] => {
                rebuilds.remove(*disk);
            }
            _ => {}
        }
    });
    read.ok()?;
    if rebuilds.is_empty() { scan } else { Some(true) }
}
