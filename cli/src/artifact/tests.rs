//! Locks made from real files: packages by dpkg-deb, archives, and downloads over TLS from a server of this process.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Command,
    sync::Arc,
};

use hostler_plan::fleet::{ArtifactKind, Source};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;
use crate::plan::read_fleet;

const FLEET: &str = include_str!("../../../examples/kubeadm-lab.toml");

/// A fleet file in a folder of its own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("fleet.toml"), FLEET).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn lock(&self, sources: &[&str], told: &Told) -> Result<Outcome, String> {
        let sources: Vec<String> = sources.iter().map(|s| (*s).to_owned()).collect();
        lock(&self.path("fleet.toml"), &self.path("kept"), &sources, told).map_err(|e| e.to_string())
    }

    fn refused(&self, source: &str, told: &Told) -> String {
        let why = self.lock(&[source], told).unwrap_err();
        assert!(!self.path("fleet.lock").exists(), "nothing was written: {why}");
        why
    }

    fn fleet(&self) -> Fleet {
        read_fleet(&self.path("fleet.toml")).unwrap().0
    }
}

/// The header of a program for that ELF machine, with a table of sections right behind it.
fn elf(machine: u16) -> Vec<u8> {
    let mut program = vec![0; 64 + 64];
    program[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    program[18..20].copy_from_slice(&machine.to_le_bytes());
    program[40..48].copy_from_slice(&64u64.to_le_bytes());
    program[58..62].copy_from_slice(&[64, 0, 1, 0]);
    program
}

const X86_64: u16 = 62;
const AARCH64: u16 = 183;

/// A tar of these files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An archive as `docker save` writes it.
fn image(tag: &str, arch: &str) -> Vec<u8> {
    let manifest = format!(r#"[{{"Config":"c.json","RepoTags":["{tag}"],"Layers":["l.tar"]}}]"#);
    let config = format!(r#"{{"architecture":"{arch}","os":"linux"}}"#);
    archive(&[("c.json", config.as_bytes()), ("l.tar", b"layer"), ("manifest.json", manifest.as_bytes())])
}

/// A package by dpkg-deb itself.
fn package(place: &Place, control: &str, compression: &str) -> String {
    let folder = place.path("deb");
    fs::create_dir_all(folder.join("DEBIAN")).unwrap();
    fs::write(folder.join("DEBIAN/control"), control).unwrap();
    let made = place.path("made.deb");
    let built = Command::new("dpkg-deb").arg(format!("-Z{compression}")).arg("-b").args([&folder, &made]).output();
    let built = built.expect("dpkg-deb runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    made.display().to_string()
}

#[test]
fn files_and_folders_become_a_lock_that_is_the_same_every_time() {
    let place = Place::new();
    place.file("files/v1.36.3/amd64/kubelet", &elf(X86_64));
    place.file("files/v1.36.3/arm64/kubelet", &elf(AARCH64));
    place.file("images/apiserver.tar", &image("registry.k8s.io/kube-apiserver-amd64:v1.36.3", "amd64"));
    let cni = place.file("cni.yaml", b"kind: DaemonSet\n");
    let [amd64, arm64] = ["amd64", "arm64"].map(|a| place.path(&format!("files/v1.36.3/{a}")).display().to_string());
    let images = place.path("images").display().to_string();
    let sources = [cni.as_str(), &arm64, &images, &amd64];
    place.lock(&sources, &Told::default()).unwrap();
    let text = fs::read_to_string(place.path("fleet.lock")).unwrap();
    let fleet = place.fleet();
    let found: Vec<String> = fleet
        .artifacts
        .iter()
        .map(|a| format!("{} {} {}", a.plan_name(), a.kind.word(), a.version.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(
        found,
        [
            "cni.yaml manifest -",
            "kube-apiserver-x86_64 image v1.36.3",
            "kubelet-aarch64 program v1.36.3",
            "kubelet-x86_64 program v1.36.3"
        ]
    );
    assert_eq!(fleet.artifacts[2].source, Source::Path("files/v1.36.3/arm64/kubelet".into()));
    let again = place.lock(&[&amd64, &images, &cni, &arm64], &Told::default()).unwrap();
    assert!(again.locked.iter().all(|l| l.change == Change::Same));
    assert_eq!(fs::read_to_string(place.path("fleet.lock")).unwrap(), text);
    for artifact in &fleet.artifacts {
        let standing = standing(artifact, &place.path("fleet.toml"), &place.path("kept"), false);
        assert!(matches!(standing, Standing::Here(_)), "{standing:?}");
    }
    fs::write(place.path("cni.yaml"), "kind: DaemonSe\n").unwrap();
    let changed = standing(&fleet.artifacts[0], &place.path("fleet.toml"), &place.path("kept"), false);
    assert!(matches!(&changed, Standing::Wrong(_, why) if why.contains("16 bytes, found")), "{changed:?}");
}

#[test]
fn a_fleet_file_may_name_manifests_before_they_are_locked() {
    let place = Place::new();
    place.file("fleet.toml", format!("{FLEET}\n[kubeadm]\nmanifests = [\"cni.yaml\", \"lb.yaml\"]\n").as_bytes());
    let manifest = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let locked = place.lock(&[&place.file("cni.yaml", manifest)], &Told::default()).unwrap();
    assert_eq!(locked.notes, ["lb.yaml stands in manifests and is not locked yet"]);
    let why = read_fleet(&place.path("fleet.toml")).unwrap_err().to_string();
    assert!(why.contains("lock it: hostler artifact lock lb.yaml"), "{why}");
    assert_eq!(place.lock(&[&place.file("lb.yaml", manifest)], &Told::default()).unwrap().notes, [""; 0]);
    assert_eq!(place.fleet().missing_manifests().count(), 0);
}

#[test]
fn a_package_says_its_name_version_and_processor_in_every_packing() {
    let place = Place::new();
    for compression in ["none", "gzip", "xz", "zstd"] {
        let control = "Package: kubelet\nVersion: 1.36.3-1.1\nArchitecture: arm64\nMaintainer: x <x@example.org>\n\
                       Description: x\n";
        let deb = package(&place, control, compression);
        let done = place.lock(&[&deb], &Told { replace: true, ..Told::default() }).unwrap();
        let entry = &done.locked[0].entry;
        assert_eq!((entry.name.as_str(), entry.kind.as_str()), ("kubelet", "package"), "{compression}");
        assert_eq!((entry.version.as_deref(), entry.kubernetes.as_deref()), (Some("1.36.3-1.1"), Some("v1.36.3")));
        assert_eq!(entry.arch.as_deref(), Some("aarch64"));
    }
    let control = "Package: libstdc++6\nVersion: 14.2.0-19\nArchitecture: all\nMaintainer: x <x@example.org>\n\
                   Description: x\n";
    let deb = package(&place, control, "xz");
    place.lock(&[&deb], &Told::default()).unwrap();
    let fleet = place.fleet();
    let library = fleet.artifacts.iter().find(|a| a.name.as_str() == "libstdc--6").unwrap();
    assert!(matches!(&library.kind, ArtifactKind::Package { package, .. } if package.as_str() == "libstdc++6"));
    let whole = fs::read(&deb).unwrap();
    let cut = place.file("cut.deb", &whole[..whole.len() - 20]);
    assert!(place.lock(&[&cut], &Told::default()).unwrap_err().contains("cut off after"));
}

#[test]
fn programs_come_out_of_archives_by_their_names() {
    let place = Place::new();
    let tar = archive(&[
        ("bin/containerd", &elf(AARCH64)),
        ("bin/containerd-stress", &elf(AARCH64)),
        ("bin/ctr", &elf(AARCH64)),
    ]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&tar).unwrap();
    let packed = packed.finish().unwrap();
    let path = place.file("containerd-2.2.1-linux-arm64.tar.gz", &packed);
    let done = place.lock(&[&path], &Told::default()).unwrap();
    let names: Vec<(&str, Option<&str>)> =
        done.locked.iter().map(|l| (l.entry.name.as_str(), l.entry.version.as_deref())).collect();
    assert_eq!(names, [("containerd", Some("2.2.1")), ("ctr", Some("2.2.1"))]);
    assert!(done.notes[0].ends_with("passed over bin/containerd-stress"), "{:?}", done.notes);
    let fleet = place.fleet();
    assert_eq!(fleet.artifacts[0].member.as_deref(), Some("bin/containerd"));
    let kept = standing(&fleet.artifacts[0], &place.path("fleet.toml"), &place.path("kept"), false);
    assert!(matches!(kept, Standing::Here(path) if path.starts_with(place.path("kept"))));
    let cut = place.file("containerd-2.2.2-linux-arm64.tar.gz", &packed[..packed.len() - 9]);
    let why = place.lock(&[&cut], &Told::default()).unwrap_err();
    assert!(why.contains("to its end"), "{why}");
}

#[test]
fn what_is_wrong_is_refused_with_what_to_do() {
    let place = Place::new();
    let none = Told::default();
    let versioned = Told { version: Some("v1.36.3".into()), ..Told::default() };
    let cases = [
        (
            place.file("a/arm64/kubelet", &elf(X86_64)),
            "expected aarch64, as its name or --arch says, found x86_64 inside",
        ),
        (place.file("b/runc.amd64", &elf(40)), "found ELF machine 40; fetch the one that fits"),
        (place.file("c/runc.amd64", b""), "it is empty; fetch it again"),
        (place.file("d/runc.amd64", &elf(X86_64)[..100]), "the program is cut off after 100 of at least 128 bytes"),
        (
            place.file("e/x-amd64.tar", &image("a/b:v1", "arm64")),
            "expected x86_64, as its name or --arch says, found aarch64",
        ),
        (
            place.file("f/x.tar", &image("a/b:v1", "s390x")),
            "expected an image for linux/amd64 or linux/arm64, found linux/s390x",
        ),
        (place.file("g/tool", &elf(X86_64)), "where does it go? add to ="),
        (place.path("nothing").display().to_string(), "cannot read"),
    ];
    for (source, expected) in cases {
        let why = place.refused(&source, &versioned);
        assert!(why.contains(expected), "{source}\n  expected {expected}\n  found {why}");
    }
    let runc = place.file("h/runc", &elf(X86_64));
    let why = place.refused(&runc, &none);
    assert!(why.contains("expected a version, found none") && why.contains("nothing was written"), "{why}");
    place.file("h/runc.sha256sum", format!("{:064}  runc\n", 7).as_bytes());
    let why = place.refused(&runc, &versioned);
    assert!(why.contains("fetch it again, and ask who made it if that stays"), "{why}");
}

/// Answers every request over TLS from these files; what is not there is not found. Its certificate is what `ca` names.
fn serve(place: &Place, files: BTreeMap<String, Vec<u8>>, announced: Option<usize>) -> (String, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let ca = PathBuf::from(place.file("ca.pem", made.cert.pem().as_bytes()));
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let (status, body) = match files.get(path) {
                Some(body) => ("200 OK", body.as_slice()),
                None => ("404 Not Found", &b"no such file"[..]),
            };
            let length = announced.filter(|_| status == "200 OK").unwrap_or(body.len());
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            // A client that has seen enough is gone.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    (address, ca)
}

const KUBELET: &str = "/release/v1.36.3/bin/linux/arm64/kubelet";

#[test]
fn a_download_is_compared_with_what_upstream_published() {
    let place = Place::new();
    let program = elf(AARCH64);
    let digest = Digest::of(&program).hex();
    let files = BTreeMap::from([
        (KUBELET.to_owned(), program.clone()),
        (format!("{KUBELET}.sha256"), digest.clone().into_bytes()),
        ("/v1.4.0/runc.arm64".to_owned(), program.clone()),
        ("/v1.4.0/runc.sha256sum".to_owned(), format!("{digest}  runc.arm64\n").into_bytes()),
        ("/v1.8.0/arm64/bridge".to_owned(), program),
    ]);
    let (address, ca) = serve(&place, files, None);
    let told = Told { ca: Some(ca), ..Told::default() };
    let url = |path: &str| format!("{address}{path}");
    let (kubelet, runc, bridge) = (url(KUBELET), url("/v1.4.0/runc.arm64"), url("/v1.8.0/arm64/bridge"));
    let done = place.lock(&[&kubelet, &runc, &bridge], &told).unwrap();
    let checked: Vec<Option<&str>> = done.locked.iter().map(|l| l.checked.as_deref()).collect();
    let (list, sums) = (format!("{kubelet}.sha256"), url("/v1.4.0/runc.sha256sum"));
    assert_eq!(checked, [Some(list.as_str()), Some(sums.as_str()), None]);
    assert!(done.notes[0].contains("no published checksum was found"), "{:?}", done.notes);
    let fleet = place.fleet();
    let found = fleet.artifacts.iter().find(|a| a.name.as_str() == "kubelet").unwrap();
    assert_eq!((found.source.clone(), found.sha256.hex()), (Source::Url(kubelet.clone()), digest));
    let standing = standing(found, &place.path("fleet.toml"), &place.path("kept"), false);
    assert!(matches!(standing, Standing::Here(_)), "{standing:?}");
    // Without that authority nobody is believed.
    let why = place.lock(&[&kubelet], &Told::default()).unwrap_err();
    assert!(why.contains("cannot download") && why.to_lowercase().contains("certificate"), "{why}");
}

#[test]
fn a_download_that_is_cut_off_or_something_else_is_refused() {
    let place = Place::new();
    let wrong = format!("{:064}", 7);
    let files = |program: Vec<u8>| {
        BTreeMap::from([(KUBELET.to_owned(), program), (format!("{KUBELET}.sha256"), wrong.clone().into_bytes())])
    };
    let (address, ca) = serve(&place, files(elf(AARCH64)), None);
    let why = place.refused(&format!("{address}{KUBELET}"), &Told { ca: Some(ca), ..Told::default() });
    assert!(why.contains(&wrong) && why.contains("it is cut off, changed or another one"), "{why}");
    let (address, ca) = serve(&place, files(elf(AARCH64)), Some(4096));
    let why = place.refused(&format!("{address}{KUBELET}"), &Told { ca: Some(ca), ..Told::default() });
    assert!(why.contains("nothing was kept, run the command again"), "{why}");
    let (address, ca) = serve(&place, BTreeMap::new(), None);
    let why = place.refused(&format!("{address}{KUBELET}"), &Told { ca: Some(ca.clone()), ..Told::default() });
    assert!(why.contains("the server answered 404 Not Found; correct the URL"), "{why}");
    let plain = place.refused("http://localhost/v1.4.0/runc.amd64", &Told { ca: Some(ca), ..Told::default() });
    assert!(plain.contains("cannot download http://"), "{plain}");
}
