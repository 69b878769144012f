//! An idle agent beside the exporter, over the same seconds.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use hostler_fixtures::{case, recorded};
use hostler_plan::step::ClusterRole;
use hostler_proto::join::JoinString;
use hostler_tests::process::Process;
use tokio::time::{Instant, interval};

use super::{
    RELAY_HOST,
    exporter::{Exporter, SCRAPE_INTERVAL},
    relay, stand,
    usage::{Usage, Watched},
};

/// How often the threads are looked at: a thread that lives longer than this is seen.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What to measure, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub seconds: u64,
    pub warm_up: u64,
    /// Another agent than the one in this program; its executor lies beside it.
    pub agent: Option<PathBuf>,
    /// A recorded machine, or a case of one, instead of this one; both programs are one process then.
    pub machine: Option<PathBuf>,
}

/// What one process used in the measured time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Figures {
    pub seconds: f64,
    pub mean_pss_kib: u64,
    pub highest_pss_kib: u64,
    pub used: Usage,
    /// Payload of TCP. The exporter: its answers alone, which is what the agent is compared with.
    pub wire_bytes: u64,
}

/// Both sides, the agent together with its executor; `exporter` is missing where it is not installed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Idle {
    pub agent: Figures,
    /// Of the agent's bytes, those that the coordinator sent.
    pub agent_down_bytes: u64,
    pub exporter: Option<Figures>,
    pub scrapes: u64,
    pub request_bytes: u64,
}

/// Starts everything, warms up, measures, and ends everything.
pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<Idle> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = folder.path();
    let mut stand = stand(folder, RELAY_HOST).await?;
    let listen = SocketAddr::from((RELAY_HOST, stand.agents.port()));
    let counted = relay::start(listen, stand.agents).with_context(|| format!("cannot listen at {listen}"))?;
    let join = stand.join_string(1, ClusterRole::Worker).await?;
    let laid_out = plan.machine.as_deref().map(lay_out).transpose()?;
    let mut commands = match &laid_out {
        Some(machine) => vec![recorded_command(folder, &join, machine.path())?],
        None => node_commands(folder, &join, plan.agent.as_deref())?.into(),
    };
    let mut processes = Vec::new();
    for (number, command) in commands.iter_mut().enumerate() {
        processes.push(Process::start(command, &folder.join(format!("node-{number}.log")))?);
    }
    stand.enrolled(1).await?;
    let mut exporter = Exporter::start(folder).await?;

    let pids: Vec<u32> = processes.iter().map(Process::pid).collect();
    let mut agent_watched = Watched::new(&pids);
    let mut exporter_watched = exporter.as_ref().map(|e| Watched::new(&[e.process.pid()]));
    let mut scrape = interval(SCRAPE_INTERVAL);
    pass(Duration::from_secs(plan.warm_up), &mut scrape, &mut exporter, &mut agent_watched, &mut exporter_watched)
        .await?;

    // In the middle between two scrapes, so that a minute has four of them and not five.
    scrape.reset_after(SCRAPE_INTERVAL / 2);
    let began = Instant::now();
    let before = (agent_watched.usage()?, exporter_watched.as_mut().map(Watched::usage).transpose()?);
    let wire_before = (counted.sum(), counted.down.load(std::sync::atomic::Ordering::Relaxed));
    let asked_before = exporter.as_ref().map(|e| (e.scrapes, e.answer_bytes, e.request_bytes)).unwrap_or_default();
    agent_watched.forget_memory();
    if let Some(watched) = &mut exporter_watched {
        watched.forget_memory();
    }
    pass(Duration::from_secs(plan.seconds), &mut scrape, &mut exporter, &mut agent_watched, &mut exporter_watched)
        .await?;
    let after = (agent_watched.usage()?, exporter_watched.as_mut().map(Watched::usage).transpose()?);
    let seconds = began.elapsed().as_secs_f64();
    let wire_bytes = counted.sum() - wire_before.0;
    anyhow::ensure!(wire_bytes > 0, "the agent sent nothing in {seconds:.0} s; see why with --agent and RUST_LOG");

    let asked = exporter.as_ref().map(|e| (e.scrapes, e.answer_bytes, e.request_bytes)).unwrap_or_default();
    let exporter = match (before.1, after.1, &exporter_watched) {
        (Some(before), Some(after), Some(watched)) => {
            Some(figures(seconds, watched, before, after, asked.1 - asked_before.1))
        }
        _ => None,
    };
    Ok(Idle {
        agent: figures(seconds, &agent_watched, before.0, after.0, wire_bytes),
        agent_down_bytes: counted.down.load(std::sync::atomic::Ordering::Relaxed) - wire_before.1,
        exporter,
        scrapes: asked.0 - asked_before.0,
        request_bytes: asked.2 - asked_before.2,
    })
}

fn figures(seconds: f64, watched: &Watched, before: Usage, after: Usage, wire_bytes: u64) -> Figures {
    let (mean_pss_kib, highest_pss_kib) = watched.pss_kib();
    let used = Usage {
        cpu_ms: after.cpu_ms - before.cpu_ms,
        voluntary_switches: after.voluntary_switches - before.voluntary_switches,
        written_bytes: after.written_bytes - before.written_bytes,
    };
    Figures { seconds, mean_pss_kib, highest_pss_kib, used, wire_bytes }
}

/// Lets time pass: the exporter is asked, both are looked at.
async fn pass(
    time: Duration,
    scrape: &mut tokio::time::Interval,
    exporter: &mut Option<Exporter>,
    agent: &mut Watched,
    other: &mut Option<Watched>,
) -> anyhow::Result<()> {
    let end = Instant::now() + time;
    let mut look = interval(LOOK_INTERVAL);
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(end) => return Ok(()),
            _ = scrape.tick() => if let Some(exporter) = exporter {
                exporter.scrape()?;
            },
            _ = look.tick() => {
                agent.look().context("the agent or its executor ended")?;
                if let Some(other) = other {
                    other.look().context("the exporter ended")?;
                }
            }
        }
    }
}

/// A recorded machine, or the first state of a case of one, in a folder of its own.
fn lay_out(folder: &Path) -> anyhow::Result<tempfile::TempDir> {
    if folder.join("base.txt").is_file() {
        let step = case::steps(folder).into_iter().next();
        return Ok(step.with_context(|| format!("expected a case at {}, found none", folder.display()))?.lay_out());
    }
    let name = folder.file_name().and_then(|name| name.to_str());
    Ok(recorded::copy(
        name.with_context(|| format!("expected a folder of fixtures/machines, found {}", folder.display()))?,
    ))
}

/// Agent and executor in one process on that machine. Each report finds every reader due, as once in a quarter hour.
fn recorded_command(folder: &Path, join: &JoinString, machine: &Path) -> anyhow::Result<Command> {
    let join_file = folder.join("join");
    std::fs::write(&join_file, join.encode())?;
    let metrics = std::net::TcpListener::bind((RELAY_HOST, 0))?.local_addr()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("node").args(["--name", "bench"]).arg("--metrics").arg(metrics.to_string());
    command.arg("--folder").arg(folder.join("node")).arg("--join").arg(join_file).arg("--machine").arg(machine);
    command.stdout(Stdio::null());
    Ok(command)
}

/// Executor and agent of this machine, as their package would run them but for folders and user.
pub(crate) fn node_commands(folder: &Path, join: &JoinString, agent: Option<&Path>) -> anyhow::Result<[Command; 2]> {
    let (socket, join_file) = (folder.join("socket"), folder.join("join"));
    std::fs::write(&join_file, join.encode())?;
    let state = folder.join("agent");
    let executor = format!(
        "socket = {socket:?}\ndownloads = {:?}\njoin_file = {join_file:?}\nstate_dir = {:?}\nnode_name = \"bench\"\n\
         kubeconfig = {:?}\nclock = \"trusted\"\nagent_user = {:?}\n",
        state.join("downloads"),
        folder.join("executor"),
        folder.join("no-kubeconfig"),
        nix::unistd::User::from_uid(nix::unistd::geteuid())?.context("who runs this has no name")?.name,
    );
    let text = format!("socket = {socket:?}\nstate_dir = {state:?}\nreport_interval_seconds = 10\n");
    let command = |name: &str, text: String| {
        let config = folder.join(format!("{name}.toml"));
        std::fs::write(&config, text)?;
        let mut command = match agent {
            Some(agent) => Command::new(agent.with_file_name(format!("hostler-{name}"))),
            None => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(name);
                command
            }
        };
        command.arg("--config").arg(&config).stdout(Stdio::null());
        anyhow::Ok(command)
    };
    Ok([command("executor", executor)?, command("agent", text)?])
}
