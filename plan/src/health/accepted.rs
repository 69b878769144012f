//! What people decided about a node's health: verdicts that are its new normal, and failing disks that are let go.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    Level, Rule,
    condition::{Condition, Side},
    disks::Numbers,
};
use crate::{
    form::{self, Measured, Reason},
    id::{InvalidId, text_id},
    timestamp::Timestamp,
};

/// What lets a value that only wobbles stay accepted: wear goes on by so much in the longest time for which something
/// is accepted, of a disk that lasts five years.
const WEAR_MARGIN: f64 = 0.05;
/// A certificate comes nearer to its end by itself; at the next level another condition speaks.
const CERTIFICATE_MARGIN_SECONDS: f64 = 7.0 * 86_400.0;

text_id! {
    /// What a disk calls itself: a serial number or a world wide name.
    DiskNumber, "number of a disk", "1 to 128 bytes that can be seen, in one line",
    |t| form::is_sentence(t, 128)
}

/// By what a disk is the same, as people sign it: names are given anew at every boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskNumbers {
    pub serial: Option<DiskNumber>,
    pub wwid: Option<DiskNumber>,
    /// What of it is meant, such as the partition `2`; empty for all of it.
    #[serde(deserialize_with = "form::subject")]
    pub part: String,
}

impl DiskNumbers {
    /// Those of a disk that is known.
    pub(super) fn of(numbers: &Numbers, part: &str) -> Self {
        let number = |number: &str| DiskNumber::new(number).ok();
        Self { serial: number(&numbers.serial), wwid: number(&numbers.wwid), part: part.trim().to_owned() }
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.serial.is_none() && self.wwid.is_none()
    }

    /// Whether a number says that it is this disk, and none says otherwise.
    pub(super) fn is(&self, other: &Self) -> bool {
        let pairs = [(&self.serial, &other.serial), (&self.wwid, &other.wwid)];
        let mut known = pairs.into_iter().filter(|(one, other)| one.is_some() && other.is_some()).peekable();
        known.peek().is_some() && known.all(|(one, other)| one == other)
    }
}

impl fmt::Display for DiskNumbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.serial, &self.wwid) {
            (Some(serial), Some(wwid)) => write!(f, "serial {serial}, wwid {wwid}")?,
            (Some(serial), None) => write!(f, "serial {serial}")?,
            (None, Some(wwid)) => write!(f, "wwid {wwid}")?,
            (None, None) => f.write_str("none")?,
        }
        if self.part.is_empty() { Ok(()) } else { write!(f, ", part {}", self.part) }
    }
}

/// A verdict that a person takes as the new normal, as it stood then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    pub rule: Rule,
    /// What it is about, by the name that it had then.
    #[serde(deserialize_with = "form::subject")]
    pub subject: String,
    /// The same by its own numbers, where it is a disk that tells them: the name counts no more then.
    pub disk: Option<DiskNumbers>,
    pub level: Level,
    /// Whether not knowing it makes the node unknown.
    pub required: bool,
    /// The numbers that are normal from now on: of every condition of the rule that held.
    pub values: BTreeMap<Condition, Measured>,
    /// From then on it is as before.
    pub until: Timestamp,
    pub reason: Reason,
}

/// A disk that was failing and is let go: what is remembered of it is forgotten, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The name that it had then, such as `sda`.
    #[serde(deserialize_with = "form::subject")]
    pub subject: String,
    /// Its own numbers, where it tells them: the name counts no more then.
    pub disk: Option<DiskNumbers>,
    /// The worst of what is let go.
    pub level: Level,
    /// Whether what is required is let go too.
    pub required: bool,
    pub reason: Reason,
}

/// What people decided about one node and counts now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decided {
    /// With who signed it.
    pub accepted: Vec<(Acceptance, String)>,
    /// With when that was, on the clock of whoever evaluates.
    pub released: Vec<(Release, u64)>,
}

/// That a verdict is accepted, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    pub until: Timestamp,
    pub by: String,
    pub reason: String,
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accepted until {} by {} because: {}", self.until, self.by, self.reason)
    }
}

/// What of a finding decides whether it is accepted.
#[derive(Debug)]
pub(super) struct Finding<'a> {
    pub(super) condition: Condition,
    pub(super) subject: &'a str,
    pub(super) disk: &'a DiskNumbers,
    pub(super) level: Level,
    pub(super) value: Option<f64>,
}

impl Decided {
    /// Who accepts a finding, if somebody does, and whether as a required one.
    pub(super) fn accepts(&self, finding: &Finding<'_>) -> Option<(Accepted, bool)> {
        let (acceptance, by) = self.accepted.iter().find(|(acceptance, _)| acceptance.covers(finding))?;
        let Acceptance { until, reason, required, .. } = acceptance;
        Some((Accepted { until: *until, by: by.clone(), reason: reason.to_string() }, *required))
    }
}

impl Acceptance {
    /// Whether a finding is what was accepted, and no worse.
    fn covers(&self, finding: &Finding<'_>) -> bool {
        let Some(accepted) = self.values.get(&finding.condition).map(Measured::get) else { return false };
        let (row, margin) = (finding.condition.row(), finding.condition.margin());
        let is_it = row.rule == self.rule && is_about(self.disk.as_ref(), &self.subject, finding.disk, finding.subject);
        let may = matches!(finding.level, Level::Degraded | Level::Critical) && finding.level <= self.level;
        let is_worse = |value: f64| match row.side {
            Side::Above => value > accepted + margin,
            Side::Below => value < accepted - margin,
        };
        // No number in a condition that holds is none that got worse.
        is_it && may && !finding.value.is_some_and(is_worse)
    }
}

impl Release {
    /// Whether it lets go what is remembered of that subject.
    pub(super) fn covers(&self, level: Level, subject: &str, disk: &DiskNumbers, required: bool) -> bool {
        let is_it = match &self.disk {
            Some(meant) => meant.is(disk),
            None => self.subject == device(subject),
        };
        is_it && level <= self.level && (self.required || !required || level != Level::Critical)
    }
}

/// The disk of a subject: `mmcblk0` of `mmcblk0 a`.
pub fn device(subject: &str) -> &str {
    subject.split(' ').next().unwrap_or_default()
}

/// Whether a disk is the one that was meant: by its numbers where it had some, else by its name.
fn is_about(meant: Option<&DiskNumbers>, name: &str, found: &DiskNumbers, subject: &str) -> bool {
    match meant {
        Some(meant) => meant.is(found) && meant.part == found.part,
        None => name == subject,
    }
}

impl Condition {
    /// How much further than what was accepted its number may go before that is something worse. Counts and steps: not
    /// at all. What wobbles: as far as the table itself has it between bad and good again.
    pub fn margin(self) -> f64 {
        use Condition as C;
        let row = self.row();
        let wears = [C::NvmeWorn, C::NvmeWornOut, C::EmmcWorn, C::EmmcWornOut, C::DiskWorn, C::DiskWornOut];
        if wears.contains(&self) {
            WEAR_MARGIN
        } else if [C::CertificateSoon, C::CertificateNow].contains(&self) {
            CERTIFICATE_MARGIN_SECONDS
        } else if row.clear > 0.0 {
            (row.raise - row.clear).abs()
        } else {
            // What clears at 0 counts.
            0.0
        }
    }
}
