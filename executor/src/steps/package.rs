//! `package.ensure`.

use super::{Check, StepContext, StepError};

pub fn check(package: &str, version: &str, context: &mut StepContext<'_>) -> Result<Check, StepError> {
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
        Some(found) if found == version => Ok(Check::Done(format!("{package} is installed at {version}"))),
        Some(_) | None => Ok(Check::Ready),
    }
}

pub fn apply(package: &str, version: &str, context: &mut StepContext<'_>) -> Result<(), StepError> {
    Ok(context.host().install_package(package, version)?)
}
