//! `[snapshots]`: how many snapshots of etcd are kept, how long, and where besides the coordinator.

use serde::Deserialize;
use toml::Spanned;

use super::problem::{At, Found};
use crate::form::{FilePath, SNAPSHOT_DAYS, SNAPSHOTS_KEPT};

/// What becomes of snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshots {
    /// How many stay in each place.
    pub keep: u32,
    /// Older ones go, but for the newest.
    pub days: u32,
    /// Folders of the server that get a sealed copy each.
    pub to: Vec<FilePath>,
}

impl Default for Snapshots {
    fn default() -> Self {
        // One a day for a week; whoever upgrades once a month finds the last ones still there.
        Self { keep: 7, days: 60, to: Vec::new() }
    }
}

/// As a file writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SnapshotsFragment {
    keep: Option<Spanned<i64>>,
    days: Option<Spanned<i64>>,
    #[serde(default)]
    to: Vec<Spanned<String>>,
}

pub(super) fn snapshots(found: &mut Found, written: Option<&At<SnapshotsFragment>>) -> Snapshots {
    let default = Snapshots::default();
    let Some(At { value, location }) = written else { return default };
    let mut number = |name: &str, written: &Option<Spanned<i64>>, (least, most): (u64, u64), default: u32| {
        let Some(written) = written.as_ref().map(|w| *w.get_ref()) else { return default };
        let fits = u32::try_from(written).ok().filter(|n| (least..=most).contains(&u64::from(*n)));
        if fits.is_none() {
            let message = format!("[snapshots] {name}: expected {least} to {most}, found {written}; change it");
            found.error(location, message);
        }
        fits.unwrap_or(default)
    };
    let keep = number("keep", &value.keep, SNAPSHOTS_KEPT, default.keep);
    let days = number("days", &value.days, SNAPSHOT_DAYS, default.days);
    let mut to: Vec<FilePath> = Vec::new();
    for folder in value.to.iter().map(Spanned::get_ref) {
        match folder.parse() {
            Ok(folder) if to.contains(&folder) => {
                found.error(location, format!("[snapshots] to: expected every folder once, found {folder:?} again"));
            }
            Ok(folder) => to.push(folder),
            Err(error) => found.error(location, format!("[snapshots] to: {error}; write another folder")),
        }
    }
    Snapshots { keep, days, to }
}
