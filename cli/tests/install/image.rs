//! What `hostler node image` writes, run by a real shell and read by cloud-init where there is one.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use hostler_cli::install::{
    Packages,
    image::{Card, UserData, make_folder, write},
};
use hostler_plan::id::{NodeName, TokenId};

const MAGIC: &str = "!<arch>\ndebian-binary";

fn written(folder: &Path, node: &str, own: Option<&str>) -> Result<(), hostler_cli::Error> {
    let package = |arch: &str| {
        let path = folder.join(format!("hostler-agent_0.1.0-1_{arch}.deb"));
        fs::write(&path, format!("{MAGIC} {arch}")).unwrap();
        path
    };
    let packages = Packages::read(&[package("amd64"), package("arm64")]).unwrap();
    let (node, token) = (NodeName::new(node).unwrap(), TokenId::new("3f1c9a0b7d2e4455").unwrap());
    let out = folder.join("out");
    make_folder(&out)?;
    let own = own.map(|text| {
        fs::write(folder.join("own"), text).unwrap();
        UserData::read(&folder.join("own"))
    });
    let own = own.transpose()?;
    own.as_ref().map_or(Ok(()), |own| own.check(&node))?;
    write(&out, &Card { node: &node, token: &token, join: "hostlerjoin1.secret" }, &packages, own.as_ref())
}

/// Runs a script of the card with these programs first on the path; each writes what it was called with.
fn run(script: &Path, arguments: &[&str], programs: &Path) -> String {
    fs::create_dir_all(programs).unwrap();
    let log = programs.join("log");
    for name in ["apt-get", "systemctl", "dpkg", "sync"] {
        let path = programs.join(name);
        let says = if name == "dpkg" { "echo arm64" } else { ":" };
        fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\" >>{}\n{says}\n", log.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let out = Command::new("sh").arg(script).args(arguments).env("PATH", path).output().unwrap();
    let log = fs::read_to_string(log).unwrap_or_default();
    format!("{}{log}{}", out.status, String::from_utf8_lossy(&out.stderr))
}

#[test]
fn a_card_holds_the_packages_by_digest_and_the_string_and_installs_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), "pi-4", None).unwrap();
    let card = folder.path().join("out/pi-4");
    assert_eq!(fs::metadata(folder.path().join("out")).unwrap().permissions().mode() & 0o777, 0o700);
    let hostler = card.join("cloud-init/hostler");
    assert_eq!(fs::read_to_string(hostler.join("join")).unwrap(), "hostlerjoin1.secret\n");
    assert_eq!(fs::read_to_string(card.join("plain/hostler/join")).unwrap(), "hostlerjoin1.secret\n");
    let names: Vec<String> = fs::read_dir(card.join("cloud-init"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("network"))
        .collect();
    assert_eq!(names, Vec::<String>::new(), "the network is left alone");

    // On a boot partition the agent finds the string itself: this folder stands for one.
    let boot = folder.path().join("boot");
    fs::rename(&hostler, &boot).unwrap();
    let script =
        fs::read_to_string(boot.join("first-boot.sh")).unwrap().replace("/boot/*", &format!("{}*", boot.display()));
    fs::write(boot.join("first-boot.sh"), script).unwrap();
    let ran = run(&boot.join("first-boot.sh"), &[], &folder.path().join("bin"));
    assert!(ran.starts_with("exit status: 0"), "{ran}");
    assert!(ran.contains(&format!("install {}/hostler-agent_arm64.deb", boot.display())), "{ran}");
    assert!(ran.contains("systemctl --no-block start hostler-executor.service"), "{ran}");
    // A card that lost a bit says so, and nothing is installed.
    fs::write(boot.join("hostler-agent_arm64.deb"), format!("{MAGIC} arn64")).unwrap();
    let ran = run(&boot.join("first-boot.sh"), &[], &folder.path().join("bin2"));
    assert!(ran.starts_with("exit status: 1") && !ran.contains("apt-get"), "{ran}");
}

#[test]
fn a_plain_card_runs_once_and_leaves_one_line_of_the_kernels() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), "pi-4", None).unwrap();
    let plain = folder.path().join("out/pi-4/plain");
    let addition = fs::read_to_string(plain.join("cmdline-addition.txt")).unwrap();
    let before = "console=tty1 root=PARTUUID=1-02 rootwait quiet";
    fs::write(plain.join("cmdline.txt"), format!("{before}{addition}\n")).unwrap();
    let etc = folder.path().join("etc");
    fs::create_dir(&etc).unwrap();
    fs::write(etc.join("hostname"), "raspberrypi\n").unwrap();
    fs::write(etc.join("hosts"), "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n").unwrap();
    let script = plain.join("hostler/plain-boot.sh");
    let text = fs::read_to_string(&script).unwrap().replace("/etc/", &format!("{}/", etc.display()));
    fs::write(&script, text).unwrap();
    let ran = run(&script, &[], &folder.path().join("bin"));
    assert!(ran.starts_with("exit status: 0"), "{ran}");
    assert_eq!(fs::read_to_string(plain.join("cmdline.txt")).unwrap(), format!("{before}\n"));
    assert_eq!(fs::read_to_string(etc.join("hostname")).unwrap(), "pi-4\n");
    assert_eq!(fs::read_to_string(etc.join("hosts")).unwrap(), "127.0.0.1\tlocalhost\n127.0.1.1\tpi-4\n");
}

#[test]
fn a_user_data_of_ones_own_counts_as_well_unless_it_names_another_machine() {
    let folder = tempfile::tempdir().unwrap();
    let own = "#cloud-config\nhostname: pi-4\nruncmd:\n  - [touch, /root/mine]\n";
    written(folder.path(), "pi-4", Some(own)).unwrap();
    let text = fs::read_to_string(folder.path().join("out/pi-4/cloud-init/user-data")).unwrap();
    assert!(text.starts_with("Content-Type: multipart/mixed") && text.contains(own), "{text}");
    assert_eq!(text.matches("text/cloud-config").count(), 2);
    for (own, words) in [
        ("#cloud-config\nhostname: pi-5\n", "expected the host name pi-4 or none"),
        ("#!/bin/sh\n", "begins with #cloud-config"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let error = written(folder.path(), "pi-4", Some(own)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn cloud_init_takes_what_is_written() {
    if Command::new("cloud-init").arg("--version").output().is_err() {
        println!("skipped: cloud-init is not installed (tests/lab/checks-install.sh asks it in a machine)");
        return;
    }
    for node in ["pi-4", "pi-4.rack.example"] {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), node, None).unwrap();
        let file = folder.path().join("out").join(node).join("cloud-init/user-data");
        let out = Command::new("cloud-init").args(["schema", "--config-file"]).arg(file).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}
