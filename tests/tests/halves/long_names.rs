//! Nodes whose names are as long as Kubernetes allows, with the programs as they are: they enrol, get certificates,
//! report and perform plans, and receipts, files, metrics and the ledger carry whole names, so that two that differ in
//! their last letter alone never meet.

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

#[tokio::test]
async fn two_nodes_whose_long_names_differ_in_the_last_letter_never_meet() {
    let names = ["x", "y"].map(|last| format!("{}{last}", &longest()[..252]));
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup {
        program: Path::new(PROGRAM),
        advertised_host: Ipv4Addr::LOCALHOST,
        settings: "metrics_listen = \"127.0.0.1:0\"\nreport_interval_seconds = 1\n",
    };
    let mut stand = Stand::start(folder.path(), &setup).await.unwrap();
    let join = stand.join_string(2, ClusterRole::Worker).await.unwrap().encode();
    let mut running = Vec::new();
    for (place, name) in ["1", "2"].into_iter().zip(&names) {
        let own = folder.path().join(place);
        std::fs::create_dir(&own).unwrap();
        write_settings(&own, name);
        std::fs::write(own.join("join"), &join).unwrap();
        for half in ["executor", "agent"] {
            let mut command = Command::new(PROGRAM);
            command.arg(half).arg("--config").arg(own.join(format!("{half}.toml"))).stdout(Stdio::null());
            running.push(Process::start(&mut command, &own.join(format!("{half}.log"))).unwrap());
        }
    }
    assert_eq!(stand.enrolled(2).await.unwrap(), names.clone().map(|name| name.parse().unwrap()));
    let node = |name: &str| format!("[[nodes]]\nname = {name:?}\nrole = \"worker\"\narch = \"x86_64\"\n");
    let server = FLEET.split_once("[[nodes]]\nname = \"w1\"").unwrap().0;
    let text = server.to_owned() + &names.clone().map(|name| node(&name)).concat();
    let (fleet, _) = Fleet::from_toml(&[("fleet.toml", &text)]).unwrap();
    let check = Intent::Check { nodes: Selection::All };
    let admin = &mut stand.admin;
    let compiled = until("both are connected", async || {
        let compiled = plan::compile(admin, &fleet, &check, None, now()).await.ok()?;
        (compiled.plan.tasks.len() == 2).then_some(compiled)
    })
    .await;
    let signed = sign(admin, compiled.bytes);
    let verified = plan::verify(admin.trust_store(), &signed, now()).unwrap();
    let seq = plan::submit(admin, &verified).await.unwrap().seq;
    let watched = tokio::time::timeout(PATIENCE, rollout::watch(admin, &seq.to_string(), &mut |_: &_| Ok(()))).await;
    let detail = watched.expect("the rollout ends").unwrap();
    rollout::ending(&detail).unwrap();
    assert_eq!(rollout::verify(admin.trust_store(), &detail).proved.len(), 2);
    let mut keys = Vec::new();
    for name in &names {
        let found = hostler_cli::node::get(admin, &name.parse().unwrap()).await.unwrap();
        let summary = found.summary.unwrap();
        assert_eq!(&summary.name, name);
        keys.push(summary.key);
    }
    assert_ne!(keys[0], keys[1], "each has a certificate for a key of its own");
    let metrics = stand.metrics().await.unwrap();
    until("both are scraped under their whole names", async || {
        let text = get(metrics).ok()?;
        let is_there = |name: &String| text.contains(&format!("hostler_node_up{{instance=\"{name}\"}} 1"));
        names.iter().all(is_there).then_some(())
    })
    .await;
    drop(running);
}

fn get(address: std::net::SocketAddr) -> std::io::Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
