//! A ledger as an auditor reads it: the chain of its lines, every signature, and whether the decisions could be made
//! when they were made. Nothing is believed but the first root.

mod compare;
mod folder;

use std::{
    fmt, fs,
    io::{Read as _, Write},
    path::Path,
};

use hostler_plan::{
    entry::Entry,
    id::Digest,
    judge::{Claim, Decider, Judge, Proven},
    ledger::{Damage, Head, MAX_LINE_BYTES, Record, decode},
    refusal::{Refusal, Refused},
    text::count,
};
use hostler_proto::v1;
use serde::Serialize;
use tokio_stream::StreamExt as _;

pub use compare::{Fork, compare};
pub use folder::{LaidDown, lay_down, new_folder};

use crate::{Admin, error::Error};

/// Flaws that are listed; a ledger with more is not worth reading further.
const MAX_FLAWS: usize = 100;

/// What an auditor knows from elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    /// The digest of root 1.
    pub first_root: Option<Digest>,
    /// The head that this ledger had when it was seen last: one that ends before it, or holds another record there, was
    /// cut or rewritten.
    pub head: Option<Head>,
}

/// What a ledger holds, and how much of it is proved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub records: u64,
    /// The hash of the last line: compare it with another copy's.
    pub head: Option<Digest>,
    /// The digest of root 1.
    pub first_root: Option<Digest>,
    /// Documents whose signatures count, all kinds together.
    pub documents: u64,
    pub roots: u64,
    pub rosters: u64,
    pub admissions: u64,
    pub enrolments: u64,
    pub plans: u64,
    pub receipts: u64,
    /// What people decided and signed.
    pub decisions: u64,
    pub grants: u64,
    /// Decisions without a signature: the coordinator says that its rules or a person made them.
    pub unsigned: u64,
    /// Of these, those that a person is said to have made and whose signature never came, one sentence each.
    pub claims: Vec<String>,
    /// Alarms and refusals that were recorded: worth a look.
    pub alarms: u64,
    /// What may be in an honest ledger and is worth a look, one sentence each.
    pub notes: Vec<String>,
}

/// A record that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The line is not what was written.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The line is whole, and what it says cannot be.
    #[error("ledger record {index} ({what}) at byte {offset} does not hold: {refused}")]
    Record { index: u64, offset: u64, what: String, refused: Refused },
}

/// Every flaw of a ledger, and what the rest of it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flawed {
    /// At least one.
    pub flaws: Vec<Flaw>,
    pub report: Report,
}

impl fmt::Display for Flawed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = if self.flaws.len() >= MAX_FLAWS { " at least" } else { "" };
        let (flaws, records) = (count(self.flaws.len() as u64, "flaw"), count(self.report.records, "record"));
        write!(f, "found{most} {flaws} in {records}")?;
        self.flaws.iter().try_for_each(|flaw| write!(f, "\n  {flaw}"))
    }
}

impl std::error::Error for Flawed {}

impl From<Flawed> for Error {
    fn from(flawed: Flawed) -> Self {
        let refusal = match flawed.flaws.first() {
            Some(Flaw::Record { refused, .. }) => refused.refusal,
            Some(Flaw::Damage(_)) | None => Refusal::DamagedState,
        };
        Refused::new(refusal, flawed.to_string()).into()
    }
}

/// Verifies a ledger file.
pub fn verify_file(path: &Path, expected: &Expected) -> Result<Report, Error> {
    let failed = |e| Error::file("read", path, e);
    let mut file = fs::File::open(path).map_err(failed)?;
    let mut auditor = Auditor::new(*expected);
    // Read in pieces: a ledger grows for years.
    let mut held: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut chunk).map_err(failed)?;
        held.extend_from_slice(&chunk[..n]);
        let mut used = 0;
        while let Some(end) = held[used..].iter().position(|b| *b == b'\n') {
            auditor.line(&held[used..=used + end]);
            used += end + 1;
        }
        held.drain(..used);
        if n == 0 || held.len() > MAX_LINE_BYTES {
            break;
        }
    }
    if !held.is_empty() {
        auditor.line(&held);
    }
    Ok(auditor.finish()?)
}

/// Whether a ledger that is in memory is whole; if not, its first flaw. `first_root` is the digest of root 1 where it
/// is known.
pub fn verify(bytes: &[u8], first_root: Option<&Digest>) -> Result<Report, Flaw> {
    audit(bytes, &Expected { first_root: first_root.copied(), head: None }).map_err(|mut flawed| flawed.flaws.remove(0))
}

/// Verifies a ledger that is in memory against what is known from elsewhere, and lists every flaw.
#[expect(clippy::result_large_err, reason = "a command makes one")]
pub fn audit(bytes: &[u8], expected: &Expected) -> Result<Report, Flawed> {
    let mut auditor = Auditor::new(*expected);
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        auditor.line(line);
    }
    auditor.finish()
}

/// Fetches the ledger's exact lines from a record on, as they come.
pub async fn export(admin: &mut Admin, from_index: u64, to: &mut dyn Write, name: &Path) -> Result<(), Error> {
    let request = admin.with_session(v1::ExportLedgerRequest { from_index });
    let mut stream = admin.client().export_ledger(request).await?.into_inner();
    while let Some(chunk) = stream.next().await {
        to.write_all(&chunk?.lines).map_err(|e| Error::file("write", name, e))?;
    }
    to.flush().map_err(|e| Error::file("write", name, e))
}

/// Reads line after line, and goes on after one that does not hold.
#[derive(Debug)]
struct Auditor {
    judge: Judge,
    head: Head,
    offset: u64,
    expected: Expected,
    report: Report,
    flaws: Vec<Flaw>,
}

impl Auditor {
    fn new(expected: Expected) -> Self {
        let (judge, report) = (Judge::new(), Report::default());
        Self { judge, head: Head::EMPTY, offset: 0, expected, report, flaws: Vec::new() }
    }

    fn line(&mut self, line: &[u8]) {
        let offset = self.offset;
        self.offset += line.len() as u64;
        let record = match decode(self.head, offset, line) {
            Ok(None) => return,
            Ok(Some((record, head, _))) => {
                self.head = head;
                Some(record)
            }
            Err(damage) => {
                self.flaw(damage.into());
                // What it says of itself counts from here on, so that one bad line does not hide the others.
                let (hash, record) = as_written(line);
                self.head = Head { next_index: self.head.next_index + 1, hash: hash.unwrap_or(self.head.hash) };
                record
            }
        };
        self.report.records += 1;
        if let Some(record) = record {
            self.record(offset, &record);
        }
        self.compare_head();
    }

    fn record(&mut self, offset: u64, record: &Record) {
        let index = self.report.records - 1;
        let flaw = |refused| Flaw::Record { index, offset, what: what(&record.entry), refused };
        let proven = match self.judge.prove(&record.entry).and_then(|proven| self.expect_root(proven)) {
            Ok(proven) => proven,
            Err(refused) => return self.flaw(flaw(refused)),
        };
        if let Err(refused) = self.judge.check(record.at, std::slice::from_ref(&proven)) {
            let again = refused.refusal == Refusal::Replay;
            self.flaw(flaw(refused));
            // A decision that could not be made has no effect; a document that came too late is there all the same.
            if again || matches!(proven, Proven::Decision(_) | Proven::Signed(_)) {
                return;
            }
        }
        let notes = self.judge.notes(record.at, &proven);
        self.report.notes.extend(notes.into_iter().map(|note| format!("record {index}: {note}")));
        self.count(&proven);
        self.judge.apply(record.at, self.head.hash, &proven);
    }

    fn expect_root(&mut self, proven: Proven) -> Result<Proven, Refused> {
        if let Proven::Root(root) = &proven
            && self.report.roots == 0
        {
            let found = root.digest();
            let expected = self.expected.first_root.unwrap_or(found);
            if expected != found {
                return Err(Refused::new(
                    Refusal::RootChain,
                    format!(
                        "expected this profile's first root {expected}, found {found}; it is another fleet's \
                         ledger, or \
                         a forged one"
                    ),
                ));
            }
            self.report.first_root = Some(found);
        }
        Ok(proven)
    }

    fn count(&mut self, proven: &Proven) {
        let report = &mut self.report;
        let of_kind = match proven {
            Proven::Root(_) => &mut report.roots,
            Proven::Admission(_) => &mut report.admissions,
            Proven::Enrolment(_) => &mut report.enrolments,
            Proven::Roster(_) => &mut report.rosters,
            Proven::Plan(_) => &mut report.plans,
            Proven::Receipt(_) => &mut report.receipts,
            Proven::Signed(_) => &mut report.decisions,
            Proven::Holding(_) => &mut report.alarms,
            Proven::Decision(entry) => {
                report.unsigned += u64::from(Decider::of(entry).is_some());
                report.grants += u64::from(matches!(entry, Entry::Granted { .. }));
                report.alarms += u64::from(matches!(entry, Entry::NodeRefused { .. } | Entry::Alarm { .. }));
                return;
            }
        };
        *of_kind += 1;
        report.documents += 1;
    }

    /// The record that ended the ledger when it was seen last must still stand there.
    fn compare_head(&mut self) {
        if let Some(expected) = self.expected.head
            && expected.next_index == self.report.records
            && expected.hash != self.head.hash
        {
            self.other_head(expected, &format!("another record {}", self.report.records - 1));
        }
    }

    /// It is not the ledger that was seen before.
    fn other_head(&mut self, expected: Head, found: &str) {
        let reason = format!(
            "expected a ledger that goes on from {expected}, found {found}; it was cut or rewritten, or is another copy"
        );
        let refused = Refused::new(Refusal::DamagedState, reason);
        let index = self.report.records.saturating_sub(1);
        self.flaw(Flaw::Record { index, offset: self.offset, what: "head that was seen before".to_owned(), refused });
    }

    fn flaw(&mut self, flaw: Flaw) {
        if self.flaws.len() < MAX_FLAWS {
            self.flaws.push(flaw);
        }
    }

    #[expect(clippy::result_large_err, reason = "a command makes one")]
    fn finish(mut self) -> Result<Report, Flawed> {
        if let Some(expected) = self.expected.head.filter(|head| head.next_index > self.report.records) {
            let found = format!("only {}", count(self.report.records, "record"));
            self.other_head(expected, &found);
        }
        let Self { judge, head, mut report, flaws, .. } = self;
        report.head = (report.records > 0).then_some(head.hash);
        report.claims = judge.claims().iter().map(|(claim, by)| claimed(claim, by)).collect();
        if flaws.is_empty() { Ok(report) } else { Err(Flawed { flaws, report }) }
    }
}

/// A claim as a sentence.
fn claimed(claim: &Claim, by: &str) -> String {
    let by = by.escape_debug();
    match claim {
        Claim::Paused(plan) => format!("the pause of plan {plan} by {by} is not signed"),
        Claim::Halted(plan) => format!("the halt of plan {plan} by {by} is not signed"),
        Claim::Revoked(token) => format!("the revocation of token {token} by {by} is not signed"),
    }
}

/// The hash and the record of a line, whether they belong together or not.
fn as_written(line: &[u8]) -> (Option<Digest>, Option<Record>) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let hash = text.get(..64).and_then(|hash| format!("sha256:{}", std::str::from_utf8(hash).ok()?).parse().ok());
    let record = text.get(65..).and_then(|json| hostler_plan::json::parse(json).ok());
    (hash, record)
}

/// The entry in a few words.
fn what(entry: &Entry) -> String {
    match entry {
        Entry::Document { kind, .. } => kind.noun().to_owned(),
        Entry::Granted { task, grant, .. } => format!("grant {grant} of {task}"),
        Entry::LeaseExpired { grant, .. } => format!("expiry of grant {grant}"),
        Entry::LeaseReleased { grant, .. } => format!("release of grant {grant}"),
        Entry::Paused { .. } => "pause".to_owned(),
        Entry::Resumed { .. } => "resume".to_owned(),
        Entry::Halted { .. } => "halt".to_owned(),
        Entry::Recovered { node, .. } => format!("proof that {node} is no worse"),
        Entry::Finished { .. } => "end of a rollout".to_owned(),
        Entry::Quarantined { node, .. } => format!("quarantine of {node}"),
        Entry::QuarantineReleased { node, .. } => format!("release of {node}"),
        Entry::NodeRefused { node, .. } => format!("refusal of {node}"),
        Entry::Alarm { .. } => "alarm".to_owned(),
        Entry::TokenRevoked { token, .. } => format!("end of token {token}"),
        Entry::ClockSetBack { .. } => "clock that was set back".to_owned(),
        Entry::Restored { .. } => "loss of a part".to_owned(),
        Entry::CaughtUp { .. } => "end of a loss".to_owned(),
    }
}
