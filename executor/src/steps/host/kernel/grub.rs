//! GRUB as Debian and Ubuntu set it up: a file of settings, from which `update-grub` writes what the next boot takes.

use std::{path::Path, time::Duration};

use super::{line, place};
use crate::{
    host::{Host, HostFile, Reach, text},
    steps::{
        action::{Check, StepContext, StepError},
        started::{self, Long},
    },
};

const SETTINGS: &str = "/etc/default/grub.d/90-hostler.cfg";
const WRITTEN: &str = "/boot/grub/grub.cfg";
const UNIT: &str = "hostler-update-grub.service";

/// It looks at every disk.
const LIMIT: Duration = Duration::from_secs(300);

/// What is to change, or what hinders it.
pub(super) fn changes(host: &dyn Host, wanted: &[String]) -> Result<Result<Vec<String>, Check>, StepError> {
    let fstab = text(host, "/etc/fstab")?.unwrap_or_default();
    let boot = place::mounted(host, "/boot")?;
    if boot.is_none() && place::names(&fstab, "/boot") {
        let found = "it is not mounted, though /etc/fstab names it: `mount /boot`";
        return Ok(place::unfit("the boot partition at /boot", found));
    }
    let Some(written) = text(host, WRITTEN)? else {
        return Ok(place::unfit(format!("{WRITTEN}, which GRUB reads"), "no such file; see `update-grub`"));
    };
    let lines = kernels(&written);
    if let Some(opposing) = lines.iter().find_map(|kernel| line::opposing(kernel, wanted)) {
        let found = format!("{opposing} in {WRITTEN}; take it out of /etc/default/grub, then `update-grub`");
        return Ok(place::unfit(wanted.join(" "), found));
    }
    if let Some(longest) = lines.iter().filter_map(|kernel| line::with(kernel, wanted)).map(|c| c.line.len()).max()
        && longest > line::LONGEST
    {
        let found = format!("{longest}; shorten /etc/default/grub");
        return Ok(place::unfit(format!("a command line of at most {} bytes", line::LONGEST), found));
    }
    let mut lacking: Vec<&str> = lines.iter().flat_map(|kernel| line::lacking(kernel, wanted)).collect();
    if host.read_file(Path::new(SETTINGS))? != Some(settings(wanted)) {
        lacking.extend(wanted.iter().map(String::as_str));
    }
    lacking.sort_unstable();
    lacking.dedup();
    Ok(Ok(match lacking.is_empty() {
        true => Vec::new(),
        false => vec![format!("{SETTINGS}: {}, for every kernel", lacking.join(" "))],
    }))
}

pub(super) fn apply(wanted: &[String], context: &mut StepContext<'_>) -> Result<(), StepError> {
    context.host().write_file(Path::new(SETTINGS), &settings(wanted))?;
    let arguments = ["update-grub"];
    let long = Long { unit: UNIT, arguments: &arguments, limit: LIMIT, reach: Reach::Nobody, at_work: None };
    let end = started::run(&long, context)?;
    if end.is_success() { Ok(()) } else { Err(started::failed(&arguments, UNIT, &end)) }
}

/// Read after the machine's own file; what stands there stays.
fn settings(wanted: &[String]) -> HostFile {
    let content = format!(
        "# Written by hostler-agent from a signed plan; changes here are undone by the next one.\n\
         GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT {}\"\n",
        wanted.join(" ")
    );
    HostFile { content: content.into_bytes(), mode: 0o644, uid: 0, gid: 0 }
}

/// The command lines of this system's kernels, but those that only mend it: other systems on its disks have their own.
fn kernels(written: &str) -> Vec<&str> {
    let own = written.split("### BEGIN /etc/grub.d/10_linux ###").nth(1);
    let own = own.map_or(written, |rest| rest.split("### END /etc/grub.d/10_linux ###").next().unwrap_or(rest));
    let lines = own.lines().map(str::trim);
    let kernels = lines.filter_map(|line| line.strip_prefix("linux\t").or_else(|| line.strip_prefix("linux ")));
    kernels.filter(|kernel| !line::words(kernel).contains(&"single")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_of_this_system_are_asked() {
        let written = "### BEGIN /etc/grub.d/10_linux ###\n\tlinux\t/boot/vmlinuz-6.1 root=UUID=1 ro quiet\n\
            \t\tlinux\t/boot/vmlinuz-6.1 root=UUID=1 ro single\n### END /etc/grub.d/10_linux ###\n\
            ### BEGIN /etc/grub.d/30_os-prober ###\n\tlinux /boot/other root=/dev/sdb1\n";
        assert_eq!(kernels(written), ["/boot/vmlinuz-6.1 root=UUID=1 ro quiet"]);
    }
}
