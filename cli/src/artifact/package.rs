//! Packages of machines' systems: brought here once, for all machines.
//!
//! Archives of packages are served without TLS too: what comes counts by the digest that machines read out of apt's
//! signed lists and signed themselves.

use std::{
    collections::BTreeSet,
    fs, io,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use hostler_plan::document::Artifact;

use super::{Downloads, kept_path, measure};
use crate::error::Error;

/// Downloads at the same time: an archive's server is asked politely.
const AT_ONCE: usize = 4;

/// A file that a plan needs, and where machines say that it can be had.
pub type Wanted<'a> = (Artifact, BTreeSet<&'a str>);

/// Brings every file into `kept`, each from the first place that has it as it should be: `folder`, then where the
/// machines' lists say. Errors name all that could not be had.
pub fn bring(wanted: &[Wanted<'_>], folder: Option<&Path>, kept: &Path) -> Result<(), Error> {
    fs::create_dir_all(kept).map_err(|e| Error::file("make", kept, e))?;
    let downloads = Downloads::of_packages();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(wanted.len()) {
            scope.spawn(|| {
                while let Some(one) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = bring_one(one, folder, kept, &downloads) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(why);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort();
    if failed.is_empty() { Ok(()) } else { Err(Error::Failed(failed.join("\n"))) }
}

fn bring_one(
    (artifact, uris): &Wanted<'_>,
    folder: Option<&Path>,
    kept: &Path,
    from: &Downloads,
) -> Result<(), String> {
    let place = kept_path(kept, &artifact.sha256);
    if is_it(artifact, &place) {
        return Ok(());
    }
    let unfinished = kept.join(format!(".{}.part", artifact.sha256.hex()));
    let names = uris.iter().map(|uri| file_name(uri));
    let near = folder.and_then(|folder| names.map(|name| folder.join(name)).find(|path| is_it(artifact, path)));
    let why = match near {
        Some(path) => fs::copy(&path, &unfinished).map(drop).map_err(|e| format!("{}: {e}", path.display())),
        None => download(artifact, uris, from, &unfinished),
    };
    let placed = why.and_then(|()| fs::rename(&unfinished, &place).map_err(|e: io::Error| e.to_string()));
    placed.map_err(|why| {
        let _ = fs::remove_file(&unfinished);
        format!("{} cannot be had: {why}", artifact.name)
    })
}

fn download(artifact: &Artifact, uris: &BTreeSet<&str>, from: &Downloads, into: &Path) -> Result<(), String> {
    let mut whys = Vec::new();
    for uri in uris {
        match from.file(uri, into) {
            Ok(()) if is_it(artifact, into) => return Ok(()),
            Ok(()) => whys.push(format!(
                "{uri} has other content than the machines' lists say: expected {} and {} bytes",
                artifact.sha256, artifact.size
            )),
            Err(error) => whys.push(error.to_string()),
        }
    }
    let next = "an archive that has moved on shows it once the machines are asked again; what cannot be reached from \
                here comes from a folder (--packages)";
    Err(format!("{}; {next}", whys.join("; ")))
}

fn is_it(artifact: &Artifact, path: &Path) -> bool {
    let wanted = (artifact.sha256, artifact.size);
    path.is_file() && measure(path).is_ok_and(|found| (found.sha256, found.size) == wanted)
}

/// The last part of an address, `%2b` and the like undone but for the `%3a` that apt's own names keep.
fn file_name(uri: &str) -> String {
    let last = uri.rsplit('/').next().unwrap_or_default();
    last.replace("%2b", "+").replace("%2B", "+").replace("%7e", "~").replace("%7E", "~")
}

#[cfg(test)]
mod tests {
    use hostler_plan::id::Digest;

    use super::*;

    #[test]
    fn only_what_has_the_digest_is_taken_from_a_folder() {
        let (folder, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let content = b"a package";
        let artifact = Artifact {
            name: "deb-x-0123".parse().unwrap(),
            sha256: Digest::of(content),
            size: content.len() as u64,
            arch: None,
        };
        // Nothing listens at port 1.
        let uris = BTreeSet::from(["http://127.0.0.1:1/pool/x_1%2bb1_all.deb"]);
        let wanted = [(artifact.clone(), uris)];
        let file = folder.path().join("x_1+b1_all.deb");
        fs::write(&file, b"another").unwrap();
        let why = bring(&wanted, Some(folder.path()), kept.path()).unwrap_err().to_string();
        assert!(why.contains("deb-x-0123 cannot be had") && why.contains("--packages"), "{why}");
        assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 0, "nothing is left of it");
        fs::write(&file, content).unwrap();
        bring(&wanted, Some(folder.path()), kept.path()).unwrap();
        assert!(is_it(&artifact, &kept_path(kept.path(), &artifact.sha256)));
        fs::remove_file(&file).unwrap();
        bring(&wanted, Some(folder.path()), kept.path()).unwrap();
    }
}
