//! The network between the nodes and the coordinator: it loses, delays and doubles messages, and connections break.

use hostler_plan::{
    health::Vitals,
    sequencer::{ClusterNode, NodeEvent},
};

use super::{
    coordinator::timestamp,
    machine::{Ended, TaskKey},
    run::{Event, World},
};

#[derive(Debug, Clone)]
pub(super) enum ToNode {
    Grant { key: TaskKey, grant: u64 },
    Acknowledged { key: TaskKey },
}

#[derive(Debug, Clone)]
pub(super) enum FromNode {
    Receipt { key: TaskKey, ended: Ended },
    Renew { key: TaskKey, grant: u64, boot: u64 },
    Readings(Vec<ClusterNode>),
    Health(Vitals),
}

impl World {
    fn send(&mut self, make: impl Fn() -> Event) {
        let (lost, doubled, slowest) = (self.profile.lost, self.profile.doubled, self.profile.slowest);
        if !self.random.chance(lost) {
            self.after(1, slowest, make());
        }
        if self.random.chance(doubled) {
            self.after(1, slowest, make());
        }
    }

    pub(super) fn send_to_node(&mut self, node: usize, message: &ToNode) {
        if let Some(connection) = self.coordinator.connections[node] {
            self.send(|| Event::ToNode { node, connection, message: message.clone() });
        }
    }

    pub(super) fn send_to_coordinator(&mut self, node: usize, message: &FromNode) {
        if let Some(connection) = self.machines[node].connection {
            self.send(|| Event::ToCoordinator { node, connection, message: message.clone() });
        }
    }

    pub(super) fn connect(&mut self, node: usize) -> Result<(), String> {
        self.connections += 1;
        self.machines[node].connection = Some(self.connections);
        self.coordinator.connections[node] = Some(self.connections);
        let machine = &self.machines[node];
        self.invariants.connected(&machine.name, machine.boot);
        let event = NodeEvent::NodeConnected { node: machine.name.clone(), boot_id: machine.boot_id() };
        self.coordinator.sequencer.observe(timestamp(self.now), event);
        self.tell_grants(node);
        self.decide()
    }

    pub(super) fn disconnect(&mut self, node: usize) {
        if let Some(connection) = self.machines[node].connection.take() {
            self.after(500, 15_000, Event::BreakSeen { node, connection });
        }
    }

    pub(super) fn break_seen(&mut self, node: usize, connection: u64) -> Result<(), String> {
        if self.coordinator.up && self.coordinator.connections[node] == Some(connection) {
            self.coordinator.connections[node] = None;
            let name = self.machines[node].name.clone();
            self.coordinator.sequencer.observe(timestamp(self.now), NodeEvent::NodeDisconnected { node: name });
            return self.decide();
        }
        Ok(())
    }
}
