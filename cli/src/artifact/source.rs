//! What is to be locked: files, the files of folders and archives, and downloads.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use hostler_plan::{distribution::Distribution, id::Digest};

use super::{
    Told, archive, content, content::Content, download::Downloads, is_known_program, kept_path, measure, published,
};
use crate::error::Error;

/// A file that becomes an entry.
#[derive(Debug)]
pub(super) struct Item {
    /// Where its bytes lie.
    pub path: PathBuf,
    /// Its name and place, for people and for what they say of it.
    pub shown: String,
    /// The archive that it came out of.
    pub around: Option<String>,
    /// The file that it is, or came out of; without meaning for a download.
    pub origin: PathBuf,
    pub url: Option<String>,
    pub member: Option<String>,
    /// Where upstream says its digest, or that of the archive around it.
    pub checked: Option<String>,
}

/// Items as they are found.
pub(super) struct Found<'a> {
    pub kept: &'a Path,
    pub told: &'a Told,
    pub distribution: Distribution,
    pub items: Vec<Item>,
    pub notes: Vec<String>,
}

impl Found<'_> {
    /// Adds a URL, a file, or the files of a folder in the order of their names; hidden ones and folders in it are
    /// passed over.
    pub(super) fn add(&mut self, source: &str, downloads: &Downloads) -> Result<(), Error> {
        if source.contains("://") {
            return self.add_url(source, downloads);
        }
        let path = Path::new(source);
        if !path.is_dir() {
            return self.add_file(path, downloads);
        }
        let failed = |e| Error::file("read", path, e);
        let entries: Result<Vec<_>, _> = fs::read_dir(path).map_err(failed)?.collect();
        let mut files: Vec<PathBuf> = entries.map_err(failed)?.into_iter().map(|entry| entry.path()).collect();
        files.sort();
        let hidden = |f: &Path| f.file_name().is_none_or(|n| n.to_string_lossy().starts_with('.'));
        let files: Vec<PathBuf> = files.into_iter().filter(|f| f.is_file() && !hidden(f)).collect();
        // What upstream published beside its files checks them and is none of them.
        let (lists, files): (Vec<PathBuf>, Vec<PathBuf>) = files.into_iter().partition(|f| is_list(f));
        if files.is_empty() {
            return Err(Error::Failed(format!("{source}: expected files, found none; name another folder")));
        }
        for file in files {
            self.add_checked_file(&file, &lists, downloads)?;
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path, downloads: &Downloads) -> Result<(), Error> {
        let beside = published::places(&path.display().to_string()).into_iter().map(PathBuf::from);
        let lists: Vec<PathBuf> = beside.filter(|list| list.is_file()).collect();
        self.add_checked_file(path, &lists, downloads)
    }

    /// A file of this machine, beside which its checksums may lie.
    fn add_checked_file(&mut self, path: &Path, lists: &[PathBuf], downloads: &Downloads) -> Result<(), Error> {
        let shown = path.display().to_string();
        let found = measure(path)?.sha256;
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut checked = self.told_checksum(&file, &found, &shown, downloads)?;
        for list in lists {
            if checked.is_none() {
                let text = fs::read(list).map_err(|e| Error::file("read", list, e))?;
                let place = list.display().to_string();
                checked = compare(&place, &String::from_utf8_lossy(&text), &file, &found, &shown)?;
            }
        }
        self.add_content(path.to_owned(), shown, None, checked)
    }

    fn add_url(&mut self, url: &str, downloads: &Downloads) -> Result<(), Error> {
        let partial = self.kept.join(".new");
        downloads.file(url, &partial)?;
        let found = measure(&partial)?.sha256;
        let path = url.split(['?', '#']).next().unwrap_or(url);
        let file = path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut checked = self.told_checksum(&file, &found, url, downloads)?;
        if checked.is_none() && self.told.checksums.is_none() {
            for place in published::places(path) {
                let Some(text) = downloads.text(&place)? else { continue };
                checked = compare(&place, &text, &file, &found, url)?;
                if checked.is_some() {
                    break;
                }
            }
        }
        if checked.is_none() {
            self.notes.push(format!(
                "{url}: no published checksum was found, so the lock holds what came; compare {found} with the \
                 release, or name its list with --checksums"
            ));
        }
        let kept = kept_path(self.kept, &found);
        fs::rename(&partial, &kept).map_err(|e| Error::file("write", &kept, e))?;
        self.add_content(kept, url.to_owned(), Some(url.to_owned()), checked)
    }

    /// What the list of `--checksums` says of a file, which has to stand in it.
    fn told_checksum(
        &self,
        file: &str,
        found: &Digest,
        shown: &str,
        downloads: &Downloads,
    ) -> Result<Option<String>, Error> {
        let Some(list) = &self.told.checksums else { return Ok(None) };
        let text = match list.contains("://") {
            true => {
                downloads.text(list)?.ok_or_else(|| Error::Failed(format!("{list}: there is none; correct the URL")))?
            }
            false => {
                let bytes = fs::read(list).map_err(|e| Error::file("read", Path::new(list), e))?;
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        match compare(list, &text, file, found, shown)? {
            None => Err(Error::Failed(format!("{list}: expected a checksum of {file}, found none; name another list"))),
            checked => Ok(checked),
        }
    }

    /// The file itself, or what is to be taken out of it.
    fn add_content(
        &mut self,
        path: PathBuf,
        shown: String,
        url: Option<String>,
        checked: Option<String>,
    ) -> Result<(), Error> {
        let content = content::look(&path).map_err(|why| Error::Failed(format!("{shown}: {why}")))?;
        if content != Content::Archive || self.told.kind.as_deref() == Some("file") {
            let item = Item { origin: path.clone(), path, shown, around: None, url, member: None, checked };
            self.items.push(item);
            return Ok(());
        }
        let (mut taken, mut passed) = (Vec::new(), Vec::new());
        let unpacked = archive::open(&path).and_then(|unpacked| {
            archive::files(unpacked, |member, _, bytes| {
                let name = member.rsplit('/').next().unwrap_or(member);
                let wanted = match self.told.members.is_empty() {
                    true => is_known_program(self.distribution, name),
                    false => self.told.members.iter().any(|m| m == member),
                };
                match wanted {
                    true => taken.push((member.to_owned(), keep(self.kept, bytes)?)),
                    false => passed.push(member.to_owned()),
                }
                Ok(())
            })
        });
        unpacked.map_err(|e| {
            Error::Failed(format!("{shown}: the archive cannot be read to its end: {e}; fetch it again"))
        })?;
        if taken.is_empty() {
            return Err(Error::Failed(format!(
                "{shown}: expected {} in the archive, found {}; name the files with --member",
                if self.told.members.is_empty() { "a program of a known name" } else { "what --member names" },
                passed.join(", ")
            )));
        }
        if !passed.is_empty() {
            self.notes.push(format!("{shown}: passed over {}", passed.join(", ")));
        }
        for (member, kept) in taken {
            let (around, checked) = (Some(shown.clone()), checked.clone());
            let (url, origin) = (url.clone(), path.clone());
            self.items.push(Item {
                path: kept,
                shown: member.clone(),
                around,
                origin,
                url,
                member: Some(member),
                checked,
            });
        }
        Ok(())
    }
}

/// Writes a file out of an archive under its digest.
fn keep(kept: &Path, bytes: &mut dyn io::Read) -> io::Result<PathBuf> {
    let partial = kept.join(".member");
    let mut file = fs::File::create(&partial)?;
    io::copy(bytes, &mut file)?;
    drop(file);
    let digest = measure(&partial).map_err(|e| io::Error::other(e.to_string()))?.sha256;
    let path = kept_path(kept, &digest);
    fs::rename(&partial, &path)?;
    Ok(path)
}

/// Whether a list says that digest of that file; none where it says nothing of it.
fn compare(list: &str, text: &str, file: &str, found: &Digest, shown: &str) -> Result<Option<String>, Error> {
    match published::digest(text, file).map_err(|why| Error::Failed(format!("{list}: {why}; ask who made it")))? {
        None => Ok(None),
        Some(expected) if expected == *found => Ok(Some(list.to_owned())),
        Some(expected) => Err(Error::Failed(format!(
            "{shown}: expected {expected}, as {list} says, found {found}; it is cut off, changed or another one: fetch \
             it again, and ask who made it if that stays"
        ))),
    }
}

fn is_list(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    name.ends_with(".sha256") || name.ends_with(".sha256sum") || name.starts_with("sha256sum")
}

/// The path of a file as a lock has it: relative to the fleet file, with `/`.
pub(super) fn relative(file: &Path, fleet_file: &Path) -> Result<String, Error> {
    let whole = |path: &Path| path.canonicalize().map_err(|e| Error::file("read", path, e));
    let (file, fleet_file) = (whole(file)?, whole(fleet_file)?);
    let folder = fleet_file.parent().unwrap_or(Path::new("/"));
    let (file, folder): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (file.components().collect(), folder.components().collect());
    let same = file.iter().zip(&folder).take_while(|(a, b)| a == b).count();
    let up = folder[same..].iter().map(|_| "..".to_owned());
    let down = file[same..].iter().map(|c| c.as_os_str().to_string_lossy().into_owned());
    Ok(up.chain(down).collect::<Vec<_>>().join("/"))
}
