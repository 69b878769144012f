//! `hostler recovery key new`: the private half goes into one file, and nowhere else.

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use hostler_seal::Identity;

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
