//! Who the machine is: board or PC, kernel, operating system, boot loader, power supply.

use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::{Input, Root, text};

const TREE: &str = "proc/device-tree";
const BOOTLOADER: &str = "proc/device-tree/chosen/bootloader";
const POWER: &str = "proc/device-tree/chosen/power";

/// Whether this is a Raspberry Pi, by its device tree or, on kernels without one in /proc, by /proc/cpuinfo.
pub(super) fn is_raspberry_pi(root: &Root) -> bool {
    model(root).is_some_and(|model| model.starts_with("Raspberry Pi"))
}

fn model(root: &Root) -> Option<String> {
    let tree = root.text(&format!("{TREE}/model")).ok().filter(|model| !model.is_empty());
    tree.or_else(|| cpuinfo(root, "Model"))
}

/// `Serial\t\t: 48343bbbe3ae743b` at the end of /proc/cpuinfo.
fn cpuinfo(root: &Root, key: &str) -> Option<String> {
    let bytes = root.bytes("proc/cpuinfo").ok()?;
    text::lines(&bytes).find_map(|line| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        (name.trim_end() == key && !value.trim().is_empty()).then(|| value.trim().to_owned())
    })
}

/// Init's first: a container's boot id is mounted on the host's, and the /proc that a unit gets for itself has the
/// host's, which no reboot of the container changes. Who may not look behind init has its own.
const BOOT_ID: [&str; 2] = ["proc/1/root/proc/sys/kernel/random/boot_id", "proc/sys/kernel/random/boot_id"];

/// The id of the machine's present boot: what is reported, and what proves a reboot.
pub fn boot_id(root: &Root) -> Result<String, Failure> {
    let [of_init, own] = BOOT_ID;
    root.text(of_init).ok().filter(|id| !id.is_empty()).map_or_else(|| root.text(own), Ok)
}

/// Reads the board: model, serial number, revision, boot id, page size.
pub(super) fn node(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    let model = model(root).unwrap_or_default();
    let serial = worst.note(root.text(&format!("{TREE}/serial-number"))).filter(|serial| !serial.is_empty());
    let serial = serial.or_else(|| cpuinfo(root, "Serial")).unwrap_or_default();
    let code = root.bytes("sys/firmware/devicetree/base/system/linux,revision").ok();
    let revision = code.and_then(|bytes| text::big_endian(&bytes)).map(|code| format!("{code:x}"));
    let revision = revision.or_else(|| cpuinfo(root, "Revision")).unwrap_or_default();
    let boot_id = worst.note(boot_id(root)).unwrap_or_default();
    let page = input.source.calls.page_size().map(|bytes| bytes.to_string()).unwrap_or_default();
    let labels = [
        ("boot_id", boot_id.as_str()),
        ("model", model.as_str()),
        ("page_size", page.as_str()),
        ("revision", revision.as_str()),
        ("serial", serial.as_str()),
    ];
    out.put("hostler_node_info", &labels, 1.0);
    // mA in four bytes; only a Raspberry Pi 5 has it.
    let limit = worst.note(root.bytes(&format!("{POWER}/max_current"))).and_then(|bytes| text::big_endian(&bytes));
    out.put_some("hostler_power_supply_max_current_amps", &[], limit.map(|milliamps| f64::from(milliamps) / 1000.0));
    let over = worst.note(root.bytes(&format!("{POWER}/usb_over_current_detected")));
    let over = over.and_then(|bytes| text::big_endian(&bytes)).map(|flag| f64::from(flag != 0));
    out.put_some("hostler_power_usb_over_current_detected", &[], over);
    worst.finish()
}

/// Labels of `node_dmi_info` and the files they come from. The last four are for root alone and left out otherwise.
const DMI: [(&str, &str); 18] = [
    ("bios_date", "bios_date"),
    ("bios_release", "bios_release"),
    ("bios_vendor", "bios_vendor"),
    ("bios_version", "bios_version"),
    ("board_name", "board_name"),
    ("board_vendor", "board_vendor"),
    ("board_version", "board_version"),
    ("chassis_vendor", "chassis_vendor"),
    ("chassis_version", "chassis_version"),
    ("product_family", "product_family"),
    ("product_name", "product_name"),
    ("product_sku", "product_sku"),
    ("product_version", "product_version"),
    ("system_vendor", "sys_vendor"),
    ("board_serial", "board_serial"),
    ("chassis_serial", "chassis_serial"),
    ("product_serial", "product_serial"),
    ("product_uuid", "product_uuid"),
];

/// Reads what a PC says about itself.
pub(super) fn dmi(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let read = |(label, file): (&'static str, &str)| {
        let value = root.text(&format!("sys/class/dmi/id/{file}")).ok()?;
        (!value.is_empty()).then_some((label, value))
    };
    let found: Vec<(&'static str, String)> = DMI.into_iter().filter_map(read).collect();
    if found.is_empty() {
        return Err(Failure::Absent("sys/class/dmi/id".to_owned()));
    }
    let labels: Vec<(&'static str, &str)> = found.iter().map(|(label, value)| (*label, value.as_str())).collect();
    out.put("node_dmi_info", &labels, 1.0);
    Ok(())
}

/// Reads kernel, host name and architecture.
pub(super) fn uname(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let uname = input.source.calls.uname()?;
    let labels = [
        ("domainname", uname.domainname.as_str()),
        ("machine", uname.machine.as_str()),
        ("nodename", uname.nodename.as_str()),
        ("release", uname.release.as_str()),
        ("sysname", uname.sysname.as_str()),
        ("version", uname.version.as_str()),
    ];
    out.put("node_uname_info", &labels, 1.0);
    Ok(())
}

const OS: [(&str, &str); 12] = [
    ("build_id", "BUILD_ID"),
    ("id", "ID"),
    ("id_like", "ID_LIKE"),
    ("image_id", "IMAGE_ID"),
    ("image_version", "IMAGE_VERSION"),
    ("name", "NAME"),
    ("pretty_name", "PRETTY_NAME"),
    ("variant", "VARIANT"),
    ("variant_id", "VARIANT_ID"),
    ("version", "VERSION"),
    ("version_codename", "VERSION_CODENAME"),
    ("version_id", "VERSION_ID"),
];

/// Reads the operating system's release file.
pub(super) fn os(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let read = root.bytes("etc/os-release").or_else(|_| root.bytes("usr/lib/os-release"))?;
    let values = OS.map(|(label, key)| (label, shell_value(&read, key)));
    let labels = values.each_ref().map(|(label, value)| (*label, value.as_str()));
    out.put("node_os_info", &labels, 1.0);
    let value = |label: &str| labels.iter().find(|(known, _)| *known == label).map_or("", |(_, value)| value);
    // `24.04.1` is the number 24.04.
    let mut parts = value("version_id").splitn(3, '.');
    let number = [parts.next(), parts.next()].into_iter().flatten().collect::<Vec<_>>().join(".");
    let own = [("id", value("id")), ("id_like", value("id_like")), ("name", value("name"))];
    out.put_some("node_os_version", &own, text::number(number.as_bytes()));
    Ok(())
}

/// The value of `KEY=value`, `KEY="value"` or `KEY='value'`.
fn shell_value(bytes: &[u8], key: &str) -> String {
    let found = text::lines(bytes).find_map(|line| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once('=')?;
        (name.trim() == key).then(|| value.trim())
    });
    let value = found.unwrap_or_default();
    let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    quoted.unwrap_or(value).replace("\\\"", "\"").replace("\\$", "$").replace("\\\\", "\\")
}

/// Reads a Raspberry Pi's boot loader, and whether a newer image waits on the disk.
pub(super) fn bootloader(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let word = |file: &str| {
        let bytes = root.bytes(&format!("{BOOTLOADER}/{file}")).ok()?;
        text::big_endian(&bytes)
    };
    let number = |file: &str| word(file).map(|number| number.to_string()).unwrap_or_default();
    let Some(built) = word("build-timestamp") else {
        return Err(Failure::Absent(format!("{BOOTLOADER}/build-timestamp")));
    };
    let version = root.text(&format!("{BOOTLOADER}/version")).unwrap_or_default();
    let (mode, partition, tryboot) = (number("boot-mode"), number("partition"), number("tryboot"));
    let reset = word("pm_rsts").map(|word| format!("{word:#x}")).unwrap_or_default();
    let labels = [
        ("boot_mode", mode.as_str()),
        ("partition", partition.as_str()),
        ("reset_reason", reset.as_str()),
        ("tryboot", tryboot.as_str()),
        ("version", version.as_str()),
    ];
    out.put("hostler_bootloader_info", &labels, 1.0);
    out.put("hostler_bootloader_build_timestamp_seconds", &[], f64::from(built));
    if let Some(newest) = newest_image(root) {
        out.put("hostler_bootloader_latest_timestamp_seconds", &[], newest);
        // A file is named after its day; the build time is some hour of that day.
        let update = newest >= (f64::from(built) / DAY).floor() * DAY + DAY;
        out.put("hostler_bootloader_update_available", &[], f64::from(update));
    }
    Ok(())
}

const DAY: f64 = 86400.0;

/// The day of the newest `pieeprom-YYYY-MM-DD.bin` of the configured release for this chip, Unix seconds at midnight.
fn newest_image(root: &Root) -> Option<f64> {
    let code = root.bytes("sys/firmware/devicetree/base/system/linux,revision").ok();
    let code = code.and_then(|bytes| text::big_endian(&bytes));
    let code = code.or_else(|| cpuinfo(root, "Revision").and_then(|code| text::hex(&code)))?;
    let chip = match code >> 12 & 15 {
        3 => "2711",
        4 => "2712",
        _ => return None,
    };
    let settings = root.bytes("etc/default/rpi-eeprom-update").unwrap_or_default();
    let said = shell_value(&settings, "FIRMWARE_RELEASE_STATUS");
    let folders = [format!("bootloader-{chip}"), "bootloader".to_owned()];
    // Before there was a Raspberry Pi 5, the folder was not named after its chip.
    let folders = if chip == "2711" { &folders[..] } else { &folders[..1] };
    let names = folders.iter().find_map(|folder| images(root, folder, &said))?;
    let days = names.iter().filter_map(|name| {
        let date = name.strip_prefix("pieeprom-")?.strip_suffix(".bin")?;
        let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
        days_from_civil(parts.next()??, parts.next()??, parts.next()??)
    });
    days.max().map(|day| day as f64 * DAY)
}

/// The files of a release channel. A channel is a folder or a link to one, so that `stable` follows where the package
/// points it; where the package does not have it, by what it has been there since 2023: `stable` and `beta` are
/// `latest`, `critical` and anything unknown is `default`.
fn images(root: &Root, folder: &str, channel: &str) -> Option<Vec<String>> {
    let known = match channel {
        "latest" | "stable" | "beta" => "latest",
        _ => "default",
    };
    // Whoever keeps channels of before has no `default`.
    let channels = [channel, known, "critical"].into_iter().filter(|name| !name.is_empty() && !name.contains('/'));
    let places = || ["usr/lib", "lib"].map(|place| format!("{place}/firmware/raspberrypi/{folder}")).into_iter();
    channels.into_iter().find_map(|channel| places().find_map(|place| images_below(root, &place, channel)))
}

fn images_below(root: &Root, place: &str, channel: &str) -> Option<Vec<String>> {
    let mut channel = channel.to_owned();
    // A link's last word is enough: its target lies beside it, however it is written. Longer chains lead in circles.
    for _ in 0..8 {
        match root.link_name(&format!("{place}/{channel}")) {
            Some(next) => channel = next,
            None => return root.list(&format!("{place}/{channel}")).ok(),
        }
    }
    None
}

/// Days since 1970-01-01 of a date in the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Count from March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year / 4 - year / 100 + year / 400;
    // 719468 days lie between 0000-03-01 and 1970-01-01.
    Some(year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_since_1970() {
        assert_eq!(days_from_civil(1970, 1, 1), Some(0));
        assert_eq!(days_from_civil(2025, 3, 10), Some(1741626637 / 86400));
        assert_eq!(days_from_civil(2024, 2, 29), Some(19782));
        assert_eq!(days_from_civil(2025, 13, 1), None);
    }

    #[test]
    fn a_release_channel_is_the_folder_that_its_name_leads_to() {
        const PLACE: &str = "lib/firmware/raspberrypi/bootloader-2712";
        let day = |links: &[(&str, &str)], folders: &[(&str, &str)], said: &str| {
            let machine = tempfile::tempdir().unwrap();
            let path = |name: &str| machine.path().join(PLACE).join(name);
            std::fs::create_dir_all(path("")).unwrap();
            for (name, day) in folders {
                std::fs::create_dir_all(path(name)).unwrap();
                std::fs::write(path(name).join(format!("pieeprom-{day}.bin")), "").unwrap();
            }
            for (name, target) in links {
                std::os::unix::fs::symlink(target, path(name)).unwrap();
            }
            for (file, text) in [
                (
                    "etc/default/rpi-eeprom-update",
                    format!("#FIRMWARE_RELEASE_STATUS=\"x\"\nFIRMWARE_RELEASE_STATUS={said}\n"),
                ),
                ("proc/cpuinfo", "Revision\t: d04170\n".to_owned()),
            ] {
                std::fs::create_dir_all(machine.path().join(file).parent().unwrap()).unwrap();
                std::fs::write(machine.path().join(file), text).unwrap();
            }
            newest_image(&Root::at(machine.path()).unwrap()).map(|at| (at / DAY) as i64)
        };
        let both = [("default", "2025-03-10"), ("latest", "2025-11-05")];
        let [old, new] = [(2025, 3, 10), (2025, 11, 5)].map(|(y, m, d)| days_from_civil(y, m, d));
        let links =
            [("stable", "latest"), ("critical", "./default"), ("beta", "/usr/lib/firmware/raspberrypi/x/stable")];
        for (said, wanted) in [
            ("default", old),
            ("latest", new),
            ("stable", new),
            ("\"beta\"", new),
            ("'critical'", old),
            ("", old),
            ("unknown", old),
        ] {
            assert_eq!(day(&links, &both, said), wanted, "{said} with links");
            assert_eq!(day(&[], &both, said), wanted, "{said} without links");
        }
        assert_eq!(day(&[("stable", "default")], &both, "stable"), old, "the link says it");
        assert_eq!(day(&[("stable", "stable")], &both, "stable"), new, "a link that leads nowhere");
        let three = [("critical", "2025-03-10"), ("stable", "2025-11-05")];
        assert_eq!(day(&[], &three, "stable"), new, "folders of their own");
        assert_eq!(day(&[], &three, "default"), old);
        assert_eq!(day(&[], &[("default", "2025-13-10")], "default"), None, "no day");
    }

    #[test]
    fn values_of_os_release() {
        let file =
            b"NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION='12 (bookworm)'\nBROKEN\nPRETTY_NAME=\"A \\\"B\\\"\"\n";
        assert_eq!(shell_value(file, "NAME"), "Debian GNU/Linux");
        assert_eq!(shell_value(file, "ID"), "debian");
        assert_eq!(shell_value(file, "VERSION"), "12 (bookworm)");
        assert_eq!(shell_value(file, "PRETTY_NAME"), "A \"B\"");
        assert_eq!(shell_value(file, "ID_LIKE"), "");
    }
}
