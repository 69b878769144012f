//! `swap.off`: none now and at no boot. Swap comes to a machine in many ways: a line of fstab(5), a service that makes
//! it (dphys-swapfile, zram), units that a generator writes at every boot (rpi-swap, zram-generator, a partition that
//! systemd finds by its type), and units of swap that somebody wrote.

use std::{collections::BTreeSet, path::Path, time::Duration};

use hostler_plan::step::SwapOff;

use crate::{
    host::{HostFile, UnitActivity, text},
    steps::action::{Action, Check, StepContext, StepError},
};

const FSTAB: &str = "/etc/fstab";
const SWAPS: &str = "/proc/swaps";

/// What is put before a line of fstab that makes swap.
const MARK: &str = "# off for the kubelet, by hostler: ";

/// Services that make swap at a boot: of Raspberry Pi OS before 13 and since, of zram-tools, of Ubuntu's and Armbian's
/// zram, of swapspace, of systemd's zram generator.
const MAKERS: [&str; 8] = [
    "dphys-swapfile.service",
    "rpi-setup-loop@var-swap.service",
    "zramswap.service",
    "zram-config.service",
    "armbian-zram-config.service",
    "zram-swap.service",
    "swapspace.service",
    "systemd-zram-setup@zram0.service",
];

/// Settings of rpi-swap, whose generator writes units anew at every boot (swap.conf(5)), and ours over them.
const RPI_SWAP: &str = "/etc/rpi/swap.conf";
const RPI_SWAP_OURS: &str = "/etc/rpi/swap.conf.d/90-hostler.conf";
const RPI_SWAP_NONE: &str = "# Written by hostler-agent from a signed plan; changes here are undone by the next one.\n\
    [Main]\nMechanism=none\n";

/// Where units of swap lie: written by people and packages, and by generators at this boot. A generator puts what it
/// wants started beside a link to it; what people and packages wrote is started where it is enabled.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/run/systemd/transient"];
const GENERATED: [&str; 3] = ["/run/systemd/generator.early", "/run/systemd/generator", "/run/systemd/generator.late"];

/// What was swapped out has to fit and to be read: a Pi with an SD card takes minutes.
const LIMIT: Duration = Duration::from_secs(600);

/// systemd answers at once.
const QUICK: Duration = Duration::from_secs(60);

impl Action for SwapOff {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let mut changes = Vec::new();
        if fstab(context)?.is_some() {
            changes.push(format!("{FSTAB}: its lines of swap are commented out"));
        }
        if rpi_swap(context)?.is_some() {
            changes.push(format!("{RPI_SWAP_OURS}: Mechanism=none"));
        }
        changes.extend(makers(context)?.into_iter().map(|unit| format!("{unit} is stopped, and started by no boot")));
        changes.extend(in_use(context)?.into_iter().map(|used| format!("{used} is no longer swapped to")));
        if changes.is_empty() {
            return Ok(Check::Done("there is no swap, now and at every boot".into()));
        }
        changes.into_iter().for_each(|change| context.observe("change", change));
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        // First what makes it at a boot, so that nothing brings it back in between.
        let (fstab, rpi_swap) = (fstab(context)?, rpi_swap(context)?);
        if let Some(file) = &rpi_swap {
            context.host().write_file(Path::new(RPI_SWAP_OURS), file)?;
        }
        if let Some(file) = &fstab {
            context.host().write_file(Path::new(FSTAB), file)?;
        }
        let makers = makers(context)?;
        if fstab.is_some() || rpi_swap.is_some() {
            context.host().reload_units()?;
        }
        for maker in makers {
            let verb = if is_own(context, &maker)? { "disable" } else { "mask" };
            context.host().run(&["systemctl", verb, "--now", "--", &maker], LIMIT)?;
        }
        for used in in_use(context)? {
            let unit = context.host().run(&["systemd-escape", "--path", "--suffix=swap", "--", &used], QUICK)?;
            // A swap that systemd finds by itself at each boot is masked by the name of its device.
            context.host().run(&["systemctl", "mask", "--now", "--", unit.trim()], LIMIT)?;
        }
        Ok(())
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let used = in_use(context)?;
        if !used.is_empty() {
            let used = used.join(", ");
            return Err(StepError::Failed(format!(
                "swap.off: {used} is still swapped to; see `swapon --show` and `dmesg`"
            )));
        }
        match self.check(context)? {
            Check::Done(detail) => Ok(detail),
            Check::Ready | Check::Mismatch { .. } => {
                let made: Vec<String> = makers(context)?;
                let what = if made.is_empty() { "something".to_owned() } else { made.join(", ") };
                Err(StepError::Failed(format!("swap.off: {what} would still bring swap at a boot; remove its package")))
            }
        }
    }
}

/// Our settings over those of rpi-swap, where it is there and ours are not.
fn rpi_swap(context: &StepContext<'_>) -> Result<Option<HostFile>, StepError> {
    let ours = HostFile { content: RPI_SWAP_NONE.into(), mode: 0o644, uid: 0, gid: 0 };
    let host = context.host();
    let is_there = host.read_file(Path::new(RPI_SWAP))?.is_some();
    Ok((is_there && host.read_file(Path::new(RPI_SWAP_OURS))?.as_ref() != Some(&ours)).then_some(ours))
}

/// The files and devices that are swapped to.
fn in_use(context: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    Ok(used(&text(context.host(), SWAPS)?.unwrap_or_default()))
}

/// As proc_swaps(5) has it: a head, then a line for each, a blank in a name written as `\040`.
fn used(swaps: &str) -> Vec<String> {
    let names = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    names.map(|name| name.replace("\\040", " ")).collect()
}

/// What fstab is without swap, where it has some.
fn fstab(context: &StepContext<'_>) -> Result<Option<HostFile>, StepError> {
    let Some(file) = context.host().read_file(Path::new(FSTAB))? else { return Ok(None) };
    let Ok(text) = std::str::from_utf8(&file.content) else {
        return Err(StepError::Failed(format!("{FSTAB} is not UTF-8; mend it first")));
    };
    let without = without_swap(text);
    Ok((without != text).then_some(HostFile { content: without.into_bytes(), ..file }))
}

/// The third field of a line is its type (fstab(5)).
fn without_swap(text: &str) -> String {
    let is_swap = |line: &str| !line.trim_start().starts_with('#') && line.split_whitespace().nth(2) == Some("swap");
    let line = |line: &str| if is_swap(line) { format!("{MARK}{line}") } else { line.to_owned() };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Units of this machine that bring swap and may run. A masked one is none that systemd knows.
fn makers(context: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    let host = context.host();
    let mut found: BTreeSet<String> = BTreeSet::new();
    for maker in MAKERS {
        let unit = host.unit(maker)?;
        let runs = unit.exists && (unit.enabled || unit.activity != UnitActivity::Inactive);
        found.extend(runs.then(|| maker.to_owned()));
    }
    let of_swap = |folder: &str| -> Result<Vec<String>, StepError> {
        let names = host.list_folder(Path::new(folder))?;
        Ok(names.into_iter().filter(|name| name.ends_with(".swap")).collect())
    };
    for folder in UNITS {
        for name in of_swap(folder)? {
            let unit = host.unit(&name)?;
            let runs = unit.exists && (unit.enabled || unit.activity == UnitActivity::Active);
            found.extend(runs.then_some(name));
        }
    }
    for folder in GENERATED {
        for name in of_swap(folder)? {
            if !is_of_fstab(context, &format!("{folder}/{name}")) && host.unit(&name)?.exists {
                found.insert(name);
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// Whether a generator made a unit of a line of fstab: it is gone with the line. One that cannot be read is not.
fn is_of_fstab(context: &StepContext<'_>, path: &str) -> bool {
    let found = text(context.host(), path).ok().flatten();
    found.is_some_and(|unit| unit.contains("SourcePath=/etc/fstab"))
}

/// Where people put units of their own: nothing masks those, because their name is taken.
fn is_own(context: &StepContext<'_>, unit: &str) -> Result<bool, StepError> {
    Ok(context.host().list_folder(Path::new(UNITS[0]))?.iter().any(|name| name == unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_swap_is_commented_and_nothing_else_changes() {
        let text = "UUID=1 / ext4 defaults 0 1\n/swap\tnone\tswap\tsw 0 0\n# /old none swap sw 0 0\n\n";
        let without = without_swap(text);
        assert_eq!(without, text.replace("/swap\t", "# off for the kubelet, by hostler: /swap\t"));
        assert_eq!(without_swap(&without), without);
        let named = "LABEL=swap /data ext4 defaults 0 2";
        assert_eq!(without_swap(named), named, "a name is no type");
    }

    #[test]
    fn what_is_swapped_to_is_read() {
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert_eq!(used(head), Vec::<String>::new());
        let two = format!("{head}/dev/zram0 partition 4095984 0 100\n/var/a\\040b file 100 0 -2\n");
        assert_eq!(used(&two), ["/dev/zram0", "/var/a b"]);
    }
}
