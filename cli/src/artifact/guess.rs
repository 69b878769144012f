//! What a file's name and place say of it, in the forms in which releases are published.

use hostler_plan::id::Arch;

/// How architectures are called in names, and which each is.
const ARCHS: [(&str, Arch); 4] =
    [("amd64", Arch::X86_64), ("x86_64", Arch::X86_64), ("arm64", Arch::Aarch64), ("aarch64", Arch::Aarch64)];

/// Endings that say how a file is packed and nothing of what it is.
const ENDINGS: [&str; 9] = [".tar.gz", ".tar.zst", ".tar.xz", ".tgz", ".tar", ".oci", ".docker", ".deb", ".exe"];

/// What a place says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Guess {
    pub name: String,
    pub version: Option<String>,
    pub arch: Option<Arch>,
}

/// Reads a path or a URL: the file's name first, then the folders above it, the nearest first.
/// `https://dl.k8s.io/release/v1.36.3/bin/linux/arm64/kubelet` is kubelet v1.36.3 for aarch64.
pub(super) fn guess(place: &str) -> Guess {
    let place = place.split(['?', '#']).next().unwrap_or_default().replace("%2B", "+").replace("%2b", "+");
    let mut parts = place.rsplit('/');
    let mut guess = of_name(parts.next().unwrap_or_default());
    for part in parts {
        guess.version = guess.version.or_else(|| is_version(part).then(|| part.to_owned()));
        guess.arch = guess.arch.or_else(|| arch_in(part));
    }
    guess
}

fn of_name(file: &str) -> Guess {
    let lower = file.to_lowercase();
    let mut stem = ENDINGS.iter().find_map(|e| lower.strip_suffix(e)).unwrap_or(&lower);
    let (mut version, mut arch) = (None, None);
    loop {
        let before = stem;
        if let Some((rest, found)) = ARCHS.iter().find_map(|(word, a)| Some((ending(stem, word)?, *a))) {
            (stem, arch) = (rest, arch.or(Some(found)));
        }
        stem = ending(stem, "linux").unwrap_or(stem);
        let at = stem.match_indices(['-', '_']).map(|(i, _)| i).find(|i| is_version(&stem[i + 1..]));
        if let Some(at) = at {
            version = version.or_else(|| Some(stem[at + 1..].to_owned()));
            stem = &stem[..at];
        }
        if stem == before {
            break;
        }
    }
    Guess { name: letters(stem), version, arch }
}

/// The whole name of a file, in the letters that an artifact's name may have.
pub(super) fn file_name(place: &str) -> String {
    letters(&place.rsplit('/').next().unwrap_or_default().to_lowercase())
}

fn letters(text: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    text.chars().map(letter).collect()
}

fn ending<'s>(stem: &'s str, word: &str) -> Option<&'s str> {
    stem.strip_suffix(word)?.strip_suffix(['-', '_', '.']).filter(|rest| !rest.is_empty())
}

fn arch_in(part: &str) -> Option<Arch> {
    ARCHS.iter().find(|(word, _)| part.to_lowercase().contains(word)).map(|(_, arch)| *arch)
}

/// `v1.36.3`, `2.1.4`, `v1.34.3+k3s1`, `1.37.0-rc.1`: numbers with a dot first.
fn is_version(text: &str) -> bool {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (major, rest) = text.split_once('.').unwrap_or_default();
    !major.is_empty()
        && major.bytes().all(|b| b.is_ascii_digit())
        && rest.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b'~'))
}

/// The version that Kubernetes itself has in a package's: `v1.36.3` of `1.36.3-1.1`.
pub(super) fn kubernetes_of_package(version: &str) -> Option<String> {
    let upstream = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    let upstream = upstream.split_once(':').map_or(upstream, |(_, rest)| rest);
    let mut numbers = upstream.split('.');
    let all = (0..3).all(|_| numbers.next().is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())));
    (all && numbers.next().is_none()).then(|| format!("v{upstream}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_say_what_they_are_as_their_makers_publish_them() {
        let (x, a) = (Some(Arch::X86_64), Some(Arch::Aarch64));
        let cases = [
            ("https://dl.k8s.io/release/v1.36.3/bin/linux/arm64/kubelet", "kubelet", Some("v1.36.3"), a),
            ("https://github.com/opencontainers/runc/releases/download/v1.4.0/runc.amd64", "runc", Some("v1.4.0"), x),
            ("https://x/v2.2.1/containerd-2.2.1-linux-arm64.tar.gz", "containerd", Some("2.2.1"), a),
            ("https://x/v1.8.0/cni-plugins-linux-amd64-v1.8.0.tgz", "cni-plugins", Some("v1.8.0"), x),
            ("https://x/download/v1.34.3%2Bk3s1/k3s-arm64", "k3s", Some("v1.34.3+k3s1"), a),
            ("https://x/download/v1.34.3%2Bk3s1/k3s", "k3s", Some("v1.34.3+k3s1"), None),
            ("etcd-v3.6.8-linux-amd64.tar.gz", "etcd", Some("v3.6.8"), x),
            ("images/kube-apiserver-v1.37.0-rc.1-amd64.tar", "kube-apiserver", Some("v1.37.0-rc.1"), x),
            ("bin/containerd-shim-runc-v2", "containerd-shim-runc-v2", None, None),
            ("k3s-airgap-images-x86_64.tar.zst", "k3s-airgap-images", None, x),
        ];
        for (place, name, version, arch) in cases {
            let expected = Guess { name: name.to_owned(), version: version.map(str::to_owned), arch };
            assert_eq!(guess(place), expected, "{place}");
        }
    }

    #[test]
    fn a_package_of_kubernetes_says_which_kubernetes_it_is() {
        assert_eq!(kubernetes_of_package("1.36.3-1.1").as_deref(), Some("v1.36.3"));
        assert_eq!(kubernetes_of_package("1:1.36.3-1").as_deref(), Some("v1.36.3"));
        assert_eq!(kubernetes_of_package("2.2-1"), None);
    }
}
