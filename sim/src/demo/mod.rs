//! `hostler-demo`: a fleet's whole life in a minute, with nothing set up, no root and no network.

mod audit;
mod children;
mod desk;
mod event;
mod fleet;
mod life;
mod processes;
mod rewired;
mod roll;
mod show;

use std::path::PathBuf;

use hostler_plan::id::NodeName;
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
    /// Where every document is kept.
    pub out: Option<PathBuf>,
    pub fast: bool,
    pub output: Output,
}

/// Its processes end with this one, and the folder of the run is removed.
fn interrupted(show: &Show) -> anyhow::Result<()> {
    show.close();
    anyhow::bail!("interrupted; nothing is left behind")
}

/// Plays the demo to its end. The folder of the run is removed, unless something went wrong: then its logs stay, and
/// the error says where.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let show = Show::new(options.output, options.fast);
    let folder = life::folder_of_a_run()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let played = tokio::select! {
        played = life::play(options, &show, folder.path()) => played,
        _ = tokio::signal::ctrl_c() => return interrupted(&show),
        _ = terminate.recv() => return interrupted(&show),
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
