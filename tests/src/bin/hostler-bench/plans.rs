//! From submit to the last receipt, and what the coordinator holds for a node: real TLS, a real ledger with its
//! fdatasync, simulated machines.

use std::{net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use hostler_cli::{admin::now, plan, rollout};
use hostler_plan::{
    document::Signed,
    fleet::Fleet,
    id::{Arch, NodeName},
    planner::{Intent, Selection},
    step::ClusterRole,
    trust::Draft,
};
use hostler_proto::{
    join::JoinString,
    v1::{RolloutDetail, TaskStatus, TaskView},
};
use hostler_sim::{clock::SharedWorld, host::SimHost, node::Node, world::World};
use hostler_tests::stand::{PATIENCE, Stand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{task::JoinSet, time::Instant};

use super::{relay::enrolment_relays, stand, usage::Watched};

/// Nodes of the fleet that every other one is compared with, one of them its server.
pub(crate) const NODES: usize = 8;

/// Where the coordinator listens, and where its agents go.
const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A node reports every 10 s; after this every one has reported twice.
const SETTLE: Duration = Duration::from_secs(21);

/// Open files of one simulated node in this process, with room: its connection, its lock, what it is writing.
const FILES_PER_NODE: u64 = 8;
/// Open files of everything else.
const OTHER_FILES: u64 = 256;

/// A fleet of one size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plans {
    pub nodes: usize,
    /// How long each plan took, in their order.
    pub times: Vec<Duration>,
    /// CPU time of all plans: the coordinator's, and this process's, in which the agents, their simulated machines and
    /// the admin's command are. Milliseconds.
    pub cpu_ms: (u64, u64),
    /// The coordinator's proportional set size before the first node enrolled, KiB.
    pub pss_alone_kib: u64,
    /// The same when every node was connected and had reported.
    pub pss_connected_kib: u64,
    /// The same after the last plan.
    pub pss_after_kib: u64,
}

/// `count` plans for eight nodes and for each other number, each in a fleet of its own.
pub(crate) async fn measure(count: usize, nodes: &[usize]) -> anyhow::Result<Vec<Plans>> {
    let others = nodes.iter().copied().filter(|nodes| *nodes != NODES);
    let mut found = Vec::new();
    for nodes in std::iter::once(NODES).chain(others) {
        anyhow::ensure!(nodes > 0, "--nodes expected at least 1, found 0");
        allow_files(nodes)?;
        found.push(fleet(count, nodes).await?);
    }
    Ok(found)
}

/// Lets this process and the coordinator that it starts open as many files as they need.
fn allow_files(nodes: usize) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = OTHER_FILES + FILES_PER_NODE * nodes as u64;
    anyhow::ensure!(
        needed <= hard,
        "{nodes} nodes need {needed} open files, this process may have {hard}; see ulimit -Hn"
    );
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard)?)
}

async fn fleet(count: usize, nodes: usize) -> anyhow::Result<Plans> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut stand = stand(folder.path(), HOST).await?;
    let names = (1..=nodes).map(|n| NodeName::new(format!("n{n}"))).collect::<Result<Vec<_>, _>>()?;
    let (fleet, _) = Fleet::from_toml(&[("bench.toml", &fleet_text(&names))])?;
    let pss_alone_kib = pss_kib(&stand)?;
    let joins = join_strings(&mut stand, nodes).await?;
    let running = start_agents(folder.path(), &names, &joins)?;
    stand.enrolled(nodes).await?;
    attached(&mut stand, nodes).await?;
    tokio::time::sleep(SETTLE).await;
    let pss_connected_kib = pss_kib(&stand)?;
    let (coordinator, agents) = (Watched::new(&[stand.pid()]), Watched::new(&[std::process::id()]));
    let mut times = Vec::new();
    let mut cpu_ms = (0, 0);
    for _ in 0..count {
        let signed = sign(&mut stand, &fleet, nodes).await?;
        let before = (coordinator.cpu_ms()?, agents.cpu_ms()?);
        times.push(once(&mut stand, &signed, nodes).await?);
        cpu_ms.0 += coordinator.cpu_ms()? - before.0;
        cpu_ms.1 += agents.cpu_ms()? - before.1;
        // The next one begins when nothing of this one is on its way any more.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let pss_after_kib = pss_kib(&stand)?;
    drop(running);
    Ok(Plans { nodes, times, cpu_ms, pss_alone_kib, pss_connected_kib, pss_after_kib })
}

fn pss_kib(stand: &Stand) -> anyhow::Result<u64> {
    let mut coordinator = Watched::new(&[stand.pid()]);
    coordinator.look()?;
    Ok(coordinator.pss_kib().0)
}

pub(crate) fn fleet_text(names: &[NodeName]) -> String {
    let head = "name = \"bench\"\ndistribution = \"k3s\"\nversion = \"v1.34.3+k3s1\"\napi = \"192.0.2.1:6443\"\n";
    let node = |(n, name): (usize, &NodeName)| {
        let role = if n == 0 { "server" } else { "worker" };
        format!("[[nodes]]\nname = \"{name}\"\nrole = \"{role}\"\narch = \"aarch64\"\n")
    };
    names.iter().enumerate().map(node).fold(head.to_owned(), |text, node| text + &node)
}

/// One for the server, and one for each group of workers, which enrols from an address of its own: the coordinator lets
/// few enrol from one.
pub(crate) async fn join_strings(stand: &mut Stand, nodes: usize) -> anyhow::Result<Vec<JoinString>> {
    let mut joins = vec![stand.join_string(1, ClusterRole::Server).await?];
    let workers = nodes - 1;
    if workers > 0 {
        let join = stand.join_string(u32::try_from(workers)?, ClusterRole::Worker).await?;
        for address in enrolment_relays(stand.enrolment, workers).await? {
            joins.push(JoinString { address: address.to_string(), ..join.clone() });
        }
    }
    Ok(joins)
}

/// They end with what this gives back.
pub(crate) fn start_agents(folder: &Path, names: &[NodeName], joins: &[JoinString]) -> anyhow::Result<JoinSet<()>> {
    let world = SharedWorld::new(World::new(1, names.iter().cloned().map(|n| (n, Arch::Aarch64))), 1.0);
    let mut agents = JoinSet::new();
    for (n, name) in names.iter().enumerate() {
        let join_file = folder.join(format!("join-{name}"));
        // The first is the server; its workers take turns.
        let join = if n == 0 { &joins[0] } else { &joins[1 + (n - 1) % (joins.len() - 1)] };
        std::fs::write(&join_file, join.encode())?;
        let node = Node::new(folder.join(format!("state-{name}")), join_file, name.clone());
        let host = Arc::new(SimHost::here(world.clone(), name.clone())?);
        agents.spawn(async move {
            if let Err(error) = node.run(host, std::future::pending()).await {
                eprintln!("hostler-bench: a simulated node's agent ended: {error}");
            }
        });
    }
    Ok(agents)
}

/// Waits until every agent holds its stream and the coordinator has its facts.
pub(crate) async fn attached(stand: &mut Stand, nodes: usize) -> anyhow::Result<()> {
    let wait = async {
        loop {
            let inventory = plan::inventory(&mut stand.admin).await?;
            if inventory.nodes.len() == nodes && inventory.nodes.values().all(|node| node.connected) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.context("the agents did not connect")?
}

/// A plan for every node, compiled and signed.
async fn sign(stand: &mut Stand, fleet: &Fleet, nodes: usize) -> anyhow::Result<Signed> {
    let admin = &mut stand.admin;
    let compiled = plan::compile(admin, fleet, &Intent::Check { nodes: Selection::All }, None, now()).await?;
    anyhow::ensure!(compiled.plan.tasks.len() == nodes, "the plan has {} tasks", compiled.plan.tasks.len());
    let mut draft = Draft::plan(Signed { bytes: compiled.bytes, signatures: Vec::new() })?;
    plan::sign(admin.trust_store(), admin.signer(), &mut draft, now())?;
    Ok(draft.signed().clone())
}

/// One plan, timed from the call of submit until the coordinator's fold of the ledger holds a receipt of success of
/// every node and says so on the admin's stream.
pub(crate) async fn once(stand: &mut Stand, signed: &Signed, nodes: usize) -> anyhow::Result<Duration> {
    let admin = &mut stand.admin;
    let began = Instant::now();
    let verified = plan::verify(admin.trust_store(), signed, now())?;
    let submitted = plan::submit(admin, &verified).await?;
    let mut done = None;
    let mut see = |detail: &RolloutDetail| {
        let succeeded = |task: &&TaskView| task.status() == TaskStatus::Succeeded;
        if done.is_none() && detail.tasks.iter().filter(succeeded).count() == nodes {
            done = Some(began.elapsed());
        }
        Ok(())
    };
    let which = submitted.seq.to_string();
    let watched = tokio::time::timeout(PATIENCE, rollout::watch(admin, &which, &mut see)).await;
    let detail = watched.with_context(|| format!("plan {which} did not end in {} s", PATIENCE.as_secs()))??;
    rollout::ending(&detail)?;
    let proved = rollout::verify(admin.trust_store(), &detail).proved.len();
    anyhow::ensure!(proved == nodes, "expected {nodes} signed receipts, found {proved}");
    done.context("the rollout ended without a success of every node")
}

/// The one in the middle.
pub(crate) fn median(times: &[Duration]) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let ms = Duration::from_millis;
        assert_eq!(median(&[ms(9), ms(1), ms(5)]), Some(ms(5)));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_fleet_file_is_good() {
        let names: Vec<NodeName> = (1..=NODES).map(|n| NodeName::new(format!("n{n}")).unwrap()).collect();
        let (fleet, _) = Fleet::from_toml(&[("bench.toml", &fleet_text(&names))]).unwrap();
        assert_eq!(fleet.nodes.len(), NODES);
    }
}
