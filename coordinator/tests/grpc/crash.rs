//! The coordinator as a process that dies at any moment, and on a disk that is full.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use hostler_fixtures::signed;
use hostler_plan::{document::DocumentKind, entry::Entry, step::ClusterRole};
use hostler_proto::{
    tls::{BoundChannel, Coordinator, connect_bound},
    v1::{self, admin_client::AdminClient},
};
use serde_json::Value;
use tonic::Code;

use crate::fleet::{Admin, Fleet};

const ROUNDS: u32 = 25;

/// A process that is killed when the test ends, however it ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostler-coordinator"));
    with_settings(&mut command, folder);
    command
}

fn with_settings(command: &mut Command, folder: &Path) {
    command.env("HOSTLER_COORDINATOR_DATA_DIR", folder).stdout(Stdio::null()).stderr(Stdio::null());
    for listen in ["ENROLMENT", "AGENT", "ADMIN"] {
        command.env(format!("HOSTLER_COORDINATOR_{listen}_LISTEN"), "127.0.0.1:0");
    }
}

async fn admin_address(folder: &Path) -> String {
    let began = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(folder.join("addresses.json")) {
            let addresses: Value = serde_json::from_str(&text).unwrap();
            return addresses["admin"].as_str().unwrap().to_owned();
        }
        assert!(began.elapsed() < Duration::from_secs(30), "the coordinator does not come up");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn channel(fleet: &Fleet, folder: &Path) -> BoundChannel {
    let address = admin_address(folder).await;
    connect_bound(&Coordinator { address, ..fleet.at(([127, 0, 0, 1], 0).into()) }, None).await.unwrap()
}

/// A folder with root 1 in it, and the keys to it; the coordinator that made it has stopped.
async fn with_root() -> (Fleet, tempfile::TempDir) {
    let mut fleet = Fleet::start().await;
    let folder = fleet.coordinator.take().unwrap().stop().await;
    (fleet, folder)
}

/// Hands in tokens, one after the other, until the coordinator is gone. Gives those that were acknowledged.
async fn hand_in_tokens(fleet: &Fleet, mut admin: Admin, count: &AtomicU32) -> Vec<String> {
    let mut acknowledged = Vec::new();
    loop {
        let token = fleet.new_token(1, ClusterRole::Worker);
        let document = signed(DocumentKind::Admission, &token.admission, &[&fleet.admin]);
        let request = admin.with_session(document.into());
        match admin.client.submit_admission(request).await {
            Ok(_) => {
                acknowledged.push(token.admission.token.to_string());
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => return acknowledged,
        }
    }
}

#[tokio::test]
async fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    let (fleet, folder) = with_root().await;
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let process = Process(command(folder.path()).spawn().unwrap());
        let admin = Admin::login(channel(&fleet, folder.path()).await, fleet.pin, &fleet.admin).await.unwrap();
        let count = Arc::new(AtomicU32::new(0));
        let seen = count.clone();
        // After some acknowledgements, and then at a moment that has nothing to do with them.
        let killer = tokio::task::spawn_blocking(move || {
            while seen.load(Ordering::Relaxed) < round % 4 {
                std::thread::sleep(Duration::from_micros(100));
            }
            std::thread::sleep(Duration::from_micros(u64::from(round) * 733 % 9_000));
            drop(process);
        });
        acknowledged.extend(hand_in_tokens(&fleet, admin, &count).await);
        killer.await.unwrap();
        // The next start must not find the addresses of this one.
        std::fs::remove_file(folder.path().join("addresses.json")).unwrap();
    }
    assert!(acknowledged.len() >= ROUNDS as usize, "{} were acknowledged", acknowledged.len());
    let _process = Process(command(folder.path()).spawn().unwrap());
    let mut admin = Admin::login(channel(&fleet, folder.path()).await, fleet.pin, &fleet.admin).await.unwrap();
    let request = admin.with_session(v1::Empty {});
    let tokens = admin.client.list_tokens(request).await.unwrap().into_inner().tokens;
    let known: Vec<String> = tokens
        .iter()
        .map(|t| {
            serde_json::from_slice::<Value>(&t.admission.as_ref().unwrap().content).unwrap()["token"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    for token in acknowledged {
        assert!(known.contains(&token), "token {token} was acknowledged and is lost");
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_that_changes_nothing() {
    let (fleet, folder) = with_root().await;
    // No file may grow beyond 16 KiB; like a full disk, a write then ends early and the next one fails. The index has
    // its files already.
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("trap '' XFSZ; ulimit -f 32; exec \"$0\"").arg(env!("CARGO_BIN_EXE_hostler-coordinator"));
    with_settings(&mut shell, folder.path());
    let process = Process(shell.spawn().unwrap());
    let admin = Admin::login(channel(&fleet, folder.path()).await, fleet.pin, &fleet.admin).await.unwrap();
    let mut again = AdminClient::new(channel(&fleet, folder.path()).await.channel);
    let acknowledged = hand_in_tokens(&fleet, admin, &AtomicU32::new(0)).await;
    assert!((3..100).contains(&acknowledged.len()), "{} fit", acknowledged.len());
    let status = again.get_trust(v1::GetTrustRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "it still answers");
    drop(process);
    std::fs::remove_file(folder.path().join("addresses.json")).unwrap();

    let bytes = std::fs::read(folder.path().join("ledger")).unwrap();
    let (records, _) = hostler_plan::ledger::verify(&bytes).unwrap();
    let admissions =
        records.iter().filter(|r| matches!(r.entry, Entry::Document { kind: DocumentKind::Admission, .. }));
    assert_eq!(admissions.count(), acknowledged.len(), "what was refused left nothing behind");
    let _process = Process(command(folder.path()).spawn().unwrap());
    let mut admin = Admin::login(channel(&fleet, folder.path()).await, fleet.pin, &fleet.admin).await.unwrap();
    let token = fleet.new_token(1, ClusterRole::Worker);
    let document = signed(DocumentKind::Admission, &token.admission, &[&fleet.admin]);
    let request = admin.with_session(document.into());
    admin.client.submit_admission(request).await.unwrap();
}

/// Standard error of a coordinator that must not start.
fn complaint(command: &mut Command) -> String {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn what_is_in_the_way_is_named() {
    let fleet = Fleet::start().await;
    let folder = fleet.coordinator().folder.path();
    let text = complaint(&mut command(folder));
    assert!(text.contains("in use") && text.contains("data_dir"), "{text}");

    let taken = fleet.coordinator().addresses.admin.to_string();
    let other = tempfile::tempdir().unwrap();
    let text = complaint(command(other.path()).env("HOSTLER_COORDINATOR_ADMIN_LISTEN", &taken));
    assert!(text.contains(&taken) && text.contains("admin_listen"), "{text}");

    let file = other.path().join("file");
    std::fs::write(&file, "").unwrap();
    let text = complaint(&mut command(&file.join("data")));
    assert!(text.contains("file/data"), "{text}");
}

#[tokio::test]
async fn a_coordinator_that_is_not_new_makes_no_other_key_for_its_ca() {
    let (_fleet, folder) = with_root().await;
    let key = folder.path().join("ca.key");
    std::fs::remove_file(&key).unwrap();
    let text = complaint(&mut command(folder.path()));
    assert!(text.contains("ca.key is missing") && text.contains("restore it from a backup"), "{text}");
    assert!(!key.exists());
    // Its certificate is another matter.
    let (fleet, folder) = with_root().await;
    std::fs::write(folder.path().join("ca.crt"), "rot").unwrap();
    let _process = Process(command(folder.path()).spawn().unwrap());
    Admin::login(channel(&fleet, folder.path()).await, fleet.pin, &fleet.admin).await.unwrap();
}

#[tokio::test]
async fn a_damaged_ledger_is_refused_and_recovered_when_asked() {
    let (fleet, folder) = with_root().await;
    let path = folder.path().join("ledger");
    let mut bytes = std::fs::read(&path).unwrap();
    let good = bytes.len();
    bytes.extend_from_slice(b"0000 not a record\n");
    std::fs::write(&path, &bytes).unwrap();
    let text = complaint(&mut command(folder.path()));
    assert!(text.contains("record 1") && text.contains("recover"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let output = command(folder.path()).arg("recover").stdout(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("kept 1 records"), "{text}");
    assert_eq!(std::fs::read(folder.path().join(format!("ledger.damaged-{good}"))).unwrap(), b"0000 not a record\n");
    let _process = Process(command(folder.path()).spawn().unwrap());
    Admin::login(channel(&fleet, folder.path()).await, fleet.pin, &fleet.admin).await.unwrap();
}
