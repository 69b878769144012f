//! Files of an admin: signed documents with their signatures beside them, written so that a crash leaves old or new.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use hostler_daemon::durable::{self, PRIVATE, PUBLIC};
use hostler_plan::{
    document::{DocumentKind, MAX_SIGNATURE_BYTES, MAX_SIGNATURES, Signed},
    written,
};

use crate::error::Error;

/// Reads a file of at most `most` bytes; `-` is standard input.
pub fn read_limited(path: &Path, most: usize) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::file("read", path, source);
    let mut bytes = Vec::new();
    let limit = most as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        fs::File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() > most {
        return Err(Error::Failed(format!(
            "{}: expected at most {most} bytes, found more; is it the right file?",
            path.display()
        )));
    }
    Ok(bytes)
}

/// Reads a text that a person wrote, with whatever editor.
pub fn read_text(path: &Path, most: usize) -> Result<String, Error> {
    written::read(&read_limited(path, most)?).map_err(|e| Error::Failed(format!("{}: {e}", path.display())))
}

/// Reads bytes that are signed, or a signature.
fn read_signed(path: &Path, most: usize) -> Result<Vec<u8>, Error> {
    let bytes = read_limited(path, most)?;
    written::check_untouched(path, &bytes)?;
    Ok(bytes)
}

/// Writes a file whole or not at all; readable by everybody unless `private`.
pub fn write_whole(path: &Path, bytes: &[u8], private: bool) -> Result<(), Error> {
    let failed = |source| Error::file("write", path, source);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    durable::replace(path, bytes, if private { PRIVATE } else { PUBLIC }).map_err(failed)
}

/// Writes a secret to a file of its own, readable by its owner alone from its first byte; nothing is ever replaced.
pub fn write_private_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::file("write", path, source);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

/// The file of the signature with that number beside `document`: `.sig`, `.sig.2`, `.sig.3`…
pub fn signature_path(document: &Path, number: usize) -> PathBuf {
    let mut name = document.as_os_str().to_owned();
    name.push(".sig");
    if number > 1 {
        name.push(format!(".{number}"));
    }
    PathBuf::from(name)
}

/// Reads a document and every signature beside it. Nothing is verified.
pub fn read_document(kind: DocumentKind, path: &Path) -> Result<Signed, Error> {
    let bytes = read_signed(path, kind.max_bytes())?;
    let mut signatures = Vec::new();
    for number in 1..=MAX_SIGNATURES {
        let beside = signature_path(path, number);
        if !beside.exists() {
            continue;
        }
        let armour = read_signed(&beside, MAX_SIGNATURE_BYTES)?;
        signatures.push(String::from_utf8(armour).map_err(|_| {
            Error::Failed(format!(
                "{}: expected an armoured SSH signature, found binary data; sign again",
                beside.display()
            ))
        })?);
    }
    Ok(Signed { bytes, signatures })
}

/// What the file says that it is, in any version of the form. Nothing is verified.
pub fn kind_of(path: &Path) -> Option<DocumentKind> {
    // What cannot be read is of no kind; whoever reads it next says why.
    let bytes = read_limited(path, DocumentKind::Root.max_bytes()).ok()?;
    // Also one that a program rewrote: whoever reads it as what it was says what happened to it.
    let said: serde_json::Value = serde_json::from_str(&written::read(&bytes).ok()?).ok()?;
    let (name, _) = said.get("_type")?.as_str()?.split_once('/')?;
    let kinds = [DocumentKind::Root, DocumentKind::Roster, DocumentKind::Admission, DocumentKind::Plan];
    kinds.into_iter().find(|kind| kind.namespace() == name)
}

/// Writes the signatures of a document, then itself: under a name that no other document had it is there with all of
/// them or not at all, wherever the power fails. What else lies there as its signature goes away.
pub fn write_document(path: &Path, signed: &Signed) -> Result<(), Error> {
    for (i, armour) in signed.signatures.iter().enumerate() {
        write_whole(&signature_path(path, i + 1), armour.as_bytes(), false)?;
    }
    for number in signed.signatures.len() + 1..=MAX_SIGNATURES {
        remove(&signature_path(path, number))?;
    }
    write_whole(path, &signed.bytes, false)
}

/// Removes a document with everything that lies beside it as its signature.
pub(crate) fn remove_document(path: &Path) -> Result<(), Error> {
    // Itself first: without its signatures it would be damage.
    remove(path)?;
    (1..=MAX_SIGNATURES).try_for_each(|number| remove(&signature_path(path, number)))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path, e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Puts one more signature beside a document, under the first number that is free.
pub fn add_signature(path: &Path, armour: &str) -> Result<PathBuf, Error> {
    let free = (1..=MAX_SIGNATURES).map(|n| signature_path(path, n)).find(|p| !p.exists()).ok_or_else(|| {
        Error::Failed(format!("{} has {MAX_SIGNATURES} signatures already; remove some", path.display()))
    })?;
    write_whole(&free, armour.as_bytes(), false)?;
    Ok(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_reads_back_with_its_signatures_and_never_with_older_ones() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("1.plan.json");
        let three = Signed { bytes: b"one".to_vec(), signatures: vec!["a".into(), "b".into(), "c".into()] };
        write_document(&path, &three).expect("written");
        assert_eq!(read_document(DocumentKind::Plan, &path).expect("read"), three);
        let one = Signed { bytes: b"two".to_vec(), signatures: vec!["d".into()] };
        write_document(&path, &one).expect("written");
        assert_eq!(read_document(DocumentKind::Plan, &path).expect("read"), one);
        assert_eq!(add_signature(&path, "e").expect("written"), folder.path().join("1.plan.json.sig.2"));
        assert_eq!(read_document(DocumentKind::Plan, &path).expect("read").signatures, ["d", "e"]);
    }

    #[test]
    fn a_file_of_a_gibibyte_is_not_read() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("huge.plan.json");
        fs::File::create(&path).and_then(|f| f.set_len(1 << 30)).expect("a sparse file");
        let error = read_document(DocumentKind::Plan, &path).expect_err("too large");
        assert!(error.to_string().contains("1048576"), "{error}");
    }
}
