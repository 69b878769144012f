//! The story that is played: enrolment, bootstrap, join, an upgrade that fails on one node and is continued, a drain,
//! an uncordon, and a coordinator in the wrong hands.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hostler_plan::{
    id::NodeName,
    planner::{Accepted, Intent, Quarantined, Selection},
    sequencer::RolloutStatus,
    step::ClusterRole,
};
use hostler_proto::{join::SetupCode, v1::RolloutDetail};

use super::{
    Options,
    admin_client::{ADMIN_NAME, AdminClient},
    audit::Audit,
    children::{Addresses, REPORT_INTERVAL, agent_arguments, coordinator_arguments, hostile_coordinator_arguments},
    event::{Counts, Event},
    fleet::{DemoFleet, SUPPLY_CLEAR_SECONDS, SUPPLY_HOLD_SECONDS},
    hostile_coordinator::Answer,
    processes::{AgentCommand, Agents, Process, Supervised, first_line},
    rollout::{self, Ended},
    show::Show,
};
use crate::{
    clock::SharedWorld,
    socket,
    world::{World, fault::Fault},
};

/// Seconds of the world per second: a soak of a minute takes half a second, or a bit more for a person who reads along.
const SPEED_FAST: f64 = 240.0;
const SPEED_UNHURRIED: f64 = 100.0;

/// What has not happened by then is not going to.
const PATIENCE: Duration = Duration::from_secs(25);

/// Between two looks at the coordinator while something is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long the hostile coordinator waits for the last node to answer its offers.
const OFFER_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a supply sags: long enough for the reports to show it and for a person to see the rollout wait.
const SUPPLY_SAGS: Duration = Duration::from_secs(5);

/// The budget that holds the drain for a moment.
const HELD_BUDGET: &str = "shop/web";

struct Story<'a> {
    options: &'a Options,
    show: &'a Show,
    demo: DemoFleet,
    folder: &'a Path,
    world: SharedWorld,
    counts: Counts,
}

/// Plays it all. Everything is kept below `folder`, which the caller removes.
pub(super) async fn play(options: &Options, demo: DemoFleet, show: &Show, folder: &Path) -> anyhow::Result<Counts> {
    let speed = if show.is_unhurried() { SPEED_UNHURRIED } else { SPEED_FAST };
    let mut world = World::new(options.seed, demo.fleet.nodes.iter().map(|n| (n.name.clone(), n.arch)));
    world.deploy(true);
    let world = SharedWorld::new(world, speed);
    let soak = (demo.soak_seconds, demo.fleet.policy.soak_seconds);
    let report = REPORT_INTERVAL.as_secs_f64();
    let mut shortened = vec![
        format!("time of the simulated machines passes {speed:.0} times faster, their clocks with it"),
        format!("so a boot of 25 s takes {:.1} s", 25.0 / speed),
        format!("a node must stay no worse after its work for {} s, not for {} s", soak.1, soak.0),
        format!("facts are reported every {report} s, not every 10 s"),
    ];
    if options.undervoltage.is_some() {
        shortened.push(format!(
            "a weak supply counts after {SUPPLY_HOLD_SECONDS} s and a good one after {SUPPLY_CLEAR_SECONDS} s, not \
             after 15 min"
        ));
    }
    show.event(Event::DemoStarted {
        seed: options.seed,
        fleet: format!("fleet {} of {}", demo.fleet.name, demo.source),
        nodes: demo.fleet.nodes.iter().map(|n| n.name.to_string()).collect(),
        machines: "Machines, K3s and cluster are simulated; coordinator, agents, keys, TLS and signatures are real.",
        shortened,
    });
    let counts = Counts {
        seed: options.seed,
        nodes: demo.fleet.nodes.len(),
        version_before: demo.from.to_string(),
        ..Counts::default()
    };
    Story { options, show, demo, folder, world, counts }.play().await
}

impl Story<'_> {
    async fn play(mut self) -> anyhow::Result<Counts> {
        socket::serve(self.world.clone(), &self.folder.join("world"))?;
        self.chapter("A coordinator, a trust root and join strings").await;
        let data_dir = self.folder.join("coordinator");
        let (coordinator, line) = Supervised::start(
            self.show,
            "coordinator",
            self.folder.join("coordinator.log"),
            coordinator_arguments(&data_dir, None),
            {
                let data_dir = data_dir.clone();
                move |line| Ok(coordinator_arguments(&data_dir, Some(&Addresses::parse(line)?)))
            },
        )
        .await?;
        let addresses = Addresses::parse(&line)?;
        let setup =
            SetupCode::parse(addresses.setup_code.as_deref().context("a new coordinator gave no set-up code")?)?;
        let mut admin = AdminClient::set_up(self.folder.join("admin"), &setup).await?;
        let (fleet_id, digest) = admin.held(|held| (held.root().fleet_id.to_string(), held.first_root())).await?;
        self.show.event(Event::TrustRootInstalled {
            fleet_id,
            digest: digest.to_string(),
            signer: format!("{ADMIN_NAME} (a throw-away key)"),
        });
        let mut agents = self.enrol(&mut admin).await?;
        let ended = self.plans(&mut admin, &mut agents, &coordinator).await;
        if ended.is_err() {
            agents.check().await?;
        }
        ended?;
        let given_up = self.folder.join("given-up");
        admin.give_up().await?.write(&given_up)?;
        let ledger = admin.ledger().await?;
        self.counts.restarts = coordinator.restarts();
        coordinator.stop().await?;
        self.hostile_coordinator(&data_dir, &given_up, &addresses).await?;
        self.counts.restarts += agents.restarts();
        agents.stop().await;
        self.close(ledger)
    }

    async fn chapter(&self, title: &str) {
        self.show.event(Event::Chapter { title: title.into() });
        self.show.pause(0.8).await;
    }

    /// Every node enrols itself with a join string and reports its facts.
    async fn enrol(&mut self, admin: &mut AdminClient) -> anyhow::Result<Agents> {
        self.chapter("Every node enrols itself and reports its hardware").await;
        let workers = self.demo.fleet.nodes.iter().filter(|n| n.role == ClusterRole::Worker).count();
        let servers = self.demo.fleet.nodes.len() - workers;
        let server_join = admin.token(ClusterRole::Server, u32::try_from(servers)?).await?;
        let worker_join = admin.token(ClusterRole::Worker, u32::try_from(workers)?).await?;
        let mut commands = Vec::new();
        for node in &self.demo.fleet.nodes {
            let folder = self.folder.join("nodes").join(node.name.as_str());
            fs::create_dir_all(&folder)?;
            let join = match node.role {
                ClusterRole::Server => &server_join,
                ClusterRole::Worker | ClusterRole::Host => &worker_join,
            };
            let join_file = folder.join("join");
            hostler_cli::file::write_whole(&join_file, join.encode().as_bytes(), true)?;
            commands.push(AgentCommand {
                node: node.name.clone(),
                arguments: agent_arguments(
                    &node.name,
                    &self.folder.join("world"),
                    &folder.join("state"),
                    &join_file,
                    self.options.machine.as_ref().filter(|m| m.node == node.name).map(|m| m.folder.as_path()),
                ),
                log: folder.join("log"),
            });
        }
        let mut agents = Agents::start(&self.world, self.show, commands);
        let mut seen = BTreeSet::new();
        let until = Instant::now() + PATIENCE;
        loop {
            let enrolments = admin.enrolments().await?;
            for pending in &enrolments {
                let document = pending.enrolment.document();
                if seen.insert(document.node.clone()) {
                    let model = document.hardware.model.clone();
                    self.show.event(Event::Enrolled { node: document.node.to_string(), model });
                    self.show.pause(0.15).await;
                }
            }
            if enrolments.len() >= self.counts.nodes {
                break;
            }
            agents.check().await?;
            let missing = self.counts.nodes - enrolments.len();
            self.wait_or(until, || {
                format!("{missing} nodes have not enrolled; see {}/nodes/*/log", self.folder.display())
            })
            .await?;
        }
        self.counts.enrolled = seen.len();
        let (version, nodes) = admin.sign_roster().await?;
        self.show.event(Event::RosterSigned { version, nodes });
        self.facts(admin).await?;
        Ok(agents)
    }

    async fn facts(&mut self, admin: &mut AdminClient) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut reported = BTreeSet::new();
        loop {
            for node in self
                .demo
                .fleet
                .nodes
                .iter()
                .filter(|n| !reported.contains(&n.name))
                .map(|n| &n.name)
                .collect::<Vec<_>>()
            {
                let detail = admin.node(node).await?;
                if !detail.facts.is_empty() {
                    self.show.event(Event::FactsReported { node: node.to_string(), series: detail.facts.len() });
                    reported.insert(node.clone());
                }
            }
            self.counts.facts_reported = reported.len();
            if reported.len() == self.counts.nodes {
                return Ok(());
            }
            let missing = self.counts.nodes - reported.len();
            self.wait_or(until, || format!("{missing} nodes have not reported their facts")).await?;
        }
    }

    /// Plans, one after another.
    async fn plans(
        &mut self,
        admin: &mut AdminClient,
        agents: &mut Agents,
        coordinator: &Supervised,
    ) -> anyhow::Result<()> {
        admin.fleet_file(&self.demo.text).await?;
        for (_, content) in &self.demo.binaries {
            admin.upload(content).await?;
        }
        self.chapter("Bootstrap: the first server of a K3s cluster").await;
        self.succeed(admin, Intent::Bootstrap {}).await?;
        self.all_ready(admin, 1).await?;
        self.chapter("Join: the other nodes, each with a secret sealed to its own key").await;
        self.succeed(admin, Intent::Join { nodes: Selection::All }).await?;
        self.all_ready(admin, self.counts.nodes).await?;
        self.settled().await?;

        let to = self.demo.to;
        self.chapter(&format!("Rolling upgrade to {to}: one canary, at most one node down")).await;
        let workers: Vec<NodeName> =
            self.demo.fleet.nodes.iter().filter(|n| n.role == ClusterRole::Worker).map(|n| n.name.clone()).collect();
        let fault = Fault::old_version_by_seed(self.options.seed, &workers).context("a fleet without workers")?;
        self.world.now().add_fault(fault);
        let (nodes, accepted) = (Selection::All, Accepted::default());
        let upgrade = Intent::Upgrade { to, nodes, quarantined: Quarantined::Refuse, accepted };
        let supply = self.sag();
        let stopped = self.run(admin, &upgrade).await?;
        if let Some(supply) = supply {
            supply.await?;
        }
        if stopped.status != RolloutStatus::Halted {
            anyhow::bail!(
                "expected the upgrade to stop at the node that failed, found it {}: {}",
                stopped.status,
                stopped.sentence
            );
        }
        self.show.pause(2.5).await;

        self.chapter("The admin looks, releases the quarantine and signs a new plan").await;
        let failed = NodeName::new(stopped.failed_subject.context("the rollout stopped without a failed task")?)?;
        admin.release_quarantine(&failed, to).await?;
        self.show.event(Event::QuarantineReleased { node: failed.to_string(), version: to.to_string() });
        self.succeed(admin, upgrade).await?;
        self.all_ready(admin, self.counts.nodes).await?;
        self.settled().await?;

        let drained = self.home_of("web").context("no worker runs a pod of shop/web")?;
        self.chapter(&format!("Drain {drained}: pods move within their budgets")).await;
        let now = self.world.now().now();
        let until = now + (PATIENCE.as_millis() as f64 * self.world.speed()) as u64;
        let fault = Fault::BudgetHolds { budget: HELD_BUDGET.into(), from: now, until };
        self.world.now().add_fault(fault);
        self.succeed(admin, Intent::drain(vec![drained.clone()])).await?;
        self.chapter(&format!("Uncordon {drained}")).await;
        self.succeed(admin, Intent::Uncordon { nodes: vec![drained.clone()] }).await?;
        self.settled().await?;
        self.chapter(&format!("Reboot {drained}: drained, gone with its agent, back in another boot, uncordoned"))
            .await;
        let nodes = Selection::Named(vec![drained]);
        self.succeed(admin, Intent::Reboot { nodes, accept_outage: Vec::new() }).await?;
        agents.check().await?;
        if coordinator.gave_up() {
            anyhow::bail!("the coordinator could not be kept running; see {}/coordinator.log", self.folder.display());
        }
        self.versions()
    }

    /// Lets the chosen node's supply sag for a while, beginning with the rollout.
    fn sag(&self) -> Option<tokio::task::JoinHandle<()>> {
        let node = self.options.undervoltage.clone()?;
        let now = self.world.now().now();
        let until = now + (SUPPLY_SAGS.as_millis() as f64 * self.world.speed()) as u64;
        self.world.now().add_fault(Fault::UnderVoltage { node: node.clone(), from: now, until });
        let show = self.show.clone();
        let change = move |sentence: &str| Event::SupplyChanged { node: node.to_string(), sentence: sentence.into() };
        show.event(change("its supply sags to 4.6 V (simulated)"));
        Some(tokio::spawn(async move {
            tokio::time::sleep(SUPPLY_SAGS).await;
            show.event(change("its supply is good again (simulated)"));
        }))
    }

    /// Compiles, previews, signs, submits and watches one plan.
    async fn run(&mut self, admin: &mut AdminClient, intent: &Intent) -> anyhow::Result<Ended> {
        let compiled = admin.compile(&self.demo.fleet, intent).await?;
        let (seq, kind) = (compiled.plan.seq.0, compiled.plan.kind.to_string());
        let (title, tasks) = (compiled.plan.title.clone(), compiled.plan.tasks.len());
        let mut text = compiled.preview.to_string();
        if let Some(pods) = &compiled.pods {
            text.push_str(&pods.preview.text(false));
            pods.check()?;
        }
        self.show.event(Event::PlanPreviewed { seq, kind: kind.clone(), text });
        self.show.pause(1.2).await;
        let submitted = admin.submit(compiled).await?;
        self.counts.plans += 1;
        let digest = submitted.plan.to_string();
        self.show.event(Event::PlanSubmitted { seq, kind, title, digest, tasks, signed_by: ADMIN_NAME.into() });
        let ended = rollout::watch(admin, self.show, &submitted, |detail| self.release_budget(detail)).await?;
        *self.counts.rollouts.entry(ended.status.to_string()).or_default() += 1;
        Ok(ended)
    }

    /// Lets the budget go a moment after it was shown that it holds the drain, however slow this machine is.
    fn release_budget(&self, detail: &RolloutDetail) {
        let holds = format!("budget {HELD_BUDGET} holds");
        if detail.tasks.iter().any(|task| task.sentence.contains(&holds)) {
            let moment = if self.show.is_unhurried() { 2500.0 } else { 400.0 };
            let mut world = self.world.now();
            let now = world.now();
            world.release_budget(HELD_BUDGET, now + (self.world.speed() * moment) as u64);
        }
    }

    async fn succeed(&mut self, admin: &mut AdminClient, intent: Intent) -> anyhow::Result<()> {
        let kind = intent.kind();
        let ended = self.run(admin, &intent).await?;
        anyhow::ensure!(
            ended.status == RolloutStatus::Finished,
            "expected the {kind} to finish, found it {}: {}",
            ended.status,
            ended.sentence
        );
        Ok(())
    }

    /// Waits until the coordinator knows that so many nodes are Ready and schedulable.
    async fn all_ready(&self, admin: &mut AdminClient, wanted: usize) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let nodes = admin.nodes().await?;
            let ready = nodes
                .iter()
                .filter(|n| n.connected && n.condition.as_ref().is_some_and(|c| c.ready && c.cordon.is_none()))
                .count();
            if ready >= wanted {
                return Ok(());
            }
            self.wait_or(until, || format!("expected {wanted} nodes Ready and schedulable, found {ready}")).await?;
        }
    }

    /// A worker that runs a pod of that app.
    fn home_of(&self, app: &str) -> Option<NodeName> {
        let world = self.world.now();
        let mut homes = world.cluster.pods.values().filter(|pod| pod.labels.get("app").is_some_and(|a| a == app));
        let is_worker = |name: &NodeName| self.demo.fleet.node(name).is_some_and(|n| n.role == ClusterRole::Worker);
        homes.find_map(|pod| pod.node.clone().filter(is_worker))
    }

    /// Waits until every pod runs: a plan that begins in the middle of a start waits for the same.
    async fn settled(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let (ready, wanted) = self.world.now().pods_ready();
            if ready == wanted {
                return Ok(());
            }
            self.wait_or(until, || format!("expected {wanted} simulated pods Ready, found {ready}")).await?;
        }
    }

    async fn wait_or(&self, until: Instant, what: impl FnOnce() -> String) -> anyhow::Result<()> {
        if Instant::now() >= until {
            anyhow::bail!("{} within {} s", what(), PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }

    /// Asks the machines themselves which version runs.
    fn versions(&mut self) -> anyhow::Result<()> {
        let world = self.world.now();
        for machine in world.machines() {
            let running = machine.k3s.running();
            if running != Some(self.demo.to) {
                let found = running.map_or("nothing".to_owned(), |version| version.to_string());
                anyhow::bail!("expected {} to run on {}, found {found}", self.demo.to, machine.name);
            }
        }
        self.counts.version_after = self.demo.to.to_string();
        self.counts.reboots = world.machines().map(|machine| machine.boots - 1).sum();
        Ok(())
    }

    /// The coordinator falls into the wrong hands: same address, same CA key, same ledger.
    async fn hostile_coordinator(
        &mut self,
        data_dir: &Path,
        given_up: &Path,
        addresses: &Addresses,
    ) -> anyhow::Result<()> {
        self.chapter("The coordinator falls into the wrong hands").await;
        let log = self.folder.join("hostile-coordinator.log");
        let mut process = Process::start(&hostile_coordinator_arguments(data_dir, given_up, &addresses.agents), &log)?;
        self.show.event(Event::ProcessStarted { name: "hostile coordinator".into(), pid: process.pid });
        let line = first_line(&mut process, "hostile coordinator", &log).await?;
        let Answer::Offers { offers } = serde_json::from_str(&line)? else {
            anyhow::bail!("the hostile coordinator began with {line}, expected its offers");
        };
        let wanted = offers.len() * self.counts.nodes;
        for what in offers {
            self.show.event(Event::Offered { what });
        }
        let until = tokio::time::Instant::now() + OFFER_TIMEOUT;
        while self.counts.refused < wanted {
            let Ok(line) = tokio::time::timeout_at(until, process.lines.next_line()).await else { break };
            let line = line?.with_context(|| format!("the hostile coordinator ended; see {}", log.display()))?;
            match serde_json::from_str(&line)? {
                Answer::Refused { node, offer, refusal, reason } => {
                    self.counts.refused += 1;
                    *self.counts.refusals.entry(refusal).or_default() += 1;
                    self.show.event(Event::Refused { node: node.to_string(), offer, refusal, reason });
                }
                Answer::Obeyed { node, what } => {
                    self.counts.obeyed += 1;
                    anyhow::bail!("{node} obeyed the hostile coordinator: it {what}");
                }
                Answer::Offers { .. } => {}
            }
        }
        process.kill().await;
        if self.counts.refused != wanted {
            anyhow::bail!(
                "expected {wanted} refusals of the hostile coordinator's offers, found {}",
                self.counts.refused
            );
        }
        Ok(())
    }

    /// Checks every document once more, keeps them where asked, and counts.
    fn close(mut self, ledger: Vec<u8>) -> anyhow::Result<Counts> {
        let audit = Audit::of(ledger)?;
        self.show.event(Event::LedgerChecked {
            records: audit.records,
            documents: audit.documents,
            receipts: audit.receipts.len(),
        });
        self.counts.outcomes = audit.outcomes();
        self.counts.tasks_verified =
            audit.receipts.iter().filter(|receipt| receipt.document().outcome.is_success()).count();
        if let Some(out) = &self.options.out {
            audit.write(out)?;
        }
        self.counts.seconds = (self.show.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        Ok(self.counts)
    }
}

/// Where the demo's folders of one run live.
pub(super) fn folder_of_a_run() -> anyhow::Result<tempfile::TempDir> {
    // Unix sockets have at most 108 bytes of path, so the system's folder and a short name.
    let parent = match std::env::temp_dir() {
        long if long.as_os_str().len() > 60 => PathBuf::from("/tmp"),
        short => short,
    };
    tempfile::Builder::new().prefix("hostler-demo-").tempdir_in(parent).context("cannot make a temporary folder")
}
