//! A hardware key is touched once for 8 hours of logins, and once for each document.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    process::Stdio,
    sync::Mutex,
};

use ed25519_dalek::Signer as _;
use hostler_plan::{
    document::{DocumentKind, Pass},
    json,
    signature::{PublicKey, signer_lines},
};
use ssh_key::PrivateKey;

use tokio::net::{TcpListener, TcpStream};

use super::*;

const TYPE: &[u8] = b"sk-ssh-ed25519@openssh.com";
const APPLICATION: &[u8] = b"ssh:";

/// An ssh-agent with one hardware key, played in software. It keeps the namespaces of what was signed by touch.
struct Hardware {
    socket: PathBuf,
    key: ed25519_dalek::SigningKey,
    touches: Mutex<Vec<String>>,
    /// How long its owner takes to touch it.
    takes: Mutex<Duration>,
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// The first SSH string, and what stands behind it.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = bytes.split_at(4);
    rest.split_at(u32::from_be_bytes(length.try_into().unwrap()) as usize)
}

impl Hardware {
    fn plug_in(folder: &Path) -> Arc<Self> {
        let socket = folder.join("agent");
        let key = ed25519_dalek::SigningKey::from_bytes(&[70; 32]);
        let hardware = Self { socket, key, touches: Mutex::default(), takes: Mutex::default() };
        let (hardware, listener) = (Arc::new(hardware), UnixListener::bind(folder.join("agent")).unwrap());
        let agent = hardware.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A command that has its answer hangs up.
                let _ = agent.serve(&mut stream.unwrap());
            }
        });
        hardware
    }

    fn blob(&self) -> Vec<u8> {
        [string(TYPE), string(self.key.verifying_key().as_bytes()), string(APPLICATION)].concat()
    }

    fn public(&self) -> PublicKey {
        ssh_key::PublicKey::from_bytes(&self.blob()).unwrap().into()
    }

    fn serve(&self, stream: &mut UnixStream) -> io::Result<()> {
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut request)?;
            let answer = match request[0] {
                11 => [&[12, 0, 0, 0, 1], &string(&self.blob())[..], &string(b"a token")].concat(),
                _ => [&[14], &string(&self.sign(&request[1..]))[..]].concat(),
            };
            stream.write_all(&string(&answer))?;
        }
    }

    /// What the token signs: hashes of the application and of the message, that it was touched, a counter.
    fn sign(&self, request: &[u8]) -> Vec<u8> {
        let message = split(split(request).1).0;
        let (namespace, _) = split(message.strip_prefix(b"SSHSIG").unwrap());
        std::thread::sleep(*self.takes.lock().unwrap());
        self.touches.lock().unwrap().push(String::from_utf8(namespace.to_vec()).unwrap());
        let trailer = [&[1][..], &7_u32.to_be_bytes()].concat();
        let hash = |bytes| Digest::of(bytes).as_bytes().to_vec();
        let signed = [hash(APPLICATION), trailer.clone(), hash(message)].concat();
        [string(TYPE), string(&self.key.sign(&signed).to_bytes()), trailer].concat()
    }

    /// The command as its owner types it.
    async fn hostler(&self, who: &Profile, line: &[&str]) -> Result<(), Error> {
        let (home, key) = (who.home.display().to_string(), who.key.path.as_ref().unwrap().display().to_string());
        let coordinator = who.coordinator.clone().unwrap();
        let global = ["hostler", "--home", &home, "--key", &key, "--coordinator", &coordinator, "--output", "json"];
        let cli = <hostler_cli::args::Cli as clap::Parser>::try_parse_from(global.iter().chain(line)).unwrap();
        let agent = ("SSH_AUTH_SOCK".to_owned(), self.socket.display().to_string());
        hostler_cli::command::run(cli, &[agent]).await
    }

    /// What was touched for since the last time.
    fn touched_for(&self) -> Vec<String> {
        std::mem::take(&mut *self.touches.lock().unwrap())
    }
}

/// A fleet with Anna, who has a key file, and Carl, who has a hardware key: both are admins.
async fn with_carl(folder: &Path, coordinator: &Coordinator) -> (Profile, Profile, Arc<Hardware>) {
    let anna = set_up(folder, &folder.join("data"), coordinator.ports.0, 1).await;
    let hardware = Hardware::plug_in(folder);
    std::fs::write(folder.join("carl.pub"), hardware.public().to_string()).unwrap();
    let add = format!("carl={}:admin", folder.join("carl.pub").display());
    super::root::hostler(folder, &anna, &["trust", "amend", "--add-signer", &add, "--yes"]).await.unwrap();
    let mut carl = profile(folder, "carl", coordinator.ports.0);
    carl.key.path = Some(folder.join("carl.pub"));
    import(&anna, &carl);
    (anna, carl, hardware)
}

#[tokio::test]
async fn a_hardware_key_is_touched_once_for_all_logins_and_once_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let coordinator = Coordinator::start(&folder.join("data"), None).await;
    let (anna, carl, hardware) = with_carl(folder, &coordinator).await;
    let kept = carl.home.join("session");
    // Roots reach a profile by a login; the first one is by root 1, which does not know Carl.
    for command in [&["nodes"][..], &["rollouts"], &["nodes"], &["token", "list"]] {
        hardware.hostler(&carl, command).await.unwrap();
    }
    assert_eq!(hardware.touched_for(), ["hostler-pass"]);
    hardware.hostler(&carl, &["token", "create"]).await.unwrap();
    assert_eq!(hardware.touched_for(), ["hostler-admission"], "one touch a document");
    let mode = std::fs::metadata(kept.join("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // Whatever is wrong with what is kept, one touch replaces it.
    let of_anna = anna.home.join("session");
    let write = |file: &str, bytes: &[u8]| std::fs::write(kept.join(file), bytes).unwrap();
    let copy_of_anna = |file: &str| write(file, &std::fs::read(of_anna.join(file)).unwrap());
    let breaks: [(&str, &dyn Fn()); 8] = [
        ("no key", &|| std::fs::remove_file(kept.join("key")).unwrap()),
        ("no pass", &|| std::fs::remove_file(kept.join("pass.json")).unwrap()),
        ("half a key", &|| write("key", b"-----BEGIN OPENSSH PRIVATE KEY-----\n")),
        ("no JSON", &|| write("pass.json", b"{")),
        ("no signature", &|| write("pass.json.sig", b"")),
        ("a key that others read", &|| {
            std::fs::set_permissions(kept.join("key"), std::fs::Permissions::from_mode(0o644)).unwrap();
        }),
        ("another session key", &|| copy_of_anna("key")),
        ("another signer's", &|| ["key", "pass.json", "pass.json.sig"].into_iter().for_each(copy_of_anna)),
    ];
    for (what, broken) in breaks {
        broken();
        for _ in 0..2 {
            hardware.hostler(&carl, &["nodes"]).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        }
        assert_eq!(hardware.touched_for(), ["hostler-pass"], "{what}");
    }

    hardware.hostler(&carl, &["logout"]).await.unwrap();
    assert!(!kept.exists());
    hardware.hostler(&carl, &["logout"]).await.unwrap();
    assert_eq!(hardware.touched_for(), [""; 0]);
    hardware.hostler(&carl, &["nodes"]).await.unwrap();
    assert_eq!(hardware.touched_for(), ["hostler-pass"]);
    coordinator.end().await;
}

#[tokio::test]
async fn what_a_touch_signed_for_logins_is_a_pass_that_stock_ssh_keygen_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let coordinator = Coordinator::start(&folder.join("data"), None).await;
    let (_, carl, hardware) = with_carl(folder, &coordinator).await;
    let before = now();
    hardware.hostler(&carl, &["nodes"]).await.unwrap();
    let kept = carl.home.join("session");
    let bytes = std::fs::read(kept.join("pass.json")).unwrap();
    let pass: Pass = json::parse(&bytes).unwrap();
    let store = hostler_cli::trust_store::TrustStore::require(&carl.home).unwrap();
    assert_eq!(pass.signer, hardware.public().fingerprint());
    assert_eq!((&pass.fleet_id, &pass.coordinator_ca), (&store.root().fleet_id, &store.root().coordinator_ca));
    assert_eq!(pass.expires.since(pass.created), Duration::from_secs(8 * 3600));
    assert!(pass.created <= now() && pass.created >= before.whole_seconds());
    let key = read_public_key(&kept.join("key")).unwrap();
    assert_eq!(pass.session_key, key);

    std::fs::write(folder.join("allowed"), signer_lines(store.root())).unwrap();
    let accepts = |namespace: &str, bytes: &[u8]| {
        let mut child = Command::new("ssh-keygen")
            .args(["-q", "-Y", "verify", "-I", "carl", "-n", namespace, "-f"])
            .args([&folder.join("allowed"), Path::new("-s"), &kept.join("pass.json.sig")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(bytes);
        child.wait().unwrap().success()
    };
    assert!(accepts(DocumentKind::Pass.namespace(), &bytes));
    assert!(!accepts(DocumentKind::Plan.namespace(), &bytes));
    assert!(!accepts(DocumentKind::Pass.namespace(), &bytes[1..]));
    coordinator.end().await;
}

/// Puts a pass of Anna with this end in the place of the one that her profile keeps.
fn keep_until(anna: &Profile, key: &PrivateKey, until: hostler_plan::timestamp::Timestamp) -> Digest {
    let kept = anna.home.join("session").join("pass.json");
    let pass: Pass = json::parse(&std::fs::read(&kept).unwrap()).unwrap();
    let pass = Pass { expires: until, ..pass };
    let signed = hostler_fixtures::signed(DocumentKind::Pass, &pass, &[key]);
    hostler_cli::file::write_document(&kept, &signed).unwrap();
    signed.digest()
}

#[tokio::test]
async fn a_login_that_is_about_to_end_is_renewed_before_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna = set_up(folder, &data, coordinator.ports.0, 1).await;
    connect(&anna).await.unwrap();
    let key = PrivateKey::from_openssh(std::fs::read(folder.join("anna")).unwrap()).unwrap();
    let kept = || Digest::of(&std::fs::read(anna.home.join("session").join("pass.json")).unwrap());
    let minutes = |n: u64| now().plus(Duration::from_secs(n * 60)).whole_seconds();
    for (left, used) in [(20, true), (14, false)] {
        let shorter = keep_until(&anna, &key, minutes(left));
        connect(&anna).await.unwrap();
        assert_eq!(kept() == shorter, used, "{left} minutes before its end");
    }
    coordinator.end().await;
}

#[tokio::test]
async fn a_signer_who_was_revoked_is_told_so_after_one_touch_more() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let coordinator = Coordinator::start(&folder.join("data"), None).await;
    let (anna, carl, hardware) = with_carl(folder, &coordinator).await;
    hardware.hostler(&carl, &["nodes"]).await.unwrap();
    assert_eq!(hardware.touched_for(), ["hostler-pass"]);
    super::root::hostler(folder, &anna, &["trust", "amend", "--revoke", "carl", "--yes"]).await.unwrap();
    // Carl's profile cannot know yet.
    let refused = hardware.hostler(&carl, &["nodes"]).await.expect_err("revoked");
    assert_eq!(refused.exit_code(), Refusal::Revoked.exit_code(), "{refused}");
    assert_eq!(hardware.touched_for(), ["hostler-pass"]);
    coordinator.end().await;
}

#[tokio::test]
async fn patience_with_a_coordinator_does_not_count_the_time_that_a_touch_takes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let coordinator = Coordinator::start(&folder.join("data"), None).await;
    let (anna, carl, hardware) = with_carl(folder, &coordinator).await;
    enrol_s1(folder, &mut connect(&anna).await.unwrap()).await;
    *hardware.takes.lock().unwrap() = Duration::from_millis(2_100);
    hardware.hostler(&carl, &["stop", "--all", "--patience", "2s", "--wait", "1s", "--yes"]).await.unwrap();
    assert_eq!(hardware.touched_for(), ["hostler-pass", "hostler-plan"]);
    coordinator.end().await;
}

/// A neighbour that connects faster than a login takes leaves a place now and then (docs/limits.md).
#[tokio::test]
async fn a_login_that_is_cut_off_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let coordinator = Coordinator::start(&folder.join("data"), None).await;
    let mut anna = set_up(folder, &folder.join("data"), coordinator.ports.0, 1).await;
    let crowded = TcpListener::bind("127.0.0.1:0").await.unwrap();
    anna.coordinator = Some(crowded.local_addr().unwrap().to_string());
    let true_one = coordinator.ports.0;
    // The first ones end before the handshake, in it, and behind it, and those after them stay.
    tokio::spawn(async move {
        for most in [0, 300, 700, 1_000, 1_200].into_iter().chain(std::iter::repeat(u64::MAX)) {
            let (mut here, _) = crowded.accept().await.unwrap();
            tokio::spawn(async move {
                let mut there = TcpStream::connect(true_one).await.unwrap();
                let ((mut from, mut to), (back, mut forth)) = (here.split(), there.split());
                let mut back = tokio::io::AsyncReadExt::take(back, most);
                let (down, up) = (tokio::io::copy(&mut back, &mut to), tokio::io::copy(&mut from, &mut forth));
                tokio::select! { _ = down => {}, _ = up => {} }
            });
        }
    });
    super::root::hostler(folder, &anna, &["nodes"]).await.unwrap();
    coordinator.end().await;
}
