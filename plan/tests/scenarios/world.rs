//! The world of a scenario: a fleet, a ledger, a sequencer, and nodes that do what the commands say. Plans are signed
//! and judged as coordinator and nodes judge them, and before every task its node's check of the order is made.
//!
//! ```text
//! fleet [servers=N] [workers=N] [max=N] [canary=N|NAME] [distribution=D]   s1…, w1…; all enrolled, Ready, connected
//! plan upgrade V [nodes=a,b] [skip] [accept=s1] | baseline [nodes=…] | reboot [nodes=…] | drain w1 [max=N]
//! plan dead w1 | remove w1 [off] | replace w1 [off] | renew [nodes=…] [accept=s1] | uncordon w1 | …
//! plan restore [of=VERSION] | rebuild [empty]     leave-out s3   takes it out of the fleet file
//! submit                    the plan made last goes into the ledger
//! decide                    what the sequencer appends, until it has nothing to say
//! run [until TASK]          decide, and every granted task succeeds, until nothing is granted (or TASK is granted)
//! done TASK | fail TASK REASON | timed-out TASK REASON | blocked TASK REASON     a receipt
//! again TASK                the same receipt once more
//! strange TASK              a receipt for a grant that was never given
//! wait SECONDS              time passes in steps of 10 s, nobody renews
//! renew TASK [reboot]       a lease is renewed
//! clock SECONDS             the coordinator's clock steps by so much
//! connect NODE | disconnect NODE | power-cycle NODE             the last one is back, and has not reported
//! see NODE ready|not-ready|outside|unknown [V] [cordon=WHO] [as=NAME,…]  what a server reports
//! facts NODE ok | silent | RULE LEVEL | ext4 COUNT              what the node reports, every 10 s from now on
//! pause SEQ BY REASON | resume SEQ BY | halt SEQ BY REASON | release-lease TASK BY | release-quarantine NODE V BY
//! coordinator NODE          that node signs that the coordinator runs on it
//! restart                   the coordinator's memory is gone: the ledger is folded anew
//! waits | rollouts | tasks SEQ | baselines SEQ | unavailable | quarantines | deadline | progress TASK SENTENCE
//! ```

mod nodes;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use hostler_fixtures::{self as made, key, name, public, signed};
use hostler_plan::{
    document::{DocumentKind, Outcome, Plan, PlanRef, Policy, Receipt, Root, Roster, Signed, SignerRole, StepResult},
    entry::{Entry, StoredDocument},
    fleet::Fleet,
    health::{self, Level, Rule, Verdict, Vitals},
    id::{BootId, Digest, Epoch, NodeName, Seq, TaskId},
    json,
    ledger::{self, Head},
    planner::{self, Accepted, Begins, Earlier, Intent, Inventory, Numbering, OpenPlan, Quarantined, Selection},
    sequencer::{
        ClusterNode, Cordon, CordonOwner, NodeEvent, Reason, Sequencer, Settings, Standing, TaskState, TaskView, Wait,
    },
    step::{Step, k3s},
    timestamp::Timestamp,
    trust::{self, Purpose, TrustedRoot, Verified},
    version::Version,
};
use ssh_key::PrivateKey;
use words::{lines, options};

const BEGIN: &str = "2026-11-21T08:00:00Z";
const OLD: &str = "v1.34.2+k3s1";
const NEW: &str = "v1.36.3";
const VERSIONS: [&str; 5] = [OLD, "v1.34.3+k3s1", "v1.35.0-rc.1+k3s1", "v1.35.0+k3s1", "v1.36.0+k3s1"];

pub(crate) struct World {
    now: Timestamp,
    fleet: Option<Fleet>,
    roster: Option<Verified<Roster>>,
    ledger: Vec<(Timestamp, Entry)>,
    sequencer: Sequencer,
    /// The node that signed that the coordinator runs on it.
    coordinator_on: BTreeSet<NodeName>,
    made: Option<Plan>,
    seq: u64,
    boots: BTreeMap<NodeName, u64>,
    conditions: BTreeMap<NodeName, ClusterNode>,
    /// Nodes with an open stream.
    connected: BTreeSet<NodeName>,
    /// What each node reports; one that is not here is silent.
    vitals: BTreeMap<NodeName, Vitals>,
    receipts: BTreeMap<TaskId, Receipt>,
    signed_receipts: BTreeMap<(Digest, TaskId), Signed>,
    /// Per node, the number and digest of its last receipt.
    last_receipts: BTreeMap<NodeName, (u64, Digest)>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now: BEGIN.parse().unwrap(),
            fleet: None,
            roster: None,
            ledger: Vec::new(),
            sequencer: Sequencer::new(Settings::default()),
            coordinator_on: BTreeSet::new(),
            made: None,
            seq: 0,
            boots: BTreeMap::new(),
            conditions: BTreeMap::new(),
            connected: BTreeSet::new(),
            vitals: BTreeMap::new(),
            receipts: BTreeMap::new(),
            signed_receipts: BTreeMap::new(),
            last_receipts: BTreeMap::new(),
        }
    }
}

/// Of the admin; the nodes' keys are numbered from 1.
fn admin() -> PrivateKey {
    key(200)
}

fn root(created: Timestamp) -> Root {
    let root = made::root(created, vec![made::signer("ana", public(&admin()), SignerRole::Admin)]);
    let policy = Policy { max_plan_lifetime_seconds: 86_400, ..root.policy };
    Root { policy, ..root }
}

fn trusted(root: &Root) -> TrustedRoot {
    let root = signed(DocumentKind::Root, root, &[&admin()]);
    TrustedRoot::first(&root, &root.digest()).unwrap()
}

/// What a cluster is made of that kubeadm makes: programs and an image for two versions, a network add-on.
fn kubeadm(text: &mut String) {
    text.push_str(
        "[machine]\nhosts = { \"192.168.1.10\" = [\"k8s.lab\"] }\n[kubeadm]\npod_network = \"10.244.0.0/16\"\n\
         manifests = [\"cni\"]\n",
    );
    let mut artifact = |name: &str, rest: &str| {
        let sha256 = Digest::of(format!("{name} {rest}").as_bytes()).hex();
        writeln!(text, "[[artifacts]]\nname = {name:?}\npath = {name:?}\nsha256 = \"{sha256}\"\nsize = 5\n{rest}")
            .unwrap();
    };
    for version in [NEW, "v1.37.2"] {
        for name in ["kubeadm", "kubelet", "kube-proxy"] {
            artifact(name, &format!("arch = \"aarch64\"\nversion = {version:?}"));
        }
    }
    artifact("containerd", "arch = \"aarch64\"\nversion = \"2.4.2\"");
    artifact("cni", "kind = \"manifest\"");
}

impl World {
    pub(crate) fn command(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rest = |from: usize| words[from..].join(" ");
        match words[0] {
            "fleet" => self.fleet(&words[1..]),
            "plan" => self.plan(&words[1..]),
            "submit" => self.submit(),
            "decide" => self.decide(),
            "run" => self.run(words.get(2).copied()),
            "done" => self.receipt(words[1], Outcome::Succeeded {}),
            "fail" => self.receipt(words[1], Outcome::Failed { reason: rest(2) }),
            "timed-out" => self.receipt(words[1], Outcome::TimedOut { reason: rest(2) }),
            "blocked" => self.receipt(words[1], Outcome::Blocked { reason: rest(2), blockers: Vec::new() }),
            "again" => self.again(words[1]),
            "strange" => self.strange(words[1]),
            "wait" => self.wait(words[1]),
            "clock" => {
                let by: i64 = words[1].parse().unwrap();
                self.now = Timestamp::from_unix_seconds(self.now.unix_seconds().saturating_add_signed(by));
                self.sequencer.clock_stepped(by * 1000);
                String::new()
            }
            "renew" => self.renew(words[1], words.get(2) == Some(&"reboot")),
            "connect" => self.connect(words[1]),
            "power-cycle" => {
                *self.boots.get_mut(&name(words[1])).unwrap() += 1;
                let (node, boot_id) = (name(words[1]), self.boot(&name(words[1])));
                self.observe(NodeEvent::NodeConnected { node, boot_id })
            }
            "leave-out" => {
                self.fleet.as_mut().unwrap().nodes.retain(|node| node.name.as_str() != words[1]);
                String::new()
            }
            "disconnect" => {
                self.connected.remove(&name(words[1]));
                self.observe(NodeEvent::NodeDisconnected { node: name(words[1]) })
            }
            "facts" => self.facts(&words[1..]),
            "see" => self.see(&words[1..]),
            "pause" => {
                let (plan, by, reason) = (self.digest(words[1]), words[2].to_owned(), rest(3));
                self.append(Entry::Paused { plan, by, reason })
            }
            "resume" => {
                let (plan, by) = (self.digest(words[1]), words[2].to_owned());
                self.append(Entry::Resumed { plan, by })
            }
            "halt" => {
                let (plan, by, reason) = (self.digest(words[1]), words[2].to_owned(), rest(3));
                self.append(Entry::Halted { plan, by, reason })
            }
            "release-lease" => {
                let (plan, task, grant) = self.granted(words[1]);
                self.append(Entry::LeaseReleased { plan, task, grant, by: words[2].to_owned() })
            }
            "release-quarantine" => {
                let (node, version) = (name(words[1]), words[2].parse().unwrap());
                self.append(Entry::QuarantineReleased { node, version, by: words[3].to_owned() })
            }
            "restart" => self.restart(),
            "coordinator" => {
                self.coordinator_on = BTreeSet::from([name(words[1])]);
                String::new()
            }
            "progress" => {
                let (plan, task, _) = self.granted(words[1]);
                self.observe(NodeEvent::Progress { plan, task, sentence: rest(2) })
            }
            "waits" => lines(self.sequencer.waits(self.now)),
            "rollouts" => {
                lines(self.sequencer.rollouts().iter().map(|r| format!("plan {} ({}): {}", r.seq, r.kind, r.state)))
            }
            "tasks" => self.tasks(words[1]),
            "baselines" => self.baselines(words[1]),
            "unavailable" => lines(self.sequencer.unavailable().iter().map(|(n, why)| format!("{n}: {why}"))),
            "quarantines" => {
                lines(self.sequencer.quarantines().iter().map(|q| format!("{} {}: {}", q.node, q.version, q.reason)))
            }
            "deadline" => lines(self.sequencer.deadline(self.now)),
            other => panic!("unknown command {other:?}"),
        }
    }

    /// Another world begins.
    fn fleet(&mut self, words: &[&str]) -> String {
        *self = Self::default();
        let options = options(words);
        let get = |key: &str, default: &str| options.get(key).copied().unwrap_or(default).to_owned();
        let count = |key: &str, default: &str| get(key, default).parse::<usize>().unwrap();
        let distribution = get("distribution", "k3s");
        let canary = get("canary", "1");
        let canary = if canary.parse::<u32>().is_ok() { canary } else { format!("{canary:?}") };
        let (version, api) = if distribution == "k3s" { (OLD, "s1:6443") } else { (NEW, "k8s.lab:6443") };
        let mut text = format!(
            "name = \"test\"\ndistribution = \"{distribution}\"\nversion = \"{version}\"\napi = \"{api}\"\n[policy]\n\
             max_unavailable = {}\ncanary = {canary}\ndrain.slow = {:?}\n",
            count("max", "1"),
            get("slow", "stop")
        );
        for (letter, role, count) in [("s", "server", count("servers", "1")), ("w", "worker", count("workers", "3"))] {
            for i in 1..=count {
                write!(text, "[[nodes]]\nname = \"{letter}{i}\"\nrole = \"{role}\"\narch = \"aarch64\"\n").unwrap();
                if distribution == "kubeadm" {
                    writeln!(text, "address = \"192.168.1.{}\"", if letter == "s" { 10 + i } else { 20 + i }).unwrap();
                }
            }
        }
        if distribution == "kubeadm" {
            kubeadm(&mut text);
        }
        for version in VERSIONS.iter().filter(|_| distribution == "k3s") {
            write!(
                text,
                "[[artifacts]]\nname = \"k3s\"\nversion = \"{version}\"\narch = \"aarch64\"\n\
                 path = \"k3s\"\nsha256 = \"{}\"\nsize = 5\n",
                Digest::of(version.as_bytes()).hex()
            )
            .unwrap();
        }
        let (fleet, warnings) = Fleet::from_toml(&[("fleet.toml", &text)]).unwrap();
        let nodes = fleet.nodes.iter().zip(1..).map(|(n, i)| nodes::listed(n, public(&key(i))));
        let root = root(self.now);
        let roster = signed(DocumentKind::Roster, &made::roster(&root, self.now, nodes.collect()), &[&admin()]);
        let verified = trust::roster(&trusted(&root), None, &roster, Purpose::Submitting(self.now)).unwrap();
        self.append(document(DocumentKind::Roster, roster));
        let standing = if options.contains_key("new") { Standing::Outside } else { Standing::Ready };
        for node in &fleet.nodes {
            self.boots.insert(node.name.clone(), 1);
            let running = (standing == Standing::Ready).then_some(version).map(|v| v.parse().unwrap());
            let condition = ClusterNode { standing, version: running, ..ClusterNode::UNKNOWN };
            self.conditions.insert(node.name.clone(), condition);
            self.vitals.insert(node.name.clone(), Vitals::default());
            self.connect(node.name.as_str());
        }
        self.roster = Some(verified);
        self.fleet = Some(fleet);
        self.report();
        lines(warnings)
    }

    fn plan(&mut self, words: &[&str]) -> String {
        if words[0] == "stop" {
            return self.stop(words[1]);
        }
        let options = options(&words[1..]);
        let list = |text: &str| text.split(',').map(name).collect::<Vec<_>>();
        let nodes = options.get("nodes").map_or(Selection::All, |n| Selection::Named(list(n)));
        let accept_outage = options.get("accept").map_or_else(Vec::new, |n| list(n));
        let proof = words.contains(&"off").then(|| "plug pulled".parse().unwrap());
        let intent = match words[0] {
            "check" => Intent::Check { nodes },
            "bootstrap" => Intent::Bootstrap {},
            "join" => Intent::Join { nodes },
            "baseline" => Intent::Baseline { nodes },
            "snapshot" => Intent::Snapshot { nodes },
            "rebuild" => {
                let snapshot =
                    (!words.contains(&"empty")).then(|| nodes::snapshot(options.get("of").copied(), self.now));
                Intent::Rebuild { snapshot }
            }
            "restore" => Intent::Restore { snapshot: nodes::snapshot(options.get("of").copied(), self.now) },
            "upgrade" => Intent::Upgrade {
                to: words[1].parse().unwrap(),
                nodes,
                quarantined: if words.contains(&"skip") { Quarantined::Skip } else { Quarantined::Refuse },
                accepted: Accepted { outage: accept_outage, ..Accepted::default() },
            },
            "drain" => {
                let max_unavailable = options.get("max").map(|m| m.parse().unwrap());
                nodes::drain(list(words[1]), max_unavailable, options.get("continues").copied())
            }
            "dead" => Intent::Dead { nodes: list(words[1]), power_off_proof: "plug pulled".parse().unwrap() },
            "remove" => Intent::Remove { nodes: list(words[1]), power_off_proof: proof },
            "replace" => Intent::Replace { node: name(words[1]), power_off_proof: proof },
            "renew" => Intent::RenewCertificates { nodes, within_days: 90, accept_outage },
            "configure" => Intent::Configure { nodes, drains: words.contains(&"drain"), accept_outage },
            "uncordon" => Intent::Uncordon { nodes: list(words[1]) },
            "reboot" => Intent::Reboot { nodes, accept_outage },
            other => panic!("unknown intent {other:?}"),
        };
        let numbering = self.numbering();
        let roster = self.roster.as_ref().unwrap().document();
        let inventory = self.inventory();
        let open = inventory
            .running
            .iter()
            .map(|r| OpenPlan::of(&self.document_of(r.plan.digest), r.plan.digest, vec!["ana".to_owned()]));
        let earlier =
            Earlier { open: open.collect(), coordinator_on: self.coordinator_on.clone(), ..Earlier::default() };
        match planner::plan(self.fleet.as_ref().unwrap(), roster, &inventory, &earlier, &intent, &numbering) {
            Ok((plan, preview)) => {
                self.made = Some(plan);
                preview.to_string()
            }
            Err(e) => format!("no plan: {e}"),
        }
    }

    /// Of one plan, or of everything: then nothing is kept.
    fn stop(&mut self, which: &str) -> String {
        let open = Inventory::of(&self.sequencer, self.now).running;
        let open = open.into_iter().map(|running| running.plan);
        let (ended, kept): (Vec<PlanRef>, Vec<PlanRef>) =
            open.partition(|plan| which == "everything" || which == plan.seq.to_string());
        let plan = planner::stop(self.roster.as_ref().unwrap().document(), &self.numbering(), &ended, &kept);
        let kept: Vec<String> = kept.iter().map(|kept| kept.seq.to_string()).collect();
        let said = format!("plan {} ({}): {}, keeps [{}]", plan.seq, plan.kind, plan.title, kept.join(", "));
        self.made = Some(plan);
        said
    }

    fn numbering(&self) -> Numbering {
        Numbering {
            epoch: Epoch(1),
            seq: Seq(self.seq + 1),
            prev: None,
            also: Vec::new(),
            root_version: 1,
            roster: self.roster.as_ref().unwrap().digest(),
            created: self.now,
            lifetime_seconds: 86_400,
            begins: Begins::AtOnce,
        }
    }

    fn submit(&mut self) -> String {
        let plan = self.made.take().expect("a plan was made");
        self.seq = plan.seq.0;
        let plan = signed(DocumentKind::Plan, &plan, &[&admin()]);
        self.verify(&plan);
        self.append(document(DocumentKind::Plan, plan))
    }

    /// What the coordinator and every node do before they take a plan.
    fn verify(&self, plan: &Signed) -> Verified<Plan> {
        let root = trusted(&root(BEGIN.parse().unwrap()));
        trust::plan(&root, self.roster.as_ref().unwrap(), plan, Purpose::Begun).unwrap()
    }

    fn append(&mut self, entry: Entry) -> String {
        self.sequencer.apply(self.now, &entry);
        self.ledger.push((self.now, entry));
        String::new()
    }

    fn observe(&mut self, event: NodeEvent) -> String {
        self.sequencer.observe(self.now, event);
        String::new()
    }

    fn decide(&mut self) -> String {
        let mut said = String::new();
        loop {
            let entries = self.sequencer.decide(self.now);
            if entries.is_empty() {
                return said;
            }
            for entry in entries {
                said.push_str(&self.sentence(&entry));
                said.push('\n');
                self.append(entry);
            }
        }
    }

    fn sentence(&self, entry: &Entry) -> String {
        let seq = |plan: &Digest| self.sequencer.rollouts().iter().find(|r| r.plan == *plan).unwrap().seq;
        match entry {
            Entry::Granted { task, grant, node, plan, .. } => {
                format!("grant {grant}: {node} may {task} (plan {})", seq(plan))
            }
            Entry::LeaseExpired { task, grant, .. } => format!("lease of grant {grant} expired: {task}"),
            Entry::Halted { plan, by, reason } => format!("plan {} halted by {by}: {reason}", seq(plan)),
            Entry::Recovered { plan, node } => format!("{node} is no worse than before (plan {})", seq(plan)),
            Entry::Finished { plan } => format!("plan {} finished", seq(plan)),
            Entry::Quarantined { node, version, reason } => format!("quarantined {node} for {version}: {reason}"),
            other @ (Entry::Document { .. }
            | Entry::LeaseReleased { .. }
            | Entry::Paused { .. }
            | Entry::Resumed { .. }
            | Entry::QuarantineReleased { .. }
            | Entry::NodeRefused { .. }
            | Entry::Alarm { .. }
            | Entry::TokenRevoked { .. }
            | Entry::ClockSetBack { .. }
            | Entry::Restored { .. }
            | Entry::CaughtUp { .. }) => panic!("not a decision: {other:?}"),
        }
    }

    /// Everything succeeds, a task per 10 s, until nothing is granted.
    fn run(&mut self, until: Option<&str>) -> String {
        let mut said = String::new();
        loop {
            said.push_str(&self.decide());
            let granted = |t: &TaskView| match &t.state {
                TaskState::Granted { grant } => Some((grant.number, t.task.clone())),
                TaskState::Waiting | TaskState::Expired { .. } | TaskState::Ended { .. } => None,
            };
            let mut open: Vec<_> =
                self.sequencer.rollouts().iter().flat_map(|r| &r.tasks).filter_map(granted).collect();
            open.sort();
            if until.is_some_and(|u| open.iter().any(|(_, t)| t.to_string() == u)) {
                return said;
            }
            let Some((_, task)) = open.into_iter().next() else {
                let soaks = |w: &Wait| matches!(w.reason, Reason::Soaking { .. });
                if self.sequencer.waits(self.now).iter().any(soaks) {
                    self.wait("10");
                    continue;
                }
                return said;
            };
            self.now = self.now.plus(Duration::from_secs(10));
            self.receipt(&task.to_string(), Outcome::Succeeded {});
        }
    }

    /// The plan, task and number of the grant that the task holds or held last.
    fn granted(&self, task: &str) -> (Digest, TaskId, u64) {
        let id: TaskId = task.parse().unwrap();
        let of = |state: &TaskState| match state {
            TaskState::Granted { grant } | TaskState::Expired { grant } => Some(grant.number),
            TaskState::Waiting | TaskState::Ended { .. } => None,
        };
        let rollouts = self.sequencer.rollouts();
        let found = rollouts.iter().rev().find_map(|r| {
            let task = r.tasks.iter().find(|t| t.task == id)?;
            Some((r.plan, id.clone(), of(&task.state)?))
        });
        found.unwrap_or_else(|| panic!("{task} holds no grant"))
    }

    fn signed_plan(&self, digest: Digest) -> &Signed {
        let documents = self.ledger.iter().filter_map(|(_, e)| {
            let Entry::Document { kind: DocumentKind::Plan, document } = e else { return None };
            Some(&document.0)
        });
        documents.into_iter().find(|d| d.digest() == digest).unwrap()
    }

    fn document_of(&self, digest: Digest) -> Plan {
        json::parse(&self.signed_plan(digest).bytes).unwrap()
    }
}

fn document(kind: DocumentKind, document: Signed) -> Entry {
    Entry::Document { kind, document: StoredDocument(document) }
}
