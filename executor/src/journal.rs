//! What the node is in the middle of: intent before the act, proof after it.
//!
//! One file per task, one line per record: the record's SHA-256 in hexadecimal, a space, the record as JSON. A last
//! line without its end was never synced, so what it announces was never begun; any other broken line is damage.
//!
//! The file begins with the first intent, and then holds everything from the task's beginning. Before it nothing was
//! done to the machine, so a process that ends there leaves nothing to go on with: the task is granted again. A task
//! whose checks find everything done has no file at all; its receipt is its proof.

use std::collections::BTreeMap;

use hostler_plan::{
    document::{Observation, Outcome},
    entry::StoredDocument,
    id::{BootId, Digest, Epoch, Seq, TaskId},
    json,
    refusal::Refused,
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    disk::{Disk, DiskError},
    state_file::{StateFileError, damaged},
};

const CURRENT: &str = "journal/current";
/// The journal of the task before, for people.
const LAST: &str = "journal/last";

/// The receipts that a task relied on take most of it: 1,000 of 3 KiB.
const MAX_BYTES: u64 = 16 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Record {
    /// The task was granted and its gate is met.
    Begun(Box<Begun>),
    /// The step is about to be applied. Written again for each attempt.
    Intent { step: usize, boot_id: BootId, at: Timestamp },
    /// The step is verified.
    Proof { step: usize, changed: bool, detail: String, observations: Vec<Observation> },
    /// The task ended like this; the receipt follows.
    Ended { outcome: Outcome, at: Timestamp },
}

/// What a task needs to go on after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begun {
    pub plan: Digest,
    pub epoch: Epoch,
    pub seq: Seq,
    pub task: TaskId,
    pub grant: u64,
    /// Digests of the receipts that proved the order.
    pub relied_on: Vec<Digest>,
    /// Those receipts; a join reads its secret out of one.
    pub receipts: Vec<StoredDocument>,
    pub started: Timestamp,
}

/// A task that was begun, as its journal tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    pub begun: Begun,
    /// The first attempt at each step that was tried: in which boot and when.
    pub intents: BTreeMap<usize, (BootId, Timestamp)>,
    /// How often the step was tried that is not proved yet.
    pub tries: usize,
    /// What was proved, step by step from the first.
    pub proofs: Vec<Proof>,
    pub ended: Option<(Outcome, Timestamp)>,
    /// Lines for a file that was not begun yet; empty once there is one.
    unwritten: Vec<u8>,
}

/// A step that is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    pub changed: bool,
    pub detail: String,
    pub observations: Vec<Observation>,
}

impl Running {
    /// A task at its beginning, as its file tells it.
    fn new(begun: Begun) -> Self {
        Self { begun, intents: BTreeMap::new(), tries: 0, proofs: Vec::new(), ended: None, unwritten: Vec::new() }
    }

    /// Whether nothing is known of it but that it was granted.
    pub(crate) fn is_at_its_beginning(&self) -> bool {
        self.intents.is_empty() && self.proofs.is_empty()
    }

    fn apply(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Begun(_) => return Err("a second beginning".into()),
            Record::Intent { step, boot_id, at } if step == self.proofs.len() => {
                self.intents.entry(step).or_insert((boot_id, at));
                self.tries += 1;
            }
            Record::Proof { step, changed, detail, observations } if step == self.proofs.len() => {
                self.proofs.push(Proof { changed, detail, observations });
                self.tries = 0;
            }
            Record::Intent { step, .. } | Record::Proof { step, .. } => {
                return Err(format!("step {step} where step {} was expected", self.proofs.len()));
            }
            Record::Ended { outcome, at } => self.ended = Some((outcome, at)),
        }
        Ok(())
    }
}

/// The task that was begun and whose receipt is not counted yet.
pub(crate) fn load(disk: &Disk) -> Result<Option<Running>, StateFileError> {
    let Some(bytes) = disk.read(CURRENT, MAX_BYTES)? else { return Ok(None) };
    let whole = match bytes.iter().rposition(|b| *b == b'\n') {
        Some(end) => &bytes[..=end],
        None => &bytes[..0],
    };
    if whole.len() < bytes.len() {
        // What comes next is appended behind whole lines only.
        disk.replace(CURRENT, whole)?;
    }
    let mut task: Option<Running> = None;
    for (number, line) in whole.split_inclusive(|b| *b == b'\n').enumerate() {
        let record = read(line).map_err(|found| broken(number, &found))?;
        match (&mut task, record) {
            (None, Record::Begun(begun)) => task = Some(Running::new(*begun)),
            (None, _) => return Err(broken(number, "no beginning").into()),
            (Some(task), record) => task.apply(record).map_err(|found| broken(number, &found))?,
        }
    }
    Ok(task)
}

/// Takes a record. An intent is durable when this returns, and so is everything from the first intent on.
pub(crate) fn write(disk: &Disk, task: &mut Running, record: Record) -> Result<(), DiskError> {
    let line = line(&record);
    if task.unwritten.is_empty() {
        disk.append(CURRENT, &line)?;
    } else {
        task.unwritten.extend(line);
        if matches!(record, Record::Intent { .. }) {
            keep(disk, task)?;
        }
    }
    task.apply(record).expect("the executor writes records in order");
    Ok(())
}

/// Begins a journal for a task, without a file.
pub(crate) fn begin(begun: Begun) -> Running {
    let unwritten = line(&Record::Begun(Box::new(begun.clone())));
    Running { unwritten, ..Running::new(begun) }
}

/// Begins the file if there is none: it is durable when this returns.
pub(crate) fn keep(disk: &Disk, task: &mut Running) -> Result<(), DiskError> {
    if !task.unwritten.is_empty() {
        disk.replace(CURRENT, &task.unwritten)?;
        task.unwritten.clear();
    }
    Ok(())
}

/// Puts the journal aside, if it has a file: the task's receipt is counted.
pub(crate) fn close(disk: &Disk, task: &Running) -> Result<(), DiskError> {
    if task.unwritten.is_empty() { disk.rename(CURRENT, LAST) } else { Ok(()) }
}

fn line(record: &Record) -> Vec<u8> {
    let json = serde_json::to_vec(record).expect("records hold only texts, integers and lists");
    let mut line = Digest::of(&json).hex().into_bytes();
    line.push(b' ');
    line.extend(json);
    line.push(b'\n');
    line
}

fn read(line: &[u8]) -> Result<Record, String> {
    let (digest, json) = line.split_at_checked(65).ok_or("a short line")?;
    let json = json.strip_suffix(b"\n").ok_or("no end of line")?;
    if digest.strip_suffix(b" ") != Some(Digest::of(json).hex().as_bytes()) {
        return Err("other content than was written".into());
    }
    json::parse(json).map_err(|e| e.to_string())
}

fn broken(line: usize, found: &str) -> Refused {
    damaged(&format!("in line {} of the journal {found}", line + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> Begun {
        Begun {
            plan: Digest::of(b"plan"),
            epoch: Epoch(1),
            seq: Seq(2),
            task: TaskId::new("w1.upgrade").unwrap(),
            grant: 3,
            relied_on: vec![],
            receipts: vec![],
            started: Timestamp::from_unix_seconds(1),
        }
    }

    fn written(disk: &Disk) -> Running {
        let boot = || BootId::new("b").unwrap();
        let at = Timestamp::from_unix_seconds(2);
        let mut task = begin(begun());
        for record in [
            Record::Intent { step: 0, boot_id: boot(), at },
            Record::Proof { step: 0, changed: true, detail: "done".into(), observations: vec![] },
            Record::Intent { step: 1, boot_id: boot(), at },
        ] {
            write(disk, &mut task, record).unwrap();
        }
        task
    }

    #[test]
    fn a_journal_reads_back_and_a_torn_tail_was_never_begun() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        assert_eq!(load(&disk).unwrap(), None);
        let mut task = written(&disk);
        assert_eq!(load(&disk).unwrap(), Some(task.clone()));
        let whole = disk.read(CURRENT, MAX_BYTES).unwrap().unwrap();
        disk.replace(CURRENT, &whole[..whole.len() - 10]).unwrap();
        task.intents.remove(&1);
        task.tries = 0;
        assert_eq!(load(&disk).unwrap(), Some(task.clone()));
        assert_eq!(load(&disk).unwrap().as_ref(), Some(&task), "the tail is gone for good");
        close(&disk, &task).unwrap();
        assert_eq!(load(&disk).unwrap(), None);
    }

    #[test]
    fn there_is_no_file_before_the_first_intent_and_then_it_holds_everything() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let mut task = begin(begun());
        let proof = |step| Record::Proof { step, changed: false, detail: "so".into(), observations: vec![] };
        write(&disk, &mut task, proof(0)).unwrap();
        write(&disk, &mut task, proof(1)).unwrap();
        assert_eq!(load(&disk).unwrap(), None);
        close(&disk, &task).unwrap();
        let (boot_id, at) = (BootId::new("b").unwrap(), Timestamp::from_unix_seconds(2));
        write(&disk, &mut task, Record::Intent { step: 2, boot_id, at }).unwrap();
        let loaded = load(&disk).unwrap().unwrap();
        assert_eq!((loaded.proofs.len(), loaded.intents.len()), (2, 1));
        assert_eq!(loaded, task);
        write(&disk, &mut task, proof(2)).unwrap();
        assert_eq!(load(&disk).unwrap().unwrap(), task, "from then on every record is durable");

        let mut suspended = begin(begun());
        keep(&disk, &mut suspended).unwrap();
        assert_eq!(load(&disk).unwrap(), Some(suspended), "a process that ends in order leaves the task to the next");
    }

    #[test]
    fn every_flipped_byte_before_the_last_line_is_damage() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let task = written(&disk);
        let whole = disk.read(CURRENT, MAX_BYTES).unwrap().unwrap();
        for at in 0..whole.len() - 1 {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x04;
            disk.replace(CURRENT, &flipped).unwrap();
            match load(&disk) {
                Err(StateFileError::Refused(_)) => {}
                other => panic!("byte {at}: {other:?}, was {task:?}"),
            }
        }
    }
}
