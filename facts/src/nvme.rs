//! NVMe disks as sysfs shows them: identity, state, PCIe link and PCIe errors. Needs no privilege.

use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::{Input, Root, Slow, text, topology};
use std::collections::BTreeSet;

const NVME: &str = "sys/class/nvme";
/// From a controller to its PCI device: `…/0000:03:00.0/nvme/nvme0`.
const PCI: &str = "../..";

/// Reads the state of every controller each time and the rest once a minute.
#[derive(Debug, Default)]
pub(super) struct Controllers {
    identities: Slow<Vec<Identity>>,
}

/// What changes only when a disk is swapped or its firmware updated.
#[derive(Debug)]
struct Identity {
    device: String,
    model: String,
    serial: String,
    firmware: String,
    cntlid: String,
    /// Bus address `0001:01:00.0` in its four parts.
    address: Option<[String; 4]>,
    links: Vec<(&'static str, f64)>,
    errors: Vec<(&'static str, f64)>,
    holds_root: bool,
}

/// The controllers that answer commands now, for the SMART reader.
pub(super) fn live(root: &Root) -> Result<Vec<String>, Failure> {
    let mut devices = root.list(NVME)?;
    devices.retain(|device| {
        let state = root.text(&format!("{NVME}/{device}/state"));
        // Very old kernels have no state file; there the disk is asked.
        state.map_or_else(|failure| failure.is_absent(), |state| state == "live")
    });
    Ok(devices)
}

impl Controllers {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        let mut worst = Worst::default();
        let mut devices = input.source.root.list(NVME)?;
        devices.retain(|device| !input.volumes.has_controller(device));
        if self.identities.known().is_some_and(|known| !known.iter().map(|one| &one.device).eq(devices.iter())) {
            self.identities.forget();
        }
        let source = input.source.clone();
        let identities = self.identities.get(input.now, || {
            let root = &source.root;
            let disks = topology::root_disks(root);
            let below = disks.iter().flat_map(|disk| topology::controllers(root, disk)).collect();
            Ok(devices.iter().map(|device| identity(root, device, &below)).collect())
        })?;
        for one in identities {
            let device = one.device.as_str();
            let state = worst.note(source.root.text(&format!("{NVME}/{device}/state"))).unwrap_or_default();
            let labels = [
                ("cntlid", one.cntlid.as_str()),
                ("device", device),
                ("firmware_revision", one.firmware.as_str()),
                ("model", one.model.as_str()),
                ("serial", one.serial.as_str()),
                ("state", state.as_str()),
            ];
            out.put("node_nvme_info", &labels, 1.0);
            if !state.is_empty() {
                out.put("hostler_nvme_live", &[("device", device)], f64::from(state == "live"));
            }
            if one.holds_root {
                out.put("hostler_nvme_root", &[("device", device)], 1.0);
            }
            if let Some([segment, bus, slot, function]) = &one.address {
                let labels = [
                    ("segment", segment.as_str()),
                    ("bus", bus.as_str()),
                    ("device", slot.as_str()),
                    ("function", function.as_str()),
                ];
                for (name, value) in &one.links {
                    out.put(name, &labels, *value);
                }
            }
            for (severity, count) in &one.errors {
                out.put("hostler_pcie_aer_errors_total", &[("device", device), ("severity", severity)], *count);
            }
        }
        worst.finish()
    }
}

fn identity(root: &Root, device: &str, below_root: &BTreeSet<String>) -> Identity {
    let folder = format!("{NVME}/{device}");
    let text = |file: &str| root.text(&format!("{folder}/{file}")).unwrap_or_default();
    let mut links = Vec::new();
    for (series, file, parse) in [
        ("node_pcidevice_current_link_transfers_per_second", "current_link_speed", transfers as fn(&str) -> _),
        ("node_pcidevice_max_link_transfers_per_second", "max_link_speed", transfers),
        ("node_pcidevice_current_link_width", "current_link_width", lanes),
        ("node_pcidevice_max_link_width", "max_link_width", lanes),
    ] {
        links.extend(parse(&text(&format!("{PCI}/{file}"))).map(|value| (series, value)));
    }
    let mut errors = Vec::new();
    for severity in ["correctable", "nonfatal", "fatal"] {
        let counts = root.bytes(&format!("{folder}/{PCI}/aer_dev_{severity}"));
        errors.extend(counts.ok().and_then(|counts| total(&counts)).map(|count| (severity, count)));
    }
    Identity {
        device: device.to_owned(),
        model: text("model"),
        serial: text("serial"),
        firmware: text("firmware_rev"),
        cntlid: text("cntlid"),
        address: address(root, &folder),
        links,
        errors,
        holds_root: below_root.contains(device),
    }
}

/// `5.0 GT/s PCIe` → 5·10⁹; `Unknown` is missing.
fn transfers(said: &str) -> Option<f64> {
    let (number, unit) = said.split_once(' ')?;
    if unit.starts_with("GT/s") { text::number(number.as_bytes()).map(|giga| giga * 1e9) } else { None }
}

/// Lanes; 0 and 255 are "unknown".
fn lanes(said: &str) -> Option<f64> {
    text::number(said.as_bytes()).filter(|lanes| *lanes > 0.0 && *lanes < 255.0)
}

/// The sum of `NAME COUNT` lines: the line TOTAL_ERR_… where there is one.
fn total(counts: &[u8]) -> Option<f64> {
    let rows = text::lines(counts).filter_map(|line| {
        let mut words = text::words(line);
        Some((words.next()?, text::number(words.next()?)?))
    });
    let mut sum = None;
    for (name, count) in rows {
        if name.starts_with(b"TOTAL_ERR") {
            return Some(count);
        }
        sum = Some(sum.unwrap_or(0.0) + count);
    }
    sum
}

fn address(root: &Root, folder: &str) -> Option<[String; 4]> {
    let device = root.resolved(&format!("{folder}/{PCI}"))?;
    parts(device.file_name()?.to_str()?)
}

fn parts(address: &str) -> Option<[String; 4]> {
    let (rest, function) = address.split_once('.')?;
    let mut rest = rest.split(':').map(str::to_owned);
    let address = [rest.next()?, rest.next()?, rest.next()?, function.to_owned()];
    rest.next().is_none().then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_errors() {
        assert_eq!(transfers("5.0 GT/s PCIe"), Some(5e9));
        assert_eq!(transfers("Unknown"), None);
        assert_eq!((lanes("1"), lanes("0"), lanes("255")), (Some(1.0), None, None));
        assert_eq!(total(b"RxErr 1\nBadTLP 2\nTOTAL_ERR_COR 3\n"), Some(3.0));
        assert_eq!(total(b"RxErr 1\nBadTLP 2\n"), Some(3.0));
        assert_eq!(total(b""), None);
        assert_eq!(parts("0001:01:00.0").unwrap(), ["0001", "01", "00", "0"]);
        assert_eq!(parts("nvme-fabrics"), None);
    }
}
