//! Smaller storage facts: eMMC wear, SD card identity, ext4 errors, memory errors.

use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::{Input, text};

/// Reads eMMC wear and the identity of cards. An SD card has no wear data at all.
pub(super) fn mmc(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    let mut known = false;
    for device in root.list("sys/block")? {
        if !device.starts_with("mmcblk") || !super::diskstats::is_disk(&device) {
            continue;
        }
        known = true;
        let read = |file: &str| root.text(&format!("sys/block/{device}/device/{file}"));
        let text = |file: &str| read(file).unwrap_or_default();
        let (kind, name, maker, serial, date) =
            (text("type"), text("name"), text("manfid"), text("serial"), text("date"));
        let labels = [
            ("date", date.as_str()),
            ("device", device.as_str()),
            ("manfid", maker.as_str()),
            ("name", name.as_str()),
            ("serial", serial.as_str()),
            ("type", kind.as_str()),
        ];
        out.put("hostler_mmc_info", &labels, 1.0);
        if let Some(said) = worst.note(read("life_time")) {
            for (kind, step) in ["a", "b"].into_iter().zip(said.split_whitespace().map(text::hex)) {
                // 0 is "not defined", 1 to 10 are tenths begun, 11 is "exceeded"; others are reserved.
                let Some(step) = step.filter(|step| (1..=11).contains(step)) else { continue };
                let labels = [("device", device.as_str()), ("type", kind)];
                out.put("hostler_mmc_life_used_ratio", &labels, f64::from(step) / 10.0);
            }
        }
        let reserve = worst.note(read("pre_eol_info")).and_then(|said| text::hex(&said));
        let reserve = reserve.filter(|step| (1..=3).contains(step)).map(f64::from);
        out.put_some("hostler_mmc_pre_eol", &[("device", &device)], reserve);
    }
    worst.finish()?;
    if known { Ok(()) } else { Err(Failure::Absent("mmc".to_owned())) }
}

/// Reads the errors that ext4 keeps in its superblock until fsck.
pub(super) fn ext4(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    for device in root.list("sys/fs/ext4")? {
        if device == "features" || input.volumes.has_file_system(&device) {
            continue;
        }
        for (series, file) in
            [("hostler_ext4_errors_total", "errors_count"), ("hostler_ext4_warnings_total", "warning_count")]
        {
            let count = worst.note(root.number(&format!("sys/fs/ext4/{device}/{file}")));
            out.put_some(series, &[("device", &device)], count);
        }
    }
    worst.finish()
}

/// Reads errors of memory with ECC. Without a driver there is no `mc*`: that is not known, not "no errors".
pub(super) fn edac(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    let mut known = false;
    for name in root.list("sys/devices/system/edac/mc")? {
        let Some(controller) = name.strip_prefix("mc").filter(|number| number.parse::<u32>().is_ok()) else { continue };
        known = true;
        let folder = format!("sys/devices/system/edac/mc/{name}");
        for (series, file) in
            [("node_edac_correctable_errors_total", "ce_count"), ("node_edac_uncorrectable_errors_total", "ue_count")]
        {
            let count = worst.note(root.number(&format!("{folder}/{file}")));
            out.put_some(series, &[("controller", controller)], count);
        }
    }
    worst.finish()?;
    if known { Ok(()) } else { Err(Failure::Absent("edac".to_owned())) }
}
