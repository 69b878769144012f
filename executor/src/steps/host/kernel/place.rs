//! Where a machine's boot loader finds the kernel's arguments: files of a Pi's boot partition, or GRUB.

use std::path::{Path, PathBuf};

use crate::{
    host::{Host, text},
    steps::action::{Check, StepError},
};

/// Where a Pi's boot partition is mounted: since Debian 12 and by Ubuntu, and before.
const BOOT: [&str; 2] = ["/boot/firmware", "/boot"];
const MODEL: &str = "/proc/device-tree/model";
const MOUNTS: &str = "/proc/self/mounts";
const FSTAB: &str = "/etc/fstab";
const GRUB: &str = "/etc/default/grub";

/// Files that include each other deeper than this include themselves.
const DEEPEST: usize = 4;

/// The boot loader of a machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loader {
    /// A Pi's firmware: the files of which the next boot takes one, and the mount that they are on.
    Firmware {
        mount: String,
        files: Vec<PathBuf>,
    },
    Grub,
}

/// What a machine is that no argument can be given to.
pub(super) fn unfit<T>(expected: impl Into<String>, found: impl Into<String>) -> Result<T, Check> {
    Err(Check::Mismatch { expected: expected.into(), found: found.into() })
}

/// The boot loader, or why none is written to.
pub(super) fn loader(host: &dyn Host) -> Result<Result<Loader, Check>, StepError> {
    let is_pi = text(host, MODEL)?.is_some_and(|model| model.contains("Raspberry Pi"));
    let has_grub = host.read_file(Path::new(GRUB))?.is_some();
    if !is_pi {
        return Ok(match has_grub {
            true => Ok(Loader::Grub),
            false => unfit(
                "GRUB or the firmware of a Raspberry Pi as boot loader",
                format!("neither {GRUB} nor a Pi's {MODEL}; give its boot loader the arguments by hand"),
            ),
        });
    }
    let fstab = text(host, FSTAB)?.unwrap_or_default();
    for boot in BOOT {
        // The first reading mounts what systemd mounts when it is used.
        let config = text(host, Path::new(boot).join("config.txt"))?;
        match mounted(host, boot)? {
            Some(_) => return firmware(host, boot, config.as_deref()),
            None if names(&fstab, boot) => {
                let found = format!("it is not mounted, though {FSTAB} names it: `mount {boot}`");
                return Ok(unfit(format!("the boot partition at {boot}"), found));
            }
            None => {}
        }
    }
    // A Pi that boots like a PC, through UEFI.
    if has_grub {
        return Ok(Ok(Loader::Grub));
    }
    let expected = format!("a boot partition mounted at {} or {}", BOOT[0], BOOT[1]);
    Ok(unfit(expected, format!("none, and {FSTAB} names none; mount it, and write it into {FSTAB}")))
}

/// The options of what is mounted at a place; what only waits for its first use is not mounted.
pub(super) fn mounted(host: &dyn Host, at: &str) -> Result<Option<String>, StepError> {
    let mounts = text(host, MOUNTS)?.unwrap_or_default();
    let found = mounts.lines().rev().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        (place == at && kind != "autofs").then(|| options.to_owned())
    });
    Ok(found)
}

/// Whether fstab(5) mounts something there.
pub(super) fn names(fstab: &str, at: &str) -> bool {
    let is_it = |line: &str| !line.trim_start().starts_with('#') && line.split_whitespace().nth(1) == Some(at);
    fstab.lines().any(is_it)
}

fn firmware(host: &dyn Host, boot: &str, config: Option<&str>) -> Result<Result<Loader, Check>, StepError> {
    let folder = Path::new(boot);
    let mut read = |name: &str| text(host, folder.join(name)).ok().flatten();
    let taken = match taken(config.unwrap_or_default(), &mut read) {
        Ok(taken) => taken,
        Err(found) => return Ok(unfit(format!("one command line named in {boot}/config.txt"), found)),
    };
    if let Some(tried) = &taken.tried {
        let state = text(host, folder.join(Path::new(tried).with_file_name("state")))?;
        if state.is_some_and(|state| state.trim() == "trying") {
            let found = "a test of them that is under way: the arguments would go to the wrong ones; wait until \
                         piboot-try has judged them (`systemctl status piboot-try-validate`)";
            return Ok(unfit("boot files that are not being tested", found));
        }
    }
    let mut files = vec![folder.join(&taken.current)];
    // New boot files are tried at the next boot, and become the current ones.
    if let Some(tried) = taken.tried.map(|tried| folder.join(tried))
        && host.read_file(&tried)?.is_some()
    {
        files.push(tried);
    }
    Ok(Ok(Loader::Firmware { mount: boot.to_owned(), files }))
}

/// The command lines that a config.txt names.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    /// At every boot.
    current: String,
    /// At the one boot that tries new boot files.
    tried: Option<String>,
}

/// As the firmware reads it (<https://www.raspberrypi.com/documentation/computers/config_txt.html>).
fn taken(config: &str, read: &mut dyn FnMut(&str) -> Option<String>) -> Result<Taken, String> {
    let mut found = Found::default();
    found.read(config, read, 0)?;
    let Found { prefix, name, tried_prefix, tried_name, .. } = found;
    let name = name.unwrap_or_else(|| "cmdline.txt".to_owned());
    let is_tried = tried_prefix.is_some() || tried_name.is_some();
    let prefix = prefix.unwrap_or_default();
    let tried = is_tried.then(|| {
        let prefix = tried_prefix.unwrap_or_else(|| prefix.clone());
        format!("{prefix}{}", tried_name.unwrap_or_else(|| name.clone()))
    });
    Ok(Taken { current: format!("{prefix}{name}"), tried })
}

/// What a config.txt says of command lines, so far.
#[derive(Debug, Default)]
struct Found {
    prefix: Option<String>,
    name: Option<String>,
    tried_prefix: Option<String>,
    tried_name: Option<String>,
    /// The filter that counts for the lines that follow; none for all boards.
    section: Option<String>,
}

impl Found {
    fn read(&mut self, config: &str, read: &mut dyn FnMut(&str) -> Option<String>, depth: usize) -> Result<(), String> {
        for line in config.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                self.section = (section != "all").then(|| section.to_owned());
            } else if let Some(name) = line.strip_prefix("include ") {
                if depth == DEEPEST {
                    return Err(format!("files that include each other, among them {name}"));
                }
                if let Some(included) = read(name.trim()) {
                    self.read(&included, read, depth + 1)?;
                }
            } else if let Some((key @ ("os_prefix" | "cmdline"), value)) = line.split_once('=') {
                self.take(key == "cmdline", value)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, is_name: bool, value: &str) -> Result<(), String> {
        let value = value.trim();
        if value.starts_with('/') || value.split('/').any(|part| part == "..") {
            return Err(format!("{value:?}, which leads out of the boot partition"));
        }
        let place = match (self.section.as_deref(), is_name) {
            (None, false) => &mut self.prefix,
            (None, true) => &mut self.name,
            (Some("tryboot"), false) => &mut self.tried_prefix,
            (Some("tryboot"), true) => &mut self.tried_name,
            (Some("none"), _) => return Ok(()),
            (Some(section), _) => {
                return Err(format!("{value:?} for boards of [{section}] alone; name one for all boards"));
            }
        };
        *place = Some(value.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(config: &str) -> Result<Taken, String> {
        taken(config, &mut |name| (name == "usercfg.txt").then(|| "cmdline=mine.txt\ninclude usercfg2.txt\n".into()))
    }

    #[test]
    fn the_command_line_of_a_config_is_found() {
        let plain = |current: &str| Ok(Taken { current: current.into(), tried: None });
        assert_eq!(of(""), plain("cmdline.txt"));
        assert_eq!(of("[pi4]\narm_boost=1\n[all]\ndtoverlay=vc4-kms-v3d\n"), plain("cmdline.txt"));
        assert_eq!(of("[all]\nkernel=vmlinuz\ncmdline=cmdline.txt\n"), plain("cmdline.txt"));
        assert_eq!(of("# os_prefix=x/\n[none]\nos_prefix=y/\n[all]\ninclude usercfg.txt\n"), plain("mine.txt"));
        let both = Taken { current: "current/cmdline.txt".into(), tried: Some("new/cmdline.txt".into()) };
        assert_eq!(of("[all]\nos_check=0\nos_prefix=current/\n\n[tryboot]\nos_prefix=new/\n\n[all]\n"), Ok(both));
    }

    #[test]
    fn what_cannot_be_told_is_refused_with_a_sentence() {
        assert!(of("[pi5]\nos_prefix=five/\n").unwrap_err().contains("boards of [pi5] alone"));
        assert!(of("os_prefix=../\n").unwrap_err().contains("leads out of the boot partition"));
        let itself = taken("include a.txt", &mut |_| Some("include a.txt".into()));
        assert!(itself.unwrap_err().contains("include each other"));
    }

    #[test]
    fn a_place_in_fstab_is_the_second_field() {
        let fstab = "PARTUUID=4e-01  /boot/firmware  vfat  defaults  0  2\n# UUID=1 /boot ext4\n";
        assert!(names(fstab, "/boot/firmware") && !names(fstab, "/boot"));
    }
}
