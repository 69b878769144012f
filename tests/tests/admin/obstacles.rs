//! Commands that end in an obstacle: whatever they were to do, they sign and hand in nothing on the way there, no
//! roster either.

use hostler_fixtures as made;

use super::*;

/// Artifacts of two versions that lie nowhere.
const ARTIFACTS: &str = r#"
[[artifacts]]
name = "k3s"
version = "v1.34.3+k3s1"
arch = "aarch64"
sha256 = "0000000000000000000000000000000000000000000000000000000000000001"
size = 1000
url = "https://example.org/k3s-arm64"
[[artifacts]]
name = "k3s"
version = "v1.34.4+k3s1"
arch = "aarch64"
sha256 = "0000000000000000000000000000000000000000000000000000000000000002"
size = 1000
url = "https://example.org/k3s-arm64"
"#;

#[tokio::test]
async fn a_command_that_ends_in_an_obstacle_has_signed_and_handed_in_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&anna).await.unwrap();
    enrol_s1(folder, &mut admin).await;
    let request = token::TokenRequest {
        uses: 1,
        lifetime: PATIENCE * 10,
        role: ClusterRole::Worker,
        approval: Approval::Automatic,
    };
    let join = token::create(&mut admin, &request, now()).await.unwrap();
    start_agents(folder, &[("w1", join.encode())]);
    all_enrolled(&mut admin, 1).await;
    std::fs::write(folder.join("fleet.toml"), format!("{FLEET}{ARTIFACTS}")).unwrap();
    std::fs::write(folder.join("file"), "no folder").unwrap();
    let before = signed_so_far(folder, &mut admin).await;

    let mut obstacles = Vec::new();
    for line in [
        // No cluster that it could join, and no place for the plan.
        "plan join w1 --yes --out FOLDER/join.json",
        "plan bootstrap --yes --out FOLDER/file/no/folder.json",
        // Of members that are none yet, and of nobody.
        "plan upgrade --to v1.34.4+k3s1 --out FOLDER/upgrade.json",
        "plan drain w1 --out FOLDER/drain.json",
        "plan uncordon w9 --out FOLDER/uncordon.json",
        "plan reboot w9 --out FOLDER/reboot.json",
        "plan check --nodes w9 --out FOLDER/check.json",
        "plan check --out FOLDER/file/no/folder.json",
        "drain w1 --yes --no-watch",
        "drain w9 --yes --no-watch",
        "uncordon w9 --yes --no-watch",
        "reboot w9 --yes --no-watch",
        "upgrade --to v1.34.4+k3s1 --yes --no-watch",
        "node approve w9 --yes",
        "node retire w9 --yes",
        "node replace w9 --yes",
    ] {
        let line = format!("--fleet FOLDER/fleet.toml {line}");
        let words: Vec<&str> = line.split(' ').collect();
        let obstacle = super::root::hostler(folder, &anna, &words).await.expect_err(&line);
        assert!(!obstacle.to_string().contains("fleet.toml"), "{line}: {obstacle}");
        obstacles.push(format!("{line}: {obstacle}"));
        assert_eq!(signed_so_far(folder, &mut admin).await, before, "{obstacles:#?}");
    }
    eprintln!("{obstacles:#?}");
    coordinator.end().await;
}

#[tokio::test]
async fn a_file_that_is_neither_here_nor_at_the_coordinator_is_named_before_anything_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&anna).await.unwrap();
    enrol_s1(folder, &mut admin).await;
    let roster = admin.trust_store().roster().unwrap().document().clone();
    let mut plan = made::plan(&roster, now(), 1);
    plan.artifacts = vec![made::artifact("k3s", b"a program")];
    let nowhere = plan::ArtifactFiles::default();
    let missing = plan::upload_missing(&mut admin, &plan, None, &nowhere).await.unwrap_err().to_string();
    assert!(missing.contains("k3s") && missing.contains("found it in neither place"), "{missing}");
    std::fs::write(folder.join("k3s"), "a program").unwrap();
    let here = plan::ArtifactFiles { directory: Some(folder.to_owned()), ..plan::ArtifactFiles::default() };
    assert_eq!(plan::upload_missing(&mut admin, &plan, None, &here).await.unwrap(), ["k3s"]);
    assert!(plan::upload_missing(&mut admin, &plan, None, &nowhere).await.unwrap().is_empty(), "it is there now");
    coordinator.end().await;
}

/// What the coordinator's ledger and the admin's machine hold that somebody signed.
async fn signed_so_far(folder: &Path, admin: &mut Admin) -> (usize, Vec<String>) {
    let mut lines = Vec::new();
    ledger::export(admin, 0, &mut lines, "memory".as_ref()).await.unwrap();
    let records = lines.iter().filter(|byte| **byte == b'\n').count();
    let mut files = Vec::new();
    let mut folders = vec![folder.join("home-anna"), folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(|e| e.unwrap().path()) {
            let name = entry.display().to_string();
            // The trust and the session are followed by every command.
            if entry.is_dir() && entry.ends_with("plans") {
                folders.push(entry);
            } else if name.ends_with(".sig") || name.ends_with(".plan.json") || name.contains("roster-") {
                files.push(name);
            }
        }
    }
    files.sort();
    (records, files)
}
