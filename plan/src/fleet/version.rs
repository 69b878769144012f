//! Kubernetes versions in a fleet file.

use crate::{
    distribution::{self, Distribution},
    version::Version,
};

use super::problem::{Found, Location};

/// The version that the text is, of that distribution where it is known.
pub(super) fn parse(
    found: &mut Found,
    location: &Location,
    text: &str,
    distribution: Option<Distribution>,
) -> Option<Version> {
    let version: Option<Version> = text.parse().ok();
    let fits = version.filter(|v| distribution.is_none_or(|d| v.is_of(d)));
    if fits.is_none() {
        let example = match distribution {
            Some(distribution) => distribution.example_version().to_owned(),
            None => distribution::any(|d| d.example_version().to_owned()),
        };
        found.error(
            location,
            format!("version: expected a version such as {example}, found {text:?}; write it in full"),
        );
    }
    fits
}
