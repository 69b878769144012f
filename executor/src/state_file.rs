//! What must never be lost or go back: written twice, each copy proving itself.
//!
//! A slot begins with a front: `HOSTLER2`, a counter, the lengths of what follows, the SHA-256 of all that and of the
//! rest of the front, a table of the documents (digest and length each), and the index that says what they are. Further
//! behind lie the documents' bytes, which prove themselves by their digests: as long as they stay the same, a slot is
//! written by its front alone. What else lies in the file is no part of it.
//!
//! There are three slots, and two hold the newest content: what is stored goes over the oldest slot and then over the
//! next oldest, in place. At every moment two whole copies lie in slots that are not being written: both of the state
//! before, or one of each. So a crash loses nothing that was stored, and neither does a crash in the first slot
//! together with damage in another. The whole slot with the highest counter wins.

use std::collections::BTreeMap;

use hostler_plan::{
    document::Signed,
    entry::StoredDocument,
    id::Digest,
    refusal::{Refusal, Refused},
    trust::NodeState,
};
use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, DiskError};

const NAMES: [&str; 3] = ["state.0", "state.1", "state.2"];
/// How many slots hold what was stored.
const COPIES: usize = 2;
const MAGIC: &[u8; 8] = b"HOSTLER2";
/// Magic, counter, and where the documents begin, how many they are and how long the index is.
const NUMBERS_BYTES: usize = 5 * 8;
const HEADER_BYTES: usize = NUMBERS_BYTES + 32;
/// One document in the table: digest and length.
const ENTRY_BYTES: usize = 32 + 8;
/// The documents begin at a multiple of this, so that the front finds room when a receipt makes it longer.
const FRONT_ROOM: usize = 16 << 10;

/// A root, a roster and some plans with signatures: at most 1 MiB each.
const MAX_BYTES: u64 = 32 << 20;

/// What a node holds at one time.
#[derive(Debug)]
pub struct StoredState {
    pub state: NodeState,
    /// The newest receipt that the state counts, as long as it has no file of its own: number and receipt become
    /// durable in one write.
    pub receipt: Option<Signed>,
}

/// The state on disk.
#[derive(Debug)]
pub struct StateFile {
    counter: u64,
    /// Which slot is written over first, second and third.
    order: [usize; NAMES.len()],
    copies: usize,
    /// What lies in each slot behind its front, where that is known.
    placed: [Option<Placed>; NAMES.len()],
}

/// Where in a slot which documents lie.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    at: usize,
    digests: Vec<Digest>,
}

/// What a slot says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    index: Vec<u8>,
    documents: BTreeMap<Digest, Vec<u8>>,
}

impl StateFile {
    /// Reads the newest state whose copy is whole. `None` when no slot was ever written; damage is a refusal.
    pub fn open(disk: &Disk) -> Result<(Self, Option<StoredState>), StateFileError> {
        let (file, content) = Self::find(disk)?;
        let held = content.map(|content| StoredState::read(&content)).transpose()?;
        Ok((file, held))
    }

    /// Whether the newest state has fewer copies than it should: the process ended between them, or one is damaged.
    pub fn lack_a_copy(&self) -> bool {
        self.copies < COPIES
    }

    /// Stores a state, with a receipt that has no file yet; it is durable, twice, when this returns.
    pub fn store(&mut self, disk: &Disk, state: &NodeState, receipt: Option<&Signed>) -> Result<(), DiskError> {
        self.write(disk, &StoredState::index(state, receipt), &state.documents())
    }

    fn find(disk: &Disk) -> Result<(Self, Option<Content>), StateFileError> {
        let mut newest: Option<(u64, Content)> = None;
        let mut counters = [None; NAMES.len()];
        let mut placed = [const { None }; NAMES.len()];
        let mut damage = Vec::new();
        for (slot, name) in NAMES.into_iter().enumerate() {
            let read = match disk.read(name, MAX_BYTES) {
                Ok(Some(bytes)) => read(&bytes),
                Ok(None) => continue,
                // A slot that cannot be read is a damaged one: the others hold the same.
                Err(error) => Err(error.to_string()),
            };
            match read {
                Ok((counter, content, where_from)) => {
                    counters[slot] = Some(counter);
                    placed[slot] = Some(where_from);
                    if newest.as_ref().is_none_or(|(c, _)| counter > *c) {
                        newest = Some((counter, content));
                    }
                }
                Err(found) => {
                    tracing::warn!("{} is damaged: {found}", disk.path(name).display());
                    damage.push(format!("{name}: {found}"));
                }
            }
        }
        if newest.is_none() && !damage.is_empty() {
            return Err(StateFileError::Refused(damaged(&damage.join(", "))));
        }
        let counter = newest.as_ref().map_or(0, |(counter, _)| *counter);
        let copies = counters.iter().filter(|c| **c == Some(counter)).count();
        let mut order = [0, 1, 2];
        order.sort_by_key(|slot| counters[*slot]);
        Ok((Self { counter, order, copies, placed }, newest.map(|(_, content)| content)))
    }

    fn write(&mut self, disk: &Disk, index: &[u8], documents: &[(Digest, &[u8])]) -> Result<(), DiskError> {
        self.counter += 1;
        self.copies = 0;
        for _ in 0..COPIES {
            self.write_slot(disk, self.order[0], index, documents)?;
            self.order.rotate_left(1);
            self.copies += 1;
        }
        Ok(())
    }

    fn write_slot(
        &mut self,
        disk: &Disk,
        slot: usize,
        index: &[u8],
        documents: &[(Digest, &[u8])],
    ) -> Result<(), DiskError> {
        let length: usize = documents.iter().map(|(_, bytes)| bytes.len()).sum();
        // Nothing is known of a slot whose writing fails.
        if let Some(placed) = self.placed[slot].take()
            && placed.digests.iter().eq(documents.iter().map(|(digest, _)| digest))
        {
            let front = front(self.counter, placed.at, index, documents);
            if front.len() <= placed.at && disk.patch(NAMES[slot], &front, (placed.at + length) as u64)? {
                self.placed[slot] = Some(placed);
                return Ok(());
            }
        }
        let (bytes, placed) = whole(self.counter, index, documents);
        disk.overwrite(NAMES[slot], &bytes)?;
        self.placed[slot] = Some(placed);
        Ok(())
    }
}

impl StoredState {
    /// Length of the state's index, that index, the receipt as JSON if there is one.
    fn index(state: &NodeState, receipt: Option<&Signed>) -> Vec<u8> {
        let state = state.to_index();
        let mut bytes = (state.len() as u64).to_be_bytes().to_vec();
        bytes.extend(state);
        if let Some(receipt) = receipt {
            bytes.extend(serde_json::to_vec(&StoredDocument(receipt.clone())).expect("documents can be written"));
        }
        bytes
    }

    fn read(Content { index, documents }: &Content) -> Result<Self, Refused> {
        let short = || damaged("a state that ends too early");
        let (length, rest) = index.split_first_chunk().ok_or_else(short)?;
        let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| short())?;
        let (state, receipt) = rest.split_at_checked(length).ok_or_else(short)?;
        let read = |bytes| serde_json::from_slice::<StoredDocument>(bytes);
        let receipt = (!receipt.is_empty()).then(|| read(receipt)).transpose();
        let receipt = receipt.map_err(|e| damaged(&format!("a receipt that is none ({e})")))?;
        let state = NodeState::from_index(state, |digest| documents.get(digest).cloned())?;
        Ok(Self { state, receipt: receipt.map(|stored| stored.0) })
    }
}

/// Why there is no state to go on with.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
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
            "expected a whole copy of this node's state, found {found}; check its disk, move its state folder away, \
             give it a join string of `hostler token create`, and run `hostler node approve` when it has enrolled again"
        ),
    )
}

/// The front of a slot whose documents begin at `at`.
fn front(counter: u64, at: usize, index: &[u8], documents: &[(Digest, &[u8])]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for number in [counter, at as u64, documents.len() as u64, index.len() as u64] {
        bytes.extend(number.to_be_bytes());
    }
    let mut rest = Vec::with_capacity(documents.len() * ENTRY_BYTES + index.len());
    for (digest, document) in documents {
        rest.extend(digest.as_bytes());
        rest.extend((document.len() as u64).to_be_bytes());
    }
    rest.extend(index);
    bytes.extend(Sha256::new().chain_update(&bytes).chain_update(&rest).finalize());
    bytes.extend(rest);
    bytes
}

/// A slot from its beginning to its end.
fn whole(counter: u64, index: &[u8], documents: &[(Digest, &[u8])]) -> (Vec<u8>, Placed) {
    let length = HEADER_BYTES + documents.len() * ENTRY_BYTES + index.len();
    let at = length.next_multiple_of(FRONT_ROOM);
    let mut bytes = front(counter, at, index, documents);
    bytes.resize(at, 0);
    documents.iter().for_each(|(_, document)| bytes.extend(*document));
    (bytes, Placed { at, digests: documents.iter().map(|(digest, _)| *digest).collect() })
}

fn read(bytes: &[u8]) -> Result<(u64, Content, Placed), String> {
    let Some((header, behind)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(format!("{} bytes", bytes.len()));
    };
    let (numbers, digest) = header.split_at(NUMBERS_BYTES);
    if &numbers[..8] != MAGIC {
        return Err("another kind of file".into());
    }
    let number = |n: usize| u64::from_be_bytes(numbers[n * 8..n * 8 + 8].try_into().expect("eight bytes"));
    let size = |n: usize| usize::try_from(number(n)).ok();
    let table = size(3).and_then(|count| count.checked_mul(ENTRY_BYTES));
    let length = table.zip(size(4)).and_then(|(table, index)| table.checked_add(index));
    let (Some(table), Some(rest)) = (table, length.and_then(|length| behind.get(..length))) else {
        return Err(format!("{} bytes, and fewer than its front says", bytes.len()));
    };
    if Sha256::new().chain_update(numbers).chain_update(rest).finalize().as_slice() != digest {
        return Err("other content than was written".into());
    }
    let (table, index) = rest.split_at(table);
    let at = size(2).ok_or("documents nowhere")?;
    let mut placed = Placed { at, digests: Vec::new() };
    let mut documents = BTreeMap::new();
    let mut left = bytes.get(at..).ok_or("no documents")?;
    for entry in table.chunks_exact(ENTRY_BYTES) {
        let (digest, length) = entry.split_at(32);
        let digest = Digest::from_bytes(digest.try_into().expect("32 bytes"));
        let length = usize::try_from(u64::from_be_bytes(length.try_into().expect("eight bytes"))).ok();
        let (document, others) = length.and_then(|length| left.split_at_checked(length)).ok_or("too few documents")?;
        if Digest::of(document) != digest {
            return Err(format!("another document than {digest}"));
        }
        placed.digests.push(digest);
        documents.insert(digest, document.to_vec());
        left = others;
    }
    Ok((number(1), Content { index: index.to_vec(), documents }, placed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents with their digests, as a state gives them.
    fn documents<'a>(texts: &[&'a [u8]]) -> Vec<(Digest, &'a [u8])> {
        texts.iter().map(|text| (Digest::of(text), *text)).collect()
    }

    fn content(index: &[u8], texts: &[&[u8]]) -> Content {
        let documents = documents(texts).into_iter().map(|(digest, text)| (digest, text.to_vec())).collect();
        Content { index: index.to_vec(), documents }
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let texts: [&[u8]; 2] = [b"a root", b"a plan"];
        let (whole, placed) = whole(7, b"the state of a node", &documents(&texts));
        let expected = Ok((7, content(b"the state of a node", &texts), placed.clone()));
        assert_eq!(read(&whole), expected);
        // Between the front and the documents lies nothing that counts.
        let front = front(7, placed.at, b"the state of a node", &documents(&texts)).len();
        for at in (0..front).chain(placed.at..whole.len()) {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert!(read(&flipped).is_err(), "byte {at} bit {bit}");
            }
        }
        for at in 0..whole.len() {
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(read(&[whole, vec![0; 9]].concat()), expected, "room is no content");
    }

    /// What the next process reads, and whether it would make a second copy.
    fn found(disk: &Disk) -> (Option<Content>, bool) {
        let (file, content) = StateFile::find(disk).unwrap();
        (content, file.lack_a_copy())
    }

    #[test]
    fn two_of_three_slots_hold_the_newest_and_one_damaged_slot_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let (mut file, none) = StateFile::find(&disk).unwrap();
        assert_eq!((none, file.lack_a_copy()), (None, true));
        for n in 0..9u8 {
            // The documents change now and then, the index each time.
            let document = [n / 4; 300];
            let newest = content(&[n; 100], &[&document]);
            file.write(&disk, &[n; 100], &documents(&[&document])).unwrap();
            assert_eq!(found(&disk), (Some(newest.clone()), false));
            for name in NAMES {
                let Some(good) = disk.read(name, MAX_BYTES).unwrap() else { continue };
                let (counter, _, placed) = read(&good).unwrap();
                for at in [60, placed.at + 7] {
                    let mut bad = good.clone();
                    bad[at] ^= 1;
                    disk.overwrite(name, &bad).unwrap();
                    assert_eq!(found(&disk), (Some(newest.clone()), counter == file.counter), "{name} after {n}");
                    disk.overwrite(name, &good).unwrap();
                }
            }
            if n % 2 == 0 {
                // The next process goes on.
                file = StateFile::find(&disk).unwrap().0;
            }
        }
    }

    #[test]
    fn documents_that_stay_are_not_written_again_and_a_slot_that_is_gone_is_made_whole() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let (mut file, _) = StateFile::find(&disk).unwrap();
        let document = documents(&[b"a plan"]);
        file.write(&disk, b"one", &document).unwrap();
        file.write(&disk, b"two", &document).unwrap();
        // Every slot has the document. What is written to it by others shows whether it is written again.
        let at = file.placed[0].clone().unwrap().at;
        for name in NAMES {
            let mut bytes = disk.read(name, MAX_BYTES).unwrap().unwrap();
            bytes[at] = b'A';
            disk.overwrite(name, &bytes).unwrap();
        }
        file.write(&disk, b"three", &document).unwrap();
        assert!(StateFile::find(&disk).is_err(), "the documents of all slots are as the others left them");
        file.write(&disk, &[4; FRONT_ROOM], &document).unwrap();
        assert_eq!(found(&disk).0, Some(content(&[4; FRONT_ROOM], &[b"a plan"])), "a longer front moves them");
        NAMES.iter().for_each(|name| std::fs::remove_file(disk.path(name)).unwrap());
        file.write(&disk, b"five", &document).unwrap();
        assert_eq!(found(&disk), (Some(content(b"five", &[b"a plan"])), false));
    }

    #[test]
    fn a_write_torn_at_any_byte_leaves_what_was_stored_even_beside_a_damaged_slot() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let (mut file, _) = StateFile::find(&disk).unwrap();
        for n in [1, 2, 3] {
            file.write(&disk, &[n; 5], &documents(&[&[n; 4]])).unwrap();
        }
        let before: Vec<_> = NAMES.iter().map(|n| disk.read(n, MAX_BYTES).unwrap().unwrap()).collect();
        let order = file.order;
        let (new, placed) = whole(file.counter + 1, &[4; 5], &documents(&[&[4; 4]]));
        let (newest, stored) = (content(&[4; 5], &[&[4; 4]]), content(&[3; 5], &[&[3; 4]]));
        // Of the room before the documents no byte counts.
        let front = HEADER_BYTES + ENTRY_BYTES + 5;
        for cut in (0..=front).chain(placed.at..=new.len()) {
            for copy in 0..COPIES {
                let restore = || NAMES.iter().zip(&before).for_each(|(n, b)| disk.overwrite(n, b).unwrap());
                restore();
                for whole in &order[..copy] {
                    disk.overwrite(NAMES[*whole], &new).unwrap();
                }
                disk.overwrite(NAMES[order[copy]], &new[..cut]).unwrap();
                let is_new = copy > 0 || cut == new.len();
                let expected = if is_new { &newest } else { &stored };
                assert_eq!(found(&disk).0.as_ref(), Some(expected), "copy {copy} cut at {cut}");
                if copy == 0 && cut < new.len() {
                    // The other two hold what was stored last; either is enough.
                    for rotten in &order[1..] {
                        disk.overwrite(NAMES[*rotten], b"rot").unwrap();
                        assert_eq!(found(&disk).0.as_ref(), Some(&stored), "cut at {cut} and rot");
                        disk.overwrite(NAMES[*rotten], &before[*rotten]).unwrap();
                    }
                }
            }
        }
    }
}
