//! `package.ensure` from a repository, `package.install` from a file, and `package.hold`.

use std::{path::Path, time::Duration};

use hostler_plan::step::{EnsurePackage, HoldPackage, InstallPackage};

use super::artifact::staged;
use crate::{
    host::{HostError, Reach},
    steps::{
        action::{Action, Check, StepContext, StepError},
        started::{self, Long},
    },
};

/// As for packages from a repository: nothing else of ours installs meanwhile.
const UNIT: &str = "hostler-package.service";

/// dpkg on an SD card.
const LIMIT: Duration = Duration::from_secs(600);

/// apt takes a file for a package by its name alone.
const NAMED: &str = "/var/cache/hostler/package.deb";

/// apt asks whether everything is there that the package depends on before it unpacks anything; dpkg would ask after.
/// Without sources it has nobody to ask for more. What was held is so no longer: a plan holds it again.
const INSTALL: [&str; 10] = [
    "apt-get",
    "install",
    "--yes",
    "--no-install-recommends",
    "--allow-change-held-packages",
    "--option=Dir::Etc::SourceList=/dev/null",
    "--option=Dir::Etc::SourceParts=/dev/null",
    "--option=DPkg::Lock::Timeout=120",
    "--option=Dpkg::Options::=--force-confold",
    NAMED,
];

/// apt-mark reads its lists; a Pi under load gets this long.
const QUICK: Duration = Duration::from_secs(60);

impl Action for EnsurePackage {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        check(self.package.as_str(), self.version.as_str(), context)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let (package, version) = (self.package.as_str(), self.version.as_str());
        Ok(context.host().install_package(package, version)?)
    }
}

impl Action for InstallPackage {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        check(self.package.as_str(), self.version.as_str(), context)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let file = staged(&self.artifact, context)?.to_string_lossy().into_owned();
        let fields = ["dpkg-deb", "--show", "--showformat=${Package} ${Version}", &file];
        let (found, wanted) = (context.host().run(&fields, QUICK)?, format!("{} {}", self.package, self.version));
        if found.trim() != wanted {
            return Err(StepError::Failed(format!(
                "{} is another package: expected {wanted}, found {}; lock the right file",
                self.artifact,
                found.trim()
            )));
        }
        // An installation that was cut off, by a power failure say, is finished first; apt refuses to go on before.
        run(&["dpkg", "--force-confold", "--configure", "--pending"], context)?;
        context.host().install_program(Path::new(&file), Path::new(NAMED))?;
        let installed = run(&INSTALL, context);
        context.host().remove(Path::new(NAMED))?;
        installed
    }
}

fn run(arguments: &[&str], context: &mut StepContext<'_>) -> Result<(), StepError> {
    let long = Long { unit: UNIT, arguments, limit: LIMIT, reach: Reach::Nobody, at_work: None };
    let end = started::run(&long, context)?;
    if end.is_success() { Ok(()) } else { Err(started::failed(arguments, UNIT, &end)) }
}

fn check(package: &str, version: &str, context: &mut StepContext<'_>) -> Result<Check, StepError> {
    match context.host().package_version(package)? {
        Some(found) if found == version => Ok(Check::Done(format!("{package} is installed at {version}"))),
        Some(_) | None => Ok(Check::Ready),
    }
}

impl Action for HoldPackage {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let package = self.package.as_str();
        let Some(version) = context.host().package_version(package)? else {
            return Ok(Check::Mismatch {
                expected: format!("package {package}"),
                found: "it is not installed; install it first".into(),
            });
        };
        let held = match context.host().run(&["apt-mark", "showhold", package], QUICK) {
            Ok(held) => held,
            Err(HostError::Missing { .. }) => return Ok(Check::Ready),
            Err(error) => return Err(error.into()),
        };
        if held.lines().any(|line| line.trim() == package) {
            return Ok(Check::Done(format!("{package} is held at {version}")));
        }
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        context.host().run(&["apt-mark", "hold", self.package.as_str()], QUICK)?;
        Ok(())
    }
}
