//! What nodes report right now, and what is remembered of it. A report is taken here alone: it goes into the history,
//! is evaluated, and what it means for rollouts is told to those who decide.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hostler_plan::{
    fact::{Added, Reading, SeriesPool},
    health::{Verdict, Vitals},
    id::{BootId, NodeName},
    timestamp::Timestamp,
};

use super::{
    health::HealthEvaluators,
    history::{Completed, History, Line},
    served::fit,
};
use crate::{
    clock::{ClockReading, now},
    control::Stopping,
    control_loop::ControlHandle,
    store::index::{Index, Kept, Write},
};

/// A node's last facts, and what its health remembers, are kept after every so many chunks of history: an hour's.
/// Keeping 24 KiB more often would wear out an SD card for nothing.
const CHUNKS_PER_KEPT_FACTS: u64 = 6;

/// The nodes that reported, now or before a restart.
#[derive(Debug)]
pub(crate) struct NodeReports {
    seen: Mutex<Seen>,
    pool: Mutex<SeriesPool>,
    control: ControlHandle,
    index: Arc<Index>,
}

#[derive(Debug, Default)]
struct Seen {
    nodes: BTreeMap<NodeName, NodeReport>,
    history: History,
    evaluators: HealthEvaluators,
}

/// The newest of what one node said.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeReport {
    pub connected: bool,
    pub agent_version: String,
    pub boot_id: Option<BootId>,
    /// The newest whole reading of the present or last stream.
    pub reading: Option<Arc<Reading>>,
    /// What `/metrics` serves of it.
    pub served: Option<Arc<Reading>>,
    /// Series that were not served, summed over the reports.
    pub dropped: u64,
    /// What its facts mean, as of when this was asked; the worst first.
    pub verdicts: Vec<Verdict>,
    /// When that reading arrived, by the coordinator's clocks; a node's clock may be wrong.
    pub received: Option<ClockReading>,
}

impl NodeReports {
    /// With what was kept before this start.
    pub(crate) fn new(control: ControlHandle, index: Arc<Index>, kept: Kept, at: Timestamp) -> Self {
        let mut seen = Seen::default();
        for (node, chunk) in kept.chunks {
            seen.history.restore(&node, chunk, at);
        }
        for (node, remembered) in kept.memories {
            seen.evaluators.restore(node, &remembered, ClockReading { wall: at, ..ClockReading::now() });
        }
        for (node, received, reading) in kept.facts {
            // A time ahead of the clock is from another clock and says nothing.
            let now = ClockReading { wall: at, ..ClockReading::now() };
            let received = (received <= at).then(|| now.before(at.since(received)));
            let report = NodeReport { reading: Some(Arc::new(reading)), received, ..NodeReport::default() };
            seen.nodes.insert(node, report);
        }
        Self { seen: Mutex::new(seen), pool: Mutex::new(SeriesPool::new()), control, index }
    }

    /// A node opened its stream.
    pub(crate) fn connected(&self, node: &NodeName, agent_version: &str, boot_id: BootId) {
        let mut seen = self.lock();
        let report = seen.nodes.entry(node.clone()).or_default();
        report.connected = true;
        report.agent_version = agent_version.to_owned();
        report.boot_id = Some(boot_id);
    }

    /// A node's stream ended.
    pub(crate) fn disconnected(&self, node: &NodeName) {
        if let Some(report) = self.lock().nodes.get_mut(node) {
            report.connected = false;
        }
    }

    /// Lets these series share their text with those of other nodes.
    pub(crate) fn share_series(&self, added: &mut [Added]) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        added.iter_mut().for_each(|added| pool.share(&mut added.series));
    }

    /// Takes the facts that a node reported.
    pub(crate) async fn take(&self, node: &NodeName, reading: Arc<Reading>) -> Result<(), Stopping> {
        let vitals = self.keep(node, reading, ClockReading { wall: now(), ..ClockReading::now() });
        let node = node.clone();
        self.control.ask(move |control, now| control.health(now, node, vitals)).await
    }

    fn keep(&self, node: &NodeName, reading: Arc<Reading>, at: ClockReading) -> Vitals {
        let (served, dropped) = match fit(&reading) {
            None => (reading.clone(), 0),
            Some((served, dropped)) => (Arc::new(served), dropped),
        };
        let mut seen = self.lock();
        let completed = seen.history.add(node, at.wall, &reading);
        let members = self.control.members();
        let vitals = seen.evaluators.observe(node, at, &reading, members.decisions_about(node));
        let hour = completed.as_ref().is_some_and(|one| one.chunk.number % CHUNKS_PER_KEPT_FACTS == 0);
        let news = seen.evaluators.news(node, at);
        let news = if hour { seen.evaluators.remembered(node, at) } else { news };
        if let Some(report) = seen.nodes.get_mut(node) {
            report.reading = Some(reading.clone());
            report.served = Some(served);
            report.dropped += dropped;
            report.received = Some(at);
        }
        drop(seen);
        if let Some(remembered) = news {
            self.index.keep(Write::Memory(node.clone(), Box::new(remembered)));
        }
        if let Some(completed) = completed {
            if hour {
                self.index.keep(Write::Facts(node.clone(), at.wall, Box::new(Reading::clone(&reading))));
            }
            self.index.keep(Write::Chunk(node.clone(), Box::new(completed)));
        }
        vitals
    }

    /// Evaluates by the thresholds of this fleet file from now on.
    pub(crate) fn set_fleet_file(&self, content: &[u8]) -> Result<(), String> {
        self.lock().evaluators.set_fleet_file(content)
    }

    /// What is known of one node.
    pub(crate) fn get(&self, node: &NodeName) -> Option<NodeReport> {
        let seen = self.lock();
        let report = seen.nodes.get(node)?.clone();
        Some(NodeReport { verdicts: seen.evaluators.verdicts(node, ClockReading::now()), ..report })
    }

    /// Every node that reported, by name.
    pub(crate) fn all(&self) -> BTreeMap<NodeName, NodeReport> {
        let (seen, now) = (self.lock(), ClockReading::now());
        let with_verdicts = |(node, report): (&NodeName, &NodeReport)| {
            (node.clone(), NodeReport { verdicts: seen.evaluators.verdicts(node, now), ..report.clone() })
        };
        seen.nodes.iter().map(with_verdicts).collect()
    }

    /// The last two days of a node.
    pub(crate) fn history(&self, node: &NodeName) -> Vec<Line> {
        self.lock().history.lines(node)
    }

    /// Keeps what is not kept yet, before a stop.
    pub(crate) fn keep_all(&self) {
        let (seen, now) = (self.lock(), ClockReading::now());
        for (node, chunk) in seen.history.unfinished() {
            let completed = Completed { chunk: chunk.clone(), forgotten: Vec::new() };
            self.index.keep(Write::Chunk(node.clone(), Box::new(completed)));
        }
        for (node, report) in &seen.nodes {
            if let Some(remembered) = seen.evaluators.remembered(node, now) {
                self.index.keep(Write::Memory(node.clone(), Box::new(remembered)));
            }
            if let (Some(reading), Some(at)) = (&report.reading, report.received) {
                self.index.keep(Write::Facts(node.clone(), now.wall_of(at), Box::new(Reading::clone(reading))));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
