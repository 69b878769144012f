//! The client certificates that programs of Kubernetes take from their kubeconfigs: written into the file, or by path.

use super::Root;
use super::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Where a kubeconfig has a client certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// In the file itself, as PEM.
    Inside(Vec<u8>),
    /// In another file, below the root.
    File(String),
}

/// The client certificates of a kubeconfig. Of its YAML these two keys are enough: nothing else is called so.
pub(super) fn clients(root: &Root, path: &str) -> Result<Vec<Client>, Failure> {
    let bytes = root.bytes(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut clients = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.trim_start_matches([' ', '-', '\t']).split_once(':') else { continue };
        let value = value.trim().trim_matches(['"', '\'']);
        match key.trim() {
            _ if value.is_empty() => {}
            "client-certificate-data" => {
                let pem = BASE64.decode(value);
                let malformed = |_| Failure::malformed(path, "a certificate in base64", value.as_bytes());
                clients.push(Client::Inside(pem.map_err(malformed)?));
            }
            "client-certificate" => clients.push(Client::File(match value.strip_prefix('/') {
                Some(whole) => whole.to_owned(),
                None => format!("{}/{value}", path.rsplit_once('/').map_or("", |(folder, _)| folder)),
            })),
            _ => {}
        }
    }
    Ok(clients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_is_inside_or_in_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let text = "users:\n- name: one\n  user:\n    client-certificate-data: QUJD\n    client-key-data: eA==\n\
            - name: two\n  user: \n    client-certificate: \"/var/lib/x.pem\"\n- user:\n    \
            client-certificate: y.pem\n";
        std::fs::write(folder.path().join("a.conf"), text).unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        std::fs::write(folder.path().join("etc/a.conf"), "    client-certificate: y.pem\n").unwrap();
        std::fs::write(folder.path().join("bad.conf"), "client-certificate-data: !!\n").unwrap();
        let root = Root::at(folder.path()).unwrap();
        let file = |path: &str| Client::File(path.to_owned());
        let found = clients(&root, "a.conf").unwrap();
        assert_eq!(found, [Client::Inside(b"ABC".to_vec()), file("var/lib/x.pem"), file("/y.pem")]);
        assert_eq!(clients(&root, "etc/a.conf").unwrap(), [file("etc/y.pem")]);
        assert!(clients(&root, "bad.conf").is_err());
    }
}
