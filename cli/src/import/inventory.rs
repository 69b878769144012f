//! The files of an Ansible inventory: the hosts, and `group_vars` and `host_vars` beside them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hostler_plan::import::inventory::{self, Inventory, Is, Source};

use crate::{error::Error, file::read_text};

/// A file at most, in bytes; those of kubespray have 30 KiB.
const MAX_BYTES: usize = 1 << 20;
/// Files beside the hosts at most.
const MAX_FILES: usize = 500;
/// What a folder's hosts are called, the first one first.
const NAMES: [&str; 7] =
    ["hosts.yaml", "hosts.yml", "hosts.ini", "inventory.ini", "inventory.yaml", "inventory.yml", "hosts"];
/// How a file begins that Ansible encrypted.
const ENCRYPTED: &str = "$ANSIBLE_VAULT";

/// What stands in a file of variables.
enum Of {
    Group(String),
    Host(String),
}

/// An inventory, and the files that were not read because they are encrypted.
pub fn read_inventory(path: &Path) -> Result<(Inventory, Vec<PathBuf>), Error> {
    let (hosts, folder) = match path.is_dir() {
        false => (path.to_owned(), path.parent().unwrap_or(Path::new(".")).to_owned()),
        true => {
            let found = NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file());
            let found = found.ok_or_else(|| {
                let names = NAMES.join(", ");
                Error::Usage(format!("{}: expected one of {names}, found none; name the file", path.display()))
            })?;
            (found, path.to_owned())
        }
    };
    let mut files: Vec<(PathBuf, Of)> = Vec::new();
    variables(&folder.join("group_vars"), &|name| Of::Group(name), &mut files)?;
    variables(&folder.join("host_vars"), &|name| Of::Host(name), &mut files)?;
    let (mut texts, mut encrypted) =
        (vec![(hosts.display().to_string(), read_text(&hosts, MAX_BYTES)?, None)], Vec::new());
    for (file, of) in files {
        let text = read_text(&file, MAX_BYTES)?;
        if text.starts_with(ENCRYPTED) {
            encrypted.push(file);
        } else {
            texts.push((file.display().to_string(), text, Some(of)));
        }
    }
    let sources: Vec<Source<'_>> = texts.iter().map(source).collect();
    let read = inventory::read(&sources).map_err(|e| Error::Failed(e.to_string()))?;
    Ok((read, encrypted))
}

fn source((name, text, of): &(String, String, Option<Of>)) -> Source<'_> {
    let is = match of {
        None => Is::Inventory,
        Some(Of::Group(group)) => Is::GroupVariables(group),
        Some(Of::Host(host)) => Is::HostVariables(host),
    };
    Source { name, text, is }
}

/// The files of a folder with variables: `NAME.yml`, or all in a folder `NAME`.
fn variables(folder: &Path, of: &dyn Fn(String) -> Of, files: &mut Vec<(PathBuf, Of)>) -> Result<(), Error> {
    for entry in entries(folder)? {
        let name = entry.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = name.strip_suffix(".yml").or_else(|| name.strip_suffix(".yaml"));
        if entry.is_dir() {
            for file in entries(&entry)?.into_iter().filter(|file| is_yaml(file)) {
                files.push((file, of(name.clone())));
            }
        } else if let Some(stem) = stem.or(Some(name.as_str()).filter(|name| !name.contains('.'))) {
            files.push((entry.clone(), of(stem.to_owned())));
        }
    }
    if files.len() > MAX_FILES {
        return Err(Error::Failed(format!("{}: expected at most {MAX_FILES} files, found more", folder.display())));
    }
    Ok(())
}

fn is_yaml(file: &Path) -> bool {
    file.is_file() && file.extension().is_some_and(|ending| ending == "yml" || ending == "yaml")
}

/// What is in a folder, sorted; nothing where there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |source| Error::file("read", folder, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        found.push(entry.map_err(failed)?.path());
    }
    found.sort();
    Ok(found)
}
