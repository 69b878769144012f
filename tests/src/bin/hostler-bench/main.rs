//! `hostler-bench`: what an idle agent costs beside node_exporter, and how fast a plan goes through a fleet.
//!
//! The program starts itself again as the coordinator and as the agent. Nothing stays behind.

mod exporter;
mod idle;
mod plans;
mod relay;
mod report;
mod stage;
mod usage;
mod verify;
mod writes;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use hostler_daemon::process::{self, EndSignals};
use hostler_plan::id::NodeName;
use hostler_sim::node::Node;
use hostler_tests::{
    recorded::Recorded,
    stand::{Setup, Stand},
};

/// Measures an idle agent beside Debian's prometheus-node-exporter on this machine, the time from submitting a plan to
/// its last receipt, and what the coordinator holds for each node. Prints tables for docs/benchmarks.md.
#[derive(Debug, Parser)]
#[command(
    name = "hostler-bench",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
        hostler-bench                                      a minute after half a minute of warm-up, then five plans\n  \
        hostler-bench --seconds 600                        longer, with more of what happens once in minutes\n  \
        hostler-bench --agent target/dist/hostler-agent    the agent as it is packaged\n  \
        hostler-bench --seconds 0 --nodes 100,400          plans for 8, 100 and 400 nodes and nothing else\n  \
        hostler-bench verify                               what a plan of 1,000 nodes costs each of them\n  \
        hostler-bench --machine fixtures/machines/pi5      an agent on a recorded machine\n  \
        hostler-bench stage --link 117                     100 MB to five nodes over a gigabit, beside a plain copy\n  \
        hostler-bench writes                               ten minutes in which it may write to no file"
)]
struct Arguments {
    /// How long the idle agent is measured; 0 leaves that part out
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// How long both run before they are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    warm_up: u64,
    /// The agent to measure instead of the one in this program, with the executor beside it
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// An agent and its executor, in one process, on this recorded machine instead of the one that it runs on: a
    /// folder of facts/tests/cases or fixtures/machines
    #[arg(long, value_name = "FOLDER", conflicts_with = "agent")]
    machine: Option<PathBuf>,
    /// How many plans are timed; 0 leaves that part out
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    plans: usize,
    /// How many nodes a plan is for; fleets of these sizes are measured after one of eight
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [plans::NODES])]
    nodes: Vec<usize>,
    #[command(subcommand)]
    child: Option<Child>,
}

/// Another thing to see, and what this program is when it starts itself.
#[derive(Debug, Subcommand)]
enum Child {
    /// Measure the processor time that a large plan costs its node
    Verify {
        /// How many nodes the plan is for
        #[arg(long, value_name = "COUNT", default_value_t = 1000)]
        nodes: usize,
        /// How often each part is done; the one in the middle counts
        #[arg(long, value_name = "COUNT", default_value_t = 21)]
        rounds: usize,
    },
    /// Stage a file on every node, in turns with a plain copy of it over the same link
    Stage {
        /// Size of the file
        #[arg(long, value_name = "MB", default_value_t = 100)]
        megabytes: u64,
        #[arg(long, value_name = "COUNT", default_value_t = 5)]
        nodes: usize,
        /// How often both are done; the one in the middle counts
        #[arg(long, value_name = "COUNT", default_value_t = 5)]
        rounds: usize,
        /// What the link between coordinator and nodes carries; as much as this machine does unless set
        #[arg(long, value_name = "MB/S")]
        link: Option<u64>,
    },
    /// Watch with strace that an idle agent writes to no file; fails when it does
    Writes {
        /// How long it is watched
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        seconds: u64,
        /// How long it runs before it is watched
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        warm_up: u64,
        /// The agent to watch instead of the one in this program, with the executor beside it
        #[arg(long, value_name = "PATH")]
        agent: Option<PathBuf>,
    },
    /// A real coordinator
    #[command(hide = true)]
    Coordinator {
        #[arg(long)]
        config: PathBuf,
        /// Copy its ledger there instead
        #[arg(long, value_name = "FILE")]
        backup: Option<PathBuf>,
    },
    /// A real executor
    #[command(hide = true)]
    Executor {
        #[arg(long)]
        config: PathBuf,
        /// Documents to hand to the one that runs
        #[arg(long, value_name = "FILE")]
        accept: Vec<PathBuf>,
    },
    /// A real agent
    #[command(hide = true)]
    Agent {
        #[arg(long)]
        config: PathBuf,
    },
    /// Both in one process, on a recorded machine
    #[command(hide = true)]
    Node {
        #[arg(long)]
        folder: PathBuf,
        #[arg(long)]
        join: PathBuf,
        #[arg(long)]
        name: NodeName,
        #[arg(long)]
        machine: PathBuf,
        #[arg(long)]
        metrics: SocketAddr,
    },
}

/// Where agents are told to go: the relay, which has the coordinator's port on another address of this machine.
const RELAY_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Fewer than three reports of the agent say little.
const LEAST_SECONDS: u64 = 30;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match &arguments.child {
        Some(Child::Coordinator { config, backup }) => {
            let command = backup.clone().map(|file| hostler_coordinator::command::Command::Backup { file });
            let arguments = hostler_coordinator::command::Arguments { config: Some(config.clone()), command };
            hostler_coordinator::command::main(&arguments).map_err(Into::into)
        }
        Some(Child::Executor { config, accept }) => {
            let accept = Some(accept.clone()).filter(|files| !files.is_empty());
            let command = accept.map(|files| hostler_executor::command::Command::Accept { files });
            let arguments = hostler_executor::command::Arguments { config: Some(config.clone()), command };
            hostler_executor::command::main(&arguments).map_err(Into::into)
        }
        Some(Child::Agent { config }) => {
            let arguments = hostler_agent::command::Arguments { config: Some(config.clone()), command: None };
            hostler_agent::command::main(&arguments).map_err(Into::into)
        }
        Some(Child::Node { folder, join, name, machine, metrics }) => {
            let node = Node::new(folder.clone(), join.clone(), name.clone());
            recorded_node(Node { metrics_listen: Some(*metrics), ..node }, machine)
        }
        Some(Child::Verify { nodes, rounds }) => verify::measure(*nodes, *rounds).map(|text| print!("{text}")),
        Some(Child::Stage { megabytes, nodes, rounds, link }) => {
            let wanted = stage::Wanted { megabytes: *megabytes, nodes: *nodes, rounds: *rounds, link: *link };
            until_stopped(async || {
                println!("load before: {}", load());
                print!("\n{}", stage::measure_staging(wanted).await?);
                println!("load after: {}", load());
                Ok(())
            })
        }
        Some(Child::Writes { seconds, warm_up, agent }) => {
            let plan = idle::Plan { seconds: *seconds, warm_up: *warm_up, agent: agent.clone(), machine: None };
            until_stopped(async || {
                let (text, quiet) = writes::report(writes::watch(&plan).await?.as_ref(), plan.seconds);
                print!("{text}");
                anyhow::ensure!(quiet, "an idle agent wrote to a file");
                Ok(())
            })
        }
        None => bench(&arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostler-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A real agent with its executor on a recorded machine.
fn recorded_node(node: Node, machine: &Path) -> anyhow::Result<()> {
    hostler_daemon::log::start("hostler-agent", hostler_plan::text::clean);
    process::run(hostler_agent::command::BLOCKING_THREADS, async {
        let host = Arc::new(Recorded::open(machine)?);
        node.run(host, signals()?.wait()).await?;
        Ok(())
    })?
}

/// This program again as a coordinator that names that host to its agents.
async fn stand(folder: &Path, advertised_host: Ipv4Addr) -> anyhow::Result<Stand> {
    let program = std::env::current_exe().context("cannot find the benchmark's own program")?;
    Stand::start(folder, &Setup { program: &program, advertised_host, settings: "" }).await
}

fn bench(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { seconds, warm_up, agent, machine, plans, nodes, child: _ } = arguments;
    anyhow::ensure!(
        *seconds == 0 || *seconds >= LEAST_SECONDS,
        "--seconds expected at least {LEAST_SECONDS}, or 0 for none; found {seconds}"
    );
    until_stopped(async || {
        println!("load before: {}", load());
        if *seconds > 0 {
            let (seconds, warm_up, agent, machine) = (*seconds, *warm_up, agent.clone(), machine.clone());
            let plan = idle::Plan { seconds, warm_up, agent, machine };
            print!("\n{}", report::idle(&idle::measure(&plan).await?));
        }
        if *plans > 0 {
            print!("\n{}", report::plans(&plans::measure(*plans, nodes).await?));
        }
        println!("load after: {}", load());
        Ok(())
    })
}

/// Runs it to its end, or until a person or the system wants this to end; then nothing stays behind either.
fn until_stopped(run: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut signals = signals()?;
        tokio::select! {
            ended = run() => ended,
            () = signals.wait() => Err(anyhow::anyhow!("stopped before the end")),
        }
    });
    // The simulated nodes' executors are threads that nobody waits for.
    runtime.shutdown_background();
    ended
}

/// The machine's load average and its processors: figures of a busy machine are worse.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = text.split_whitespace().take(3).collect();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{} on {processors} processors", averages.join(" "))
}

fn signals() -> anyhow::Result<EndSignals> {
    EndSignals::listen().context("cannot listen to signals")
}
