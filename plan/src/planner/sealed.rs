//! What machines ask registries with, sealed to each: it travels beside the plan, which names it by its digest.

use std::collections::BTreeSet;

use super::{Draft, Obstacle, Request};
use crate::{
    id::{ArtifactName, Digest, NodeName},
    step::Step,
};

/// The longest name of a node that stands in an artifact's whole.
const MAX_WHOLE: usize = 40;

/// How a node's sealed credentials are called in plans.
pub fn artifact_name(node: &NodeName) -> ArtifactName {
    let name = match node.as_str() {
        short if short.len() <= MAX_WHOLE => short.to_owned(),
        long => Digest::of(long.as_bytes()).hex()[..MAX_WHOLE].to_owned(),
    };
    ArtifactName::new(format!("registry-credentials.{name}")).expect("a node's name is one of an artifact too")
}

/// Puts what the tasks open into the plan.
pub(super) fn carry(request: Request<'_>, draft: &mut Draft) {
    let opens = |step: &Step| matches!(step, Step::EnsureRegistry(_));
    let nodes = draft.tasks.iter().filter(|task| task.steps.iter().any(opens)).map(|task| task.node.clone());
    // Who is in no roster has no key; that is told by others.
    for node in nodes.filter(|node| request.roster.active(node).is_some()).collect::<BTreeSet<_>>() {
        match request.fleet.sealed.get(&node) {
            Some(sealed) => drop(draft.artifacts.insert(sealed.name.clone(), sealed.clone())),
            None => draft.obstacles.push(Obstacle::NotSealed(node)),
        }
    }
}
