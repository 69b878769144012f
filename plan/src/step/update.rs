//! Steps that bring the packages of a machine's system up to date.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{
    form::{KernelRelease, PackageArch, PackageName, PackageVersion},
    id::{ArtifactName, NodeName},
    text::count,
};

/// Reads what waits to be updated, by apt's lists, which are brought up to date first. The receipt holds the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Whether it is asked for security updates alone, and what they need.
    pub security_only: bool,
}

impl Operation for Read {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { security_only } = self;
        let which = if *security_only { "security updates alone" } else { "all updates" };
        format!("{which}; apt's lists are brought up to date for it")
    }
    fn sentence(&self, _: &NodeName) -> String {
        "reads which updates wait".to_owned()
    }
}

/// Installs packages from files, together, asking neither a network nor a person. Nothing is removed or held less, and
/// settings that somebody changed stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Install {
    /// Each once, in apt's order.
    pub packages: Vec<Package>,
    /// Whether the node is drained: then it may restart what runs pods.
    pub drained: bool,
}

/// A package that is installed from a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The file's name in the plan.
    pub artifact: ArtifactName,
    /// What is in it.
    pub package: PackageName,
    /// `all` for one that fits every processor.
    pub arch: PackageArch,
    /// What it takes the place of; none of one that is new to the machine.
    pub from: Option<PackageVersion>,
    /// Exactly this one.
    pub version: PackageVersion,
    /// Whether it stays a package that is there for others' sake.
    pub auto: bool,
}

impl Operation for Install {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { packages, drained } = self;
        let how = if *drained { "on a drained node" } else { "while pods run on" };
        format!("{}, {how}", count(packages.len(), "package"))
    }
    fn more(&self) -> Vec<String> {
        let line = |Package { artifact, package, arch, from, version, auto }: &Package| {
            let from = from.as_ref().map_or_else(|| "NEW".to_owned(), |from| format!("from {from}"));
            let auto = if *auto { ", for others' sake" } else { "" };
            format!("{package} ({arch}) {from} to {version}, out of {artifact}{auto}")
        };
        self.packages.iter().map(line).collect()
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("installs {}", count(self.packages.len(), "package"))
    }
}

/// That this kernel runs. A reboot alone proves nothing where a machine falls back to the kernel before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunsKernel {
    /// As `uname -r` says it.
    pub release: KernelRelease,
}

impl Operation for RunsKernel {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { release } = self;
        release.to_string()
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("looks whether kernel {} runs", self.release)
    }
}
