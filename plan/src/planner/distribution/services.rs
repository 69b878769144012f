//! The services of a machine's own: its journal, its updates, clients of storage, sshd. What can be said by a file or a
//! unit is said by the steps for those.

use std::collections::BTreeMap;

use crate::{
    fleet::{Journal, JournalStorage, MachineFile, Settings, StorageClient, UpdatedBy},
    form::{DevicePattern, FileMode, FilePath, UnitName},
    step::{CurrentUnit, EnsureFile, EnsureUnit, Step, UnitState, machine::NamedInitiator},
};

/// Files that the fleet file writes itself.
type Written = BTreeMap<FilePath, MachineFile>;

const HEAD: &str = "written by hostler-agent from a signed plan; changes here are undone by the next one.";

/// Later files go over earlier ones.
const JOURNAL: &str = "/etc/systemd/journald.conf.d/90-hostler.conf";
const APT: &str = "/etc/apt/apt.conf.d/99-hostler";
const NEEDRESTART: &str = "/etc/needrestart/conf.d/90-hostler.conf";
const MULTIPATH: &str = "/etc/multipath/conf.d/90-hostler.conf";

/// The timers by which apt fetches and installs without being asked.
const TIMERS: [&str; 2] = ["apt-daily.timer", "apt-daily-upgrade.timer"];

/// What needs no package that a plan may bring.
pub(super) fn own(settings: &Settings, written: &Written) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(journal) = &settings.journal {
        steps.extend(read_by("systemd-journald.service", file(JOURNAL, journald(journal), written)));
    }
    steps.extend(settings.updates.into_iter().flat_map(|by| updates(by, written)));
    // The last one: whoever would be kept out by it has seen the others succeed.
    steps.extend(settings.sshd.clone().map(Step::SetSshd));
    steps
}

/// What rests on packages of the machine.
pub(super) fn clients(settings: &Settings, written: &Written) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(devices) = &settings.multipath_exclude {
        steps.extend(read_by("multipathd.service", file(MULTIPATH, multipath(devices), written)));
    }
    for client in settings.storage_clients.iter().flatten() {
        match client {
            StorageClient::Nfs => steps.push(started("nfs-client.target")),
            StorageClient::Iscsi => {
                steps.push(started("iscsid.service"));
                steps.push(Step::NamedInitiator(NamedInitiator {}));
            }
        }
    }
    steps
}

fn unit(name: &str) -> UnitName {
    UnitName::new(name).expect("our own unit is one")
}

fn started(name: &str) -> Step {
    Step::EnsureUnit(EnsureUnit { unit: unit(name), state: UnitState::Started, enabled: true })
}

/// A file of ours; none where the fleet file writes one of that path itself.
fn file(path: &str, content: String, written: &Written) -> Option<EnsureFile> {
    let path = FilePath::new(path).expect("our own path is one");
    let mode = FileMode::new("0644").expect("our own mode is one");
    (!written.contains_key(&path)).then_some(EnsureFile { path, mode, content })
}

/// A file that a unit reads at its start.
fn read_by(name: &str, file: Option<EnsureFile>) -> Vec<Step> {
    let Some(file) = file else { return Vec::new() };
    let current = Step::CurrentUnit(CurrentUnit { unit: unit(name), files: vec![file.path.clone()] });
    vec![Step::EnsureFile(file), current]
}

/// As journald.conf(5) has it; the second limit is for the journal in memory.
fn journald(Journal { storage, max_use_mib }: &Journal) -> String {
    let storage = match storage {
        JournalStorage::Persistent => "persistent",
        JournalStorage::Volatile => "volatile",
    };
    format!("# {HEAD}\n[Journal]\nStorage={storage}\nSystemMaxUse={max_use_mib}M\nRuntimeMaxUse={max_use_mib}M\n")
}

/// As multipath.conf(5) has it.
fn multipath(devices: &[DevicePattern]) -> String {
    let lines: String = devices.iter().map(|device| format!("    devnode \"{device}\"\n")).collect();
    format!("# {HEAD}\nblacklist {{\n{lines}}}\n")
}

/// Both ways say the same units and files, so that going back leaves nothing behind.
fn updates(by: UpdatedBy, written: &Written) -> Vec<Step> {
    let (state, enabled, apt, needrestart) = match by {
        UpdatedBy::Hostler => (
            UnitState::Stopped,
            false,
            "APT::Periodic::Enable \"0\";\nUnattended-Upgrade::Automatic-Reboot \"false\";\n",
            "$nrconf{restart} = 'l';\n",
        ),
        UpdatedBy::Machine => (UnitState::Started, true, "", ""),
    };
    let timer = |name: &&str| Step::EnsureUnit(EnsureUnit { unit: unit(name), state, enabled });
    let files = [
        file(APT, format!("// {HEAD}\n{apt}"), written),
        file(NEEDRESTART, format!("# {HEAD}\n{needrestart}"), written),
    ];
    TIMERS.iter().map(timer).chain(files.into_iter().flatten().map(Step::EnsureFile)).collect()
}
