//! Every document of a fleet's life checked again from its exact bytes, and laid down for others to check.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use hostler_cli::ledger::lay_down;
use hostler_plan::{
    document::{Admission, DocumentKind, Receipt, Roster, Signed},
    entry::Entry,
    id::{NodeName, TokenId},
    json, ledger,
    trust::{self, Purpose, TrustedRoot, Verified},
};

/// A fleet's documents, all verified, in the order of the ledger.
#[derive(Debug)]
pub(super) struct Audit {
    /// The ledger's exact bytes.
    pub ledger: Vec<u8>,
    pub records: u64,
    pub receipts: Vec<Verified<Receipt>>,
    pub documents: usize,
}

impl Audit {
    /// Follows the ledger from its first record. An error is the first thing that does not hold.
    pub(super) fn of(ledger: Vec<u8>) -> anyhow::Result<Self> {
        hostler_cli::ledger::verify(&ledger, None)?;
        let (records, head) = ledger::verify(&ledger)?;
        let mut audit = Self { ledger, records: head.next_index, receipts: Vec::new(), documents: 0 };
        let mut known = Known::default();
        for record in records {
            let index = record.index;
            let Entry::Document { kind, document } = record.entry else { continue };
            audit.document(&mut known, kind, &document.0).with_context(|| format!("ledger record {index}"))?;
        }
        Ok(audit)
    }

    fn document(&mut self, known: &mut Known, kind: DocumentKind, signed: &Signed) -> anyhow::Result<()> {
        match kind {
            DocumentKind::Root => {
                known.root = Some(match &known.root {
                    None => TrustedRoot::first(signed, &signed.digest())?,
                    Some(held) => held.advance(signed)?,
                });
            }
            DocumentKind::Admission => {
                let admission = trust::admission(known.root()?, signed, Purpose::Begun)?;
                known.admissions.insert(admission.document().token.clone(), admission);
            }
            DocumentKind::Enrolment => {
                let said: hostler_plan::document::Enrolment = json::parse(&signed.bytes)?;
                let admission = known.admissions.get(&said.token).context("an enrolment with an unknown token")?;
                trust::enrolment(admission, signed, Purpose::Begun)?;
            }
            DocumentKind::Roster => {
                known.roster = Some(trust::roster(known.root()?, known.roster.as_ref(), signed, Purpose::Begun)?);
            }
            DocumentKind::Plan => {
                let roster = known.roster.as_ref().context("a plan before the first roster")?;
                trust::plan(known.root()?, roster, signed, Purpose::Begun)?;
            }
            DocumentKind::Receipt => {
                let roster = known.roster.as_ref().context("a receipt before the first roster")?;
                let receipt = trust::receipt(roster, signed)?;
                known.chain(receipt.document())?;
                self.receipts.push(receipt);
            }
            DocumentKind::Decision => {
                trust::decision(known.root()?, signed)?;
            }
            DocumentKind::Holding | DocumentKind::Pass | DocumentKind::View | DocumentKind::Login => {
                anyhow::bail!("a {} in the ledger, expected none", kind.noun())
            }
        }
        self.documents += 1;
        Ok(())
    }

    /// Receipts by the word of their outcome.
    pub(super) fn outcomes(&self) -> BTreeMap<String, usize> {
        let mut outcomes = BTreeMap::new();
        for receipt in &self.receipts {
            *outcomes.entry(receipt.document().outcome.word().to_owned()).or_default() += 1;
        }
        outcomes
    }

    /// Writes everything into a folder, each signature as `FILE.sig` beside its document.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join("ledger");
        fs::write(&path, &self.ledger).with_context(|| format!("cannot write {}", path.display()))?;
        lay_down(&mut self.ledger.as_slice(), folder)?;
        Ok(())
    }
}

#[derive(Default)]
struct Known {
    root: Option<TrustedRoot>,
    roster: Option<Verified<Roster>>,
    admissions: BTreeMap<TokenId, Verified<Admission>>,
    /// The last receipt of each node, by number and digest.
    receipts: BTreeMap<NodeName, u64>,
}

impl Known {
    fn root(&self) -> anyhow::Result<&TrustedRoot> {
        self.root.as_ref().context("a document before the first root")
    }

    /// A node's receipts are numbered without a gap.
    fn chain(&mut self, receipt: &Receipt) -> anyhow::Result<()> {
        let last = self.receipts.entry(receipt.node.clone()).or_default();
        if receipt.counter != *last + 1 {
            anyhow::bail!("expected receipt {} of {}, found {}", *last + 1, receipt.node, receipt.counter);
        }
        *last = receipt.counter;
        Ok(())
    }
}
