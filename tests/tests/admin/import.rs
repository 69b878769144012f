//! A server reads its cluster for an admin: a real coordinator, agent and executor, on a simulated machine whose API
//! server answers what is put into it here.

use hostler_cli::import as imports;
use hostler_plan::{
    document::{Receipt, RosterStatus},
    import::{READ_SEALED, fleet_file},
    planner,
};
use hostler_seal::Identity;
use hostler_sim::world::{
    kubeadm::{Member, StaticPod},
    machine::File,
};
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "hunter2-never-told";
const NETWORK: &str = "10.244.0.0/16";

fn config_map(name: &str, key: &str, content: &str) -> (String, Value) {
    (format!("/api/v1/namespaces/kube-system/configmaps/{name}"), json!({ "data": { key: content } }))
}

/// A server of a kubeadm cluster of two: no agent runs on the other.
fn kubeadm_server() -> World {
    let s1 = NodeName::new("s1").unwrap();
    let mut world = World::new(1, [(s1.clone(), Arch::Aarch64)]);
    let node = |name: &str, address: &str, labels: Value| {
        json!({ "metadata": { "name": name, "labels": labels },
            "status": { "addresses": [{ "type": "InternalIP", "address": address }],
                "nodeInfo": { "architecture": "arm64", "kubeletVersion": "v1.36.3",
                    "containerRuntimeVersion": "containerd://2.1.4" } } })
    };
    let nodes = json!({ "items": [
        node("s1", "10.0.0.11", json!({ "node-role.kubernetes.io/control-plane": "" })),
        node("w7", "10.0.0.21", json!({ "lab/rack": "b" })) ] });
    let cluster = format!(
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nclusterName: lab\nkubernetesVersion: v1.36.3\n\
         controlPlaneEndpoint: k8s.lab:6443\nnetworking: {{podSubnet: {NETWORK}, serviceSubnet: 10.96.0.0/12}}\n\
         apiServer: {{extraArgs: [{{name: oidc-client-secret, value: {SECRET}}}, {{name: v, value: '2'}}]}}\n"
    );
    let objects = [
        ("/api/v1/nodes".to_owned(), nodes),
        config_map("kubeadm-config", "ClusterConfiguration", &cluster),
        config_map("kubelet-config", "kubelet", "kind: KubeletConfiguration\nmaxPods: 42\n"),
        config_map("kube-proxy", "config.conf", "mode: nftables\n"),
        ("/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy".to_owned(), json!({})),
        ("/apis/apps/v1/namespaces/kube-system/deployments/coredns".to_owned(), json!({})),
        ("/api/v1/namespaces/kube-system/pods".to_owned(), json!({ "items": [] })),
    ];
    world.kubeadm.objects.extend(objects);
    world.kubeadm.members.push(Member { id: 1, name: s1.clone(), is_learner: false, has_started: true });
    let machine = world.machine_mut(&s1).unwrap();
    let file = |content: String| File { mode: 0o600, content: content.into_bytes() };
    machine.files.insert("/etc/kubernetes/admin.conf".into(), file("simulated".into()));
    for component in ["etcd", "kube-apiserver"] {
        let pod = StaticPod { manifest: Vec::new(), image: format!("{component}:v1.36.3"), ready_at: 0 };
        machine.kubeadm.pods.insert(component.into(), pod);
    }
    world
}

#[tokio::test]
async fn an_admin_gets_a_fleet_file_of_a_cluster_that_is_there_and_the_coordinator_reads_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    let request = token::TokenRequest {
        uses: 1,
        lifetime: PATIENCE * 10,
        role: ClusterRole::Server,
        approval: Approval::Automatic,
    };
    let join = token::create(&mut admin, &request, now()).await.unwrap();
    start_agents_in(folder, SharedWorld::new(kubeadm_server(), 10.0), &[("s1", join.encode())]);
    all_enrolled(&mut admin, 1).await;
    roster::list_automatic(&mut admin, now()).await.unwrap();

    let identity = Identity::generate();
    let roster = admin.trust_store().require_roster().unwrap().document().clone();
    assert!(roster.nodes.iter().all(|node| node.status == RosterStatus::Active));
    let fleet = planner::listed(&roster);
    let ask = Intent::Read { server: NodeName::new("s1").unwrap(), to: identity.recipient() };
    let compiled = tokio::time::timeout(PATIENCE, async {
        loop {
            match plan::compile(&mut admin, &fleet, &ask, None, now()).await {
                Err(Error::Failed(text)) if text.contains("is not connected") => {}
                other => break other.unwrap(),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut signed = Signed { bytes: compiled.await.unwrap().bytes, signatures: Vec::new() };
    sign(&admin, &mut signed);
    let submitted = submit(&mut admin, &signed).await.unwrap();
    let evidence = watch(&mut admin, submitted.seq).await;
    let receipt: &Receipt = evidence.receipts.first().unwrap();
    assert!(receipt.outcome.is_success(), "{}", receipt.outcome);

    let fleet_id = &admin.trust_store().root().fleet_id.clone();
    let answer = imports::answer(receipt, &identity, fleet_id).unwrap();
    assert!(imports::answer(receipt, &Identity::generate(), fleet_id).is_err(), "only who asked opens it");
    let mut other = receipt.clone();
    other.observations.retain(|observation| observation.name == READ_SEALED);
    assert!(imports::answer(&other, &identity, fleet_id).is_err(), "the digest of the receipt counts");
    let inventory = plan::inventory(&mut admin).await.unwrap();
    let enrolled = imports::enrolled(&admin, &inventory).unwrap();
    let draft = fleet_file(&answer, &enrolled, "imported");
    let text = imports::write(&draft, "a test");
    let (read, _) = Fleet::from_toml(&[("fleet.toml", &text)]).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!((read.name.as_str(), read.nodes.len(), read.api.to_string().as_str()), ("lab", 2, "k8s.lab:6443"));
    assert!(!text.contains(SECRET) && text.contains("oidc-client-secret of apiServer"), "{text}");
    assert!(draft.unsaid.iter().any(|said| said.contains("no agent runs on w7")), "{:?}", draft.unsaid);

    let mut lines = Vec::new();
    ledger::export(&mut admin, 0, &mut lines, "memory".as_ref()).await.unwrap();
    for clear in [SECRET, NETWORK, "k8s.lab"] {
        assert!(!lines.windows(clear.len()).any(|window| window == clear.as_bytes()), "{clear} is in the ledger");
    }
    coordinator.end().await;
}
