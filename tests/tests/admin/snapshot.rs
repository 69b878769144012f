//! A server takes a snapshot of etcd, and an admin gets it back from the coordinator.
//!
//! Coordinator, agent, executor, the admin's operations and the sealing are real. Doubles: the machine and what runs on
//! it, etcd, `etcdctl` and `etcdutl` among it, whose data are a few bytes; and the folder of sealed files, which the
//! executor writes on the simulated machine and, for the agent, on the real disk.

use hostler_cli::snapshot as snapshots;
use hostler_plan::{
    document::{Receipt, RecoveryKey, SnapshotNote},
    trust::Amendment,
};
use hostler_seal::{Identity, Packed, pack};
use hostler_sim::world::{
    cluster::KubeNode,
    kubeadm::{Member, StaticPod, program::program},
    machine::{File, Process},
};
use serde_json::json;

use super::{root::amend_and_submit, *};

/// No such program: the data are none that a real etcdutl could look into.
const NO_ETCDUTL: &str = "no-etcdutl";

const VERSION: &str = "v1.36.3";

/// In etcd's data, and in an authority's key.
const SECRETS: [&str; 2] = ["hunter2-never-told", "private half of the authority"];

const FLEET: &str = "name = \"home\"\ndistribution = \"kubeadm\"\nversion = \"v1.36.3\"\napi = \"k8s.lab:6443\"\n\
    [[nodes]]\nname = \"s1\"\nrole = \"server\"\narch = \"aarch64\"\naddress = \"10.0.0.11\"\n";

/// The only server of a kubeadm cluster.
fn kubeadm_server() -> World {
    let s1 = NodeName::new("s1").unwrap();
    let mut world = World::new(1, [(s1.clone(), Arch::Aarch64)]);
    let secret = json!({ "data": { "password": SECRETS[0] } });
    world.kubeadm.objects.insert("/api/v1/namespaces/default/secrets/db".into(), secret);
    world.kubeadm.members.push(Member { id: 1, name: s1.clone(), is_learner: false, has_started: true });
    let version = VERSION.parse().unwrap();
    let node = KubeNode {
        role: ClusterRole::Server,
        version,
        boot_id: String::new(),
        ready: true,
        ready_changed: 0,
        heartbeat: 0,
        unschedulable: false,
        unschedulable_by: None,
        annotations: std::collections::BTreeMap::new(),
        resource_version: 1,
        allocatable: 0,
        out_of_service: false,
    };
    world.cluster.nodes.insert(s1.clone(), node);
    let machine = world.machine_mut(&s1).unwrap();
    machine.kubeadm.kubelet = Process::Running { version, since: 0 };
    let mut put = |path: String, content: Vec<u8>| machine.files.insert(path, File { mode: 0o600, content });
    put("/etc/kubernetes/admin.conf".into(), b"simulated".to_vec());
    put("/etc/kubernetes/kubelet.conf".into(), b"simulated".to_vec());
    put("/var/lib/etcd/member/snap/db".into(), b"simulated".to_vec());
    for name in ["etcdctl", "etcdutl"] {
        put(format!("/usr/local/bin/{name}"), program(name, "3.6.8"));
    }
    for authority in ["ca", "etcd/ca", "front-proxy-ca"] {
        put(format!("/etc/kubernetes/pki/{authority}.crt"), authority.into());
        put(format!("/etc/kubernetes/pki/{authority}.key"), format!("{} {authority}", SECRETS[1]).into());
    }
    put("/etc/kubernetes/pki/sa.pub".into(), b"public".to_vec());
    put("/etc/kubernetes/pki/sa.key".into(), SECRETS[1].into());
    for (component, tag) in [("etcd", "3.6.8-0"), ("kube-apiserver", VERSION)] {
        let image = format!("registry.k8s.io/{component}:{tag}");
        let manifest = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": component },
            "spec": { "containers": [{ "name": component, "image": image, "command": [component] }] } });
        let manifest = manifest.to_string().into_bytes();
        let path = format!("/etc/kubernetes/manifests/{component}.yaml");
        machine.files.insert(path, File { mode: 0o600, content: manifest.clone() });
        machine.kubeadm.pods.insert(component.into(), StaticPod { manifest, image, ready_at: 0 });
    }
    world
}

/// s1 enrolled, and listed in the roster.
async fn enrol(folder: &Path, admin: &mut Admin) {
    let request = token::TokenRequest {
        uses: 1,
        lifetime: PATIENCE * 10,
        role: ClusterRole::Server,
        approval: Approval::Automatic,
    };
    let join = token::create(admin, &request, now()).await.unwrap();
    let join_file = folder.join("join-s1");
    std::fs::write(&join_file, join.encode()).unwrap();
    let name = NodeName::new("s1").unwrap();
    let node = Node::new(folder.join("state-s1"), join_file, name.clone());
    let host = SimHost::here(SharedWorld::new(kubeadm_server(), 10.0), name).unwrap();
    let host = Arc::new(host.with_sealed_in(node.agent().sealed));
    tokio::spawn(node.run(host, std::future::pending()));
    all_enrolled(admin, 1).await;
    roster::list_automatic(admin, now()).await.unwrap();
}

/// The receipt of the task that took it.
async fn take(admin: &mut Admin) -> Receipt {
    let (fleet, _) = Fleet::from_toml(&[("fleet.toml", FLEET)]).unwrap();
    let take = Intent::Snapshot { nodes: Selection::All };
    let compiled = tokio::time::timeout(PATIENCE, async {
        loop {
            match plan::compile(admin, &fleet, &take, None, now()).await {
                // What the coordinator knows of the cluster comes with the next report.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Ok(compiled) => break compiled,
            }
        }
    });
    let compiled = compiled.await.expect("s1 is connected and in its cluster");
    let mut signed = Signed { bytes: compiled.bytes, signatures: Vec::new() };
    sign(admin, &mut signed);
    let submitted = submit(admin, &signed).await.unwrap();
    let evidence = watch(admin, submitted.seq).await;
    evidence.receipts.first().unwrap().clone()
}

/// What a person makes who knows the public half of the recovery key.
fn forged(note: &SnapshotNote, key: &Identity, path: &Path) {
    let data = b"another cluster's data".as_slice();
    let file = hostler_plan::document::SnapshotFile {
        name: SnapshotNote::DATA.into(),
        sha256: Digest::of(data),
        size: data.len() as u64,
    };
    let text = hostler_plan::json::write(&SnapshotNote { files: vec![file], ..note.clone() });
    let (mut text, mut data) = (text.as_slice(), data);
    let (text_size, size) = (text.len() as u64, data.len() as u64);
    let parts = [
        Ok(Packed { name: SnapshotNote::NAME, size: text_size, content: &mut text }),
        Ok(Packed { name: SnapshotNote::DATA, size, content: &mut data }),
    ];
    std::fs::write(path, pack(&[key.recipient()], parts, Vec::new()).unwrap()).unwrap();
}

#[tokio::test]
async fn a_snapshot_comes_sealed_to_the_coordinator_and_only_what_a_receipt_names_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    let key = Identity::generate();
    let recovery = RecoveryKey { name: "safe".into(), key: key.recipient() };
    amend_and_submit(&mut admin, &[Amendment::AddRecoveryKey(recovery)]).await;
    enrol(folder, &mut admin).await;
    let receipt = take(&mut admin).await;
    assert!(receipt.outcome.is_success(), "{}", receipt.outcome);

    let listed = tokio::time::timeout(PATIENCE, async {
        loop {
            match snapshots::list(&mut admin).await.unwrap().as_slice() {
                [listed] if listed.is_here => break listed.clone(),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    let listed = listed.await.expect("the agent sends it");
    assert!(listed.is_proved && listed.node.as_str() == "s1", "{listed:?}");
    let file = folder.join("fetched.age");
    let sealed = snapshots::fetch(&mut admin, &listed.taken.name, &file).await.unwrap();
    assert_eq!(Some(sealed), listed.taken.sealed);
    let verified = snapshots::verify_with(NO_ETCDUTL, &file, &key).unwrap();
    assert_eq!((verified.digest, verified.note.revision), (sealed.digest, listed.taken.revision));
    assert_eq!(verified.note.files.len(), 9, "{:?}", verified.note.files);
    assert!(snapshots::verify_with(NO_ETCDUTL, &file, &Identity::generate()).is_err(), "only who has the key opens it");
    let by = snapshots::named_by(&mut admin, &verified).await.unwrap();
    snapshots::must_be_proved(by.as_ref(), &file, &verified).unwrap();

    let other = folder.join("other.age");
    forged(&verified.note, &key, &other);
    let opened = snapshots::verify_with(NO_ETCDUTL, &other, &key).unwrap();
    let by = snapshots::named_by(&mut admin, &opened).await.unwrap();
    let refused = snapshots::must_be_proved(by.as_ref(), &other, &opened).unwrap_err().to_string();
    assert!(refused.contains("anybody can seal a file to a recovery key"), "{refused}");
    assert!(refused.contains("--accept-unproved"), "{refused}");

    // A key that is retired proves nothing any more.
    roster::retire(&mut admin, &NodeName::new("s1").unwrap(), now()).await.unwrap();
    let by = snapshots::named_by(&mut admin, &verified).await.unwrap();
    let refused = snapshots::must_be_proved(by.as_ref(), &file, &verified).unwrap_err().to_string();
    assert!(refused.contains("a key of s1 that is retired"), "{refused}");

    let mut lines = Vec::new();
    ledger::export(&mut admin, 0, &mut lines, "memory".as_ref()).await.unwrap();
    let kept = std::fs::read(data.join("snapshots").join(sealed.digest.hex())).unwrap();
    for (place, bytes) in [("the ledger", &lines), ("what the coordinator keeps", &kept)] {
        for clear in SECRETS {
            assert!(!bytes.windows(clear.len()).any(|window| window == clear.as_bytes()), "{clear} is in {place}");
        }
    }
    coordinator.end().await;
}
