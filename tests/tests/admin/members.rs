//! Who belongs to the fleet, when somebody else holds the coordinator.

use std::sync::atomic::{AtomicUsize, Ordering};

use hostler_plan::trust::Change;
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A door before an enrolment listener that counts who came; what is behind it can be changed.
struct Door {
    port: u16,
    attempts: Arc<AtomicUsize>,
    relay: JoinHandle<()>,
}

impl Door {
    async fn before(behind: SocketAddr) -> Self {
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = door.local_addr().unwrap().port();
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = attempts.clone();
        let relay = tokio::spawn(async move {
            while let Ok((mut agent, _)) = door.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let Ok(mut coordinator) = TcpStream::connect(behind).await else { continue };
                tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut agent, &mut coordinator).await;
                });
            }
        });
        Self { port, attempts, relay }
    }
}

#[tokio::test]
async fn a_new_node_is_not_kept_on_a_root_from_before_a_revocation() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna_profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let bert_profile = profile(folder, "bert", coordinator.ports.0);
    import(&anna_profile, &bert_profile);
    let mut anna = connect(&anna_profile).await.unwrap();
    let request = token::TokenRequest {
        uses: 1,
        lifetime: PATIENCE * 10,
        role: ClusterRole::Worker,
        approval: Approval::Automatic,
    };
    let old = token::create(&mut anna, &request, now()).await.unwrap();
    // The coordinator as it was before root 2.
    let ports = coordinator.end().await;
    copy(&data, &folder.join("yesterday"));
    let coordinator = Coordinator::start(&data, Some(ports)).await;
    let mut anna = connect(&anna_profile).await.unwrap();
    let bert = read_public_key(&folder.join("bert.pub")).unwrap().fingerprint();
    root::amend_and_submit(&mut anna, &[Change::Revoke(bert)]).await;
    let pinned = token::create(&mut anna, &request, now()).await.unwrap();
    assert_eq!(pinned.root, anna.trust_store().trusted().digest(), "the newest root");
    assert_ne!(pinned.root, old.root);
    coordinator.end().await;

    // It serves root 1 and what bert signs, to a node whose string was made under root 2. Its token is one that this
    // coordinator knows, so that nothing but the root stands in the way.
    let coordinator = Coordinator::start(&folder.join("yesterday"), Some(ports)).await;
    let door = Door::before(ports.2).await;
    let address = format!("localhost:{}", door.port);
    let join = JoinString { token: old.token.clone(), token_key: old.token_key.clone(), address, ..pinned };
    start_agents(folder, &[("w1", join.encode())]);
    let mut bert = connect(&bert_profile).await.unwrap();
    all_enrolled(&mut bert, 1).await;
    let (waiting, _) = roster::pending(&mut bert).await.unwrap();
    roster::list(&mut bert, &waiting, now()).await.unwrap();
    let credentials = folder.join("state-w1/credentials.json");
    let tried = async {
        // It comes back because it refused the answer before.
        while door.attempts.load(Ordering::SeqCst) < 3 && !credentials.exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.expect("the agent tries again");
    assert!(!credentials.exists(), "it took a chain that ends before the root that its string pins");
    assert!(folder.join("join-w1").exists(), "a string that did not serve stays");
    coordinator.end().await;

    // With root 2 the very same string works.
    let coordinator = Coordinator::start(&data, Some(ports)).await;
    let mut anna = connect(&anna_profile).await.unwrap();
    all_enrolled(&mut anna, 1).await;
    let enrolled = async {
        while !credentials.exists() || folder.join("join-w1").exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, enrolled).await.expect("the agent enrols under root 2");
    door.relay.abort();
    coordinator.end().await;
}
