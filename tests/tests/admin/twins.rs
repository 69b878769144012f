//! A copied disk of a node that belongs to the fleet, and a node that is to have another name.

use hostler_tests::stand::until;

use super::{members::hostler, *};

/// A machine with the state in that folder: the real agent and executor of a node. What runs ends with what is given.
fn machine(state: &Path, join_file: &Path, seed: u64) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let name = NodeName::new("w1").unwrap();
    let world = SharedWorld::new(World::new(seed, [(name.clone(), Arch::Aarch64)]), 10.0);
    let host = Arc::new(SimHost::here(world, name.clone()).unwrap());
    let node = Node::new(state.to_owned(), join_file.to_owned(), name);
    let (end, ended) = oneshot::channel::<()>();
    let running = tokio::spawn(async move {
        let shutdown = async {
            let _ = ended.await;
        };
        node.run(host, shutdown).await.unwrap();
    });
    (end, running)
}

async fn is_connected(admin: &mut Admin) -> bool {
    let w1 = "w1".parse().unwrap();
    hostler_cli::node::get(admin, &w1).await.is_ok_and(|n| n.summary.is_some_and(|s| s.connected))
}

#[tokio::test]
async fn two_machines_with_the_state_of_one_node_are_kept_out_shown_and_let_in_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    let request = token::TokenRequest {
        uses: 1,
        lifetime: PATIENCE * 10,
        role: ClusterRole::Worker,
        approval: Approval::Automatic,
    };
    let join_file = folder.join("join");
    std::fs::write(&join_file, token::create(&mut admin, &request, now()).await.unwrap().encode()).unwrap();
    let (state, copied) = (folder.join("one"), folder.join("two"));
    let (end, running) = machine(&state, &join_file, 1);
    all_enrolled(&mut admin, 1).await;
    hostler(folder, &profile, &["node", "approve", "w1", "--yes"]).await.unwrap();
    admin.refresh().await.unwrap();
    let no = hostler(folder, &profile, &["node", "rename", "w1", "w9", "--yes"]).await.expect_err("it is a node");
    for part in ["w1 is a node under key SHA256:", "keeps its name", "hostler node retire w1", "the host name w9"] {
        assert!(no.to_string().contains(part), "{part}: {no}");
    }
    let no = hostler(folder, &profile, &["node", "replace", "w1", "--yes"]).await.expect_err("no other machine");
    assert!(no.to_string().contains("no other machine came as w1"), "{no}");
    drop(end);
    running.await.unwrap();

    copy(&state, &copied);
    let machines = [machine(&state, &join_file, 1), machine(&copied, &join_file, 2)];
    let doubles = until("both are shown", async || {
        let doubles = roster::doubles(&mut admin).await.unwrap();
        (doubles.len() == 2).then_some(doubles)
    })
    .await;
    for double in &doubles {
        assert_eq!(double.pending.enrolment.document().node.as_str(), "w1");
        assert!(double.reason.contains("is on two machines: boot "), "{}", double.reason);
        assert!(double.beside.starts_with("w1 key SHA256:") && double.beside.ends_with("127.0.0.1"), "{double:?}");
    }
    until("neither is let in", async || (!is_connected(&mut admin).await).then_some(())).await;
    hostler(folder, &profile, &["node", "list", "--pending"]).await.unwrap();
    hostler(folder, &profile, &["nodes"]).await.unwrap();
    let mut lines = Vec::new();
    ledger::export(&mut admin, 0, &mut lines, "memory".as_ref()).await.unwrap();
    assert!(String::from_utf8_lossy(&lines).contains("is on two machines"), "an alarm");
    let key = doubles[0].pending.enrolment.document().key.fingerprint();
    let no = hostler(folder, &profile, &["node", "rename", &format!("w1={key}"), "w2", "--yes"]).await;
    assert!(no.expect_err("both have that key").to_string().contains("keeps its name"));

    // The way out that the refusal names.
    hostler(folder, &profile, &["node", "retire", "w1", "--yes"]).await.unwrap();
    admin.refresh().await.unwrap();
    assert!(roster::doubles(&mut admin).await.unwrap().is_empty(), "they are no nodes any more");
    for (end, running) in machines {
        drop(end);
        running.await.unwrap();
    }
    std::fs::remove_dir_all(&copied).unwrap();
    std::fs::write(&join_file, token::create(&mut admin, &request, now()).await.unwrap().encode()).unwrap();
    let _anew = machine(&copied, &join_file, 2);
    until("it waits", async || (roster::pending(&mut admin).await.unwrap().0.len() == 1).then_some(())).await;
    hostler(folder, &profile, &["node", "approve", "w1", "--yes"]).await.unwrap();
    until("it is let in", async || is_connected(&mut admin).await.then_some(())).await;
    coordinator.end().await;
}
