//! What tasks are made of, the same in every plan.

use crate::{
    document::{Artifact, Task},
    fleet::{FleetArtifact, FleetNode, FleetPolicy},
    form::Reason,
    id::{NodeName, TaskId},
    step::{AwaitReady, Cordon, Drain, StageArtifact, Step},
    text::count,
    version::Version,
};

use super::{
    Draft, Obstacle, Phase, PhaseName, Request,
    distribution::{Becomes, Lifecycle, Member},
};

pub(super) fn task_id(node: &NodeName, what: &str) -> TaskId {
    TaskId::of(node.clone(), what).expect("the planner's words are operations")
}

pub(super) fn task(what: &str, node: &NodeName, subject: &NodeName, after: Vec<TaskId>, steps: Vec<Step>) -> Task {
    Task {
        id: task_id(subject, what),
        node: node.clone(),
        subject: subject.clone(),
        after,
        disrupts: false,
        finishes: false,
        steps,
    }
}

pub(super) fn disrupting(task: Task) -> Task {
    Task { disrupts: true, ..task }
}

/// One that puts back what the tasks before it took out of service, even when the plan has ended meanwhile.
pub(super) fn finishing(task: Task) -> Task {
    Task { finishes: true, ..task }
}

pub(super) fn await_ready(policy: &FleetPolicy, version: Option<Version>) -> Step {
    Step::AwaitReady(AwaitReady {
        version,
        for_seconds: policy.soak_seconds,
        timeout_seconds: policy.ready_timeout_seconds.saturating_add(policy.soak_seconds),
    })
}

pub(super) fn drain_steps(request: Request<'_>, reason: String) -> Vec<Step> {
    let policy = &request.fleet.policy;
    vec![
        Step::Cordon(Cordon {
            reason: Reason::new(format!("{reason}, plan {}", request.numbering.seq))
                .expect("the planner's own words and a number are a sentence"),
        }),
        Step::Drain(Drain {
            timeout_seconds: policy.drain_timeout_seconds,
            delete_empty_dir_data: policy.delete_empty_dir_data,
            force_unmanaged: policy.force_unmanaged,
            // A person's for this plan alone, written into it once it stands.
            evict_anyway: Vec::new(),
            consents: Vec::new(),
            reactions: policy.reactions,
        }),
    ]
}

/// The node as a member of that version, with all that it needs for that in the plan.
pub(super) fn member<'a>(
    request: Request<'a>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    node: &'a FleetNode,
    (version, becomes): (Version, Becomes),
) -> Option<Member<'a>> {
    let found = lifecycle.artifacts(request.fleet, node, version);
    let inside = becomes == Becomes::Newer;
    let member = found.map(|artifacts| Member { fleet: request.fleet, node, version, artifacts, inside });
    let judged = member.and_then(|member| match lifecycle.hinders(&member, becomes) {
        nothing if nothing.is_empty() => Ok(member),
        obstacles => Err(obstacles),
    });
    match judged {
        Ok(member) => {
            carry(draft, &member.artifacts);
            Some(member)
        }
        Err(obstacles) => {
            let new: Vec<Obstacle> = obstacles.into_iter().filter(|o| !draft.obstacles.contains(o)).collect();
            draft.obstacles.extend(new);
            None
        }
    }
}

/// Puts artifacts into the plan.
pub(super) fn carry(draft: &mut Draft, artifacts: &[&FleetArtifact]) {
    for found in artifacts {
        let name = found.plan_name();
        let artifact = Artifact { name: name.clone(), sha256: found.sha256, size: found.size, arch: found.arch };
        draft.artifacts.insert(name, artifact);
    }
}

/// The task that fetches artifacts; none where there are none.
pub(super) fn stage(node: &NodeName, artifacts: &[&FleetArtifact]) -> Option<Task> {
    let fetch = |a: &&FleetArtifact| Step::StageArtifact(StageArtifact { artifact: a.plan_name() });
    let steps: Vec<Step> = artifacts.iter().map(fetch).collect();
    (!steps.is_empty()).then(|| task("stage", node, node, Vec::new(), steps))
}

/// The task that makes a machine ready; none where nothing is asked of it.
pub(super) fn prepare(node: &NodeName, after: Vec<TaskId>, steps: Vec<Step>) -> Option<Task> {
    (!steps.is_empty()).then(|| task("prepare", node, node, after, steps))
}

pub(super) fn observer(request: Request<'_>, draft: &mut Draft, subject: &NodeName) -> Option<NodeName> {
    let observer = request.observer(subject);
    if observer.is_none() && !draft.obstacles.contains(&Obstacle::NoServer {}) {
        draft.obstacles.push(Obstacle::NoServer {});
    }
    observer
}

pub(super) fn together(draft: &mut Draft, nodes: Vec<NodeName>) {
    if !nodes.is_empty() {
        draft.phases.push(Phase { name: PhaseName::Together, at_once: nodes.len(), nodes });
    }
}

/// The names, or how many there are when nobody would read them.
pub(super) fn list(nodes: &[NodeName]) -> String {
    if nodes.len() > 5 {
        return count(nodes.len(), "node");
    }
    nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}
