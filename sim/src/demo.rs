//! `hostler-demo`: a fleet from enrolment to upgrade, drain and a hostile coordinator in a minute, with nothing set up,
//! no root and no network.

mod admin_client;
mod audit;
mod children;
mod event;
mod fleet;
mod given_up;
mod hostile_coordinator;
mod processes;
mod rollout;
mod show;
mod story;

use std::{path::PathBuf, str::FromStr, time::Duration};

use anyhow::Context as _;
use fleet::DemoFleet;
use hostler_cli::ledger::new_folder;
use hostler_plan::id::NodeName;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

pub use children::{Child, run as run_child};
pub use event::{Counts, Event};
pub use show::{Output, Show};

/// What a person may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// The fleet file; the built-in one where none is named.
    pub fleet: Option<PathBuf>,
    /// What everything random of the simulated world comes from. Keys and digests are new every time.
    pub seed: u64,
    /// The node whose supply sags in the middle of the upgrade.
    pub undervoltage: Option<NodeName>,
    /// The node whose facts are those of a recorded machine, and that machine's folder.
    pub machine: Option<Machine>,
    /// Where every document is kept.
    pub out: Option<PathBuf>,
    pub fast: bool,
    pub output: Output,
}

/// `NODE=FOLDER`: a node, and the recorded machine that it has the facts of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub node: NodeName,
    pub folder: PathBuf,
}

impl FromStr for Machine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, folder) = text
            .split_once('=')
            .ok_or_else(|| format!("expected NODE=FOLDER, found {text:?}; e.g. pi-3=./recorded"))?;
        Ok(Self { node: node.parse().map_err(|error| format!("{error}"))?, folder: folder.into() })
    }
}

/// How long the demo's processes may take to end once their supervisors are told, and a look at it.
const ENDING: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Its processes are being ended by their supervisors. Until they are gone they still write, so the folder of the run
/// is removed until it stays so.
async fn interrupted(show: &Show, folder: TempDir) -> anyhow::Result<()> {
    show.close();
    let folder = folder.keep();
    for _ in 0..ENDING.as_millis() / LOOK_EVERY.as_millis() {
        // An error says that somebody wrote in between; the next look finds it again.
        let _ = std::fs::remove_dir_all(&folder);
        if !folder.exists() {
            anyhow::bail!("interrupted; nothing is left behind")
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    anyhow::bail!("interrupted; {} could not be removed", folder.display())
}

/// Plays the demo to its end; a fleet that it cannot play is refused before anything is made. The folder of the run is
/// removed, unless something went wrong: then its logs stay, and the error says where.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let demo = DemoFleet::read(options.fleet.as_deref(), options.undervoltage.as_ref())?;
    if let Some(Machine { node, folder }) = &options.machine {
        anyhow::ensure!(
            demo.fleet.node(node).is_some(),
            "expected a node {node} for --machine, found none in the fleet"
        );
        hostler_facts::Source::recorded(folder).context("expected the folder of a recorded machine for --machine")?;
    }
    if let Some(out) = &options.out {
        new_folder(out)?;
    }
    let show = Show::new(options.output, options.fast);
    let folder = story::folder_of_a_run()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let played = tokio::select! {
        played = story::play(options, demo, &show, folder.path()) => played,
        _ = tokio::signal::ctrl_c() => return interrupted(&show, folder).await,
        _ = terminate.recv() => return interrupted(&show, folder).await,
    };
    show.close();
    match played {
        Ok(counts) => {
            show.event(Event::DemoFinished(counts));
            Ok(())
        }
        Err(error) => {
            let kept = folder.keep();
            Err(error.context(format!("the demo went wrong; its logs are kept in {}", kept.display())))
        }
    }
}
