//! Archives of container images: `docker save` and the OCI image layout, which newer ones are both.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
};

use hostler_plan::id::Arch;
use serde::Deserialize;

use super::archive;

/// Larger than any index, manifest or configuration; layers are larger and not read.
const JSON_BYTES: u64 = 4 << 20;
/// All of them together.
const ALL_JSON_BYTES: u64 = 64 << 20;
/// An index may name indexes; nobody nests them deeper.
const DEPTH: usize = 4;

/// What an archive holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Images {
    /// As a container runtime shows them, such as `registry.k8s.io/pause:3.10`; without those that have none.
    pub names: BTreeSet<String>,
    pub archs: BTreeSet<Arch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An OCI index or an OCI manifest: what of both is asked for.
#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Configuration {
    architecture: Option<String>,
    os: Option<String>,
}

/// Everything in an archive that an image can be read from.
#[derive(Default)]
struct Contents {
    json: BTreeMap<String, Vec<u8>>,
    names: BTreeSet<String>,
}

/// What images the archive holds; none where it is another one. An archive that lacks a part of an image is an error.
pub(super) fn read(archive: Box<dyn Read>) -> Result<Option<Images>, String> {
    let contents = contents(archive).map_err(|e| format!("the archive cannot be read to its end: {e}"))?;
    let mut images = Images::default();
    if let Some(index) = contents.json.get("index.json").filter(|_| contents.names.contains("oci-layout")) {
        let node: Node = serde_json::from_slice(index).map_err(|e| format!("index.json: {e}"))?;
        contents.walk(&node, &mut images, DEPTH)?;
    }
    if let Some(manifest) = contents.json.get("manifest.json") {
        let list: Vec<DockerImage> = serde_json::from_slice(manifest).map_err(|e| format!("manifest.json: {e}"))?;
        for image in list {
            contents.is_there(image.layers.iter().map(String::as_str))?;
            images.names.extend(image.repo_tags.into_iter().flatten());
            images.archs.extend(contents.arch(&image.config)?);
        }
    }
    Ok((!images.archs.is_empty()).then_some(images))
}

fn contents(archive: Box<dyn Read>) -> io::Result<Contents> {
    let (mut contents, mut room) = (Contents::default(), ALL_JSON_BYTES);
    archive::files(archive, |name, size, content| {
        contents.names.insert(name.to_owned());
        if size > JSON_BYTES.min(room) {
            return Ok(());
        }
        let mut first = [0];
        if content.read(&mut first)? == 1 && matches!(first[0], b'{' | b'[') {
            let mut json = first.to_vec();
            content.read_to_end(&mut json)?;
            room -= size;
            contents.json.insert(name.to_owned(), json);
        }
        Ok(())
    })?;
    Ok(contents)
}

impl Contents {
    fn walk(&self, node: &Node, images: &mut Images, depth: usize) -> Result<(), String> {
        if let Some(config) = &node.config {
            self.is_there(node.layers.iter().map(|l| blob(&l.digest)).collect::<Vec<_>>().iter().map(String::as_str))?;
            images.archs.extend(self.arch(&blob(&config.digest))?);
        }
        for next in &node.manifests {
            let named = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
            let name = named.iter().find_map(|key| next.annotations.get(*key));
            // A bare tag is no image's name.
            images.names.extend(name.filter(|n| n.contains(['/', ':'])).cloned());
            let path = blob(&next.digest);
            let Some(json) = self.json.get(&path) else {
                // An index may name platforms that nobody put in.
                continue;
            };
            let next: Node = serde_json::from_slice(json).map_err(|e| format!("{path}: {e}"))?;
            match depth {
                0 => return Err("an index in an index in an index: expected an image".to_owned()),
                _ => self.walk(&next, images, depth - 1)?,
            }
        }
        Ok(())
    }

    fn is_there<'p>(&self, mut parts: impl Iterator<Item = &'p str>) -> Result<(), String> {
        match parts.find(|part| !self.names.contains(*part)) {
            // Layers that are the same stand once, and the others link to it.
            Some(missing) if !missing.ends_with("layer.tar") => Err(format!("the archive lacks {missing}")),
            Some(_) | None => Ok(()),
        }
    }

    /// None for what is no image to run, as an attestation.
    fn arch(&self, config: &str) -> Result<Option<Arch>, String> {
        let json = self.json.get(config).ok_or_else(|| format!("the archive lacks {config}"))?;
        let found: Configuration = serde_json::from_slice(json).map_err(|e| format!("{config}: {e}"))?;
        let unknown = |text: &Option<String>| text.as_deref().is_none_or(|t| t.is_empty() || t == "unknown");
        match (found.os.as_deref(), found.architecture.as_deref()) {
            _ if unknown(&found.architecture) || unknown(&found.os) => Ok(None),
            (Some("linux"), Some("amd64")) => Ok(Some(Arch::X86_64)),
            (Some("linux"), Some("arm64")) => Ok(Some(Arch::Aarch64)),
            (os, arch) => Err(format!(
                "expected an image for linux/amd64 or linux/arm64, found {}/{}",
                os.unwrap_or_default(),
                arch.unwrap_or_default()
            )),
        }
    }
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}
