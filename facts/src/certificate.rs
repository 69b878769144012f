//! When the certificates of K3s and kubeadm expire.

use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::{Input, Root};
use x509_parser::pem::Pem;

/// Folder, and the endings of file names that hold certificates. Folders that do not exist are another distribution's.
const PLACES: [(&str, &str); 7] = [
    ("var/lib/rancher/k3s/server/tls", ".crt"),
    ("var/lib/rancher/k3s/server/tls/etcd", ".crt"),
    ("var/lib/rancher/k3s/agent", ".crt"),
    ("etc/kubernetes/pki", ".crt"),
    ("etc/kubernetes/pki/etcd", ".crt"),
    ("var/lib/kubelet/pki", ".pem"),
    ("var/lib/kubelet/pki", ".crt"),
];
/// Files that are looked at; a K3s server has about 30.
const MAX_FILES: usize = 48;

/// When the first certificate of a file expires, Unix seconds: server and client certificates apart from CAs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Expiry {
    leaf: Option<f64>,
    ca: Option<f64>,
}

/// Reads every certificate file.
pub(super) fn read(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    let mut files = 0;
    for (folder, ending) in PLACES {
        let Some(names) = worst.note(root.list(folder)) else { continue };
        for name in names {
            // `kubelet-client-current.pem` is a link to the newest of many: the others are old and mean nothing.
            let dated = name.starts_with("kubelet-") && name.ends_with(".pem") && !name.ends_with("-current.pem");
            if !name.ends_with(ending) || dated || files == MAX_FILES {
                continue;
            }
            files += 1;
            let path = format!("{folder}/{name}");
            let Some(expiry) = worst.note(expiry(root, &path)) else { continue };
            let path = format!("/{path}");
            for (kind, at) in [("leaf", expiry.leaf), ("ca", expiry.ca)] {
                let labels = [("kind", kind), ("path", path.as_str())];
                out.put_some("hostler_certificate_not_after_timestamp_seconds", &labels, at);
            }
        }
    }
    worst.finish()?;
    if files == 0 { Err(Failure::Absent("certificates of Kubernetes".to_owned())) } else { Ok(()) }
}

fn expiry(root: &Root, path: &str) -> Result<Expiry, Failure> {
    let bytes = root.bytes(path)?;
    let mut expiry = Expiry::default();
    let malformed = || Failure::malformed(path, "certificates in PEM form", &bytes);
    for pem in Pem::iter_from_buffer(&bytes) {
        let pem = pem.map_err(|_| malformed())?;
        // `kubelet-client-current.pem` holds the key too.
        if pem.label != "CERTIFICATE" {
            continue;
        }
        let certificate = pem.parse_x509().map_err(|_| malformed())?;
        let at = certificate.validity().not_after.timestamp() as f64;
        let slot = if certificate.is_ca() { &mut expiry.ca } else { &mut expiry.leaf };
        *slot = Some(slot.map_or(at, |earlier| earlier.min(at)));
    }
    if expiry == Expiry::default() { Err(malformed()) } else { Ok(expiry) }
}
