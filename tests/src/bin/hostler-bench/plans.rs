//! From submit to eight receipts: real TLS, a real ledger with its fdatasync, simulated machines.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use hostler_agent::Settings;
use hostler_cli::{admin::now, plan, rollout};
use hostler_plan::{
    document::Signed,
    fleet::Fleet,
    id::{Arch, NodeName},
    planner::{Intent, Selection},
    step::ClusterRole,
    trust::Draft,
};
use hostler_proto::{join::JoinString, v1::RolloutDetail};
use hostler_sim::{clock::SharedWorld, host::SimHost, world::World};
use hostler_tests::stand::{PATIENCE, Stand};
use tokio::time::Instant;

use super::{RELAY_HOST, stand};

/// Nodes of the fleet, one of them its server.
pub const NODES: usize = 8;

/// How long each of `count` plans took, in their order.
pub async fn measure(count: usize) -> anyhow::Result<Vec<Duration>> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut stand = stand(folder.path()).await?;
    // The agents go to the address that the coordinator names; a relay on this machine costs some 0.1 ms a message.
    let listen = std::net::SocketAddr::from((RELAY_HOST, stand.agents.port()));
    super::relay::start(listen, stand.agents).with_context(|| format!("cannot listen at {listen}"))?;
    let server = stand.join_string(1, ClusterRole::Server).await?;
    let workers = stand.join_string(NODES as u32 - 1, ClusterRole::Worker).await?;
    let names = (1..=NODES).map(|n| NodeName::new(format!("n{n}"))).collect::<Result<Vec<_>, _>>()?;
    start_agents(folder.path(), &names, &server, &workers)?;
    stand.enrolled(NODES).await?;
    let (fleet, _) = Fleet::from_toml(&[("bench.toml", &fleet_text(&names))])?;
    attached(&mut stand).await?;
    let mut times = Vec::new();
    for _ in 0..count {
        times.push(once(&mut stand, &fleet).await?);
        // The next one begins when nothing of this one is on its way any more.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(times)
}

fn fleet_text(names: &[NodeName]) -> String {
    let head = "name = \"bench\"\ndistribution = \"k3s\"\nversion = \"v1.34.3+k3s1\"\napi = \"192.0.2.1:6443\"\n";
    let node = |(n, name): (usize, &NodeName)| {
        let role = if n == 0 { "server" } else { "worker" };
        format!("[[nodes]]\nname = \"{name}\"\nrole = \"{role}\"\narch = \"aarch64\"\n")
    };
    names.iter().enumerate().map(node).fold(head.to_owned(), |text, node| text + &node)
}

fn start_agents(folder: &Path, names: &[NodeName], server: &JoinString, worker: &JoinString) -> anyhow::Result<()> {
    let world = SharedWorld::new(World::new(1, names.iter().cloned().map(|n| (n, Arch::Aarch64))), 1.0);
    for (n, name) in names.iter().enumerate() {
        let join_file = folder.join(format!("join-{name}"));
        std::fs::write(&join_file, if n == 0 { server } else { worker }.encode())?;
        let settings = Settings {
            join_files: vec![join_file],
            state_dir: folder.join(format!("state-{name}")),
            node_name: Some(name.clone()),
            ..Settings::default()
        };
        let host = Arc::new(SimHost::here(world.clone(), name.clone())?);
        tokio::spawn(async move {
            if let Err(error) = hostler_agent::run(settings, host, std::future::pending()).await {
                eprintln!("hostler-bench: a simulated node's agent ended: {error}");
            }
        });
    }
    Ok(())
}

/// Waits until every agent holds its stream and the coordinator has its facts.
async fn attached(stand: &mut Stand) -> anyhow::Result<()> {
    let wait = async {
        loop {
            let inventory = plan::inventory(&mut stand.admin).await?;
            if inventory.nodes.len() == NODES && inventory.nodes.values().all(|node| node.connected) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.context("the agents did not connect")?
}

/// One plan: compiled and signed beforehand, timed from the call of submit until the coordinator's fold of the ledger
/// holds eight receipts of success and says so on the admin's stream.
async fn once(stand: &mut Stand, fleet: &Fleet) -> anyhow::Result<Duration> {
    let admin = &mut stand.admin;
    let compiled = plan::compile(admin, fleet, &Intent::Check { nodes: Selection::All }, None, now()).await?;
    anyhow::ensure!(compiled.plan.tasks.len() == NODES, "the plan has {} tasks", compiled.plan.tasks.len());
    let mut draft = Draft::plan(Signed { bytes: compiled.bytes, signatures: Vec::new() })?;
    plan::sign(admin.trust_store(), admin.signer(), &mut draft, now())?;

    let began = Instant::now();
    let verified = plan::verify(admin.trust_store(), draft.signed(), now())?;
    let submitted = plan::submit(admin, &verified).await?;
    let mut done = None;
    let mut see = |detail: &RolloutDetail| {
        if done.is_none() && detail.tasks.iter().filter(|task| task.state == "succeeded").count() == NODES {
            done = Some(began.elapsed());
        }
        Ok(())
    };
    let which = submitted.seq.to_string();
    let watched = tokio::time::timeout(PATIENCE, rollout::watch(admin, &which, &mut see)).await;
    let detail = watched.with_context(|| format!("plan {which} did not end in {} s", PATIENCE.as_secs()))??;
    rollout::ending(&detail)?;
    let proved = rollout::verify(admin.trust_store(), &detail).proved.len();
    anyhow::ensure!(proved == NODES, "expected {NODES} signed receipts, found {proved}");
    done.context("the rollout ended without eight successes")
}

/// The one in the middle.
pub fn median(times: &[Duration]) -> Option<Duration> {
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
