//! Steps of the host on a machine in memory, through the executor: each changes what it should, once.

use std::{path::Path, sync::Arc};

use hostler_plan::{
    document::{Artifact, Outcome, Plan, Receipt},
    id::Digest,
    json,
    step::{EnsureHost, EnsureImages, EnsureProgram, HoldPackage, InstallPackage, Step, SwapOff},
};

use crate::{
    executor::Ended,
    host::{HostError, UnitActivity, UnitStatus},
    protocol::Request,
    testing::{Fleet, Inner, Machine, Play, artifact},
};

type Playing = dyn Fn(&mut Inner, &[&str]) -> Option<Result<String, HostError>> + Send + Sync;

fn machine(fleet: &Fleet, play: Box<Playing>) -> Arc<Machine> {
    let machine = Machine::new(fleet.now.plus(std::time::Duration::from_secs(60)));
    machine.inner().play = Some(Play(Arc::from(play)));
    Arc::new(machine)
}

/// What the executor has fetched already.
fn stage(fleet: &Fleet, bytes: &[u8]) -> Artifact {
    let folder = fleet.directory.path().join("artifacts");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(Digest::of(bytes).hex()), bytes).unwrap();
    artifact("staged", bytes)
}

fn perform(fleet: &Fleet, machine: &Arc<Machine>, seq: u64, step: Step, artifacts: Vec<Artifact>) -> Receipt {
    let plan = fleet.plan(seq, vec![step], |p: &mut Plan| p.artifacts = artifacts);
    let (executor, sender, status, _disk) = fleet.executor(machine).unwrap();
    sender.offer(Request::Plan(plan.clone())).unwrap();
    sender.offer(Request::Grant(Fleet::grant(&plan, "w1.work", 1).into())).unwrap();
    assert_eq!(executor.run_until_idle().unwrap(), Ended::Shutdown);
    json::parse(&status.content().receipts.last().unwrap().bytes).unwrap()
}

/// Performs it twice: the second time nothing is to be done.
fn twice(fleet: &Fleet, machine: &Arc<Machine>, step: &Step, artifacts: &[Artifact]) {
    let first = perform(fleet, machine, 1, step.clone(), artifacts.to_vec());
    assert_eq!(first.outcome, Outcome::Succeeded {}, "{:?}", first.steps);
    assert!(first.steps[0].changed);
    let acts = machine.inner().acts.len();
    let second = perform(fleet, machine, 2, step.clone(), artifacts.to_vec());
    assert!(second.outcome.is_success() && !second.steps[0].changed, "{:?}", second.steps);
    assert_eq!(machine.inner().acts.len(), acts);
}

fn reason(receipt: &Receipt) -> String {
    receipt.outcome.to_string()
}

#[test]
fn a_program_is_put_in_place_once_and_again_when_somebody_changed_it() {
    let fleet = Fleet::new();
    let machine = machine(&fleet, Box::new(|_, _| None));
    let path = "/usr/local/bin/kubelet";
    let program = stage(&fleet, b"kubelet");
    let step = Step::EnsureProgram(EnsureProgram { artifact: program.name.clone(), path: path.parse().unwrap() });
    twice(&fleet, &machine, &step, std::slice::from_ref(&program));
    machine.inner().files.get_mut(Path::new(path)).unwrap().mode = 0o777;
    let third = perform(&fleet, &machine, 3, step, vec![program]);
    assert!(third.steps[0].changed, "whoever may write a program is part of it");
    assert_eq!(machine.inner().files[Path::new(path)].mode, 0o755);
}

#[test]
fn swap_goes_now_and_at_every_boot() {
    let fleet = Fleet::new();
    let machine = machine(
        &fleet,
        Box::new(|inner, arguments| match arguments {
            ["systemd-escape", .., path] => {
                Some(Ok(format!("{}.swap\n", path.trim_start_matches('/').replace('/', "-"))))
            }
            ["systemctl", "mask", "--now", "--", unit] => {
                let text = inner.text("/proc/swaps").unwrap_or_default();
                let device = format!("/{}", unit.trim_end_matches(".swap").replace('-', "/"));
                let left: String =
                    text.lines().filter(|line| !line.starts_with(&device)).flat_map(|l| [l, "\n"]).collect();
                inner.put("/proc/swaps", left);
                inner.units.remove(*unit);
                inner.acts.push(format!("mask {unit}"));
                Some(Ok(String::new()))
            }
            _ => None,
        }),
    );
    machine.inner().put("/proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n");
    machine.inner().put("/etc/fstab", "UUID=1 / ext4 defaults 0 1\n/swap none swap sw 0 0\n");
    let unit = UnitStatus { exists: true, activity: UnitActivity::Active, enabled: true, main_pid: None };
    machine.inner().units.insert("dphys-swapfile.service".into(), unit);
    twice(&fleet, &machine, &Step::SwapOff(SwapOff {}), &[]);
    let acts = machine.inner().acts.join(", ");
    assert_eq!(acts, "write /etc/fstab, mask dphys-swapfile.service, mask dev-zram0.swap");
}

#[test]
fn a_name_is_written_down_and_a_foreign_line_that_says_otherwise_is_shown() {
    let fleet = Fleet::new();
    let machine = machine(&fleet, Box::new(|_, _| None));
    let step = Step::EnsureHost(EnsureHost { name: "k8s.lab".parse().unwrap(), address: "10.0.0.10".parse().unwrap() });
    twice(&fleet, &machine, &step, &[]);
    machine.inner().put("/etc/hosts", "10.0.0.99 k8s.lab\n");
    let third = reason(&perform(&fleet, &machine, 3, step, vec![]));
    assert!(third.contains("found \"10.0.0.99 k8s.lab\", which is not Hostler's line"), "{third}");
}

#[test]
fn a_package_comes_from_its_file_and_the_file_does_not_stay() {
    let fleet = Fleet::new();
    let machine = machine(
        &fleet,
        Box::new(|inner, arguments| match arguments {
            ["dpkg-deb", ..] => Some(Ok("runc 1.1.5-1".into())),
            ["dpkg", .., "--pending"] => Some(Ok(String::new())),
            ["apt-get", "install", .., file] => {
                assert!(file.ends_with(".deb") && inner.text(file).as_deref() == Some("a deb"));
                inner.packages.insert("runc".into(), "1.1.5-1".into());
                Some(Ok(String::new()))
            }
            ["apt-mark", "showhold", name] => {
                Some(Ok(inner.text("/held").filter(|held| held == name).unwrap_or_default()))
            }
            ["apt-mark", "hold", name] => {
                inner.put("/held", *name);
                Some(Ok(String::new()))
            }
            _ => None,
        }),
    );
    let file = stage(&fleet, b"a deb");
    let install = |version: &str| {
        Step::InstallPackage(InstallPackage {
            artifact: file.name.clone(),
            package: "runc".parse().unwrap(),
            version: version.parse().unwrap(),
        })
    };
    twice(&fleet, &machine, &install("1.1.5-1"), std::slice::from_ref(&file));
    assert!(!machine.inner().files.keys().any(|path| path.ends_with("package.deb")));
    let other = reason(&perform(&fleet, &machine, 3, install("1.1.6-1"), vec![file.clone()]));
    assert!(other.contains("expected runc 1.1.6-1, found runc 1.1.5-1"), "{other}");
    let hold = Step::HoldPackage(HoldPackage { package: "runc".parse().unwrap() });
    let held = perform(&fleet, &machine, 4, hold.clone(), vec![]);
    assert!(held.outcome.is_success() && held.steps[0].changed);
    assert!(!perform(&fleet, &machine, 5, hold, vec![]).steps[0].changed);
    let absent = Step::HoldPackage(HoldPackage { package: "kubelet".parse().unwrap() });
    let absent = reason(&perform(&fleet, &machine, 6, absent, vec![]));
    assert!(absent.contains("it is not installed"), "{absent}");
}

#[test]
fn images_are_imported_once_and_again_under_another_content() {
    let fleet = Fleet::new();
    let archive = super::archive::tests::docker();
    let config = format!("sha256:{}", Digest::of(super::archive::tests::CONFIG).hex());
    let machine = machine(
        &fleet,
        Box::new(move |inner, arguments| match arguments {
            ["ctr", .., "images", "list"] => Some(Ok(inner.text("/images").unwrap_or_default())),
            ["ctr", .., "content", "get", "sha256:old"] => Some(Ok("{}".into())),
            ["ctr", .., "content", "get", _] => Some(Ok(format!(r#"{{"config":{{"digest":"{config}"}}}}"#))),
            ["ctr", .., "images", "import", _] => {
                let line = |name: &str| format!("{name} application/x sha256:new 1 B linux/amd64 -\n");
                let lines = ["docker.io/library/app:latest", "registry.k8s.io/pause:3.10"].map(line).concat();
                inner.put("/images", format!("REF TYPE DIGEST\n{lines}"));
                inner.acts.push("import".into());
                Some(Ok(String::new()))
            }
            _ => None,
        }),
    );
    let archive = stage(&fleet, &archive);
    let step = Step::EnsureImages(EnsureImages { artifact: archive.name.clone() });
    twice(&fleet, &machine, &step, std::slice::from_ref(&archive));
    let other = machine.inner().text("/images").unwrap().replacen("sha256:new", "sha256:old", 1);
    machine.inner().put("/images", other);
    assert!(perform(&fleet, &machine, 3, step, vec![archive]).steps[0].changed);
    let text = stage(&fleet, b"no archive");
    let step = Step::EnsureImages(EnsureImages { artifact: text.name.clone() });
    let wrong = reason(&perform(&fleet, &machine, 4, step, vec![text]));
    assert!(wrong.contains("staged is no archive of container images: it is empty"), "{wrong}");
}
