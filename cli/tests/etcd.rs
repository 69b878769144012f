//! A snapshot of a real etcd, verified by the real etcdutl. Needs etcd, etcdctl and etcdutl in the folder that
//! HOSTLER_ETCD names, or in the path; without them it says so and passes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hostler_plan::{
    document::{SnapshotFile, SnapshotNote, SnapshotType},
    id::Digest,
};
use hostler_seal::{Identity, Packed, pack};

const PROGRAMS: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];

/// The folder with all three; none where one is missing.
fn programs() -> Option<PathBuf> {
    let named = std::env::var_os("HOSTLER_ETCD").map(PathBuf::from);
    let in_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut folders = named.into_iter().chain(in_path.unwrap_or_default());
    folders.find(|folder| PROGRAMS.iter().all(|program| folder.join(program).is_file()))
}

struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server of one member with ten keys, on ports that nobody has.
fn etcd(bin: &Path, data: &Path) -> (Etcd, String) {
    let url = || {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        format!("http://127.0.0.1:{port}")
    };
    let (client, peer) = (url(), url());
    let mut command = Command::new(bin.join("etcd"));
    command.args(["--name", "t", "--data-dir"]).arg(data);
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("t={peer}")]).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Etcd(command.spawn().unwrap());
    let began = Instant::now();
    while !etcdctl(bin, &client, &["endpoint", "health"]).0 {
        assert!(began.elapsed() < Duration::from_secs(60), "etcd does not answer");
    }
    for key in 0..10 {
        assert!(etcdctl(bin, &client, &["put", &format!("key{key}"), "value"]).0);
    }
    (server, client)
}

fn etcdctl(bin: &Path, url: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(bin.join("etcdctl")).args(["--endpoints", url]).args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn what_etcdutl_finds_in_a_snapshot_is_what_was_noted_or_it_is_refused() {
    let Some(bin) = programs() else {
        println!("skipped: expected etcd, etcdctl and etcdutl in the folder HOSTLER_ETCD or in the path, found none");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (_server, url) = etcd(&bin, &folder.path().join("data"));
    let db = folder.path().join("snapshot.db");
    assert!(etcdctl(&bin, &url, &["snapshot", "save", db.to_str().unwrap()]).0);
    let status =
        Command::new(bin.join("etcdutl")).args(["snapshot", "status", "-w", "json"]).arg(&db).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let (hash, revision) = (status["hash"].as_u64().unwrap(), status["revision"].as_u64().unwrap());
    assert!(revision >= 11, "ten keys were written: {status}");

    let data = std::fs::read(&db).unwrap();
    let safe = Identity::generate();
    let (file, key) = (folder.path().join("snapshot.age"), folder.path().join("key"));
    std::fs::write(&key, safe.to_secret_text()).unwrap();
    let verify = |revision: u64| {
        let note = SnapshotNote {
            document_type: SnapshotType::V1,
            fleet_id: hostler_fixtures::fleet_id(),
            name: "s1-20261128T201500Z".to_owned(),
            node: hostler_fixtures::name("s1"),
            taken: "2026-11-28T20:15:00Z".parse().unwrap(),
            cluster_id: "ab".to_owned(),
            revision,
            keys: 10,
            hash: format!("{hash:x}"),
            etcd: "3.6.8".to_owned(),
            kubernetes: "v1.36.3".to_owned(),
            files: vec![SnapshotFile {
                name: SnapshotNote::DATA.to_owned(),
                sha256: Digest::of(&data),
                size: data.len() as u64,
            }],
        };
        let text = hostler_plan::json::write(&note);
        let (mut text, mut content) = (&text[..], &data[..]);
        let parts = [
            Ok(Packed { name: SnapshotNote::NAME, size: text.len() as u64, content: &mut text }),
            Ok(Packed { name: SnapshotNote::DATA, size: data.len() as u64, content: &mut content }),
        ];
        std::fs::write(&file, pack(&[safe.recipient()], parts, Vec::new()).unwrap()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostler"));
        command.env_clear().env("PATH", &bin).args(["snapshot", "verify", "--recovery-key"]).arg(&key).arg(&file);
        let output = command.arg("--home").arg(folder.path().join("home")).output().unwrap();
        (output.status.success(), format!("{output:?}"))
    };
    let (is_well, said) = verify(revision);
    assert!(is_well && said.contains("etcdutl finds in it what was noted"), "{said}");
    let (is_well, said) = verify(revision + 1);
    assert!(!is_well && said.contains(&format!("found {hash:x} at {revision}")), "{said}");
}
