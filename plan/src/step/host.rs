//! Steps on the machine itself: files, kernel, packages, units, artifacts, reboot.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{
    form::{FileMode, FilePath, HostName, ModuleName, PackageName, PackageVersion, SysctlKey, SysctlValue, UnitName},
    id::{ArtifactName, Digest, NodeName},
    text::clean_to,
};

/// A file is shown whole where it fits on a screen, else its first lines; its length and digest are shown always.
const WHOLE_LINES: usize = 40;
const WHOLE_BYTES: usize = 4000;
const FIRST_LINES: usize = 20;
const LINE_BYTES: usize = 400;

/// Does nothing and proves that plans arrive, verify and are receipted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noop {}

impl Operation for Noop {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn said(&self) -> String {
        let Self {} = self;
        String::new()
    }
    fn sentence(&self, _: &NodeName) -> String {
        "does nothing".to_owned()
    }
}

/// Fetches an artifact of the plan and keeps it only if length and digest match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageArtifact {
    /// Its name in the plan.
    pub artifact: ArtifactName,
}

impl Operation for StageArtifact {
    fn artifact(&self) -> Option<&ArtifactName> {
        Some(&self.artifact)
    }
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { artifact } = self;
        artifact.to_string()
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("fetches {}", self.artifact)
    }
}

/// Makes a file hold exactly `content`, owned by root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsureFile {
    /// Absolute.
    pub path: FilePath,
    /// Octal text such as `0644`.
    pub mode: FileMode,
    /// All of it.
    pub content: String,
}

impl Operation for EnsureFile {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { path, mode, content } = self;
        format!("{path} with mode {mode}, {} bytes, {}", content.len(), Digest::of(content.as_bytes()))
    }
    fn more(&self) -> Vec<String> {
        shown(&self.content)
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("writes {}", self.path)
    }
}

/// The lines of a text that is written to a machine, for who signs it.
pub(super) fn shown(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let whole = lines.len() <= WHOLE_LINES && text.len() <= WHOLE_BYTES;
    let shown = if whole { lines.len() } else { lines.len().min(FIRST_LINES) };
    let mut said: Vec<String> = lines[..shown].iter().map(|line| format!("| {}", clean_to(line, LINE_BYTES))).collect();
    if shown < lines.len() {
        said.push(format!("| … and {} more lines; the digest is of all of it", lines.len() - shown));
    }
    said
}

/// Loads a kernel module now and at every boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsureModule {
    /// Its name.
    pub module: ModuleName,
}

impl Operation for EnsureModule {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { module } = self;
        module.to_string()
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("loads kernel module {}", self.module)
    }
}

/// Sets a kernel parameter now and at every boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsureSysctl {
    /// With dots, as `sysctl` names it.
    pub key: SysctlKey,
    /// As the file in `/proc/sys` takes it.
    pub value: SysctlValue,
}

impl Operation for EnsureSysctl {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { key, value } = self;
        format!("{key}={value}")
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("sets {} to {}", self.key, self.value)
    }
}

/// Installs a Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsurePackage {
    /// Its name.
    pub package: PackageName,
    /// Exactly this one.
    pub version: PackageVersion,
}

impl Operation for EnsurePackage {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { package, version } = self;
        format!("{package} in version {version}")
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("installs {} {}", self.package, self.version)
    }
}

/// Puts an artifact in place as a program, owned by root with mode 0755. One that runs keeps the old file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsureProgram {
    /// Its name in the plan.
    pub artifact: ArtifactName,
    /// Absolute.
    pub path: FilePath,
}

impl Operation for EnsureProgram {
    fn artifact(&self) -> Option<&ArtifactName> {
        Some(&self.artifact)
    }
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { artifact, path } = self;
        format!("{artifact} as {path}")
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("installs {}", self.path)
    }
}

/// Imports an archive of container images, in the form of `docker save` or an OCI layout, into the namespace of
/// containerd from which the kubelet takes its images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsureImages {
    /// Its name in the plan.
    pub artifact: ArtifactName,
}

impl Operation for EnsureImages {
    fn artifact(&self) -> Option<&ArtifactName> {
        Some(&self.artifact)
    }
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { artifact } = self;
        format!("all of {artifact}")
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("imports the images of {}", self.artifact)
    }
}

/// Installs a Debian package from a file, without asking a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallPackage {
    /// The file's name in the plan.
    pub artifact: ArtifactName,
    /// What is in it.
    pub package: PackageName,
    /// Exactly this one.
    pub version: PackageVersion,
}

impl Operation for InstallPackage {
    fn artifact(&self) -> Option<&ArtifactName> {
        Some(&self.artifact)
    }
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { artifact, package, version } = self;
        format!("{package} in version {version} from {artifact}")
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("installs {} {}", self.package, self.version)
    }
}

/// Keeps a Debian package at the version that it has, whoever upgrades the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldPackage {
    /// Its name.
    pub package: PackageName,
}

impl Operation for HoldPackage {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { package } = self;
        format!("{package} at the version that it has")
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("holds {}", self.package)
    }
}

/// No swap, now and at every boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwapOff {}

impl Operation for SwapOff {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self {} = self;
        "now and at every boot".to_owned()
    }
    fn sentence(&self, _: &NodeName) -> String {
        "turns swap off".to_owned()
    }
}

/// The machine finds a name without asking anybody: a line of Hostler's own in `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsureHost {
    /// What is looked up.
    pub name: HostName,
    /// What is found.
    pub address: IpAddr,
}

impl Operation for EnsureHost {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { name, address } = self;
        format!("{name} is {address}")
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("writes down where {} is", self.name)
    }
}

/// Brings a systemd unit into a state and enables or disables it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsureUnit {
    /// With its suffix, such as `ssh.service`.
    pub unit: UnitName,
    /// What it should be now.
    pub state: UnitState,
    /// Whether it starts at every boot.
    pub enabled: bool,
}

impl Operation for EnsureUnit {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { unit, state, enabled } = self;
        let state = match state {
            UnitState::Started => "started",
            UnitState::Stopped => "STOPPED",
        };
        format!("{unit}: {state}, and {} at boot", if *enabled { "started" } else { "NOT started" })
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("brings {} into its state", self.unit)
    }
}

/// A systemd unit that runs was started after these files were last changed: it is restarted where it was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurrentUnit {
    /// With its suffix, such as `containerd.service`.
    pub unit: UnitName,
    /// What it reads when it starts.
    pub files: Vec<FilePath>,
}

impl Operation for CurrentUnit {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { unit, files } = self;
        let files: Vec<&str> = files.iter().map(FilePath::as_str).collect();
        format!("{unit}: RESTARTED where it was started before {} changed", files.join(", "))
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("restarts {} where its files are newer", self.unit)
    }
}

/// The state a systemd unit should be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitState {
    /// Running.
    Started,
    /// Not running.
    Stopped,
}

/// Reboots this node; a changed boot id proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reboot {}

impl Operation for Reboot {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self {} = self;
        String::new()
    }
    fn sentence(&self, _: &NodeName) -> String {
        "reboots".to_owned()
    }
}
