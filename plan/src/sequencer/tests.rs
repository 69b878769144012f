//! What the sequencer keeps count of is what counting anew gives, after any history.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    document::{DocumentKind, PlanKind, Receipt, Signed},
    entry::StoredDocument,
    id::TaskId,
    signature::PublicKey,
};
use rollout::Rollout;

const NODES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// One thing that happens; the numbers choose among what there is.
type Event = (u8, usize, usize);

#[derive(Clone)]
struct World {
    sequencer: Sequencer,
    now: Timestamp,
    ledger: Vec<(Timestamp, Entry)>,
    plans: Vec<Digest>,
    counter: u64,
    roster: u64,
    epoch: u64,
    forgotten: usize,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            sequencer: Sequencer::new(Settings::default()),
            now: Timestamp::from_unix_seconds(1_800_000_000),
            ledger: Vec::new(),
            plans: Vec::new(),
            counter: 0,
            roster: 0,
            epoch: 1,
            forgotten: 0,
        };
        world.new_roster(0);
        for node in NODES.map(name) {
            world.observe(NodeEvent::NodeConnected { node: node.clone(), boot_id: boot(0) });
            let condition = ClusterNode { standing: Standing::Ready, ..ClusterNode::UNKNOWN };
            world.observe(NodeEvent::NodeCondition { node: node.clone(), condition });
            world.observe(NodeEvent::NodeHealth { node, vitals: Vitals::default() });
        }
        world
    }

    fn append(&mut self, entry: Entry) {
        self.sequencer.apply(self.now, &entry);
        self.ledger.push((self.now, entry));
        self.sequencer.assert_counted();
    }

    fn document(&mut self, kind: DocumentKind, content: &serde_json::Value) -> Digest {
        let signed = Signed { bytes: serde_json::to_vec(content).unwrap(), signatures: Vec::new() };
        let digest = signed.digest();
        self.append(Entry::Document { kind, document: StoredDocument(signed) });
        digest
    }

    fn observe(&mut self, event: NodeEvent) {
        self.sequencer.observe(self.now, event);
        self.sequencer.assert_counted();
    }

    fn happens(&mut self, (what, one, other): Event) {
        let node = name(NODES[one % NODES.len()]);
        match what % 16 {
            0 if one % 2 == 0 => self.new_plan(one, other),
            0 => self.decide(),
            1..=3 => self.decide(),
            4 => self.all_succeed(),
            5 | 6 => self.receipt(one, other),
            7 => self.observe(NodeEvent::NodeConnected { node, boot_id: boot(other % 2) }),
            8 if other % 4 == 0 => self.observe(NodeEvent::NodeDisconnected { node }),
            8 | 9 => {
                let standing = [Standing::Ready, Standing::Ready, Standing::NotReady, Standing::Outside][other % 4];
                let cordon = (other % 7 == 0).then_some(Cordon { owner: CordonOwner::Hostler, reason: None });
                let condition = ClusterNode { standing, cordon, ..ClusterNode::UNKNOWN };
                self.observe(NodeEvent::NodeCondition { node, condition });
            }
            10 | 11 => {
                let verdicts = if other % 9 == 0 { vec![Verdict::silent(1, None, 1)] } else { Vec::new() };
                let vitals = Vitals { verdicts, ..Vitals::default() };
                self.observe(NodeEvent::NodeHealth { node, vitals });
            }
            12 => {
                self.now = self.now.plus(std::time::Duration::from_secs([1, 10, 30, 90, 2000][one % 5]));
                self.decide();
            }
            13 => self.person(one, other),
            14 if one % 8 == 0 => self.new_epoch(),
            14 => self.new_roster(one),
            _ if one % 3 == 0 => {
                self.sequencer.clock_stepped(other as i64 * 1000 - 30_000);
                self.sequencer.assert_counted();
            }
            _ => self.forget(one),
        }
    }

    fn decide(&mut self) {
        for _ in 0..20 {
            let decided = self.sequencer.decide(self.now);
            if decided.is_empty() {
                break;
            }
            decided.iter().for_each(|entry| self.assert_servers_stay(entry));
            decided.into_iter().for_each(|entry| self.append(entry));
            self.assert_no_subject_twice();
        }
        // What goes through everything that is counted, and may not panic.
        let _ = (self.sequencer.waits(self.now), self.sequencer.deadline(self.now));
    }

    /// What two plans do about one node at the same time nobody signed: neither one call of `decide` nor several
    /// grant it.
    fn assert_no_subject_twice(&self) {
        let mut at_work: BTreeMap<&NodeName, Digest> = BTreeMap::new();
        let granted = |record: &rollout::TaskRecord| matches!(record.state, TaskState::Granted { .. });
        for r in self.sequencer.rollouts.iter().filter(|r| r.plan.kind != PlanKind::Check) {
            for (task, _) in r.each().filter(|(_, record)| granted(record)) {
                let other = *at_work.entry(&task.subject).or_insert(r.digest);
                assert_eq!(other, r.digest, "two plans are at work about {}", task.subject);
            }
        }
    }

    /// What takes a server away is not granted while another is not Ready.
    fn assert_servers_stay(&self, decided: &Entry) {
        let s = &self.sequencer;
        let Entry::Granted { plan, task, .. } = decided else { return };
        let Some((r, task)) = s.rollouts.get(plan).and_then(|r| Some((r, r.plan.task(task)?))) else { return };
        let is_server = |n: &&RosterNode| n.role == crate::step::ClusterRole::Server;
        let takes = task.disrupts && r.plan.kind != PlanKind::Drain;
        if !takes || !s.active().filter(is_server).any(|n| n.name == task.subject) {
            return;
        }
        for other in s.active().filter(is_server).filter(|n| n.name != task.subject) {
            let standing = s.nodes[&other.name].condition.as_ref().map(|c| c.standing);
            let away = !matches!(standing, Some(Standing::Ready | Standing::Outside));
            assert!(!away, "{} is taken while {} is away", task.subject, other.name);
        }
    }

    fn new_plan(&mut self, one: usize, other: usize) {
        let kind = ["check", "upgrade", "drain", "uncordon", "reboot"][one % 5];
        let tasks: Vec<_> = (0..NODES.len())
            .filter(|n| (other >> n) & 1 == 1)
            .flat_map(|n| self.tasks_of(kind, NODES[n], NODES[(n + one / 5) % NODES.len()], other))
            .collect();
        let beside: Vec<_> = self.plans.iter().enumerate().rev().take(one % 4).collect();
        let beside: Vec<_> = beside.iter().map(|(i, digest)| json!({ "seq": i + 1, "digest": digest })).collect();
        let now = self.now.unix_seconds();
        let time = |seconds: u64| Timestamp::from_unix_seconds(seconds);
        let continues = self.plans.last().filter(|_| kind == "drain" && !other.is_multiple_of(3));
        let plan = json!({
            "_type": "hostler-plan/v1", "fleet_id": FLEET, "epoch": self.epoch, "seq": self.plans.len() + 1,
            "prev": self.plans.last(), "kind": kind, "title": "a plan", "root_version": 1,
            "roster_version": 1, "roster": Digest::ZERO,
            "created": time(now), "not_before": time(now + other as u64 % 2 * 60), "expires": time(now + 3600),
            "beside": beside, "continues": continues, "artifacts": [],
            "targets": NODES.map(|n| json!({ "node": n, "key": key().fingerprint(), "arch": "aarch64" })),
            "strategy": { "max_unavailable": 1 + one % 3, "soak_seconds": one % 2 * 30, "lease_seconds": 60 },
            "tasks": tasks,
        });
        let digest = self.document(DocumentKind::Plan, &plan);
        self.plans.push(digest);
    }

    fn tasks_of(&self, kind: &str, subject: &str, helper: &str, other: usize) -> Vec<serde_json::Value> {
        let cordon = json!({ "op": "kube.cordon", "reason": "work" });
        let (noop, uncordon) = (json!({ "op": "host.noop" }), json!({ "op": "kube.uncordon" }));
        let task = |what: &str, node: &str, after: &[String], disrupts: bool, step: &serde_json::Value| {
            json!({
                "id": format!("{subject}.{what}"), "node": node, "subject": subject, "after": after,
                "disrupts": disrupts, "finishes": false, "steps": [step],
            })
        };
        let (first, second) = (format!("{subject}.drain"), format!("{subject}.work"));
        match kind {
            "check" if other.is_multiple_of(5) && subject != "a" => {
                vec![task("check", subject, &["a.check".into()], false, &noop)]
            }
            "check" => vec![task("check", subject, &[], false, &noop)],
            "drain" => vec![task("drain", helper, &[], true, &cordon)],
            "uncordon" => vec![task("uncordon", helper, &[], false, &uncordon)],
            _ => vec![
                task("drain", helper, &[], true, &cordon),
                task("work", subject, std::slice::from_ref(&first), true, &noop),
                task("uncordon", helper, &[first, second], false, &uncordon),
            ],
        }
    }

    fn receipt(&mut self, one: usize, other: usize) {
        let granted: Vec<_> = self.ledger.iter().filter_map(|(_, entry)| granted(entry)).collect();
        let Some(granted) = granted.get(granted.len().wrapping_sub(1 + one % 3)).cloned() else { return };
        let outcome = match other % 8 {
            0 => json!({ "result": "failed", "reason": "broken" }),
            1 => json!({ "result": "refused", "refusal": "replay", "reason": "old" }),
            _ => json!({ "result": "succeeded" }),
        };
        self.ended(&granted, &outcome);
    }

    fn all_succeed(&mut self) {
        for node in NODES.map(name) {
            for OpenGrant { plan, task, grant } in self.sequencer.open_grants(&node) {
                self.ended(&(plan, task, grant.number, node.clone()), &json!({ "result": "succeeded" }));
            }
        }
        self.decide();
    }

    fn ended(&mut self, (plan, task, grant, node): &(Digest, TaskId, u64, NodeName), outcome: &serde_json::Value) {
        self.counter += 1;
        let receipt = json!({
            "_type": "hostler-receipt/v1", "fleet_id": FLEET, "node": node, "plan": plan, "epoch": self.epoch, "seq": 1,
            "task": task, "grant": grant, "outcome": outcome, "steps": [], "observations": [], "boot_id": boot(0),
            "counter": self.counter, "previous": null, "relied_on": [], "started": self.now.whole_seconds(),
            "ended": self.now.whole_seconds(),
            "holds": { "epoch": self.epoch, "root": { "version": 1, "digest": Digest::ZERO }, "roster": null,
                "plan": null,
                "head": null },
        });
        assert!(serde_json::from_value::<Receipt>(receipt.clone()).is_ok());
        self.document(DocumentKind::Receipt, &receipt);
    }

    fn person(&mut self, one: usize, other: usize) {
        let Some(plan) = self.plans.get(self.plans.len().wrapping_sub(1 + one % 3)).copied() else { return };
        let by = "anna".to_owned();
        let expired = self.sequencer.rollouts.get(&plan).and_then(|r| Some((r, r.expired_task()?)));
        match (expired.map(|(r, task)| (r.plan.tasks[task].id.clone(), r.tasks()[task].state.clone())), other % 5) {
            (Some((task, TaskState::Expired { grant })), 0..=2) => {
                self.append(Entry::LeaseReleased { plan, task, grant: grant.number, by });
            }
            (_, 0) => self.append(Entry::Halted { plan, by, reason: "enough".into() }),
            (_, 1 | 2) => self.append(Entry::Paused { plan, by, reason: "lunch".into() }),
            (_, _) => self.append(Entry::Resumed { plan, by }),
        }
    }

    fn new_roster(&mut self, without: usize) {
        self.roster += 1;
        let nodes = NODES.iter().enumerate().map(|(i, n)| {
            let status = if without % 11 == i + 1 { "retired" } else { "active" };
            let role = if i < 2 { "server" } else { "worker" };
            json!({ "name": n, "key": KEY, "seal_key": "", "role": role, "arch": "aarch64", "status": status,
                "enrolled": { "token": "70ce0000", "enrolment": Digest::ZERO } })
        });
        let roster = json!({
            "_type": "hostler-roster/v1", "fleet_id": FLEET, "epoch": self.epoch, "version": self.roster,
            "prev": null, "plan_seq": 0, "revoked_tokens": [], "root_version": 1,
            "created": self.now.whole_seconds(), "nodes": nodes.collect::<Vec<_>>(),
        });
        self.document(DocumentKind::Roster, &roster);
    }

    fn new_epoch(&mut self) {
        self.epoch += 1;
        let root = json!({
            "_type": "hostler-root/v1", "fleet_id": FLEET, "name": "fleet", "version": self.epoch, "epoch": self.epoch,
            "created": self.now.whole_seconds(), "expires": self.now.whole_seconds(), "signers": [],
            "thresholds": { "root": 1, "admission": 1, "roster": 1, "plan": 1, "plan_kinds": {} }, "revoked": [],
            "coordinator_ca": [],
            "policy": { "max_plan_lifetime_seconds": 1, "max_admission_lifetime_seconds": 1 },
        });
        self.document(DocumentKind::Root, &root);
        self.new_roster(0);
    }

    /// Forgets a rollout; nothing but that it is not shown any more may be different after it.
    fn forget(&mut self, one: usize) {
        let Some(plan) = self.plans.get(one % self.plans.len().max(1)).copied() else { return };
        let look = |s: &mut Sequencer, now| {
            let rest: Vec<RolloutView> = s.rollouts().into_iter().filter(|r| r.plan != plan).collect();
            let decided = s.decide(now);
            (rest, decided, s.waits(now), s.deadline(now), s.unavailable().clone(), s.holds(), s.is_over(&plan))
        };
        let before = look(&mut self.sequencer, self.now);
        if self.sequencer.forget(&plan) {
            self.forgotten += 1;
            assert_eq!(look(&mut self.sequencer, self.now), before);
            assert_eq!(self.sequencer.rollout(&plan), None);
            // The same documents and receipts once more change nothing.
            for (at, entry) in self.ledger.clone() {
                let document =
                    matches!(entry, Entry::Document { kind: DocumentKind::Plan | DocumentKind::Receipt, .. });
                if document || granted(&entry).is_some_and(|(of, ..)| of == plan) {
                    self.sequencer.apply(at, &entry);
                }
            }
            assert_eq!(look(&mut self.sequencer, self.now), before);
        }
        self.sequencer.assert_counted();
    }

    /// The ledger read from its beginning tells the same of every rollout that was not forgotten.
    fn restarted(&self) {
        let mut anew = Sequencer::new(Settings::default());
        self.ledger.iter().for_each(|(at, entry)| anew.apply(*at, entry));
        anew.assert_counted();
        for view in self.sequencer.rollouts() {
            let other = anew.rollout(&view.plan).unwrap();
            let words = |view: &RolloutView| view.tasks.iter().map(|t| t.state.word()).collect::<Vec<_>>();
            assert_eq!((words(&view), view.state), (words(&other), other.state));
        }
        assert_eq!(anew.rollouts().len(), self.plans.len());
        assert_eq!(anew.quarantines(), self.sequencer.quarantines());
    }
}

const FLEET: &str = "00000000000000000000000000000000";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

fn key() -> PublicKey {
    PublicKey::try_from(KEY.to_owned()).unwrap()
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn boot(number: usize) -> BootId {
    BootId::new(format!("00000000-0000-4000-8000-00000000000{number}")).unwrap()
}

fn granted(entry: &Entry) -> Option<(Digest, TaskId, u64, NodeName)> {
    let Entry::Granted { plan, task, grant, node, .. } = entry else { return None };
    Some((*plan, task.clone(), *grant, node.clone()))
}

impl Sequencer {
    /// Counts everything anew, from the states of the tasks and what was observed.
    fn assert_counted(&self) {
        self.rollouts.iter().for_each(Rollout::assert_counted);
        let at_work = |r: &Rollout| r.tasks().iter().any(rollout::TaskRecord::in_flight);
        let active = self.rollouts.iter().filter(|r| !r.is_over() || at_work(r) || r.has_to_finish()).map(|r| r.digest);
        assert!(self.rollouts.active().map(|(_, r)| r.digest).eq(active));
        for node in NODES.map(name) {
            let tasks = self.rollouts.iter().flat_map(|r| r.each().map(move |each| (r, each)));
            let own = tasks.filter(|(_, (task, record))| task.node == node && record.in_flight());
            let own: Vec<_> = own.map(|(r, (task, _))| (r.digest, task.id.clone())).collect();
            let kept = self.rollouts.in_flight(&node).map(|(r, i)| (r.digest, r.plan.tasks[i].id.clone()));
            assert_eq!(kept.collect::<Vec<_>>(), own);
            assert_eq!(self.rollouts.count_in_flight(&node), own.len());
            let unheard =
                self.active().any(|n| n.name == node) && self.nodes.get(&node).is_none_or(|s| s.reported.is_none());
            assert_eq!(self.unheard.contains(&node), unheard);
        }
        assert!(self.unlooked.is_empty());
        assert_eq!(self.unavailable, self.unavailable_anew());
    }

    fn unavailable_anew(&self) -> BTreeMap<NodeName, Unavailable> {
        let mut all = BTreeMap::new();
        for r in self.rollouts.iter() {
            for subject in r.subjects.keys().filter(|n| r.disrupts_now(n)) {
                let task = r.flying_task(subject).map(|i| r.plan.tasks[i].id.clone());
                all.entry(subject.clone()).or_insert(Unavailable::Disrupted { seq: r.plan.seq, task });
            }
        }
        for (node, hold) in self.holds() {
            all.entry(node).or_insert(Unavailable::Held { seq: hold.seq });
        }
        for node in self.active() {
            if let Some(why) = budget::observed(self, &node.name) {
                all.entry(node.name.clone()).or_insert(why);
            }
        }
        all
    }
}

impl Rollout {
    fn assert_counted(&self) {
        let such = |is: &dyn Fn(usize) -> bool| (0..self.tasks().len()).filter(|i| is(*i)).collect::<Vec<_>>();
        let record = |i: usize| &self.tasks()[i];
        let is_ready = |i: usize| record(i).state == TaskState::Waiting && self.comes_after(i).is_none();
        assert_eq!(self.ready().iter().copied().collect::<Vec<_>>(), such(&is_ready));
        assert_eq!(self.in_flight().iter().copied().collect::<Vec<_>>(), such(&|i| record(i).in_flight()));
        assert_eq!(self.failed(), such(&|i| record(i).failure().is_some()).first().copied());
        let expired = such(&|i| matches!(record(i).state, TaskState::Expired { .. }));
        assert_eq!(self.expired_task(), expired.first().copied());
        assert_eq!(self.all_succeeded(), self.tasks().iter().all(rollout::TaskRecord::succeeded));
        let unproved = self.baselines.keys().filter(|node| !self.recovered.contains(*node));
        assert!(self.unproved.iter().eq(unproved));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_is_what_counting_anew_gives(
        events in prop::collection::vec((any::<u8>(), 0usize..64, 0usize..64), 1..120)
    ) {
        let mut world = World::new();
        events.into_iter().for_each(|event| world.happens(event));
        world.restarted();
    }
}

#[test]
fn the_histories_above_come_to_everything_that_is_counted() {
    let mut seen = BTreeSet::new();
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for _ in 0..100 {
        let mut world = World::new();
        for _ in 0..120 {
            let event = (next(256) as u8, next(64) as usize, next(64) as usize);
            world.happens(event);
            let views = world.sequencer.rollouts();
            seen.extend(views.iter().map(|r| r.state.word()));
            seen.extend(views.iter().flat_map(|r| &r.tasks).map(|t| t.state.word()));
            seen.extend(views.iter().flat_map(|r| &r.recovered).map(|_| "no worse"));
        }
        if world.forgotten > 0 {
            seen.insert("forgotten");
        }
    }
    let expected = [
        "failed",
        "finished",
        "forgotten",
        "granted",
        "halted",
        "lease_expired",
        "needs_attention",
        "no worse",
        "paused",
        "preempted",
        "refused",
        "running",
        "succeeded",
        "superseded",
        "waiting",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}
