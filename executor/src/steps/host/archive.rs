//! Which images an archive holds: a tar file as `docker save` makes it, or with an OCI layout. Read without unpacking,
//! and nothing of it is believed to be small.
//!
//! Formats: <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>; `manifest.json` of
//! <https://github.com/moby/docker-image-spec>; tar(5). An archive that has both is read as containerd reads it, by its
//! OCI layout.

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom},
};

use hostler_plan::id::Digest;
use serde::{Deserialize, de::DeserializeOwned};

/// A whole cluster's images have some hundred layers.
const MAX_ENTRIES: usize = 20_000;

/// Images in one archive.
const MAX_IMAGES: usize = 500;

/// A file of JSON in it; the configuration of an image has 10 KiB.
const MAX_JSON: u64 = 4 << 20;

/// The files at the top that say what is in it.
const MANIFEST: &str = "manifest.json";
const INDEX: &str = "index.json";
const LAYOUT: &str = "oci-layout";

/// Tar files are made of blocks.
const BLOCK: u64 = 512;

/// An image of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    /// As the kubelet asks for it, whole: `registry.k8s.io/pause:3.10.1`.
    pub name: String,
    pub content: Content,
}

/// What tells that an image is that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// The digest that the name leads to.
    Target(String),
    /// The digest of its configuration, which names its layers: the manifest is made when it is imported.
    Config(String),
}

/// The images of an archive, each once by its name.
pub(super) fn images(mut archive: impl Read + Seek) -> io::Result<Vec<Image>> {
    let entries = entries(&mut archive)?;
    let found = match (entries.get(LAYOUT), entries.get(INDEX), entries.get(MANIFEST)) {
        (Some(_), Some(index), _) => of_layout(json(&mut archive, *index)?),
        (_, _, Some(manifest)) => of_docker(json(&mut archive, *manifest)?, &entries, &mut archive)?,
        _ => return Err(wrong("expected manifest.json, or oci-layout and index.json, at its top, found neither")),
    };
    let mut named = BTreeMap::new();
    for image in found {
        named.insert(image.name.clone(), image);
    }
    match named.len() {
        0 => Err(wrong("expected an image with a name, found none; save it by its name, not by its id")),
        1..=MAX_IMAGES => Ok(named.into_values().collect()),
        more => Err(wrong(format!("expected at most {MAX_IMAGES} images, found {more}"))),
    }
}

fn wrong(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// An image has the name of containerd's annotation, or of OCI's where that is a whole name; one without is a part of
/// another.
fn of_layout(index: Index) -> Vec<Image> {
    let name = |annotations: &BTreeMap<String, String>| {
        let whole = annotations.get("io.containerd.image.name").cloned();
        let short = || annotations.get("org.opencontainers.image.ref.name").filter(|name| name.contains('/')).cloned();
        whole.or_else(short)
    };
    let named = index.manifests.into_iter().filter_map(|found| Some((name(&found.annotations)?, found.digest)));
    named.map(|(name, digest)| Image { name: normal(&name), content: Content::Target(digest) }).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

fn of_docker(
    saved: Vec<Saved>,
    entries: &BTreeMap<String, Entry>,
    archive: &mut (impl Read + Seek),
) -> io::Result<Vec<Image>> {
    let mut images = Vec::new();
    for Saved { config, repo_tags } in saved {
        let entry = entries.get(config.as_str());
        let entry = entry.ok_or_else(|| wrong(format!("expected the configuration {config}, found no such file")))?;
        let digest = format!("sha256:{}", Digest::of(&bytes(archive, *entry)?).hex());
        let names = repo_tags.unwrap_or_default();
        images.extend(names.iter().map(|name| Image { name: normal(name), content: Content::Config(digest.clone()) }));
    }
    Ok(images)
}

/// The whole form of a name: without a registry it is Docker's, and without a tag the latest one, as
/// <https://github.com/distribution/reference> has it.
fn normal(name: &str) -> String {
    let first = name.split('/').next().unwrap_or_default();
    let is_host = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let whole = match (is_host, name.contains('/')) {
        (true, _) => name.to_owned(),
        (false, true) => format!("docker.io/{name}"),
        (false, false) => format!("docker.io/library/{name}"),
    };
    let last = whole.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { whole } else { format!("{whole}:latest") }
}

/// A file of the archive: where its bytes begin, and how many there are.
#[derive(Debug, Clone, Copy)]
struct Entry {
    at: u64,
    size: u64,
}

/// The regular files of a tar file by their names. Its contents are passed over.
fn entries(archive: &mut (impl Read + Seek)) -> io::Result<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    let mut longer: Option<String> = None;
    let mut at = 0;
    for _ in 0..MAX_ENTRIES {
        archive.seek(SeekFrom::Start(at))?;
        let mut head = [0; BLOCK as usize];
        match archive.read_exact(&mut head) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && at > 0 => {
                return Err(wrong("it ends before its end; fetch it again"));
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(wrong("it is empty")),
            Err(e) => return Err(e),
        }
        if head.iter().all(|byte| *byte == 0) {
            return Ok(found);
        }
        let (kind, size) = (head[156], read_head(&head)?);
        let entry = Entry { at: at + BLOCK, size };
        match kind {
            // GNU's long name, and a name in the extended headers of POSIX, are of the entry that follows.
            b'L' => longer = Some(text(&bytes(archive, entry)?)),
            b'x' => longer = extended_name(&bytes(archive, entry)?).or(longer),
            b'0' | 0 => {
                let name = longer.take().unwrap_or_else(|| short_name(&head));
                found.insert(name.trim_start_matches("./").to_owned(), entry);
            }
            _ => longer = None,
        }
        at = size
            .div_ceil(BLOCK)
            .checked_mul(BLOCK)
            .and_then(|padded| padded.checked_add(entry.at))
            .ok_or_else(size_wrong)?;
    }
    Err(wrong(format!("expected at most {MAX_ENTRIES} files in it, found more")))
}

fn size_wrong() -> io::Error {
    wrong("a file in it has a size that cannot be")
}

/// The size of an entry, once the head has proved itself by its sum.
fn read_head(head: &[u8; BLOCK as usize]) -> io::Result<u64> {
    if head[..2] == [0x1f, 0x8b] || head[..4] == [0x28, 0xb5, 0x2f, 0xfd] {
        return Err(wrong("it is compressed; unpack it first, with gunzip or unzstd"));
    }
    let blanked = head.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    if octal(&head[148..156]) != Some(blanked.map(u64::from).sum()) {
        return Err(wrong("it is no tar file, or is damaged"));
    }
    // What is larger than 8 GiB is written in binary (GNU): no image of this project's machines is.
    octal(&head[124..136]).ok_or_else(size_wrong)
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

/// A name of at most 100 bytes, behind a prefix of at most 155 in POSIX's form.
fn short_name(head: &[u8; BLOCK as usize]) -> String {
    let name = text(&head[..100]);
    let prefix = if &head[257..262] == b"ustar" { text(&head[345..500]) } else { String::new() };
    if prefix.is_empty() { name } else { format!("{prefix}/{name}") }
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// Of `LENGTH KEY=VALUE\n` the value of `path`.
fn extended_name(records: &[u8]) -> Option<String> {
    let records = String::from_utf8_lossy(records);
    let record = records.lines().find_map(|line| line.split_once(' ')?.1.strip_prefix("path="));
    record.map(str::to_owned)
}

fn bytes(archive: &mut (impl Read + Seek), entry: Entry) -> io::Result<Vec<u8>> {
    if entry.size > MAX_JSON {
        return Err(wrong(format!("expected at most {MAX_JSON} bytes of what describes it, found {}", entry.size)));
    }
    archive.seek(SeekFrom::Start(entry.at))?;
    let mut bytes = Vec::new();
    archive.take(entry.size).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == entry.size { Ok(bytes) } else { Err(wrong("it ends before its end; fetch it again")) }
}

fn json<T: DeserializeOwned>(archive: &mut (impl Read + Seek), entry: Entry) -> io::Result<T> {
    serde_json::from_slice(&bytes(archive, entry)?).map_err(|e| wrong(format!("what describes it cannot be read: {e}")))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use super::*;

    /// A tar file of these files, in POSIX's form.
    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut made = Vec::new();
        for (name, content) in files {
            made.extend(head(name, b'0', content.len()));
            made.extend_from_slice(content);
            made.resize(made.len().next_multiple_of(512), 0);
        }
        made.resize(made.len() + 1024, 0);
        made
    }

    fn head(name: &str, kind: u8, size: usize) -> [u8; 512] {
        let mut head = [0; 512];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        head[156] = kind;
        head[148..156].fill(b' ');
        let sum: u64 = head.iter().map(|byte| u64::from(*byte)).sum();
        head[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        head[154] = 0;
        head
    }

    fn read(archive: Vec<u8>) -> Result<Vec<Image>, String> {
        images(Cursor::new(archive)).map_err(|e| e.to_string())
    }

    pub(in crate::steps::host) const CONFIG: &[u8] = b"{\"os\":\"linux\"}";

    pub(in crate::steps::host) fn docker() -> Vec<u8> {
        let manifest = br#"[{"Config":"c.json","RepoTags":["registry.k8s.io/pause:3.10","app"],"Layers":["l.tar"]}]"#;
        tar(&[("l.tar", &[7; 1500]), ("c.json", CONFIG), ("./manifest.json", manifest)])
    }

    #[test]
    fn the_images_of_both_forms_are_found_by_their_whole_names() {
        let config = Content::Config(format!("sha256:{}", Digest::of(CONFIG).hex()));
        let named = |name: &str, content: &Content| Image { name: name.into(), content: content.clone() };
        let both = vec![named("docker.io/library/app:latest", &config), named("registry.k8s.io/pause:3.10", &config)];
        assert_eq!(read(docker()), Ok(both));

        let index = br#"{"manifests":[
            {"digest":"sha256:aa","annotations":{"io.containerd.image.name":"registry.k8s.io/etcd:3.6.8-0",
                "org.opencontainers.image.ref.name":"3.6.8-0"}},
            {"digest":"sha256:bb","annotations":{"org.opencontainers.image.ref.name":"quay.io/x/y:1"}},
            {"digest":"sha256:cc","annotations":{"org.opencontainers.image.ref.name":"1"}},
            {"digest":"sha256:dd"}]}"#;
        let layout: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
        let target = |digest: &str| Content::Target(digest.into());
        let found = read(tar(&[("oci-layout", layout), ("index.json", index), ("manifest.json", b"[]")]));
        let wanted = vec![
            named("quay.io/x/y:1", &target("sha256:bb")),
            named("registry.k8s.io/etcd:3.6.8-0", &target("sha256:aa")),
        ];
        assert_eq!(found, Ok(wanted));
    }

    #[test]
    fn a_long_name_is_read_in_both_of_its_forms() {
        let name = format!("blobs/{}/c.json", "x".repeat(120));
        let manifest = format!(r#"[{{"Config":"{name}","RepoTags":["a.b/c:1"]}}]"#);
        let record = format!(" path={name}\n");
        let record = format!("{}{record}", record.len() + 3);
        for (kind, long) in [(b'L', format!("{name}\0")), (b'x', record)] {
            let mut made = head("long", kind, long.len()).to_vec();
            made.extend_from_slice(long.as_bytes());
            made.resize(made.len().next_multiple_of(512), 0);
            made.extend(tar(&[("cut", CONFIG), ("manifest.json", manifest.as_bytes())]));
            assert_eq!(read(made).unwrap()[0].name, "a.b/c:1");
        }
    }

    #[test]
    fn what_is_no_archive_of_images_is_said_in_words() {
        let manifest = |text: &[u8]| tar(&[("manifest.json", text)]);
        let mut damaged = docker();
        damaged[3] ^= 1;
        let cut = docker()[..2200].to_vec();
        let large = head("manifest.json", b'0', 1 << 30).to_vec();
        for (archive, expected) in [
            (Vec::new(), "it is empty"),
            (vec![0x1f; 5], "it is empty"),
            ([&[0x1f, 0x8b][..], &[0; 510]].concat(), "it is compressed"),
            (damaged, "no tar file"),
            (cut, "it ends before its end"),
            (large, "it ends before its end"),
            (tar(&[("a", b"b")]), "expected manifest.json"),
            (manifest(b"[]"), "expected an image with a name"),
            (manifest(b"{"), "cannot be read"),
            (manifest(br#"[{"Config":"none","RepoTags":["a.b/c:1"]}]"#), "expected the configuration none"),
        ] {
            let found = read(archive).unwrap_err();
            assert!(found.contains(expected), "{expected}: {found}");
        }
    }

    #[test]
    fn names_are_made_whole_as_containerd_makes_them() {
        for (name, whole) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("flannel/flannel:v1", "docker.io/flannel/flannel:v1"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:2", "localhost:5000/app:2"),
            ("registry.k8s.io/coredns/coredns:v1", "registry.k8s.io/coredns/coredns:v1"),
            ("a.b/c@sha256:aa", "a.b/c@sha256:aa"),
        ] {
            assert_eq!(normal(name), whole);
        }
    }
}
