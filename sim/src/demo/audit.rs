//! Every document of a fleet's life checked again from its exact bytes, and laid down for others to check.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use hostler_cli::file::write_document;
use hostler_plan::{
    document::{Admission, DocumentKind, Plan, Receipt, Roster, Signed},
    entry::Entry,
    id::{NodeName, TokenId},
    json, ledger,
    signature::{node_lines, signer_lines},
    trust::{self, Purpose, TrustedRoot, Verified},
};

/// A fleet's documents, all verified, in the order of the ledger.
#[derive(Debug)]
pub(super) struct Audit {
    /// The ledger's exact bytes.
    pub ledger: Vec<u8>,
    pub records: u64,
    pub receipts: Vec<Verified<Receipt>>,
    files: Vec<(PathBuf, Signed)>,
    allowed_signers: String,
}

impl Audit {
    /// Follows the ledger from its first record. An error is the first thing that does not hold.
    pub(super) fn of(ledger: Vec<u8>) -> anyhow::Result<Self> {
        hostler_cli::ledger::verify(&ledger, None)?;
        let (records, head) = ledger::verify(&ledger)?;
        let mut audit = Self {
            ledger,
            records: head.next_index,
            receipts: Vec::new(),
            files: Vec::new(),
            allowed_signers: String::new(),
        };
        let mut known = Known::default();
        for record in records {
            let index = record.index;
            let Entry::Document { kind, document } = record.entry else { continue };
            audit.document(&mut known, kind, document.0).with_context(|| format!("ledger record {index}"))?;
        }
        let root = known.root.context("the ledger holds no root")?;
        audit.allowed_signers = signer_lines(root.root());
        if let Some(roster) = &known.roster {
            audit.allowed_signers += &node_lines(roster.document());
        }
        for (token, admission) in &known.admissions {
            let namespace = DocumentKind::Enrolment.namespace();
            let key = &admission.document().token_key;
            audit.allowed_signers += &format!("token-{token} namespaces=\"{namespace}\" {key}\n");
        }
        Ok(audit)
    }

    fn document(&mut self, known: &mut Known, kind: DocumentKind, signed: Signed) -> anyhow::Result<()> {
        let name = match kind {
            DocumentKind::Root => {
                let root = match &known.root {
                    None => TrustedRoot::first(&signed, &signed.digest())?,
                    Some(held) => held.advance(&signed)?,
                };
                let name = format!("root-{}.json", root.root().version);
                known.root = Some(root);
                name
            }
            DocumentKind::Admission => {
                let admission = trust::admission(known.root()?, &signed, Purpose::Begun)?;
                let token = admission.document().token.clone();
                let name = format!("admissions/{token}.json");
                known.admissions.insert(token, admission);
                name
            }
            DocumentKind::Enrolment => {
                let said: hostler_plan::document::Enrolment = json::parse(&signed.bytes)?;
                let admission = known.admissions.get(&said.token).context("an enrolment with an unknown token")?;
                let enrolment = trust::enrolment(admission, &signed, Purpose::Begun)?;
                format!("enrolments/{}.json", enrolment.document().node)
            }
            DocumentKind::Roster => {
                let roster = trust::roster(known.root()?, known.roster.as_ref(), &signed, Purpose::Begun)?;
                let name = format!("roster-{}.json", roster.document().version);
                known.roster = Some(roster);
                name
            }
            DocumentKind::Plan => {
                let roster = known.roster.as_ref().context("a plan before the first roster")?;
                let plan: Verified<Plan> = trust::plan(known.root()?, roster, &signed, Purpose::Begun)?;
                format!("plans/{}-{}.plan.json", plan.document().seq, plan.document().kind)
            }
            DocumentKind::Receipt => {
                let roster = known.roster.as_ref().context("a receipt before the first roster")?;
                let receipt = trust::receipt(roster, &signed)?;
                known.chain(receipt.document())?;
                let name = format!("receipts/{}-{:04}.json", receipt.document().node, receipt.document().counter);
                self.receipts.push(receipt);
                name
            }
            DocumentKind::Decision => {
                let decision = trust::decision(known.root()?, &signed)?;
                format!(
                    "decisions/{}-{}.json",
                    decision.document().decided.word().replace(' ', "-"),
                    signed.digest().short()
                )
            }
            DocumentKind::Holding | DocumentKind::Login => {
                anyhow::bail!("a {} in the ledger, expected none", kind.noun())
            }
        };
        self.files.push((name.into(), signed));
        Ok(())
    }

    /// The number of documents.
    pub(super) fn documents(&self) -> usize {
        self.files.len()
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
        let make = |path: &Path| fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()));
        make(folder)?;
        for (name, signed) in &self.files {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                make(parent)?;
            }
            write_document(&path, signed)?;
        }
        let texts: [(&str, &[u8]); 3] = [
            ("ledger", &self.ledger),
            ("allowed_signers", self.allowed_signers.as_bytes()),
            ("README.txt", README.as_bytes()),
        ];
        for (name, content) in texts {
            let path = folder.join(name);
            fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

const README: &str = "\
What hostler-demo left behind: every document of a simulated fleet's life, with each signature as FILE.sig beside it
(a second one as FILE.sig.2). Stock OpenSSH checks them, without anything of Hostler:

  ssh-keygen -Y verify -f allowed_signers -I demo-admin -n hostler-root      -s root-1.json.sig   < root-1.json
  ssh-keygen -Y verify -f allowed_signers -I demo-admin -n hostler-plan      -s plans/X.json.sig  < plans/X.json
  ssh-keygen -Y verify -f allowed_signers -I pi-1       -n hostler-receipt   -s receipts/X.json.sig < receipts/X.json
  ssh-keygen -Y verify -f allowed_signers -I pi-1       -n hostler-enrolment -s enrolments/pi-1.json.sig.2 \
< enrolments/pi-1.json

Namespaces: hostler-root, hostler-admission, hostler-enrolment, hostler-roster, hostler-plan, hostler-receipt.
Who signed one:  ssh-keygen -Y find-principals -f allowed_signers -s FILE.sig
The ledger:      hostler ledger verify ledger
";

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
