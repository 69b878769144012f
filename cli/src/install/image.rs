//! Folders that make a machine a node with nobody at its keyboard: what a boot partition or a seed of cloud-init holds.
//!
//! `cloud-init` is for images that run it (NoCloud: Raspberry Pi OS since Debian 13, Ubuntu, Debian's cloud images),
//! `plain` for a Raspberry Pi OS that does not. Both hold the folder `hostler` with the packages and the join string,
//! where the agent looks for it. Nothing is said about the network.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

use hostler_plan::{
    id::{NodeName, TokenId},
    written,
};

use super::Packages;
use crate::{
    error::Error,
    file::{read_limited, write_private_new},
};

const FIRST_BOOT: &str = include_str!("first-boot.sh");
const PLAIN_BOOT: &str = include_str!("plain-boot.sh");

/// What a plain Raspberry Pi OS finds behind its own kernel command line: systemd.run(7) of systemd's generator.
const COMMAND_LINE: &str = "systemd.run=/boot/firmware/hostler/plain-boot.sh systemd.run_success_action=reboot \
                            systemd.unit=kernel-command-line.target";

/// A user-data file has a few hundred bytes; cloud-init's own limit is that of its sources.
const MAX_USER_DATA: usize = 64 << 10;

/// Between the parts of a user-data of two.
const BOUNDARY: &str = "==hostler-user-data==";

/// One machine that is to come.
#[derive(Debug)]
pub struct Card<'a> {
    pub node: &'a NodeName,
    pub token: &'a TokenId,
    /// A secret.
    pub join: &'a str,
}

/// A person's user-data, such as that of Raspberry Pi Imager.
#[derive(Debug, Clone)]
pub struct UserData(String);

impl UserData {
    /// Reads one and looks whether it can count beside ours.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = read_limited(path, MAX_USER_DATA)?;
        let text = written::read(&bytes).map_err(|e| Error::Failed(format!("{}: {e}", path.display())))?;
        match text.starts_with("#cloud-config") && !text.contains(BOUNDARY) {
            true => Ok(Self(text)),
            false => Err(Error::Usage(format!(
                "--user-data {}: expected a file that begins with #cloud-config, found another one",
                path.display()
            ))),
        }
    }

    /// One whose host name is another's would make another node.
    pub fn check(&self, node: &NodeName) -> Result<(), Error> {
        let of_line = |line: &str| {
            let (key, value) = line.split_once(':')?;
            matches!(key, "hostname" | "fqdn").then(|| value.trim().trim_matches(['"', '\'']).to_owned())
        };
        let (whole, first) = (node.as_str(), first_label(node));
        match self.0.lines().filter_map(of_line).find(|name| name != whole && name != first) {
            None => Ok(()),
            Some(other) => Err(Error::Usage(format!(
                "--user-data: expected the host name {node} or none, found {other:?}; take the line out, then the \
                 image sets it"
            ))),
        }
    }
}

fn first_label(node: &NodeName) -> &str {
    node.as_str().split('.').next().unwrap_or_default()
}

/// Writes the folder of one machine into `out`.
pub fn write(out: &Path, card: &Card<'_>, packages: &Packages, own: Option<&UserData>) -> Result<(), Error> {
    let folder = out.join(card.node.as_str());
    let (cloud, plain) = (folder.join("cloud-init"), folder.join("plain"));
    for place in [&cloud, &plain] {
        hostler_folder(&place.join("hostler"), card, packages)?;
    }
    put(&cloud.join("user-data"), user_data(card.node, own).as_bytes())?;
    put(&cloud.join("meta-data"), meta_data(card).as_bytes())?;
    let script = PLAIN_BOOT.replacen('\n', &format!("\nnode={}\n", card.node), 1);
    executable(&plain.join("hostler/plain-boot.sh"), script.as_bytes())?;
    put(&plain.join("cmdline-addition.txt"), format!(" {COMMAND_LINE}").as_bytes())?;
    put(&folder.join("README.txt"), readme(card.node).as_bytes())
}

/// Makes the folder that all of it goes to, for this user alone: it holds secrets.
pub fn make_folder(out: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().mode(0o700).create(out);
    made.map_err(|e| Error::file("make", out, e))
}

fn hostler_folder(folder: &Path, card: &Card<'_>, packages: &Packages) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|e| Error::file("make", folder, e))?;
    let mut sums = String::new();
    for package in packages.all() {
        let name = format!("hostler-agent_{}.deb", package.arch);
        sums.push_str(&format!("{}  {name}\n", package.digest().hex()));
        put(&folder.join(name), &package.bytes)?;
    }
    put(&folder.join("sha256sums"), sums.as_bytes())?;
    write_private_new(&folder.join("join"), format!("{}\n", card.join).as_bytes())?;
    executable(&folder.join("first-boot.sh"), FIRST_BOOT.as_bytes())
}

fn user_data(node: &NodeName, own: Option<&UserData>) -> String {
    let names = match node.as_str().contains('.') {
        true => format!("hostname: {}\nfqdn: {node}\nprefer_fqdn_over_hostname: true\n", first_label(node)),
        false => format!("hostname: {node}\n"),
    };
    let ours = format!(
        "#cloud-config
# Makes this machine the node {node}. Written by `hostler node image`; the network is left alone.
{names}runcmd:
  - - sh
    - -ec
    - |
      for place in /boot/firmware /boot; do
        if [ -e \"$place/hostler/first-boot.sh\" ]; then exec sh \"$place/hostler/first-boot.sh\" \"$place/hostler\"; fi
      done
      mkdir -p /run/hostler-seed
      mount -o ro -L CIDATA /run/hostler-seed || mount -o ro -L cidata /run/hostler-seed
      sh /run/hostler-seed/hostler/first-boot.sh /run/hostler-seed/hostler
      umount /run/hostler-seed
"
    );
    let Some(UserData(own)) = own else { return ours };
    // What both say is a list, such as what is run, counts from both; of a single value the person's own counts.
    let merge = "Merge-Type: list(append)+dict(no_replace,recurse_list)+str()";
    let part = |more: &str, text: &str| {
        format!("--{BOUNDARY}\nContent-Type: text/cloud-config; charset=\"utf-8\"\nMIME-Version: 1.0\n{more}\n{text}\n")
    };
    let (first, second) = (part("", own), part(&format!("{merge}\n"), &ours));
    format!(
        "Content-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\nMIME-Version: 1.0\n\n{first}{second}--{BOUNDARY}--\n"
    )
}

/// Another string is another instance: cloud-init then sets the machine up once more.
fn meta_data(card: &Card<'_>) -> String {
    format!("instance-id: hostler-{}-{}\nlocal-hostname: {}\n", card.node, card.token, first_label(card.node))
}

fn readme(node: &NodeName) -> String {
    format!(
        "The card of {node}. It holds a join string, which is a secret: whoever has it can enrol one machine.

An image with cloud-init (Raspberry Pi OS since Debian 13, Ubuntu, Debian's cloud images):
  write the image, then copy everything of cloud-init/ to its boot partition (label bootfs or system-boot), or make a
  seed volume of it: genisoimage -o seed.iso -V CIDATA -J -r cloud-init/
  user-data of Raspberry Pi Imager is there already? Make this folder with --user-data FILE, so that both count.

A plain Raspberry Pi OS (Debian 12):
  write the image, copy the folder plain/hostler to its boot partition, and put what cmdline-addition.txt says behind
  the one line of cmdline.txt there, in the same line.

Then boot it, and list it: hostler node list --pending; hostler node approve {node}
Compare the key there with that of `hostler-executor id` on the machine. Remove this folder when it has served.
"
    )
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|e| Error::file("write", path, e))
}

fn executable(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    put(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|e| Error::file("write", path, e))
}
