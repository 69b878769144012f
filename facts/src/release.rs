//! Names of kernels, as `uname -r` and /lib/modules have them: which of two is newer, and whether they are of one
//! flavour.
//!
//! | name | order | flavour |
//! |---|---|---|
//! | `6.1.0-rpi7-rpi-v8` | 6.1.0, rpi 7 | `v8` |
//! | `6.12.47+rpt-rpi-2712`, `6.6.63-v8-16k+` | 6.12.47, rpt; 6.6.63 | `2712` |
//! | `6.12.43+deb13-cloud-amd64` | 6.12.43, deb 13 | `cloud-amd64` |
//! | `6.1.0-0.deb11.21-amd64` | 6.1.0, 0, deb 11, 21 | `amd64` |
//! | `6.8.0-45-generic`, `6.8.0-061200rc3-generic` | 6.8.0, 45; 6.8.0, 61200, candidate 3 | `generic` |
//! | `6.12-rc6-amd64` | 6.12.0, candidate 6 | `amd64` |
//! | `6.14.8-2-bpo12-pve` | 6.14.8, 2, before the same for the next release | `pve` |
//! | `5.14.0-427.13.1.el9_4.x86_64+rt` | 5.14.0, 427, 13, 1, el 9, 4 | `x86_64+rt` |
//! | `5.15.0-209.161.7.1.el9uek.x86_64` | 5.15.0, 209, 161, 7, 1, el 9, uek | `x86_64 uek` |
//! | `5.10.110-37-rockchip-g74457be0716d` | 5.10.110, 37 | `rockchip` |
//! | `6.9.3-arch1-1`, `6.9.3-zen1-1-zen`, `6.6.32-1-lts` | 6.9.3, arch 1, 1 and so on | `arch`, `zen`, `lts` |

/// A kernel's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release {
    /// Version, then what builds are counted with.
    order: Vec<Part>,
    /// What kind of kernel it is, without its version: only kernels of one flavour follow each other.
    flavour: String,
}

/// From the oldest to the newest at one place, as RPM and dpkg compare: a candidate comes before the end, and the end
/// before anything that follows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Candidate,
    End,
    Word(String),
    Number(u64),
}

/// Flavours whose packages got another name; the old name first. The kernel for 16 KiB pages of a Raspberry Pi 5 is
/// `v8-16k` where rpi-update made it; the others are Ubuntu's and Alpine's.
const RENAMED: [(&str, &str); 3] = [("v8-16k", "2712"), ("raspi2", "raspi"), ("rpi4", "rpi")];

/// The last part of a name from an RPM.
const RPM_ARCHITECTURES: [&str; 7] = ["x86_64", "aarch64", "ppc64le", "s390x", "riscv64", "i686", "armv7hl"];

impl Release {
    pub(super) fn parse(name: &str) -> Self {
        let end = name.find(|one: char| !one.is_ascii_digit() && one != '.').unwrap_or(name.len());
        let end = name[..end].trim_end_matches('.').len();
        let mut order: Vec<Part> = name[..end].split('.').filter_map(number).collect();
        // `6.12-rc6` comes before 6.12.0.
        while order.len() < 3 {
            order.push(Part::Number(0));
        }
        let mut rest = &name[end..];
        let (mut flavour, mut maker) = (String::new(), String::new());
        while let Some((part, after)) = next(rest) {
            let counted = Counted::of(part, after);
            match counted {
                Counted::Flavour => break,
                Counted::Build => parts(part, &mut order),
                Counted::Named(word) => {
                    parts(part, &mut order);
                    // `-arch1-1` has no other flavour than this.
                    word.clone_into(&mut flavour);
                }
                Counted::Nothing => {}
                Counted::Rpm(build, architecture) => {
                    parts(build, &mut order);
                    maker = maker_of(build);
                    rest = architecture;
                    break;
                }
            }
            rest = after;
        }
        let said = without_build(rest.trim_start_matches(['-', '.', '_', '+']));
        let said = said.strip_prefix("rpi-").unwrap_or(said);
        let said = RENAMED.into_iter().find(|(old, _)| *old == said).map_or(said, |(_, new)| new);
        if !said.is_empty() {
            said.clone_into(&mut flavour);
        }
        flavour.push_str(&maker);
        order.push(Part::End);
        Release { order, flavour }
    }

    pub(super) fn is_of_the_flavour_of(&self, other: &Release) -> bool {
        self.flavour == other.flavour
    }

    pub(super) fn is_newer_than(&self, other: &Release) -> bool {
        self.order > other.order
    }
}

/// What one part of a name, `-45` or `+deb13`, tells.
enum Counted<'a> {
    /// Which build it is.
    Build,
    /// The same, with a word that the flavour repeats or that is the flavour.
    Named(&'a str),
    /// Which build, and behind it the architecture as RPM writes it.
    Rpm(&'a str, &'a str),
    /// A build of somebody's own: `-gd5ad3b8`, which cannot be compared.
    Nothing,
    /// From here on all is flavour.
    Flavour,
}

impl<'a> Counted<'a> {
    fn of(part: &'a str, after: &'a str) -> Self {
        let text = &part[1..];
        let letters = text.trim_end_matches(|one: char| one.is_ascii_digit());
        let numbered = letters.len() < text.len() && letters.chars().all(|one| one.is_ascii_alphabetic());
        if text.starts_with(|one: char| one.is_ascii_digit()) {
            let rpm = RPM_ARCHITECTURES.iter().find_map(|name| Some((part.find(&format!(".{name}"))?, name)));
            return match rpm {
                Some((at, _)) => Counted::Rpm(&part[..at], &part[at..]),
                None => Counted::Build,
            };
        }
        // `+rpt`, `+bpo` and `+deb13` follow the version in Debian; a `+` behind a flavour is reached by nobody.
        if part.starts_with('+') {
            return if letters.is_empty() { Counted::Flavour } else { Counted::Build };
        }
        if numbered && matches!(letters, "rc" | "rt" | "bpo") {
            return Counted::Build;
        }
        if is_own_build(text) {
            return Counted::Nothing;
        }
        let follows = after.strip_prefix('-').unwrap_or_default();
        let repeated = follows.split('-').any(|word| word == letters);
        let released = !follows.is_empty() && follows.chars().all(|one| one.is_ascii_digit());
        // `-rpi7-rpi-v8`, `-zen1-1-zen` and `-arch1-1`, but not `-v8-16k+` nor `-amd64`.
        if numbered && (repeated || released) { Counted::Named(letters) } else { Counted::Flavour }
    }
}

/// What somebody's own build adds to its name: `g4c2f9b0` and `dirty`.
fn is_own_build(text: &str) -> bool {
    let hash = text.strip_prefix('g').filter(|hash| (7..=40).contains(&hash.len()));
    hash.is_some_and(|hash| hash.chars().all(|one| one.is_ascii_hexdigit())) || text == "dirty"
}

/// A flavour without what tells one build of it from another.
fn without_build(mut flavour: &str) -> &str {
    loop {
        flavour = flavour.trim_end_matches('+');
        match flavour.rsplit_once('-') {
            Some((before, last)) if is_own_build(last) => flavour = before,
            Some(_) | None => return flavour,
        }
    }
}

/// Who else than the distribution made a kernel from an RPM, as the words behind its release tell: ` uek` of `el9uek`,
/// ` elrepo` of `el9.elrepo`. Such a kernel stands beside the distribution's own.
fn maker_of(build: &str) -> String {
    let is_release = |part: &&str| {
        ["el", "fc"].iter().any(|name| {
            matches!(part.strip_prefix(name), Some(rest)
        if rest.starts_with(|first: char| first.is_ascii_digit()))
        })
    };
    let mut maker = String::new();
    let mut words = build.split('.').skip_while(|part| !is_release(part));
    let release = words.next().unwrap_or_default();
    let behind = release.rsplit(|one: char| one.is_ascii_digit()).next();
    for word in behind.into_iter().chain(words).filter(|word| !word.is_empty()) {
        maker.push(' ');
        maker.push_str(word);
    }
    maker
}

/// The next part with the sign before it, and the rest. Dots belong to it; a name from an RPM is one part.
fn next(rest: &str) -> Option<(&str, &str)> {
    if rest.len() < 2 || !rest.starts_with(['-', '+', '.', '~', '_']) {
        return None;
    }
    let rpm = rest.starts_with('-') && RPM_ARCHITECTURES.iter().any(|name| rest.contains(&format!(".{name}")));
    let end = if rpm { None } else { rest[1..].find(['-', '+', '~']) };
    Some(end.map_or((rest, ""), |end| rest.split_at(end + 1)))
}

fn number(digits: &str) -> Option<Part> {
    // Beyond 64 bits all are the same.
    (!digits.is_empty()).then(|| Part::Number(digits.parse().unwrap_or(u64::MAX)))
}

/// Takes `427.13.1.el9_4` apart into numbers and words.
fn parts(text: &str, order: &mut Vec<Part>) {
    // A backport is replaced by what it was made from.
    if text.starts_with('~') || text.starts_with("-bpo") {
        order.push(Part::Candidate);
    }
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let same = |one: char| if first.is_ascii_digit() { one.is_ascii_digit() } else { one.is_ascii_alphabetic() };
        let end = rest.find(|one| !same(one)).unwrap_or(rest.len()).max(if same(first) { 0 } else { first.len_utf8() });
        let (one, after) = rest.split_at(end);
        match one {
            "rc" => order.push(Part::Candidate),
            digits if first.is_ascii_digit() => order.extend(number(digits)),
            word if first.is_ascii_alphabetic() => order.push(Part::Word(word.to_owned())),
            _ => {}
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line is of one flavour and gets newer from left to right.
    const FLAVOURS: [&[&str]; 21] = [
        &["5.15.84-v8+", "6.1.0-rpi4-rpi-v8", "6.1.0-rpi7-rpi-v8", "6.1.0-rpi10-rpi-v8", "6.6.20+rpt-rpi-v8"],
        &["6.1.0-rpi8-rpi-2712", "6.6.63-v8-16k+", "6.12.9+rpt-rpi-2712", "6.12.47+rpt-rpi-2712"],
        &["6.1.0-rpi8-rpi-v7l", "6.6.31-v7l+", "6.12.25+rpt-rpi-v7l"],
        &[
            "5.10.0-28-amd64",
            "6.1.0-0.deb11.21-amd64",
            "6.1.0-9-amd64",
            "6.1.0-18-amd64",
            "6.12-rc6-amd64",
            "6.12.9+bpo-amd64",
            "6.12.38+deb13-amd64",
            "6.12.43+deb13-amd64",
            "6.12.43+deb13+1-amd64",
            "6.12.43+deb14-amd64",
            "6.16.3-amd64",
        ],
        &["6.1.0-18-cloud-amd64", "6.12.43+deb13-cloud-amd64"],
        &["6.1.0-18-rt-amd64", "6.12.43+deb13-rt-amd64"],
        &[
            "5.15.0-119-generic",
            "6.8.0-9-generic",
            "6.8.0-45-generic",
            "6.11.0-26-generic",
            "6.12.0-061200rc3-generic",
            "6.12.0-061200rc10-generic",
            "6.12.0-061200-generic",
        ],
        &["5.4.0-1001-raspi2", "5.15.0-1050-raspi", "6.8.0-1010-raspi"],
        &[
            "6.12.0-0.rc1.20241003git7ec462100ef9.17.fc42.x86_64",
            "6.12.0-0.rc2.18.fc42.x86_64",
            "6.12.0-63.fc41.x86_64",
            "6.12.0-63.fc42.x86_64",
            "6.12.4-301.fc41.x86_64",
        ],
        &[
            "5.14.0-427.el9_4.x86_64",
            "5.14.0-427.9.1.el9_4.x86_64",
            "5.14.0-427.13.1.el9_4.x86_64",
            "5.14.0-503.el9_5.x86_64",
            "6.12.0-55.9.1.el10_0.x86_64",
        ],
        &["6.9.3-arch1-1", "6.9.3-arch1-2", "6.9.3-arch2-1", "6.10-arch1-1"],
        &["6.9.3.hardened1-1-hardened", "6.9.3.hardened1-2-hardened", "6.10.1.hardened1-1-hardened"],
        &["6.6.9-1-lts", "6.6.32-1-lts", "6.12.1-1-lts"],
        &["6.4.0-150600.9.1-default", "6.4.0-150600.23.7-default", "6.9.1-1-default"],
        &["6.6.31-v7-g4c2f9b0-dirty", "6.6.32-v7+", "6.6.33-v7-gabcdef12"],
        &["6.12.0-rc3", "6.12.0-rc10", "6.12.0", "6.12.1"],
        &["6.8.12-9-pve", "6.14.8-2-bpo12-pve", "6.14.8-2-pve", "6.17.2-1-pve"],
        &["5.15.0-206.153.7.el9uek.x86_64", "5.15.0-209.161.7.1.el9uek.x86_64"],
        &["6.9.1-1.el9.elrepo.x86_64", "6.10.1-1.el9.elrepo.x86_64"],
        &["3.10.0-1160.118.1.el7.centos.plus.x86_64", "3.10.0-1160.119.1.el7.centos.plus.x86_64"],
        &["5.10.110-37-rockchip-g74457be0716d", "5.10.110-39-rockchip-g9e8a0d1e4d5b", "5.10.110-40-rockchip-dirty+"],
    ];

    #[test]
    fn kernels_of_one_flavour_are_ordered_and_those_of_two_never_compared() {
        for line in FLAVOURS {
            for pair in line.windows(2) {
                let [old, new] = [pair[0], pair[1]].map(Release::parse);
                assert!(new.is_of_the_flavour_of(&old), "{pair:?}: {old:?} {new:?}");
                assert!(new.is_newer_than(&old) && !old.is_newer_than(&new), "{pair:?}: {old:?} {new:?}");
            }
        }
        let mut flavours: Vec<String> = FLAVOURS.iter().map(|line| Release::parse(line[0]).flavour).collect();
        for other in [
            "6.12.0-rc7-v8-16k+",
            "6.1.0-18-arm64",
            "6.8.0-45-generic-64k",
            "6.8.0-45-lowlatency",
            "6.8.5-301.fc40.x86_64+debug",
            "5.14.0-427.13.1.el9_4.aarch64+64k",
            "6.9.3-zen1-1-zen",
            "6.8.0-45-generic-hwe",
            "6.6.31-current-rockchip64",
            "6.6.30-talos",
            "6.2.10-1-aarch64-ARCH",
        ] {
            flavours.push(Release::parse(other).flavour);
        }
        let all = flavours.len();
        flavours.sort();
        flavours.dedup();
        // The 16 KiB kernel of a Raspberry Pi 5 is in both lists; Fedora and RHEL have one word.
        assert_eq!(flavours.len(), all - 2, "{flavours:?}");
    }

    #[test]
    fn any_text_is_a_name() {
        for name in ["", "-", "+", "6", "..", "6.6.63+", "99999999999999999999999.1-é-9~", "6.1-ünd+", "-rc", "6.1--1"]
        {
            let release = Release::parse(name);
            assert!(release.is_of_the_flavour_of(&release) && !release.is_newer_than(&release), "{name}");
        }
    }
}
