//! Keys as admins have them: made by stock ssh-keygen, held by a real ssh-agent; stock ssh-keygen accepts what we sign.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use hostler_cli::key::{KeyError, KeySource, SigningKey, read_public_key};
use hostler_plan::{document::DocumentKind, signature::verify};

const TEXT: &[u8] = b"{\n  \"a\": 1\n}\n";

fn keygen(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let status = Command::new("ssh-keygen")
        .args(["-q", "-C", "admin@rack", "-f"])
        .arg(&path)
        .args(arguments)
        .status()
        .expect("ssh-keygen is installed");
    assert!(status.success());
    path
}

/// Asks stock ssh-keygen whether it accepts a signature.
fn ssh_keygen_accepts(folder: &Path, signer: &SigningKey, kind: DocumentKind, armour: &str) -> bool {
    let allowed = folder.join("allowed_signers");
    std::fs::write(&allowed, format!("admin namespaces=\"{}\" {}\n", kind.namespace(), signer.public_key())).unwrap();
    let signature = folder.join("document.sig");
    std::fs::write(&signature, armour).unwrap();
    let mut child = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-I", "admin", "-n", kind.namespace(), "-f"])
        .arg(&allowed)
        .arg("-s")
        .arg(&signature)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(TEXT).unwrap();
    child.wait().unwrap().success()
}

fn file_source(path: &Path) -> KeySource {
    KeySource { path: Some(path.to_owned()), ..KeySource::default() }
}

#[test]
fn every_kind_of_key_file_signs_what_ssh_keygen_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("passphrase");
    std::fs::write(&secret, "correct horse\n").unwrap();
    let cases: [(&str, &[&str]); 4] = [
        ("ed25519", &["-t", "ed25519", "-N", ""]),
        ("ecdsa", &["-t", "ecdsa", "-b", "256", "-N", ""]),
        ("ed25519-locked", &["-t", "ed25519", "-N", "correct horse"]),
        ("ecdsa-locked", &["-t", "ecdsa", "-b", "256", "-N", "correct horse", "-Z", "aes256-gcm@openssh.com"]),
    ];
    for (name, arguments) in cases {
        let path = keygen(folder.path(), name, arguments);
        let source = KeySource { passphrase_file: Some(secret.clone()), ..file_source(&path) };
        let signer = match SigningKey::find(&source, &[]) {
            Ok(signer) => signer,
            Err(e) => panic!("{name}: {e}"),
        };
        for kind in [DocumentKind::Root, DocumentKind::Plan] {
            let armour = signer.sign(kind, TEXT).unwrap();
            assert_eq!(verify(kind, TEXT, &armour).unwrap(), signer.public_key(), "{name}");
            assert!(ssh_keygen_accepts(folder.path(), &signer, kind, &armour), "{name}");
        }
        assert_eq!(read_public_key(&path.with_extension("pub")).unwrap(), signer.public_key());
    }
}

#[test]
fn keys_that_cannot_be_used_say_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let message = |source: &KeySource| SigningKey::find(source, &[]).expect_err("no key").to_string();

    let locked = keygen(folder.path(), "locked", &["-t", "ed25519", "-N", "correct horse"]);
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "wrong\n").unwrap();
    let text = message(&KeySource { passphrase_file: Some(wrong), ..file_source(&locked) });
    assert!(text.contains("passphrase is wrong"), "{text}");

    let rsa = keygen(folder.path(), "rsa", &["-t", "rsa", "-b", "2048", "-N", ""]);
    let text = message(&file_source(&rsa));
    assert!(text.contains("ssh-rsa") && text.contains("ssh-keygen -t ed25519"), "{text}");

    let pem = keygen(folder.path(), "pem", &["-t", "ecdsa", "-b", "256", "-N", "", "-m", "PEM"]);
    let text = message(&file_source(&pem));
    assert!(text.contains("BEGIN EC PRIVATE KEY") && text.contains("ssh-keygen -p"), "{text}");

    let open = keygen(folder.path(), "open", &["-t", "ed25519", "-N", ""]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&open, mode).unwrap();
    let text = message(&file_source(&open));
    assert!(text.contains("0644") && text.contains("chmod 600"), "{text}");

    let cut = keygen(folder.path(), "cut", &["-t", "ed25519", "-N", ""]);
    let whole = std::fs::read_to_string(&cut).unwrap();
    std::fs::write(&cut, &whole[..200]).unwrap();
    assert!(message(&file_source(&cut)).contains("damaged"));

    assert!(message(&file_source(&folder.path().join("absent"))).contains("--key"));
    assert!(message(&KeySource::default()).contains("--key"));
}

/// A real ssh-agent that ends with the test.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(folder: &Path) -> Self {
        let socket = folder.join("agent.sock");
        // -D stays in the foreground, so that it can be ended by its id.
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ssh-agent is installed");
        for _ in 0..500 {
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self { child, socket }
    }

    fn add(&self, key: &Path) {
        let status = Command::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &self.socket)
            .stderr(Stdio::null())
            .status()
            .expect("ssh-add is installed");
        assert!(status.success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_key_in_ssh_agent_signs_what_ssh_keygen_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let rsa = keygen(folder.path(), "rsa", &["-t", "rsa", "-b", "2048", "-N", ""]);
    let first = keygen(folder.path(), "first", &["-t", "ed25519", "-N", ""]);
    let second = keygen(folder.path(), "second", &["-t", "ecdsa", "-b", "256", "-N", ""]);
    for key in [&rsa, &first, &second] {
        agent.add(key);
    }
    let wanted = read_public_key(&second).unwrap();
    // The private halves are gone from the disk: only the agent has them.
    std::fs::remove_file(&first).unwrap();
    std::fs::remove_file(&second).unwrap();
    let source = KeySource { agent_socket: Some(agent.socket.clone()), ..KeySource::default() };

    let any = SigningKey::find(&source, &[]).unwrap();
    assert_eq!(any.public_key(), read_public_key(&first.with_extension("pub")).unwrap(), "the first that counts");
    let by_root = SigningKey::find(&source, &[wanted.fingerprint()]).unwrap();
    assert_eq!(by_root.public_key(), wanted);
    let named = KeySource { path: Some(second.with_extension("pub")), ..source.clone() };
    let named = SigningKey::find(&named, &[]).unwrap();

    for signer in [any, by_root, named] {
        let armour = signer.sign(DocumentKind::Plan, TEXT).unwrap();
        assert_eq!(verify(DocumentKind::Plan, TEXT, &armour).unwrap(), signer.public_key());
        assert!(ssh_keygen_accepts(folder.path(), &signer, DocumentKind::Plan, &armour));
    }

    let other = keygen(folder.path(), "other", &["-t", "ed25519", "-N", ""]).with_extension("pub");
    let missing = SigningKey::find(&KeySource { path: Some(other), ..source }, &[]);
    assert!(matches!(missing, Err(KeyError::NotInAgent { .. })));
}

#[test]
fn an_agent_that_went_away_does_not_hide_the_key_file() {
    let folder = tempfile::tempdir().unwrap();
    let key = keygen(folder.path(), "id_ed25519", &["-t", "ed25519", "-N", ""]);
    let source = KeySource {
        agent_socket: Some(folder.path().join("gone.sock")),
        usual: vec![key.clone()],
        ..KeySource::default()
    };
    assert_eq!(SigningKey::find(&source, &[]).unwrap().public_key(), read_public_key(&key).unwrap());
    let stranger = read_public_key(&keygen(folder.path(), "stranger", &["-t", "ed25519", "-N", ""])).unwrap();
    let text = SigningKey::find(&source, &[stranger.fingerprint()]).expect_err("not in the root").to_string();
    assert!(text.contains("trust root"), "{text}");
}
