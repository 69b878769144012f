//! Where a person left the join string, under whatever name and in whatever form the machine that made the SD card gave
//! it; and what is wrong with it, on the node's own screen.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use hostler_daemon::{
    durable::{self, PUBLIC},
    say_once::SayOnce,
};
use hostler_plan::{id::NodeName, join::JoinString, text};

use crate::host::Host;

/// A join string has 700 characters: with two bytes for each and remarks it stays below this.
const MAX_BYTES: u64 = 16 << 10;

/// Names of a folder that are looked at: the boot partition has some dozens, and `hostler` on it a few.
const MAX_NAMES: usize = 1000;

/// How long the terminals may take to hear that there is something else to show.
const RELOAD_LIMIT: Duration = Duration::from_secs(5);

/// The places of the join string, and the screen.
pub(crate) struct JoinFiles {
    /// In this order. Each stands for what its name becomes on a file system without capitals and in a program that
    /// hides or adds the end of names.
    places: Vec<PathBuf>,
    console: Option<PathBuf>,
    said: SayOnce,
}

/// A join string with every file that holds it.
pub(crate) struct JoinFound {
    pub join: JoinString,
    paths: Vec<PathBuf>,
}

/// Why no join string counts, though something lies there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinFileError {
    #[error("{}: {reason}", path.display())]
    Wrong { path: PathBuf, reason: String },
    #[error(
        "expected one join string, found {} and {} with different ones; remove the one that should not count",
        one.display(), other.display()
    )]
    Differ { one: PathBuf, other: PathBuf },
    #[error(
        "expected a join string in {}, found an empty file: the disk was full when it was written, or it has served \
         already; put one there",
        path.display()
    )]
    Empty { path: PathBuf },
    #[error("expected the join string in a file join or join.txt, found {}; rename it", path.display())]
    Name { path: PathBuf },
}

impl JoinFiles {
    pub(crate) fn new(places: Vec<PathBuf>, console: Option<PathBuf>) -> Self {
        Self { places, console, said: SayOnce::default() }
    }

    /// Where a person can put one.
    pub(crate) fn places(&self) -> String {
        self.places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" or ")
    }

    /// The join string that lies in one of the places. A file that holds none does no harm beside one that does.
    pub(crate) fn read(&self) -> Result<Option<JoinFound>, JoinFileError> {
        let (mut found, mut wrong): (Option<JoinFound>, _) = (None, None);
        // Two places may be one: /boot/firmware is a link to /boot on some images.
        let mut seen = BTreeSet::new();
        for path in self.places.iter().flat_map(|place| candidates(place)) {
            match one(&path, &mut seen) {
                Ok(None) => {}
                Ok(Some(join)) => match &mut found {
                    None => found = Some(JoinFound { join, paths: vec![path] }),
                    Some(before) if before.join == join => before.paths.push(path),
                    Some(before) => {
                        return Err(JoinFileError::Differ { one: before.paths[0].clone(), other: path });
                    }
                },
                Err(reason) => wrong = wrong.or(Some(JoinFileError::Wrong { path, reason })),
            }
        }
        match (found, wrong) {
            (Some(found), wrong) => {
                if let Some(wrong) = wrong {
                    tracing::debug!("{wrong}; another file has a good one");
                }
                Ok(Some(found))
            }
            (None, Some(wrong)) => Err(wrong),
            (None, None) => {
                let is_empty = |path: &PathBuf| path.metadata().is_ok_and(|file| file.len() == 0);
                let mut named = self.places.iter().flat_map(|place| candidates(place));
                if let Some(path) = named.find(is_empty) {
                    return Err(JoinFileError::Empty { path });
                }
                match self.places.iter().find_map(|place| misnamed(place)) {
                    Some(path) => Err(JoinFileError::Name { path }),
                    None => Ok(None),
                }
            }
        }
    }

    /// Says it where a person at the node sees it, once.
    pub(crate) fn say(&mut self, host: &dyn Host, node: &NodeName, wrong: &str) {
        if !self.said.is_news(wrong) {
            return;
        }
        tracing::warn!("this node cannot enrol: {wrong}");
        // getty replaces what stands behind a backslash.
        let sentence = text::clean(wrong).replace('\\', "/");
        self.show(host, Some(&format!("Hostler: {node} cannot enrol: {sentence}\n")));
    }

    /// Nothing is to be said any more.
    pub(crate) fn all_is_well(&mut self, host: &dyn Host) {
        self.said.forget();
        self.show(host, None);
    }

    fn show(&self, host: &dyn Host, text: Option<&str>) {
        let Some(path) = &self.console else { return };
        let written = match (text, path.parent()) {
            (Some(text), Some(folder)) => {
                fs::create_dir_all(folder).and_then(|()| durable::replace(path, text.as_bytes(), PUBLIC))
            }
            (Some(_), None) => Err(io::Error::from(ErrorKind::InvalidInput)),
            (None, _) => match fs::remove_file(path) {
                Err(e) if e.kind() == ErrorKind::NotFound => return,
                other => other,
            },
        };
        match written {
            // Terminals that wait for a login show it at once; one that cannot be told shows it at the next login.
            Ok(()) => drop(host.run(&["agetty", "--reload"], RELOAD_LIMIT)),
            Err(error) => tracing::warn!("showing this on the console, in {}, failed: {error}", path.display()),
        }
    }
}

impl JoinFound {
    /// Removes or empties the files: the string has served. What cannot be removed is said and does no harm here,
    /// because its uses are counted by the coordinator.
    pub(crate) fn forget(&self) {
        for path in &self.paths {
            if let Err(error) = fs::remove_file(path).or_else(|_| fs::write(path, b"")) {
                tracing::warn!("the used join string in {} cannot be removed: {error}; remove it", path.display());
            }
        }
    }
}

/// What one file holds, unless it was read under another name before.
fn one(path: &Path, seen: &mut BTreeSet<(u64, u64)>) -> Result<Option<JoinString>, String> {
    let bytes = match unseen(path, seen) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("expected a join string, found more than {MAX_BYTES} bytes; is it the right file?"));
    }
    JoinString::in_file(&bytes).map_err(|e| e.to_string())
}

fn unseen(path: &Path, seen: &mut BTreeSet<(u64, u64)>) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    let of = file.metadata()?;
    if !seen.insert((of.dev(), of.ino())) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The files that a place stands for: `join`, `join.txt` and `join.txt.txt` in any capitals, as they are.
fn candidates(place: &Path) -> Vec<PathBuf> {
    let Some(wanted) = place.file_name().map(|name| name.to_string_lossy().to_lowercase()) else { return Vec::new() };
    let counts = |name: &str| name.strip_prefix(&wanted).is_some_and(|end| matches!(end, "" | ".txt" | ".txt.txt"));
    beside(place, counts)
}

/// A file that was meant, where nothing else lies there.
fn misnamed(place: &Path) -> Option<PathBuf> {
    let wanted = place.file_name()?.to_string_lossy().to_lowercase();
    let counts = |name: &str| name.len() > wanted.len() && name.starts_with(&wanted);
    let unused = |path: &PathBuf| candidates(place).iter().all(|candidate| candidate != path);
    beside(place, counts).into_iter().find(unused)
}

/// The files of that folder, in any capitals of the folder's own name too, whose names in small letters count.
fn beside(place: &Path, counts: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Some(folder) = place.parent() else { return Vec::new() };
    let small = |name: &Path| name.file_name().map(|n| n.to_string_lossy().to_lowercase());
    let mut folders = match folder.is_dir() {
        true => vec![folder.to_owned()],
        false => folder.parent().map(names).unwrap_or_default(),
    };
    folders.retain(|found| small(found) == small(folder));
    let files = folders.iter().flat_map(|folder| names(folder));
    files.filter(|path| path.is_file() && small(path).is_some_and(|name| counts(&name))).collect()
}

/// What lies in a folder, in order; nothing where there is none.
fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().take(MAX_NAMES).flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests;
