//! What apt prints: `apt-get --simulate` and `apt-get download --print-uris`, of apt 2.6 and 3.0 alike.

/// What a simulated run would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Simulated {
    /// In apt's order.
    pub installs: Vec<Inst>,
    pub removes: Vec<String>,
    /// Not taken, for whatever reason.
    pub kept: Vec<String>,
    /// Not taken yet, by the archive's word.
    pub phased: Vec<String>,
}

/// `Inst libc6 [2.36-9] (2.36-10 Debian:12.5/stable, Debian-Security:12/stable-security [arm64])`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inst {
    /// With `:arch` where that is not the machine's own.
    pub name: String,
    pub from: Option<String>,
    pub to: String,
    pub origin: String,
    pub arch: String,
}

impl Inst {
    /// Whether one of the archives that have it is for security.
    pub(super) fn is_security(&self) -> bool {
        self.origin.split(',').map(str::trim).any(|one| {
            let (vendor, archive) = one.split_once(':').unwrap_or((one, ""));
            vendor.ends_with("-Security") || archive.ends_with("-security")
        })
    }

    /// The package's name alone.
    pub(super) fn package(&self) -> &str {
        self.name.split(':').next().unwrap_or_default()
    }

    /// As apt wants it named to take exactly this one.
    pub(super) fn exactly(&self) -> String {
        format!("{}={}", self.name, self.to)
    }
}

/// Lists that apt prints as indented names below a line.
const KEPT: &str = "The following packages have been kept back:";
const PHASED: &str = "The following upgrades have been deferred due to phasing:";

/// Reads a simulated run. What is not whole is an error: half a list would be taken for all of it.
pub(super) fn simulated(text: &str) -> Result<Simulated, String> {
    let mut found = Simulated::default();
    let mut list = None;
    let mut counted = None;
    for line in text.lines() {
        if let Some(names) = line.strip_prefix("  ") {
            let names = names.split_whitespace().map(str::to_owned);
            match list {
                Some(KEPT) => found.kept.extend(names),
                Some(PHASED) => found.phased.extend(names),
                Some(_) | None => {}
            }
            continue;
        }
        list = [KEPT, PHASED].into_iter().find(|head| line.trim_end() == *head);
        if let Some(rest) = line.strip_prefix("Inst ") {
            found
                .installs
                .push(inst(rest).ok_or_else(|| format!("expected a package and its version, found {line:?}"))?);
        } else if let Some(rest) = line.strip_prefix("Remv ") {
            found.removes.push(rest.split(' ').next().unwrap_or_default().to_owned());
        } else if line.contains(" newly installed, ") {
            counted = counts(line);
        }
    }
    let expected = counted.ok_or("expected apt's count of packages at the end of its list, found none")?;
    let have = (found.installs.iter().filter(|one| one.from.is_some()).count(), found.installs.len());
    if (expected.0, expected.0 + expected.1) != have {
        return Err(format!(
            "apt counts {} upgraded and {} new packages, and lists {}",
            expected.0, expected.1, have.1
        ));
    }
    Ok(found)
}

fn inst(rest: &str) -> Option<Inst> {
    let (name, rest) = rest.split_once(' ')?;
    let (from, rest) = match rest.strip_prefix('[') {
        Some(old) => old.split_once("] ").map(|(old, rest)| (Some(old.to_owned()), rest))?,
        None => (None, rest),
    };
    let inner = rest.strip_prefix('(')?;
    let inner = &inner[..inner.find(')')?];
    let (whence, arch) = inner.rsplit_once(" [")?;
    let (to, origin) = whence.split_once(' ').unwrap_or((whence, ""));
    Some(Inst {
        name: name.to_owned(),
        from,
        to: to.to_owned(),
        origin: origin.to_owned(),
        arch: arch.strip_suffix(']')?.to_owned(),
    })
}

/// `121 upgraded, 3 newly installed, 0 to remove and 0 not upgraded.`: upgraded, new. Packages that are installed anew
/// or
/// at a lower version are none of an update.
fn counts(line: &str) -> Option<(usize, usize)> {
    let (upgraded, rest) = line.split_once(" upgraded, ")?;
    let new = rest.split_once(" newly installed")?.0;
    Some((upgraded.trim().parse().ok()?, new.parse().ok()?))
}

/// Where a file is, and what it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub uri: String,
    /// `NAME_VERSION_ARCH.deb`, the colon of a version written `%3a`.
    pub file: String,
    pub size: u64,
    pub sha256: String,
}

/// `'http://…/bash_5_amd64.deb' bash_5_amd64.deb 1490652 SHA256:82130b…`, line by line.
pub(super) fn places(text: &str) -> Result<Vec<Place>, String> {
    let lines = text.lines().filter(|line| line.starts_with('\''));
    lines.map(|line| place(line).ok_or_else(|| format!("expected a file with its SHA256, found {line:?}"))).collect()
}

fn place(line: &str) -> Option<Place> {
    let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let mut fields = rest.split(' ');
    let (file, size, hash) = (fields.next()?, fields.next()?, fields.next()?);
    let sha256 = hash.strip_prefix("SHA256:").filter(|hex| hex.len() == 64)?;
    Some(Place { uri: uri.to_owned(), file: file.to_owned(), size: size.parse().ok()?, sha256: sha256.to_owned() })
}

/// The names of packages of which `apt-cache policy` says that their newest version is phased.
pub(super) fn phased(policy: &str) -> Vec<String> {
    let mut name = "";
    let mut found = Vec::new();
    for line in policy.lines() {
        if !line.starts_with(' ') {
            name = line.trim_end().trim_end_matches(':');
        } else if line.contains("(phased ") && found.last().map(String::as_str) != Some(name) {
            found.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const APT_2_6: &str = include_str!("../../../../fixtures/apt/2.6.1-upgrade.txt");
    const APT_3_0: &str = include_str!("../../../../fixtures/apt/3.0.4-upgrade.txt");

    #[test]
    fn what_apt_2_6_printed_is_read_whole() {
        let found = simulated(APT_2_6).unwrap();
        assert_eq!((found.installs.len(), found.kept.len(), found.removes.len()), (121, 0, 0));
        let bash = found.installs.iter().find(|one| one.name == "bash").unwrap();
        assert_eq!((bash.from.as_deref(), bash.to.as_str()), (Some("5.2.15-2+b8"), "5.2.15-2+b13"));
        assert_eq!((bash.origin.as_str(), bash.arch.as_str()), ("Debian:12.15/oldstable", "amd64"));
        assert!(!bash.is_security());
        let other = found.installs.iter().find(|one| one.name == "libgcrypt20").unwrap();
        assert!(other.is_security(), "{other:?}");
    }

    #[test]
    fn what_apt_3_0_printed_is_read_whole_and_names_what_is_held() {
        let found = simulated(APT_3_0).unwrap();
        assert!(!found.installs.is_empty() && found.installs.iter().all(|one| one.to != "0~old"), "{found:?}");
        assert_eq!(found.kept, ["sed"]);
    }

    #[test]
    fn half_a_list_is_no_list() {
        let lines: Vec<&str> = APT_2_6.lines().collect();
        let second = lines.iter().position(|line| line.starts_with("Inst ")).unwrap();
        let shorter: Vec<&str> =
            lines.iter().enumerate().filter(|(i, _)| *i != second).map(|(_, line)| *line).collect();
        assert!(simulated(&shorter.join("\n")).unwrap_err().contains("121"), "a package is missing");
        assert!(simulated(&lines[..5].join("\n")).is_err(), "the end is missing");
        assert!(simulated("").is_err());
        let none = "Reading package lists...\n0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n";
        assert_eq!(simulated(none).unwrap(), Simulated::default());
    }

    #[test]
    fn what_is_kept_back_phased_or_removed_is_named() {
        let text = "The following upgrades have been deferred due to phasing:\n  snapd\n\
            The following packages have been kept back:\n  linux-image-generic docker-ce\n\
            The following packages will be REMOVED:\n  old\n\
            0 upgraded, 1 newly installed, 1 to remove and 3 not upgraded.\n\
            Remv old [1]\nInst new:i386 (1:2 Ubuntu:24.04/noble-security [i386]) []\n";
        let found = simulated(text).unwrap();
        assert_eq!(
            (found.phased.join(","), found.kept.len(), found.removes.join(",")),
            ("snapd".into(), 2, "old".into())
        );
        let new = &found.installs[0];
        assert_eq!((new.package(), new.exactly().as_str(), new.is_security()), ("new", "new:i386=1:2", true));
        let policy =
            "snapd:\n  Installed: 1\n  Version table:\n     2 500 (phased 20%)\n *** 1 100\ncurl:\n  Installed: 1\n";
        assert_eq!(phased(policy), ["snapd"]);
    }

    #[test]
    fn a_file_without_a_sha256_is_an_error() {
        let line = "'http://deb.debian.org/debian/pool/main/b/bash/bash_5.2.15-2%2bb13_amd64.deb' \
            bash_5.2.15-2+b13_amd64.deb 1490652 \
            SHA256:82130bb6a560cd2a7234d8018baf73f188f5dd56413d5aa0accc987b2197a6a1";
        let found = places(&format!("Reading...\n{line}\n")).unwrap();
        assert_eq!((found[0].file.as_str(), found[0].size), ("bash_5.2.15-2+b13_amd64.deb", 1_490_652));
        assert!(places(&line.replace("SHA256", "MD5Sum")).is_err());
    }
}
