//! Plans that bring etcd back from a snapshot, on the servers that have it.
//!
//! Four rounds, and no server begins one before every server has ended the round before: take in, stop, restore, start.
//! What can refuse refuses in the first, before anything stops. One server stops before the others: from then on the
//! plan is carried to its end.

use crate::{
    document::{PlanKind, RosterNode, RosterStatus},
    form::RestoreName,
    id::{NodeName, TaskId},
    step::{
        ClusterRole, StageArtifact, Step,
        restore::{Member, Receive, Restore, Restored, SnapshotOf, Start, Stop},
    },
    text::count,
    version::Version,
};

use super::{
    Draft, Note, Obstacle, OpenedSnapshot, Request,
    distribution::Lifecycle,
    select::performs,
    task::{await_ready, finishing, list, task, task_id, together},
};

/// API servers read what those one minor version before them stored.
const MINORS_BACK: u16 = 1;

pub(super) fn restore(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle, snapshot: &OpenedSnapshot) {
    let fleet = request.fleet;
    draft.title = format!("Restore etcd from snapshot {}", snapshot.is.name);
    if !lifecycle.has_snapshots() {
        draft.obstacles.push(Obstacle::NoSnapshots { distribution: fleet.distribution });
        return;
    }
    fits(request, draft, snapshot);
    others_at_work(request, draft);
    none_left_out(request, draft);
    let mut members = Vec::new();
    for server in fleet.servers() {
        if request.roster.active(&server.name).is_some() && !request.state(&server.name).connected {
            draft.obstacles.push(Obstacle::LeftOut { node: server.name.clone(), is_in_file: true });
            continue;
        }
        if !performs(request, draft, server) {
            continue;
        }
        match server.address {
            Some(address) => members.push(Member { name: server.name.clone(), address }),
            None => draft.obstacles.push(Obstacle::NoAddress { node: server.name.clone() }),
        }
    }
    let restored = Restored { name: name(request), members };
    let servers: Vec<NodeName> = restored.members.iter().map(|member| member.name.clone()).collect();
    draft.artifacts.insert(snapshot.artifact.name.clone(), snapshot.artifact.clone());
    rounds(request, draft, snapshot, &restored, &servers);
    said(request, draft, snapshot, &servers);
    together(draft, servers);
}

/// No other restore has its name: it says when it was planned, and by which plan.
pub(super) fn name(request: Request<'_>) -> RestoreName {
    let created = request.numbering.created.whole_seconds().to_string();
    let time: String = created.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    RestoreName::new(format!("{time}-{}", request.numbering.seq)).expect("digits, T, Z and a number are a name")
}

/// What runs has to read what was stored then.
pub(super) fn fits(request: Request<'_>, draft: &mut Draft, snapshot: &OpenedSnapshot) {
    let (taken, runs) = (snapshot.is.kubernetes, request.fleet.version);
    let minor = |version: Version| (version.major, version.minor);
    let oldest = (runs.major, runs.minor.saturating_sub(MINORS_BACK));
    if taken > runs || minor(taken) < oldest {
        draft.obstacles.push(Obstacle::SnapshotUnfit { name: snapshot.is.name.clone(), taken, runs });
    }
}

/// Under a plan that changes members or what they run, no etcd is exchanged.
fn others_at_work(request: Request<'_>, draft: &mut Draft) {
    for running in &request.inventory.running {
        let disturbs = !matches!(running.kind, PlanKind::Check | PlanKind::Inspect | PlanKind::Restore);
        if disturbs && running.plan.seq < request.numbering.seq {
            let (running, title) = (running.plan.seq, running.title.clone());
            draft.obstacles.push(Obstacle::AtWork { running, title });
        }
    }
}

/// Servers that keep their etcd and their majority go on as a cluster of their own, which workers may follow.
pub(super) fn none_left_out(request: Request<'_>, draft: &mut Draft) {
    let is_server = |node: &&RosterNode| node.status == RosterStatus::Active && node.role == ClusterRole::Server;
    for server in request.roster.nodes.iter().filter(is_server) {
        if request.fleet.nodes.iter().all(|node| node.name != server.name) {
            draft.obstacles.push(Obstacle::LeftOut { node: server.name.clone(), is_in_file: false });
        }
    }
}

fn rounds(
    request: Request<'_>,
    draft: &mut Draft,
    snapshot: &OpenedSnapshot,
    restored: &Restored,
    servers: &[NodeName],
) {
    let artifact = snapshot.artifact.name.clone();
    let receive = Receive { artifact: artifact.clone(), snapshot: snapshot.is.clone(), restored: restored.clone() };
    let restored = restored.clone();
    let restore = Restore { restored: restored.clone(), bump_revision: bump_revision(request) };
    let all = |what: &str| -> Vec<TaskId> { servers.iter().map(|server| task_id(server, what)).collect() };
    let round = |what: &str, after: Vec<TaskId>, of: &[NodeName], steps: Vec<Step>| {
        of.iter().map(|server| task(what, server, server, after.clone(), steps.clone())).collect::<Vec<_>>()
    };
    let received = vec![Step::StageArtifact(StageArtifact { artifact }), Step::ReceiveEtcd(receive)];
    draft.tasks.extend(round("receive", Vec::new(), servers, received));
    // The first one alone stops by a plan that is in force. From then on servers that wait for the others would serve
    // nobody: whatever follows goes on although the plan ended.
    let stop = vec![Step::StopEtcd(Stop { restored: restored.clone() })];
    let (first, others) = servers.split_at(servers.len().min(1));
    draft.tasks.extend(round("stop", all("receive"), first, stop.clone()));
    let begun: Vec<TaskId> = first.iter().map(|server| task_id(server, "stop")).collect();
    let mut rest = round("stop", begun, others, stop);
    rest.extend(round("restore", all("stop"), servers, vec![Step::RestoreEtcd(restore)]));
    rest.extend(round("start", all("restore"), servers, vec![Step::StartEtcd(Start { restored })]));
    rest.extend(round("ready", all("start"), servers, vec![await_ready(&request.fleet.policy, None)]));
    draft.tasks.extend(rest.into_iter().map(finishing));
}

/// No revision that anybody saw comes again, also where one snapshot is restored twice: the milliseconds since 1970
/// grow faster than etcd takes changes. 5,000 restores of snapshots of restored data fit into the integers of JSON.
pub(super) fn bump_revision(request: Request<'_>) -> u64 {
    request.numbering.created.unix_milliseconds()
}

/// What a person should know of it before signing.
fn said(request: Request<'_>, draft: &mut Draft, snapshot: &OpenedSnapshot, servers: &[NodeName]) {
    let OpenedSnapshot { is: SnapshotOf { name, revision, .. }, taken, .. } = snapshot;
    draft.notes.push(Note::Warning(format!(
        "whatever changed in the cluster after {taken} (revision {revision} of {name}) is lost; the data that etcd has \
         now stay aside on each server, in /var/lib/etcd"
    )));
    draft.notes.push(Note::Warning(format!(
        "the API server answers nobody for a minute or two: etcd and it stop on {}, once each has proved that it \
         can restore",
        list(servers)
    )));
    if let Some(first) = servers.first() {
        draft.notes.push(Note::Warning(format!(
            "once etcd has stopped on {first}, which is the first, the restore goes on to its end, also where the plan \
             expires or a newer one ends it meanwhile; `hostler stop` alone leaves it half way"
        )));
    }
    let workers = request.fleet.nodes.iter().filter(|node| node.role == ClusterRole::Worker).count();
    if workers > 0 {
        draft.notes.push(Note::Info(format!(
            "{} and every pod that runs stay as they are; a node that joined after the snapshot was taken comes back \
             when its kubelet restarts (`systemctl restart kubelet` there)",
            count(workers, "worker")
        )));
    }
}
