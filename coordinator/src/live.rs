//! What nodes report right now. It is lost at a restart and learned again within one report.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hostler_plan::{
    fact::Reading,
    id::{BootId, NodeName},
    timestamp::Timestamp,
};

/// The nodes that were heard since the start.
#[derive(Debug, Default)]
pub struct Live {
    nodes: Mutex<BTreeMap<NodeName, Heard>>,
}

/// The newest of what one node said.
#[derive(Debug, Clone)]
pub struct Heard {
    pub connected: bool,
    pub agent_version: String,
    pub boot_id: BootId,
    /// The newest whole reading of the present or last stream.
    pub reading: Option<Arc<Reading>>,
    /// When that reading arrived, by the coordinator's clock; a node's clock may be wrong.
    pub received: Option<Timestamp>,
}

impl Live {
    /// A node opened its stream.
    pub fn connected(&self, node: &NodeName, agent_version: &str, boot_id: BootId) {
        let mut nodes = self.lock();
        let before = nodes.remove(node);
        let (reading, received) = before.map_or((None, None), |b| (b.reading, b.received));
        let agent_version = agent_version.to_owned();
        nodes.insert(node.clone(), Heard { connected: true, agent_version, boot_id, reading, received });
    }

    /// A node's stream ended.
    pub fn disconnected(&self, node: &NodeName) {
        if let Some(heard) = self.lock().get_mut(node) {
            heard.connected = false;
        }
    }

    /// A node reported its facts.
    pub fn reported(&self, node: &NodeName, reading: Arc<Reading>, at: Timestamp) {
        if let Some(heard) = self.lock().get_mut(node) {
            heard.reading = Some(reading);
            heard.received = Some(at);
        }
    }

    /// What is known of one node.
    pub fn get(&self, node: &NodeName) -> Option<Heard> {
        self.lock().get(node).cloned()
    }

    /// Every node that was heard, by name.
    pub fn all(&self) -> BTreeMap<NodeName, Heard> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeName, Heard>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
