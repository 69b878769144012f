//! What a person decides about one node's health: a verdict is the new normal, or counts again, or a failing disk is
//! let go. What counts of it already is taken from signed documents, which are verified here.

use std::{collections::BTreeMap, time::Duration};

use hostler_plan::{
    document::{Decided, Decision, DocumentRef, NodeDecision, NodeMatter, Signed},
    form::{Measured, Reason},
    health::{Acceptance, DiskNumbers, Level, Release, Verdict, device},
    id::{Digest, Fingerprint, NodeName},
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, MAX_JUMP, NodeDecisions, Verified},
};
use hostler_proto::v1::{self, NodeDetail};

use crate::{
    Admin, admin::now, decision::decide, error::Error, floor::Floor, node, output::note, trust_store::TrustStore,
};

/// How long the node may take to hear of it while somebody waits, and how often that is asked.
const HEARD_IN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);

/// What is known of a node before something is decided about it.
#[derive(Debug)]
pub struct Known {
    node: NodeName,
    key: Fingerprint,
    decisions: NodeDecisions,
    next: Next,
    verdicts: Vec<Verdict>,
}

/// The next decision's number, and what ends with it that the coordinator did not show.
#[derive(Debug)]
struct Next {
    number: u64,
    also: Vec<Digest>,
}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    /// What it says.
    pub matter: NodeMatter,
    pub number: u64,
    /// What the node signed of it.
    pub proof: Proof,
}

/// What a node signed about the newest decision that it holds, beside the one that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It holds that one, byte for byte.
    Held,
    /// It holds another one of that number or a higher one, and takes this one no more. Whether it ever did is not
    /// proved.
    Another(u64),
    /// It has not heard of it.
    NotYet,
}

impl Proof {
    /// A number proves nothing: whoever hides a decision has another one signed under its number.
    pub fn of(asked: DocumentRef, held: Option<DocumentRef>) -> Self {
        match held {
            Some(held) if held.digest == asked.digest => Proof::Held,
            Some(held) if held.version >= asked.version => Proof::Another(held.version),
            Some(_) | None => Proof::NotYet,
        }
    }
}

/// The decisions about a node that the coordinator shows, as far as they count under the held root.
pub fn decisions(store: &TrustStore, name: &NodeName, shown: &[v1::SignedDocument]) -> Result<NodeDecisions, Refused> {
    let mut all = NodeDecisions::default();
    let Some(key) = key_of(store, name) else { return Ok(all) };
    for signed in shown.iter().cloned().map(Signed::from) {
        all = all.follow(name, &key, &trust::decision(store.trusted(), &signed)?)?;
    }
    Ok(all)
}

fn key_of(store: &TrustStore, name: &NodeName) -> Option<Fingerprint> {
    Some(store.roster()?.document().active(name)?.key.fingerprint())
}

/// The newest decision about a node that it signed that it holds.
pub async fn held_by(admin: &mut Admin, name: &NodeName) -> Result<Option<DocumentRef>, Error> {
    let request = admin.with_session(v1::Empty {});
    let said = admin.client().list_holdings(request).await?.into_inner().nodes;
    let store = admin.trust_store();
    let Some(roster) = store.roster() else { return Ok(None) };
    let signed = said.into_iter().filter(|said| said.node == name.as_str()).filter_map(|said| said.holding);
    let mut holdings = signed.filter_map(|signed| trust::holding(roster, &signed.into()).ok());
    let holding = holdings.find(|holding| holding.document().node == *name);
    Ok(holding.filter(|h| h.document().holds.epoch == store.root().epoch).and_then(|h| h.document().decision))
}

/// The newest decision that the node signed that it holds, where it is none of those that are shown and none of before.
pub fn not_shown(shown: &NodeDecisions, held: Option<DocumentRef>) -> Option<DocumentRef> {
    held.filter(|held| {
        held.version >= shown.number() && shown.newest().is_none_or(|newest| newest.digest != held.digest)
    })
}

/// The number after every one that is signed, said by the coordinator, held by the node or handed in here, and which
/// of them the coordinator did not show. `said` is the coordinator's word for the newest, whose signer may count no
/// more.
fn next(
    store: &TrustStore,
    node: &NodeName,
    key: &Fingerprint,
    shown: &NodeDecisions,
    said: u64,
    held: Option<DocumentRef>,
) -> Result<Next, Refused> {
    let sent = Floor::load(store.folder()).sent.decisions.remove(node);
    let sent = sent.filter(|sent| sent.epoch == store.root().epoch && sent.key == *key).map(|sent| sent.decision);
    let hidden = [(sent, "handed in from here"), (held, "signed for by the node, which holds it")];
    let hidden: Vec<_> = hidden.into_iter().filter_map(|(d, why)| Some((not_shown(shown, d)?, why))).collect();
    let highest = hidden.iter().map(|(decision, _)| decision.version).fold(shown.number().max(said), u64::max);
    if highest > shown.number().saturating_add(MAX_JUMP) {
        let reason = format!(
            "expected decision {} or one of the next {MAX_JUMP} to be the newest about {node}, found the word of \
             the coordinator, or of {node}, for {highest}: somebody uses the numbers up; look at its ledger \
             (`hostler ledger verify`), and raise the epoch, which begins them anew (`hostler trust amend \
             --raise-epoch`)",
            shown.number()
        );
        return Err(Refused::new(Refusal::Replay, reason));
    }
    let mut also = Vec::new();
    for (DocumentRef { version, digest }, why) in hidden {
        note(&format!(
            "decision {version} about {node} ({digest}) was {why}, and the coordinator does not show that it counts; \
             the next one ends it"
        ));
        if !also.contains(&digest) {
            also.push(digest);
        }
    }
    let number = highest.checked_add(1).ok_or_else(|| {
        let reason = format!(
            "expected a number for the next decision about {node}, found that the coordinator shows the last one there \
             is; raise the epoch, which begins them anew (`hostler trust amend --raise-epoch`)"
        );
        Refused::new(Refusal::Replay, reason)
    })?;
    Ok(Next { number, also })
}

impl Known {
    /// Asks for it, and verifies what is signed of it.
    pub async fn ask(admin: &mut Admin, name: &NodeName) -> Result<Self, Error> {
        let store = admin.trust_store();
        let key = key_of(store, name).ok_or_else(|| {
            let reason = format!("expected an active node of the roster, found {name}; see `hostler nodes`");
            Refused::new(Refusal::NotATarget, reason)
        })?;
        let NodeDetail { standing, decisions: shown, decision_number, .. } = node::get(admin, name).await?;
        let decisions = decisions(admin.trust_store(), name, &shown)?;
        let held = held_by(admin, name).await?;
        let next = next(admin.trust_store(), name, &key, &decisions, decision_number, held)?;
        let verdicts = standing.into_iter().map(Verdict::try_from).collect::<Result<_, _>>()?;
        Ok(Self { node: name.clone(), key, decisions, next, verdicts })
    }

    /// Those that count now.
    fn counting(&self, at: Timestamp) -> Vec<(&Verified<Decision>, &NodeMatter)> {
        self.decisions.at(at).collect()
    }

    /// The verdict of that name: a rule, and what it is about where the rule says several.
    fn verdict(&self, name: &str) -> Result<&Verdict, Refused> {
        let named: Vec<&Verdict> = self.verdicts.iter().filter(|v| is_named(name, v.rule.name(), &v.subject)).collect();
        match named.as_slice() {
            [one] => Ok(one),
            _ => {
                let there = self.verdicts.iter().map(|v| full_name(v.rule.name(), &v.subject));
                Err(self.none_such("a verdict that is not ok", name, there.collect()))
            }
        }
    }

    fn none_such(&self, expected: &str, name: &str, there: Vec<String>) -> Refused {
        let there = if there.is_empty() { "there is none".to_owned() } else { there.join(", ") };
        let node = &self.node;
        let reason = format!("expected {expected} of {node}, found {name:?}; name one of what is there: {there}");
        Refused::new(Refusal::NotATarget, reason)
    }

    /// Takes a verdict as it stands now as the new normal.
    pub fn accept(&self, verdict: &str, until: Timestamp, reason: Reason) -> Result<NodeMatter, Refused> {
        let found = self.verdict(verdict)?;
        let unknown = || {
            let reason = format!(
                "expected a verdict with a number to compare with, found that {}; what is not known is never well",
                found.sentence()
            );
            Refused::new(Refusal::Malformed, reason)
        };
        let values: BTreeMap<_, _> =
            found.numbers.iter().filter_map(|(condition, value)| Some((*condition, Measured::of(*value)?))).collect();
        if found.level == Level::Unknown || values.is_empty() {
            return Err(unknown());
        }
        let Verdict { rule, subject, disk, level, required, .. } = found.clone();
        Ok(NodeMatter::Accept(Acceptance { rule, subject, disk, level, required, values, until, reason }))
    }

    /// Takes back what was accepted.
    pub fn withdraw(&self, verdict: &str) -> Result<NodeMatter, Refused> {
        let accepted = || {
            self.counting(now()).into_iter().filter_map(|(decision, matter)| match matter {
                NodeMatter::Accept(accepted) => Some((decision, accepted)),
                NodeMatter::Withdraw { .. } | NodeMatter::Release(_) => None,
            })
        };
        let named: Vec<_> = accepted().filter(|(_, a)| is_named(verdict, a.rule.name(), &a.subject)).collect();
        match named.as_slice() {
            [(decision, _)] => Ok(NodeMatter::Withdraw { acceptance: decision.digest() }),
            _ => {
                let there = accepted().map(|(_, a)| full_name(a.rule.name(), &a.subject));
                Err(self.none_such("an accepted verdict", verdict, there.collect()))
            }
        }
    }

    /// Lets a disk go, by its name or one of its numbers.
    pub fn release(&self, disk: &str, reason: Reason) -> Result<NodeMatter, Refused> {
        let of_disks = || self.verdicts.iter().filter(|v| v.condition.is_some_and(|c| c.stays() || c.is_gone()));
        let is_it = |v: &&Verdict| {
            let numbers = v.disk.iter().flat_map(|disk| [&disk.serial, &disk.wwid]).flatten();
            device(&v.subject) == disk || numbers.into_iter().any(|number| number.as_str() == disk)
        };
        let named: Vec<&Verdict> = of_disks().filter(is_it).collect();
        let Some(first) = named.first() else {
            let mut there: Vec<String> = of_disks().map(|v| device(&v.subject).to_owned()).collect();
            there.dedup();
            return Err(self.none_such("a failing disk", disk, there));
        };
        Ok(NodeMatter::Release(Release {
            subject: device(&first.subject).to_owned(),
            disk: first.disk.clone().map(|disk| DiskNumbers { part: String::new(), ..disk }),
            level: named.iter().map(|v| v.level).filter(|l| *l != Level::Unknown).max().unwrap_or(Level::Degraded),
            required: named.iter().any(|v| v.required),
            reason,
        }))
    }

    /// Signs it beside what else counts, which is said, and hands it in.
    pub async fn decide(self, admin: &mut Admin, matter: NodeMatter) -> Result<Done, Error> {
        let ends = |decision: &Verified<Decision>, earlier: &NodeMatter| match (&matter, earlier) {
            (NodeMatter::Withdraw { acceptance }, _) => *acceptance == decision.digest(),
            (NodeMatter::Accept(next), NodeMatter::Accept(before)) => {
                next.rule == before.rule && next.subject == before.subject && next.disk == before.disk
            }
            (NodeMatter::Accept(_) | NodeMatter::Release(_), _) => false,
        };
        let mut keeps = Vec::new();
        for (decision, earlier) in self.counting(now()).into_iter().filter(|(d, earlier)| !ends(d, earlier)) {
            note(&format!("keeps {}: {}", decision.digest(), words(decision.document(), earlier)));
            keeps.push(decision.digest());
        }
        let Next { number, also } = self.next;
        let (node, key) = (self.node.clone(), self.key);
        let decision = NodeDecision { node, key, number, keeps, also, about: matter.clone() };
        let digest = decide(admin, Decided::Node(decision)).await?;
        let end = tokio::time::Instant::now() + HEARD_IN;
        loop {
            let asked = DocumentRef { version: number, digest };
            let proof = Proof::of(asked, held_by(admin, &self.node).await?);
            if proof != Proof::NotYet || tokio::time::Instant::now() >= end {
                return Ok(Done { matter, number, proof });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// `rule` or `rule subject`.
fn full_name(rule: &str, subject: &str) -> String {
    format!("{rule} {subject}").trim_end().to_owned()
}

fn is_named(name: &str, rule: &str, subject: &str) -> bool {
    name == rule || name == full_name(rule, subject)
}

/// What a decision about a node says, in a line.
pub fn words(decision: &Decision, matter: &NodeMatter) -> String {
    let by = &decision.by;
    match matter {
        NodeMatter::Accept(Acceptance { rule, subject, until, reason, .. }) => {
            let name = full_name(rule.name(), subject);
            format!("{name} is accepted until {until} by {by} because: {reason}")
        }
        NodeMatter::Withdraw { acceptance } => format!("{acceptance} is withdrawn by {by}"),
        NodeMatter::Release(Release { subject, reason, .. }) => {
            format!("disk {subject} is let go by {by} at {} because: {reason}", decision.created)
        }
    }
}

#[cfg(test)]
mod tests {
    use hostler_plan::id::Digest;

    use super::*;

    #[test]
    fn only_the_very_bytes_of_a_decision_prove_that_a_node_holds_it() {
        let decision = |version, bytes: &[u8]| DocumentRef { version, digest: Digest::of(bytes) };
        let asked = decision(2, b"the withdrawal");
        assert_eq!(Proof::of(asked, Some(asked)), Proof::Held);
        assert_eq!(Proof::of(asked, Some(decision(2, b"what was hidden"))), Proof::Another(2));
        assert_eq!(Proof::of(asked, Some(decision(3, b"what was hidden"))), Proof::Another(3));
        assert_eq!(Proof::of(asked, Some(decision(1, b"the acceptance"))), Proof::NotYet);
        assert_eq!(Proof::of(asked, None), Proof::NotYet);
    }
}
