//! Three servers that lost etcd get it back from a sealed snapshot, and everything that can be killed is killed at
//! every point of that.
//!
//! Executors, planner and sealing are real, and the admin's part is by the functions behind `hostler cluster restore`;
//! machines, etcd, containerd and the kubelet are played, and so is the coordinator.

use std::fs;

use hostler_cli::snapshot;
use hostler_fixtures::{damage, name};
use hostler_plan::{
    document::{Artifact, TakenSnapshot},
    id::NodeName,
    planner::{Intent, OpenedSnapshot, Selection},
    step::restore::SnapshotOf,
};
use serde_json::{Value, json};

use crate::{
    is_whole, join,
    kills::{Scene, play_some, play_whole},
    stand::{OLD, Stand, recovery_key},
    well,
};

const SERVERS: [&str; 3] = ["s1", "s2", "s3"];

fn config_map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "default" } })
}

fn has(stand: &Stand, name: &str) -> bool {
    stand.world.now().kubeadm.objects.contains_key(&format!("/api/v1/namespaces/default/configmaps/{name}"))
}

/// A cluster of three that took a snapshot, and then lost etcd on every machine.
fn lost() -> (Stand, Intent) {
    let mut stand = Stand::new(3, 0);
    well(&mut stand, &Intent::Bootstrap {});
    well(&mut stand, &join());
    stand.world.now().kubeadm_apply(&config_map("before"), true).unwrap();
    let endings = well(&mut stand, &Intent::Snapshot { nodes: Selection::Named(vec![name("s1")]) });
    let taken = TakenSnapshot::of(&endings[0].receipt).unwrap();
    stand.world.now().kubeadm_apply(&config_map("after"), true).unwrap();
    let opened = handed_on(&mut stand, &taken);
    for server in SERVERS.map(name) {
        let mut world = stand.world.now();
        let machine = world.machine_mut(&server).unwrap();
        machine.files.retain(|path, _| !path.starts_with("/var/lib/etcd/"));
        drop(world);
        stand.reboot(&server);
    }
    stand.world.pass(std::time::Duration::from_secs(120));
    assert!(stand.world.now().kubeadm_find(&config_map("before")).is_err(), "no API server answers without etcd");
    (stand, Intent::Restore { snapshot: opened })
}

/// Opens what s1 sealed with the recovery key, and seals it to the servers, as the admin's command does.
fn handed_on(stand: &mut Stand, taken: &TakenSnapshot) -> OpenedSnapshot {
    let sealed = stand.world.now().machine(&name("s1")).unwrap().files
        [&format!("/var/lib/hostler/sealed/{}.age", taken.name)]
        .content
        .clone();
    let folder = damage::scratch();
    let (from, into) = (folder.path().join("from"), folder.path().join("into"));
    fs::write(&from, sealed).unwrap();
    // The data are none that a real etcdutl could look into.
    let verified = snapshot::verify_with("no-etcdutl", &from, &recovery_key()).unwrap();
    assert_eq!((verified.digest, verified.looked_into), (taken.sealed.unwrap().digest, false));
    let keys: Vec<_> = stand.roster.nodes.iter().map(|node| node.sealing_recipient().unwrap()).collect();
    snapshot::hand_on((&from, &verified), &recovery_key(), &keys, &into).unwrap();
    let content = fs::read(&into).unwrap();
    let (name, size) = ("etcd-snapshot".parse().unwrap(), content.len() as u64);
    let note = verified.note;
    OpenedSnapshot {
        is: SnapshotOf {
            name: note.name.parse().unwrap(),
            revision: note.revision,
            kubernetes: note.kubernetes.parse().unwrap(),
            etcd: note.etcd.parse().unwrap(),
        },
        taken: note.taken,
        artifact: Artifact { name, sha256: stand.keep(content), size, arch: None },
    }
}

#[test]
fn three_servers_that_lost_etcd_have_what_the_snapshot_held_and_the_same_tasks_again_change_nothing() {
    let (mut stand, restore) = lost();
    let plan = stand.plan(&restore).unwrap();
    let endings = stand.perform(&plan);
    assert!(endings.iter().all(|ending| ending.outcome.is_success()), "{endings:?}");
    is_whole(&stand, OLD).unwrap();
    let members: Vec<NodeName> = stand.world.now().kubeadm.members.iter().map(|member| member.name.clone()).collect();
    assert_eq!(members, SERVERS.map(name));
    assert!(has(&stand, "before") && !has(&stand, "after"), "what came after the snapshot is gone");
    let files = |stand: &Stand| SERVERS.map(|server| stand.world.now().machine(&name(server)).unwrap().files.clone());
    let before = files(&stand);
    let left = |path: &&String| {
        path.contains("/restor") || path.contains("/etcd/restore-") || path.contains("hostler-restore/")
    };
    assert!(before.iter().all(|files| !files.keys().any(|path| left(&path))), "nothing of it stays");
    let again = stand.again(&plan);
    let endings = stand.perform(&again);
    assert!(endings.iter().all(|ending| ending.outcome.is_success()), "{endings:?}");
    let changed: Vec<_> = endings.iter().filter(|e| e.changed && !e.task.to_string().ends_with(".ready")).collect();
    assert!(changed.is_empty(), "{changed:?}");
    assert_eq!(files(&stand), before);
}

fn scene() -> (Stand, Scene) {
    let (mut stand, intent) = lost();
    let before = stand.save();
    stand.points = std::sync::Arc::default();
    well(&mut stand, &intent);
    let points = std::mem::take(&mut stand.points.lock().unwrap().met);
    let fleet = stand.fleet.clone();
    (stand, Scene { name: "restore", intent, version: OLD, fleet, before, points })
}

#[test]
fn a_restore_that_is_killed_anywhere_ends_well_or_goes_on_with_the_next_plan() {
    let (mut stand, scene) = scene();
    play_some(&mut stand, &[scene]);
}

#[test]
#[ignore = "takes long"]
fn a_restore_is_killed_at_every_point() {
    let (mut stand, scene) = scene();
    play_whole(&mut stand, &[scene]);
}
