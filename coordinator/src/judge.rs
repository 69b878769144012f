//! The judges of the nodes: verdicts over the facts that arrive, with the thresholds of the fleet file.

use std::collections::BTreeMap;

use hostler_plan::{
    fact::Reading,
    fleet::Fleet,
    health::{Health, Level, Thresholds, Verdict, worst},
    id::NodeName,
    sequencer,
    timestamp::Timestamp,
};

/// A judge for every node that reported.
#[derive(Debug, Default)]
pub struct Judges {
    judges: BTreeMap<NodeName, Health>,
    /// Of the fleet file; a node that is not here has the usual ones.
    thresholds: BTreeMap<NodeName, Thresholds>,
}

impl Judges {
    /// Judges a reading that arrived now, and says how the node is.
    pub fn observe(&mut self, node: &NodeName, at: Timestamp, reading: &Reading) -> sequencer::Health {
        let thresholds = || self.thresholds.get(node).cloned().unwrap_or_default();
        let judge = self.judges.entry(node.clone()).or_insert_with(|| Health::new(thresholds()));
        overall(&judge.observe(at.unix_milliseconds(), reading))
    }

    /// The verdicts as of now; a node that fell silent has one that says so. Empty for a node that never reported.
    pub fn verdicts(&self, node: &NodeName, now: Timestamp) -> Vec<Verdict> {
        self.judges.get(node).map(|j| j.verdicts(now.unix_milliseconds())).unwrap_or_default()
    }

    /// Takes the thresholds of a fleet file. A file or a table that cannot be read says why and leaves those of before.
    pub fn set_fleet_file(&mut self, content: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(content).map_err(|e| e.to_string())?;
        let (fleet, _) = Fleet::from_toml(&[("fleet.toml", text)]).map_err(|e| e.to_string())?;
        let mut all = BTreeMap::new();
        for node in &fleet.nodes {
            let group = node.group.as_ref().and_then(|g| fleet.groups.get(g));
            if let Some(table) = group.and_then(|g| g.health.as_ref()) {
                all.insert(node.name.clone(), Thresholds::from_table(table).map_err(|e| e.to_string())?);
            }
        }
        self.thresholds = all;
        for (node, judge) in &mut self.judges {
            judge.set_thresholds(self.thresholds.get(node).cloned().unwrap_or_default());
        }
        Ok(())
    }
}

/// What the sequencer asks about a node.
pub fn overall(verdicts: &[Verdict]) -> sequencer::Health {
    match worst(verdicts) {
        Level::Ok => sequencer::Health::Ok,
        Level::Degraded => sequencer::Health::Degraded,
        Level::Critical => sequencer::Health::Critical,
        Level::Unknown => sequencer::Health::Unknown,
    }
}

/// The word for people and metrics.
pub fn word(health: sequencer::Health) -> &'static str {
    match health {
        sequencer::Health::Ok => "ok",
        sequencer::Health::Degraded => "degraded",
        sequencer::Health::Critical => "critical",
        sequencer::Health::Unknown => "unknown",
    }
}
