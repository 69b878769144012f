//! Kubernetes versions, as every distribution writes its own.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    distribution::{self, Distribution},
    id::InvalidId,
};

/// Such as `v1.36.3`, with a distribution's own build where it numbers them. Ordered by number; a build is newer than
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// Always 1 so far.
    pub major: u16,
    /// The minor version; upgrades take one at a time.
    pub minor: u16,
    /// The patch version.
    pub patch: u16,
    /// What stands after the `+`; none in Kubernetes' own versions.
    pub build: Option<Build>,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)?;
        match self.build {
            Some(build) => write!(f, "+{}{}", build.distribution.build_tag().unwrap_or_default(), build.revision),
            None => Ok(()),
        }
    }
}

/// A distribution's own build of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Build {
    /// Whose it is; one that numbers its builds.
    pub distribution: Distribution,
    /// Its number.
    pub revision: u16,
}

impl Build {
    fn parse(text: &str) -> Option<Self> {
        Distribution::ALL.into_iter().find_map(|distribution| {
            let revision = number(text.strip_prefix(distribution.build_tag()?)?)?;
            Some(Self { distribution, revision })
        })
    }
}

impl Version {
    /// Whether that distribution writes its versions in this form.
    pub fn is_of(&self, distribution: Distribution) -> bool {
        match self.build {
            Some(build) => build.distribution == distribution,
            None => distribution.build_tag().is_none(),
        }
    }
}

impl FromStr for Version {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let parse = || {
            let (numbers, build) = match text.strip_prefix('v')?.split_once('+') {
                Some((numbers, build)) => (numbers, Some(Build::parse(build)?)),
                None => (text.strip_prefix('v')?, None),
            };
            let mut parts = numbers.split('.').map(number);
            let version = Version { major: parts.next()??, minor: parts.next()??, patch: parts.next()??, build };
            parts.next().is_none().then_some(version)
        };
        parse().ok_or_else(|| InvalidId::new("version", distribution::VERSION_FORMS, text))
    }
}

/// Digits without a sign or a leading zero.
fn number(text: &str) -> Option<u16> {
    (text == "0" || !text.starts_with('0')).then_some(())?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

impl TryFrom<String> for Version {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_number() {
        let mut versions: Vec<Version> = ["v1.34.10+k3s1", "v1.34.9+k3s2", "v1.34.9", "v1.9.0", "v1.34.9+k3s10"]
            .map(|t| t.parse().expect("valid"))
            .to_vec();
        versions.sort();
        let texts: Vec<String> = versions.iter().map(Version::to_string).collect();
        assert_eq!(texts, ["v1.9.0", "v1.34.9", "v1.34.9+k3s2", "v1.34.9+k3s10", "v1.34.10+k3s1"]);
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in [
            "1.34.3",
            "v1.34",
            "v1.34.3.4",
            "v1.034.3",
            "v1.34.3+rke2r1",
            "v1.34.3+k3s",
            "latest",
            "v1.34.-3",
            "v1.34.+3",
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
