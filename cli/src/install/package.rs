//! The admin's own packages: which file goes to which machine.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use hostler_plan::id::Digest;

use crate::{error::Error, file::read_limited};

/// The agent's package has 5 MB.
const MAX_BYTES: usize = 64 << 20;

/// How every package of Debian begins (deb(5)).
const MAGIC: &[u8] = b"!<arch>\ndebian-binary";

/// An architecture by Debian's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DebArch {
    #[default]
    Amd64,
    Arm64,
}

impl DebArch {
    /// Those that Hostler is packaged for.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];
}

impl fmt::Display for DebArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DebArch::Amd64 => "amd64",
            DebArch::Arm64 => "arm64",
        })
    }
}

/// A package of the agent.
#[derive(Debug, Clone, Default)]
pub struct Package {
    /// The file's own name.
    pub name: String,
    pub arch: DebArch,
    pub bytes: Vec<u8>,
}

impl Package {
    /// What it is known by.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

/// One package of the agent for each architecture that was found.
#[derive(Debug, Clone, Default)]
pub struct Packages(BTreeMap<DebArch, Arc<Package>>);

impl Packages {
    /// From files, or from folders as `packaging/build` fills them. Two for one architecture are an error.
    pub fn read(places: &[PathBuf]) -> Result<Self, Error> {
        let mut found = Self::default();
        for place in places {
            let files = if place.is_dir() { inside(place)? } else { vec![place.clone()] };
            if files.is_empty() {
                return Err(Error::Usage(format!(
                    "--package: expected a file hostler-agent_VERSION_ARCH.deb in {}, found none; \
                     packaging/build makes them",
                    place.display()
                )));
            }
            files.iter().try_for_each(|file| found.add(file))?;
        }
        Ok(found)
    }

    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let of_name = |arch: &DebArch| name.starts_with("hostler-agent_") && name.ends_with(&format!("_{arch}.deb"));
        let Some(arch) = DebArch::ALL.into_iter().find(of_name) else {
            return Err(Error::Usage(format!(
                "--package: expected hostler-agent_VERSION_amd64.deb or …_arm64.deb, found {}",
                path.display()
            )));
        };
        let bytes = read_limited(path, MAX_BYTES)?;
        if !bytes.starts_with(MAGIC) {
            return Err(Error::Usage(format!("{}: expected a Debian package, found another file", path.display())));
        }
        let package = Arc::new(Package { name, arch, bytes });
        match self.0.insert(arch, package.clone()) {
            Some(before) if before.digest() != package.digest() => Err(Error::Usage(format!(
                "--package: expected one package for {arch}, found {} and {}; name the one that is meant",
                before.name,
                path.display()
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// The one for that architecture.
    pub fn of(&self, arch: DebArch) -> Option<&Arc<Package>> {
        self.0.get(&arch)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Package>> {
        self.0.values()
    }
}

fn inside(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |e| Error::file("read", folder, e);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("hostler-agent_") && name.ends_with(".deb") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_one_package_for_each_architecture() {
        let folder = tempfile::tempdir().expect("a directory");
        let write = |name: &str, more: &str| {
            fs::write(folder.path().join(name), [MAGIC, more.as_bytes()].concat()).expect("written");
        };
        let read = || Packages::read(&[folder.path().to_owned()]);
        assert!(read().is_err_and(|e| e.to_string().contains("packaging/build")));
        write("hostler-agent_0.1.0-1_arm64.deb", "one");
        write("hostler_0.1.0-1_amd64.deb", "the command");
        let found = read().expect("one");
        assert!(found.of(DebArch::Arm64).is_some() && found.of(DebArch::Amd64).is_none());
        write("hostler-agent_0.1.0-2_arm64.deb", "two");
        assert!(read().is_err_and(|e| e.to_string().contains("expected one package for arm64")));
        let one = folder.path().join("hostler-agent_0.1.0-1_arm64.deb");
        assert!(Packages::read(std::slice::from_ref(&one)).is_ok());
        fs::write(&one, "no package").expect("written");
        assert!(Packages::read(&[one]).is_err_and(|e| e.to_string().contains("found another file")));
    }
}
