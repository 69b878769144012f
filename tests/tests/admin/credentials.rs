//! What registries are asked with comes from a file of the admin's own to containerd's on the machine, and lies in the
//! clear nowhere on the way.
//!
//! Coordinator, agent, executor, sealing and the admin's operations are real. Double: the machine and what runs on it.

use std::os::unix::fs::PermissionsExt as _;

use hostler_cli::credentials;
use hostler_plan::document::Receipt;

use super::*;

const FLEET: &str = r#"
name = "home"
distribution = "kubeadm"
version = "v1.36.3"
api = "k8s.lab:6443"
[policy]
soak_seconds = 1
[[nodes]]
name = "s1"
role = "server"
arch = "aarch64"
address = "10.0.0.11"
[machine.container_runtime.registries."registry.lab:5000"]
mirrors = ["https://mirror.lab"]
credentials = { "registry.lab:5000" = "secrets/lab.toml", "https://mirror.lab" = "secrets/mirror.toml" }
"#;

const PASSWORD: &str = "hunter2-“never”-told";
const TOKEN: &str = "a.token-never~told==";
const FILE: &str = "/etc/containerd/certs.d/registry.lab_5000_/hosts.toml";

fn secret(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Makes, signs and watches a baseline by this fleet file; what s1 did in its task.
async fn baseline(admin: &mut Admin, profile: &Profile, file: &Path) -> Receipt {
    let (mut fleet, _) = plan::read_fleet(file).unwrap();
    let intent = Intent::Baseline { nodes: Selection::All };
    let make = async {
        loop {
            let roster = admin.trust_store().require_roster().unwrap().document().clone();
            let sealed = credentials::seal(&fleet, file, &roster).unwrap();
            fleet.sealed = sealed.artifacts.clone();
            match plan::compile(admin, &fleet, &intent, None, now()).await {
                // What the coordinator knows of the cluster comes with the next report.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Ok(compiled) => break (compiled, sealed),
            }
        }
    };
    let (compiled, sealed) = tokio::time::timeout(PATIENCE, make).await.expect("s1 is connected and in its cluster");
    sealed.keep(&compiled.plan, &profile.kept_artifacts()).unwrap();
    let files = plan::ArtifactFiles { kept: Some(profile.kept_artifacts()), ..plan::ArtifactFiles::default() };
    plan::upload_missing(admin, &compiled.plan, None, &files).await.unwrap();
    let mut signed = Signed { bytes: compiled.bytes, signatures: Vec::new() };
    sign(admin, &mut signed);
    let submitted = submit(admin, &signed).await.unwrap();
    let evidence = watch(admin, submitted.seq).await;
    let mut receipts = evidence.receipts.into_iter();
    receipts.rfind(|receipt| receipt.task.to_string() == "s1.prepare").expect("s1 says what it did")
}

fn changed(receipt: &Receipt, op: &str) -> bool {
    receipt.steps.iter().any(|step| step.op == op && step.changed)
}

/// Every file below a folder that has one of these in it, but for the admin's own.
fn with_any(folder: &Path, but: &Path, clear: &[String]) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path != but);
    let found = entries.flat_map(|path| match std::fs::symlink_metadata(&path).unwrap() {
        found if found.is_dir() => with_any(&path, but, clear),
        found if found.is_file() => {
            let content = std::fs::read(&path).unwrap();
            let has = clear.iter().any(|clear| content.windows(clear.len()).any(|part| part == clear.as_bytes()));
            if has { vec![path] } else { Vec::new() }
        }
        _ => Vec::new(),
    });
    found.collect()
}

#[tokio::test]
async fn credentials_reach_containerd_and_lie_in_the_clear_nowhere_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    let world = super::snapshot::enrol(folder, &mut admin).await;
    let (file, secrets) = (folder.join("fleet.toml"), folder.join("secrets"));
    std::fs::write(&file, FLEET).unwrap();
    secret(&secrets.join("lab.toml"), &format!("user = \"pull\"\r\npassword = \"{PASSWORD}\"\r\n"));
    secret(&secrets.join("mirror.toml"), &format!("token = \"{TOKEN}\"\n"));
    let there = || {
        let machine = world.now().machine(&NodeName::new("s1").unwrap()).unwrap().clone();
        machine.files.get(FILE).map(|file| (file.mode, String::from_utf8(file.content.clone()).unwrap()))
    };

    let receipt = baseline(&mut admin, &profile, &file).await;
    assert!(receipt.outcome.is_success() && changed(&receipt, "registry.ensure"), "{receipt:?}");
    let (mode, text) = there().expect("it is written");
    let basic = {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        STANDARD.encode(format!("pull:{PASSWORD}"))
    };
    assert_eq!(mode, 0o600);
    assert!(text.contains(&format!("Basic {basic}")) && text.contains(&format!("Bearer {TOKEN}")), "{text}");

    // The same once more changes nothing, another password does, and what the file has no more goes.
    let again = baseline(&mut admin, &profile, &file).await;
    assert!(again.outcome.is_success() && !again.steps.iter().any(|step| step.changed), "{again:?}");
    secret(&secrets.join("mirror.toml"), "token = \"another\"\n");
    let rotated = baseline(&mut admin, &profile, &file).await;
    assert!(changed(&rotated, "registry.ensure") && there().unwrap().1.contains("Bearer another"), "{rotated:?}");
    std::fs::write(&file, FLEET.replace("credentials = {", "# credentials = {")).unwrap();
    let open = baseline(&mut admin, &profile, &file).await;
    assert!(open.outcome.is_success() && !there().unwrap().1.contains("Authorization"), "{open:?}");
    let (without, _) = FLEET.split_once("[machine").unwrap();
    std::fs::write(&file, FLEET).unwrap();
    baseline(&mut admin, &profile, &file).await;
    std::fs::write(&file, format!("{without}[machine]\nmodules = [\"overlay\"]\n")).unwrap();
    let gone = baseline(&mut admin, &profile, &file).await;
    assert!(changed(&gone, "registry.forget") && there().is_none(), "{gone:?}");

    coordinator.end().await;
    let clear = [PASSWORD.to_owned(), TOKEN.to_owned(), basic];
    assert_eq!(with_any(folder, &secrets, &clear), Vec::<PathBuf>::new());
    assert_eq!(with_any(folder, Path::new("/nowhere"), &clear).len(), 1, "the look finds what is there");
}
