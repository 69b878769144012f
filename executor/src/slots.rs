//! What must never be lost or go back: written twice, each copy proving itself.
//!
//! A slot is `HOSTLER1`, a counter, a length, the SHA-256 of all that and of the content, and the content; what lies behind
//! it in the file is no part of it. There are three slots, and two hold the newest content: what is stored goes over the
//! oldest slot and then over the next oldest, in place. At every moment two whole copies lie in slots that are not being
//! written: both of the state before, or one of each. So a crash loses nothing that was stored, and neither does a crash
//! in the first slot together with damage in another. The whole slot with the highest counter wins.

use hostler_plan::{
    document::Signed,
    entry::StoredDocument,
    refusal::{Refusal, Refused},
    trust::NodeState,
};
use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, DiskError};

const NAMES: [&str; 3] = ["state.0", "state.1", "state.2"];
/// How many slots hold what was stored.
const COPIES: usize = 2;
const MAGIC: &[u8; 8] = b"HOSTLER1";
const HEADER_BYTES: usize = 8 + 8 + 8 + 32;

/// A root, a roster and some plans with signatures, in base64: at most about 3 MiB each.
const MAX_BYTES: u64 = 32 << 20;

/// What a node holds at one time.
#[derive(Debug)]
pub struct Held {
    pub state: NodeState,
    /// The newest receipt that the state counts, as long as it has no file of its own: number and receipt become durable
    /// in one write.
    pub receipt: Option<Signed>,
}

/// The state on disk.
#[derive(Debug)]
pub struct Slots {
    counter: u64,
    /// Which slot is written over first, second and third.
    order: [usize; NAMES.len()],
    copies: usize,
}

impl Slots {
    /// Reads the newest state whose copy is whole. `None` when no slot was ever written; damage is a refusal.
    pub fn open(disk: &Disk) -> Result<(Self, Option<Held>), SlotsError> {
        let (slots, content) = Self::find(disk)?;
        let held = content.map(|content| Held::from_bytes(&content)).transpose()?;
        Ok((slots, held))
    }

    /// Whether the newest state has fewer copies than it should: the process ended between them, or one is damaged.
    pub fn lack_a_copy(&self) -> bool {
        self.copies < COPIES
    }

    /// Stores a state, with a receipt that has no file yet; it is durable, twice, when this returns.
    pub fn store(&mut self, disk: &Disk, state: &NodeState, receipt: Option<&Signed>) -> Result<(), DiskError> {
        self.write(disk, &Held::to_bytes(state, receipt))
    }

    fn find(disk: &Disk) -> Result<(Self, Option<Vec<u8>>), SlotsError> {
        let mut newest: Option<(u64, Vec<u8>)> = None;
        let mut counters = [None; NAMES.len()];
        let mut damage = Vec::new();
        for (name, known) in NAMES.into_iter().zip(&mut counters) {
            let Some(bytes) = disk.read(name, MAX_BYTES)? else { continue };
            match read(&bytes) {
                Ok((counter, content)) => {
                    *known = Some(counter);
                    if newest.as_ref().is_none_or(|(c, _)| counter > *c) {
                        newest = Some((counter, content.to_vec()));
                    }
                }
                Err(found) => {
                    tracing::warn!("{} is damaged: {found}", disk.path(name).display());
                    damage.push(format!("{name}: {found}"));
                }
            }
        }
        if newest.is_none() && !damage.is_empty() {
            return Err(SlotsError::Refused(damaged(&damage.join(", "))));
        }
        let counter = newest.as_ref().map_or(0, |(counter, _)| *counter);
        let copies = counters.iter().filter(|c| **c == Some(counter)).count();
        let mut order = [0, 1, 2];
        order.sort_by_key(|slot| counters[*slot]);
        Ok((Self { counter, order, copies }, newest.map(|(_, content)| content)))
    }

    fn write(&mut self, disk: &Disk, content: &[u8]) -> Result<(), DiskError> {
        self.counter += 1;
        self.copies = 0;
        let bytes = write(self.counter, content);
        for _ in 0..COPIES {
            disk.overwrite(NAMES[self.order[0]], &bytes)?;
            self.order.rotate_left(1);
            self.copies += 1;
        }
        Ok(())
    }
}

impl Held {
    /// Length of the state, the state, the receipt as JSON if there is one.
    fn to_bytes(state: &NodeState, receipt: Option<&Signed>) -> Vec<u8> {
        let state = state.to_bytes();
        let mut bytes = (state.len() as u64).to_be_bytes().to_vec();
        bytes.extend(state);
        if let Some(receipt) = receipt {
            bytes.extend(serde_json::to_vec(&StoredDocument(receipt.clone())).expect("documents can be written"));
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Refused> {
        let short = || damaged("a state that ends too early");
        let (length, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| short())?;
        let (state, receipt) = rest.split_at_checked(length).ok_or_else(short)?;
        let read = |bytes| serde_json::from_slice::<StoredDocument>(bytes);
        let receipt = (!receipt.is_empty()).then(|| read(receipt)).transpose();
        let receipt = receipt.map_err(|e| damaged(&format!("a receipt that is none ({e})")))?;
        Ok(Self { state: NodeState::from_bytes(state)?, receipt: receipt.map(|stored| stored.0) })
    }
}

/// Why there is no state to go on with.
#[derive(Debug, thiserror::Error)]
pub enum SlotsError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// The refusal of everything, because this node does not know any more what it was told.
pub fn damaged(found: &str) -> Refused {
    Refused::new(
        Refusal::DamagedState,
        format!(
            "expected a whole copy of this node's state, found {found}; check its disk, move its state folder away, give \
             it a join string of `hostler token create`, and run `hostler node approve` when it has enrolled again"
        ),
    )
}

fn write(counter: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(counter.to_be_bytes());
    bytes.extend((content.len() as u64).to_be_bytes());
    let digest = Sha256::new().chain_update(&bytes).chain_update(content).finalize();
    bytes.extend(digest);
    bytes.extend(content);
    bytes
}

fn read(bytes: &[u8]) -> Result<(u64, &[u8]), String> {
    let Some((header, content)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(format!("{} bytes", bytes.len()));
    };
    let (fields, digest) = header.split_at(24);
    let number = |at: usize| u64::from_be_bytes(fields[at..at + 8].try_into().expect("eight bytes"));
    if &fields[..8] != MAGIC {
        return Err("another kind of file".into());
    }
    let length = usize::try_from(number(16)).ok();
    let Some(content) = length.and_then(|length| content.get(..length)) else {
        return Err(format!("{} bytes of {}", content.len(), number(16)));
    };
    if Sha256::new().chain_update(fields).chain_update(content).finalize().as_slice() != digest {
        return Err("other content than was written".into());
    }
    Ok((number(8), content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let whole = write(7, b"the state of a node");
        assert_eq!(read(&whole), Ok((7, &b"the state of a node"[..])));
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert!(read(&flipped).is_err(), "byte {at} bit {bit}");
            }
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(read(&[whole, vec![0; 9]].concat()), Ok((7, &b"the state of a node"[..])), "room is no content");
    }

    /// What the next process reads, and whether it would make a second copy.
    fn found(disk: &Disk) -> (Option<Vec<u8>>, bool) {
        let (slots, content) = Slots::find(disk).unwrap();
        (content, slots.lack_a_copy())
    }

    #[test]
    fn two_of_three_slots_hold_the_newest_and_one_damaged_slot_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let (mut slots, none) = Slots::find(&disk).unwrap();
        assert_eq!((none, slots.lack_a_copy()), (None, true));
        for n in 0..9u8 {
            slots.write(&disk, &[n; 100]).unwrap();
            assert_eq!(found(&disk), (Some(vec![n; 100]), false));
            for name in NAMES {
                let Some(good) = disk.read(name, MAX_BYTES).unwrap() else { continue };
                let mut bad = good.clone();
                bad[60] ^= 1;
                disk.overwrite(name, &bad).unwrap();
                let lacks = read(&good).unwrap().0 == slots.counter;
                assert_eq!(found(&disk), (Some(vec![n; 100]), lacks), "{name} after {n}");
                disk.overwrite(name, &good).unwrap();
            }
            if n % 2 == 0 {
                // The next process goes on.
                slots = Slots::find(&disk).unwrap().0;
            }
        }
    }

    #[test]
    fn a_write_torn_at_any_byte_leaves_what_was_stored_even_beside_a_damaged_slot() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let (mut slots, _) = Slots::find(&disk).unwrap();
        for content in [b"one-1", b"two-2", b"three"] {
            slots.write(&disk, content).unwrap();
        }
        let before: Vec<_> = NAMES.iter().map(|n| disk.read(n, MAX_BYTES).unwrap().unwrap()).collect();
        let order = slots.order;
        let new = write(slots.counter + 1, b"four4");
        for cut in 0..=new.len() {
            for copy in 0..COPIES {
                let restore = || NAMES.iter().zip(&before).for_each(|(n, b)| disk.overwrite(n, b).unwrap());
                restore();
                for whole in &order[..copy] {
                    disk.overwrite(NAMES[*whole], &new).unwrap();
                }
                disk.overwrite(NAMES[order[copy]], &new[..cut]).unwrap();
                let is_new = copy > 0 || cut == new.len();
                let expected = if is_new { &b"four4"[..] } else { b"three" };
                assert_eq!(found(&disk).0.as_deref(), Some(expected), "copy {copy} cut at {cut}");
                if copy == 0 && cut < new.len() {
                    // The other two hold what was stored last; either is enough.
                    for rotten in &order[1..] {
                        disk.overwrite(NAMES[*rotten], b"rot").unwrap();
                        assert_eq!(found(&disk).0.as_deref(), Some(&b"three"[..]), "cut at {cut} and rot");
                        disk.overwrite(NAMES[*rotten], &before[*rotten]).unwrap();
                    }
                }
            }
        }
    }
}
