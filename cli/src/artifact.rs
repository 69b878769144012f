//! Artifacts on the admin's machine: looked into, written into the lock beside the fleet file, and found again for a
//! plan.

mod archive;
mod content;
mod deb;
mod download;
mod guess;
mod image;
mod lock;
mod measure;
mod package;
mod place;
mod published;
mod source;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use hostler_plan::{
    distribution::{Distribution, Place},
    fleet::Fleet,
    id::{Arch, Digest},
};

pub use lock::{Change, Entry};
pub use measure::{Measured, measure};
pub use package::{Wanted, bring};
pub(crate) use place::candidates;
pub use place::{Standing, standing};

use crate::{
    error::Error,
    file::{read_text, write_whole},
    plan::{MAX_FLEET_BYTES, lock_path},
};
use content::Content;
use download::Downloads;
use guess::guess;
use lock::Lock;
use source::Item;

/// What a coordinator takes at most.
const MAX_BYTES: u64 = 4 << 30;

/// What a person says of the files to lock, over what is found in them and in their names.
#[derive(Debug, Clone, Default)]
pub struct Told {
    pub name: Option<String>,
    pub kind: Option<String>,
    pub version: Option<String>,
    pub kubernetes: Option<String>,
    pub arch: Option<Arch>,
    pub role: Option<String>,
    pub to: Option<String>,
    /// Files inside archives; every program of a known name where none is named.
    pub members: Vec<String>,
    /// A file or a URL with checksums, instead of the usual places beside a download.
    pub checksums: Option<String>,
    /// Whose certificates downloads believe (PEM), instead of the public authorities'.
    pub ca: Option<PathBuf>,
    /// Takes another digest for a version that is locked already.
    pub replace: bool,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    pub entry: Entry,
    pub change: Change,
    /// Where upstream says the same digest; none where nothing was published or asked.
    pub checked: Option<String>,
}

/// What a lock was made of.
#[derive(Debug)]
pub struct Outcome {
    pub lock: PathBuf,
    pub locked: Vec<Locked>,
    /// Files of archives that were passed over, and downloads for which nothing is published.
    pub notes: Vec<String>,
}

/// Looks into files, folders and URLs and writes what they are into the lock beside `fleet_file`. Downloads, and files
/// out of archives, are kept in `kept` under their digests. Nothing is written unless everything is in order.
pub fn lock(fleet_file: &Path, kept: &Path, sources: &[String], told: &Told) -> Result<Outcome, Error> {
    let text = read_text(fleet_file, MAX_FLEET_BYTES)?;
    let name = fleet_file.display().to_string();
    let (fleet, _) = Fleet::without_lock((&name, &text)).map_err(|e| Error::Failed(e.to_string()))?;
    let path = lock_path(fleet_file);
    let held = if path.exists() { Some(read_text(&path, MAX_FLEET_BYTES)?) } else { None };
    let mut lock = Lock::parse(held.as_deref())?;
    std::fs::create_dir_all(kept).map_err(|e| Error::file("make", kept, e))?;
    let mut found =
        source::Found { kept, told, distribution: fleet.distribution, items: Vec::new(), notes: Vec::new() };
    let downloads = Downloads::new(told.ca.as_deref())?;
    for source in sources {
        found.add(source, &downloads)?;
    }
    let source::Found { items, mut notes, .. } = found;
    if told.name.is_some() && items.len() > 1 {
        let names: Vec<&str> = items.iter().map(|item| item.shown.as_str()).collect();
        return Err(Error::Usage(format!("--name is for one file, found {}: {}", items.len(), names.join(", "))));
    }
    let mut locked = Vec::new();
    for item in items {
        for entry in entries(fleet_file, fleet.distribution, &item, told)? {
            let of_kubernetes = fleet.distribution.artifact(&entry.name).is_some_and(|known| known.of_kubernetes);
            let change = lock.put(&entry, of_kubernetes, told.replace)?;
            locked.push(Locked { entry, change, checked: item.checked.clone() });
        }
    }
    let written = lock.finish()?;
    let shown = path.display().to_string();
    let (fleet, _) = Fleet::with_unfinished_lock((&name, &text), (&shown, &written)).map_err(|e| {
        Error::Failed(format!(
            "{e}\nnothing was written: say what is missing with --name, --kind, --version and their like"
        ))
    })?;
    notes.extend(fleet.missing_manifests().map(|name| format!("{name} stands in manifests and is not locked yet")));
    if held.as_deref() != Some(&written) {
        write_whole(&path, written.as_bytes(), false)?;
    }
    Ok(Outcome { lock: path, locked, notes })
}

/// What a file becomes in the lock: one entry, or one for each processor that its images are for.
fn entries(fleet_file: &Path, distribution: Distribution, item: &Item, told: &Told) -> Result<Vec<Entry>, Error> {
    let wrong = |why: String| Error::Failed(format!("{}: {why}", item.shown));
    let content = content::look(&item.path).map_err(wrong)?;
    let measured = measure(&item.path)?;
    if measured.size > MAX_BYTES {
        return Err(wrong(format!("expected at most {MAX_BYTES} bytes, found {}; split it", measured.size)));
    }
    let mut said = guess(&item.shown);
    if let Some(around) = &item.around {
        let around = guess(around);
        (said.version, said.arch) = (said.version.or(around.version), said.arch.or(around.arch));
    }
    let archs = archs(&content, told.arch, said.arch).map_err(wrong)?;
    let kind = told.kind.clone().unwrap_or_else(|| kind_of(&content).to_owned());
    let mut entry = Entry {
        name: told.name.clone().unwrap_or(said.name),
        kind,
        version: told.version.clone().or(said.version),
        kubernetes: told.kubernetes.clone(),
        role: told.role.clone(),
        to: told.to.clone(),
        member: item.member.clone(),
        sha256: measured.sha256.hex(),
        size: measured.size,
        ..Entry::default()
    };
    describe(&mut entry, &content, &item.shown, distribution, told);
    match item.url.clone() {
        Some(url) => entry.url = Some(url),
        None => entry.path = Some(source::relative(&item.origin, fleet_file)?),
    }
    let word =
        |arch: Option<Arch>| arch.map(|a| a.to_string()).or_else(|| (entry.kind == "package").then(|| "none".into()));
    Ok(archs.into_iter().map(|arch| Entry { arch: word(arch), ..entry.clone() }).collect())
}

/// Fills in what the content says of itself, and leaves out what a manifest does not have.
fn describe(entry: &mut Entry, content: &Content, shown: &str, distribution: Distribution, told: &Told) {
    match content {
        Content::Package(control) => {
            let letters =
                |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-' { c } else { '-' };
            let name: String = control.package.chars().map(letters).collect();
            entry.version = Some(control.version.clone());
            entry.name = told.name.clone().unwrap_or(name);
            entry.package = (entry.name != control.package).then(|| control.package.clone());
            if distribution.artifact(&entry.name).is_some_and(|known| known.of_kubernetes) && entry.kubernetes.is_none()
            {
                entry.kubernetes = guess::kubernetes_of_package(&control.version);
            }
        }
        // An archive of one image is that image; its name in a registry says more than the file's.
        Content::Images(images) => {
            let tagged = images.names.iter().filter_map(|name| name.rsplit('/').next()?.rsplit_once(':'));
            let tagged: BTreeSet<(&str, &str)> = tagged.map(|(name, tag)| (guess_image(name), tag)).collect();
            if let ([(name, tag)], true) = (tagged.into_iter().collect::<Vec<_>>().as_slice(), images.names.len() <= 2)
            {
                entry.name = told.name.clone().unwrap_or_else(|| (*name).to_owned());
                entry.version = told.version.clone().or_else(|| Some((*tag).to_owned()));
            }
        }
        Content::Manifest | Content::Other if entry.kind != "program" => {
            // `cni.yaml` is asked for by that name, and its digest is its version.
            entry.name = told.name.clone().unwrap_or_else(|| guess::file_name(shown));
            entry.version = told.version.clone();
        }
        Content::Program(_) | Content::Archive | Content::Manifest | Content::Other => {}
    }
}

/// `kube-apiserver-amd64` is `kube-apiserver`.
fn guess_image(name: &str) -> &str {
    ["-amd64", "-arm64"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

fn kind_of(content: &Content) -> &'static str {
    match content {
        Content::Program(_) => "program",
        Content::Package(_) => "package",
        Content::Images(_) => "image",
        Content::Manifest => "manifest",
        Content::Archive | Content::Other => "file",
    }
}

/// The processors that a file is for, which have to be what was told or what its name says. A script has what was told.
fn archs(content: &Content, told: Option<Arch>, said: Option<Arch>) -> Result<Vec<Option<Arch>>, String> {
    let found = content.archs();
    match told.or(said) {
        Some(said) if !found.is_empty() && !found.contains(&said) => {
            let found: Vec<String> = found.iter().map(Arch::to_string).collect();
            Err(format!(
                "expected {said}, as its name or --arch says, found {} inside; fetch the one for {said}",
                found.join(" and ")
            ))
        }
        _ if found.is_empty() => Ok(vec![told]),
        _ => Ok(found.into_iter().map(Some).collect()),
    }
}

/// The folder among the kept artifacts of what was sealed to machines.
pub(crate) const SEALED: &str = "sealed";

/// Where a file that was sealed to a machine lies.
pub(crate) fn sealed_path(kept: &Path, digest: &Digest) -> PathBuf {
    kept_path(&kept.join(SEALED), digest)
}

/// Where a file that was downloaded, or taken out of an archive, is kept.
pub fn kept_path(kept: &Path, digest: &Digest) -> PathBuf {
    kept.join(digest.hex())
}

/// Whether a distribution knows a program of that name.
fn is_known_program(distribution: Distribution, name: &str) -> bool {
    distribution.artifact(name).is_some_and(|known| matches!(known.place, Place::Program(_)))
}

#[cfg(test)]
mod tests;
