//! Files that nodes need, as `[[artifacts]]` of the fleet file or of the lock beside it names them.

use std::collections::BTreeMap;

use crate::{
    distribution::{self, Distribution, Place},
    form::{FilePath, PackageName, PackageVersion},
    id::{Arch, ArtifactName, Digest},
    step::ClusterRole,
    version::Version,
};

use super::{
    Fleet,
    fragment::ArtifactFragment,
    node::architecture,
    problem::{At, Found, Location, nearest},
    version,
};

/// What stands for no architecture where one may be named.
const NO_ARCH: &str = "none";

/// A file that nodes need, by content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetArtifact {
    /// What it is: the name that a distribution's steps, and the fleet file, ask for.
    pub name: ArtifactName,
    pub kind: ArtifactKind,
    /// As its makers write it; none where it has none, as a manifest.
    pub version: Option<String>,
    /// The Kubernetes version that it belongs to: plans for another one pass it over. That of what is Kubernetes' own.
    pub kubernetes: Option<Version>,
    /// None for what fits every processor.
    pub arch: Option<Arch>,
    /// The nodes that need it; none for all.
    pub role: Option<ClusterRole>,
    pub source: Source,
    /// The file inside the archive at `source` that it is; none where `source` is the file.
    pub member: Option<String>,
    pub sha256: Digest,
    /// Bytes; more than 0.
    pub size: u64,
}

/// What a node does with an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactKind {
    /// An executable that goes to that path.
    Program { to: FilePath },
    /// An archive of container images (docker or OCI, tar) for the container runtime.
    Image,
    /// A package of Debian.
    Package { package: PackageName, version: PackageVersion },
    /// Kubernetes manifests (YAML) for the API server.
    Manifest,
    /// Something else by content: a list of packages, a sealed file.
    File,
}

impl ArtifactKind {
    /// Its words, as the fleet file has them.
    pub const WORDS: [&str; 5] = ["program", "image", "package", "manifest", "file"];

    /// Its word, as the fleet file has it.
    pub fn word(&self) -> &'static str {
        match self {
            ArtifactKind::Program { .. } => "program",
            ArtifactKind::Image => "image",
            ArtifactKind::Package { .. } => "package",
            ArtifactKind::Manifest => "manifest",
            ArtifactKind::File => "file",
        }
    }
}

impl FleetArtifact {
    /// Its name inside a plan: with the architecture, because a plan may need it for several.
    pub fn plan_name(&self) -> ArtifactName {
        let Some(arch) = self.arch else { return self.name.clone() };
        ArtifactName::new(format!("{}-{arch}", self.name)).unwrap_or_else(|_| self.name.clone())
    }

    /// Whether a node of that processor and role needs it for that Kubernetes version. A machine outside the cluster
    /// needs what is for hosts alone.
    fn fits(&self, kubernetes: Version, arch: Arch, role: ClusterRole) -> bool {
        self.arch.is_none_or(|a| a == arch)
            && self.role.map_or(role != ClusterRole::Host, |r| r == role)
            && self.kubernetes.is_none_or(|v| v == kubernetes)
    }
}

/// Where the file of an artifact lies: the command uploads it to the coordinator, and nodes get it from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, relative to the fleet file.
    Path(String),
    /// Where `hostler artifact lock`, or the admin, downloaded it. No node fetches it from there.
    Url(String),
}

impl Fleet {
    /// The artifact of that name which is Kubernetes' own, of that version and architecture.
    pub fn artifact(&self, name: &str, version: Version, arch: Arch) -> Option<&FleetArtifact> {
        self.artifacts.iter().find(|a| {
            a.name.as_str() == name && a.kubernetes == Some(version) && a.arch.is_none_or(|found| found == arch)
        })
    }

    /// Everything that a node of that processor and role needs for a Kubernetes version, each name once, in the order
    /// of the names: what belongs to that very version goes before what belongs to none.
    pub fn needed_artifacts(&self, kubernetes: Version, arch: Arch, role: ClusterRole) -> Vec<&FleetArtifact> {
        let mut needed: BTreeMap<&ArtifactName, &FleetArtifact> = BTreeMap::new();
        for artifact in self.artifacts.iter().filter(|a| a.fits(kubernetes, arch, role)) {
            let held = needed.entry(&artifact.name).or_insert(artifact);
            if artifact.kubernetes > held.kubernetes {
                *held = artifact;
            }
        }
        needed.into_values().collect()
    }
}

pub(super) fn check(
    found: &mut Found,
    written: &[At<ArtifactFragment>],
    distribution: Option<Distribution>,
) -> Vec<FleetArtifact> {
    let mut artifacts = Vec::new();
    let mut seen: BTreeMap<(ArtifactName, Option<Version>), &Location> = BTreeMap::new();
    for At { value, location } in written {
        let before = found.errors.len();
        let artifact = one(found, location, value, distribution);
        let Some(artifact) = artifact.filter(|_| found.errors.len() == before) else { continue };
        if let Some(earlier) = seen.insert((artifact.plan_name(), artifact.kubernetes), location) {
            found.error(location, twice(&artifact, earlier));
        }
        artifacts.push(artifact);
    }
    artifacts
}

fn twice(artifact: &FleetArtifact, earlier: &Location) -> String {
    let name = &artifact.name;
    let arch = artifact.arch.map_or_else(|| "every processor".to_owned(), |arch| arch.to_string());
    match artifact.kubernetes {
        Some(version) => {
            format!("artifact {name} of {version} for {arch} stands twice, first at {earlier}; remove one")
        }
        None => format!(
            "artifact {name} for {arch} stands twice, first at {earlier}; remove one, or say with \
             kubernetes = \"v1.36.3\" to which version each belongs"
        ),
    }
}

fn one(
    found: &mut Found,
    location: &Location,
    a: &ArtifactFragment,
    distribution: Option<Distribution>,
) -> Option<FleetArtifact> {
    let known = distribution.and_then(|d| d.artifact(&a.name));
    let name = named(found, location, a);
    let kind = kind(found, location, a, known);
    let kubernetes = kubernetes(found, location, a, known, distribution);
    let arch = arch(found, location, a);
    let role = match a.role.as_deref() {
        None => None,
        Some("server") => Some(ClusterRole::Server),
        Some("worker") => Some(ClusterRole::Worker),
        Some("host") => Some(ClusterRole::Host),
        Some(other) => {
            let said = format!(
                "artifact {}: role: expected \"server\", \"worker\" or \"host\", found {other:?}; write one of \
                                them, or nothing for all nodes of the cluster",
                a.name
            );
            found.error(location, said);
            None
        }
    };
    let source = source(found, location, a);
    let hex = a.sha256.strip_prefix("sha256:").unwrap_or(&a.sha256);
    let sha256 = format!("sha256:{hex}").parse::<Digest>().ok();
    if sha256.is_none() {
        let message = format!(
            "artifact {}: expected a sha256 of 64 hexadecimal digits, found {:?}; copy it from the release",
            a.name, a.sha256
        );
        found.error(location, message);
    }
    let size = u64::try_from(a.size).ok().filter(|s| *s > 0);
    if size.is_none() {
        found.error(
            location,
            format!("artifact {}: expected a size of more than 0 bytes, found {}; see `stat`", a.name, a.size),
        );
    }
    let (version, member) = (a.version.clone(), a.member.clone());
    Some(FleetArtifact {
        name: name?,
        kind: kind?,
        version,
        kubernetes,
        arch: arch?,
        role,
        source: source?,
        member,
        sha256: sha256?,
        size: size?,
    })
}

/// A name that has room for an architecture behind it.
fn named(found: &mut Found, location: &Location, a: &ArtifactFragment) -> Option<ArtifactName> {
    match ArtifactName::new(a.name.as_str()) {
        Err(e) => {
            found.error(location, format!("{e}; rename it"));
            None
        }
        Ok(name) if ArtifactName::new(format!("{name}-{}", Arch::Aarch64)).is_err() => {
            let most = 64 - format!("-{}", Arch::Aarch64).len();
            found.error(location, format!("artifact {name}: expected at most {most} characters; rename it"));
            None
        }
        Ok(name) => Some(name),
    }
}

fn kind(
    found: &mut Found,
    location: &Location,
    a: &ArtifactFragment,
    known: Option<distribution::KnownArtifact>,
) -> Option<ArtifactKind> {
    let usual = known.map(|k| match k.place {
        Place::Program(_) => "program",
        Place::Image => "image",
    });
    let Some(word) = a.kind.as_deref().or(usual) else {
        let kinds = ArtifactKind::WORDS.map(|w| format!("{w:?}")).join(", ");
        found.error(location, format!("artifact {}: what is it? add kind = one of {kinds}", a.name));
        return None;
    };
    let only =
        |key: &str, of: &str| format!("artifact {}: only a {of} has {key}, found kind {word:?}; remove {key}", a.name);
    if a.to.is_some() && word != "program" {
        found.error(location, only("to", "program"));
    }
    if a.package.is_some() && word != "package" {
        found.error(location, only("package", "package"));
    }
    match word {
        "program" => program(found, location, a, known),
        "image" => Some(ArtifactKind::Image),
        "package" => package(found, location, a),
        "manifest" => Some(ArtifactKind::Manifest),
        "file" => Some(ArtifactKind::File),
        other => {
            let hint = nearest(other, ArtifactKind::WORDS).map_or_else(
                || format!("write one of {}", ArtifactKind::WORDS.join(", ")),
                |meant| format!("write {meant:?} if that is meant"),
            );
            found.error(location, format!("artifact {}: kind: found {other:?}; {hint}", a.name));
            None
        }
    }
}

fn program(
    found: &mut Found,
    location: &Location,
    a: &ArtifactFragment,
    known: Option<distribution::KnownArtifact>,
) -> Option<ArtifactKind> {
    let usual = known.and_then(|k| match k.place {
        Place::Program(folder) => Some(format!("{folder}/{}", k.name)),
        Place::Image => None,
    });
    let Some(to) = a.to.clone().or(usual) else {
        let message = format!("artifact {}: where does it go? add to = \"/usr/local/bin/{}\"", a.name, a.name);
        found.error(location, message);
        return None;
    };
    match FilePath::new(to) {
        Ok(to) => Some(ArtifactKind::Program { to }),
        Err(e) => {
            found.error(location, format!("artifact {}: {e}; change to", a.name));
            None
        }
    }
}

/// Its name in Debian is that of the artifact unless it says another.
fn package(found: &mut Found, location: &Location, a: &ArtifactFragment) -> Option<ArtifactKind> {
    let package = PackageName::new(a.package.as_deref().unwrap_or(&a.name));
    let version = PackageVersion::new(a.version.as_deref().unwrap_or_default());
    match (package, version) {
        (Ok(package), Ok(version)) => Some(ArtifactKind::Package { package, version }),
        (Err(e), _) => {
            found
                .error(location, format!("artifact {}: {e}; add package = the name as `dpkg-deb -f` shows it", a.name));
            None
        }
        (_, Err(e)) => {
            found.error(location, format!("artifact {}: {e}; write it as `dpkg-deb -f` shows it", a.name));
            None
        }
    }
}

/// What is Kubernetes' own is of the version that it has itself, unless its makers write that in a form of their own,
/// as a package's.
fn kubernetes(
    found: &mut Found,
    location: &Location,
    a: &ArtifactFragment,
    known: Option<distribution::KnownArtifact>,
    distribution: Option<Distribution>,
) -> Option<Version> {
    let own = known.is_some_and(|k| k.of_kubernetes);
    match (&a.kubernetes, &a.version) {
        (Some(text), _) => version::parse(found, location, text, distribution),
        (None, Some(text)) if own && a.kind.as_deref() != Some("package") => {
            version::parse(found, location, text, distribution)
        }
        (None, _) if own => {
            let example = distribution.map_or("v1.36.3", Distribution::example_version);
            let message = format!(
                "artifact {}: of which Kubernetes version is it? add kubernetes = {example:?} or the one it is",
                a.name
            );
            found.error(location, message);
            None
        }
        (None, None) if !matches!(a.kind.as_deref(), Some("manifest" | "file" | "package")) => {
            found.error(location, format!("artifact {}: expected a version, found none; add one", a.name));
            None
        }
        (None, _) => None,
    }
}

/// Machine code has an architecture, and what the API server gets has none. A package may be for all, and a file may be
/// anything.
fn arch(found: &mut Found, location: &Location, a: &ArtifactFragment) -> Option<Option<Arch>> {
    let arch = match a.arch.as_deref().filter(|text| *text != NO_ARCH) {
        Some(text) => Some(architecture(found, location, text)?),
        None => None,
    };
    match (a.kind.as_deref(), arch) {
        (Some("manifest"), Some(arch)) => {
            let message = format!("artifact {}: a manifest is for all nodes, found arch {arch}; remove it", a.name);
            found.error(location, message);
            None
        }
        (Some("manifest" | "file"), _) | (_, Some(_)) => Some(arch),
        (Some("package"), None) if a.arch.is_some() => Some(None),
        (_, None) => {
            let message = format!(
                "artifact {}: for which processor is it? add arch = \"aarch64\" or \"x86_64\"{}",
                a.name,
                if a.kind.as_deref() == Some("package") { ", or \"none\" for a package for all" } else { "" }
            );
            found.error(location, message);
            None
        }
    }
}

fn source(found: &mut Found, location: &Location, a: &ArtifactFragment) -> Option<Source> {
    let wrong = match (&a.path, &a.url) {
        (Some(path), None) if !path.is_empty() => return Some(Source::Path(path.clone())),
        (None, Some(url)) if url.starts_with("https://") || url.starts_with("http://") => {
            return Some(Source::Url(url.clone()));
        }
        (None, Some(url)) => format!("expected a URL with https://, found {url:?}; change it"),
        (Some(_), Some(_)) => "expected a path or a url, found both; remove one".to_owned(),
        (Some(_) | None, None) => "expected a path or a url, found none; add one".to_owned(),
    };
    found.error(location, format!("artifact {}: {wrong}", a.name));
    None
}
