//! `apt.install`: packages of a plan from files alone, all of them together, asking nobody.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hostler_plan::{
    step::update::{Install, Package},
    text::count,
};

use super::{QUICK, StepContext, StepError, UNIT, listed::Listed, unlocked};
use crate::{
    host::{HostError, Reach},
    steps::{
        action::{Action, Check},
        host::artifact::staged,
        started::{self, Long},
    },
};

/// A hundred packages on an SD card, with an initramfs of each kernel.
const LIMIT: Duration = Duration::from_secs(3600);

/// apt takes a file for a package by its name alone.
const FOLDER: &str = "/var/cache/hostler/update";

/// What was cut off, by a power failure say: apt refuses to go on before it is finished.
const FINISH: [&str; 5] = ["dpkg", "--force-confdef", "--force-confold", "--configure", "--pending"];

/// Without sources apt has nobody to ask for more; it removes nothing, and asks nobody about settings: those that
/// somebody changed stay, and the new ones lie beside them.
const INSTALL: [&str; 10] = [
    "apt-get",
    "install",
    "--yes",
    "--no-remove",
    "--no-install-recommends",
    "--option=Dir::Etc::SourceList=/dev/null",
    "--option=Dir::Etc::SourceParts=/dev/null",
    "--option=DPkg::Lock::Timeout=1800",
    "--option=Dpkg::Options::=--force-confdef",
    "--option=Dpkg::Options::=--force-confold",
];

/// What pods run in. A package that is none of theirs may restart them in its scripts all the same.
const RUNTIMES: [&str; 3] = ["containerd.service", "docker.service", "crio.service"];

impl Action for Install {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let listed = Listed::read(context)?;
        let unfinished = listed.unfinished();
        if !unfinished.is_empty() {
            return Ok(Check::Ready);
        }
        let missing: Vec<&Package> = self.packages.iter().filter(|package| !is_there(package, &listed)).collect();
        for package in &missing {
            let found = listed.version(package.package.as_str(), package.arch.as_str());
            // What is new to the machine may be there in any version meanwhile, and that is another hand's.
            if found != package.from.as_ref().map(|from| from.as_str()) {
                return Ok(Check::Mismatch {
                    expected: format!(
                        "{} {} at {}, as it was when the plan was made",
                        package.package,
                        package.arch,
                        package.from.as_ref().map_or("none", |from| from.as_str())
                    ),
                    found: format!("{}; somebody else installs here: ask what waits again", found.unwrap_or("none")),
                });
            }
        }
        if !missing.is_empty() || !wrongly_marked(&self.packages, context)?.is_empty() {
            return Ok(Check::Ready);
        }
        if let Some(unit) = restarted(self, context)? {
            return Ok(Check::Mismatch {
                expected: "pods that run on, because the node was not drained".to_owned(),
                found: format!("one of the packages restarted {unit}; look at the node's pods, and drain it next time"),
            });
        }
        Ok(Check::Done(format!("{} installed, none half done", count(self.packages.len(), "package"))))
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let mut staged_files = Vec::new();
        for package in &self.packages {
            let file = staged(&package.artifact, context)?;
            examine(package, &file, context)?;
            staged_files.push((package, file));
        }
        finish(context)?;
        if !self.packages.is_empty() {
            let installed = install(&staged_files, context);
            context.host().remove(Path::new(FOLDER))?;
            installed?;
            mark(&self.packages, context)?;
        }
        Ok(())
    }
}

fn is_there(package: &Package, listed: &Listed) -> bool {
    listed.version(package.package.as_str(), package.arch.as_str()) == Some(package.version.as_str())
}

/// Whether the file is the package that the plan says: its digest only tells that the admin signed it.
fn examine(package: &Package, file: &Path, context: &StepContext<'_>) -> Result<(), StepError> {
    let file = file.to_string_lossy();
    let fields = ["dpkg-deb", "--show", "--showformat=${Package} ${Version} ${Architecture}", &*file];
    let found = context.host().run(&fields, QUICK)?;
    let wanted = format!("{} {} {}", package.package, package.version, package.arch);
    if found.trim() == wanted {
        return Ok(());
    }
    let (artifact, found) = (&package.artifact, found.trim());
    Err(StepError::Failed(format!(
        "{artifact} is another package: expected {wanted}, found {found}; nothing was installed"
    )))
}

fn finish(context: &mut StepContext<'_>) -> Result<(), StepError> {
    let long = Long { unit: UNIT, arguments: &FINISH, limit: LIMIT, reach: Reach::Nobody, at_work: None };
    let end = unlocked(|context| started::run(&long, context), context)?;
    // What is broken by a missing file apt mends with the files of the plan, and says so if it cannot.
    if end.is_success() || end.code == Some(1) { Ok(()) } else { Err(started::failed(&FINISH, UNIT, &end)) }
}

fn install(files: &[(&Package, PathBuf)], context: &mut StepContext<'_>) -> Result<(), StepError> {
    context.host().remove(Path::new(FOLDER))?;
    let mut names = Vec::new();
    for (package, file) in files {
        let name = format!("{FOLDER}/{}.deb", package.artifact);
        context.host().install_program(file, Path::new(&name))?;
        names.push(name);
    }
    let arguments: Vec<&str> = INSTALL.iter().copied().chain(names.iter().map(String::as_str)).collect();
    let long = Long { unit: UNIT, arguments: &arguments, limit: LIMIT, reach: Reach::Nobody, at_work: Some(at_work) };
    let end = started::run(&long, context)?;
    // A hundred names of files say nothing to anybody.
    if end.is_success() { Ok(()) } else { Err(started::failed(&INSTALL[..3], UNIT, &end)) }
}

/// What apt is at.
fn at_work(printed: &str) -> Option<String> {
    let lines = printed.lines().rev().map(str::trim);
    let told =
        |line: &&str| ["Waiting for cache lock", "Unpacking ", "Setting up "].iter().any(|w| line.starts_with(w));
    let line = lines.into_iter().find(told)?;
    Some(match line.split_once("It is held by ") {
        Some((_, by)) => format!("waits for another program that holds dpkg's lock: {by}"),
        None => line.trim_end_matches(" ...").to_owned(),
    })
}

/// What apt has as asked for by a person since, because it came from a file.
fn wrongly_marked(packages: &[Package], context: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    let auto: Vec<&Package> = packages.iter().filter(|package| package.auto).collect();
    if auto.is_empty() {
        return Ok(Vec::new());
    }
    let marked = match context.host().run(&["apt-mark", "showmanual"], QUICK) {
        Ok(marked) => marked,
        Err(HostError::Missing { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let names = |package: &Package| [package.package.to_string(), format!("{}:{}", package.package, package.arch)];
    let wrongly = auto.into_iter().flat_map(names);
    Ok(wrongly.filter(|name| marked.lines().any(|line| line.trim() == name)).collect())
}

fn mark(packages: &[Package], context: &StepContext<'_>) -> Result<(), StepError> {
    let wrongly = wrongly_marked(packages, context)?;
    if wrongly.is_empty() {
        return Ok(());
    }
    let arguments: Vec<&str> = ["apt-mark", "auto"].into_iter().chain(wrongly.iter().map(String::as_str)).collect();
    context.host().run(&arguments, QUICK)?;
    Ok(())
}

/// What pods run in and was started since this step began, on a node that was not drained.
fn restarted(step: &Install, context: &StepContext<'_>) -> Result<Option<&'static str>, StepError> {
    if step.drained || context.first_attempt().is_none() {
        return Ok(None);
    }
    let began = context.began().unix_milliseconds() / 1000;
    for unit in RUNTIMES {
        if !context.host().unit(unit)?.exists {
            continue;
        }
        let show =
            ["systemctl", "show", "--property=ExecMainStartTimestamp", "--value", "--timestamp=unix", "--", unit];
        let started = match context.host().run(&show, QUICK) {
            Ok(text) => text.trim().trim_start_matches('@').parse::<u64>().ok(),
            Err(HostError::Missing { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if started.is_some_and(|started| started > began) {
            return Ok(Some(unit));
        }
    }
    Ok(None)
}
