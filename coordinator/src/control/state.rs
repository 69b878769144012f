//! What the ledger amounts to. Nothing is here that cannot be had again by folding it from its first record.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use hostler_plan::{
    document::{
        Admission, Decided, Decision, DocumentKind, Enrolment, Holding, Plan, Receipt, Roster, RosterStatus, Signed,
    },
    entry::Entry,
    id::{Digest, Fingerprint, NodeName, Seq, TaskId, TokenId},
    json,
    judge::Judge,
    refusal::{Refusal, Refused},
    sequencer::{self, RolloutState, Sequencer},
    timestamp::Timestamp,
    trust::{self, TrustedRoot, Verified},
};

use super::{
    append::Written,
    chain::{Chain, Stranger},
    commit::Proven,
    ended::{Arrivals, EndedRollout},
    snapshots::KnownSnapshots,
};

/// Refusals that are remembered per node; the ledger has them all.
const KEPT_REFUSALS: usize = 20;
/// Alarms that are remembered; the ledger has them all.
const KEPT_ALARMS: usize = 100;

/// Forks that are remembered by the word of one node: a root, a roster and some plans. Each node has its own, so that
/// one that lies neither fills the memory nor hides what another one says.
const FORKS_OF_A_NODE: usize = 8;

/// Adoptions that are shown to admins who saw another ledger; each happens after a loss.
const KEPT_ADOPTIONS: usize = 16;

/// The fold of the ledger.
#[derive(Debug)]
pub(crate) struct State {
    /// Every root in order; the last one holds.
    pub roots: Vec<TrustedRoot>,
    pub roster: Option<Verified<Roster>>,
    pub tokens: BTreeMap<TokenId, Token>,
    /// The newest enrolment of every name.
    pub enrolled: BTreeMap<NodeName, Enrolled>,
    /// Of the rollouts in memory.
    pub plans: BTreeMap<Digest, Arc<Verified<Plan>>>,
    /// Those whose rollouts are not over.
    open: BTreeSet<Digest>,
    arrivals: Arrivals,
    pub receipts: Receipts,
    pub snapshots: KnownSnapshots,
    pub refusals: BTreeMap<NodeName, VecDeque<NodeRefusal>>,
    pub alarms: VecDeque<(Timestamp, String)>,
    pub sequencer: Sequencer,
    /// What may come next.
    pub judge: Judge,
    /// The newest decisions by which admins adopted this ledger in the place of another.
    pub adoptions: VecDeque<Signed>,
    pub chain: Chain,
    /// Documents that nodes signed that they hold and that the ledger did not have when they came, with that proof.
    forks: BTreeMap<Stranger, (NodeName, Verified<Holding>)>,
}

/// An admission and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub admission: Verified<Admission>,
    /// The keys that it admitted, with the name each enrolled under.
    pub keys: BTreeMap<Fingerprint, NodeName>,
    pub revoked: bool,
}

/// A node's enrolment and when it was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Enrolled {
    pub enrolment: Verified<Enrolment>,
    pub at: Timestamp,
}

/// A refusal that a node reported.
#[derive(Debug, Clone)]
pub(crate) struct NodeRefusal {
    pub at: Timestamp,
    pub refusal: Refusal,
    pub reason: String,
    pub document: Option<Digest>,
}

/// The receipts of a rollout, by task, in the order in which they came.
type OfRollout = BTreeMap<TaskId, Vec<Arc<Verified<Receipt>>>>;

/// The receipts, by what they are about.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    /// Of the rollouts in memory.
    by_plan: BTreeMap<Digest, OfRollout>,
    /// The last of each node that came: it says what the node held.
    last: BTreeMap<NodeName, Arc<Verified<Receipt>>>,
}

/// How a node stands to the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// Enrolled with a token that is not revoked, in no roster yet: it may report and gets no work.
    Pending,
    /// In the roster under this key.
    Active,
    /// In the roster as retired.
    Retired,
    /// Never enrolled, or under another key.
    Unknown,
}

impl State {
    /// Before the first record.
    pub(crate) fn new() -> Self {
        Self {
            roots: Vec::new(),
            roster: None,
            tokens: BTreeMap::new(),
            enrolled: BTreeMap::new(),
            plans: BTreeMap::new(),
            open: BTreeSet::new(),
            arrivals: Arrivals::default(),
            receipts: Receipts::default(),
            snapshots: KnownSnapshots::default(),
            refusals: BTreeMap::new(),
            alarms: VecDeque::new(),
            sequencer: Sequencer::new(sequencer::Settings::default()),
            judge: Judge::new(),
            adoptions: VecDeque::new(),
            chain: Chain::default(),
            forks: BTreeMap::new(),
        }
    }

    /// The root that holds.
    pub(crate) fn root(&self) -> Option<&TrustedRoot> {
        self.roots.last()
    }

    /// The root, or a refusal while there is none.
    pub(crate) fn require_root(&self) -> Result<&TrustedRoot, Refused> {
        self.root().ok_or_else(|| {
            Refused::new(
                Refusal::RootChain,
                "expected a trust root, found none yet; install root 1 with `hostler trust init`",
            )
        })
    }

    /// The roster, or a refusal while there is none.
    pub(crate) fn require_roster(&self) -> Result<&Verified<Roster>, Refused> {
        self.roster.as_ref().ok_or_else(|| {
            Refused::new(
                Refusal::NotATarget,
                "expected a roster, found none yet; approve nodes with `hostler node approve`",
            )
        })
    }

    /// The highest plan number of the present epoch; 0 for none.
    pub(crate) fn highest_seq(&self) -> Seq {
        self.newest_plan().map_or(Seq(0), |plan| plan.document().seq)
    }

    /// The plan with that number; none before the first of the present epoch.
    pub(crate) fn newest_plan(&self) -> Option<&Arc<Verified<Plan>>> {
        let epoch = self.root()?.root().epoch;
        self.chain.newest().filter(|plan| plan.document().epoch == epoch)
    }

    /// The plans that decide what is void: those that are not over and the newest, in the order of their numbers.
    pub(crate) fn standing_plans(&self) -> Vec<Arc<Verified<Plan>>> {
        let newest = self.newest_plan().filter(|plan| !self.is_open(&plan.digest()));
        let mut all: Vec<_> = self.open_plans().chain(newest).cloned().collect();
        all.sort_by_key(|plan| (plan.document().epoch, plan.document().seq));
        all
    }

    /// Whether that plan is known and its rollout not over.
    pub(crate) fn is_open(&self, plan: &Digest) -> bool {
        self.open.contains(plan)
    }

    /// What is remembered of a rollout that left memory.
    pub(crate) fn ended(&self, plan: &Digest) -> Option<&EndedRollout> {
        self.arrivals.ended(plan)
    }

    /// The rollouts that left memory, oldest first.
    pub(crate) fn all_ended(&self) -> impl DoubleEndedIterator<Item = &EndedRollout> {
        self.arrivals.all_ended()
    }

    /// The ledger's record of a plan whose rollout is in memory.
    pub(crate) fn record_of(&self, plan: &Digest) -> Option<u64> {
        self.arrivals.record_of(plan)
    }

    /// Whether that plan was ever taken.
    pub(crate) fn knows_plan(&self, plan: &Digest) -> bool {
        self.plans.contains_key(plan) || self.ended(plan).is_some()
    }

    /// Where the rollout of that plan stands.
    pub(crate) fn standing(&self, plan: &Digest) -> Option<RolloutState> {
        self.sequencer.standing(plan)
    }

    /// The plans whose rollouts are not over.
    pub(crate) fn open_plans(&self) -> impl Iterator<Item = &Arc<Verified<Plan>>> {
        self.open.iter().filter_map(|plan| self.plans.get(plan))
    }

    /// Whether a plan whose rollout is in memory names that artifact and that node.
    pub(crate) fn needs_artifact(&self, node: &NodeName, artifact: &Digest) -> bool {
        self.plans.values().any(|p| {
            let plan = p.document();
            plan.target(node).is_some() && plan.artifacts.iter().any(|a| a.sha256 == *artifact)
        })
    }

    /// The artifacts of every plan whose rollout is in memory.
    pub(crate) fn needed_artifacts(&self) -> BTreeSet<Digest> {
        self.plans.values().flat_map(|p| p.document().artifacts.iter().map(|a| a.sha256)).collect()
    }

    /// Enrolments that no roster lists yet.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (&NodeName, &Enrolled)> {
        self.enrolled
            .iter()
            .filter(|(node, e)| self.membership(node, &e.enrolment.document().key.fingerprint()) == Membership::Pending)
    }

    /// What a key enrolled with, under whichever name it came.
    pub(crate) fn enrolment_of(&self, key: &Fingerprint) -> Option<(Verified<Enrolment>, Verified<Admission>)> {
        let enrolment =
            self.enrolled.values().map(|e| &e.enrolment).find(|e| e.document().key.fingerprint() == *key)?;
        let token = self.tokens.get(&enrolment.document().token)?;
        Some((enrolment.clone(), token.admission.clone()))
    }

    /// How the holder of that key stands under that name.
    pub(crate) fn membership(&self, node: &NodeName, key: &Fingerprint) -> Membership {
        let listed = self.roster.as_ref().and_then(|r| r.document().nodes.iter().find(|n| n.name == *node));
        if let Some(listed) = listed
            && listed.key.fingerprint() == *key
        {
            return match listed.status {
                RosterStatus::Active => Membership::Active,
                RosterStatus::Retired => Membership::Retired,
            };
        }
        let active = listed.is_some_and(|l| l.status == RosterStatus::Active);
        let enrolled = self.enrolled.get(node).is_some_and(|e| {
            let enrolment = e.enrolment.document();
            let invited = self.tokens.get(&enrolment.token).is_some_and(|t| !t.revoked);
            invited && enrolment.key.fingerprint() == *key
        });
        if enrolled && !active { Membership::Pending } else { Membership::Unknown }
    }

    /// Takes a record that was read from the disk into account: judged as it was before it was written, so that a
    /// ledger made by somebody else, chained well but signed by nobody, amounts to nothing.
    pub(crate) fn replay(&mut self, written: &Written) -> Result<(), Refused> {
        let proven = self.judge.prove(&written.record.entry)?;
        self.judge.check(written.record.at, std::slice::from_ref(&proven))?;
        self.apply(written, proven);
        Ok(())
    }

    /// Takes a record into account whose content was verified: `proven` is what it holds.
    pub(crate) fn apply(&mut self, Written { record, hash }: &Written, proven: Proven) {
        let at = record.at;
        self.judge.apply(at, *hash, &proven);
        match proven {
            Proven::Root(root) => {
                self.found(root.digest());
                self.chain.take_root(&root);
                self.roots.push(root);
            }
            Proven::Admission(admission) => {
                let token = admission.document().token.clone();
                let roster = self.roster.as_ref().map(Verified::document);
                let revoked = roster.is_some_and(|r| r.revoked_tokens.contains(&token));
                self.tokens.insert(token, Token { admission, keys: BTreeMap::new(), revoked });
            }
            Proven::Enrolment(enrolment) => {
                let Enrolment { node, key, token, .. } = enrolment.document();
                if let Some(token) = self.tokens.get_mut(token) {
                    token.keys.insert(key.fingerprint(), node.clone());
                }
                self.enrolled.insert(node.clone(), Enrolled { enrolment, at });
            }
            Proven::Roster(roster) => {
                for token in &roster.document().revoked_tokens {
                    self.revoke(token);
                }
                self.found(roster.digest());
                self.chain.take_roster(&roster);
                self.roster = Some(roster);
            }
            Proven::Plan(plan) => {
                let plan = Arc::new(plan);
                self.found(plan.digest());
                self.chain.take_plan(&plan);
                self.open.insert(plan.digest());
                self.arrivals.add(plan.digest(), record.index);
                self.plans.insert(plan.digest(), plan);
            }
            Proven::Receipt(receipt) => self.receipts.add(self.snapshots.noted(receipt, &self.plans)),
            Proven::Holding(holding) => {
                let node = &holding.document().node;
                for stranger in self.new_strangers(&holding) {
                    self.forks.insert(stranger, (node.clone(), holding.clone()));
                }
            }
            Proven::Signed(decision) => {
                let Decision { decided, by, .. } = decision.document();
                if let Some(entry) = Entry::of(decided, by) {
                    self.decided(at, &entry);
                }
                if matches!(decided, Decided::Adopt { .. }) {
                    self.adoptions.truncate(KEPT_ADOPTIONS - 1);
                    self.adoptions.push_front(decision.signed().clone());
                }
            }
            Proven::Decision(entry) => self.decided(at, &entry),
        }
        self.sequencer.apply(at, &record.entry);
        if ends_rollouts(&record.entry) {
            self.note_ends(record.index);
        }
    }

    /// What was lost and was handed in again is no end of a fork.
    fn found(&mut self, document: Digest) {
        self.forks.retain(|stranger, _| stranger.other != document);
    }

    /// What a node holds that the ledger neither has nor names, and that is no known fork.
    pub(super) fn new_strangers(&self, holding: &Verified<Holding>) -> Vec<Stranger> {
        let Holding { holds, open, .. } = holding.document();
        let by_this_node = self.forks().filter(|(_, by, _)| **by == holding.document().node).count();
        let room = FORKS_OF_A_NODE.saturating_sub(by_this_node);
        let strangers = self.chain.strangers(&self.roots, holds, open).into_iter();
        strangers.filter(|stranger| !self.forks.contains_key(stranger)).take(room).collect()
    }

    /// The forks that no document of the ledger closes, with who signed that it holds the other end.
    pub(crate) fn forks(&self) -> impl Iterator<Item = (&Stranger, &NodeName, &Verified<Holding>)> {
        let epoch = self.root().map(|root| root.root().epoch);
        let open = self.forks.iter().filter(move |(stranger, (_, holding))| {
            !self.chain.names(&stranger.other) && Some(holding.document().holds.epoch) >= epoch
        });
        open.map(|(stranger, (node, holding))| (stranger, node, holding))
    }

    /// Some rollouts may be over with the record `index`; those that nothing changes any more leave memory.
    fn note_ends(&mut self, index: u64) {
        let over: Vec<Digest> = self.open.iter().filter(|plan| self.sequencer.is_over(plan)).copied().collect();
        for plan in over {
            self.open.remove(&plan);
            self.arrivals.end(plan);
        }
        for plan in self.arrivals.forget(&mut self.sequencer, index) {
            self.plans.remove(&plan);
            self.receipts.by_plan.remove(&plan);
        }
    }

    fn revoke(&mut self, token: &TokenId) {
        if let Some(token) = self.tokens.get_mut(token) {
            token.revoked = true;
        }
    }

    fn decided(&mut self, at: Timestamp, entry: &Entry) {
        match entry {
            Entry::NodeRefused { node, document, refusal, reason } => {
                let kept = self.refusals.entry(node.clone()).or_default();
                if kept.len() == KEPT_REFUSALS {
                    kept.pop_front();
                }
                let (refusal, reason, document) = (*refusal, reason.clone(), *document);
                kept.push_back(NodeRefusal { at, refusal, reason, document });
            }
            Entry::Alarm { about, refusal, reason } => {
                if self.alarms.len() == KEPT_ALARMS {
                    self.alarms.pop_front();
                }
                self.alarms.push_back((at, format!("{about}: {reason} ({refusal})")));
            }
            Entry::TokenRevoked { token, .. } => self.revoke(token),
            Entry::Document { .. }
            | Entry::Granted { .. }
            | Entry::LeaseExpired { .. }
            | Entry::LeaseReleased { .. }
            | Entry::Paused { .. }
            | Entry::Resumed { .. }
            | Entry::Halted { .. }
            | Entry::Recovered { .. }
            | Entry::Finished { .. }
            | Entry::Quarantined { .. }
            | Entry::QuarantineReleased { .. }
            | Entry::ClockSetBack { .. }
            | Entry::Restored { .. }
            | Entry::CaughtUp { .. } => {}
        }
    }

    /// Which token an enrolment says it used. Nothing is verified yet.
    pub(crate) fn token_of(&self, enrolment: &Signed) -> Result<TokenId, Refused> {
        trust::check_size(DocumentKind::Enrolment, enrolment)?;
        let parsed: Enrolment = json::parse(&enrolment.bytes)
            .map_err(|e| Refused::new(Refusal::Malformed, format!("the enrolment is {e}; update hostler-agent")))?;
        Ok(parsed.token)
    }

    /// The token of that name.
    pub(crate) fn token(&self, id: &TokenId) -> Result<&Token, Refused> {
        self.tokens.get(id).ok_or_else(|| {
            Refused::new(
                Refusal::NotAllowed,
                format!(
                    "expected a token that this coordinator knows, found {id}; make a new one with `hostler token \
                    create`"
                ),
            )
        })
    }
}

/// Whether a rollout may be over after it that was not before.
fn ends_rollouts(entry: &Entry) -> bool {
    match entry {
        Entry::Document { kind: DocumentKind::Root | DocumentKind::Plan | DocumentKind::Decision, .. }
        | Entry::Halted { .. }
        | Entry::Finished { .. } => true,
        Entry::Document { .. }
        | Entry::Granted { .. }
        | Entry::LeaseExpired { .. }
        | Entry::LeaseReleased { .. }
        | Entry::Paused { .. }
        | Entry::Resumed { .. }
        | Entry::Recovered { .. }
        | Entry::Quarantined { .. }
        | Entry::QuarantineReleased { .. }
        | Entry::NodeRefused { .. }
        | Entry::Alarm { .. }
        | Entry::TokenRevoked { .. }
        | Entry::ClockSetBack { .. }
        | Entry::Restored { .. }
        | Entry::CaughtUp { .. } => false,
    }
}

/// Receipts that a node is handed back at once: it takes them one behind the other, and asks again at its next stream.
const MAX_OWN_RECEIPTS: usize = 256;

impl Receipts {
    fn add(&mut self, receipt: Verified<Receipt>) {
        let document = receipt.document();
        let (plan, task, node) = (document.plan, document.task.clone(), document.node.clone());
        let receipt = Arc::new(receipt);
        self.last.insert(node, receipt.clone());
        self.by_plan.entry(plan).or_default().entry(task).or_default().push(receipt);
    }

    /// The last receipt of a node that came.
    pub(crate) fn last_of(&self, node: &NodeName) -> Option<&Arc<Verified<Receipt>>> {
        self.last.get(node)
    }

    /// What a node that comes back asks for: its own receipts above a number, and those of these digests, by number. Of
    /// rollouts that left memory only the last is here.
    pub(crate) fn for_their_node(&self, node: &NodeName, above: u64, lost: &[Digest]) -> Vec<Arc<Verified<Receipt>>> {
        if self.last.get(node).is_none_or(|last| last.document().counter <= above) && lost.is_empty() {
            return Vec::new();
        }
        let in_memory = self.by_plan.values().flat_map(BTreeMap::values).flatten().chain(self.last.get(node));
        let wanted = in_memory
            .filter(|r| r.document().node == *node && (r.document().counter > above || lost.contains(&r.digest())));
        let by_number: BTreeMap<u64, _> = wanted.map(|r| (r.document().counter, r.clone())).collect();
        by_number.into_values().take(MAX_OWN_RECEIPTS).collect()
    }

    /// The receipts of a task whose rollout is in memory, oldest first.
    pub(crate) fn of_task(&self, plan: &Digest, task: &TaskId) -> &[Arc<Verified<Receipt>>] {
        self.by_plan.get(plan).and_then(|tasks| tasks.get(task)).map_or(&[], Vec::as_slice)
    }
}
