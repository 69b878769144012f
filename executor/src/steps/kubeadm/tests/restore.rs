//! A restore from a snapshot on one server: refused before anything stops, and done once.

use std::{path::Path, sync::Arc};

use hostler_plan::{
    document::{Artifact, Outcome, PlanKind, Receipt, Recipient, SnapshotFile, SnapshotNote, SnapshotType},
    id::Digest,
    json,
    step::{
        Step,
        restore::{Bare, Forget, Member, Receive, Restore, Restored, Seed, SnapshotOf, Start, Stop},
    },
};
use hostler_seal::{Identity, Packed, pack};

use super::{NEW, double::Double, perform, reason};
use crate::testing::{Fleet, Machine, artifact};

const CA: &str = "the cluster's authority";
const NAME: &str = "20261129T001500Z-57";
const OLD_DATA: &str = "/var/lib/etcd/member/wal/0.wal";

/// A server whose etcd lost what it had, and a snapshot of its cluster.
struct World {
    fleet: Fleet,
    double: Double,
    machine: Arc<Machine>,
    note: SnapshotNote,
    data: Vec<u8>,
    /// The encryption configuration in the snapshot.
    encryption: Option<&'static str>,
}

impl World {
    fn new() -> Self {
        let (fleet, double) = (Fleet::new(), Double::new(NEW));
        let machine = double.machine(&fleet);
        double.server_at(&machine, NEW, NEW);
        for name in crate::distribution::kubeadm::SERVER_FILES {
            machine.inner().put(&format!("/etc/kubernetes/pki/{name}"), CA);
        }
        let command = [
            "etcd",
            "--name=w1",
            "--initial-advertise-peer-urls=https://10.0.0.1:2380",
            "--data-dir=/var/lib/etcd",
            "--initial-cluster-state=existing",
        ];
        let pod = serde_json::json!({ "spec": { "containers": [
            { "image": "registry.k8s.io/etcd:3.6.8-0", "command": command }] } });
        machine.inner().put("/etc/kubernetes/manifests/etcd.yaml", pod.to_string());
        machine.inner().put(OLD_DATA, "a stale log");
        let note = SnapshotNote {
            document_type: SnapshotType::V1,
            fleet_id: json::parse::<hostler_plan::document::Root>(&fleet.root.bytes).unwrap().fleet_id,
            name: "w1-20261128T201500Z".into(),
            node: "w1".parse().unwrap(),
            taken: fleet.now,
            cluster_id: "ab".into(),
            revision: 12,
            keys: 1,
            hash: "7".into(),
            etcd: "3.6.8".into(),
            kubernetes: NEW.into(),
            files: Vec::new(),
        };
        Self { fleet, double, machine, note, data: b"every key".to_vec(), encryption: None }
    }

    /// The snapshot sealed to that key, where the executor has fetched it already.
    fn sealed(&self, to: Recipient, ca: &str) -> Artifact {
        let mut contents: Vec<(String, Vec<u8>)> = crate::distribution::kubeadm::SERVER_FILES
            .iter()
            .map(|name| (format!("pki/{name}"), ca.as_bytes().to_vec()))
            .collect();
        contents.extend(self.encryption.map(|text| ("encryption.yaml".to_owned(), text.as_bytes().to_vec())));
        contents.push((SnapshotNote::DATA.into(), self.data.clone()));
        let file = |(name, content): &(String, Vec<u8>)| SnapshotFile {
            name: name.clone(),
            sha256: Digest::of(content),
            size: content.len() as u64,
        };
        let note = SnapshotNote { files: contents.iter().map(file).collect(), ..self.note.clone() };
        contents.insert(0, (SnapshotNote::NAME.into(), json::write(&note)));
        let mut readers: Vec<(&str, &[u8])> = contents.iter().map(|(name, c)| (name.as_str(), c.as_slice())).collect();
        let packed = readers.iter_mut().map(|(name, content)| Ok(Packed { name, size: content.len() as u64, content }));
        self.stage(&pack(&[to], packed, Vec::new()).unwrap())
    }

    fn stage(&self, sealed: &[u8]) -> Artifact {
        let folder = self.fleet.directory.path().join("artifacts");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(Digest::of(sealed).hex()), sealed).unwrap();
        artifact("etcd-snapshot", sealed)
    }

    fn own_key(&self) -> Recipient {
        Identity::from_bytes(self.fleet.keys.sealing().to_bytes()).recipient()
    }

    fn receive(&self, artifact: &Artifact) -> Step {
        Step::ReceiveEtcd(Receive {
            artifact: artifact.name.clone(),
            snapshot: SnapshotOf {
                name: "w1-20261128T201500Z".parse().unwrap(),
                revision: 12,
                kubernetes: self.note.kubernetes.parse().unwrap(),
                etcd: self.note.etcd.parse().unwrap(),
            },
            restored: restored(),
        })
    }

    fn perform(&self, seq: u64, steps: Vec<Step>, artifact: &Artifact) -> Receipt {
        let plan = self.fleet.plan(seq, steps, |plan| {
            plan.kind = PlanKind::Restore;
            let used = plan.tasks[0].steps.iter().any(|step| step.artifact().is_some());
            plan.artifacts = if used { vec![artifact.clone()] } else { Vec::new() };
        });
        perform(&self.fleet, &self.machine, &plan, vec![]).unwrap()
    }

    fn all(&self, artifact: &Artifact) -> Vec<Step> {
        vec![
            self.receive(artifact),
            Step::StopEtcd(Stop { restored: restored() }),
            Step::RestoreEtcd(Restore { restored: restored(), bump_revision: 1_000_000_000 }),
            Step::StartEtcd(Start { restored: restored() }),
        ]
    }

    fn is_untouched(&self) -> bool {
        let inner = self.machine.inner();
        let moved = inner.acts.iter().any(|act| act.starts_with("rename"));
        let kept = inner.files.keys().any(|path| path.to_string_lossy().contains("/hostler/etcd/restore-"));
        !moved && !kept && inner.text(OLD_DATA).is_some()
    }

    /// That taking it in ends with these words, and nothing is stopped or left.
    fn refuses(&self, artifact: &Artifact, words: &str) {
        let receipt = self.perform(1, self.all(artifact), artifact);
        let said = reason(&receipt);
        assert!(said.contains(words) && said.contains("found"), "{said}");
        assert!(self.is_untouched(), "{:?}", self.machine.inner().acts);
    }
}

fn restored() -> Restored {
    let member = Member { name: "w1".parse().unwrap(), address: "10.0.0.1".parse().unwrap() };
    Restored { name: NAME.parse().unwrap(), members: vec![member] }
}

#[test]
fn the_data_are_exchanged_once_and_a_second_run_changes_nothing() {
    let world = World::new();
    *world.double.lag.lock().unwrap() = 5;
    let artifact = world.sealed(world.own_key(), CA);
    let receipt = world.perform(1, world.all(&artifact), &artifact);
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    let inner = world.machine.inner().clone();
    assert_eq!(inner.text("/var/lib/etcd/member/snap/db").as_deref(), Some("every key"));
    assert_eq!(inner.text("/var/lib/etcd/member/hostler-restored").as_deref(), Some(NAME));
    assert_eq!(inner.text(OLD_DATA), None, "no stale log beside the restored data");
    assert!(inner.text(&format!("/var/lib/etcd/before-{NAME}/member/wal/0.wal")).is_some());
    for component in ["etcd", "kube-apiserver"] {
        assert!(inner.text(&format!("/etc/kubernetes/manifests/{component}.yaml")).is_some());
        assert!(inner.text(&format!("/etc/kubernetes/hostler-restore/{component}.yaml")).is_none());
    }
    let left =
        |path: &&std::path::PathBuf| path.to_string_lossy().contains("restor") && !path.ends_with("hostler-restored");
    assert_eq!(inner.files.keys().find(left), None, "nothing of the snapshot stays");
    let command = inner.acts.iter().find(|act| act.starts_with("etcdutl")).unwrap();
    let expected = format!(
        "--name w1 --initial-cluster w1=https://10.0.0.1:2380 --initial-cluster-token {NAME} \
         --initial-advertise-peer-urls https://10.0.0.1:2380 --bump-revision 1000000000 --mark-compacted"
    );
    assert!(command.ends_with(&expected), "{command}");

    let second = world.perform(2, world.all(&artifact), &artifact);
    assert!(second.outcome.is_success() && second.steps.iter().all(|step| !step.changed), "{:?}", second.steps);
    assert_eq!(world.machine.inner().acts, inner.acts);
}

/// A world that `change` made unfit for a restore.
fn unfit(change: impl FnOnce(&mut World)) -> World {
    let mut world = World::new();
    change(&mut world);
    world
}

#[test]
fn what_is_not_a_whole_snapshot_of_this_cluster_is_refused_before_anything_stops() {
    let world = World::new();
    world.refuses(&world.sealed(world.own_key(), "another authority"), "expected this machine's cluster");
    let world = World::new();
    let other = world.sealed(Identity::generate().recipient(), CA);
    let receipt = world.perform(1, world.all(&other), &other);
    assert!(reason(&receipt).contains("sealed to other keys") && world.is_untouched(), "{}", reason(&receipt));
    for is_cut in [true, false] {
        let world = World::new();
        let whole = world.sealed(world.own_key(), CA);
        let path = world.fleet.directory.path().join("artifacts").join(whole.sha256.hex());
        let mut bytes = std::fs::read(path).unwrap();
        if is_cut {
            bytes.truncate(bytes.len() - 40);
        } else {
            *bytes.last_mut().unwrap() ^= 1;
        }
        let damaged = world.stage(&bytes);
        let receipt = world.perform(1, world.all(&damaged), &damaged);
        assert!(reason(&receipt).contains("changed or cut off") && world.is_untouched(), "{}", reason(&receipt));
    }
    let world = unfit(|world| world.note.hash = "8".into());
    world.refuses(&world.sealed(world.own_key(), CA), "expected hash 8 at revision 12, found 7 at 12");
    let world = unfit(|world| world.note.revision = 13);
    world.refuses(&world.sealed(world.own_key(), CA), "expected revision 12, found 13");
}

#[test]
fn a_machine_that_could_not_restore_says_so_before_anything_stops() {
    type Change = fn(&mut World);
    let cases: [(Change, &str); 8] = [
        (|world| world.note.kubernetes = "v1.37.0".into(), "expected a snapshot of v1.36.3"),
        (|world| world.note.kubernetes = "v1.34.9".into(), "expected a snapshot of v1.36.3"),
        (
            |world| world.note.etcd = "3.7.0".into(),
            "expected a snapshot of etcd 3.6.8-0 or older, found one of etcd 3.7.0",
        ),
        (
            |world| world.machine.inner().put("/etcdutl", "etcdutl version: 3.5.21\n"),
            "etcdutl 3.6 or later, found 3.5.21",
        ),
        (|world| world.machine.inner().put("/df", "Avail\n300000000\n"), "found 300 MB free"),
        (
            |world| drop(world.machine.inner().files.remove(Path::new("/etc/kubernetes/manifests/etcd.yaml"))),
            "a server with etcd among its static pods",
        ),
        (|world| world.machine.inner().units.clear(), "expected a kubelet that runs"),
        (
            |world| {
                let path = "/etc/kubernetes/manifests/etcd.yaml";
                let text = world.machine.inner().text(path).unwrap().replace("--name=w1", "--name=other");
                world.machine.inner().put(path, text);
            },
            "--name=w1, found other",
        ),
    ];
    for (change, words) in cases {
        let world = unfit(change);
        world.refuses(&world.sealed(world.own_key(), CA), words);
    }
}

/// Of an API server that encrypts Secrets by that key.
const OF_KEY_ONE: &str = "kind: EncryptionConfiguration
resources: [{resources: [secrets], providers: [{secretbox: {keys: [{name: one, secret: b25l}]}}]}]
";

/// The API server here is told of that file, which has this content.
fn encrypts(world: &World, content: Option<&str>) {
    let (path, file) = ("/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/pki/encryption.yaml");
    let text = world.machine.inner().text(path).unwrap();
    let mut pod: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let command = &mut pod["spec"]["containers"][0]["command"];
    let mut words = command.as_array().cloned().unwrap_or_else(|| vec!["kube-apiserver".into()]);
    words.push(format!("--encryption-provider-config={file}").into());
    *command = words.into();
    world.machine.inner().put(path, pod.to_string());
    if let Some(content) = content {
        world.machine.inner().put(file, content);
    }
}

#[test]
fn what_the_api_server_here_could_not_read_is_not_restored() {
    let world = unfit(|world| world.encryption = Some(OF_KEY_ONE));
    world.refuses(&world.sealed(world.own_key(), CA), "reads secrets by the key one of secretbox");
    let world = unfit(|world| world.encryption = Some(OF_KEY_ONE));
    encrypts(&world, Some(&OF_KEY_ONE.replace("b25l", "dHdv")));
    world.refuses(&world.sealed(world.own_key(), CA), "another secret under the name of the key one");
    let world = World::new();
    encrypts(&world, Some(OF_KEY_ONE));
    world.refuses(&world.sealed(world.own_key(), CA), "not encrypted");
    let world = World::new();
    encrypts(&world, None);
    world.refuses(&world.sealed(world.own_key(), CA), "expected /etc/kubernetes/pki/encryption.yaml");

    let world = unfit(|world| world.encryption = Some(OF_KEY_ONE));
    encrypts(&world, Some(OF_KEY_ONE));
    let artifact = world.sealed(world.own_key(), CA);
    let receipt = world.perform(1, world.all(&artifact), &artifact);
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
}

#[test]
fn while_etcd_answers_none_of_its_voting_members_is_left_out() {
    let world = World::new();
    let (peers, clients) = (["https://10.0.0.2:2380"], ["https://10.0.0.2:2379"]);
    let stranger = serde_json::json!({ "ID": 2, "name": "s2", "peerURLs": peers, "clientURLs": clients });
    world.double.members.lock().unwrap().push(stranger);
    let artifact = world.sealed(world.own_key(), CA);
    world.refuses(&artifact, "expected every voting member of etcd among the servers of the restore");
    // One that does not vote has no majority.
    world.double.members.lock().unwrap()[1]["isLearner"] = true.into();
    let received = world.perform(2, vec![world.receive(&artifact)], &artifact);
    assert!(received.outcome.is_success(), "{:?}", received.outcome);
}

#[test]
fn nothing_stops_without_the_snapshot_and_nothing_is_restored_while_something_runs() {
    let world = World::new();
    let artifact = world.sealed(world.own_key(), CA);
    for (seq, at) in [(1, 1), (2, 2), (3, 3)] {
        let receipt = world.perform(seq, vec![world.all(&artifact)[at].clone()], &artifact);
        assert!(!receipt.outcome.is_success() && world.is_untouched(), "{:?}", receipt.outcome);
    }
    // What no plan needs does not stay staged.
    let artifact = world.sealed(world.own_key(), CA);
    let received = world.perform(4, vec![world.receive(&artifact)], &artifact);
    assert!(received.outcome.is_success(), "{:?}", received.outcome);
    let receipt = world.perform(5, vec![world.all(&artifact)[2].clone()], &artifact);
    let said = reason(&receipt);
    assert!(said.contains("found kube-apiserver and etcd"), "{said}");
    assert!(world.machine.inner().text(OLD_DATA).is_some());
}

/// A bare machine, and a snapshot of the cluster that was on another.
fn bare() -> World {
    let mut world = World::new();
    world.machine = world.double.machine(&world.fleet);
    world
}

fn seed(world: &World, artifact: &Artifact) -> Step {
    let Step::ReceiveEtcd(Receive { artifact, snapshot, restored }) = world.receive(artifact) else { panic!() };
    Step::SeedEtcd(Seed { artifact, snapshot, restored, bump_revision: 7 })
}

fn begin(world: &World, seq: u64, steps: Vec<Step>, artifact: &Artifact) -> Receipt {
    let plan = world.fleet.plan(seq, steps, |plan| {
        plan.kind = PlanKind::Bootstrap;
        let used = plan.tasks[0].steps.iter().any(|step| step.artifact().is_some());
        plan.artifacts = if used { vec![artifact.clone()] } else { Vec::new() };
    });
    perform(&world.fleet, &world.machine, &plan, vec![]).unwrap()
}

#[test]
fn a_bare_machine_begins_with_the_cluster_of_a_snapshot() {
    let world = bare();
    let artifact = world.sealed(world.own_key(), CA);
    let steps = vec![seed(&world, &artifact), super::bootstrap(NEW)];
    let receipt = begin(&world, 1, steps.clone(), &artifact);
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    let inner = world.machine.inner().clone();
    assert_eq!(inner.text("/etc/kubernetes/pki/sa.key").as_deref(), Some(CA));
    assert_eq!(inner.files[Path::new("/etc/kubernetes/pki/ca.key")].mode, 0o600);
    assert_eq!(inner.text("/var/lib/etcd/member/snap/db").as_deref(), Some("every key"));
    assert!(!inner.files.keys().any(|path| path.to_string_lossy().contains("/hostler/etcd/restore-")));
    let again = begin(&world, 2, steps, &artifact);
    assert!(again.outcome.is_success() && again.steps.iter().all(|step| !step.changed), "{:?}", again.steps);
    assert_eq!(world.machine.inner().acts, inner.acts);
}

#[test]
fn a_machine_that_carries_a_cluster_is_not_rebuilt() {
    let world = World::new();
    let artifact = world.sealed(world.own_key(), CA);
    for (seq, step) in [(1, seed(&world, &artifact)), (2, Step::BareOfKubeadm(Bare {}))] {
        let receipt = begin(&world, seq, vec![step], &artifact);
        let said = reason(&receipt);
        assert!(said.contains("static pods in /etc/kubernetes/manifests"), "{said}");
        assert!(world.is_untouched(), "{:?}", world.machine.inner().acts);
    }
    let world = bare();
    assert!(begin(&world, 1, vec![Step::BareOfKubeadm(Bare {})], &artifact).outcome.is_success());
}

#[test]
fn nodes_of_before_are_forgotten_and_those_that_joined_since_are_not() {
    let world = World::new();
    let node = |name: &str, made: &str| {
        serde_json::json!({ "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "creationTimestamp": made } })
    };
    let (before, since) = ("2026-11-01T00:00:00Z", "2026-11-29T01:00:00Z");
    let nodes = [node("w1", before), node("s9", before), node("w9", before), node("s2", since)];
    for node in &nodes {
        world.double.cluster.put(node.clone());
    }
    let step = Step::ForgetNodes(Forget { made_until: "2026-11-28T20:15:00Z".parse().unwrap() });
    let artifact = world.sealed(world.own_key(), CA);
    let receipt = begin(&world, 1, vec![step.clone()], &artifact);
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    assert_eq!(receipt.observation("forgotten_nodes"), Some("s9 w9"));
    for (name, is_there) in [("w1", true), ("s9", false), ("w9", false), ("s2", true)] {
        assert_eq!(world.double.cluster.object(&format!("/api/v1/nodes/{name}")).is_some(), is_there, "{name}");
    }
    let again = begin(&world, 2, vec![step], &artifact);
    assert!(again.outcome.is_success() && !again.steps[0].changed, "{:?}", again.steps);
}
