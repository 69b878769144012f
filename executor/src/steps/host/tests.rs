//! Steps of the host on a machine in memory, through the executor: each changes what it should, once.

mod registry;
mod services;

use std::{path::Path, sync::Arc};

use hostler_plan::{
    document::{Artifact, Outcome, Plan, Receipt},
    id::Digest,
    json,
    step::{EnsureHost, EnsureImages, EnsureProgram, HoldPackage, InstallPackage, Step, SwapOff},
};

use crate::{
    host::{HostError, UnitActivity, UnitStatus},
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
    fleet.perform(machine, &plan)
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
    let machine = machine(&fleet, Box::new(systemd));
    machine.inner().put("/proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n");
    machine.inner().put("/etc/fstab", "UUID=1 / ext4 defaults 0 1\n/swap none swap sw 0 0\n");
    let unit = UnitStatus { exists: true, activity: UnitActivity::Active, enabled: true, main_pid: None };
    machine.inner().units.insert("dphys-swapfile.service".into(), unit);
    twice(&fleet, &machine, &Step::SwapOff(SwapOff {}), &[]);
    let acts = machine.inner().acts.join(", ");
    assert_eq!(acts, "write /etc/fstab, mask dphys-swapfile.service, mask dev-zram0.swap");
}

/// systemd as far as swap asks it: what is masked or disabled runs no more, and is swapped to no more.
fn systemd(inner: &mut Inner, arguments: &[&str]) -> Option<Result<String, HostError>> {
    match arguments {
        ["systemd-escape", .., path] => Some(Ok(format!("{}.swap\n", path.trim_start_matches('/').replace('/', "-")))),
        ["systemctl", verb, "--now", "--", unit] => {
            let text = inner.text("/proc/swaps").unwrap_or_default();
            let device = format!("/{}", unit.trim_end_matches(".swap").replace('-', "/"));
            let left: String = text.lines().filter(|line| !line.starts_with(&device)).flat_map(|l| [l, "\n"]).collect();
            inner.put("/proc/swaps", left);
            match (*verb, inner.units.get_mut(*unit)) {
                ("mask", _) => drop(inner.units.remove(*unit)),
                (_, Some(found)) => (found.activity, found.enabled) = (UnitActivity::Inactive, false),
                (_, None) => {}
            }
            inner.acts.push(format!("{verb} {unit}"));
            Some(Ok(String::new()))
        }
        _ => None,
    }
}

type Swapping = fn(&mut Inner);

/// Each way in which swap comes to a machine, and what is done about it, by file or unit.
const SHAPES: [(&str, Swapping, &str); 8] = [
    (
        "rpi-swap of Raspberry Pi OS 13",
        |m| {
            m.put("/etc/rpi/swap.conf", "[Main]\n#Mechanism=auto\n");
            m.put("/run/systemd/generator/dev-zram0.swap", "[Swap]\nWhat=/dev/zram0\n");
            run(m, "dev-zram0.swap", "/dev/zram0");
            run(m, "systemd-zram-setup@zram0.service", "");
            run(m, "rpi-setup-loop@var-swap.service", "");
        },
        "write /etc/rpi/swap.conf.d/90-hostler.conf, mask dev-zram0.swap, mask rpi-setup-loop@var-swap.service, \
         mask systemd-zram-setup@zram0.service",
    ),
    (
        "zram-generator with two devices",
        |m| {
            for unit in ["dev-zram0.swap", "dev-zram1.swap"] {
                m.put(
                    &format!("/run/systemd/generator/{unit}"),
                    "[Unit]\nSourcePath=/etc/systemd/zram-generator.conf\n",
                );
                run(m, unit, &format!("/{}", unit.trim_end_matches(".swap").replace('-', "/")));
            }
        },
        "mask dev-zram0.swap, mask dev-zram1.swap",
    ),
    (
        "dphys-swapfile",
        |m| run(m, "dphys-swapfile.service", "/var/swap"),
        "mask dphys-swapfile.service, mask var-swap.swap",
    ),
    ("zram-tools", |m| run(m, "zramswap.service", "/dev/zram0"), "mask zramswap.service, mask dev-zram0.swap"),
    (
        "fstab, whose generated unit goes with its line",
        |m| {
            m.put("/etc/fstab", "/swapfile none swap sw 0 0\n");
            m.put("/run/systemd/generator/swapfile.swap", "[Unit]\nSourcePath=/etc/fstab\n");
            run(m, "swapfile.swap", "/swapfile");
        },
        "write /etc/fstab, mask swapfile.swap",
    ),
    (
        "a partition that systemd finds by its type, under another name than its device's",
        |m| {
            m.put("/run/systemd/generator.late/dev-disk-by\\x2dpartuuid-1.swap", "[Swap]\nWhat=/dev/sda3\n");
            run(m, "dev-disk-by\\x2dpartuuid-1.swap", "/dev/sda3");
        },
        "mask dev-disk-by\\x2dpartuuid-1.swap, mask dev-sda3.swap",
    ),
    (
        "a unit of somebody's own",
        |m| {
            m.put("/etc/systemd/system/data-swap.swap", "[Swap]\nWhat=/data/swap\n[Install]\nWantedBy=swap.target\n");
            run(m, "data-swap.swap", "/data/swap");
        },
        "disable data-swap.swap",
    ),
    ("by hand, until the next boot", |m| run(m, "", "/tmp/swap"), "mask tmp-swap.swap"),
];

fn run(inner: &mut Inner, unit: &str, swapped_to: &str) {
    let active = UnitStatus { exists: true, activity: UnitActivity::Active, enabled: true, main_pid: None };
    if !unit.is_empty() {
        inner.units.insert(unit.to_owned(), active);
    }
    if !swapped_to.is_empty() {
        let text = inner.text("/proc/swaps").unwrap_or_else(|| "Filename Type Size Used Priority\n".to_owned());
        inner.put("/proc/swaps", format!("{text}{swapped_to} file 1 0 100\n"));
    }
}

#[test]
fn swap_of_every_shape_goes_now_and_at_every_boot() {
    for (shape, swap, expected) in SHAPES {
        let fleet = Fleet::new();
        let machine = machine(&fleet, Box::new(systemd));
        swap(&mut machine.inner());
        twice(&fleet, &machine, &Step::SwapOff(SwapOff {}), &[]);
        assert_eq!(machine.inner().acts.join(", "), expected, "{shape}");
        assert_eq!(machine.inner().text("/proc/swaps").unwrap().lines().count(), 1, "{shape}");
    }
}

#[test]
fn what_is_changed_about_swap_is_said() {
    let fleet = Fleet::new();
    let machine = machine(&fleet, Box::new(systemd));
    SHAPES[4].1(&mut machine.inner());
    let receipt = perform(&fleet, &machine, 1, Step::SwapOff(SwapOff {}), vec![]);
    let said: Vec<&str> = receipt.observations.iter().map(|observation| observation.value.as_str()).collect();
    assert_eq!(said, ["/etc/fstab: its lines of swap are commented out", "/swapfile is no longer swapped to"]);
    // Nothing is masked that a program goes on using.
    let fleet = Fleet::new();
    let stubborn =
        self::machine(&fleet, Box::new(|_, arguments| (arguments[0] == "systemctl").then(|| Ok(String::new()))));
    run(&mut stubborn.inner(), "dphys-swapfile.service", "");
    let why = reason(&perform(&fleet, &stubborn, 1, Step::SwapOff(SwapOff {}), vec![]));
    assert!(why.contains("dphys-swapfile.service would still bring swap at a boot"), "{why}");
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
