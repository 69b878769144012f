//! When a plan begins with each node: in the fleet's maintenance windows, and only where the node is back before they
//! close, as far as it is known how long that takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    document::{PlanKind, Task, Window, WindowSet, WindowTask, Windows},
    fleet::{FleetPolicy, Maintenance},
    id::{NodeName, TaskId},
    sequencer::WINDOW_MARGIN,
    step::Step,
    text::{and_more, until},
    timestamp::Timestamp,
    trust::MAX_WINDOWS,
};

use super::{Begins, Draft, Note, Obstacle, Request, WindowObstacle, task::list};

/// What an upgrade or an update itself may take where nobody knows: a Pi unpacks a few hundred MB on a card, and boots.
const WORK_SECONDS: u64 = 1800;
/// A plan lives so much longer than the last window that it needs: what began at its end is finished.
const AFTER_SECONDS: u64 = 3600;
/// Windows are looked for so far ahead, to say when the next one is.
const FAR_SECONDS: u64 = 15 * 86_400;

/// Lists what begins in windows, and lets the plan live for as long as that needs.
pub(super) fn keep(request: Request<'_>, kind: PlanKind, draft: &mut Draft) {
    let has_windows = |task: &Task| windows_of(request, &task.subject).is_some();
    if !kind.waits_for_windows() || !draft.tasks.iter().any(has_windows) {
        return;
    }
    let most_seconds = match request.numbering.begins {
        Begins::AtOnce => {
            let text = "begins at once, whatever the maintenance windows of the fleet file are (--now)";
            draft.notes.push(Note::Warning(text.to_owned()));
            draft.windows = Some(Windows::AtOnce {});
            return;
        }
        Begins::InWindows { most_seconds } => most_seconds,
    };
    let created = request.numbering.created.whole_seconds();
    let end = created.plus(Duration::from_secs(most_seconds));
    let needs = needs(request, kind, draft, created);
    let mut sets = sets(request, draft, &needs, (created, end));
    if sets.is_empty() {
        return;
    }
    let foreseen = foresee(&draft.tasks, &sets, created, end);
    let usual = created.plus(Duration::from_secs(request.numbering.lifetime_seconds));
    let expires = match (foreseen.last_until, foreseen.left.is_empty()) {
        (Some(last), true) => usual.max(last.plus(Duration::from_secs(AFTER_SECONDS))).min(end),
        (Some(_) | None, _) => end,
    };
    for set in &mut sets {
        set.windows.retain(|window| window.from < expires);
    }
    note(draft, kind, (&sets, &needs, &foreseen), expires);
    draft.expires = Some(expires);
    draft.windows = Some(Windows::Within { sets });
}

fn windows_of<'a>(request: Request<'a>, node: &NodeName) -> Option<&'a Maintenance> {
    request.fleet.maintenance(request.fleet.node(node)?)
}

/// How long a node needs of a window, in seconds.
struct Need {
    seconds: u64,
    /// It was that long away before; else it is a guess.
    is_known: bool,
}

/// Of every node with windows that something begins with; what no window is long enough for is an obstacle.
fn needs(request: Request<'_>, kind: PlanKind, draft: &mut Draft, created: Timestamp) -> BTreeMap<NodeName, Need> {
    let mut needs = BTreeMap::new();
    let subjects: BTreeSet<NodeName> = beginning(&draft.tasks).map(|task| task.subject.clone()).collect();
    for node in subjects {
        let Some(maintenance) = windows_of(request, &node) else { continue };
        let ahead = maintenance.windows(created, created.plus(Duration::from_secs(FAR_SECONDS)));
        let longest = ahead.iter().map(Window::seconds).max().unwrap_or_default();
        let need = match request.state(&node).away.get(&kind) {
            Some(seconds) => Need { seconds: (*seconds).max(1), is_known: true },
            None => Need { seconds: guess(&request.fleet.policy).min(longest / 2).max(1), is_known: false },
        };
        if need.seconds + WINDOW_MARGIN.as_secs() > longest {
            let obstacle = WindowObstacle::TooShort { node: node.clone(), seconds: need.seconds, longest };
            draft.obstacles.push(Obstacle::Window(obstacle));
        }
        needs.insert(node, need);
    }
    needs
}

/// What is assumed of a node on which this was never done: what the plan itself lets a drain and a return take, and
/// half an hour for the work.
fn guess(policy: &FleetPolicy) -> u64 {
    let FleetPolicy { drain_timeout_seconds, ready_timeout_seconds, soak_seconds, .. } = policy;
    drain_timeout_seconds.saturating_add(*ready_timeout_seconds).saturating_add(*soak_seconds) + WORK_SECONDS
}

/// The tasks with which something begins: whatever touches a node in service, and does not come after what took that
/// node out of it.
fn beginning(tasks: &[Task]) -> impl Iterator<Item = &Task> {
    let mut out: BTreeMap<&TaskId, &NodeName> = BTreeMap::new();
    tasks.iter().filter(move |task| {
        let goes_on = task.after.iter().any(|id| out.get(id) == Some(&&task.subject));
        if task.disrupts || goes_on {
            out.insert(&task.id, &task.subject);
        }
        !goes_on && !task.finishes && task.steps.iter().any(touches)
    })
}

/// Whether a step does something that a node would notice: what fetches, reads or puts back goes ahead of windows.
fn touches(step: &Step) -> bool {
    let prepares =
        matches!(step, Step::StageArtifact(_) | Step::EnsureImages(_) | Step::ReachKubeadm(_) | Step::NoRemovedApis(_));
    !(prepares || step.puts_back() || step.only_reads())
}

/// The windows of each group of nodes with what begins in them. Nodes that cannot begin before the plan's end are an
/// obstacle.
fn sets(
    request: Request<'_>,
    draft: &mut Draft,
    needs: &BTreeMap<NodeName, Need>,
    (created, end): (Timestamp, Timestamp),
) -> Vec<WindowSet> {
    let mut of: Vec<(&Maintenance, WindowSet)> = Vec::new();
    for task in beginning(&draft.tasks) {
        let (Some(maintenance), Some(need)) = (windows_of(request, &task.subject), needs.get(&task.subject)) else {
            continue;
        };
        let known = WindowTask { task: task.id.clone(), seconds: need.seconds };
        match of.iter_mut().find(|(other, _)| *other == maintenance) {
            Some((_, set)) => set.tasks.push(known),
            None => {
                let windows = maintenance.windows(created, end);
                of.push((
                    maintenance,
                    WindowSet { zone: maintenance.zone.name().clone(), windows, tasks: vec![known] },
                ));
            }
        }
    }
    for (maintenance, set) in &mut of {
        set.tasks.sort_by(|one, other| one.task.cmp(&other.task));
        let margin = WINDOW_MARGIN.as_secs();
        let mut out: Vec<NodeName> = Vec::new();
        for known in &set.tasks {
            let node = known.task.subject();
            if set.first_room(created, known.seconds + margin).is_none_or(|at| at >= end) && !out.contains(node) {
                out.push(node.clone());
            }
        }
        if !out.is_empty() && !has_too_short(&draft.obstacles) {
            let least = out.iter().filter_map(|node| Some(needs.get(node)?.seconds)).max().unwrap_or_default();
            let far = maintenance.windows(created, created.plus(Duration::from_secs(FAR_SECONDS)));
            let next = far.into_iter().find(|w| w.from > created && w.seconds() >= least + margin);
            let next = next.map(|window| (window, set.zone.clone()));
            draft.obstacles.push(Obstacle::Window(WindowObstacle::OutOfReach { nodes: out, next, end }));
        }
    }
    let sets: Vec<WindowSet> = of.into_iter().map(|(_, set)| set).collect();
    // What comes after so many is another plan's.
    let most = MAX_WINDOWS / sets.len().max(1);
    let first = |set: WindowSet| WindowSet { windows: set.windows.into_iter().take(most).collect(), ..set };
    sets.into_iter().map(first).collect()
}

/// Whether it was said already that windows are too short.
fn has_too_short(obstacles: &[Obstacle]) -> bool {
    obstacles.iter().any(|o| matches!(o, Obstacle::Window(WindowObstacle::TooShort { .. })))
}

/// What is to be expected of the times that are known.
struct Foreseen {
    /// When the first node begins, and when the last is back.
    first: Option<Timestamp>,
    back: Option<Timestamp>,
    /// When the last window closes that something begins in.
    last_until: Option<Timestamp>,
    /// Nodes whose turn does not come before the plan's end.
    left: Vec<NodeName>,
}

fn foresee(tasks: &[Task], sets: &[WindowSet], created: Timestamp, end: Timestamp) -> Foreseen {
    let mut foreseen = Foreseen { first: None, back: None, last_until: None, left: Vec::new() };
    let mut done: BTreeMap<&TaskId, Timestamp> = BTreeMap::new();
    for task in tasks {
        let before: Option<Vec<Timestamp>> = task.after.iter().map(|id| done.get(id).copied()).collect();
        let ready = before.map(|before| before.into_iter().max().unwrap_or(created));
        let of = sets.iter().find_map(|set| Some((set, set.needs(&task.id)?)));
        let ends = match (ready, of) {
            (Some(ready), Some((set, seconds))) => {
                let at = set.first_room(ready, seconds + WINDOW_MARGIN.as_secs()).filter(|at| *at < end);
                let window = at.and_then(|at| set.windows.iter().find(|w| w.has_room(at, seconds)));
                foreseen.last_until = foreseen.last_until.max(window.map(|window| window.until));
                foreseen.first = foreseen.first.or(at).min(at.or(foreseen.first));
                // A node that is prepared is taken out right after it.
                at.map(|at| if task.disrupts { at.plus(Duration::from_secs(seconds)) } else { at })
            }
            (ready, None) => ready,
            (None, Some(_)) => None,
        };
        match ends {
            Some(ends) => {
                foreseen.back = foreseen.back.max(Some(ends));
                done.insert(&task.id, ends);
            }
            None if !foreseen.left.contains(&task.subject) => foreseen.left.push(task.subject.clone()),
            None => {}
        }
    }
    foreseen
}

/// What is known before anything is signed.
fn note(
    draft: &mut Draft,
    kind: PlanKind,
    (sets, needs, foreseen): (&[WindowSet], &BTreeMap<NodeName, Need>, &Foreseen),
    expires: Timestamp,
) {
    for set in sets {
        let Some(first) = set.windows.first() else { continue };
        let nodes: BTreeSet<&NodeName> = set.tasks.iter().map(|task| task.task.subject()).collect();
        let nodes: Vec<NodeName> = nodes.into_iter().cloned().collect();
        let (opens, zone, life) = (first.opens(), &set.zone, until(first.seconds()));
        let more = and_more(set.windows.len() - 1);
        draft.notes.push(Note::Info(format!(
            "begins within windows alone, first {opens} {zone} for {life}{more}, with: {}",
            list(&nodes)
        )));
        let mut short: BTreeMap<(String, u64), Vec<NodeName>> = BTreeMap::new();
        for window in &set.windows {
            let which = (window.opens(), window.seconds());
            let is_long = |n: &&NodeName| needs[*n].seconds + WINDOW_MARGIN.as_secs() > window.seconds();
            short.insert(which, nodes.iter().filter(is_long).cloned().collect());
        }
        for ((opens, seconds), nodes) in short.into_iter().filter(|(_, nodes)| !nodes.is_empty()) {
            let (life, nodes) = (until(seconds), list(&nodes));
            draft.notes.push(Note::Warning(format!(
                "the window {opens} {zone} has {life}, too few for {nodes}: nothing begins there with them"
            )));
        }
    }
    let known: Vec<String> =
        needs.iter().filter(|(_, n)| n.is_known).map(|(node, n)| format!("{node} {}", until(n.seconds))).collect();
    if !known.is_empty() {
        let known = known.join(", ");
        draft.notes.push(Note::Info(format!("so long they were away for the last plans of kind {kind}: {known}")));
    }
    let guessed: Vec<NodeName> = needs.iter().filter(|(_, n)| !n.is_known).map(|(node, _)| node.clone()).collect();
    if let Some(need) = guessed.first().and_then(|node| needs.get(node)) {
        let (life, nodes) = (until(need.seconds), list(&guessed));
        draft.notes.push(Note::Info(format!(
            "{life} of a window are kept for nodes without a plan of kind {kind} before: {nodes}"
        )));
    }
    match (foreseen.first, foreseen.back, foreseen.left.as_slice()) {
        (Some(first), Some(back), []) => {
            draft.notes.push(Note::Info(format!("by that the first begins at {first} and all are back by {back}")));
        }
        (_, _, left) => draft.notes.push(Note::Warning(format!(
            "by that the turn of {} does not come before the plan ends at {expires}; another plan goes on with them, \
             or make it with a longer --lifetime",
            list(left)
        ))),
    }
}
