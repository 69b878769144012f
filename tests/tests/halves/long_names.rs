//! A node whose name is as long as Kubernetes allows, with the programs as they are: it enrols, gets certificates and
//! performs plans.

use super::*;

/// 253 bytes: four parts between dots.
fn longest() -> String {
    let parts = [63, 63, 63, 61].map(|length| "w".repeat(length));
    parts.join(".")
}

#[tokio::test]
async fn a_node_with_a_name_of_253_bytes_enrols_and_performs_a_plan() {
    let name = longest();
    assert_eq!(name.len(), 253);
    let folder = tempfile::tempdir().unwrap();
    let (mut node, join) = Node::set_up(folder.path(), Path::new(PROGRAM)).await;
    write_settings(folder.path(), &name);
    std::fs::write(folder.path().join("join"), join).unwrap();
    node.begin(Half::Executor);
    node.begin(Half::Agent);
    let whole = name.parse().unwrap();
    assert_eq!(node.stand.enrolled(1).await.unwrap(), [whole]);
    let (fleet, _) = Fleet::from_toml(&[("fleet.toml", &FLEET.replace("\"w1\"", &format!("{name:?}")))]).unwrap();
    let check = Intent::Check { nodes: Selection::All };
    for seq in 1..=2 {
        let admin = &mut node.stand.admin;
        let compiled =
            until("the node is connected", async || plan::compile(admin, &fleet, &check, None, now()).await.ok()).await;
        let signed = sign(admin, compiled.bytes);
        let verified = plan::verify(admin.trust_store(), &signed, now()).unwrap();
        assert_eq!(plan::submit(admin, &verified).await.unwrap().seq, Seq(seq));
        node.finished(Seq(seq)).await;
        // With nothing but its keys it comes back: its certificate and its receipts are its own.
        node.kill(Half::Agent);
        node.kill(Half::Executor);
        std::fs::remove_dir_all(folder.path().join("agent")).unwrap();
        node.begin(Half::Executor);
        node.begin(Half::Agent);
    }
}
