//! The demo's own processes, kept running as systemd would keep them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use hostler_plan::id::NodeName;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{event::Event, show::Show};
use crate::clock::SharedWorld;

/// Real units have `RestartSec=5s`; here everything is faster.
const RESTART_AFTER: Duration = Duration::from_millis(200);

/// How often the supervisor looks whether the machine is still up under an agent.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A process that is started more often than this is broken, and the demo says so instead of going on for ever.
const MAX_STARTS: u32 = 40;

/// One of the demo's processes. It ends when its standard input does: a killed demo leaves nothing behind.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Held open for as long as the process should live.
    _stdin: Option<ChildStdin>,
    pub lines: Lines<BufReader<ChildStdout>>,
    pub pid: u32,
}

impl Process {
    /// Starts this very program again with other arguments.
    pub(super) fn start(arguments: &[String], log: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the demo's own program; run it by its full path")?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start the process {}", arguments.join(" ")))?;
        let stdout = child.stdout.take().context("the new process has no output")?;
        let pid = child.id().context("the new process has no id")?;
        Ok(Self { _stdin: child.stdin.take(), lines: BufReader::new(stdout).lines(), child, pid })
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills it and waits for its end.
    pub(super) async fn kill(&mut self) {
        // It may have ended by itself in between.
        let _ = self.child.kill().await;
    }
}

/// The agents, each with its supervisor.
#[derive(Debug)]
pub(super) struct Agents {
    tasks: BTreeMap<NodeName, JoinHandle<anyhow::Result<()>>>,
    stop: watch::Sender<bool>,
    restarts: Arc<AtomicU32>,
}

/// How an agent's process is started.
#[derive(Debug, Clone)]
pub(super) struct AgentCommand {
    pub node: NodeName,
    pub arguments: Vec<String>,
    pub log: PathBuf,
}

impl Agents {
    /// Starts every agent on its machine.
    pub(super) fn start(world: &SharedWorld, show: &Show, commands: Vec<AgentCommand>) -> Self {
        let (stop, _) = watch::channel(false);
        let restarts = Arc::new(AtomicU32::new(0));
        let tasks = commands
            .into_iter()
            .map(|command| {
                let node = command.node.clone();
                let supervisor = Supervisor {
                    world: world.clone(),
                    show: show.clone(),
                    stop: stop.subscribe(),
                    restarts: restarts.clone(),
                    command,
                };
                (node, tokio::spawn(supervisor.run()))
            })
            .collect();
        Self { tasks, stop, restarts }
    }

    /// How often an agent ended unasked and was started again.
    pub(super) fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// An error when a supervisor gave up.
    pub(super) async fn check(&mut self) -> anyhow::Result<()> {
        let ended = self.tasks.iter().find(|(_, task)| task.is_finished()).map(|(node, _)| node.clone());
        let Some((node, task)) = ended.and_then(|node| self.tasks.remove_entry(&node)) else { return Ok(()) };
        task.await.with_context(|| format!("the supervisor of {node} broke"))?
    }

    /// Ends every agent.
    pub(super) async fn stop(mut self) {
        let _ = self.stop.send(true);
        for task in std::mem::take(&mut self.tasks).into_values() {
            let _ = task.await;
        }
    }
}

struct Supervisor {
    world: SharedWorld,
    show: Show,
    stop: watch::Receiver<bool>,
    restarts: Arc<AtomicU32>,
    command: AgentCommand,
}

/// Why an agent's process is no more.
enum End {
    Stopped,
    MachineDown,
    Exited(String),
}

impl Supervisor {
    async fn run(mut self) -> anyhow::Result<()> {
        let node = self.command.node.clone();
        for _ in 0..MAX_STARTS {
            let boots = self.boots()?;
            let mut process = Process::start(&self.command.arguments, &self.command.log)?;
            let pid = process.pid;
            self.show.event(Event::ProcessStarted { name: node.to_string(), pid });
            let end = self.watch(&mut process, boots).await?;
            process.kill().await;
            match end {
                End::Stopped => return Ok(()),
                End::MachineDown => {
                    self.show.event(Event::MachineDown {
                        node: node.to_string(),
                        reason: "rebooting (simulated); its agent went down with it".into(),
                    });
                    if !self.until_up().await? {
                        return Ok(());
                    }
                    let boot_id = self.world.now().machine(&node)?.boot_id.to_string();
                    self.show.event(Event::MachineUp { node: node.to_string(), boot_id });
                }
                End::Exited(reason) => {
                    self.restarts.fetch_add(1, Ordering::Relaxed);
                    self.show.event(Event::ProcessEnded { name: node.to_string(), pid, reason });
                    tokio::time::sleep(RESTART_AFTER).await;
                }
            }
        }
        anyhow::bail!(
            "the agent of {node} ended {MAX_STARTS} times, expected it to stay; see {}",
            self.command.log.display()
        )
    }

    async fn watch(&mut self, process: &mut Process, boots: u32) -> anyhow::Result<End> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let ended = tokio::select! {
                status = process.ended() => Some(status),
                _ = look.tick() => None,
                _ = self.stop.wait_for(|stop| *stop) => return Ok(End::Stopped),
            };
            match (ended, self.is_still_up(boots)?) {
                // An agent may notice the reboot before its supervisor does, and the machine may be back before that.
                (_, false) => return Ok(End::MachineDown),
                (Some(Ok(status)), true) => return Ok(End::Exited(status.to_string())),
                (Some(Err(e)), true) => return Ok(End::Exited(e.to_string())),
                (None, true) => {}
            }
        }
    }

    /// Waits for the machine. False: the demo is over first.
    async fn until_up(&mut self) -> anyhow::Result<bool> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        while !self.is_up()? {
            tokio::select! {
                _ = look.tick() => {}
                _ = self.stop.wait_for(|stop| *stop) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn boots(&self) -> anyhow::Result<u32> {
        Ok(self.world.now().machine(&self.command.node)?.boots)
    }

    /// Whether it is up and was not down since it had booted so often.
    fn is_still_up(&self, boots: u32) -> anyhow::Result<bool> {
        let world = self.world.now();
        let machine = world.machine(&self.command.node)?;
        Ok(machine.is_up() && machine.boots == boots)
    }

    fn is_up(&self) -> anyhow::Result<bool> {
        Ok(self.world.now().machine(&self.command.node)?.is_up())
    }
}

/// A process that says where it listens and is started again at the same place when it ends: the coordinator.
#[derive(Debug)]
pub(super) struct Supervised {
    task: JoinHandle<anyhow::Result<()>>,
    stop: Option<oneshot::Sender<()>>,
    restarts: Arc<AtomicU32>,
}

impl Supervised {
    /// Starts it with `first`, gives the first line that it writes, and keeps it running with `again(line)`.
    pub(super) async fn start(
        show: &Show,
        name: &'static str,
        log: PathBuf,
        first: Vec<String>,
        again: impl Fn(&str) -> anyhow::Result<Vec<String>> + Send + 'static,
    ) -> anyhow::Result<(Self, String)> {
        let mut process = Process::start(&first, &log)?;
        show.event(Event::ProcessStarted { name: name.into(), pid: process.pid });
        let line = first_line(&mut process, name, &log).await?;
        let arguments = again(&line)?;
        let (stop, mut stopped) = oneshot::channel();
        let restarts = Arc::new(AtomicU32::new(0));
        let (show, counted) = (show.clone(), restarts.clone());
        let task = tokio::spawn(async move {
            for _ in 0..MAX_STARTS {
                let status = tokio::select! {
                    status = process.ended() => status?,
                    _ = &mut stopped => {
                        process.kill().await;
                        return Ok(());
                    }
                };
                counted.fetch_add(1, Ordering::Relaxed);
                show.event(Event::ProcessEnded { name: name.into(), pid: process.pid, reason: status.to_string() });
                tokio::time::sleep(RESTART_AFTER).await;
                process = Process::start(&arguments, &log)?;
                show.event(Event::ProcessStarted { name: name.into(), pid: process.pid });
            }
            anyhow::bail!("the {name} ended {MAX_STARTS} times, expected it to stay; see {}", log.display())
        });
        Ok((Self { task, stop: Some(stop), restarts }, line))
    }

    /// How often it ended unasked and was started again.
    pub(super) fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Whether its supervisor gave up.
    pub(super) fn gave_up(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends it.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.task.await?
    }
}

/// The first line that a process writes: where it listens.
pub(super) async fn first_line(process: &mut Process, name: &str, log: &Path) -> anyhow::Result<String> {
    let line = tokio::time::timeout(Duration::from_secs(20), process.lines.next_line()).await;
    let line = line.with_context(|| format!("the {name} said nothing within 20 s; see {}", log.display()))??;
    line.with_context(|| format!("the {name} ended before it listened; see {}", log.display()))
}
