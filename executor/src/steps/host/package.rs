//! `package.ensure`.

use hostler_plan::step::EnsurePackage;

use crate::steps::action::{Action, Check, StepContext, StepError};

impl Action for EnsurePackage {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let Self { package, version } = self;
        let name_good = package.len() >= 2
            && package.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && package.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.'));
        let version_good = version.starts_with(|c: char| c.is_ascii_digit())
            && version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b':' | b'~'));
        if !name_good || !version_good {
            return Err(StepError::Failed(format!(
                "package expected a Debian name and version, found {package:?} {version:?}"
            )));
        }
        match context.host().package_version(package)? {
            Some(found) if found == *version => Ok(Check::Done(format!("{package} is installed at {version}"))),
            Some(_) | None => Ok(Check::Ready),
        }
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let Self { package, version } = self;
        Ok(context.host().install_package(package, version)?)
    }
}
