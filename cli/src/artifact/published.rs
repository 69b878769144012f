//! Upstream's published checksums: where projects put them, and how they write them.

use hostler_plan::id::Digest;

/// Where the checksum of a download may lie, in the order in which they are asked for: Kubernetes and the network
/// plugins (`FILE.sha256`), containerd (`FILE.sha256sum`), etcd (`SHA256SUMS`), runc (`runc.sha256sum`), K3s
/// (`sha256sum-ARCH.txt`).
pub(super) fn places(url: &str) -> Vec<String> {
    let Some((folder, file)) = url.rsplit_once('/') else { return Vec::new() };
    let mut places = vec![format!("{url}.sha256"), format!("{url}.sha256sum"), format!("{folder}/SHA256SUMS")];
    let stem = file.split('.').next().unwrap_or(file);
    places.push(format!("{folder}/{stem}.sha256sum"));
    let archs = if file.contains("arm64") { ["arm64", "amd64"] } else { ["amd64", "arm64"] };
    places.extend(archs.map(|arch| format!("{folder}/sha256sum-{arch}.txt")));
    places.dedup();
    places
}

/// What a list of `sha256sum` says of a file: `HEX  NAME`, `HEX *NAME`, `SHA256 (NAME) = HEX`, or the digest alone.
/// Other lines, as those of a signature around it, say nothing.
pub(super) fn digest(list: &str, file: &str) -> Result<Option<Digest>, String> {
    let mut found: Vec<Digest> = list.lines().filter_map(|line| of_line(line.trim(), file)).collect();
    found.dedup();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        [one, other, ..] => Err(format!("it says {one} and {other} of {file}")),
    }
}

fn of_line(line: &str, file: &str) -> Option<Digest> {
    let (hex, name) = match line.strip_prefix("SHA256 (").and_then(|rest| rest.split_once(") = ")) {
        Some((name, hex)) => (hex, name),
        None => line.split_once(char::is_whitespace).unwrap_or((line, file)),
    };
    let name = name.trim_start().trim_start_matches('*');
    (name.rsplit('/').next() == Some(file)).then(|| format!("sha256:{}", hex.to_lowercase()).parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const TWO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn every_form_that_projects_publish_is_read() {
        let lists = [
            ONE.to_owned(),
            format!("{ONE}\n"),
            format!("{TWO}  kubeadm\n{ONE}  kubelet\n"),
            format!("{ONE} *bin/kubelet\n"),
            format!("SHA256 (kubelet) = {ONE}\n"),
            format!(
                "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{ONE}  kubelet\n-----BEGIN PGP SIGNATURE-----\n"
            ),
        ];
        for list in lists {
            assert_eq!(digest(&list, "kubelet").unwrap().unwrap().hex(), ONE, "{list}");
        }
        assert_eq!(digest(&format!("{ONE}  kubelet\n"), "kubectl"), Ok(None));
        assert_eq!(digest("<html>not found</html>", "kubelet"), Ok(None));
        assert!(digest(&format!("{ONE}  kubelet\n{TWO}  kubelet\n"), "kubelet").is_err());
    }

    #[test]
    fn the_places_are_those_of_the_projects() {
        let places = places("https://x/v1.4.0/runc.arm64");
        assert!(places.contains(&"https://x/v1.4.0/runc.arm64.sha256".to_owned()));
        assert!(places.contains(&"https://x/v1.4.0/runc.sha256sum".to_owned()));
        assert!(places.contains(&"https://x/v1.4.0/sha256sum-arm64.txt".to_owned()));
    }
}
