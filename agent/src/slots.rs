//! What must never be lost or go back: written twice, each copy proving itself.
//!
//! A slot is `HOSTLER1`, a counter, a length, the SHA-256 of all that and of the content, and the content. Both slots are
//! written one after the other, so that one damaged copy loses nothing; the valid one with the higher counter wins.

use hostler_plan::{
    refusal::{Refusal, Refused},
    trust::NodeState,
};
use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, DiskError};

const NAMES: [&str; 2] = ["state.0", "state.1"];
const MAGIC: &[u8; 8] = b"HOSTLER1";
const HEADER_BYTES: usize = 8 + 8 + 8 + 32;

/// A root, a roster and some plans with signatures, in base64: at most about 3 MiB each.
const MAX_BYTES: u64 = 32 << 20;

/// The state on disk.
#[derive(Debug)]
pub struct Slots {
    counter: u64,
}

impl Slots {
    /// Reads the newest state whose copy is whole. `None` when no slot was ever written; damage is a refusal.
    pub fn open(disk: &Disk) -> Result<(Self, Option<NodeState>), SlotsError> {
        let mut newest: Option<(u64, Vec<u8>)> = None;
        let mut damage = Vec::new();
        for name in NAMES {
            let Some(bytes) = disk.read(name, MAX_BYTES)? else { continue };
            match read(&bytes) {
                Ok((counter, content)) if newest.as_ref().is_none_or(|(c, _)| counter > *c) => {
                    newest = Some((counter, content.to_vec()));
                }
                Ok(_) => {}
                Err(found) => {
                    tracing::warn!("{} is damaged: {found}", disk.path(name).display());
                    damage.push(format!("{name}: {found}"));
                }
            }
        }
        match newest {
            Some((counter, content)) => Ok((Self { counter }, Some(NodeState::from_bytes(&content)?))),
            None if damage.is_empty() => Ok((Self { counter: 0 }, None)),
            None => Err(SlotsError::Refused(damaged(&damage.join(", ")))),
        }
    }

    /// Stores a state; it is durable, twice, when this returns.
    pub fn store(&mut self, disk: &Disk, state: &NodeState) -> Result<(), DiskError> {
        self.counter += 1;
        let bytes = write(self.counter, &state.to_bytes());
        for name in NAMES {
            disk.replace(name, &bytes)?;
        }
        Ok(())
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
    if number(16) != content.len() as u64 {
        return Err(format!("{} bytes of {}", content.len(), number(16)));
    }
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
        assert!(read(&[whole, vec![0]].concat()).is_err());
    }
}
