//! Whether a plan is whole in itself, so that nothing is left to be found out while it runs.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    document::{NodeObject, Plan, PlanKind, Roster, Target, Task},
    id::{Digest, NodeName, TaskId},
    refusal::{Refusal, Refused},
    step::{ClusterRole, MAX_CONSENTS, Step, update},
    trust::windows::check_windows,
};

/// Earlier plans that one plan may keep valid beside it. Plans side by side are a drain during a rollout; a fleet with
/// more than a dozen has lost its overview, and a node keeps the bytes of each.
pub const MAX_KEPT_VALID: usize = 15;

/// Step 12: whether the plan is whole in itself, so that nothing is left to be found out while it runs.
pub(super) fn check_shape(roster: &Roster, plan: &Plan) -> Result<(), Refused> {
    if plan.seq.0 == 0 {
        return malformed(plan, "expected a number of at least 1, found 0");
    }
    check_kept_valid(plan)?;
    check_closed(plan)?;
    check_continued(plan)?;
    if plan.kind == PlanKind::Stop {
        return check_stop(plan);
    }
    check_artifacts(plan)?;
    check_node_objects(plan)?;
    if plan.tasks.is_empty() {
        return malformed(plan, "expected at least one task, found none");
    }
    let names = Names {
        targets: plan.targets.iter().map(|t| (&t.node, t)).collect(),
        nodes: roster.nodes.iter().map(|n| &n.name).collect(),
    };
    let mut earlier: BTreeMap<&TaskId, &Task> = BTreeMap::new();
    for task in &plan.tasks {
        check_task(roster, plan, task, &names, &earlier)?;
        if earlier.insert(&task.id, task).is_some() {
            return malformed(plan, &format!("expected every task once, found {} again", task.id));
        }
    }
    check_windows(plan).or_else(|what| malformed(plan, &what))?;
    let at_work: BTreeSet<&NodeName> = plan.tasks.iter().map(|task| &task.node).collect();
    if let Some(idle) = plan.targets.iter().find(|t| !at_work.contains(&t.node)) {
        return malformed(plan, &format!("expected a task for every target, found none for {}", idle.node));
    }
    Ok(())
}

/// Who is named where, for the many questions about it.
struct Names<'a> {
    targets: BTreeMap<&'a NodeName, &'a Target>,
    /// Of the roster.
    nodes: BTreeSet<&'a NodeName>,
}

fn malformed<T>(plan: &Plan, reason: &str) -> Result<T, Refused> {
    Err(Refused::new(Refusal::Malformed, format!("plan {}: {reason}; make the plan again", plan.seq)))
}

/// A stop ends others and does nothing itself.
fn check_stop(plan: &Plan) -> Result<(), Refused> {
    let (tasks, targets, artifacts) = (plan.tasks.len(), plan.targets.len(), plan.artifacts.len());
    if tasks + targets + artifacts + plan.node_objects.len() == 0 && plan.windows.is_none() {
        return Ok(());
    }
    let found = format!("{tasks} tasks, {targets} targets and {artifacts} artifacts");
    malformed(plan, &format!("expected a stop to hold no task, target or artifact, found {found}"))
}

fn check_kept_valid(plan: &Plan) -> Result<(), Refused> {
    let count = plan.keeps_valid.len();
    if count > MAX_KEPT_VALID {
        return malformed(plan, &format!("expected at most {MAX_KEPT_VALID} plans beside it, found {count}"));
    }
    let mut seqs = BTreeSet::new();
    for other in &plan.keeps_valid {
        if other.seq >= plan.seq || !seqs.insert(other.seq) {
            return malformed(plan, &format!("expected earlier plans beside it, each once, found {}", other.seq));
        }
    }
    Ok(())
}

/// Ends of a fork that one document closes: two admins who were shown different states make one of two ends.
pub const MAX_CLOSED: usize = 8;

/// Whether a document names each end once, and no more of them.
pub(super) fn closes_well(prev: Option<Digest>, also: &[Digest]) -> bool {
    let ends: BTreeSet<Digest> = also.iter().copied().chain(prev).collect();
    also.len() <= MAX_CLOSED && ends.len() == also.len() + usize::from(prev.is_some())
}

fn check_closed(plan: &Plan) -> Result<(), Refused> {
    if closes_well(plan.prev, &plan.also) {
        return Ok(());
    }
    let found = plan.also.len();
    malformed(plan, &format!("expected at most {MAX_CLOSED} other ends of a fork, each once, found {found}"))
}

/// A plan goes on with what another one has to end for.
fn check_continued(plan: &Plan) -> Result<(), Refused> {
    let Some(continued) = plan.continues else { return Ok(()) };
    if plan.kind != PlanKind::Drain {
        return malformed(plan, &format!("expected only a drain to continue another plan, found kind {}", plan.kind));
    }
    if plan.keeps_valid.iter().any(|kept| kept.digest == continued) {
        return malformed(plan, "expected the plan that it continues to end, found it beside");
    }
    Ok(())
}

/// Every Node object is one subject's, whatever the cluster calls it.
fn check_node_objects(plan: &Plan) -> Result<(), Refused> {
    let subjects: BTreeSet<&NodeName> = plan.tasks.iter().map(|task| &task.subject).collect();
    let (mut nodes, mut objects, mut machines) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for NodeObject { node, name, machine_id } in &plan.node_objects {
        if !subjects.contains(node) || node == name {
            let found = format!("{node} as {name}");
            return malformed(plan, &format!("expected other names of the tasks' subjects, found {found}"));
        }
        if !(nodes.insert(node) && objects.insert(name) && machines.insert(machine_id)) {
            return malformed(plan, &format!("expected every node, Node object and machine once, found {name} again"));
        }
    }
    let taken = subjects.into_iter().filter(|node| !nodes.contains(node)).find(|node| objects.contains(node));
    taken.map_or(Ok(()), |node| {
        malformed(plan, &format!("expected {node} to be the Node of one subject, found it to be that of two"))
    })
}

fn check_artifacts(plan: &Plan) -> Result<(), Refused> {
    let mut names = BTreeSet::new();
    for artifact in &plan.artifacts {
        let name = &artifact.name;
        if !names.insert(name) {
            return malformed(plan, &format!("expected every artifact once, found {name} again"));
        }
        if artifact.size == 0 {
            return malformed(plan, &format!("expected artifact {name} to have more than 0 bytes, found 0"));
        }
        if !plan.tasks.iter().flat_map(|t| &t.steps).any(|s| s.artifact() == Some(name)) {
            return malformed(plan, &format!("expected a step that uses artifact {name}, found none"));
        }
    }
    Ok(())
}

fn check_task(
    roster: &Roster,
    plan: &Plan,
    task: &Task,
    names: &Names,
    earlier: &BTreeMap<&TaskId, &Task>,
) -> Result<(), Refused> {
    let id = &task.id;
    let Some(&target) = names.targets.get(&task.node) else {
        return malformed(plan, &format!("expected the node of task {id} among the targets, found {}", task.node));
    };
    if !names.nodes.contains(&task.subject) {
        let (subject, version) = (&task.subject, roster.version);
        return malformed(plan, &format!("expected the subject of task {id} in roster {version}, found {subject}"));
    }
    if task.steps.is_empty() {
        return malformed(plan, &format!("expected steps in task {id}, found none"));
    }
    let mut after = BTreeSet::new();
    for name in &task.after {
        if !earlier.contains_key(name) || !after.insert(name) {
            return malformed(
                plan,
                &format!("expected task {id} to come after earlier tasks, each once, found {name}"),
            );
        }
    }
    task.steps.iter().try_for_each(|step| check_step(plan, task, target, step))?;
    check_finishing(plan, task, earlier)?;
    let is_host = roster.active(&task.node).is_some_and(|node| node.role == ClusterRole::Host);
    for step in &task.steps {
        if is_host && step.admitted_by().is_some() {
            let node = &task.node;
            let what =
                format!("expected task {id} to leave {node} outside the cluster, as a host, found {}", step.op());
            return malformed(plan, &what);
        }
        if let Some(admitted_by) = step.admitted_by()
            && !earlier.get(admitted_by).is_some_and(|t| after.contains(&t.id) && t.subject == task.node)
        {
            let node = &task.node;
            let what = format!("expected task {id} to come after the task that admits {node}, found {admitted_by}");
            return malformed(plan, &what);
        }
        if let Some(expelled_by) = step.expelled_by()
            && !earlier.get(expelled_by).is_some_and(|t| after.contains(&t.id) && expels(t, &task.node))
        {
            let node = &task.node;
            let what = format!(
                "expected task {id} to come after the task by which another server removes {node} from the cluster, \
                 found {expelled_by}"
            );
            return malformed(plan, &what);
        }
    }
    Ok(())
}

/// Whether another node removes this one from the members of the cluster.
fn expels(task: &Task, node: &NodeName) -> bool {
    let expels = task.steps.iter().any(|step| matches!(step, Step::ExpelFromKubeadm(_)));
    expels && task.subject == *node && task.node != *node
}

/// What may begin after the plan ended only puts back into service what the plan took out of it, or brings a restore to
/// its end for which etcd stopped already.
fn check_finishing(plan: &Plan, task: &Task, earlier: &BTreeMap<&TaskId, &Task>) -> Result<(), Refused> {
    if !task.finishes {
        return Ok(());
    }
    let id = &task.id;
    if let Some(step) = task.steps.iter().find(|step| !step.puts_back() && !step.ends_restore()) {
        let op = step.op();
        let what = format!(
            "expected task {id}, which finishes, only to wait for health, to uncordon and to end a restore, found {op}"
        );
        return malformed(plan, &what);
    }
    let stops_etcd = |t: &Task| t.steps.iter().any(|step| matches!(step, Step::StopEtcd(_)));
    let may_be_out = |t: &Task| stops_etcd(t) || t.subject == task.subject && (t.disrupts || t.finishes);
    if !task.after.iter().filter_map(|name| earlier.get(name)).any(|t| may_be_out(t)) {
        let subject = &task.subject;
        let what = format!("expected task {id}, which finishes, to come after one that disrupts {subject}, found none");
        return malformed(plan, &what);
    }
    Ok(())
}

fn check_step(plan: &Plan, task: &Task, target: &Target, step: &Step) -> Result<(), Refused> {
    let (id, op, node) = (&task.id, step.op(), &task.node);
    if !plan.kind.may_hold(step) {
        let (seq, kind) = (plan.seq, plan.kind);
        return Err(Refused::new(
            Refusal::NotAllowed,
            format!(
                "plan {seq}: expected only steps that belong in a plan of kind {kind}, found {op} in task {id}; make \
                    a plan of the kind that fits"
            ),
        ));
    }
    if task.subject != *node && !step.acts_on_subject() {
        let subject = &task.subject;
        let what = format!("expected {op} in task {id} to be about {node}, where it acts, found it about {subject}");
        return malformed(plan, &what);
    }
    if let Step::Drain(drain) = step
        && (drain.consents.len() > MAX_CONSENTS || !drain.consents.is_sorted_by(|one, next| one < next))
    {
        let found = drain.consents.len();
        let what =
            format!("expected at most {MAX_CONSENTS} consents in task {id}, each once and in order, found {found}");
        return malformed(plan, &what);
    }
    if let Step::InstallUpdates(install) = step {
        check_packages(plan, task, install)?;
    }
    let Some(name) = step.artifact() else { return Ok(()) };
    let Some(artifact) = plan.artifact(name) else {
        return malformed(plan, &format!("expected artifact {name} of task {id} in the plan, found it is not"));
    };
    match artifact.arch {
        Some(found) if found != target.arch => {
            let expected = target.arch;
            let what = format!("expected artifact {name} for {expected}, the processor of {node}, found {found}");
            malformed(plan, &what)
        }
        _ => Ok(()),
    }
}

/// Every package of an update is in the plan by its content, and once.
fn check_packages(plan: &Plan, task: &Task, install: &update::Install) -> Result<(), Refused> {
    let id = &task.id;
    let mut seen = BTreeSet::new();
    for package in &install.packages {
        let name = &package.artifact;
        if plan.artifact(name).is_none() {
            return malformed(plan, &format!("expected artifact {name} of task {id} in the plan, found it is not"));
        }
        if !seen.insert((&package.package, &package.arch)) {
            let found = &package.package;
            return malformed(plan, &format!("expected every package of task {id} once, found {found} again"));
        }
    }
    Ok(())
}
