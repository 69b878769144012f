//! `hostler recovery key new` and `hostler snapshot verify`: the private half goes into one file, and opens snapshots.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use hostler_cli::snapshot;
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

/// A sealed snapshot of those data, whose note says that digest of them.
fn sealed(safe: &Identity, data: &[u8], sha256: Digest) -> Vec<u8> {
    let note = SnapshotNote {
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
        files: vec![SnapshotFile { name: SnapshotNote::DATA.to_owned(), sha256, size: data.len() as u64 }],
    };
    let text = hostler_plan::json::write(&note);
    let (mut text, mut content) = (&text[..], data);
    let parts = [
        Ok(Packed { name: SnapshotNote::NAME, size: text.len() as u64, content: &mut text }),
        Ok(Packed { name: SnapshotNote::DATA, size: content.len() as u64, content: &mut content }),
    ];
    pack(&[safe.recipient()], parts, Vec::new()).unwrap()
}

/// A double of etcdutl notes what it finds: nothing in the folder for temporary files, and the data all the same.
#[test]
fn etcdutl_looks_into_data_that_have_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let (safe, data) = (Identity::generate(), vec![7u8; 200_000]);
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("tmp")).unwrap();
    let program = "#!/bin/sh\n[ \"$1\" = version ] && exit 0\nfor file; do :; done\n\
                   { ls -A \"$TMPDIR\"; wc -c < \"$file\"; } > \"$TMPDIR/../seen\"\n\
                   echo '{\"hash\":7,\"revision\":12}'\n";
    std::fs::write(at("etcdutl"), program).unwrap();
    std::fs::set_permissions(at("etcdutl"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(at("snapshot.age"), sealed(&safe, &data, Digest::of(&data))).unwrap();
    std::fs::write(at("key"), safe.to_secret_text()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostler"));
    command.env_clear().env("PATH", format!("{}:/usr/bin:/bin", folder.path().display())).env("TMPDIR", at("tmp"));
    command.args(["snapshot", "verify", "--recovery-key"]).arg(at("key")).arg(at("snapshot.age"));
    let output = command.arg("--home").arg(at("home")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("etcdutl finds in it what was noted"), "{output:?}");
    assert_eq!(std::fs::read_to_string(at("seen")).unwrap().trim(), "200000");
}

#[test]
fn only_the_file_that_was_verified_is_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let (safe, server, data) = (Identity::generate(), Identity::generate().recipient(), vec![7u8; 200_000]);
    let (file, into) = (folder.path().join("snapshot.age"), folder.path().join("handed"));
    std::fs::write(&file, sealed(&safe, &data, Digest::of(&data))).unwrap();
    let verified = snapshot::verify(&file, &safe).unwrap();
    let hand_on = || snapshot::hand_on((&file, &verified), &safe, std::slice::from_ref(&server), &into);
    hand_on().unwrap();
    assert!(into.is_file());
    // Another one of the same key, put there meanwhile.
    std::fs::write(&file, sealed(&safe, b"other data", Digest::of(b"other data"))).unwrap();
    assert!(hand_on().unwrap_err().to_string().contains("which was verified"));
    assert!(!into.exists());
}

#[test]
fn a_snapshot_verifies_with_its_key_and_no_changed_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let (safe, other) = (Identity::generate(), Identity::generate());
    let data = vec![7u8; 200_000];
    let file = folder.path().join("snapshot.age");
    let write = |sha256: Digest| std::fs::write(&file, sealed(&safe, &data, sha256)).unwrap();
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
    write(Digest::of(&data));
    let (is_well, said) = run(&safe);
    assert!(is_well && said.contains("s1-20261128T201500Z"), "{said}");
    assert!(run(&other).1.contains("sealed to other keys"));
    write(Digest::of(b"other data"));
    assert!(run(&safe).1.contains("found that etcd.db differs"));
    write(Digest::of(&data));
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert!(run(&safe).1.contains("changed or cut off"));
}
