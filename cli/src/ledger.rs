//! A ledger as an auditor reads it: the chain of its lines, every signature, and whether the decisions could be made
//! when they were made. Nothing is believed but the first root.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write},
    path::Path,
};

use hostler_plan::{
    document::{Admission, DocumentKind, Outcome, Plan, Receipt, Roster, Signed},
    entry::{Entry, StoredDocument},
    id::{Digest, Fingerprint, NodeName, TaskId, TokenId},
    ledger::{Damage, Head, MAX_LINE_BYTES, Record, decode},
    refusal::{Refusal, Refused},
    trust::{self, Purpose, TrustedRoot, Verified},
};
use hostler_proto::v1;
use serde::Serialize;
use tokio_stream::StreamExt as _;

use crate::{Admin, error::Error};

/// What a whole and honest ledger holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub records: u64,
    /// The hash of the last line: compare it with another copy's.
    pub head: Option<Digest>,
    /// The digest of root 1.
    pub first_root: Option<Digest>,
    pub roots: u64,
    pub rosters: u64,
    pub admissions: u64,
    pub enrolments: u64,
    pub plans: u64,
    pub receipts: u64,
    pub grants: u64,
    /// Alarms and refusals that were recorded: worth a look.
    pub alarms: u64,
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

impl From<Flaw> for Error {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Damage(damage) => Refused::new(Refusal::DamagedState, damage.to_string()).into(),
            Flaw::Record { ref refused, .. } => Refused::new(refused.refusal, flaw.to_string()).into(),
        }
    }
}

/// Verifies a ledger file. `first_root` is the digest of root 1 where this machine knows it.
pub fn verify_file(path: &Path, first_root: Option<&Digest>) -> Result<Report, Error> {
    let failed = |e| Error::file("read", path, e);
    let mut file = fs::File::open(path).map_err(failed)?;
    let mut auditor = Auditor::new(first_root.copied());
    // Read in pieces: a ledger grows for years.
    let mut held: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut chunk).map_err(failed)?;
        held.extend_from_slice(&chunk[..n]);
        let mut used = 0;
        while let Some(end) = held[used..].iter().position(|b| *b == b'\n') {
            auditor.line(&held[used..=used + end])?;
            used += end + 1;
        }
        held.drain(..used);
        if n == 0 || held.len() > MAX_LINE_BYTES {
            break;
        }
    }
    if !held.is_empty() {
        auditor.line(&held)?;
    }
    Ok(auditor.report())
}

/// Verifies a ledger that is in memory.
pub fn verify(bytes: &[u8], first_root: Option<&Digest>) -> Result<Report, Flaw> {
    let mut auditor = Auditor::new(first_root.copied());
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        auditor.line(line)?;
    }
    Ok(auditor.report())
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

/// The fold of a ledger as far as proof needs it.
#[derive(Debug)]
struct Auditor {
    head: Head,
    offset: u64,
    expected_root: Option<Digest>,
    root: Option<TrustedRoot>,
    roster: Option<Verified<Roster>>,
    admissions: BTreeMap<TokenId, Verified<Admission>>,
    plans: BTreeMap<Digest, Verified<Plan>>,
    /// The success receipts of every task, for the order of tasks.
    succeeded: BTreeMap<(Digest, TaskId), BTreeSet<Digest>>,
    /// The last receipt of every node key.
    last: BTreeMap<(NodeName, Fingerprint), (u64, Digest)>,
    seen: BTreeMap<Digest, ()>,
    grants: BTreeMap<u64, (Digest, TaskId)>,
    report: Report,
}

impl Auditor {
    fn new(expected_root: Option<Digest>) -> Self {
        Self {
            head: Head::EMPTY,
            offset: 0,
            expected_root,
            root: None,
            roster: None,
            admissions: BTreeMap::new(),
            plans: BTreeMap::new(),
            succeeded: BTreeMap::new(),
            last: BTreeMap::new(),
            seen: BTreeMap::new(),
            grants: BTreeMap::new(),
            report: Report::default(),
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Flaw> {
        let Some((record, head, length)) = decode(self.head, self.offset, line)? else { return Ok(()) };
        self.record(&record).map_err(|refused| Flaw::Record {
            index: record.index,
            offset: self.offset,
            what: what(&record.entry),
            refused,
        })?;
        self.head = head;
        self.offset += length as u64;
        self.report.records += 1;
        Ok(())
    }

    fn report(mut self) -> Report {
        self.report.head = (self.report.records > 0).then_some(self.head.hash);
        self.report
    }

    fn record(&mut self, record: &Record) -> Result<(), Refused> {
        match &record.entry {
            Entry::Document { kind, document } => self.document(*kind, document),
            Entry::Granted { plan, task, grant, node, .. } => self.granted(plan, task, *grant, node),
            Entry::LeaseExpired { plan, task, grant } | Entry::LeaseReleased { plan, task, grant, .. } => {
                match self.grants.get(grant) == Some(&(*plan, task.clone())) {
                    true => Ok(()),
                    false => Err(order(format!("expected grant {grant} of task {task} before it, found none"))),
                }
            }
            Entry::Paused { plan, .. }
            | Entry::Resumed { plan, .. }
            | Entry::Halted { plan, .. }
            | Entry::Recovered { plan, .. } => self.plan(plan).map(|_| ()),
            Entry::Finished { plan } => self.finished(plan),
            Entry::NodeRefused { .. } | Entry::Alarm { .. } => {
                self.report.alarms += 1;
                Ok(())
            }
            Entry::Quarantined { .. } | Entry::QuarantineReleased { .. } | Entry::TokenRevoked { .. } => Ok(()),
        }
    }

    fn document(&mut self, kind: DocumentKind, StoredDocument(signed): &StoredDocument) -> Result<(), Refused> {
        // The very same document again proves nothing new and changes nothing.
        let again = self.seen.contains_key(&signed.digest());
        match kind {
            DocumentKind::Root => self.root(signed)?,
            DocumentKind::Admission => {
                let admission = trust::admission(self.trusted()?, signed, Purpose::Begun)?;
                self.admissions.insert(admission.document().token.clone(), admission);
                self.report.admissions += 1;
            }
            DocumentKind::Enrolment => self.enrolment(signed)?,
            DocumentKind::Roster => {
                self.roster = Some(trust::roster(self.trusted()?, self.roster.as_ref(), signed, Purpose::Begun)?);
                self.report.rosters += 1;
            }
            DocumentKind::Plan => self.new_plan(signed)?,
            DocumentKind::Receipt if again => {}
            DocumentKind::Receipt => self.receipt(signed)?,
            DocumentKind::Holding | DocumentKind::Decision | DocumentKind::Login => {
                let reason = format!("expected no {} in a ledger, found one", kind.noun());
                return Err(Refused::new(Refusal::Malformed, reason));
            }
        }
        self.seen.insert(signed.digest(), ());
        Ok(())
    }

    fn trusted(&self) -> Result<&TrustedRoot, Refused> {
        self.root.as_ref().ok_or_else(|| Refused::new(Refusal::RootChain, "expected a root before it, found none"))
    }

    fn root(&mut self, signed: &Signed) -> Result<(), Refused> {
        let next = match &self.root {
            Some(root) => root.advance(signed)?,
            None => {
                let digest = signed.digest();
                let expected = self.expected_root.unwrap_or(digest);
                if expected != digest {
                    return Err(Refused::new(
                        Refusal::RootChain,
                        format!(
                            "expected this profile's first root {expected}, found {digest}; it is another fleet's \
                             ledger, or a forged one"
                        ),
                    ));
                }
                self.report.first_root = Some(digest);
                TrustedRoot::first(signed, &digest)?
            }
        };
        // A roster of an epoch that ended is no floor for the next.
        self.roster = self.roster.take().filter(|r| r.document().epoch == next.root().epoch);
        self.root = Some(next);
        self.report.roots += 1;
        Ok(())
    }

    fn enrolment(&mut self, signed: &Signed) -> Result<(), Refused> {
        // Which admission it belongs to is read before it is verified; the admission then judges it.
        let named = self.admissions.values().find_map(|a| {
            let enrolment = trust::enrolment(a, signed, Purpose::Begun);
            match enrolment {
                Ok(_) => Some(Ok(())),
                Err(e) if e.refusal == Refusal::BadSignature => None,
                Err(e) => Some(Err(e)),
            }
        });
        self.report.enrolments += 1;
        named.unwrap_or_else(|| {
            Err(Refused::new(
                Refusal::BadSignature,
                "expected a signature by the key of an admission before it, found none",
            ))
        })
    }

    fn new_plan(&mut self, signed: &Signed) -> Result<(), Refused> {
        let roster = self.require_roster()?;
        let plan = trust::plan(self.trusted()?, roster, signed, Purpose::Begun)?;
        let (epoch, seq) = (plan.document().epoch, plan.document().seq);
        let twin = self.plans.values().find(|p| (p.document().epoch, p.document().seq) == (epoch, seq));
        if let Some(other) = twin.filter(|p| p.digest() != plan.digest()) {
            return Err(Refused::new(
                Refusal::Replay,
                format!(
                    "expected plan {seq} of epoch {epoch} to stay {}, found {} under the same number",
                    other.digest(),
                    plan.digest()
                ),
            ));
        }
        self.plans.insert(plan.digest(), plan);
        self.report.plans += 1;
        Ok(())
    }

    fn require_roster(&self) -> Result<&Verified<Roster>, Refused> {
        self.roster.as_ref().ok_or_else(|| Refused::new(Refusal::RootChain, "expected a roster before it, found none"))
    }

    fn plan(&self, digest: &Digest) -> Result<&Verified<Plan>, Refused> {
        self.plans.get(digest).ok_or_else(|| order(format!("expected plan {digest} before it, found none")))
    }

    fn granted(&mut self, plan: &Digest, task: &TaskId, grant: u64, node: &NodeName) -> Result<(), Refused> {
        let document = self.plan(plan)?.document();
        let found = document.task(task).ok_or_else(|| order(format!("plan {} has no task {task}", document.seq)))?;
        if found.node != *node {
            return Err(order(format!("expected task {task} granted to {}, found {node}", found.node)));
        }
        if let Some(last) = self.grants.keys().next_back().filter(|last| **last >= grant) {
            return Err(order(format!("expected a grant above {last}, found {grant}")));
        }
        for before in &found.after {
            if !self.succeeded.contains_key(&(*plan, before.clone())) {
                return Err(order(format!(
                    "task {task} comes after {before}: expected its success before the grant, found none"
                )));
            }
        }
        self.grants.insert(grant, (*plan, task.clone()));
        self.report.grants += 1;
        Ok(())
    }

    fn receipt(&mut self, signed: &Signed) -> Result<(), Refused> {
        let receipt = trust::receipt(self.require_roster()?, signed)?;
        let r = receipt.document();
        let plan = self.plan(&r.plan)?;
        let task = plan
            .document()
            .task(&r.task)
            .ok_or_else(|| order(format!("plan {} has no task {}", plan.document().seq, r.task)))?;
        if task.node != r.node {
            return Err(order(format!("expected a receipt of {} for {}, found one of {}", task.node, task.id, r.node)));
        }
        if self.grants.get(&r.grant) != Some(&(r.plan, r.task.clone())) {
            return Err(order(format!("expected grant {} of task {} before it, found none", r.grant, r.task)));
        }
        // A node that refused touched nothing, and may have refused because the order was not met.
        if !matches!(r.outcome, Outcome::Refused { .. }) {
            self.relied_on(plan, r)?;
        }
        self.counted(&receipt)?;
        if receipt.document().outcome.is_success() {
            let task = (receipt.document().plan, receipt.document().task.clone());
            self.succeeded.entry(task).or_default().insert(receipt.digest());
        }
        self.report.receipts += 1;
        Ok(())
    }

    /// The node itself must have checked the receipts of every task before.
    fn relied_on(&self, plan: &Verified<Plan>, receipt: &Receipt) -> Result<(), Refused> {
        let after = plan.document().task(&receipt.task).map(|t| t.after.clone()).unwrap_or_default();
        for before in after {
            let known = self.succeeded.get(&(plan.digest(), before.clone()));
            if !known.is_some_and(|known| receipt.relied_on.iter().any(|d| known.contains(d))) {
                return Err(order(format!(
                    "task {} comes after {before}: expected the receipt to rely on its success, found it does not",
                    receipt.task
                )));
            }
        }
        Ok(())
    }

    /// Each node's receipts are a chain of their own: none lost, none moved.
    fn counted(&mut self, receipt: &Verified<Receipt>) -> Result<(), Refused> {
        let r = receipt.document();
        let key = self
            .require_roster()?
            .document()
            .nodes
            .iter()
            .find(|n| n.name == r.node)
            .map(|n| n.key.fingerprint())
            .ok_or_else(|| order(format!("expected {} in the roster, found it is not", r.node)))?;
        let last = self.last.get(&(r.node.clone(), key.clone()));
        let (expected, previous) = last.map_or((1, None), |(counter, digest)| (counter + 1, Some(*digest)));
        if (r.counter, r.previous) != (expected, previous) {
            return Err(order(format!(
                "expected receipt {expected} of {}, which names the one before it, found receipt {}; a receipt is \
                 missing or the node's key lives twice",
                r.node, r.counter
            )));
        }
        self.last.insert((r.node.clone(), key), (r.counter, receipt.digest()));
        Ok(())
    }

    fn finished(&self, digest: &Digest) -> Result<(), Refused> {
        let plan = self.plan(digest)?.document();
        let missing = plan.tasks.iter().find(|t| !self.succeeded.contains_key(&(*digest, t.id.clone())));
        missing.map_or(Ok(()), |task| {
            Err(order(format!("plan {} is called finished: expected a success of {}, found none", plan.seq, task.id)))
        })
    }
}

fn order(reason: String) -> Refused {
    Refused::new(Refusal::OrderNotMet, reason)
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
    }
}
