//! Whether a reboot waits: an update says so, or the kernel that runs is not the one that the next boot takes.

use super::{Input, Root, failure::Failure, release::Release, sample::Sample};
use std::collections::BTreeMap;

/// The marks of Debian's tools and of SUSE's.
const MARKS: [&str; 2] = ["run/reboot-required", "run/reboot-needed"];

/// Reads whether a reboot is needed. Raspberry Pi OS makes no mark, and without a mark and a list of kernels it is not
/// known.
pub(super) fn reboot(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let marked = MARKS.iter().any(|mark| root.exists(mark));
    let running = input.source.calls.uname()?.release;
    match (marked, waits(&running, root)) {
        (true, _) | (_, Some(true)) => out.put("node_reboot_required", &[], 1.0),
        (false, Some(false)) => out.put("node_reboot_required", &[], 0.0),
        (false, None) => return Err(Failure::Absent("a mark or a list of kernels".to_owned())),
    }
    Ok(())
}

/// Whether the next boot takes another kernel of the running one's flavour, or the running one lost its modules: then
/// it can load none any more. `None` where the running one did not come from what is on the disk.
fn waits(running: &str, root: &Root) -> Option<bool> {
    let (own, folders) = (Release::parse(running), folders(root));
    let installed = folders.iter().filter(|(_, whole)| **whole).map(|(name, _)| name.as_str());
    let mut related = installed.filter(|name| Release::parse(name).is_of_the_flavour_of(&own)).peekable();
    match folders.get(running) {
        Some(true) => Some(related.any(|name| Release::parse(name).is_newer_than(&own))),
        // A removed kernel leaves a folder without `modules.dep` where something else lay in it.
        Some(false) => Some(true),
        None if related.peek().is_some() => Some(true),
        // Others may be there that were never booted; a kernel with modules got them from somewhere.
        None if folders.values().any(|whole| *whole) && has_modules(root) => Some(true),
        None => None,
    }
}

/// Which of these kernels the next boot takes: the newest of the running one's flavour. None where none of them is of
/// it, as in a container.
pub fn next_kernel(running: &str, kernels: &[String]) -> Option<String> {
    let own = Release::parse(running);
    let related = |name: &&String| {
        name.starts_with(|c: char| c.is_ascii_digit()) && Release::parse(name).is_of_the_flavour_of(&own)
    };
    let mut newest: Option<&String> = None;
    for name in kernels.iter().filter(related) {
        if newest.is_none_or(|newest| Release::parse(name).is_newer_than(&Release::parse(newest))) {
            newest = Some(name);
        }
    }
    newest.cloned()
}

/// Kernels on the disk by name, and whether their modules are there.
fn folders(root: &Root) -> BTreeMap<String, bool> {
    // Where /usr is merged, /lib is a link to it.
    let places: &[&str] = if root.link("lib").is_some() { &["usr/lib"] } else { &["lib", "usr/lib"] };
    let mut found = BTreeMap::new();
    for place in places {
        for name in root.list(&format!("{place}/modules")).unwrap_or_default() {
            let whole = root.exists(&format!("{place}/modules/{name}/modules.dep"));
            *found.entry(name).or_default() |= whole;
        }
    }
    found
}

/// Whether the running kernel has loaded modules.
fn has_modules(root: &Root) -> bool {
    root.text("proc/modules").is_ok_and(|modules| !modules.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A machine with these files, and whether a reboot waits while `running` runs.
    fn machine(running: &str, files: &[&str]) -> Option<bool> {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "overlay 196608 1 - Live\n").unwrap();
        }
        waits(running, &Root::at(folder.path()).unwrap())
    }

    #[test]
    fn a_newer_kernel_of_the_same_flavour_needs_a_reboot() {
        let dep = |place: &str, name: &str| format!("{place}/modules/{name}/modules.dep");
        let all = [
            dep("lib", "6.12.34+rpt-rpi-2712"),
            dep("lib", "6.12.47+rpt-rpi-2712"),
            dep("lib", "6.12.62+rpt-rpi-v8"),
            dep("usr/lib", "6.1.0-18-amd64"),
        ];
        let all = all.each_ref().map(String::as_str);
        assert_eq!(machine("6.12.34+rpt-rpi-2712", &all), Some(true));
        assert_eq!(machine("6.12.47+rpt-rpi-2712", &all), Some(false), "the newer one is of another flavour");
        assert_eq!(machine("6.1.0-9-amd64", &["usr/lib/modules/6.1.0-9-amd64/modules.dep", all[3]]), Some(true));
        assert_eq!(machine("6.1.0-18-amd64", &all), Some(false));
    }

    #[test]
    fn the_next_boot_takes_the_newest_of_the_flavour() {
        let all = ["6.1.0-9-amd64", "6.1.0-28-amd64", "6.12.62+rpt-rpi-v8", "amd64"].map(str::to_owned);
        assert_eq!(next_kernel("6.1.0-9-amd64", &all).as_deref(), Some("6.1.0-28-amd64"));
        assert_eq!(next_kernel("6.12.47+rpt-rpi-v8", &all).as_deref(), Some("6.12.62+rpt-rpi-v8"));
        assert_eq!(next_kernel("6.18.44-own", &all), None);
    }

    #[test]
    fn a_kernel_whose_modules_are_gone_needs_a_reboot_and_one_that_never_had_any_is_not_known() {
        let other = "lib/modules/6.12.1-arch1-1/modules.dep";
        assert_eq!(machine("6.11.9-arch1-1", &[other]), Some(true), "replaced in place");
        assert_eq!(machine("6.12.2-arch1-1", &[other]), Some(true), "taken back");
        assert_eq!(machine("6.11.9", &[other, "lib/modules/6.11.9/updates/dkms/zfs.ko"]), Some(true), "left over");
        assert_eq!(machine("6.18.44-own", &[other, "proc/modules"]), Some(true), "it has modules, but not here");
        assert_eq!(machine("6.18.44-own", &[other]), None, "a kernel without modules");
        assert_eq!(machine("6.18.44-own", &["proc/modules"]), None, "a container sees no kernels");
        assert_eq!(machine("6.18.44-own", &[]), None);
    }
}
