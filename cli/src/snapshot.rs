//! A sealed snapshot, opened with a recovery key: every byte of it is proved before anybody rests on it.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
    process::Command,
};

use hostler_plan::{
    document::{Recipient, RosterStatus, SealedSnapshot, SnapshotFile, SnapshotNote, TakenSnapshot},
    id::{Digest, NodeName},
    json,
    step::ClusterRole,
    trust,
};
use hostler_proto::v1;
use hostler_seal::{Identity, unpack};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{Admin, error::Error, file::read_text, output::clean};

/// A key file of age has some hundred bytes.
const MAX_KEY_BYTES: usize = 64 << 10;

/// The private half of a recovery key.
pub fn recovery_key(path: &Path) -> Result<Identity, Error> {
    let text = read_text(path, MAX_KEY_BYTES)?;
    Identity::from_file(&text).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))
}

/// A snapshot as a receipt names it, by a key that its node has or had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub taken: TakenSnapshot,
    pub node: NodeName,
    /// Whether that is the key of a server of today: anybody may have a retired one, and no worker has etcd's data.
    pub is_proved: bool,
    /// Whether the coordinator says that it has the sealed form.
    pub is_here: bool,
}

impl Listed {
    /// Who signed that the snapshot of this digest is theirs, and whether that counts.
    pub fn signer(&self) -> String {
        match self.is_proved {
            true => format!("{}, by the key of a server of today", self.node),
            false => format!("{}, by a key that is retired or no server's", self.node),
        }
    }
}

/// Why nobody can say which snapshot is meant by that name; none where all receipts agree.
pub fn disputed(listed: &[Listed], name: &str) -> Option<String> {
    let named = listed.iter().filter(|listed| listed.taken.name == name);
    let mut named = named.filter_map(|listed| Some((listed.taken.sealed?.digest, listed.signer())));
    let (first, by) = named.next()?;
    let (other, by_other) = named.find(|(digest, _)| *digest != first)?;
    Some(format!(
        "receipts name two snapshots {name}: {first} (signed by {by}) and {other} (signed by {by_other}); take \
         another, or a file of which you know that it is the right one"
    ))
}

/// The snapshots that receipts name, the newest first. What no node ever signed is not one.
pub async fn list(admin: &mut Admin) -> Result<Vec<Listed>, Error> {
    let request = admin.with_session(v1::Empty {});
    let reply = admin.client().list_snapshots(request).await?.into_inner();
    let Some(roster) = admin.trust_store().roster() else { return Ok(Vec::new()) };
    let listed = reply.snapshots.into_iter().filter_map(|known| {
        let (receipt, node) = trust::receipt_of_then(roster, &known.receipt?.into()).ok()?;
        let taken = TakenSnapshot::of(receipt.document())?;
        let is_proved = node.status == RosterStatus::Active && node.role == ClusterRole::Server;
        Some(Listed { taken, node: node.name.clone(), is_proved, is_here: known.is_here })
    });
    Ok(listed.collect())
}

/// Fetches the sealed form of the snapshot of that name to a file, from where an earlier try ended.
pub async fn fetch(admin: &mut Admin, name: &str, path: &Path) -> Result<SealedSnapshot, Error> {
    let listed = list(admin).await?;
    let found = listed.iter().find(|listed| listed.taken.name == name).ok_or_else(|| {
        Error::Usage(format!("expected a snapshot of `hostler snapshot list`, found {name:?}; see which there are"))
    })?;
    if let Some(why) = disputed(&listed, name) {
        return Err(Error::Failed(why));
    }
    let Some(sealed) = found.taken.sealed.filter(|_| found.is_here) else {
        return Err(Error::Failed(format!(
            "{name} is not with the coordinator; if {} still keeps it, it is there in /var/lib/hostler/etcd or \
             /var/lib/hostler/sealed",
            found.node
        )));
    };
    let failed = |source| Error::file("write", path, source);
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let mut file = File::options().create(true).append(true).open(part).map_err(failed)?;
    let offset = file.metadata().map_err(failed)?.len().min(sealed.size);
    let request = v1::FetchSnapshotRequest { digest: sealed.digest.to_string(), offset };
    let request = admin.with_session(request);
    let mut chunks = admin.client().fetch_snapshot(request).await?.into_inner();
    let mut written = offset;
    while let Some(chunk) = chunks.message().await? {
        written += chunk.data.len() as u64;
        if written > sealed.size {
            break;
        }
        file.write_all(&chunk.data).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    if written < sealed.size {
        return Err(Error::Failed(format!("{name}: {written} of {} bytes came; fetch it again", sealed.size)));
    }
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(part).map_err(failed)?, &mut hasher).map_err(failed)?;
    let digest = Digest::from_bytes(hasher.finalize().into());
    if written != sealed.size || digest != sealed.digest {
        std::fs::remove_file(part).map_err(failed)?;
        return Err(Error::Failed(format!(
            "{name}: expected {}, found {digest}; what came was removed: take it from another place",
            sealed.digest
        )));
    }
    std::fs::rename(part, path).map_err(failed)?;
    Ok(sealed)
}

/// The receipt that names this sealed file by its digest; of several one that counts.
pub async fn named_by(admin: &mut Admin, verified: &Verified) -> Result<Option<Listed>, Error> {
    let of_file = |listed: &Listed| listed.taken.sealed.is_some_and(|sealed| sealed.digest == verified.digest);
    Ok(list(admin).await?.into_iter().filter(of_file).max_by_key(|listed| listed.is_proved))
}

/// A recovery key's public half is no secret: that a file opens proves who may read it, and not who made it. A node
/// signed the digest of what it sealed, and only what such a receipt names is taken: `by`, where one [names](named_by)
/// the file.
pub fn must_be_proved(by: Option<&Listed>, file: &Path, verified: &Verified) -> Result<(), Error> {
    let found = match by {
        Some(Listed { is_proved: true, .. }) => return Ok(()),
        Some(Listed { node, .. }) => format!("one by a key of {node} that is retired or no server's"),
        None => {
            format!("none for {} ({}), and anybody can seal a file to a recovery key", file.display(), verified.digest)
        }
    };
    Err(Error::Failed(format!(
        "expected a receipt by the key of a server of today that names the snapshot, found {found}; what is restored \
         becomes the whole cluster. Take another of `hostler snapshot list`; where you know that this is what {} took, \
         and its machine was wiped or replaced since, add --accept-unproved",
        clean(verified.note.node.as_str())
    )))
}

/// What was proved of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub note: SnapshotNote,
    /// Of the sealed file.
    pub digest: Digest,
    /// Whether etcdutl looked into etcd's data too; it does where it is installed.
    pub looked_into: bool,
}

/// Opens it, compares every file with its digest, and lets etcdutl look into etcd's data where it is installed.
pub fn verify(path: &Path, identity: &Identity) -> Result<Verified, Error> {
    verify_with("etcdutl", path, identity)
}

/// The same with a program in the place of etcdutl.
pub fn verify_with(etcdutl: &str, path: &Path, identity: &Identity) -> Result<Verified, Error> {
    let failed = |source| Error::file("read", path, source);
    let file = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
    let mut measured = Measured { from: file, hasher: Sha256::new() };
    let mut note: Option<SnapshotNote> = None;
    let mut found: Vec<SnapshotFile> = Vec::new();
    let data = is_there(etcdutl).then(|| Scratch::new(path)).transpose().map_err(failed)?;
    unpack(identity, BufReader::new(&mut measured), |name, size, content| {
        if note.is_none() {
            note = Some(read_note(name, size, content)?);
            return Ok(());
        }
        let mut hasher = Sha256::new();
        match data.as_ref().filter(|_| name == SnapshotNote::DATA) {
            Some(scratch) => copy(content, &mut [&mut hasher, &mut &scratch.file])?,
            None => copy(content, &mut [&mut hasher])?,
        }
        found.push(SnapshotFile { name: name.to_owned(), sha256: Digest::from_bytes(hasher.finalize().into()), size });
        Ok(())
    })
    .map_err(failed)?;
    let digest = Digest::from_bytes(measured.hasher.finalize().into());
    let wrong = |reason: String| Err(Error::Failed(format!("{}: {reason}; take another copy", path.display())));
    let Some(note) = note else { return wrong("expected a snapshot in it, found nothing".to_owned()) };
    if found != note.files {
        let bad = note.files.iter().find(|file| !found.contains(file)).map_or("another file", |file| &file.name);
        return wrong(format!("expected the files that it names with their digests, found that {bad} differs"));
    }
    if !found.iter().any(|file| file.name == SnapshotNote::DATA) {
        return wrong("expected etcd's data in it, found none".to_owned());
    }
    if let Some(scratch) = &data {
        scratch.look(etcdutl, &note)?;
    }
    Ok(Verified { note, digest, looked_into: data.is_some() })
}

/// Hands the sealed snapshot that was verified on to those keys, as a file for its owner alone. Of another one, which
/// lies there meanwhile, nothing stays.
pub fn hand_on(
    (path, verified): (&Path, &Verified),
    identity: &Identity,
    to: &[Recipient],
    into: &Path,
) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let from = File::open(path).map_err(|e| Error::file("read", path, e))?;
    let mut measured = Measured { from, hasher: Sha256::new() };
    let failed = |e| Error::file("write", into, e);
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(into).map_err(failed)?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let sealed = BufReader::with_capacity(1 << 20, &mut measured);
    hostler_seal::hand_on(identity, to, sealed, &mut file).map_err(failed)?;
    let found = Digest::from_bytes(measured.hasher.finalize().into());
    if found != verified.digest {
        std::fs::remove_file(into).map_err(failed)?;
        return Err(Error::Failed(format!(
            "{}: expected {}, which was verified, found {found}: somebody changed it meanwhile; copy it to where \
             nobody else writes, and begin again",
            path.display(),
            verified.digest
        )));
    }
    Ok(())
}

fn read_note(name: &str, size: u64, content: &mut dyn Read) -> io::Result<SnapshotNote> {
    if name != SnapshotNote::NAME || size > SnapshotNote::MAX_BYTES {
        return Err(io::Error::other(format!("expected {} as its first file, found {name:?}", SnapshotNote::NAME)));
    }
    let mut text = Vec::new();
    content.read_to_end(&mut text)?;
    json::parse(&text).map_err(|e| io::Error::other(format!("{} is {e}; update hostler", SnapshotNote::NAME)))
}

fn copy(from: &mut dyn Read, to: &mut [&mut dyn Write]) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.iter_mut().try_for_each(|to| to.write_all(&buffer[..read]))?,
        }
    }
}

/// Measures what is read.
struct Measured<R> {
    from: R,
    hasher: Sha256,
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        self.hasher.update(&into[..read]);
        Ok(read)
    }
}

/// How a program opens anew what it was given as its input.
const ITS_INPUT: &str = "/proc/self/fd/0";

fn is_there(etcdutl: &str) -> bool {
    Command::new(etcdutl).arg("version").output().is_ok_and(|output| output.status.success())
}

/// etcd's data in the clear, in a file that has no name any more: however this ends, nothing of it stays.
struct Scratch {
    file: File,
}

impl Scratch {
    fn new(beside: &Path) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let name = format!(".{}.{}", beside.file_name().unwrap_or_default().to_string_lossy(), std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self { file })
    }

    fn look(&self, etcdutl: &str, note: &SnapshotNote) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Status {
            hash: u64,
            revision: u64,
        }
        let failed = |why: String| Error::Failed(format!("etcdutl does not take the snapshot {}: {why}", note.name));
        let data = self.file.try_clone().map_err(|e| failed(e.to_string()))?;
        let mut command = Command::new(etcdutl);
        command.args(["snapshot", "status", "--write-out", "json", ITS_INPUT]).stdin(data);
        let output = command.output().map_err(|e| failed(e.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let status: Status = serde_json::from_slice(&output.stdout).map_err(|e| failed(e.to_string()))?;
        let (hash, expected) = (format!("{:x}", status.hash), (&note.hash, note.revision));
        if (&hash, status.revision) != expected {
            let found = status.revision;
            return Err(failed(format!(
                "expected hash {} at revision {}, found {hash} at {found}",
                note.hash, note.revision
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(node: &str, content: &str, is_proved: bool) -> Listed {
        let sealed = Some(SealedSnapshot { digest: Digest::of(content.as_bytes()), size: 7 });
        let taken = TakenSnapshot {
            name: "s1-20261128T201500Z".to_owned(),
            cluster_id: "ab".to_owned(),
            revision: 12,
            kubernetes: "v1.36.3".to_owned(),
            sealed,
        };
        Listed { taken, node: node.parse().unwrap(), is_proved, is_here: true }
    }

    #[test]
    fn a_name_of_two_snapshots_is_disputed_with_both_signers() {
        let name = "s1-20261128T201500Z";
        let once = [listed("s1", "a", true), listed("s1", "a", false)];
        assert_eq!(disputed(&once, name), None, "the same one twice");
        let twice = [listed("s1", "a", true), listed("s1", "b", false)];
        let said = disputed(&twice, name).unwrap();
        assert!(
            said.contains(&format!("{} (signed by s1, by the key of a server of today)", Digest::of(b"a"))),
            "{said}"
        );
        assert!(said.contains(&format!("{} (signed by s1, by a key that is retired", Digest::of(b"b"))), "{said}");
        assert_eq!(disputed(&twice, "s1-20261128T201501Z"), None);
    }
}
