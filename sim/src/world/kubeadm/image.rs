//! Images: archives of them, what containerd keeps of them, and which of them a version of Kubernetes needs.

use hostler_plan::{id::Digest, version::Version};
use serde_json::{Value, json};

/// Tar files are made of blocks.
const BLOCK: usize = 512;

/// An archive in the OCI layout with images of these names: an index and nothing below it.
pub fn archive(names: &[&str]) -> Vec<u8> {
    let manifest = |name: &&str| {
        json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1,
            "digest": Digest::of(name.as_bytes()).to_string(), "annotations": { "io.containerd.image.name": name } })
    };
    let index = json!({ "schemaVersion": 2, "manifests": names.iter().map(manifest).collect::<Vec<_>>() });
    let mut tar = Vec::new();
    for (name, content) in [("oci-layout", json!({ "imageLayoutVersion": "1.0.0" })), ("index.json", index)] {
        entry(&mut tar, name, content.to_string().as_bytes());
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

fn entry(tar: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut head = [0u8; BLOCK];
    head[..name.len()].copy_from_slice(name.as_bytes());
    head[100..107].copy_from_slice(b"0000644");
    head[108..115].copy_from_slice(b"0000000");
    head[116..123].copy_from_slice(b"0000000");
    head[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    head[136..147].copy_from_slice(b"00000000000");
    head[148..156].copy_from_slice(b"        ");
    head[156] = b'0';
    head[257..263].copy_from_slice(b"ustar\0");
    head[263..265].copy_from_slice(b"00");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar.extend_from_slice(&head);
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

/// Names and digests of an archive as [`archive`] makes it; none of anything else.
pub(super) fn images(tar: &[u8]) -> Option<Vec<(String, String)>> {
    let mut rest = tar;
    loop {
        let (head, content) = rest.split_at_checked(BLOCK)?;
        let name = std::str::from_utf8(&head[..100]).ok()?.trim_end_matches('\0');
        let size = usize::from_str_radix(std::str::from_utf8(&head[124..135]).ok()?, 8).ok()?;
        if name == "index.json" {
            let index: Value = serde_json::from_slice(content.get(..size)?).ok()?;
            let image = |manifest: &Value| {
                let name = manifest["annotations"]["io.containerd.image.name"].as_str()?;
                Some((name.to_owned(), manifest["digest"].as_str()?.to_owned()))
            };
            return index["manifests"].as_array()?.iter().map(image).collect();
        }
        rest = content.get(size.next_multiple_of(BLOCK)..)?;
    }
}

/// The image of a component at a version, as kubeadm writes it into the manifest.
pub fn of_component(component: &str, version: Version) -> String {
    let tag = match component {
        "etcd" => etcd(version).to_owned(),
        _ => version.to_string(),
    };
    format!("registry.k8s.io/{component}:{tag}")
}

/// etcd numbers its own versions.
fn etcd(version: Version) -> &'static str {
    match version.minor {
        ..=35 => "3.6.6-0",
        36 => "3.6.8-0",
        _ => "3.7.0-0",
    }
}

/// What the preflight of kubeadm wants on a server.
pub fn of_server(version: Version, has_dns: bool) -> Vec<String> {
    let mut wanted: Vec<String> = super::COMPONENTS.iter().map(|c| of_component(c, version)).collect();
    wanted.push(of_component("kube-proxy", version));
    wanted.push(PAUSE.to_owned());
    if has_dns {
        wanted.push(COREDNS.to_owned());
    }
    wanted
}

pub const PAUSE: &str = "registry.k8s.io/pause:3.10.1";
pub const COREDNS: &str = "registry.k8s.io/coredns/coredns:v1.14.2";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_read_back() {
        let names = ["registry.k8s.io/etcd:3.6.8-0", PAUSE];
        let found = images(&archive(&names)).unwrap();
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
        assert_eq!(images(b"nothing"), None);
    }
}
