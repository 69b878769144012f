//! What a machine said of itself, and whether an agent can live there.

use std::collections::BTreeMap;

use hostler_plan::{id::NodeName, text::clean};

use super::{DebArch, SshHost, ssh::Said};

/// The oldest C library that the packages are built for: Debian 12 and Ubuntu 22.10 have it.
const LIBC: (u32, u32) = (2, 36);

/// As whom the machine lets this user act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    Root,
    /// sudo asks for nothing.
    Sudo,
    /// sudo asks for a password.
    Password,
}

/// A machine that an agent can live on.
#[derive(Debug, Clone)]
pub struct Found {
    pub host: SshHost,
    pub name: NodeName,
    pub os: String,
    pub arch: DebArch,
    pub rights: Rights,
    /// Something of an agent is there already.
    pub has_state: bool,
    /// The version of the agent that is installed.
    pub installed: Option<String>,
    /// What tells machines apart, by the words for it: machine id, ssh host keys.
    pub marks: Vec<(&'static str, String)>,
    /// What tells a machine from its copy; containers of one host share it.
    boot_id: String,
}

impl Found {
    /// Reads what a probe said. One sentence where no agent can live there.
    pub(super) fn read(host: SshHost, said: &Said) -> Result<Self, String> {
        let last = |word: &str| said.last(word).unwrap_or_default();
        said.first("done").ok_or("it ended before it had said what it is; try again")?;
        let os = clean(last("os")).into_owned();
        let family = last("family");
        if !family.split_whitespace().any(|id| matches!(id, "debian" | "ubuntu" | "raspbian")) {
            let found = if os.is_empty() { last("kernel") } else { &os };
            return Err(format!(
                "expected Debian, Raspberry Pi OS or Ubuntu, found {found}; the agent is packaged for those alone"
            ));
        }
        let arch = architecture(last("architecture"), last("kernel"))?;
        check_libc(last("libc"), &os)?;
        if last("init") != "systemd" {
            return Err(format!("expected systemd as its init, found another on {os}; the agent's units need it"));
        }
        let rights = match last("rights") {
            "root" => Rights::Root,
            "sudo" => Rights::Sudo,
            "password" => Rights::Password,
            _ => return Err("expected root or sudo, found neither; log in as root, or install sudo there".to_owned()),
        };
        Ok(Self {
            name: name(last("name"))?,
            os,
            arch,
            rights,
            has_state: said.first("state").is_some() || !last("package").is_empty(),
            installed: last("package").strip_prefix("installed ").map(str::to_owned),
            marks: marks(said),
            boot_id: last("boot_id").to_owned(),
            host,
        })
    }
}

/// What the userland runs. A kernel of 64 bits may carry one of 32, as Raspberry Pi OS does where it was set up so.
fn architecture(userland: &str, kernel: &str) -> Result<DebArch, String> {
    let found = DebArch::ALL.into_iter().find(|arch| arch.to_string() == userland);
    found.ok_or_else(|| {
        let wide = kernel.ends_with("aarch64") || kernel.ends_with("x86_64");
        let found = if userland.is_empty() { "none that dpkg names" } else { userland };
        match wide {
            true => format!(
                "expected a userland of 64 bits (arm64 or amd64), found {found} on a kernel of 64 bits ({kernel}); \
                 Kubernetes needs both: write the card anew with the 64-bit image"
            ),
            false => format!("expected arm64 or amd64, found {found} ({kernel}); this machine cannot run the agent"),
        }
    })
}

fn check_libc(found: &str, os: &str) -> Result<(), String> {
    let version = found.strip_prefix("glibc ").and_then(|v| v.split_once('.'));
    let version: Option<(u32, u32)> = version.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match version {
        Some(version) if version < LIBC => Err(format!(
            "expected glibc {}.{} or newer (Debian 12), found {found} on {os}; upgrade the distribution first",
            LIBC.0, LIBC.1
        )),
        // One that is not named is for apt to judge.
        Some(_) | None => Ok(()),
    }
}

/// The name that it will enrol under: the host's whole name.
fn name(found: &str) -> Result<NodeName, String> {
    let name = NodeName::new(found.to_lowercase());
    match name {
        Ok(name) if !name.as_str().starts_with("localhost") => Ok(name),
        Ok(_) | Err(_) => Err(format!(
            "expected a host name that a node can have (a-z, 0-9, - and .), found {:?}; set one with `hostnamectl \
             set-hostname NAME` there",
            clean(found)
        )),
    }
}

fn marks(said: &Said) -> Vec<(&'static str, String)> {
    let mut marks = Vec::new();
    let machine_id = said.last("machine_id").unwrap_or_default();
    // Zeros stand for an id that was never made.
    if machine_id.chars().any(|c| c.is_ascii_hexdigit() && c != '0') {
        marks.push(("machine id", machine_id.to_owned()));
    }
    marks.extend(said.all("host_key").filter(|key| key.contains(' ')).map(|key| ("ssh host key", key.to_owned())));
    marks
}

/// For each machine that is another one's double among those that were found: which one, and what to do.
pub fn doubles(found: &[&Found]) -> BTreeMap<SshHost, String> {
    let mut doubles = BTreeMap::new();
    for (i, one) in found.iter().enumerate() {
        for other in found.iter().skip(i + 1) {
            let same = one.marks.iter().find(|mark| other.marks.contains(mark));
            let said = |beside: &Found| match same {
                Some(_) if one.boot_id == other.boot_id => {
                    Some(format!("it is the same machine as {}; name it once", beside.host))
                }
                Some((what, _)) => Some(format!(
                    "it has the {what} of {}: both were made from one image. On one of them: rm /etc/machine-id \
                     /etc/ssh/ssh_host_*; systemd-machine-id-setup; ssh-keygen -A; reboot",
                    beside.host
                )),
                None if one.name == other.name => Some(format!(
                    "{} has the name {} too; give one of them another with `hostnamectl set-hostname NAME`",
                    beside.host, one.name
                )),
                None => None,
            };
            for (which, beside) in [(one, other), (other, one)] {
                if let Some(said) = said(beside) {
                    doubles.entry(which.host.clone()).or_insert(said);
                }
            }
        }
    }
    doubles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(host: &str, changed: &[(&str, &str)]) -> Result<Found, String> {
        let mut said = vec![
            ("os", "Debian GNU/Linux 12 (bookworm)"),
            ("family", "debian "),
            ("kernel", "Linux aarch64"),
            ("architecture", "arm64"),
            ("libc", "glibc 2.36"),
            ("name", host),
            ("machine_id", host),
            ("boot_id", host),
            ("init", "systemd"),
            ("package", ""),
            ("rights", "sudo"),
            ("done", ""),
        ];
        said.retain(|(word, _)| changed.iter().all(|(other, _)| other != word));
        said.extend(changed);
        Found::read(host.parse().expect("a host"), &Said::of(&said))
    }

    #[test]
    fn what_no_agent_can_live_on_is_refused_in_a_sentence() {
        let good = machine("pi-4", &[]).expect("an agent can live there");
        assert_eq!((good.name.as_str(), good.arch, good.rights), ("pi-4", DebArch::Arm64, Rights::Sudo));
        let raspbian = machine("pi-4", &[("family", "raspbian debian")]).expect("Raspberry Pi OS");
        assert!(!raspbian.has_state);
        for (change, words) in [
            (("family", "fedora "), "expected Debian, Raspberry Pi OS or Ubuntu"),
            (("architecture", "armhf"), "expected a userland of 64 bits (arm64 or amd64), found armhf"),
            (("libc", "glibc 2.31"), "expected glibc 2.36 or newer"),
            (("init", ""), "expected systemd"),
            (("rights", "none"), "expected root or sudo"),
            (("name", "Pi_4"), "hostnamectl"),
            (("name", "localhost"), "hostnamectl"),
        ] {
            let error = machine("pi-4", &[change]).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
        let old = machine("pi-4", &[("kernel", "Linux armv7l"), ("architecture", "armhf")]).expect_err("32 bits");
        assert!(old.contains("cannot run the agent"), "{old}");
    }

    #[test]
    fn machines_of_one_image_are_found_before_either_enrols() {
        let key = ("host_key", "ssh-ed25519 AAAA");
        let (a, b, c) = (machine("a", &[key]), machine("b", &[key]), machine("c", &[]));
        let (a, b, c) = (a.expect("a"), b.expect("b"), c.expect("c"));
        let found = doubles(&[&a, &b, &c]);
        assert_eq!(found.keys().map(SshHost::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert!(found[&a.host].contains("ssh host key of b"), "{found:?}");
        let copy = machine("d", &[("machine_id", "c")]).expect("d");
        assert!(doubles(&[&c, &copy])[&copy.host].contains("machine id of c"));
        let same = machine("e", &[("boot_id", "c"), ("machine_id", "c")]).expect("e");
        assert!(doubles(&[&c, &same])[&same.host].contains("the same machine as c"));
        let named = machine("f", &[("name", "c")]).expect("f");
        assert!(doubles(&[&c, &named])[&named.host].contains("has the name c too"));
        let zeros = ("machine_id", "00000000");
        let unmade = [machine("g", &[zeros]).expect("g"), machine("h", &[zeros]).expect("h")];
        assert!(doubles(&[&unmade[0], &unmade[1]]).is_empty());
    }
}
