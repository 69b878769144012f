//! A ledger laid down as files that stock tools read: each document beside its signatures, and the keys that signed.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, Read as _},
    path::{Path, PathBuf},
};

use hostler_plan::{
    document::{Admission, Decision, DocumentKind, Enrolment, Plan, Receipt, Root, Roster, Signed},
    entry::Entry,
    id::Digest,
    json::{self, InvalidJson},
    ledger::{MAX_LINE_BYTES, Record},
    signature::{node_lines, signer_lines},
};

use crate::{
    error::Error,
    file::{write_document, write_whole},
};

/// What was laid down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaidDown {
    pub documents: usize,
    /// Records that cannot be read; [`verify`](super::verify_file) names them.
    pub unread: usize,
}

/// Writes each document of a ledger into a folder, its signatures as `FILE.sig` beside it, and the keys of everybody
/// who ever could sign as `allowed_signers`. Nothing is verified: that is for whoever reads it.
pub fn lay_down(ledger: &mut dyn BufRead, folder: &Path) -> Result<LaidDown, Error> {
    let failed = |e| Error::file("read", &folder.join("ledger"), e);
    let (mut found, mut names, mut keys) = (LaidDown::default(), BTreeSet::new(), Keys::default());
    let mut line = Vec::new();
    loop {
        line.clear();
        if ledger.take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        match document(&line, &mut keys) {
            Ok(None) => {}
            Ok(Some((name, signed))) => {
                write_document(&folder.join(free(name, signed.digest(), &mut names)), &signed)?;
                found.documents += 1;
            }
            Err(_) => found.unread += 1,
        }
    }
    write_whole(&folder.join("allowed_signers"), keys.lines.as_bytes(), false)?;
    write_whole(&folder.join("README.txt"), README.as_bytes(), false)?;
    Ok(found)
}

/// A folder for [`lay_down`]: what lies in it already would be taken for a part of the ledger.
pub fn new_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|e| Error::file("make", folder, e))?;
    let mut entries = fs::read_dir(folder).map_err(|e| Error::file("read", folder, e))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Error::Failed(format!(
            "expected {} to be new or empty, found files in it; name another folder",
            folder.display()
        ))),
    }
}

/// The name for a document: where another one has it, its digest tells them apart.
fn free(name: PathBuf, digest: Digest, taken: &mut BTreeSet<PathBuf>) -> PathBuf {
    if taken.insert(name.clone()) {
        return name;
    }
    let stem = name.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let other = name.with_file_name(format!("{stem}-{}.json", digest.hex()));
    taken.insert(other.clone());
    other
}

/// Every key that ever could sign, in the order in which they came, once each.
#[derive(Debug, Default)]
struct Keys {
    lines: String,
    seen: BTreeSet<String>,
}

impl Keys {
    fn add(&mut self, lines: &str) {
        for line in lines.lines() {
            if self.seen.insert(line.to_owned()) {
                self.lines += line;
                self.lines.push('\n');
            }
        }
    }
}

/// The document of a line with a name for its file, if it holds one.
fn document(line: &[u8], keys: &mut Keys) -> Result<Option<(PathBuf, Signed)>, InvalidJson> {
    let content = line.strip_suffix(b"\n").unwrap_or(line).get(65..).unwrap_or_default();
    let record: Record = json::parse_stored(content)?;
    let Entry::Document { kind, document } = record.entry else { return Ok(None) };
    let signed = document.0;
    Ok(Some((name(kind, &signed, keys)?.into(), signed)))
}

fn name(kind: DocumentKind, signed: &Signed, keys: &mut Keys) -> Result<String, InvalidJson> {
    let bytes = &signed.bytes;
    let enrolment = DocumentKind::Enrolment.namespace();
    Ok(match kind {
        DocumentKind::Root => {
            let root: Root = json::parse(bytes)?;
            keys.add(&signer_lines(&root));
            format!("root-{}.json", root.version)
        }
        DocumentKind::Admission => {
            let Admission { token, token_key, .. } = json::parse(bytes)?;
            keys.add(&format!("token-{token} namespaces=\"{enrolment}\" {token_key}"));
            format!("admissions/{token}.json")
        }
        DocumentKind::Enrolment => {
            let Enrolment { node, key, .. } = json::parse(bytes)?;
            keys.add(&format!("{node} namespaces=\"{enrolment}\" {key}"));
            format!("enrolments/{}", node.file_name("", ".json"))
        }
        DocumentKind::Roster => {
            let roster: Roster = json::parse(bytes)?;
            keys.add(&node_lines(&roster));
            format!("roster-{}.json", roster.version)
        }
        DocumentKind::Plan => {
            let Plan { seq, kind, .. } = json::parse(bytes)?;
            format!("plans/{seq}-{kind}.plan.json")
        }
        DocumentKind::Receipt => {
            let Receipt { node, counter, .. } = json::parse(bytes)?;
            format!("receipts/{}", node.file_name("", &format!("-{counter:04}.json")))
        }
        DocumentKind::Decision => {
            let Decision { decided, .. } = json::parse(bytes)?;
            format!("decisions/{}-{}.json", decided.word().replace(' ', "-"), signed.digest().short())
        }
        DocumentKind::Holding | DocumentKind::Pass | DocumentKind::View | DocumentKind::Login => {
            format!("others/{}.json", signed.digest().hex())
        }
    })
}

const README: &str = "\
Every document of a fleet's ledger, with each signature as FILE.sig beside it (a second one as FILE.sig.2), and in
allowed_signers the keys of everybody who ever could sign one. Stock OpenSSH checks them, without anything of Hostler:

  ssh-keygen -Y find-principals -f allowed_signers -s plans/X.plan.json.sig
  ssh-keygen -Y verify -f allowed_signers -I WHO  -n hostler-plan    -s plans/X.plan.json.sig < plans/X.plan.json
  ssh-keygen -Y verify -f allowed_signers -I NODE -n hostler-receipt -s receipts/X.json.sig   < receipts/X.json

Namespaces: hostler-root, hostler-admission, hostler-enrolment, hostler-roster, hostler-plan, hostler-receipt,
hostler-decision. Stock tools check the chain of the ledger's lines too: docs/verify.md. All rules:

  hostler ledger verify ledger
";
