//! What the node is in the middle of: intent before the act, proof after it.
//!
//! One line per record: the record's SHA-256 in hexadecimal, a space, the record as JSON. A last line without its end
//! was never synced, so what it announces was never begun; any other broken line is damage.
//!
//! It lies there twice, in two folders, because a record that is lost is an act that is done again: what is durable
//! stands in both, and a process that ends in between leaves one record more in the first. The one that tells more
//! counts, and the other is made like it.
//!
//! The file begins with the first intent, and then holds everything from the task's beginning. Before it nothing was
//! done to the machine, so a process that ends there leaves nothing to go on with: the task is granted again. A task
//! whose checks find everything done has no file at all; its receipt is its proof.

use std::collections::BTreeMap;

use hostler_plan::{
    document::{Observation, Outcome, PodReport},
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
/// The same once more; in another folder, which may be lost.
const COPY: &str = "journal.copy";
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
    /// What became of pods so far; what is told of one later counts.
    Pods { pods: Vec<PodReport> },
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
    /// What became of pods, by pod.
    pub pods: BTreeMap<String, PodReport>,
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
        Self {
            begun,
            intents: BTreeMap::new(),
            tries: 0,
            proofs: Vec::new(),
            pods: BTreeMap::new(),
            ended: None,
            unwritten: Vec::new(),
        }
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
            Record::Pods { pods } => self.pods.extend(pods.into_iter().map(|pod| (pod.pod.clone(), pod))),
            Record::Ended { outcome, at } => self.ended = Some((outcome, at)),
        }
        Ok(())
    }
}

/// The task that was begun and whose receipt is not counted yet; a journal of one that
/// `is_over` counts for nothing beside another.
pub(crate) fn load(disk: &Disk, is_over: impl Fn(&Begun) -> bool) -> Result<Option<Running>, StateFileError> {
    let mut found = [Found::read(disk, CURRENT), Found::read(disk, COPY)];
    // Of one at its beginning nothing was done: it was given back, and its removal undone by the end of the power.
    let is_at_work =
        |found: &Found| found.task.as_ref().is_some_and(|task| !is_over(&task.begun) && !task.is_at_its_beginning());
    if found.iter().any(is_at_work) {
        found = found.map(|one| if one.task.is_none() || is_at_work(&one) { one } else { Found::none(one.name) });
    }
    found.sort_by_key(|found| std::cmp::Reverse(found.records));
    let [most, other] = found;
    let begun = most.task.as_ref().map(|task| &task.begun);
    let is_another = |task: &Running| Some(&task.begun) != begun;
    match (most.damage, &other.damage) {
        (Some(damage), _) => return Err(broken(most.name, &damage).into()),
        // It may have told more.
        (None, Some(damage)) if most.records <= other.records => return Err(broken(other.name, damage).into()),
        (None, Some(_) | None) if other.task.as_ref().is_some_and(is_another) => {
            return Err(broken(other.name, &format!("another task than in {}", most.name)).into());
        }
        (None, Some(_) | None) => {}
    }
    let Some(task) = most.task else { return Ok(None) };
    for copy in [CURRENT, COPY] {
        // What comes next is appended behind whole lines only.
        if disk.read(copy, MAX_BYTES).ok().flatten().as_ref() != Some(&most.whole) {
            disk.replace(copy, &most.whole)?;
        }
    }
    Ok(Some(task))
}

/// What one of the two tells.
struct Found {
    name: &'static str,
    task: Option<Running>,
    /// Whole records from the first on, and their lines.
    records: usize,
    whole: Vec<u8>,
    /// What follows them, where that was not the end of a process.
    damage: Option<String>,
}

impl Found {
    fn none(name: &'static str) -> Self {
        Self { name, task: None, records: 0, whole: Vec::new(), damage: None }
    }

    fn read(disk: &Disk, name: &'static str) -> Self {
        let mut found = Self::none(name);
        match disk.read(name, MAX_BYTES) {
            Ok(Some(bytes)) => found.damage = found.take(&bytes).err(),
            Ok(None) => {}
            Err(error) => found.damage = Some(error.to_string()),
        }
        found
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        for line in bytes.split_inclusive(|b| *b == b'\n').filter(|line| line.ends_with(b"\n")) {
            let in_line = |found: String| format!("{found} in line {}", self.records + 1);
            match (&mut self.task, read(line).map_err(in_line)?) {
                (None, Record::Begun(begun)) => self.task = Some(Running::new(*begun)),
                (None, _) => return Err(in_line("no beginning".into())),
                (Some(task), record) => task.apply(record).map_err(in_line)?,
            }
            self.records += 1;
            self.whole.extend(line);
        }
        Ok(())
    }
}

/// Takes a record. An intent is durable when this returns, and so is everything from the first intent on.
pub(crate) fn write(disk: &Disk, task: &mut Running, record: Record) -> Result<(), DiskError> {
    let line = line(&record);
    if task.unwritten.is_empty() {
        disk.append(CURRENT, &line)?;
        disk.append(COPY, &line)?;
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

/// Begins the file if there is none: it is durable, twice, when this returns.
pub(crate) fn keep(disk: &Disk, task: &mut Running) -> Result<(), DiskError> {
    if !task.unwritten.is_empty() {
        disk.replace(CURRENT, &task.unwritten)?;
        disk.replace(COPY, &task.unwritten)?;
        task.unwritten.clear();
    }
    Ok(())
}

/// Puts the journal aside, if it has a file: the task's receipt is counted.
pub(crate) fn close(disk: &Disk, task: &Running) -> Result<(), DiskError> {
    if !task.unwritten.is_empty() {
        return Ok(());
    }
    disk.remove(COPY)?;
    disk.rename(CURRENT, LAST).or_else(|error| {
        tracing::warn!("{error}; the journal of the last task is not kept");
        disk.remove(CURRENT)
    })
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

fn broken(name: &str, found: &str) -> Refused {
    damaged(&format!("in its journal {name} {found}"))
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
        assert_eq!(load(&disk, |_| false).unwrap(), None);
        let mut task = written(&disk);
        assert_eq!(load(&disk, |_| false).unwrap(), Some(task.clone()));
        let whole = disk.read(CURRENT, MAX_BYTES).unwrap().unwrap();
        disk.replace(CURRENT, &whole[..whole.len() - 10]).unwrap();
        assert_eq!(load(&disk, |_| false).unwrap(), Some(task.clone()), "the copy tells more");
        assert_eq!(disk.read(CURRENT, MAX_BYTES).unwrap().unwrap(), whole);
        for name in [CURRENT, COPY] {
            disk.replace(name, &whole[..whole.len() - 10]).unwrap();
        }
        task.intents.remove(&1);
        task.tries = 0;
        assert_eq!(load(&disk, |_| false).unwrap(), Some(task.clone()));
        assert_eq!(load(&disk, |_| false).unwrap().as_ref(), Some(&task), "the tail is gone for good");
        close(&disk, &task).unwrap();
        assert_eq!(load(&disk, |_| false).unwrap(), None);
    }

    #[test]
    fn there_is_no_file_before_the_first_intent_and_then_it_holds_everything() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let mut task = begin(begun());
        let proof = |step| Record::Proof { step, changed: false, detail: "so".into(), observations: vec![] };
        write(&disk, &mut task, proof(0)).unwrap();
        write(&disk, &mut task, proof(1)).unwrap();
        assert_eq!(load(&disk, |_| false).unwrap(), None);
        close(&disk, &task).unwrap();
        let (boot_id, at) = (BootId::new("b").unwrap(), Timestamp::from_unix_seconds(2));
        write(&disk, &mut task, Record::Intent { step: 2, boot_id, at }).unwrap();
        let loaded = load(&disk, |_| false).unwrap().unwrap();
        assert_eq!((loaded.proofs.len(), loaded.intents.len()), (2, 1));
        assert_eq!(loaded, task);
        write(&disk, &mut task, proof(2)).unwrap();
        assert_eq!(load(&disk, |_| false).unwrap().unwrap(), task, "from then on every record is durable");

        let mut suspended = begin(begun());
        keep(&disk, &mut suspended).unwrap();
        assert_eq!(
            load(&disk, |_| false).unwrap(),
            Some(suspended),
            "a process that ends in order leaves the task to the next"
        );
    }

    #[test]
    fn a_flipped_byte_in_one_of_them_loses_nothing_and_in_both_is_damage() {
        let directory = hostler_fixtures::damage::scratch();
        let disk = Disk::open(directory.path()).unwrap();
        let task = written(&disk);
        let whole = disk.read(CURRENT, MAX_BYTES).unwrap().unwrap();
        for at in 0..whole.len() - 1 {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x04;
            for (one, other) in [(CURRENT, COPY), (COPY, CURRENT)] {
                disk.replace(one, &flipped).unwrap();
                assert_eq!(load(&disk, |_| false).unwrap().as_ref(), Some(&task), "byte {at} of {one}");
                assert_eq!(disk.read(one, MAX_BYTES).unwrap().as_ref(), Some(&whole), "it is made whole again");
                disk.replace(one, &flipped).unwrap();
                disk.replace(other, &flipped).unwrap();
                match load(&disk, |_| false) {
                    Err(StateFileError::Refused(_)) => {}
                    found => panic!("byte {at}: {found:?}, was {task:?}"),
                }
                [one, other].iter().for_each(|name| disk.replace(name, &whole).unwrap());
            }
        }
    }

    #[test]
    fn two_tasks_at_once_are_damage_unless_one_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let task = written(&disk);
        let begin = Record::Begun(Box::new(Begun { task: TaskId::new("w1.other").unwrap(), ..begun() }));
        let (boot_id, at) = (BootId::new("b").unwrap(), Timestamp::from_unix_seconds(2));
        let other = [line(&begin), line(&Record::Intent { step: 0, boot_id, at })].concat();
        disk.replace(COPY, &other).unwrap();
        let Err(StateFileError::Refused(refused)) = load(&disk, |_| false) else { panic!("two tasks") };
        assert!(refused.reason.contains("journal.copy") && refused.reason.contains("another task"), "{refused}");
        let is_over = |begun: &Begun| begun.task.to_string() == "w1.other";
        assert_eq!(load(&disk, is_over).unwrap(), Some(task));
        assert_ne!(disk.read(COPY, MAX_BYTES).unwrap(), Some(other));
    }
}
