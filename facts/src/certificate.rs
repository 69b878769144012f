//! When the certificates of K3s and kubeadm expire: of those files that a process uses. Upgrades, former roles and
//! other distributions leave files behind that nobody reads any more.

use super::failure::{Failure, Worst};
use super::kubeconfig::{self, Client};
use super::sample::Sample;
use super::{Input, Root};
use std::{collections::BTreeSet, net::IpAddr};
use x509_parser::{extensions::GeneralName, pem::Pem};

/// Folder, and the endings of file names that hold certificates. Folders that do not exist are another distribution's.
const PLACES: [(&str, &str); 7] = [
    ("var/lib/kubelet/pki", ".pem"),
    ("var/lib/kubelet/pki", ".crt"),
    ("var/lib/rancher/k3s/server/tls", ".crt"),
    ("var/lib/rancher/k3s/server/tls/etcd", ".crt"),
    ("var/lib/rancher/k3s/agent", ".crt"),
    ("etc/kubernetes/pki", ".crt"),
    ("etc/kubernetes/pki/etcd", ".crt"),
];
/// Files with client certificates. Of an administrator's, the one that Hostler asks a server's own cluster with.
const KUBECONFIGS: [&str; 5] =
    [KUBELET_CONF, "etc/kubernetes/controller-manager.conf", "etc/kubernetes/scheduler.conf", ADMIN_CONF, K3S_CONF];
const KUBELET_CONF: &str = "etc/kubernetes/kubelet.conf";
const ADMIN_CONF: &str = "etc/kubernetes/admin.conf";
const K3S_CONF: &str = "etc/rancher/k3s/k3s.yaml";
const CLIENT: &str = "var/lib/kubelet/pki/kubelet-client-current.pem";
/// What a kubelet has once its node has been let in.
const CREDENTIALS: [&str; 4] = [
    "etc/kubernetes/kubelet.conf",
    "var/lib/kubelet/pki/kubelet-client-current.pem",
    "var/lib/rancher/k3s/agent/kubelet.kubeconfig",
    "var/lib/rancher/k3s/agent/client-kubelet.crt",
];
/// Files that are looked at; a K3s server has about 30. What is beyond is counted, and the kubelet's come first.
const MAX_FILES: usize = 256;

/// Whether a kubelet here has been let into a cluster.
pub(super) fn has_credentials(root: &Root) -> bool {
    CREDENTIALS.iter().any(|path| root.exists(path))
}

/// When the first certificate of a file expires, Unix seconds: server and client certificates apart from CAs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Expiry {
    leaf: Option<f64>,
    ca: Option<f64>,
}

/// Reads every certificate file that is in use.
pub(super) fn read(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    let mut files: BTreeSet<String> = BTreeSet::new();
    let users = Users::of(root);
    for (folder, ending) in PLACES {
        let Some(names) = worst.note(root.list(folder)) else { continue };
        for name in names {
            // `kubelet-client-current.pem` is a link to the newest of many: the others are old and mean nothing.
            let dated = name.starts_with("kubelet-") && name.ends_with(".pem") && !name.ends_with("-current.pem");
            let path = format!("{folder}/{name}");
            if !name.ends_with(ending) || dated || !users.use_file(&path) {
                continue;
            }
            if files.len() == MAX_FILES {
                out.leave_out(1);
                continue;
            }
            put(&path, worst.note(expiry(root, &path)), out);
            files.insert(path);
        }
    }
    for path in KUBECONFIGS.into_iter().filter(|path| users.use_kubeconfig(root, path)) {
        for client in worst.note(kubeconfig::clients(root, path)).unwrap_or_default() {
            let (of, found) = match client {
                Client::Inside(pem) => (path.to_owned(), parse(path, &pem)),
                Client::File(file) if files.contains(&file) => continue,
                Client::File(file) => (file.clone(), expiry(root, &file)),
            };
            if files.insert(of.clone()) {
                put(&of, worst.note(found), out);
            }
        }
    }
    worst.finish()?;
    if files.is_empty() { Err(Failure::Absent("certificates of Kubernetes".to_owned())) } else { Ok(()) }
}

fn put(path: &str, expiry: Option<Expiry>, out: &mut Sample) {
    let (path, expiry) = (format!("/{path}"), expiry.unwrap_or_default());
    for (kind, at) in [("leaf", expiry.leaf), ("ca", expiry.ca)] {
        let labels = [("kind", kind), ("path", path.as_str())];
        out.put_some("hostler_certificate_not_after_timestamp_seconds", &labels, at);
    }
}

const MANIFESTS: &str = "etc/kubernetes/manifests";
const KUBELET_PKI: &str = "var/lib/kubelet/pki/";
/// What the kubelet serves with when it signed the certificate itself, and what it was given by the cluster.
const SELF_SIGNED: &str = "var/lib/kubelet/pki/kubelet.crt";
const GIVEN: &str = "var/lib/kubelet/pki/kubelet-server-current.pem";
/// The kubelet's own file, and those that its flags come from.
const CONFIG: &str = "var/lib/kubelet/config.yaml";
const FLAGS: [&str; 3] = ["var/lib/kubelet/kubeadm-flags.env", "etc/default/kubelet", "etc/sysconfig/kubelet"];
const ROTATE: &str = "--rotate-server-certificates";
/// Where systemd and packages keep units.
const UNITS: [&str; 3] = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
/// Where the link of a unit lies that is started at boot.
const WANTED: &str = "etc/systemd/system/multi-user.target.wants";

/// Which programs use certificates on this machine.
#[derive(Debug)]
struct Users {
    k3s_server: bool,
    k3s: bool,
    kubeadm: bool,
    /// All that the pods say that the kubelet starts from files; `None` where there is no such folder.
    manifests: Option<String>,
    /// Where the kubelet is told to take its certificate from.
    kubelet_serves: Option<String>,
    /// Whether it serves with what the cluster gives it.
    asks: bool,
    is_given: bool,
}

impl Users {
    fn of(root: &Root) -> Self {
        let is_there = |unit: &str| UNITS.iter().any(|folder| root.exists(&format!("{folder}/{unit}.service")));
        let is_wanted = |unit: &str| root.link(&format!("{WANTED}/{unit}.service")).is_some();
        let names = ["k3s", "k3s-agent", "kubelet"];
        // What is started at boot, else what could be; where no unit is known at all, anything may be in use.
        let wanted = names.map(is_wanted);
        let installed = names.map(is_there);
        let [server, agent, kubelet] = match (wanted.contains(&true), installed.contains(&true)) {
            (true, _) => wanted,
            (false, true) => installed,
            (false, false) => [true; 3],
        };
        let asks = asks_cluster(root);
        Users {
            k3s_server: server,
            k3s: server || agent,
            kubeadm: kubelet,
            manifests: manifests(root),
            kubelet_serves: told(root, "tlsCertFile"),
            asks,
            is_given: asks && root.exists(GIVEN),
        }
    }

    fn use_file(&self, path: &str) -> bool {
        if path.starts_with("var/lib/rancher/k3s/server/") {
            return self.k3s_server;
        }
        if path.starts_with("var/lib/rancher/k3s/") {
            return self.k3s;
        }
        if !self.kubeadm {
            return false;
        }
        if path.starts_with(KUBELET_PKI) {
            return match &self.kubelet_serves {
                Some(serves) if path == SELF_SIGNED || path == GIVEN => serves.trim_start_matches('/') == path,
                None if path == SELF_SIGNED => !self.is_given,
                None if path == GIVEN => self.asks,
                Some(_) | None => true,
            };
        }
        // Of /etc/kubernetes/pki: an authority is trusted by the kubelet too; the rest is named by who serves with it.
        let is_authority = path.ends_with("ca.crt");
        is_authority || self.manifests.as_ref().is_none_or(|text| names(text, path))
    }

    fn use_kubeconfig(&self, root: &Root, path: &str) -> bool {
        let used = match path {
            K3S_CONF => self.k3s_server,
            // A kubelet that gets new certificates takes the newest, whatever the file was made with.
            KUBELET_CONF => self.kubeadm && !root.exists(CLIENT),
            // Where the API server runs, Hostler asks it as this administrator.
            ADMIN_CONF => self.kubeadm && self.manifests.as_ref().is_none_or(|text| !text.is_empty()),
            path => self.kubeadm && self.manifests.as_ref().is_none_or(|text| names(text, path)),
        };
        used && root.exists(path)
    }
}

/// Whether a text names this file, and not one whose name only begins like it.
fn names(text: &str, path: &str) -> bool {
    let path = format!("/{path}");
    let ends = |rest: &str| rest.chars().next().is_none_or(|next| !next.is_ascii_alphanumeric() && next != '.');
    text.match_indices(&path).any(|(at, found)| ends(&text[at + found.len()..]))
}

/// What all static pods say of files of Kubernetes. Where one of them cannot be read, nobody knows.
fn manifests(root: &Root) -> Option<String> {
    let mut said = String::new();
    // Of hidden files and folders the kubelet starts nothing.
    for file in root.list(MANIFESTS).ok()?.iter().filter(|file| !file.starts_with('.')) {
        let path = format!("{MANIFESTS}/{file}");
        let take = |line: &[u8]| {
            let line = String::from_utf8_lossy(line);
            if line.contains("/etc/kubernetes/") {
                said.push_str(&line);
                said.push('\n');
            }
        };
        if !root.path(&path).is_dir() {
            root.each_line(&path, take).ok()?;
        }
    }
    Some(said)
}

/// Whether the kubelet is told to ask the cluster for its certificate, in its own file or by a flag. Without its file
/// nobody knows.
fn asks_cluster(root: &Root) -> bool {
    let by_flag = |file: &str| {
        let text = String::from_utf8_lossy(&root.bytes(file).unwrap_or_default()).into_owned();
        let flags = text.split(|byte: char| byte.is_ascii_whitespace() || byte == '"' || byte == '\'');
        flags.filter_map(|flag| flag.strip_prefix(ROTATE)).any(|value| value.is_empty() || value == "=true")
    };
    let by_file = told(root, "serverTLSBootstrap")
        .is_some_and(|said| said.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("true")));
    !root.exists(CONFIG) || by_file || FLAGS.iter().any(|file| by_flag(file))
}

/// A setting in the kubelet's own file, one `key: value` a line.
fn told(root: &Root, key: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&root.bytes(CONFIG).ok()?).into_owned();
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

/// The DNS names and IP addresses for which the first certificate of a text in PEM form counts; none of what is none.
pub fn certificate_names(pem: &[u8]) -> Option<Vec<String>> {
    let pem = Pem::iter_from_buffer(pem).next()?.ok()?;
    let certificate = pem.parse_x509().ok()?;
    let names = certificate.subject_alternative_name().ok()?.map(|extension| &extension.value.general_names);
    let address = |bytes: &[u8]| match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::URI(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    };
    Some(names.into_iter().flatten().filter_map(name).collect())
}

fn expiry(root: &Root, path: &str) -> Result<Expiry, Failure> {
    parse(path, &root.bytes(path)?)
}

fn parse(path: &str, bytes: &[u8]) -> Result<Expiry, Failure> {
    let mut expiry = Expiry::default();
    let malformed = || Failure::malformed(path, "certificates in PEM form", bytes);
    for pem in Pem::iter_from_buffer(bytes) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn machine(files: &[(&str, &str)], wanted: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for unit in wanted {
            fs::create_dir_all(folder.path().join(WANTED)).unwrap();
            symlink("/nowhere", folder.path().join(WANTED).join(format!("{unit}.service"))).unwrap();
        }
        folder
    }

    const FILES: [&str; 7] = [
        "var/lib/rancher/k3s/server/tls/x.crt",
        "var/lib/rancher/k3s/agent/x.crt",
        "etc/kubernetes/pki/ca.crt",
        "etc/kubernetes/pki/apiserver.crt",
        "var/lib/kubelet/pki/kubelet.crt",
        "var/lib/kubelet/pki/kubelet-server-current.pem",
        "var/lib/kubelet/pki/kubelet-client-current.pem",
    ];

    /// Which of the files are in use, as 1 and 0.
    fn used(files: &[(&str, &str)], wanted: &[&str]) -> String {
        let users = Users::of(&Root::at(machine(files, wanted).path()).unwrap());
        FILES.map(|path| if users.use_file(path) { '1' } else { '0' }).iter().collect()
    }

    #[test]
    fn of_kubeconfigs_those_are_judged_that_a_program_of_this_machine_uses() {
        let used = |files: &[(&str, &str)], wanted: &[&str]| -> String {
            let files: Vec<(&str, &str)> = KUBECONFIGS.iter().map(|path| (*path, "")).chain(files.to_vec()).collect();
            let folder = machine(&files, wanted);
            let root = Root::at(folder.path()).unwrap();
            let users = Users::of(&root);
            KUBECONFIGS.map(|path| if users.use_kubeconfig(&root, path) { '1' } else { '0' }).iter().collect()
        };
        let manifest = |text| ("etc/kubernetes/manifests/kube-scheduler.yaml", text);
        let scheduler = manifest("- --kubeconfig=/etc/kubernetes/scheduler.conf\n");
        for (files, wanted, expected, what) in [
            (&[][..], &[][..], "11111", "nothing is known"),
            (&[scheduler], &["kubelet"], "10110", "a server without a controller manager"),
            (&[manifest("kind: Pod\n")], &["kubelet"], "10000", "a worker that was a server once"),
            (&[scheduler, (CLIENT, "")], &["kubelet"], "00110", "the kubelet gets its certificates anew"),
            (&[], &["k3s"], "00001", "a K3s server"),
            (&[], &["k3s-agent"], "00000", "a K3s agent"),
        ] {
            assert_eq!(used(files, wanted), expected, "{what}");
        }
    }

    #[test]
    fn a_file_that_nobody_uses_any_more_is_left_alone() {
        let given = ("var/lib/kubelet/pki/kubelet-server-current.pem", "");
        let told = |path| ("var/lib/kubelet/config.yaml", path);
        let serves =
            ("etc/kubernetes/manifests/kube-apiserver.yaml", "- --tls-cert-file=/etc/kubernetes/pki/apiserver.crt\n");
        let flag = ("etc/default/kubelet", "KUBELET_EXTRA_ARGS=\"--v=2 --rotate-server-certificates\"\n");
        let other = ("etc/kubernetes/manifests/other.yaml", "/etc/kubernetes/pki/apiserver.crt.old");
        for (files, wanted, expected, what) in [
            (&[][..], &[][..], "1111111", "nothing is known"),
            (&[given], &[], "1111011", "the cluster gave the kubelet a certificate"),
            (&[told("tlsCertFile: /etc/ssl/kubelet.crt\n"), given], &[], "1111001", "it serves with another"),
            (&[told("tlsCertFile: \"/var/lib/kubelet/pki/kubelet.crt\"\n"), given], &[], "1111101", "it is told so"),
            (&[told("kind: KubeletConfiguration\n"), given], &[], "1111101", "it does not ask any more"),
            (&[told("serverTLSBootstrap: false\n"), given], &[], "1111101", "it is told not to ask"),
            (&[told("serverTLSBootstrap: true # by us\n"), given], &[], "1111011", "it is told to ask"),
            (&[told("\n"), given, flag], &[], "1111011", "a flag tells it to ask"),
            (&[serves], &[], "1111111", "a server"),
            (&[other], &[], "1110111", "a worker that was a server once"),
            (&[], &["k3s-agent"], "0100000", "K3s, and kubeadm was there before"),
            (&[], &["k3s"], "1100000", "a K3s server"),
            (&[], &["kubelet"], "0011111", "kubeadm, and K3s was there before"),
            (&[("etc/systemd/system/k3s-agent.service", "")], &[], "0100000", "installed and not started at boot"),
            (&[("usr/lib/systemd/system/kubelet.service", "")], &["k3s"], "1100000", "a package that nobody uses"),
        ] {
            assert_eq!(used(files, wanted), expected, "{what}");
        }
    }
}
