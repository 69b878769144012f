//! `hostler recovery key new` and `hostler snapshot verify`: the private half goes into one file, and opens snapshots.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use hostler_plan::{
    document::{SnapshotFile, SnapshotNote, SnapshotType},
    id::Digest,
};
use hostler_seal::{Identity, Packed, pack};

#[test]
fn a_new_key_is_in_its_file_alone_and_replaces_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recovery.key");
    let run = || {
        let home = folder.path().join("home");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostler"));
        command
            .env_clear()
            .args(["recovery", "key", "new", "--output", "json", "--out"])
            .arg(&file)
            .arg("--home")
            .arg(home);
        command.output().unwrap()
    };
    let made = run();
    let said = String::from_utf8(made.stdout).unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = std::fs::read_to_string(&file).unwrap();
    let key = Identity::from_file(&text).unwrap();
    assert!(said.contains(&key.recipient().to_string()) && !said.contains("SECRET"), "{said}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let again = run();
    assert!(!again.status.success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "the old one stays");
}

#[test]
fn a_snapshot_verifies_with_its_key_and_no_changed_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let (safe, other) = (Identity::generate(), Identity::generate());
    let data = vec![7u8; 200_000];
    let note = |sha256: Digest| SnapshotNote {
        document_type: SnapshotType::V1,
        fleet_id: hostler_fixtures::fleet_id(),
        name: "s1-20261128T201500Z".to_owned(),
        node: hostler_fixtures::name("s1"),
        taken: "2026-11-28T20:15:00Z".parse().unwrap(),
        cluster_id: "ab".to_owned(),
        revision: 12,
        keys: 3,
        hash: "7".to_owned(),
        etcd: "3.6.8".to_owned(),
        kubernetes: "v1.36.3".to_owned(),
        files: vec![SnapshotFile { name: SnapshotNote::DATA.to_owned(), sha256, size: 200_000 }],
    };
    let file = folder.path().join("snapshot.age");
    let write = |note: &SnapshotNote| {
        let text = hostler_plan::json::write(note);
        let (mut text, mut content) = (&text[..], &data[..]);
        let parts = [
            Ok(Packed { name: SnapshotNote::NAME, size: text.len() as u64, content: &mut text }),
            Ok(Packed { name: SnapshotNote::DATA, size: content.len() as u64, content: &mut content }),
        ];
        std::fs::write(&file, pack(&[safe.recipient()], parts, Vec::new()).unwrap()).unwrap();
    };
    let run = |key: &Identity| {
        let key_file = folder.path().join("key");
        std::fs::write(&key_file, key.to_secret_text()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostler"));
        command
            .env_clear()
            .args(["snapshot", "verify", "--output", "json", "--recovery-key"])
            .arg(&key_file)
            .arg(&file);
        let output = command.arg("--home").arg(folder.path().join("home")).output().unwrap();
        (output.status.success(), format!("{output:?}"))
    };
    write(&note(Digest::of(&data)));
    let (is_well, said) = run(&safe);
    assert!(is_well && said.contains("s1-20261128T201500Z"), "{said}");
    assert!(run(&other).1.contains("sealed to other keys"));
    write(&note(Digest::of(b"other data")));
    assert!(run(&safe).1.contains("found that etcd.db differs"));
    write(&note(Digest::of(&data)));
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert!(run(&safe).1.contains("changed or cut off"));
}
