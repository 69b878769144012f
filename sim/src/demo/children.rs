//! The demo's own processes: what each of them is started with, and what it does.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::Subcommand;
use hostler_plan::id::NodeName;
use serde::{Deserialize, Serialize};

use super::hostile_coordinator;
use crate::{host::SimHost, node::Node};

/// Real nodes report every 10 s. Less than a second stays between the demo's own programs: the coordinator asks for
/// none, and the agents keep their setting.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// What a process of the demo is. Nobody starts these by hand.
#[derive(Debug, Clone, Subcommand)]
pub enum Child {
    /// A real coordinator
    #[command(hide = true)]
    Coordinator {
        #[arg(long)]
        data_dir: PathBuf,
        /// Where it listened before it was started again, as it wrote it
        #[arg(long)]
        again: Option<String>,
    },
    /// A real agent on a simulated machine
    #[command(hide = true)]
    Agent {
        #[arg(long)]
        node: NodeName,
        #[arg(long)]
        world: PathBuf,
        #[arg(long)]
        state: PathBuf,
        #[arg(long)]
        join: PathBuf,
        /// A recorded machine whose facts it has
        #[arg(long)]
        machine: Option<PathBuf>,
    },
    /// A coordinator in the wrong hands
    #[command(hide = true)]
    HostileCoordinator {
        #[arg(long)]
        data_dir: PathBuf,
        /// Where plans lie that were signed and never handed in
        #[arg(long)]
        given_up: PathBuf,
        #[arg(long)]
        listen: SocketAddr,
    },
}

/// Where a coordinator listens, and its set-up code while it has no root: the first line that it writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Addresses {
    pub enrolment: SocketAddr,
    pub agents: SocketAddr,
    pub admins: SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_code: Option<String>,
}

impl Addresses {
    /// Reads the line.
    pub(super) fn parse(line: &str) -> anyhow::Result<Self> {
        serde_json::from_str(line).with_context(|| format!("the coordinator wrote {line:?}, expected where it listens"))
    }
}

/// The arguments of a coordinator, at the same place as before where it ran before.
pub(super) fn coordinator_arguments(data_dir: &Path, before: Option<&Addresses>) -> Vec<String> {
    let mut arguments = vec!["coordinator".into(), "--data-dir".into(), text(data_dir)];
    if let Some(before) = before {
        let again = Addresses { setup_code: None, ..before.clone() };
        arguments.push("--again".into());
        arguments.push(serde_json::to_string(&again).unwrap_or_default());
    }
    arguments
}

/// The arguments of an agent.
pub(super) fn agent_arguments(
    node: &NodeName,
    world: &Path,
    state: &Path,
    join: &Path,
    machine: Option<&Path>,
) -> Vec<String> {
    let pairs =
        [("--node", node.to_string()), ("--world", text(world)), ("--state", text(state)), ("--join", text(join))];
    let pairs = pairs
        .into_iter()
        .chain(machine.map(|folder| ("--machine", text(folder))))
        .flat_map(|(name, value)| [name.to_owned(), value]);
    std::iter::once("agent".to_owned()).chain(pairs).collect()
}

/// The arguments of the coordinator in the wrong hands.
pub(super) fn hostile_coordinator_arguments(data_dir: &Path, given_up: &Path, listen: &SocketAddr) -> Vec<String> {
    let folders = ["--data-dir".into(), text(data_dir), "--given-up".into(), text(given_up)];
    let listen = ["--listen".into(), listen.to_string()];
    std::iter::once("hostile-coordinator".into()).chain(folders).chain(listen).collect()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Runs as one of the demo's processes until the standard input ends, which it does with the demo.
pub async fn run(child: Child) -> anyhow::Result<()> {
    tokio::select! {
        ended = be(child) => ended,
        () = the_demo_ended() => Ok(()),
    }
}

async fn be(child: Child) -> anyhow::Result<()> {
    match child {
        Child::Coordinator { data_dir, again } => coordinator(&data_dir, again).await,
        Child::Agent { node, world, state, join, machine } => {
            agent(node, &world, &state, &join, machine.as_deref()).await
        }
        Child::HostileCoordinator { data_dir, given_up, listen } => {
            hostile_coordinator::run(&data_dir, &given_up, listen).await
        }
    }
}

async fn the_demo_ended() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A blocking read on a thread of its own: tokio's standard input would keep the process from ending.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = sender.send(());
    });
    let _ = receiver.await;
}

/// A real coordinator on loopback. It writes its addresses when it serves.
async fn coordinator(data_dir: &Path, again: Option<String>) -> anyhow::Result<()> {
    log_to_stderr();
    let mut settings = hostler_coordinator::Settings::on_loopback(data_dir);
    settings.report_interval = REPORT_INTERVAL;
    if let Some(before) = again {
        let before = Addresses::parse(&before)?;
        settings.enrolment_listen = before.enrolment;
        settings.agent_listen = before.agents;
        settings.admin_listen = before.admins;
    }
    let listeners = hostler_coordinator::Listeners::bind(&settings).await?;
    let bound = listeners.addresses().clone();
    let running = hostler_coordinator::run(settings, listeners, std::future::pending());
    let announce = async {
        // The coordinator writes this file as soon as it serves.
        while !data_dir.join("addresses.json").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let setup_code = std::fs::read_to_string(data_dir.join("setup-code")).ok();
        let addresses = Addresses { enrolment: bound.enrolment, agents: bound.agents, admins: bound.admin, setup_code };
        println!("{}", serde_json::to_string(&addresses)?);
        std::future::pending::<anyhow::Result<()>>().await
    };
    tokio::select! {
        ended = running => Ok(ended?),
        failed = announce => failed,
    }
}

/// A real agent on a simulated machine.
async fn agent(node: NodeName, world: &Path, state: &Path, join: &Path, machine: Option<&Path>) -> anyhow::Result<()> {
    log_to_stderr();
    let mut host = SimHost::there(world, node.clone())?;
    if let Some(recorded) = machine {
        host = host.with_facts_of(recorded)?;
    }
    let node = Node { report_interval: REPORT_INTERVAL, ..Node::new(state.to_owned(), join.to_owned(), node) };
    node.run(Arc::new(host), std::future::pending()).await?;
    Ok(())
}

/// Each process's log is a file of the run's folder.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::new("info");
    // A second one would be a mistake of the demo's own, and costs no more than its lines.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
}
