//! `package.ensure`.

use hostler_plan::step::EnsurePackage;

use crate::steps::action::{Action, Check, StepContext, StepError};

impl Action for EnsurePackage {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let (package, version) = (self.package.as_str(), self.version.as_str());
        match context.host().package_version(package)? {
            Some(found) if found == version => Ok(Check::Done(format!("{package} is installed at {version}"))),
            Some(_) | None => Ok(Check::Ready),
        }
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let (package, version) = (self.package.as_str(), self.version.as_str());
        Ok(context.host().install_package(package, version)?)
    }
}
