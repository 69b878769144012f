//! Which disk is the same one. Names are given anew at every boot and whenever a disk comes back; its serial number and
//! its WWN are its own. What two disks have in common is a number of neither: cheap bridges all say the same.

use crate::fact::Reading;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Disks and controllers of one node whose numbers are kept: a large server has sixty disks.
const MAX_DISKS: usize = 256;
/// The longest number that is kept, in bytes: a T10 designator with vendor and model has some eighty.
const MAX_NUMBER_BYTES: usize = 128;

/// By what a disk is the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Numbers {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) serial: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) wwid: String,
}

impl Numbers {
    fn pairs<'both>(&'both self, other: &'both Self) -> impl Iterator<Item = (&'both str, &'both str)> {
        let pairs = [(&*self.serial, &*other.serial), (&*self.wwid, &*other.wwid)];
        pairs.into_iter().filter(|(one, other)| !one.is_empty() && !other.is_empty())
    }

    /// Whether both are known and say that these are two disks.
    pub(super) fn contradict(&self, other: &Self) -> bool {
        self.pairs(other).any(|(one, other)| one != other)
    }

    /// Whether both are known and say that this is one disk.
    fn are(&self, other: &Self) -> bool {
        self.pairs(other).next().is_some() && !self.contradict(other)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.key().is_empty()
    }

    /// The one by which the disk is found again.
    fn key(&self) -> &str {
        if self.wwid.is_empty() { &self.serial } else { &self.wwid }
    }

    /// One word for people: the number that is printed on the disk, if it is known.
    pub(super) fn word(&self) -> String {
        let number = if self.serial.is_empty() { &self.wwid } else { &self.serial };
        number.split_whitespace().collect::<Vec<_>>().join("-")
    }
}

/// The numbers of a node's disks, by the names that these have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Disks(BTreeMap<String, Numbers>);

impl Disks {
    /// Those that a reading tells.
    pub fn of(reading: &Reading) -> Self {
        let mut disks: BTreeMap<String, Numbers> = BTreeMap::new();
        for (series, label) in
            [("hostler_disk_carries", "id"), ("node_nvme_info", "serial"), ("smartctl_device", "serial_number")]
        {
            // By number: the disk that has it, and none where it is not the only one.
            let mut owners: BTreeMap<&str, Option<&str>> = BTreeMap::new();
            // Of a disk that is there no more, only what it carried is told.
            for (labels, _) in reading.all(series).filter(|(_, there)| *there == 1.0) {
                let (Some(device), Some(number)) = (labels.get("device"), labels.get(label)) else { continue };
                if (1..=MAX_NUMBER_BYTES).contains(&number.len()) {
                    let owner = owners.entry(number).or_insert(Some(device));
                    *owner = owner.filter(|known| *known == device);
                }
            }
            for (number, device) in owners.into_iter().filter_map(|(number, device)| Some((number, device?))) {
                let full = disks.len() >= MAX_DISKS && !disks.contains_key(device);
                if full {
                    continue;
                }
                let numbers = disks.entry(device.to_owned()).or_default();
                let place = if label == "id" { &mut numbers.wwid } else { &mut numbers.serial };
                if place.is_empty() {
                    number.clone_into(place);
                }
            }
        }
        Disks(disks)
    }

    /// Whether no disk tells a number.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what was known before and is not told now. Within a boot a name stays with its disk.
    pub(super) fn recall(&mut self, before: &Self, same_boot: bool) {
        // Where no disk at all is told, a reader failed.
        let stays = same_boot || self.0.is_empty();
        for (name, known) in &before.0 {
            let elsewhere = self.name(known).is_some_and(|now| now != name);
            if !self.0.contains_key(name) {
                if stays && !elsewhere && self.0.len() < MAX_DISKS {
                    self.0.insert(name.clone(), known.clone());
                }
            } else if let Some(told) = self.0.get_mut(name).filter(|told| same_boot && !told.contradict(known)) {
                for (place, known) in [(&mut told.serial, &known.serial), (&mut told.wwid, &known.wwid)] {
                    if place.is_empty() {
                        known.clone_into(place);
                    }
                }
            }
        }
    }

    /// The numbers of the disk of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Numbers> {
        self.0.get(name)
    }

    /// The name of the disk with these numbers.
    pub(super) fn name(&self, numbers: &Numbers) -> Option<&str> {
        self.0.iter().find(|(_, known)| known.are(numbers)).map(|(name, _)| name.as_str())
    }

    /// Whether a disk that was not there before has the name of one that was.
    pub(super) fn replaced(&self, before: &Self) -> bool {
        self.0.iter().any(|(name, numbers)| {
            before.get(name).is_some_and(|known| known.contradict(numbers)) && before.name(numbers).is_none()
        })
    }

    /// By what to find this disk or partition again: the disk's own number, or its name where it has none.
    pub(super) fn key<'name>(&self, name: &'name str) -> Cow<'name, str> {
        match self.split(name) {
            Some((_, numbers, part)) => Cow::Owned(format!("{}{part}", numbers.key())),
            None => Cow::Borrowed(name),
        }
    }

    /// What these disks were called in an earlier list. None where the disk was not there.
    pub(super) fn earlier<'name>(&self, name: &'name str, earlier: &Self) -> Option<Cow<'name, str>> {
        let Some((disk, numbers, part)) = self.split(name) else { return Some(Cow::Borrowed(name)) };
        match earlier.name(numbers) {
            Some(was) => Some(Cow::Owned(format!("{was}{part}"))),
            None if earlier.get(disk).is_some_and(|other| other.contradict(numbers)) => None,
            None => Some(Cow::Borrowed(name)),
        }
    }

    /// The disk whose name this is or begins with, its numbers, and the rest: `p2` of `nvme0n1p2`, ` a` of `mmcblk0 a`.
    pub(super) fn split<'name>(&self, name: &'name str) -> Option<(&'name str, &Numbers, &'name str)> {
        let end = name.find(' ').unwrap_or(name.len());
        // `nvme0n1` before `nvme0`: the longest one.
        (1..=end).rev().filter(|at| name.is_char_boundary(*at)).find_map(|at| {
            let (disk, rest) = name.split_at(at);
            is_part(disk, &name[at..end]).then(|| self.0.get(disk)).flatten().map(|numbers| (disk, numbers, rest))
        })
    }
}

/// Whether this is what stands behind a disk's name where a part of it is meant: nothing, `1`, `p2`, `n1`, `n1p2`.
fn is_part(disk: &str, rest: &str) -> bool {
    let plain = rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'p' || byte == b'n');
    let ends_in_digit = disk.ends_with(|last: char| last.is_ascii_digit());
    // `nvme1` is no part of `nvme10n1`, and `sda` none of `sdap1`.
    plain && rest.starts_with(|first: char| first.is_ascii_digit() != ends_in_digit) || rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Series;

    fn disks(numbers: &[(&str, &str)]) -> Disks {
        let mut reading = Reading::new(0);
        for (device, id) in numbers {
            let labels = [("device", *device), ("what", "nothing"), ("id", *id)];
            reading.set(Series::new("hostler_disk_carries", &labels), 1.0);
        }
        Disks::of(&reading)
    }

    #[test]
    fn a_number_that_two_disks_have_is_none() {
        let bridges = disks(&[("sda", "0123456789"), ("sdb", "0123456789"), ("sdc", "C")]);
        assert_eq!(bridges.key("sda1"), "sda1");
        assert_eq!(bridges.key("sdc1"), "C1");
    }

    #[test]
    fn a_disk_is_found_under_the_name_it_had() {
        let before = disks(&[("nvme0n1", "A"), ("nvme1n1", "B"), ("sda", "C")]);
        let after = disks(&[("nvme0n1", "B"), ("nvme1n1", "A"), ("sda", "D"), ("sdb", "E")]);
        for (now, was) in [
            ("nvme0n1p2", Some("nvme1n1p2")),
            ("nvme1n1", Some("nvme0n1")),
            ("sda1", None),
            ("sdb", Some("sdb")),
            ("/srv", Some("/srv")),
            ("nvme10n1", Some("nvme10n1")),
        ] {
            assert_eq!(after.earlier(now, &before).as_deref(), was, "{now}");
        }
        assert!(after.replaced(&before), "D has the name of C");
        assert!(!disks(&[("nvme0n1", "B"), ("nvme1n1", "A")]).replaced(&before));
    }

    #[test]
    fn parts_of_a_disk() {
        for (disk, rest) in [("sda", "1"), ("nvme0n1", "p2"), ("nvme0", "n1p2"), ("mmcblk0", "p1"), ("dm-1", "")] {
            assert!(is_part(disk, rest), "{disk} {rest}");
        }
        for (disk, rest) in [("nvme1", "0n1p1"), ("sda", "a1"), ("sda", "p1"), ("dm-1", "1"), ("sda", "x")] {
            assert!(!is_part(disk, rest), "{disk} {rest}");
        }
    }
}
