//! Credentials of registries: opened by the machine that they are sealed to, in a file for root alone, said nowhere.

use hostler_plan::{
    document::{DIFFERS, PlanKind},
    registry::{Authorization, Credential, Credentials, SECRET_HEAD},
    step::registry::{Ensure, Forget},
};
use hostler_seal::{Identity, seal_note};

use super::*;

const HUB: &str = "/etc/containerd/certs.d/docker.io/hosts.toml";
const LAB: &str = "/etc/containerd/certs.d/registry.lab_5000_/hosts.toml";
const SECRET: &str = "aHVudGVyMg==";

fn own_key(fleet: &Fleet) -> Identity {
    Identity::from_bytes(fleet.keys.sealing().to_bytes())
}

fn ensure(registry: &str, mirrors: &[&str]) -> Ensure {
    let host =
        |url: &str| hostler_plan::registry::RegistryHost { url: url.parse().unwrap(), ca: false, credentials: true };
    let registry: hostler_plan::registry::RegistryName = registry.parse().unwrap();
    let hosts = mirrors.iter().map(|url| host(url)).chain([host(registry.url().as_str())]).collect();
    Ensure { artifact: "staged".parse().unwrap(), registry, hosts }
}

/// Every one of these is asked with that.
fn credentials(steps: &[&Ensure], header: &str) -> Credentials {
    let of = |step: &&Ensure| {
        let registry = step.registry.clone();
        let authorization = Authorization::new(header.to_owned()).unwrap();
        let credential = move |url: &hostler_plan::registry::RegistryUrl| Credential {
            registry: registry.clone(),
            url: url.clone(),
            authorization: authorization.clone(),
        };
        step.hosts.iter().map(|host| credential(&host.url)).collect::<Vec<_>>()
    };
    Credentials { credentials: steps.iter().flat_map(of).collect() }
}

fn sealed(fleet: &Fleet, key: &Identity, credentials: &Credentials) -> Artifact {
    stage(fleet, &seal_note(key.recipient(), &serde_json::to_string(credentials).unwrap()).unwrap())
}

#[test]
fn what_was_sealed_is_written_once_for_root_alone_and_said_nowhere() {
    let fleet = Fleet::new();
    let machine = machine(&fleet, Box::new(|_, _| None));
    let step = ensure("docker.io", &["https://mirror.lab:5000"]);
    let first = sealed(&fleet, &own_key(&fleet), &credentials(&[&step], &format!("Basic {SECRET}")));
    twice(&fleet, &machine, &Step::EnsureRegistry(step.clone()), std::slice::from_ref(&first));
    let file = machine.inner().files[Path::new(HUB)].clone();
    assert_eq!((file.mode, file.uid), (0o600, 0));
    let text = String::from_utf8(file.content).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let expected = format!("Basic {SECRET}");
    assert_eq!(table["header"]["Authorization"].as_str(), Some(expected.as_str()), "{text}");
    assert_eq!(table["host"]["https://mirror.lab:5000"]["header"]["Authorization"].as_str(), Some(expected.as_str()));
    // The same once more, sealed anew: other bytes, and nothing to do.
    let again = sealed(&fleet, &own_key(&fleet), &credentials(&[&step], &expected));
    assert_ne!(again.sha256, first.sha256);
    let receipt = perform(&fleet, &machine, 3, Step::EnsureRegistry(step.clone()), vec![again]);
    assert!(receipt.outcome.is_success() && !receipt.steps[0].changed, "{receipt:?}");
    // Changed, and open to others.
    let changed = sealed(&fleet, &own_key(&fleet), &credentials(&[&step], "Bearer b3RoZXI="));
    let receipt = perform(&fleet, &machine, 4, Step::EnsureRegistry(step.clone()), vec![changed.clone()]);
    assert!(receipt.steps[0].changed && receipt.outcome.is_success());
    assert!(machine.inner().text(HUB).unwrap().contains("Bearer b3RoZXI="));
    machine.inner().files.get_mut(Path::new(HUB)).unwrap().mode = 0o644;
    let receipt = perform(&fleet, &machine, 5, Step::EnsureRegistry(step), vec![changed]);
    assert!(receipt.steps[0].changed && machine.inner().files[Path::new(HUB)].mode == 0o600);
    // Of all that the executor keeps and says, nothing has it.
    for entry in walkdir(fleet.directory.path()) {
        let content = std::fs::read(&entry).unwrap();
        let has = |secret: &str| content.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!has(SECRET) && !has("b3RoZXI="), "{}", entry.display());
    }
}

fn walkdir(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walkdir(&path) } else { vec![path] }).collect()
}

#[test]
fn an_inspection_says_that_they_differ_and_neither_how_nor_by_what() {
    let fleet = Fleet::new();
    let machine = machine(&fleet, Box::new(|_, _| None));
    let step = ensure("docker.io", &[]);
    let mut seq = 0;
    let mut inspect = |step: Step, artifacts: Vec<Artifact>| {
        seq += 1;
        let plan = fleet.plan(seq, vec![step], |plan: &mut Plan| {
            plan.kind = PlanKind::Inspect;
            plan.artifacts = artifacts;
            plan.tasks[0].disrupts = false;
        });
        let receipt = fleet.perform(&machine, &plan);
        assert!(!json::write(&receipt).windows(SECRET.len()).any(|part| part == SECRET.as_bytes()));
        let differs = receipt.observations.into_iter().filter(|o| o.name == DIFFERS).map(|o| o.value);
        differs.collect::<Vec<_>>()
    };
    let wanted = sealed(&fleet, &own_key(&fleet), &credentials(&[&step], &format!("Basic {SECRET}")));
    let cases = [
        (None, "registry.ensure: docker.io: no credentials are there"),
        (Some("server = \"https://registry-1.docker.io\"\n".to_owned()), "no credentials are there"),
        (
            Some(format!(
                "{SECRET_HEAD}server = \"https://registry-1.docker.io\"\n\n[header]\nAuthorization = \"Basic x\"\n"
            )),
            "the credentials that are there are other ones",
        ),
        (Some(format!("{SECRET_HEAD}server = \"https://elsewhere\"\n")), "who is asked, and who of them with"),
    ];
    for (there, expected) in cases {
        machine.inner().files.clear();
        if let Some(text) = there {
            machine.inner().put(HUB, text);
        }
        let before = machine.inner().files.clone();
        let said = inspect(Step::EnsureRegistry(step.clone()), vec![wanted.clone()]);
        assert!(said.len() == 1 && said[0].contains(expected), "{expected}: {said:?}");
        assert_eq!(machine.inner().files, before);
    }
    machine.inner().put(LAB, format!("{SECRET_HEAD}x"));
    let said = inspect(Step::ForgetRegistries(Forget { keep: vec![step.registry] }), Vec::new());
    assert_eq!(said, ["registry.forget: registry.lab_5000_: credentials are there that the fleet file has no more"]);
}

#[test]
fn what_another_machine_was_meant_to_read_or_nobody_can_changes_nothing() {
    let fleet = Fleet::new();
    let machine = machine(&fleet, Box::new(|_, _| None));
    let step = ensure("registry.lab:5000", &["https://mirror.lab"]);
    let all = credentials(&[&step], &format!("Basic {SECRET}"));
    let mut less = all.clone();
    less.credentials.remove(0);
    let own = own_key(&fleet);
    let note = |text: &str| seal_note(own.recipient(), text).unwrap();
    let text = |credentials: &Credentials| serde_json::to_string(credentials).unwrap();
    let whole = note(&text(&all));
    let to_other = "expected them sealed to the key of this machine";
    let cases = [
        (seal_note(Identity::generate().recipient(), &text(&all)).unwrap(), to_other),
        (whole[..whole.len() - 20].to_vec(), to_other),
        (b"no file of age's".to_vec(), to_other),
        (note("{}"), "expected a list that this version knows"),
        (note(&text(&all).replace("Basic", "Digest")), "expected a list that this version"),
        (note(&text(&less)), "expected credentials for https://mirror.lab of registry.lab:5000 in staged"),
    ];
    for (seq, (bytes, expected)) in (1..).zip(cases) {
        let artifact = stage(&fleet, &bytes);
        let receipt = perform(&fleet, &machine, seq, Step::EnsureRegistry(step.clone()), vec![artifact]);
        let why = reason(&receipt);
        assert!(why.contains(expected) && !why.contains(SECRET), "{expected}: {why}");
        assert!(machine.inner().acts.is_empty() && machine.inner().files.is_empty());
    }
}

#[test]
fn credentials_that_the_fleet_file_has_no_more_go_and_nobody_elses_do() {
    let fleet = Fleet::new();
    let machine = machine(&fleet, Box::new(|_, _| None));
    let (hub, lab) = (ensure("docker.io", &[]), ensure("registry.lab:5000", &[]));
    let both = sealed(&fleet, &own_key(&fleet), &credentials(&[&hub, &lab], &format!("Basic {SECRET}")));
    for (seq, step) in [(1, &hub), (2, &lab)] {
        perform(&fleet, &machine, seq, Step::EnsureRegistry(step.clone()), vec![both.clone()]);
    }
    let (ca, foreign) =
        ("/etc/containerd/certs.d/registry.lab_5000_/ca.crt", "/etc/containerd/certs.d/quay.io/hosts.toml");
    machine.inner().put(ca, "-----BEGIN CERTIFICATE-----");
    machine.inner().put(foreign, "[header]\nAuthorization = \"Basic of somebody else\"\n");
    let forget = Step::ForgetRegistries(Forget { keep: vec![hub.registry] });
    let receipt = perform(&fleet, &machine, 3, forget.clone(), Vec::new());
    assert!(receipt.outcome.is_success() && receipt.steps[0].changed, "{receipt:?}");
    let left: Vec<String> = machine.inner().files.keys().map(|path| path.display().to_string()).collect();
    assert_eq!(left, [HUB, foreign]);
    let receipt = perform(&fleet, &machine, 4, forget, Vec::new());
    assert!(receipt.outcome.is_success() && !receipt.steps[0].changed, "{receipt:?}");
    perform(&fleet, &machine, 5, Step::ForgetRegistries(Forget { keep: Vec::new() }), Vec::new());
    assert!(!machine.inner().files.contains_key(Path::new(HUB)));
}
