//! Compiles a fleet, its inventory and an intent into a plan that leaves no choices open, and a preview with reasons.
//!
//! Pure: the same input gives the same bytes. What stands in the way is told all at once, each with what to do next.

mod balancers;
mod baseline;
mod caution;
mod check;
mod claim;
mod configure;
mod continues;
mod cordon;
mod dead;
mod distribution;
mod drain;
mod earlier;
mod fate;
mod grow;
mod intent;
mod object;
mod obstacle;
mod order;
mod preview;
mod read;
mod rebuild;
mod remove;
mod renew;
mod replace;
mod restore;
mod rolling;
mod sealed;
mod seeding;
mod select;
mod skew;
mod snapshot;
mod stop;
mod task;
mod update;
mod update_obstacle;
mod window_obstacle;
mod windows;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use claim::{Claim, NodeClaim};
pub use dead::left_alone;
pub use earlier::{Earlier, Fate, OpenPlan, Unproved};
pub use intent::{
    Accepted, Begins, Continues, Intent, Inventory, InventoryNode, Numbering, OpenedSnapshot, Quarantined, RunningPlan,
    Selection,
};
pub use obstacle::{Obstacle, PlanError};
pub use preview::{Effect, Note, Phase, PhaseName, Preview};
pub use read::listed;
pub use sealed::artifact_name as credentials_name;
pub use stop::stop;
pub use update::files;
pub use update_obstacle::UpdateObstacle;
pub use window_obstacle::WindowObstacle;

use crate::{
    document::{Artifact, NodeObject, Plan, PlanKind, PlanRef, PlanType, Roster, Strategy, Target, Task, Windows},
    fleet::Fleet,
    id::{ArtifactName, NodeName},
    step::Step,
    timestamp::Timestamp,
    trust::MAX_KEPT_VALID,
};
use distribution::Lifecycle;
use fate::fates;

/// What everything is decided on.
#[derive(Debug, Clone, Copy)]
struct Request<'a> {
    fleet: &'a Fleet,
    roster: &'a Roster,
    inventory: &'a Inventory,
    earlier: &'a Earlier,
    numbering: &'a Numbering,
}

/// A plan in the making.
#[derive(Debug, Default)]
struct Draft {
    title: String,
    phases: Vec<Phase>,
    skipped: Vec<(NodeName, String)>,
    notes: Vec<Note>,
    tasks: Vec<Task>,
    artifacts: BTreeMap<ArtifactName, Artifact>,
    /// Of subjects that have another name in the cluster.
    node_objects: Vec<NodeObject>,
    max_unavailable: u32,
    /// The plan that it goes on with.
    continues: Option<PlanRef>,
    obstacles: Vec<Obstacle>,
    /// The maintenance windows that it keeps, where it waits for some.
    windows: Option<Windows>,
    /// When it ends, where that is later than usual for their sake.
    expires: Option<Timestamp>,
}

/// Makes the plan for an intent and the preview of it.
///
/// `roster` must be the one whose digest stands in `numbering`; the caller verified it. What `inventory` says decides
/// who is worked on and in which order, and the preview shows it as the coordinator's word. Errors name every obstacle.
pub fn plan(
    fleet: &Fleet,
    roster: &Roster,
    inventory: &Inventory,
    earlier: &Earlier,
    intent: &Intent,
    numbering: &Numbering,
) -> Result<(Plan, Preview), PlanError> {
    let request = Request { fleet, roster, inventory, earlier, numbering };
    let kind = intent.kind();
    let lifecycle = Lifecycle::of(fleet.distribution);
    let mut draft = Draft { max_unavailable: fleet.policy.max_unavailable, ..Draft::default() };
    match intent {
        Intent::Check { nodes } => check::check(request, &mut draft, nodes),
        Intent::Bootstrap {} => grow::bootstrap(request, &mut draft, lifecycle, None),
        Intent::Rebuild { snapshot } => rebuild::rebuild(request, &mut draft, lifecycle, snapshot.as_ref()),
        Intent::Join { nodes } => grow::join(request, &mut draft, lifecycle, nodes),
        Intent::Upgrade { to, nodes, quarantined, accepted } => {
            rolling::upgrade(request, &mut draft, lifecycle, (*to, *quarantined), nodes, accepted);
        }
        Intent::Baseline { nodes } => baseline::baseline(request, &mut draft, lifecycle, nodes),
        Intent::Inspect { nodes } => baseline::inspect(request, &mut draft, lifecycle, nodes),
        Intent::Read { server, to } => read::read(request, &mut draft, server, *to),
        Intent::ReadUpdates { nodes, security_only } => update::read(request, &mut draft, nodes, *security_only),
        Intent::Update { nodes, pending, accept_outage } => {
            update::update(request, &mut draft, nodes, pending, accept_outage);
        }
        Intent::Snapshot { nodes } => snapshot::snapshot(request, &mut draft, lifecycle, nodes),
        Intent::Restore { snapshot } => restore::restore(request, &mut draft, lifecycle, snapshot),
        Intent::Drain { nodes, max_unavailable, continues } => {
            drain::drain(request, &mut draft, nodes, *max_unavailable);
            continues::choose(request, &mut draft, nodes, continues);
        }
        Intent::Dead { nodes, power_off_proof } => dead::dead(request, &mut draft, nodes, power_off_proof),
        Intent::Remove { nodes, power_off_proof } => {
            remove::remove(request, &mut draft, lifecycle, nodes, power_off_proof.as_ref());
        }
        Intent::Replace { node, power_off_proof } => {
            replace::replace(request, &mut draft, lifecycle, node, power_off_proof.as_ref());
        }
        Intent::RenewCertificates { nodes, within_days, accept_outage } => {
            renew::renew(request, &mut draft, lifecycle, nodes, *within_days, accept_outage);
        }
        Intent::Configure { nodes, drains, accept_outage } => {
            let how = configure::How { selection: nodes, drains: *drains, accepted: accept_outage };
            configure::configure(request, &mut draft, lifecycle, &how);
        }
        Intent::Uncordon { nodes } => drain::uncordon(request, &mut draft, nodes),
        Intent::AdoptCordon { nodes, reason } => cordon::adopt(request, &mut draft, nodes, reason),
        Intent::ReleaseCordon { nodes, reason } => cordon::release(request, &mut draft, nodes, reason),
        Intent::Reboot { nodes, accept_outage } => rolling::reboot(request, &mut draft, nodes, accept_outage),
    }
    object::name(request, &mut draft);
    sealed::carry(request, &mut draft);
    let fates = fates(request, kind, &mut draft);
    let kept = fates.iter().filter(|fate| fate.goes_on()).count();
    if kept > MAX_KEPT_VALID {
        draft.obstacles.push(Obstacle::TooManyRunning { found: kept, limit: MAX_KEPT_VALID });
    }
    let targets = targets(request, &mut draft);
    windows::keep(request, kind, &mut draft);
    if !draft.obstacles.is_empty() {
        return Err(PlanError(draft.obstacles));
    }
    if draft.tasks.is_empty() {
        return Err(Obstacle::NothingToDo { why: why_nothing(&draft.skipped) }.into());
    }
    Ok(finish(request, kind, draft, fates, targets))
}

fn why_nothing(skipped: &[(NodeName, String)]) -> String {
    match skipped {
        [] => "no node was asked for".to_owned(),
        [(node, why)] => format!("{node} {why}"),
        [(node, why), rest @ ..] if rest.iter().all(|(_, other)| other == why) => {
            format!("{node} {why}, the same for {} more", rest.len())
        }
        [(node, why), rest @ ..] => format!("{node} {why}, and {} more were left out", rest.len()),
    }
}

/// Every performing node with its key, in the roster's order.
fn targets(request: Request<'_>, draft: &mut Draft) -> Vec<Target> {
    let performing: BTreeSet<&NodeName> = draft.tasks.iter().map(|t| &t.node).collect();
    let target =
        |n: &crate::document::RosterNode| Target { node: n.name.clone(), key: n.key.fingerprint(), arch: n.arch };
    let targets: Vec<Target> = performing.iter().filter_map(|name| request.roster.active(name)).map(target).collect();
    for name in performing.into_iter().filter(|name| request.roster.active(name).is_none()) {
        let obstacle = Obstacle::NotEnrolled { node: name.clone() };
        if !draft.obstacles.contains(&obstacle) {
            draft.obstacles.push(obstacle);
        }
    }
    targets
}

fn finish(
    request: Request<'_>,
    kind: PlanKind,
    draft: Draft,
    fates: Vec<Fate>,
    targets: Vec<Target>,
) -> (Plan, Preview) {
    let policy = &request.fleet.policy;
    let numbering = request.numbering;
    let created = numbering.created.whole_seconds();
    let soaks: usize = draft.phases.iter().map(|p| p.nodes.len().div_ceil(p.at_once.max(1))).sum();
    let awaits = draft.tasks.iter().flat_map(|t| &t.steps).any(|s| matches!(s, Step::AwaitReady(_)));
    let preview = Preview {
        seq: numbering.seq,
        kind,
        title: draft.title.clone(),
        created,
        phases: draft.phases,
        skipped: draft.skipped,
        notes: draft.notes,
        tasks: draft.tasks.len(),
        claims: claim::claims(request),
        fates: fates.clone(),
        soak_seconds: if awaits { policy.soak_seconds.saturating_mul(soaks as u64) } else { 0 },
    };
    let plan = Plan {
        document_type: PlanType::V1,
        fleet_id: request.roster.fleet_id.clone(),
        epoch: numbering.epoch,
        seq: numbering.seq,
        prev: numbering.prev,
        also: numbering.also.clone(),
        continues: draft.continues.map(|plan| plan.digest),
        kind,
        title: draft.title,
        root_version: numbering.root_version,
        roster_version: request.roster.version,
        roster: numbering.roster,
        created,
        not_before: created,
        expires: draft.expires.unwrap_or(created.plus(Duration::from_secs(numbering.lifetime_seconds))),
        keeps_valid: fates
            .iter()
            .filter(|fate| fate.goes_on())
            .filter_map(Fate::proved)
            .map(|open| open.plan)
            .collect(),
        targets,
        node_objects: draft.node_objects,
        artifacts: draft.artifacts.into_values().collect(),
        strategy: Strategy {
            max_unavailable: draft.max_unavailable,
            soak_seconds: policy.soak_seconds,
            lease_seconds: policy.lease_seconds,
        },
        windows: draft.windows,
        tasks: draft.tasks,
    };
    (plan, preview)
}
