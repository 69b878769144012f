//! Nodes that the cluster knows under another name than the fleet: which Node object a plan means, and how that is
//! proved. The name is the coordinator's word; the machine is the one that the roster's own enrolment names, and who
//! performs a step on the cluster looks whether the Node object is on it.

use std::collections::BTreeSet;

use crate::{
    document::{Enrolment, NodeObject},
    id::{Digest, MachineId, NodeName},
    json,
};

use super::{Draft, InventoryNode, Note, Obstacle, Request};

/// What stands in the way where several Node objects may be the node's.
pub(super) fn ambiguous(node: &NodeName, state: &InventoryNode) -> Option<Obstacle> {
    let names = &state.condition.other_names;
    (names.len() > 1).then(|| Obstacle::Ambiguous { node: node.clone(), names: names.clone() })
}

/// Writes down which Node object each subject is that steps on the cluster act on.
pub(super) fn name(request: Request<'_>, draft: &mut Draft) {
    let acts = draft.tasks.iter().filter(|task| task.steps.iter().any(|step| step.acts_on_subject()));
    let subjects: BTreeSet<NodeName> = acts.map(|task| task.subject.clone()).collect();
    for node in subjects {
        let state = request.state(&node);
        let [name] = state.condition.other_names.as_slice() else { continue };
        match machine(request, &node, state) {
            Some(machine_id) => {
                draft
                    .notes
                    .push(Note::Info(format!("{node} is the Node {name} of the cluster, on machine {machine_id}")));
                draft.node_objects.push(NodeObject { node, name: name.clone(), machine_id });
            }
            None => draft.obstacles.push(Obstacle::MachineUnproved { node, name: name.clone() }),
        }
    }
}

/// The machine that enrolled as that node, by the enrolment whose digest the roster has.
fn machine(request: Request<'_>, node: &NodeName, state: &InventoryNode) -> Option<MachineId> {
    let enrolled = request.roster.active(node)?.enrolled.enrolment;
    let bytes = Some(&state.enrolment).filter(|bytes| Digest::of(bytes) == enrolled)?;
    MachineId::new(json::parse::<Enrolment>(bytes).ok()?.hardware.machine_id).ok()
}
