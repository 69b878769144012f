//! `swap.off`: none now and at no boot. Swap comes to a machine in three ways: a line of fstab(5), a unit that makes it
//! (dphys-swapfile, zram), and a partition that systemd finds by its type.

use std::{path::Path, time::Duration};

use hostler_plan::step::SwapOff;

use crate::{
    host::{HostFile, UnitActivity},
    steps::action::{Action, Check, StepContext, StepError},
};

const FSTAB: &str = "/etc/fstab";
const SWAPS: &str = "/proc/swaps";

/// What is put before a line of fstab that makes swap.
const MARK: &str = "# off for the kubelet, by hostler: ";

/// Units that make swap at a boot: of Raspberry Pi OS before 13 and since, of zram-tools, of systemd's zram generator.
const MAKERS: [&str; 4] = [
    "dphys-swapfile.service",
    "rpi-setup-loop@var-swap.service",
    "zramswap.service",
    "systemd-zram-setup@zram0.service",
];

/// What was swapped out has to fit and to be read: a Pi with an SD card takes minutes.
const LIMIT: Duration = Duration::from_secs(600);

/// systemd answers at once.
const QUICK: Duration = Duration::from_secs(60);

impl Action for SwapOff {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let is_none = in_use(context)?.is_empty() && fstab(context)?.is_none() && makers(context)?.is_empty();
        Ok(if is_none { Check::Done("there is no swap, now and at every boot".into()) } else { Check::Ready })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        // First what makes it at a boot, so that nothing brings it back in between.
        if let Some(file) = fstab(context)? {
            context.host().write_file(Path::new(FSTAB), &file)?;
            context.host().reload_units()?;
        }
        for maker in makers(context)? {
            context.host().run(&["systemctl", "mask", "--now", "--", maker], LIMIT)?;
        }
        for used in in_use(context)? {
            let unit = context.host().run(&["systemd-escape", "--path", "--suffix=swap", "--", &used], QUICK)?;
            // A swap that systemd finds by itself at each boot is masked by the name of its device.
            context.host().run(&["systemctl", "mask", "--now", "--", unit.trim()], LIMIT)?;
        }
        Ok(())
    }
}

/// The files and devices that are swapped to.
fn in_use(context: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    let swaps = context.host().read_file(Path::new(SWAPS))?;
    let text = swaps.map(|file| String::from_utf8_lossy(&file.content).into_owned()).unwrap_or_default();
    Ok(used(&text))
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

/// Units of this machine that make swap and may run. A masked one is none that systemd knows.
fn makers(context: &StepContext<'_>) -> Result<Vec<&'static str>, StepError> {
    let mut found = Vec::new();
    for maker in MAKERS {
        let unit = context.host().unit(maker)?;
        let runs = unit.exists && (unit.enabled || unit.activity != UnitActivity::Inactive);
        found.extend(runs.then_some(maker));
    }
    Ok(found)
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
