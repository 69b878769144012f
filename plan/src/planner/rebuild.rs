//! A cluster made anew on bare machines: its first server begins, from a snapshot where there is one. The others join
//! as they join any cluster, by a plan of their own.

use crate::{
    step::{
        ClusterRole, StageArtifact, Step,
        restore::{Bare, Forget, Member, Restored, Seed},
    },
    text::count,
};

use super::{
    Draft, Note, Obstacle, OpenedSnapshot, Request,
    distribution::Lifecycle,
    grow, restore,
    seeding::Seeding,
    select::performs,
    task::{task, task_id},
};

pub(super) fn rebuild(
    request: Request<'_>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    snapshot: Option<&OpenedSnapshot>,
) {
    let fleet = request.fleet;
    if !lifecycle.has_snapshots() {
        draft.obstacles.push(Obstacle::NoSnapshots { distribution: fleet.distribution });
        return;
    }
    restore::none_left_out(request, draft);
    let Some(first) = fleet.servers().first().copied() else { return };
    let seeding = snapshot.map(|snapshot| {
        restore::fits(request, draft, snapshot);
        let members = first.address.map(|address| Member { name: first.name.clone(), address });
        let restored = Restored { name: restore::name(request), members: members.into_iter().collect() };
        Seeding {
            seed: Seed {
                artifact: snapshot.artifact.name.clone(),
                snapshot: snapshot.is.clone(),
                restored,
                bump_revision: restore::bump_revision(request),
            },
            forget: Forget { made_until: snapshot.taken.whole_seconds() },
        }
    });
    grow::bootstrap(request, draft, lifecycle, seeding.as_ref());
    // Of a cluster that is there nothing else needs to be told.
    if draft.tasks.is_empty() {
        return;
    }
    if let Some(snapshot) = snapshot {
        let artifact = snapshot.artifact.name.clone();
        draft.artifacts.insert(artifact.clone(), snapshot.artifact.clone());
        if let Some(stage) = draft.tasks.first_mut() {
            stage.steps.push(Step::StageArtifact(StageArtifact { artifact }));
        }
        said(draft, snapshot);
    }
    // Nothing begins anywhere while a machine still carries a cluster.
    let others: Vec<_> =
        fleet.nodes.iter().filter(|node| node.name != first.name && node.role != ClusterRole::Host).collect();
    let mut bare = Vec::new();
    for node in others.iter().filter(|node| performs(request, draft, node)) {
        bare.push(task("bare", &node.name, &node.name, Vec::new(), vec![Step::BareOfKubeadm(Bare {})]));
    }
    let looked = bare.iter().map(|task| task_id(&task.subject, "bare")).collect();
    if let Some(first) = draft.tasks.first_mut() {
        first.after = looked;
    }
    draft.tasks.splice(0..0, bare);
    draft.title = match snapshot {
        Some(snapshot) => format!("Rebuild {} on {} from snapshot {}", fleet.name, first.name, snapshot.is.name),
        None => format!("Rebuild {} on {}, without a snapshot", fleet.name, first.name),
    };
    if !others.is_empty() {
        let text = format!("{} join afterwards, by a plan of their own", count(others.len(), "other node"));
        draft.notes.push(Note::Info(text));
    }
}

fn said(draft: &mut Draft, snapshot: &OpenedSnapshot) {
    let (taken, name) = (snapshot.taken, &snapshot.is.name);
    draft.notes.push(Note::Warning(format!(
        "the keys of the cluster's certificate authorities come back out of {name}; whatever changed in the cluster \
         after {taken} is lost, and so is what pods kept on their machines' disks"
    )));
    draft.notes.push(Note::Warning(format!(
        "every other Node that was made until {taken} is removed: where such a machine still runs, its pods run beside \
         those of the new cluster"
    )));
}
