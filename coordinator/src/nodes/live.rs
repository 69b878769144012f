//! What nodes report right now, and what is remembered of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hostler_plan::{
    fact::Reading,
    health::{Verdict, Vitals},
    id::{BootId, NodeName},
    timestamp::Timestamp,
};

use crate::{
    clock::Moment,
    metrics::fit,
    nodes::history::{Completed, History, Line},
    nodes::judge::Judges,
    store::index::{Index, Kept, Write},
};

/// A node's last facts are kept after every so many chunks of history: an hour's. Keeping 24 KiB more often would wear
/// out an SD card for nothing.
const CHUNKS_PER_KEPT_FACTS: u64 = 6;

/// The nodes that were heard, now or before a restart.
#[derive(Debug)]
pub struct Live {
    seen: Mutex<Seen>,
    index: Arc<Index>,
}

#[derive(Debug, Default)]
struct Seen {
    nodes: BTreeMap<NodeName, Heard>,
    history: History,
    judges: Judges,
}

/// The newest of what one node said.
#[derive(Debug, Clone, Default)]
pub struct Heard {
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
    pub received: Option<Moment>,
}

impl Live {
    /// With what was kept before this start.
    pub fn new(index: Arc<Index>, kept: Kept, at: Timestamp) -> Self {
        let mut seen = Seen::default();
        for (node, chunk) in kept.chunks {
            seen.history.restore(&node, chunk, at);
        }
        for (node, received, reading) in kept.facts {
            // A time ahead of the clock is from another clock and says nothing.
            let now = Moment { wall: at, ..Moment::now() };
            let received = (received <= at).then(|| now.before(at.since(received)));
            let heard = Heard { reading: Some(Arc::new(reading)), received, ..Heard::default() };
            seen.nodes.insert(node, heard);
        }
        Self { seen: Mutex::new(seen), index }
    }

    /// A node opened its stream.
    pub fn connected(&self, node: &NodeName, agent_version: &str, boot_id: BootId) {
        let mut seen = self.lock();
        let heard = seen.nodes.entry(node.clone()).or_default();
        heard.connected = true;
        heard.agent_version = agent_version.to_owned();
        heard.boot_id = Some(boot_id);
    }

    /// A node's stream ended.
    pub fn disconnected(&self, node: &NodeName) {
        if let Some(heard) = self.lock().nodes.get_mut(node) {
            heard.connected = false;
        }
    }

    /// A node reported its facts. Gives what they mean for a rollout.
    pub fn reported(&self, node: &NodeName, reading: Reading, at: Timestamp) -> Vitals {
        let reading = Arc::new(reading);
        let (served, dropped) = match fit(&reading) {
            None => (reading.clone(), 0),
            Some((served, dropped)) => (Arc::new(served), dropped),
        };
        let mut seen = self.lock();
        let moment = Moment { wall: at, ..Moment::now() };
        let completed = seen.history.add(node, at, &reading);
        let vitals = seen.judges.observe(node, moment, &reading);
        if let Some(heard) = seen.nodes.get_mut(node) {
            heard.reading = Some(reading.clone());
            heard.served = Some(served);
            heard.dropped += dropped;
            heard.received = Some(moment);
        }
        drop(seen);
        if let Some(completed) = completed {
            if completed.chunk.number % CHUNKS_PER_KEPT_FACTS == 0 {
                self.index.keep(Write::Facts(node.clone(), at, Box::new(Reading::clone(&reading))));
            }
            self.index.keep(Write::Chunk(node.clone(), Box::new(completed)));
        }
        vitals
    }

    /// Judges by the thresholds of this fleet file from now on.
    pub fn set_fleet_file(&self, content: &[u8]) -> Result<(), String> {
        self.lock().judges.set_fleet_file(content)
    }

    /// What is known of one node.
    pub fn get(&self, node: &NodeName) -> Option<Heard> {
        let seen = self.lock();
        let heard = seen.nodes.get(node)?.clone();
        Some(Heard { verdicts: seen.judges.verdicts(node, Moment::now()), ..heard })
    }

    /// Every node that was heard, by name.
    pub fn all(&self) -> BTreeMap<NodeName, Heard> {
        let (seen, now) = (self.lock(), Moment::now());
        let judged = |(node, heard): (&NodeName, &Heard)| {
            (node.clone(), Heard { verdicts: seen.judges.verdicts(node, now), ..heard.clone() })
        };
        seen.nodes.iter().map(judged).collect()
    }

    /// The last two days of a node.
    pub fn history(&self, node: &NodeName) -> Vec<Line> {
        self.lock().history.lines(node)
    }

    /// Keeps what is not kept yet, before a stop.
    pub fn keep_all(&self) {
        let (seen, now) = (self.lock(), Moment::now());
        for (node, chunk) in seen.history.unfinished() {
            let completed = Completed { chunk: chunk.clone(), forgotten: Vec::new() };
            self.index.keep(Write::Chunk(node.clone(), Box::new(completed)));
        }
        for (node, heard) in &seen.nodes {
            if let (Some(reading), Some(at)) = (&heard.reading, heard.received) {
                self.index.keep(Write::Facts(node.clone(), now.wall_of(at), Box::new(Reading::clone(reading))));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
