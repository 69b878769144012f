//! What the nodes of a scenario do: connect, report, perform what they are granted, and sign receipts.

use hostler_plan::{
    document::RosterNode,
    fleet::FleetNode,
    planner::{Continues, OpenedSnapshot},
    signature::PublicKey,
    step::{kubeadm, restore::SnapshotOf},
};

use super::*;

impl World {
    pub(super) fn wait(&mut self, seconds: &str) -> String {
        let mut left: u64 = seconds.parse().unwrap();
        while left > 0 {
            // A coordinator to which nobody is connected sees nothing on the way.
            let step = if self.connected.is_empty() { left } else { left.min(10) };
            self.now = self.now.plus(Duration::from_secs(step));
            self.report();
            left -= step;
        }
        String::new()
    }

    pub(super) fn digest(&self, seq: &str) -> Digest {
        let seq = Seq(seq.parse().unwrap());
        self.sequencer.rollouts().iter().find(|r| r.seq == seq).unwrap().plan
    }

    pub(super) fn baselines(&self, seq: &str) -> String {
        let digest = self.digest(seq);
        let rollouts = self.sequencer.rollouts();
        let rollout = rollouts.iter().find(|r| r.plan == digest).unwrap();
        lines(rollout.baselines.iter().map(|(node, baseline)| {
            let counters: Vec<String> = baseline.counters.iter().map(|(fact, is)| format!(", {fact} {is}")).collect();
            let after = if rollout.recovered.contains(node) { "; no worse after" } else { "" };
            format!("{node}: {}{}{after}", baseline.sentence(), counters.concat())
        }))
    }

    /// The fleet as plans are made of it: who has another name in the cluster is shown with its enrolment.
    pub(super) fn inventory(&self) -> Inventory {
        let mut inventory = Inventory::of(&self.sequencer, self.now);
        for (name, node) in &mut inventory.nodes {
            let listed = self.roster.as_ref().and_then(|roster| roster.document().active(name));
            if let Some(listed) = listed.filter(|_| node.condition.other_names.len() == 1) {
                node.enrolment = enrolment(listed);
            }
        }
        inventory
    }

    /// Every node's condition, as a server reads it.
    pub(super) fn report(&mut self) {
        for (node, condition) in self.conditions.clone() {
            self.observe(NodeEvent::NodeCondition { node, condition });
        }
        for node in self.connected.clone() {
            self.tell_health(&node);
        }
    }

    /// A node's own report, of the boot it is in.
    fn tell_health(&mut self, node: &NodeName) {
        let Some(vitals) = self.vitals.get(node).cloned() else { return };
        let vitals = Vitals { boot_id: self.boot(node).to_string(), ..vitals };
        self.observe(NodeEvent::NodeHealth { node: node.clone(), vitals });
    }

    pub(super) fn facts(&mut self, words: &[&str]) -> String {
        let node = name(words[0]);
        let mut vitals = self.vitals.remove(&node).unwrap_or_default();
        match words[1..] {
            ["ok"] => vitals.verdicts.clear(),
            ["ext4", count] => {
                vitals.counters.insert("hostler_ext4_errors_total{device=\"sda2\"}".to_owned(), count.parse().unwrap());
            }
            ["silent"] => return String::new(),
            [rule, level] => vitals.verdicts = vec![verdict(rule, level, self.now)],
            _ => panic!("unknown facts {words:?}"),
        }
        self.vitals.insert(node, vitals);
        self.report();
        String::new()
    }

    /// What the node does before it starts a granted task.
    fn check_order(&self, plan: Digest, task: &TaskId) -> Vec<Digest> {
        let plan = self.verify(self.signed_plan(plan));
        let offered: Vec<Signed> = plan
            .document()
            .task(task)
            .unwrap()
            .after
            .iter()
            .filter_map(|a| self.signed_receipts.get(&(plan.digest(), a.clone())).cloned())
            .collect();
        trust::order_met(&plan, task, &offered, self.roster.as_ref().unwrap()).unwrap()
    }

    pub(super) fn receipt(&mut self, task: &str, outcome: Outcome) -> String {
        let (digest, id, grant) = self.granted(task);
        let plan = self.document_of(digest);
        let task = plan.task(&id).unwrap().clone();
        if outcome.is_success() {
            self.perform(&task.subject, &task.steps);
        }
        // What is known to block is known before the first step.
        let begun = if matches!(outcome, Outcome::Blocked { .. }) { &[][..] } else { &task.steps };
        let steps = begun.iter().map(|s| StepResult { op: s.op().to_owned(), changed: true, detail: String::new() });
        let last = self.last_receipts.get(&task.node).copied();
        let receipt = Receipt {
            plan: digest,
            grant,
            outcome,
            steps: steps.collect(),
            boot_id: self.boot(&task.node),
            counter: last.map_or(1, |(counter, _)| counter + 1),
            previous: last.map(|(_, digest)| digest),
            relied_on: self.check_order(digest, &id),
            started: self.now,
            ended: self.now,
            ..made::receipt(&plan, &id.to_string())
        };
        self.receipts.insert(id.clone(), receipt.clone());
        let counter = receipt.counter;
        let by = 1 + self.fleet.as_ref().unwrap().nodes.iter().position(|n| n.name == task.node).unwrap();
        let receipt = signed(DocumentKind::Receipt, &receipt, &[&key(u8::try_from(by).unwrap())]);
        self.last_receipts.insert(task.node, (counter, receipt.digest()));
        self.signed_receipts.insert((digest, id), receipt.clone());
        self.append(document(DocumentKind::Receipt, receipt));
        self.report();
        String::new()
    }

    /// What the steps change in the world.
    fn perform(&mut self, subject: &NodeName, steps: &[Step]) {
        for step in steps {
            let condition = self.conditions.get_mut(subject).unwrap();
            match step {
                Step::Cordon(step) => {
                    let ours = Cordon { owner: CordonOwner::Hostler, reason: Some(step.reason.to_string()) };
                    condition.cordon.get_or_insert(ours);
                }
                Step::Uncordon(_) if condition.cordon.as_ref().is_some_and(|c| c.owner == CordonOwner::Hostler) => {
                    condition.cordon = None;
                }
                Step::UpgradeK3s(k3s::Upgrade { version, .. })
                | Step::BootstrapK3s(k3s::Bootstrap { version, .. })
                | Step::BootstrapKubeadm(kubeadm::Bootstrap { version, .. })
                | Step::JoinKubeadm(kubeadm::Join { version, .. })
                | Step::EnsureKubelet(kubeadm::EnsureKubelet { version })
                | Step::JoinK3s(k3s::Join { version, .. }) => {
                    condition.version = Some(*version);
                    condition.standing = Standing::Ready;
                }
                Step::ResetKubeadm(_) => condition.standing = Standing::NotReady,
                Step::RemoveNode(_) => *condition = ClusterNode { standing: Standing::Outside, ..ClusterNode::UNKNOWN },
                Step::Reboot(_) => *self.boots.get_mut(subject).unwrap() += 1,
                Step::Noop(_)
                | Step::StageArtifact(_)
                | Step::EnsureFile(_)
                | Step::EnsureModule(_)
                | Step::EnsureSysctl(_)
                | Step::EnsurePackage(_)
                | Step::EnsureUnit(_)
                | Step::CurrentUnit(_)
                | Step::EnsureProgram(_)
                | Step::EnsureImages(_)
                | Step::InstallPackage(_)
                | Step::HoldPackage(_)
                | Step::SwapOff(_)
                | Step::EnsureHost(_)
                | Step::KernelArguments(_)
                | Step::BootKernel(_)
                | Step::FenceCloudInit(_)
                | Step::NamedInitiator(_)
                | Step::LastingNetwork(_)
                | Step::SetSshd(_)
                | Step::EnsureRegistry(_)
                | Step::ForgetRegistries(_)
                | Step::AdmitToKubeadm(_)
                | Step::RevokeKubeadm(_)
                | Step::ExpelFromKubeadm(_)
                | Step::RenewKubeadm(_)
                | Step::ReachKubeadm(_)
                | Step::CertifyKubeadm(_)
                | Step::ConfigureKubeadm(_)
                | Step::ConfigureKubelet(_)
                | Step::Describe(_)
                | Step::SnapshotEtcd(_)
                | Step::ReadCluster(_)
                | Step::ReadUpdates(_)
                | Step::InstallUpdates(_)
                | Step::RunsKernel(_)
                | Step::NoRemovedApis(_)
                | Step::ReceiveEtcd(_)
                | Step::StopEtcd(_)
                | Step::RestoreEtcd(_)
                | Step::StartEtcd(_)
                | Step::SeedEtcd(_)
                | Step::BareOfKubeadm(_)
                | Step::ForgetNodes(_)
                | Step::UpgradeKubeadm(_)
                | Step::Apply(_)
                | Step::AdmitToK3s(_)
                | Step::Drain(_)
                | Step::Uncordon(_)
                | Step::AdoptCordon(_)
                | Step::ReleaseCordon(_)
                | Step::OutOfService(_)
                | Step::AwaitReady(_) => {}
            }
        }
    }

    pub(super) fn again(&mut self, task: &str) -> String {
        let receipt = self.receipts[&task.parse::<TaskId>().unwrap()].clone();
        self.append(document(DocumentKind::Receipt, unsigned(&receipt)))
    }

    pub(super) fn strange(&mut self, task: &str) -> String {
        let id: TaskId = task.parse().unwrap();
        let rollouts = self.sequencer.rollouts();
        let rollout = rollouts.last().unwrap();
        let plan = self.document_of(rollout.plan);
        let mut receipt = self.receipts.values().next().unwrap().clone();
        receipt.node = plan.task(&id).unwrap().node.clone();
        receipt.plan = rollout.plan;
        receipt.task = id;
        receipt.outcome = Outcome::Succeeded {};
        receipt.grant = 99;
        self.append(document(DocumentKind::Receipt, unsigned(&receipt)))
    }

    pub(super) fn boot(&self, node: &NodeName) -> BootId {
        BootId::new(format!("b{}", self.boots[node])).unwrap()
    }

    pub(super) fn renew(&mut self, task: &str, rebooted: bool) -> String {
        let (plan, id, grant) = self.granted(task);
        let node = self.document_of(plan).task(&id).unwrap().node.clone();
        if rebooted {
            *self.boots.get_mut(&node).unwrap() += 1;
        }
        let boot_id = self.boot(&node);
        self.observe(NodeEvent::LeaseRenewed { plan, task: id, grant, boot_id })
    }

    pub(super) fn connect(&mut self, node: &str) -> String {
        let (node, boot_id) = (name(node), self.boot(&name(node)));
        self.connected.insert(node.clone());
        self.observe(NodeEvent::NodeConnected { node: node.clone(), boot_id });
        self.tell_health(&node);
        String::new()
    }

    pub(super) fn see(&mut self, words: &[&str]) -> String {
        let options = options(&words[1..]);
        let condition = self.conditions.get_mut(&name(words[0])).unwrap();
        condition.standing = match words[1] {
            "ready" => Standing::Ready,
            "not-ready" => Standing::NotReady,
            "outside" => Standing::Outside,
            "unknown" => Standing::Unknown,
            other => panic!("unknown standing {other:?}"),
        };
        if let Some(version) = words.get(2).and_then(|w| w.parse::<Version>().ok()) {
            condition.version = Some(version);
        }
        condition.other_names = options.get("as").iter().flat_map(|names| names.split(',')).map(name).collect();
        match options.get("cordon") {
            Some(&"none") => condition.cordon = None,
            Some(&"hostler") => condition.cordon = Some(Cordon { owner: CordonOwner::Hostler, reason: None }),
            Some(who) => condition.cordon = Some(Cordon { owner: CordonOwner::Other((*who).to_owned()), reason: None }),
            None => {}
        }
        self.report();
        String::new()
    }
}

/// A node of the fleet file as the roster lists it.
pub(super) fn listed(node: &FleetNode, key: PublicKey) -> RosterNode {
    let mut listed = made::node(node.name.as_str(), key, node.role);
    listed.enrolled.enrolment = Digest::of(&enrolment(&listed));
    listed
}

/// The bytes by which a node came in: every machine has an id of its own.
pub(super) fn enrolment(node: &RosterNode) -> Vec<u8> {
    let began = BEGIN.parse().unwrap();
    let admission = made::admission(&made::root(began, Vec::new()), began, node.key.clone());
    let mut enrolment = made::enrolment(&admission, began, node);
    enrolment.hardware.machine_id = Digest::of(node.name.as_str().as_bytes()).hex()[..32].to_owned();
    json::write(&enrolment)
}

/// A verdict of that rule at that level, with the numbers that would make it.
fn verdict(rule: &str, level: &str, since: Timestamp) -> Verdict {
    let rule = *Rule::ALL.iter().find(|r| r.name() == rule).unwrap();
    let level = Level::ALL.into_iter().find(|l| l.word() == level).unwrap();
    let known = health::Condition::ALL.iter().find(|c| c.row().rule == rule && c.row().level == level);
    let condition = known.or_else(|| health::Condition::ALL.iter().find(|c| c.row().rule == rule)).copied();
    Verdict {
        rule,
        subject: String::new(),
        level,
        required: true,
        condition,
        fact: format!("hostler_{}", rule.name()),
        value: known.map(|c| if c.row().side == health::Side::Above { c.row().raise } else { c.row().raise / 2.0 }),
        threshold: known.map(|c| c.row().raise),
        since_ms: since.unix_milliseconds(),
        clear_seconds: known.map(|c| c.row().clear_seconds),
        damped: false,
        disk: None,
        numbers: std::collections::BTreeMap::new(),
        accepted: None,
        advice: rule.advice().into(),
    }
}

/// The sequencer sees documents after they were verified, so a receipt that only it sees needs no signature.
fn unsigned(receipt: &Receipt) -> Signed {
    Signed { bytes: json::write(receipt), signatures: Vec::new() }
}

/// A drain that goes on with a plan that is open, or with the one that is named.
pub(super) fn drain(nodes: Vec<NodeName>, max_unavailable: Option<u32>, continues: Option<&str>) -> Intent {
    let continues = match continues {
        None => Continues::IfOpen,
        Some("open") => Continues::Open,
        Some(which) => Continues::Named(which.into()),
    };
    Intent::Drain { nodes, max_unavailable, continues }
}

impl World {
    pub(super) fn tasks(&self, seq: &str) -> String {
        let digest = self.digest(seq);
        let rollouts = self.sequencer.rollouts();
        let rollout = rollouts.iter().find(|r| r.plan == digest).unwrap();
        let plan = self.document_of(digest);
        lines(rollout.tasks.iter().zip(&plan.tasks).map(|(view, task)| {
            let after: Vec<String> = task.after.iter().map(TaskId::to_string).collect();
            let steps: Vec<&str> = task.steps.iter().map(Step::op).collect();
            let after = if after.is_empty() { String::new() } else { format!(" after {}", after.join(" ")) };
            format!("{} on {}{after}: {} [{}]", view.task, view.node, steps.join(" "), view.state.word())
        }))
    }

    pub(super) fn restart(&mut self) -> String {
        let before = self.sequencer.rollouts();
        let mut sequencer = Sequencer::new(Settings::default());
        // As it stands on the disk.
        let mut head = Head::EMPTY;
        for (at, entry) in &self.ledger {
            let (line, ..) = ledger::encode(head, *at, entry.clone());
            let (record, next, _) = ledger::decode(head, 0, &line).unwrap().unwrap();
            sequencer.apply(record.at, &record.entry);
            head = next;
        }
        self.sequencer = sequencer;
        self.connected.clear();
        let states = |rollouts: &[hostler_plan::sequencer::RolloutView]| {
            rollouts.iter().flat_map(|r| r.tasks.iter().map(|t| t.state.word())).collect::<Vec<_>>()
        };
        assert_eq!(states(&before), states(&self.sequencer.rollouts()), "the fold of the ledger is the state");
        String::new()
    }
}

/// A snapshot of a cluster at that version.
pub(super) fn snapshot(kubernetes: Option<&str>, taken: Timestamp) -> OpenedSnapshot {
    OpenedSnapshot {
        is: SnapshotOf {
            name: "s1-20261128T201500Z".parse().unwrap(),
            revision: 1281,
            kubernetes: kubernetes.unwrap_or("v1.36.3").parse().unwrap(),
            etcd: "3.6.8".parse().unwrap(),
        },
        taken,
        artifact: made::artifact("etcd-snapshot", b"sealed"),
    }
}
