//! What decides, without a clock, a disk or a network: the tests bring the time and read the effects.

mod clock;
mod cluster;
mod decisions;
mod delivery;
mod forks;
mod lies;
mod loss;
mod reserved;
mod snapshots;

use std::sync::{Mutex, MutexGuard};

use hostler_fixtures::{self as made, key, public, signed, signer};
use hostler_plan::{
    document::{DocumentKind, Outcome, Plan, Receipt, Root, Roster, RosterNode, RosterStatus, SignerRole},
    id::Seq,
    ledger::{Head, Record, encode},
    sequencer::{RolloutAction, RolloutState},
    step::ClusterRole,
};

use super::*;
use crate::view::{self, Shown};

const ADMIN: u8 = 1;

/// So many seconds after the start.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000 + seconds)
}

/// A ledger in memory, and what it was asked to do.
#[derive(Debug, Clone, Default)]
struct MemoryLedger(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    records: Vec<Record>,
    written: Vec<Written>,
    head: Option<Head>,
    appends: usize,
    /// As a disk without room.
    is_full: bool,
}

impl MemoryLedger {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap()
    }

    /// The entries from that record on, each by its word.
    fn words_from(&self, index: usize) -> Vec<String> {
        let word = |r: &Record| {
            let json = serde_json::to_value(&r.entry).unwrap();
            json.get("kind").unwrap_or(&json["entry"]).as_str().unwrap().to_owned()
        };
        self.lock().records[index..].iter().map(word).collect()
    }
}

impl Append for MemoryLedger {
    fn append(&mut self, at: Timestamp, entries: Vec<Entry>) -> Result<Vec<Written>, AppendError> {
        let mut written = self.lock();
        if written.is_full {
            return Err(AppendError::NotWritten("no room".to_owned()));
        }
        written.appends += 1;
        let mut head = written.head.unwrap_or(Head::EMPTY);
        let mut records = Vec::new();
        for entry in entries {
            let (_, record, next) = encode(head, at, entry);
            records.push(Written { record, hash: next.hash });
            head = next;
        }
        written.head = Some(head);
        written.written.extend(records.clone());
        written.records.extend(records.iter().map(|w| w.record.clone()));
        Ok(records)
    }
}

/// A fleet of two workers, `a` and `b`, whose root and roster are installed.
struct Fleet {
    control: Control,
    ledger: MemoryLedger,
    root: Root,
    roster: Roster,
    /// Which stream is whose.
    streams: BTreeMap<u64, NodeName>,
}

fn node(name: &str) -> NodeName {
    made::name(name)
}

/// The key of a node: the seed is its letter.
fn seed(name: &str) -> u8 {
    name.as_bytes()[0]
}

fn config() -> ControlConfig {
    ControlConfig { report_interval: Duration::from_secs(10), conditions_fresh_for: Duration::from_secs(60) }
}

impl Fleet {
    fn new() -> Self {
        Self::with_b_as(ClusterRole::Worker)
    }

    fn with_b_as(role: ClusterRole) -> Self {
        let ledger = MemoryLedger::default();
        let control = Control::new(Box::new(ledger.clone()), State::new(), config(), BTreeMap::new());
        let root = made::root(at(0), vec![signer("admin", public(&key(ADMIN)), SignerRole::Admin)]);
        let member = |name: &str, role| made::node(name, public(&key(seed(name))), role);
        let members = vec![member("a", ClusterRole::Worker), member("b", role)];
        let roster = made::roster(&root, at(0), members);
        let mut fleet = Self { control, ledger, root, roster, streams: BTreeMap::new() };
        let ca = fleet.root.coordinator_ca[0];
        let root = signed(DocumentKind::Root, &fleet.root, &[&key(ADMIN)]);
        assert!(fleet.control.install_root(at(0), &root, ca).unwrap().is_new);
        let roster = signed(DocumentKind::Roster, &fleet.roster, &[&key(ADMIN)]);
        assert!(fleet.control.submit_roster(at(0), &roster).unwrap().is_new);
        fleet
    }

    fn attach(&mut self, now: Timestamp, name: &str) -> Result<u64, ControlError> {
        self.attach_boot(now, name, "b1")
    }

    fn attach_boot(&mut self, now: Timestamp, name: &str, boot: &str) -> Result<u64, ControlError> {
        let attach = Attach {
            node: node(name),
            key: public(&key(seed(name))).fingerprint(),
            boot_id: BootId::new(boot).unwrap(),
            address: "127.0.0.1".parse().unwrap(),
            root_version: 1,
            lost_receipts: Vec::new(),
            receipt_counter: 0,
            holding: None,
            running: None,
        };
        let Attached { stream } = self.control.attach(now, attach)?;
        self.streams.insert(stream, node(name));
        Ok(stream)
    }

    /// A check in which every node is free to begin at once.
    fn plan(&self, seq: u64) -> Plan {
        let mut plan = made::plan(&self.roster, at(0), seq);
        plan.prev = self.control.state().newest_plan().map(|newest| newest.digest());
        plan.strategy.max_unavailable = 2;
        plan.tasks.iter_mut().for_each(|t| t.after.clear());
        plan
    }

    fn submit(&mut self, now: Timestamp, plan: &Plan) -> Result<Submitted, ControlError> {
        let plan = signed(DocumentKind::Plan, plan, &[&key(ADMIN)]);
        self.control.submit_plan(now, &plan, SignerRole::Admin, |_, _| true)
    }

    /// Looks, and says what every node is told, such as `a plan`.
    fn look(&mut self, now: Timestamp) -> Vec<String> {
        self.control.look(now);
        self.told()
    }

    fn told(&mut self) -> Vec<String> {
        let told = |effect: Effect| match effect {
            Effect::Send { stream, message } => {
                let word = match message {
                    ToNode::Welcome { .. } => "welcome".to_owned(),
                    ToNode::Trust { .. } => "trust".to_owned(),
                    ToNode::Plan(_) => "plan".to_owned(),
                    ToNode::View(_) => "view".to_owned(),
                    ToNode::Decision(signed) => format!("decision {}", signed.digest()),
                    ToNode::Grant { task, grant, .. } => format!("grant {grant} of {task}"),
                    ToNode::Stop { reason, .. } => format!("stop: {reason}"),
                    ToNode::ReceiptAcknowledged(_) => "acknowledged".to_owned(),
                    ToNode::ReceiptNotTaken { refused, .. } => format!("not taken: {}", refused.refusal),
                    ToNode::LeaseRenewed { grant, .. } => format!("renewed {grant}"),
                };
                format!("{} {word}", self.streams.get(&stream).map_or("?", NodeName::as_str))
            }
            Effect::Close { stream, closing } => format!("{} closed: {closing:?}", self.streams[&stream]),
            Effect::KeepAddress(node, address) => format!("{node} is at {address}"),
            Effect::KeepHolding(node, _) => format!("{node} holds"),
        };
        self.control.take_effects().into_iter().map(told).collect()
    }

    fn state_of(&self, digest: &Digest) -> RolloutState {
        self.control.state().sequencer.standing(digest).unwrap()
    }
}

/// A node's receipt of success, under the number of its grant.
fn receipt(plan: &Plan, name: &str, grant: u64) -> (NodeName, Signed) {
    let receipt = Receipt { grant, ..made::receipt(plan, &format!("{name}.check")) };
    (node(name), signed(DocumentKind::Receipt, &receipt, &[&key(seed(name))]))
}

#[test]
fn a_plan_is_told_to_its_nodes_and_granted_once_it_is_in_the_ledger() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    fleet.attach(at(1), "b").unwrap();
    assert_eq!(fleet.look(at(1)), ["a welcome", "b welcome", "a trust", "b trust"]);
    let plan = fleet.plan(1);
    let submitted = fleet.submit(at(2), &plan).unwrap();
    assert_eq!(fleet.told(), ["a plan", "b plan"], "while the first grants are being written");
    assert_eq!(fleet.look(at(2)), ["a grant 1 of a.check", "b grant 2 of b.check"]);
    assert_eq!(fleet.ledger.words_from(2), ["plan", "granted", "granted"]);
    assert_eq!(fleet.submit(at(3), &plan).unwrap(), Submitted { is_new: false, ..submitted });
    assert!(fleet.look(at(3)).is_empty(), "nothing is told twice");
    assert!(matches!(fleet.submit(at(3), &Plan { seq: Seq(0), ..plan }), Err(ControlError::Refused(_))));
}

#[test]
fn receipts_that_come_together_share_one_append_and_each_is_answered() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    fleet.attach(at(1), "b").unwrap();
    let plan = fleet.plan(1);
    let digest = fleet.submit(at(2), &plan).unwrap().digest;
    fleet.look(at(2));
    let before = fleet.ledger.lock().appends;
    let (a, b) = (receipt(&plan, "a", 1), receipt(&plan, "b", 2));
    let answers = fleet.control.receipts(at(3), vec![a.clone(), b]);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(fleet.ledger.lock().appends, before + 1);
    assert_eq!(fleet.told(), ["a acknowledged", "b acknowledged"]);
    assert_eq!(fleet.control.endings(), 1);
    fleet.look(at(3));
    assert_eq!(fleet.state_of(&digest), RolloutState::Finished);
    let appends = fleet.ledger.lock().appends;
    assert!(fleet.control.receipts(at(4), vec![a])[0].is_ok(), "once more is no fault");
    assert_eq!((fleet.told(), fleet.ledger.lock().appends), (vec!["a acknowledged".to_owned()], appends));
}

#[test]
fn a_refusal_is_why_a_rollout_waits_until_the_node_takes_the_plan() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    fleet.attach(at(1), "b").unwrap();
    let plan = fleet.plan(1);
    let lease = plan.strategy.lease_seconds;
    let digest = fleet.submit(at(2), &plan).unwrap().digest;
    fleet.look(at(2));
    let refuse = |fleet: &mut Fleet, now| {
        let why = "its clock shows 1970";
        fleet.control.refusal(now, &node("a"), Refusal::Expired, why, Some(digest)).unwrap();
        fleet.look(now)
    };
    let why = |fleet: &Fleet, now| {
        let waits = fleet.control.state().sequencer.waits(now).into_iter().filter(|w| w.node == Some(node("a")));
        waits.map(|w| w.reason.to_string()).collect::<Vec<_>>().join("; ")
    };
    let said = "waits because a refuses the plan: its clock shows 1970 (expired)";
    refuse(&mut fleet, at(3));
    assert_eq!(why(&fleet, at(3)), said);
    // It is offered again with what was granted of it, and refused again: no lease runs out by that.
    let mut now = at(3);
    for _ in 0..2 * lease / 30 {
        now = fleet.control.next_look().unwrap();
        let again = fleet.look(now).into_iter().filter(|told| told.starts_with('a')).collect::<Vec<_>>();
        assert_eq!(again, ["a plan", "a grant 1 of a.check"], "{now}");
        refuse(&mut fleet, now);
        assert_eq!(why(&fleet, now), said);
        let renewal = Renewal { plan: digest, task: made::task_id("b.check"), grant: 2 };
        fleet.control.renew_lease(now, &node("b"), renewal);
        assert_eq!(fleet.state_of(&digest), RolloutState::Running);
    }
    assert!(now > at(3 + lease), "{now}");
    // It takes it.
    let renewal = Renewal { plan: digest, task: made::task_id("a.check"), grant: 1 };
    fleet.control.renew_lease(now, &node("a"), renewal);
    assert!(why(&fleet, now).starts_with("a performs a.check"), "{}", why(&fleet, now));
    // Who refuses no more and says nothing is no longer waited for, and no sentence calls it unheard.
    let silent = now.plus(Duration::from_secs(lease + 1));
    fleet.look(silent);
    assert!(matches!(fleet.state_of(&digest), RolloutState::NeedsAttention { .. }));
    assert!(why(&fleet, silent).contains("a has not renewed its lease of a.check"), "{}", why(&fleet, silent));
}

#[test]
fn what_does_not_count_is_refused_beside_what_does() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    fleet.attach(at(1), "b").unwrap();
    let plan = fleet.plan(1);
    fleet.submit(at(2), &plan).unwrap();
    fleet.look(at(2));
    let (_, others) = receipt(&plan, "b", 2);
    let answers = fleet.control.receipts(at(3), vec![(node("a"), others), receipt(&plan, "b", 2)]);
    assert!(matches!(&answers[0], Err(ControlError::Refused(r)) if r.refusal == Refusal::NotAllowed), "{answers:?}");
    assert!(answers[1].is_ok());
    assert_eq!(fleet.told(), ["a not taken: not_allowed", "b acknowledged"], "nobody need send it again");
    assert_eq!(
        fleet.ledger.words_from(5),
        ["alarm", "receipt"],
        "one node's receipt on another's stream is told to people"
    );
}

#[test]
fn an_append_that_fails_tells_nobody_anything_and_is_tried_again() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    fleet.attach(at(1), "b").unwrap();
    fleet.look(at(1));
    let plan = fleet.plan(1);
    fleet.ledger.lock().is_full = true;
    assert!(matches!(fleet.submit(at(2), &plan), Err(ControlError::Ledger(AppendError::NotWritten(_)))));
    assert!(fleet.look(at(2)).is_empty());
    assert!(fleet.control.state().plans.is_empty(), "nothing happened");
    assert!(fleet.control.ledger_trouble().unwrap().contains("no room"));
    fleet.ledger.lock().is_full = false;
    fleet.submit(at(3), &plan).unwrap();
    assert_eq!(fleet.control.ledger_trouble(), None);
    fleet.ledger.lock().is_full = true;
    assert_eq!(fleet.look(at(3)), ["a plan", "b plan"], "a grant that is not written is not told");
    assert_eq!(fleet.control.next_look(), Some(at(4)), "the disk gets a second");
    fleet.ledger.lock().is_full = false;
    assert_eq!(fleet.look(at(4)), ["a grant 1 of a.check", "b grant 2 of b.check"]);
    fleet.ledger.lock().is_full = true;
    let answers = fleet.control.receipts(at(5), vec![receipt(&plan, "a", 1)]);
    assert!(matches!(answers[0], Err(ControlError::Ledger(_))));
    assert!(fleet.told().is_empty(), "a receipt that is not written is not acknowledged");
    fleet.ledger.lock().is_full = false;
    assert!(fleet.control.receipts(at(6), vec![receipt(&plan, "a", 1)])[0].is_ok(), "it comes again");
}

#[test]
fn a_halt_is_told_to_who_knows_the_plan_and_nothing_is_granted_after_it() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    let plan = fleet.plan(1);
    let digest = fleet.submit(at(2), &plan).unwrap().digest;
    fleet.look(at(2));
    fleet.control.act(at(3), "1", RolloutAction::Halt, "admin", "a smell of smoke").unwrap();
    assert_eq!(fleet.look(at(3)), ["a stop: halted by admin: a smell of smoke"]);
    fleet.attach(at(4), "b").unwrap();
    let late = ["b welcome", "b trust", "b plan", "b stop: halted by admin: a smell of smoke"];
    assert_eq!(fleet.look(at(4)), late, "the newest plan makes others void, also when it is over");
    assert!(matches!(fleet.control.act(at(5), "1", RolloutAction::Halt, "admin", ""), Err(ControlError::Invalid(_))));
    assert!(matches!(fleet.state_of(&digest), RolloutState::Halted { .. }));
    assert!(fleet.control.receipts(at(6), vec![receipt(&plan, "a", 1)])[0].is_ok(), "what was begun is ended");
}

#[test]
fn a_second_stream_takes_the_place_of_the_first_and_is_told_again() {
    let mut fleet = Fleet::new();
    let first = fleet.attach(at(1), "a").unwrap();
    let plan = fleet.plan(1);
    fleet.submit(at(2), &plan).unwrap();
    fleet.look(at(2));
    let second = fleet.attach(at(3), "a").unwrap();
    let told = fleet.look(at(3));
    assert_eq!(told, ["a closed: Replaced", "a welcome", "a trust", "a plan", "a grant 1 of a.check"]);
    assert!(!fleet.control.detach(at(4), &node("a"), first), "the end of the first one is late");
    assert!(fleet.control.is_connected(&node("a")));
    assert!(fleet.control.detach(at(5), &node("a"), second));
    assert!(!fleet.control.is_connected(&node("a")));
}

#[test]
fn a_node_that_is_retired_loses_its_stream() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    fleet.look(at(1));
    let retired = |n: &RosterNode| RosterNode {
        status: if n.name == node("a") { RosterStatus::Retired } else { n.status },
        ..n.clone()
    };
    let roster = Roster {
        version: 2,
        prev: Some(hostler_fixtures::signed(DocumentKind::Roster, &fleet.roster, &[]).digest()),
        nodes: fleet.roster.nodes.iter().map(retired).collect(),
        ..fleet.roster.clone()
    };
    fleet.control.submit_roster(at(2), &signed(DocumentKind::Roster, &roster, &[&key(ADMIN)])).unwrap();
    let told = fleet.look(at(2));
    assert!(told[0].starts_with("a closed: Refused"), "{told:?}");
    assert!(!fleet.control.is_connected(&node("a")));
    assert!(matches!(fleet.attach(at(3), "a"), Err(ControlError::Refused(r)) if r.refusal == Refusal::Revoked));
}

#[test]
fn a_lease_runs_out_by_the_time_that_comes_in() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    let plan = fleet.plan(1);
    let digest = fleet.submit(at(2), &plan).unwrap().digest;
    fleet.look(at(2));
    let renewal = Renewal { plan: digest, task: made::task_id("a.check"), grant: 1 };
    fleet.control.renew_lease(at(100), &node("a"), renewal.clone());
    assert_eq!(fleet.told(), ["a renewed 1"]);
    fleet.look(at(219));
    assert_eq!(fleet.state_of(&digest), RolloutState::Running, "the lease has 120 seconds from its renewal on");
    fleet.look(at(221));
    assert!(matches!(fleet.state_of(&digest), RolloutState::NeedsAttention { .. }));
    fleet.control.renew_lease(at(222), &node("a"), renewal);
    assert!(fleet.told().is_empty(), "a lease that ran out is renewed by nobody");
}

#[test]
fn a_ledger_read_again_amounts_to_what_was_committed_with_its_proof() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    fleet.attach(at(1), "b").unwrap();
    let first = fleet.plan(1);
    fleet.submit(at(2), &first).unwrap();
    fleet.look(at(2));
    fleet.control.receipts(at(3), vec![receipt(&first, "a", 1), receipt(&first, "b", 2)]);
    fleet.look(at(3));
    fleet.submit(at(4), &fleet.plan(2)).unwrap();
    fleet.look(at(4));
    let mut again = State::new();
    for written in &fleet.ledger.lock().written {
        again.replay(written).unwrap();
    }
    let live = fleet.control.state();
    assert_eq!(again.sequencer.rollouts(), live.sequencer.rollouts());
    assert_eq!((again.plans.len(), again.highest_seq()), (live.plans.len(), live.highest_seq()));
    let of = |state: &State| state.receipts.of_task(&made_digest(&first), &made::task_id("a.check")).to_vec();
    assert_eq!(of(&again), of(live));
    assert_eq!(of(live)[0].document().outcome, Outcome::Succeeded {});
}

fn made_digest(plan: &Plan) -> Digest {
    signed(DocumentKind::Plan, plan, &[]).digest()
}

/// Two nodes do what the plan says, and its rollout is over.
fn finish(fleet: &mut Fleet, now: u64, seq: u64) -> (Plan, Digest) {
    let plan = fleet.plan(seq);
    let digest = fleet.submit(at(now), &plan).unwrap().digest;
    fleet.look(at(now));
    let grant = seq * 2 - 1;
    let own = |name: &str, grant| {
        let last = fleet.control.state().judge.last_receipt(&node(name));
        let (counter, previous) = last.map_or((1, None), |(number, digest)| (number + 1, Some(digest)));
        let receipt = Receipt { grant, counter, previous, ..made::receipt(&plan, &format!("{name}.check")) };
        (node(name), signed(DocumentKind::Receipt, &receipt, &[&key(seed(name))]))
    };
    let both = vec![own("a", grant), own("b", grant + 1)];
    let answers = fleet.control.receipts(at(now + 1), both);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    fleet.look(at(now + 1));
    (plan, digest)
}

#[test]
fn a_rollout_that_left_memory_is_shown_from_the_ledger_as_it_was() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    fleet.attach(at(1), "b").unwrap();
    let (first_plan, first) = finish(&mut fleet, 10, 1);
    let lines = view::rollouts(&fleet.control, at(12));
    let Shown::Detail(detail) = view::rollout(&fleet.control, "1", at(12)).unwrap() else { panic!("it is in memory") };
    let documents = view::documents(&fleet.control, &detail).unwrap();
    assert_eq!((detail.tasks.len(), documents.receipts.len()), (2, 2));

    let (_, second) = finish(&mut fleet, 20, 2);
    let (again, _) = finish(&mut fleet, 30, 3);
    assert!(fleet.control.state().plans.len() == 1 && fleet.control.state().ended(&second).is_some());
    assert_eq!(view::rollouts(&fleet.control, at(32))[..1], lines[..], "the list is the same");
    for which in ["1".to_owned(), first.to_string(), first.hex()[..8].to_owned()] {
        let Shown::Ended(ended) = view::rollout(&fleet.control, &which, at(32)).unwrap() else {
            panic!("it left memory")
        };
        let records: Vec<Record> =
            fleet.ledger.lock().records.iter().filter(|r| ended.records.contains(&r.index)).cloned().collect();
        assert_eq!(view::ended(&ended, &records).unwrap(), (*detail.clone(), documents.clone()));
    }
    assert!(!fleet.submit(at(33), &first_plan).unwrap().is_new, "its plan is still known");
    let halted = fleet.control.act(at(34), "1", RolloutAction::Halt, "admin", "");
    assert!(matches!(halted, Err(ControlError::Invalid(reason)) if reason.contains("found plan 1 finished")));

    let mut read = State::new();
    for written in &fleet.ledger.lock().written {
        read.replay(written).unwrap();
    }
    assert_eq!(read.sequencer.rollouts(), fleet.control.state().sequencer.rollouts(), "a restart forgets the same");
    assert_eq!(read.ended(&first), fleet.control.state().ended(&first));
    assert!(read.plans.contains_key(&made_digest(&again)));
}
