//! Kubernetes versions, as every distribution writes its own.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    distribution::{self, Distribution},
    id::InvalidId,
};

/// Such as `v1.36.3`, with a distribution's own build where it numbers them. Ordered as semver orders: by number, and
/// what comes before a release is older than it. A build, of which semver says nothing, is newer than none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// Always 1 so far.
    pub major: u16,
    /// The minor version; upgrades take one at a time.
    pub minor: u16,
    /// The patch version.
    pub patch: u16,
    /// Whether it is a release, or how far it is from one.
    pub stage: Stage,
    /// What stands after the `+`; none in Kubernetes' own versions.
    pub build: Option<Build>,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)?;
        self.stage.fmt(f)?;
        match self.build {
            Some(build) => write!(f, "+{}{}", build.distribution.build_tag().unwrap_or_default(), build.revision),
            None => Ok(()),
        }
    }
}

/// What comes before a release, and the release: in this order. `v1.34.0-alpha.2`, `v1.34.0-beta.0` and `v1.34.0-rc.1`
/// are written so by Kubernetes, and `-rc1` by K3s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    Alpha(Attempt),
    Beta(Attempt),
    /// A release candidate.
    Candidate(Attempt),
    /// What all of them lead to; written as nothing.
    Release,
}

/// Which one of its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// Counted from 0 by Kubernetes and from 1 by K3s.
    pub number: u16,
    /// Whether no dot stands before the number.
    pub joined: bool,
}

impl Stage {
    fn parse(text: &str) -> Option<Self> {
        let attempt = |word: &str| {
            let rest = text.strip_prefix(word)?;
            let (digits, joined) = rest.strip_prefix('.').map_or((rest, true), |digits| (digits, false));
            Some(Attempt { number: number(digits)?, joined })
        };
        let before = attempt("alpha").map(Self::Alpha).or_else(|| attempt("beta").map(Self::Beta));
        before.or_else(|| attempt("rc").map(Self::Candidate))
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, Attempt { number, joined }) = match self {
            Stage::Alpha(attempt) => ("alpha", attempt),
            Stage::Beta(attempt) => ("beta", attempt),
            Stage::Candidate(attempt) => ("rc", attempt),
            Stage::Release => return Ok(()),
        };
        write!(f, "-{word}{}{number}", if *joined { "" } else { "." })
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
            let (numbers, stage) = match numbers.split_once('-') {
                Some((numbers, stage)) => (numbers, Stage::parse(stage)?),
                None => (numbers, Stage::Release),
            };
            let mut parts = numbers.split('.').map(number);
            let [major, minor, patch] = [parts.next()??, parts.next()??, parts.next()??];
            let version = Version { major, minor, patch, stage, build };
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

/// `v1.31 first`, or `v1.31 first, then to v1.32`.
pub(crate) fn way(runs: Version, through: &[u16]) -> String {
    let stops: Vec<String> = through.iter().map(|minor| format!("v{}.{minor}", runs.major)).collect();
    match stops.split_first() {
        None => "a version of the same major".to_owned(),
        Some((first, rest)) => rest.iter().fold(format!("{first} first"), |way, next| format!("{way}, then to {next}")),
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
    fn what_comes_before_a_release_is_older_and_is_written_as_it_was() {
        const ORDER: [&str; 15] = [
            "v1.33.9+k3s1",
            "v1.34.0-alpha.2",
            "v1.34.0-alpha.10",
            "v1.34.0-beta.0",
            "v1.34.0-rc.0",
            "v1.34.0-rc.1",
            "v1.34.0-rc.1+k3s1",
            "v1.34.0-rc.1+k3s2",
            "v1.34.0-rc1+k3s1",
            "v1.34.0-rc.2+k3s1",
            "v1.34.0-rc10+k3s1",
            "v1.34.0",
            "v1.34.0+k3s1",
            "v1.34.1-rc1+k3s1",
            "v1.35.0-alpha.0",
        ];
        let versions = ORDER.map(|text| text.parse::<Version>().expect(text));
        assert!(versions.is_sorted());
        assert_eq!(versions.map(|version| version.to_string()), ORDER);
        assert!(versions[8].is_of(Distribution::K3s) && versions[4].is_of(Distribution::Kubeadm));
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
            "v1.34.0-",
            "v1.34.0-rc",
            "v1.34.0-rc.",
            "v1.34.0-rc.01",
            "v1.34.0-rc..1",
            "v1.34.0-rc.1.2",
            "v1.34.0-gamma.1",
            "v1.34.0-RC.1",
            "v1.34.0+k3s1-rc.1",
            "v1.34-rc.1",
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
