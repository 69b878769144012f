//! A ledger that is written line by line, by the rules or against them.

use std::collections::BTreeMap;

use hostler_fixtures::{self as made, key, public, signed, signer};
use hostler_plan::{
    document::{Decided, DocumentKind, Plan, PlanRef, Receipt, Root, Roster, Signed, SignerRole},
    entry::{Entry, StoredDocument},
    id::{BootId, Digest},
    json,
    ledger::{Head, encode, verify},
    step::ClusterRole,
    timestamp::Timestamp,
};

/// So many seconds after the start.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000 + seconds)
}

/// Each signer's and node's key grows from the first letter of the name.
fn seed(name: &str) -> u8 {
    name.as_bytes()[0]
}

/// A plan and the digest of its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub plan: Plan,
    pub digest: Digest,
}

/// What is to be written, in order.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    pub entries: Vec<(Timestamp, Entry)>,
    roster: Roster,
    root: Root,
    /// The last plan.
    newest: Option<Digest>,
    /// The last receipt of each node.
    last: BTreeMap<String, (u64, Digest)>,
}

impl Book {
    /// With a root, whose admin is anna, operator otto and viewer vera, and a roster of the nodes `a` and `b`.
    pub(crate) fn begun() -> Self {
        let who = |name: &str, role| signer(name, public(&key(seed(name))), role);
        let signers =
            vec![who("Anna", SignerRole::Admin), who("Otto", SignerRole::Operator), who("Vera", SignerRole::Viewer)];
        let signers = signers.into_iter().map(|mut s| {
            s.name = s.name.to_lowercase();
            s
        });
        let root = made::root(at(0), signers.collect());
        let member = |name: &str| made::node(name, public(&key(seed(name))), ClusterRole::Worker);
        let roster = made::roster(&root, at(0), vec![member("a"), member("b")]);
        let mut book = Self {
            entries: Vec::new(),
            roster: roster.clone(),
            root: root.clone(),
            newest: None,
            last: BTreeMap::new(),
        };
        book.document(at(0), DocumentKind::Root, signed(DocumentKind::Root, &root, &[&key(b'A')]));
        book.document(at(1), DocumentKind::Roster, signed(DocumentKind::Roster, &roster, &[&key(b'A')]));
        book
    }

    pub(crate) fn add(&mut self, at: Timestamp, entry: Entry) {
        self.entries.push((at, entry));
    }

    pub(crate) fn document(&mut self, at: Timestamp, kind: DocumentKind, signed: Signed) {
        self.add(at, Entry::Document { kind, document: StoredDocument(signed) });
    }

    pub(crate) fn plan(&mut self, at: Timestamp, seq: u64, beside: &[PlanRef]) -> Made {
        self.plan_with(at, seq, beside, |_| {})
    }

    pub(crate) fn plan_with(
        &mut self,
        at: Timestamp,
        seq: u64,
        beside: &[PlanRef],
        change: impl Fn(&mut Plan),
    ) -> Made {
        let mut plan = made::plan(&self.roster, at, seq);
        plan.prev = self.newest;
        plan.keeps_valid = beside.to_vec();
        change(&mut plan);
        let document = signed(DocumentKind::Plan, &plan, &[&key(b'A')]);
        let digest = document.digest();
        self.newest = Some(digest);
        self.document(at, DocumentKind::Plan, document);
        Made { plan, digest }
    }

    pub(crate) fn grant(&mut self, at: Timestamp, made: &Made, node: &str, grant: u64) {
        let entry = Entry::Granted {
            plan: made.digest,
            task: made::task_id(&format!("{node}.check")),
            grant,
            node: made::name(node),
            boot_id: BootId::new("b1").unwrap(),
            lease_seconds: made.plan.strategy.lease_seconds,
            baseline: None,
        };
        self.add(at, entry);
    }

    /// Writes that the node's task succeeded, and gives the receipt's digest.
    pub(crate) fn succeed(&mut self, at: Timestamp, made: &Made, node: &str, grant: u64, on: &[Digest]) -> Digest {
        self.receipt(at, made, node, |r| (r.grant, r.relied_on) = (grant, on.to_vec()))
    }

    /// Writes the next receipt of a node, for grant 1 unless changed.
    pub(crate) fn receipt(
        &mut self,
        at: Timestamp,
        made: &Made,
        node: &str,
        change: impl FnOnce(&mut Receipt),
    ) -> Digest {
        let mut receipt = made::receipt(&made.plan, &format!("{node}.check"));
        let last = self.last.get(node);
        (receipt.counter, receipt.previous) = last.map_or((1, None), |(n, digest)| (n + 1, Some(*digest)));
        (receipt.started, receipt.ended) = (at, at);
        change(&mut receipt);
        let document = signed(DocumentKind::Receipt, &receipt, &[&key(seed(node))]);
        let digest = document.digest();
        self.last.insert(node.to_owned(), (receipt.counter, digest));
        self.document(at, DocumentKind::Receipt, document);
        digest
    }

    /// Writes what somebody decided and signed at `created`.
    pub(crate) fn decide(&mut self, at: Timestamp, by: &str, seen: Head, created: Timestamp, decided: Decided) {
        let decision = made::decision(&self.roster, by, seen, created, decided);
        let key = key(seed(&by.to_uppercase()));
        self.document(at, DocumentKind::Decision, signed(DocumentKind::Decision, &decision, &[&key]));
    }

    /// Writes the next root, changed, by anna.
    pub(crate) fn root_with(&mut self, at: Timestamp, change: impl FnOnce(&mut Root)) {
        let prev = Some(Digest::of(&json::write(&self.root)));
        let mut next = Root { version: self.root.version + 1, prev, created: at, ..self.root.clone() };
        change(&mut next);
        self.document(at, DocumentKind::Root, signed(DocumentKind::Root, &next, &[&key(b'A')]));
    }

    /// Writes the next roster, changed, by anna.
    pub(crate) fn roster_with(&mut self, at: Timestamp, change: impl FnOnce(&mut Roster)) {
        let prev = Some(Digest::of(&json::write(&self.roster)));
        let mut next = Roster { version: self.roster.version + 1, prev, created: at, ..self.roster.clone() };
        change(&mut next);
        self.document(at, DocumentKind::Roster, signed(DocumentKind::Roster, &next, &[&key(b'A')]));
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (mut head, mut bytes) = (Head::EMPTY, Vec::new());
        for (at, entry) in &self.entries {
            let (line, _, next) = encode(head, *at, entry.clone());
            bytes.extend(line);
            head = next;
        }
        bytes
    }

    pub(crate) fn head(&self) -> Head {
        head_of(&self.bytes())
    }
}

pub(crate) fn head_of(bytes: &[u8]) -> Head {
    verify(bytes).unwrap().1
}
