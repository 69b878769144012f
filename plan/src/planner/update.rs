//! Plans that read what waits to be updated on machines, and plans that install exactly that.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    document::{Artifact, Task},
    fleet::FleetNode,
    form::PackageVersion,
    id::{Arch, ArtifactName, Digest, NodeName, TaskId},
    sequencer::Standing,
    step::{ClusterRole, Noop, Reboot, StageArtifact, Step, Uncordon, update},
    text::count,
    update::{Pending, PendingPackage, WhyLeft, goes_with_own_plan},
};

use super::{
    Draft, Note, Obstacle, Request, Selection, UpdateObstacle,
    caution::{Taken, coordinator_out, note_health, note_unavailable, servers_out},
    order::{phases, predecessors},
    select::{critical, performs, resolve, workable_of},
    task::{await_ready, disrupting, drain_steps, finishing, list, observer, task, task_id, together},
};

/// Files that one task fetches: each has a line in the task's receipt.
const STAGED_TOGETHER: usize = 100;

/// Each machine says what waits on it: all at the same time.
pub(super) fn read(request: Request<'_>, draft: &mut Draft, selection: &Selection, security_only: bool) {
    let named = *selection != Selection::All;
    let mut nodes: Vec<NodeName> = Vec::new();
    for node in resolve(request, draft, selection) {
        if !named && request.roster.active(&node.name).is_none() {
            draft.skipped.push((node.name.clone(), "is not enrolled".to_owned()));
        } else if !named && !request.state(&node.name).connected {
            draft.skipped.push((node.name.clone(), "is not connected: what waits on it is not known".to_owned()));
        } else if performs(request, draft, node) {
            nodes.push(node.name.clone());
        }
    }
    draft.title = format!("Read which updates wait on {}", count(nodes.len(), "machine"));
    let steps = || vec![Step::ReadUpdates(update::Read { security_only })];
    draft.tasks = nodes.iter().map(|node| task("read", node, node, Vec::new(), steps())).collect();
    let text = "apt's lists are brought up to date, and nothing is installed";
    draft.notes.push(Note::Info(text.to_owned()));
    together(draft, nodes);
}

/// Everything is on every machine before the first is touched; then a canary, then lanes.
pub(super) fn update(
    request: Request<'_>,
    draft: &mut Draft,
    selection: &Selection,
    pending: &[Pending],
    accepted: &[NodeName],
) {
    let lists: BTreeMap<&NodeName, &Pending> = pending.iter().map(|pending| (&pending.node, pending)).collect();
    let nodes = updatable(request, draft, selection, &lists);
    nodes.iter().for_each(|node| examine(draft, lists[node]));
    let lists: BTreeMap<&NodeName, &Pending> = nodes.iter().map(|node| (node, lists[node])).collect();
    agree(draft, &lists);
    let drained: Vec<NodeName> = nodes.iter().filter(|node| drains(request, lists[node])).cloned().collect();
    let booted: Vec<NodeName> = nodes.iter().filter(|n| !lists[n].reboot_reasons().is_empty()).cloned().collect();
    servers_out(request, draft, &booted, accepted, Taken::Restarted);
    note_unavailable(request, draft, &nodes, &[], |_| String::new());
    note_health(request, draft, &nodes, None);
    let unavailable = |node: &NodeName| request.is_unavailable(node);
    let order = phases(request.fleet, &nodes, &unavailable, &request.earlier.coordinator_on, false);
    let in_order: Vec<NodeName> = order.iter().flat_map(|phase| phase.nodes.clone()).collect();
    let rebooted: Vec<NodeName> = in_order.iter().filter(|node| booted.contains(node)).cloned().collect();
    coordinator_out(request, draft, &rebooted, Taken::Restarted);
    note_work(draft, &lists, &drained, &booted);
    let before = predecessors(&order);
    let staged: Vec<TaskId> = in_order.iter().flat_map(|node| stage_all(draft, lists[node])).collect();
    // What comes up on another kernel once may not do so again: the first of the fleet shows it.
    let twice = in_order.iter().find(|node| lists[node].new_kernel().is_some());
    for node in &in_order {
        let mut after: Vec<TaskId> = before[node].iter().map(|other| task_id(other, "ready")).collect();
        let own = |id: &&TaskId| after.is_empty() || id.subject() == node;
        let own: Vec<TaskId> = staged.iter().filter(own).cloned().collect();
        after.extend(own);
        one(request, draft, lists[node], after, twice == Some(node));
    }
    draft.title = format!("Update the system of {}", count(nodes.len(), "machine"));
    draft.phases = order;
}

/// Those of whom a list is there with something to do. Machines outside the cluster are updated too.
fn updatable(
    request: Request<'_>,
    draft: &mut Draft,
    selection: &Selection,
    lists: &BTreeMap<&NodeName, &Pending>,
) -> Vec<NodeName> {
    let named = *selection != Selection::All;
    let is_outside = |node: &FleetNode| {
        node.role == ClusterRole::Host || request.state(&node.name).condition.standing == Standing::Outside
    };
    let (mut members, mut nodes): (Vec<&FleetNode>, Vec<NodeName>) = (Vec::new(), Vec::new());
    for node in resolve(request, draft, selection) {
        let name = &node.name;
        match lists.get(name) {
            None if named => {
                draft.obstacles.push(Obstacle::Update(UpdateObstacle::NotRead { node: name.clone() }));
            }
            None => draft.skipped.push((name.clone(), "is left as it is: what waits on it is not known".to_owned())),
            Some(list) if is_done(list) => {
                draft.skipped.push((name.clone(), "is up to date".to_owned()));
            }
            Some(_) if !is_outside(node) => members.push(node),
            Some(_) => match critical(name, request.state(name), None) {
                Some(obstacle) => draft.obstacles.push(obstacle),
                None if performs(request, draft, node) => nodes.push(name.clone()),
                None => {}
            },
        }
    }
    nodes.extend(workable_of(request, draft, members, named, None));
    let place = |node: &NodeName| request.fleet.nodes.iter().position(|other| other.name == *node);
    nodes.sort_by_key(place);
    nodes
}

/// Whether nothing is to be done on that machine: no package, no half-done one, and no reboot.
fn is_done(list: &Pending) -> bool {
    list.packages.is_empty() && list.unfinished.is_empty() && list.reboot_reasons().is_empty()
}

/// What of a list no update does.
fn examine(draft: &mut Draft, list: &Pending) {
    let node = &list.node;
    let system = &list.system;
    let release = format!("{} {} {}", system.id, system.version, system.codename);
    if let Some(other) = list.of_other_release().first() {
        draft.obstacles.push(Obstacle::Update(UpdateObstacle::OtherRelease {
            node: node.clone(),
            release: release.trim_end().to_owned(),
            package: other.name_on(system),
            origin: other.origin.clone(),
        }));
    }
    for package in list.packages.iter().filter(|package| goes_with_own_plan(package.package.as_str())) {
        let package = package.package.to_string();
        draft.obstacles.push(Obstacle::Update(UpdateObstacle::OwnPlan { node: node.clone(), package }));
    }
}

/// Machines of one system get the same versions, with the same content.
fn agree(draft: &mut Draft, lists: &BTreeMap<&NodeName, &Pending>) {
    type Found<'a> = BTreeMap<&'a PackageVersion, BTreeMap<Digest, Vec<NodeName>>>;
    let mut found: BTreeMap<_, Found<'_>> = BTreeMap::new();
    for list in lists.values() {
        for package in &list.packages {
            let which = (&list.system, &package.package, &package.arch);
            let versions = found.entry(which).or_default().entry(&package.to).or_default();
            versions.entry(package.sha256).or_default().push(list.node.clone());
        }
    }
    for ((_, package, _), versions) in found {
        for (version, contents) in versions.iter().filter(|(_, contents)| contents.len() > 1) {
            let nodes = contents.values().flatten().cloned().collect();
            let (package, version) = (package.to_string(), (*version).clone());
            draft.obstacles.push(Obstacle::Update(UpdateObstacle::OtherContent { package, version, nodes }));
        }
        if versions.len() > 1 {
            let of = |contents: &BTreeMap<Digest, Vec<NodeName>>| contents.values().flatten().cloned().collect();
            let versions = versions.iter().map(|(version, contents)| ((*version).clone(), of(contents))).collect();
            draft.obstacles.push(Obstacle::Update(UpdateObstacle::Differs { package: package.to_string(), versions }));
        }
    }
}

/// Whether pods have to leave the machine first.
fn drains(request: Request<'_>, list: &Pending) -> bool {
    let is_touched = !list.reboot_reasons().is_empty() || !list.touches_pods().is_empty();
    is_touched && request.is_member(&list.node)
}

/// What is known before anything begins.
fn note_work(draft: &mut Draft, lists: &BTreeMap<&NodeName, &Pending>, drained: &[NodeName], booted: &[NodeName]) {
    for list in lists.values() {
        let node = &list.node;
        for reason in list.reboot_reasons() {
            draft.notes.push(Note::Info(format!("{node} reboots: {reason}")));
        }
        if drained.contains(node) && !booted.contains(node) {
            let touched = list.touches_pods().join(", ");
            draft.notes.push(Note::Info(format!("{node} is drained, because its pods run in {touched}")));
        }
        let new: Vec<String> =
            list.packages.iter().filter(|p| p.from.is_none()).map(|p| p.name_on(&list.system)).collect();
        if !new.is_empty() {
            draft.notes.push(Note::Info(format!("new on {node}: {}", new.join(", "))));
        }
        let left = |why: WhyLeft| {
            let left = list.left.iter().filter(move |left| left.why == why);
            left.map(|left| left.package.as_str()).collect::<Vec<_>>()
        };
        for why in [WhyLeft::Held, WhyLeft::Phased, WhyLeft::Entangled, WhyLeft::OwnPlan] {
            let names = left(why);
            if !names.is_empty() {
                draft.notes.push(Note::Info(format!("stays on {node}: {} ({})", names.join(", "), why.words())));
            }
        }
        if !list.unfinished.is_empty() {
            let names = list.unfinished.join(", ");
            draft.notes.push(Note::Warning(format!("half installed on {node}, and finished first: {names}")));
        }
    }
    let stays: Vec<NodeName> = lists.keys().filter(|node| !drained.contains(node)).map(|n| (*n).clone()).collect();
    if !stays.is_empty() {
        draft.notes.push(Note::Info(format!("not drained, because nothing of it concerns pods: {}", list(&stays))));
    }
}

/// The tasks that bring a machine all its files.
fn stage_all(draft: &mut Draft, list: &Pending) -> Vec<TaskId> {
    let node = &list.node;
    let mut ids = Vec::new();
    for (i, part) in list.packages.chunks(STAGED_TOGETHER).enumerate() {
        let mut steps = Vec::new();
        for package in part {
            let artifact = artifact(package);
            steps.push(Step::StageArtifact(StageArtifact { artifact: artifact.name.clone() }));
            draft.artifacts.insert(artifact.name.clone(), artifact);
        }
        let what = if i == 0 { "stage".to_owned() } else { format!("stage-{}", i + 1) };
        let stage = task(&what, node, node, Vec::new(), steps);
        ids.push(stage.id.clone());
        draft.tasks.push(stage);
    }
    ids
}

/// A package's file as the plan has it: its digest tells two files of one name apart.
pub(super) fn artifact(package: &PendingPackage) -> Artifact {
    let name: String = package.package.as_str().chars().take(44).map(|c| if c == '+' { '_' } else { c }).collect();
    let digest = package.sha256.hex();
    let name = ArtifactName::new(format!("deb-{name}-{}", &digest[..12])).expect("a package's name and digits");
    let arch = match package.arch.as_str() {
        "amd64" => Some(Arch::X86_64),
        "arm64" => Some(Arch::Aarch64),
        // Data, or another userland that the same processor runs.
        _ => None,
    };
    Artifact { name, sha256: package.sha256, size: package.size, arch }
}

/// Drained where it has to be, updated, booted where it has to be, seen to be well, and put back.
fn one(request: Request<'_>, draft: &mut Draft, list: &Pending, mut after: Vec<TaskId>, twice: bool) {
    let (node, policy) = (&list.node, &request.fleet.policy);
    let drained = drains(request, list);
    let server = if request.is_member(node) { observer(request, draft, node) } else { None };
    if drained && let Some(server) = &server {
        let drain = task("drain", server, node, after, drain_steps(request, "update".to_owned()));
        after = vec![drain.id.clone()];
        draft.tasks.push(disrupting(drain));
    }
    let mut act = task("update", node, node, after, install(list, drained || server.is_none()));
    let boots = !list.reboot_reasons().is_empty();
    if boots {
        act.steps.extend(boot(list));
    }
    let mut last = act.id.clone();
    draft.tasks.push(disrupting(act));
    if twice {
        let again = task("again", node, node, vec![last], boot(list));
        last = again.id.clone();
        draft.tasks.push(disrupting(again));
    }
    let ready: Task = match server {
        None => task("ready", node, node, vec![last], vec![Step::Noop(Noop {})]),
        Some(server) if drained => {
            let steps = vec![await_ready(policy, None), Step::Uncordon(Uncordon {})];
            finishing(task("ready", &server, node, vec![last], steps))
        }
        Some(server) => finishing(task("ready", &server, node, vec![last], vec![await_ready(policy, None)])),
    };
    draft.tasks.push(ready);
}

/// What is installed, to the byte.
fn install(list: &Pending, drained: bool) -> Vec<Step> {
    let package = |package: &PendingPackage| update::Package {
        artifact: artifact(package).name,
        package: package.package.clone(),
        arch: package.arch.clone(),
        from: package.from.clone(),
        version: package.to.clone(),
        auto: package.auto,
    };
    // Without any it still finishes what was cut off.
    vec![Step::InstallUpdates(update::Install { packages: list.packages.iter().map(package).collect(), drained })]
}

/// A reboot into the kernel that has to run then.
fn boot(list: &Pending) -> Vec<Step> {
    let runs = list.kernel.next.clone().map(|release| Step::RunsKernel(update::RunsKernel { release }));
    std::iter::once(Step::Reboot(Reboot {})).chain(runs).collect()
}

/// The artifacts that an update of these lists needs, with where each can be had: every file once.
pub fn files(pending: &[Pending]) -> Vec<(Artifact, BTreeSet<&str>)> {
    let mut files: BTreeMap<ArtifactName, (Artifact, BTreeSet<&str>)> = BTreeMap::new();
    for package in pending.iter().flat_map(|list| &list.packages) {
        let artifact = artifact(package);
        let known = files.entry(artifact.name.clone()).or_insert((artifact, BTreeSet::new()));
        known.1.insert(&package.uri);
    }
    files.into_values().collect()
}
