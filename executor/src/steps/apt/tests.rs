//! Updates on a machine in memory whose apt and dpkg are played, through the executor.

use std::{io::Read as _, path::Path, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::read::GzDecoder;
use hostler_plan::{
    document::{Artifact, Plan, PlanKind, Receipt},
    id::Digest,
    json,
    step::{StageArtifact, Step, update},
    update::{PENDING, Pending, WhyLeft},
};

use crate::{
    host::HostError,
    testing::{Fleet, Inner, Machine, Play, artifact},
};

const OF_TZDATA: &str = "7f2eb3f07f2eb3f07f2eb3f07f2eb3f07f2eb3f07f2eb3f07f2eb3f07f2eb3f0";

/// dpkg's list of a machine: a file of the double, so that what is installed stays for the next process.
const STATUS: &str = "/status";

fn failed(command: &[&str], output: &str) -> HostError {
    HostError::Command { command: command.join(" "), status: "exit status 100".into(), output: output.into() }
}

/// What the played machine answers. Installed is what lies in the folder that apt is given, under its artifact's name.
fn play(inner: &mut Inner, arguments: &[&str]) -> Option<Result<String, HostError>> {
    let status = inner.text(STATUS).unwrap_or_default();
    Some(Ok(match arguments {
        ["apt-get", "update", ..] => match inner.text("/mirror-away") {
            Some(_) => return Some(Err(failed(arguments, "E: Failed to fetch http://lab/InRelease"))),
            None => {
                inner.acts.push("apt-get update".into());
                String::new()
            }
        },
        ["apt-get", "--simulate", .., "upgrade"] => "The following packages have been kept back:\n  nano\n\
            2 upgraded, 1 newly installed, 0 to remove and 1 not upgraded.\n\
            Inst tzdata [1] (2 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [all])\n\
            Inst linux-image-amd64 [1] (2 Debian:12.15/oldstable [amd64])\n\
            Inst linux-image-6.1.0-28-amd64 (2 Debian:12.15/oldstable [amd64])\n"
            .to_owned(),
        ["apt-get", "--simulate", .., "dist-upgrade"] => "0 upgraded, 0 newly installed, 1 to remove and 0 not \
            upgraded.\nRemv obsolete [1]\n"
            .to_owned(),
        ["apt-get", "--simulate", _, "--no-remove", "install", "tzdata=2"] => {
            "1 upgraded, 0 newly installed, 0 to remove and 3 not upgraded.\n\
            Inst tzdata [1] (2 Debian-Security:12/oldstable-security [all])\n"
                .to_owned()
        }
        ["apt-get", "download", ..] => format!(
            "'http://lab/tzdata_2_all.deb' tzdata_2_all.deb 7 SHA256:{OF_TZDATA}\n\
            'http://lab/l_2.deb' linux-image-amd64_2_amd64.deb 8 SHA256:{OF_TZDATA}\n\
            'http://lab/m_2.deb' linux-image-6.1.0-28-amd64_2_amd64.deb 9 SHA256:{OF_TZDATA}\n"
        ),
        ["apt-get", "install", ..] => {
            assert!(
                arguments.contains(&"--no-remove") && arguments.contains(&"--option=Dpkg::Options::=--force-confold")
            );
            assert!(arguments.last().unwrap().starts_with("/var/cache/hostler/update/"), "{arguments:?}");
            inner.acts.push("apt-get install".into());
            inner.put(STATUS, status.replace("tzdata\tall\tii\t1", "tzdata\tall\tii\t2"));
            inner.put("/manual", "tzdata\n");
            String::new()
        }
        ["apt-mark", "showhold"] => "nano\n".to_owned(),
        ["apt-mark", "showauto"] => "tzdata\n".to_owned(),
        ["apt-mark", "showmanual"] => inner.text("/manual").unwrap_or_default(),
        ["apt-mark", "auto", "tzdata"] => {
            inner.acts.push("apt-mark auto".into());
            inner.put("/manual", "");
            String::new()
        }
        ["dpkg", "--print-architecture"] => "amd64\n".to_owned(),
        ["dpkg", .., "--configure", "--pending"] => {
            inner.acts.push("dpkg --configure".into());
            inner.put(STATUS, status.replace("\tiF\t", "\tii\t"));
            String::new()
        }
        ["dpkg-query", ..] => status,
        ["dpkg-deb", "--show", ..] => "tzdata 2 all".to_owned(),
        _ => return None,
    }))
}

fn machine(fleet: &Fleet) -> Arc<Machine> {
    let machine = Machine::new(fleet.now.plus(Duration::from_secs(60)));
    {
        let mut inner = machine.inner();
        inner.play = Some(Play(Arc::new(play)));
        inner.put("/usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");
        inner.put(STATUS, "tzdata\tall\tii\t1\nlinux-image-amd64\tamd64\tii\t1\n");
        inner.put("/usr/lib/modules/6.1.0-9-amd64/modules.dep", "");
        inner.sysctls.insert("kernel.osrelease".into(), "6.1.0-9-amd64".into());
    }
    Arc::new(machine)
}

fn perform(fleet: &Fleet, machine: &Arc<Machine>, seq: u64, kind: PlanKind, step: Step, files: &[Artifact]) -> Receipt {
    let stage = |file: &Artifact| Step::StageArtifact(StageArtifact { artifact: file.name.clone() });
    let steps = files.iter().map(stage).chain([step]).collect();
    let plan = fleet.plan(seq, steps, |p: &mut Plan| (p.kind, p.artifacts) = (kind, files.to_vec()));
    fleet.perform(machine, &plan)
}

/// What programs did that change something.
fn acts(machine: &Machine) -> Vec<String> {
    let of_files = |act: &&String| !["write", "remove", "start"].iter().any(|begin| act.starts_with(begin));
    machine.inner().acts.iter().filter(of_files).cloned().collect()
}

fn read(fleet: &Fleet, machine: &Arc<Machine>, seq: u64, security_only: bool) -> Receipt {
    perform(fleet, machine, seq, PlanKind::Inspect, Step::ReadUpdates(update::Read { security_only }), &[])
}

fn listed(receipt: &Receipt) -> Pending {
    let packed = STANDARD.decode(receipt.observation(PENDING).unwrap()).unwrap();
    let mut written = Vec::new();
    GzDecoder::new(&*packed).read_to_end(&mut written).unwrap();
    json::parse(&written).unwrap()
}

#[test]
fn a_machine_signs_what_waits_why_it_reboots_and_what_stays() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    machine.inner().put("/run/reboot-required", "*** System restart required ***\n");
    let receipt = read(&fleet, &machine, 1, false);
    assert!(receipt.outcome.is_success(), "{}", receipt.outcome);
    let list = listed(&receipt);
    let names: Vec<&str> = list.packages.iter().map(|package| package.package.as_str()).collect();
    assert_eq!(names, ["tzdata", "linux-image-amd64", "linux-image-6.1.0-28-amd64"]);
    let auto: Vec<bool> = list.packages.iter().map(|package| package.auto).collect();
    assert_eq!(auto, [true, false, true], "what is new comes for others' sake");
    assert_eq!((list.packages[0].size, list.packages[0].sha256.hex().as_str()), (7, OF_TZDATA));
    assert_eq!(list.new_kernel().unwrap().as_str(), "6.1.0-28-amd64");
    assert_eq!((list.left[0].package.as_str(), list.left[0].why), ("nano", WhyLeft::Held));
    assert_eq!(list.removals, ["obsolete"]);
    let reasons = list.reboot_reasons().join("; ");
    assert!(reasons.contains("the system asks for it") && reasons.contains("takes the place of"), "{reasons}");
    assert_eq!(acts(&machine), ["apt-get update"], "nothing was installed");
}

#[test]
fn security_alone_is_what_apt_says_that_it_needs() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let list = listed(&read(&fleet, &machine, 1, true));
    assert_eq!(list.packages.len(), 1);
    let left = |why| list.left.iter().filter(|left| left.why == why).count();
    assert_eq!((left(WhyLeft::NotSecurity), left(WhyLeft::Held)), (2, 1));
    assert_eq!(list.new_kernel(), None);
}

#[test]
fn lists_that_cannot_be_refreshed_are_not_known_and_never_empty() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    machine.inner().put("/mirror-away", "");
    let receipt = read(&fleet, &machine, 1, false);
    let said = receipt.outcome.to_string();
    assert!(!receipt.outcome.is_success() && said.contains("not known") && said.contains("InRelease"), "{said}");
    assert_eq!(receipt.observation(PENDING), None);
}

fn tzdata(fleet: &Fleet) -> (Step, Artifact) {
    let bytes = b"a package";
    let folder = fleet.directory.path().join("artifacts");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(Digest::of(bytes).hex()), bytes).unwrap();
    let package = update::Package {
        artifact: "staged".parse().unwrap(),
        package: "tzdata".parse().unwrap(),
        arch: "all".parse().unwrap(),
        from: Some("1".parse().unwrap()),
        version: "2".parse().unwrap(),
        auto: true,
    };
    (Step::InstallUpdates(update::Install { packages: vec![package], drained: false }), artifact("staged", bytes))
}

#[test]
fn packages_are_installed_once_out_of_their_files_and_stay_for_others_sake() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let (step, file) = tzdata(&fleet);
    let kind = PlanKind::Update;
    // Power was lost in the middle of another one before.
    let status = machine.inner().text(STATUS).unwrap();
    machine.inner().put(STATUS, format!("{status}cut\tall\tiF\t1\n"));
    let first = perform(&fleet, &machine, 1, kind, step.clone(), std::slice::from_ref(&file));
    assert!(first.outcome.is_success() && first.steps[1].changed, "{}", first.outcome);
    assert_eq!(acts(&machine), ["dpkg --configure", "apt-get install", "apt-mark auto"]);
    assert!(machine.inner().files.keys().all(|path| !path.starts_with(Path::new("/var/cache/hostler/update"))));
    let done = machine.inner().acts.len();
    let second = perform(&fleet, &machine, 2, kind, step, &[file]);
    assert!(second.outcome.is_success() && !second.steps[1].changed, "{}", second.outcome);
    assert_eq!(machine.inner().acts.len(), done, "a second plan changes nothing");
}

#[test]
fn what_somebody_else_installed_meanwhile_stops_the_update() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let (step, file) = tzdata(&fleet);
    machine.inner().put(STATUS, "tzdata\tall\tii\t3\n");
    let said = perform(&fleet, &machine, 1, PlanKind::Update, step, &[file]).outcome.to_string();
    assert!(said.contains("tzdata all at 1") && said.contains("found 3"), "{said}");
    assert_eq!(machine.inner().acts.len(), 0);
}

#[test]
fn the_kernel_that_runs_is_looked_at_and_not_believed() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let step = |release: &str| Step::RunsKernel(update::RunsKernel { release: release.parse().unwrap() });
    let good = perform(&fleet, &machine, 1, PlanKind::Update, step("6.1.0-9-amd64"), &[]);
    assert!(good.outcome.is_success(), "{}", good.outcome);
    let said = perform(&fleet, &machine, 2, PlanKind::Update, step("6.1.0-28-amd64"), &[]).outcome.to_string();
    assert!(said.contains("expected kernel 6.1.0-28-amd64") && said.contains("found 6.1.0-9-amd64"), "{said}");
}
